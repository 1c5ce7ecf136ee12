"""`mmposter audit` over a drawn world: folds, what a stopped audit keeps, and planted mistakes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter.audit import folds as folds_module
from mmposter.audit.folds import fold_of, splits_of
from mmposter.audit.run import audit
from mmposter.cli import app
from mmposter.data import Dataset, write_dataset
from mmposter.errors import UserError
from mmposter.training.inputs import Inputs, load_inputs

QUICK = ("train.epochs=1", "train.min_steps=1")
HOW = {"device": "cpu", "offline": True, "quiet": True}


@pytest.fixture
def inputs(world) -> Inputs:
    return load_inputs(world.config(branches="cnn"), world.dataset, device="cpu", offline=True, quiet=True)


def test_folds_part_no_group_and_hold_every_poster_once(world, inputs) -> None:
    groups = [f"film{row // 3}" for row in range(len(world.dataset))]
    places = fold_of(inputs, groups, 4, seed=0)
    assert set(places) == {0, 1, 2, 3}
    assert all(len(set(places[row : row + 3])) == 1 for row in range(0, 63, 3))
    for fold in range(4):
        splits = splits_of(fold, places, inputs, groups, seed=0)
        assert (splits == "test").tolist() == (places == fold).tolist()
        sides = [{splits[row] for row in range(start, min(start + 3, 64))} for start in range(0, 64, 3)]
        assert all(len(side) == 1 for side in sides), "a film taught the model that was asked about it"
        assert {"train", "val"} <= set(splits)


def test_a_poster_without_features_is_in_no_fold(world, inputs) -> None:
    usable = inputs.features.usable.copy()
    usable[5] = False
    lacking = replace(inputs, features=replace(inputs.features, usable=usable))
    places = fold_of(lacking, list(world.dataset.table["group"]), 3, seed=0)
    assert places[5] == -1
    assert splits_of(0, places, lacking, list(world.dataset.table["group"]), 0)[5] == "left out"


@pytest.mark.parametrize("folds", [1, 0, 40])
def test_a_number_of_folds_that_cannot_be_is_refused(world, inputs, folds) -> None:
    with pytest.raises(UserError, match="--folds must be 2 to 32 for 64 films"):
        fold_of(inputs, list(world.dataset.table["group"]), folds, seed=0)


class Looking:
    """Stands in for a training: it knows how each poster looks, and learns from labels which genres go with a look."""

    def __init__(self, world) -> None:
        self._bright = world.dataset.labels()[:, 0] > 0  # as drawn
        self.trained = 0
        self.stops_after: int | None = None

    def __call__(self, config, dataset, inputs, out, **how):
        if self.trained == self.stops_after:
            raise KeyboardInterrupt
        self.trained += 1
        taught = np.array(inputs.rows("train"))
        groups = np.array(dataset.table["group"], object)

        def predict(rows):
            assert not set(groups[rows]) & set(groups[[*taught, *inputs.rows("val")]]), "it has learnt from these"
            probs = [inputs.labels[taught[self._bright[taught] == self._bright[row]]].mean(axis=0) for row in rows]
            return np.array(probs, np.float32), np.array(rows, np.int64), np.ones(len(rows), bool)

        return SimpleNamespace(
            trainer=SimpleNamespace(predict=predict),
            decision=SimpleNamespace(thresholds=np.full(inputs.labels.shape[1], 0.5)),
            progress=SimpleNamespace(history=[{}], best_epoch=0, best=0.5),
        )


@pytest.fixture
def looking(world, monkeypatch) -> Looking:
    stand_in = Looking(world)
    monkeypatch.setattr(folds_module, "fit", stand_in)
    return stand_in


def test_planted_mistakes_are_found_and_nothing_of_the_data_changes(world, looking, tmp_path) -> None:
    """Bright is plain to see; on two posters it is not as given."""
    genres = list(world.dataset.table["genres"])
    bright = [row for row, names in enumerate(genres) if "Bright" in names]
    dark = [row for row in range(64) if row not in bright]
    genres[bright[3]] = [name for name in genres[bright[3]] if name != "Bright"] or ["Crowded"]
    genres[dark[3]] = ["Bright", *genres[dark[3]]]
    info = {"root": str(world.dataset.root), "features": str(world.dataset.features_folder)}
    write_dataset(tmp_path / "data", world.dataset.table.assign(genres=genres), world.dataset.vocabulary, info)
    dataset, before = Dataset.load(tmp_path / "data"), (tmp_path / "data" / "manifest.parquet").read_bytes()
    found = audit(world.config(branches="cnn"), dataset, tmp_path / "out", folds=4, **HOW)
    assert looking.trained == 4
    first = {kind: next(f for f in found.findings if f.kind == kind) for kind in ("missing", "wrong")}
    assert (first["missing"].row, first["missing"].genre) == (bright[3], 0)
    assert (first["wrong"].row, first["wrong"].genre) == (dark[3], 0)
    assert set(np.argsort(found.places[:, 0])[:2]) == {bright[3], dark[3]}
    assert (tmp_path / "data" / "manifest.parquet").read_bytes() == before


def test_a_stopped_audit_goes_on_where_it_was(world, looking, tmp_path) -> None:
    config, out = world.config(branches="cnn"), tmp_path / "out"
    looking.stops_after = 2
    with pytest.raises(KeyboardInterrupt):
        audit(config, world.dataset, out, folds=3, **HOW)
    assert len(list(out.glob("folds/*/scores.npz"))) == 2
    looking.stops_after = None
    with pytest.raises(UserError, match="go on with --resume"):
        audit(config, world.dataset, out, folds=3, **HOW)
    resumed = audit(config, world.dataset, out, folds=3, resume=True, **HOW)
    assert looking.trained == 3, "finished folds are not trained again"
    whole = audit(config, world.dataset, tmp_path / "whole", folds=3, **HOW)
    assert np.array_equal(resumed.probs, whole.probs)
    assert not list(out.glob("folds/*/run")), "models of folds are not kept"
    with pytest.raises(UserError, match="--folds 3"):
        audit(config, world.dataset, out, folds=2, resume=True, **HOW)
    with pytest.raises(UserError, match=r"train\.epochs"):
        audit(world.config("train.epochs=7", branches="cnn"), world.dataset, out, folds=3, resume=True, **HOW)


def test_what_cannot_be_audited_is_refused(world, tmp_path) -> None:
    with pytest.raises(UserError, match="regime=features"):
        audit(world.config(branches="cnn", regime="finetune"), world.dataset, tmp_path / "out")
    with pytest.raises(UserError, match="--most must be 1"):
        audit(world.config(branches="cnn"), world.dataset, tmp_path / "out", most=0)


@pytest.fixture
def typed(world) -> Callable[..., list[str]]:
    def make(*more: object) -> list[str]:
        settings = [word for value in (*world.overrides, *QUICK) for word in ("--set", value)]
        few = ["--branches", "cnn", "--folds", "2", "--most", "4", "--device", "cpu", "--offline", "--workers", "1"]
        return ["audit", str(world.dataset.folder), *few, *settings, *map(str, more)]

    return make


def test_the_command_writes_a_table_and_says_what_was_found(typed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, typed("--out", out))
    assert done.exit_code == 0, done.output
    assert "64 posters looked at" in done.output
    with (out / "audit.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert 1 <= sum(row["kind"] == "wrong" for row in rows) <= 4
    known = json.loads((out / "audit.json").read_text())
    assert known["posters"] == 64
    assert known["folds"] == 2
    assert len(known["findings"]) == len(rows)
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert page.count("<article") == page.count("data:image/jpeg") == len({row["id"] for row in rows})
    assert not list(out.glob("folds/*/run")), "models of folds are not kept"


def test_a_media_library_is_prepared_beside_the_audit_first(make_drawn, monkeypatch, tmp_path) -> None:
    for number, genre in enumerate(("Drama", "Horror", "Drama")):
        folder = tmp_path / "films" / f"Film {number} (2001)"
        folder.mkdir(parents=True)
        text = f"<movie><title>Film {number}</title><genre>{genre}</genre></movie>"
        (folder / "movie.nfo").write_text(text)
        make_drawn(number, 60, 90).save(folder / "poster.png")
    audited: list[Dataset] = []

    def stops(config, dataset, out, **how):
        audited.append(dataset)
        raise UserError("as far as this")

    monkeypatch.setattr("mmposter.audit.run.audit", stops)
    asked = ["audit", str(tmp_path / "films"), "--format", "nfo", "--out", str(tmp_path / "check"), "--offline"]
    done = CliRunner().invoke(app, asked)
    assert "as far as this" in str(done.exception), done.output
    assert f"3 posters prepared, 0 left out; see {tmp_path / 'check-data' / 'report.md'}" in done.output
    assert [(data.folder, len(data)) for data in audited] == [(tmp_path / "check-data", 3)]
