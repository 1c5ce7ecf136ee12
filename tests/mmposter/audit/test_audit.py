"""`mmposter audit` over a drawn world: folds, what a stopped audit keeps, and planted mistakes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter.audit import folds as folds_module
from mmposter.audit.folds import fold_of, splits_of
from mmposter.audit.run import audit
from mmposter.cli import app
from mmposter.data import write_dataset
from mmposter.errors import UserError
from mmposter.evaluation.mistakes import suspicion
from mmposter.training.inputs import Inputs, load_inputs

QUICK = ("train.epochs=2", "train.min_steps=1")


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


def test_a_planted_mistake_is_found_and_nothing_of_the_data_changes(world, tmp_path) -> None:
    """Bright is plain to see; on two posters it is not as given."""
    table = world.dataset.table.copy()
    bright = table["genres"].map(lambda genres: "Bright" in genres)
    wrong, missing = table.index[bright][3], table.index[~bright][3]
    genres = list(table["genres"])
    genres[missing] = ["Bright", *genres[missing]]
    genres[wrong] = [genre for genre in genres[wrong] if genre != "Bright"] or ["Crowded"]
    folder = tmp_path / "mistaken"
    info = {"root": str(world.dataset.root), "features": str(world.dataset.features_folder)}
    write_dataset(folder, table.assign(genres=genres), world.dataset.vocabulary, info)
    dataset = type(world.dataset).load(folder)
    before = (folder / "manifest.parquet").read_bytes()
    config = world.config("train.epochs=12", branches="cnn")
    found = audit(config, dataset, tmp_path / "out", folds=2, device="cpu", offline=True, quiet=True)
    column = suspicion(found.target, found.probs)[:, 0]
    assert {wrong, missing} <= set(np.argsort(-column)[:4].tolist()), "of 64 posters, those of which Bright is a lie"
    assert {(f.kind, f.row) for f in found.findings if f.genre == 0} >= {("missing", wrong), ("wrong", missing)}
    assert (folder / "manifest.parquet").read_bytes() == before


def test_a_stopped_audit_goes_on_where_it_was(world, tmp_path, monkeypatch) -> None:
    config, out = world.config(*QUICK, branches="cnn"), tmp_path / "out"
    how = {"folds": 3, "device": "cpu", "offline": True, "quiet": True}
    fit, done = folds_module.fit, []

    def stops(*arguments, **named):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return fit(*arguments, **named)

    monkeypatch.setattr(folds_module, "fit", stops)
    with pytest.raises(KeyboardInterrupt):
        audit(config, world.dataset, out, **how)
    kept = [(path, path.stat().st_mtime_ns) for path in sorted(out.glob("folds/*/scores.npz"))]
    assert len(kept) == 2
    monkeypatch.setattr(folds_module, "fit", fit)
    with pytest.raises(UserError, match="go on with --resume"):
        audit(config, world.dataset, out, **how)
    resumed = audit(config, world.dataset, out, resume=True, **how)
    assert all(path.stat().st_mtime_ns == when for path, when in kept)
    whole = audit(config, world.dataset, tmp_path / "whole", **how)
    assert np.array_equal(resumed.probs, whole.probs)
    assert not list(out.glob("folds/*/run")), "models of folds are not kept"
    with pytest.raises(UserError, match="--folds 3"):
        audit(config, world.dataset, out, resume=True, **{**how, "folds": 2})
    with pytest.raises(UserError, match=r"train\.epochs"):
        audit(world.config("train.epochs=3", branches="cnn"), world.dataset, out, resume=True, **how)


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
