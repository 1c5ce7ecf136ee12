"""--overwrite replaces what we wrote; whatever else lies in the folder stays, and is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from mmposter.errors import UserError
from mmposter.explain.folder import ExplanationFolder
from mmposter.explain.result import Explanation
from mmposter.inference.predictions import PredictionFile
from mmposter.inference.task import Prediction
from mmposter.outputs import LOCK, Kind, claim, remove_ours
from mmposter.outputs import kinds as all_kinds
from mmposter.report.plots.style import new_figure

KINDS = [kind for kind in vars(all_kinds).values() if isinstance(kind, Kind) and kind.marks]
CONTENT = {
    "model.json": {"config": {}, "vocabulary": {}},
    "distillation.json": {"config": {}, "history": []},
    "plan.json": {"manifest": "", "cells": {}},
    "ablation.json": {"provenance": {}, "cells": []},
    "dataset.json": {"manifest_sha256": ""},
    "published.json": [{"metrics": {}}],
    "result.json": {"metrics": {}, "variant": None},
}
TEXT = {
    "predictions.parquet": "PAR1 mmposter PAR1",
    "manifest.parquet": "PAR1 raw_genres PAR1",
    "dropped.csv": "id,path,reason,message\n",
    "compare.csv": "run,seeds,branches,metric,genre\n",
}


def fill(folder: Path, kind: Kind) -> set[str]:
    """Every file of a kind; the stars of its patterns are filled in."""
    names = {name.replace("*", "one") for name in (*kind.names, *kind.left)}
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(CONTENT[name]) if name in CONTENT else TEXT.get(name, "of ours"))
    return names


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
def test_all_of_ours_is_replaced(kind: Kind, tmp_path: Path) -> None:
    fill(tmp_path, kind)
    (tmp_path / f".{kind.names[0]}.ab12_x9z.tmp").write_text("left by a killed process")
    (tmp_path / ".DS_Store").write_text("of a desktop")
    with claim(tmp_path, kind, overwrite=True) as there:
        assert not there
        assert files(tmp_path) == {LOCK, ".DS_Store", *(name.replace("*", "one") for name in kind.left)}
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
@pytest.mark.parametrize("other", ["thesis.txt", "plots/mine.svg", "notes/deep/thesis.txt", "model.json.bak", ".git/x"])
def test_other_files_are_named_and_nothing_goes(kind: Kind, other: str, tmp_path: Path) -> None:
    fill(tmp_path, kind)
    (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / other).write_text("years of work")
    before = files(tmp_path)
    with pytest.raises(UserError) as end, claim(tmp_path, kind, overwrite=True):
        pass
    assert any(f"{parent}" in str(end.value) for parent in (other, f"{other.partition('/')[0]}/"))
    assert files(tmp_path) == before


def test_links_are_not_followed_and_not_removed(tmp_path: Path) -> None:
    """A run whose parts somebody has moved to a larger disk, and linked."""
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    (elsewhere / "training.png").write_text("somebody's")
    (elsewhere / "weights").write_text("somebody's")
    fill(run, all_kinds.RUN)
    for name, target in (("best.safetensors", "weights"), ("tensorboard", "")):
        if (run / name).is_dir():
            (run / name / "events.out.tfevents.one").unlink()
            (run / name).rmdir()
        else:
            (run / name).unlink()
        (run / name).symlink_to(elsewhere / target)
    before = files(run)
    with pytest.raises(UserError, match=r"best\.safetensors \(a link\), tensorboard \(a link\)"):
        remove_ours(run, all_kinds.RUN)
    remove_ours(run, all_kinds.RUN, refuse=False)
    assert files(run) == {"best.safetensors", "tensorboard"} < before
    assert len(files(elsewhere)) == 2


def test_a_folder_that_is_itself_a_link_stays_one(tmp_path: Path) -> None:
    fill(tmp_path / "disk" / "run", all_kinds.RUN)
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    with claim(tmp_path / "run", all_kinds.RUN, overwrite=True):
        pass
    assert (tmp_path / "run").is_symlink()
    assert files(tmp_path / "disk") == set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title)
@pytest.mark.parametrize("asked", [{}, {"go_on": True}, {"overwrite": True}], ids=str)
def test_a_folder_of_others_loses_nothing(kind: Kind, asked: dict[str, bool], tmp_path: Path) -> None:
    """A home folder, a project, the data: files of theirs with names of ours are not ours."""
    for name in ("README.md", *kind.names):
        path = tmp_path / name.replace("*", "one")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"of": "another program"}) if path.suffix == ".json" else "of another program")
    before = files(tmp_path)
    with pytest.raises(UserError, match="would replace files there"), claim(tmp_path, kind, **asked):
        pass
    assert files(tmp_path) == before


def test_a_folder_of_others_without_our_names_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with claim(tmp_path, all_kinds.RUN, overwrite=True):
        (tmp_path / "model.json").write_text("{}")
    assert files(tmp_path) == {"thesis.txt", "model.json"}


def test_a_damaged_result_can_be_replaced(tmp_path: Path) -> None:
    fill(tmp_path, all_kinds.RUN)
    (tmp_path / "model.json").write_bytes(b"\0" * 100)
    with claim(tmp_path, all_kinds.RUN, overwrite=True):
        assert files(tmp_path) == {LOCK}


def test_a_removal_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says that the folder is ours goes last."""
    fill(tmp_path, all_kinds.RUN)
    unlink, removed = Path.unlink, []

    def stopped(self: Path, missing_ok: bool = False) -> None:
        if self.name != LOCK:
            if len(removed) == 5:
                raise KeyboardInterrupt
            removed.append(self.name)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", stopped)
    with pytest.raises(KeyboardInterrupt), claim(tmp_path, all_kinds.RUN, overwrite=True):
        pass
    monkeypatch.undo()
    assert (tmp_path / "model.json").exists()
    with claim(tmp_path, all_kinds.RUN, overwrite=True):
        assert files(tmp_path) == {LOCK}


def test_partial_files_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "genres.csv"
    mine = [
        tmp_path / name for name in ("genres.csv.notes.partial", "genres.csv-old.partial", "genres.csv.a.b.partial")
    ]
    for file in mine:
        file.write_text("my notes")
    with PredictionFile(path, overwrite=True) as target:
        target.write(Prediction("a.jpg", ["Drama"], {"Drama": 1.0}))
    assert all(file.read_text() == "my notes" for file in mine)
    (tmp_path / "other.csv.partial").write_text("my notes")
    with pytest.raises(UserError, match="no file of mmposter predict"):
        PredictionFile(tmp_path / "other.csv", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("ending", ["png", "json"])
def test_an_explanation_never_replaces_a_poster(overwrite: bool, ending: str, tmp_path: Path) -> None:
    """`mmposter explain poster.png --out .` would have written its card over the poster."""
    poster = tmp_path / f"poster.{ending}"
    poster.write_text("{}")
    with pytest.raises(UserError, match=rf"poster\.{ending} is no"):
        ExplanationFolder(tmp_path, [str(poster)], made_with="x", overwrite=overwrite)
    assert poster.read_text() == "{}"


def test_a_card_whose_text_was_not_written_any_more_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmposter.explain.result.draw_card", lambda explanation: new_figure(1))
    explained = Explanation("poster.png", picture=Image.new("RGB", (9, 9)))
    ExplanationFolder(tmp_path, ["poster.png"], made_with="x").write(explained)
    (tmp_path / "poster.json").unlink()  # as after a kill between the two
    folder = ExplanationFolder(tmp_path, ["poster.png"], made_with="x")
    assert folder.done == set()
    folder.write(explained)
    assert ExplanationFolder(tmp_path, ["poster.png"], made_with="x").done == {"poster.png"}


def test_files_that_a_link_hides_are_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "why").mkdir()
    (tmp_path / "mine.png").write_text("mine")
    os.symlink(tmp_path / "mine.png", tmp_path / "why" / "poster.png")
    with pytest.raises(UserError, match="is no card"):
        ExplanationFolder(tmp_path / "why", ["poster.jpg"], made_with="x", overwrite=True)
