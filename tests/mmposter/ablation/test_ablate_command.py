"""`mmposter ablate` on the command line."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.errors import UserError


def _run(world, out, *more):
    settings = [part for text in world.overrides for part in ("--set", text)]
    common = [str(world.dataset.folder), *settings, "--offline", "--device", "cpu", "--jobs", "1", "--out", str(out)]
    return CliRunner().invoke(app, ["ablate", *common, *more], catch_exceptions=False)


def test_a_grid_ends_in_a_report(world, tmp_path):
    result = _run(
        world, tmp_path / "grid", "--branches", "yolo,ocr", "--seeds", "2", "--axis", "fusion.head=sum,concat"
    )
    assert result.exit_code == 0
    assert result.stdout.strip().endswith("ablation.html")
    assert "The full model (yolo, ocr) has mAP" in result.stdout
    names = {path.name for path in (tmp_path / "grid").iterdir()}
    assert {
        "ablation.html",
        "ablation.md",
        "ablation.csv",
        "ablation.tex",
        "ablation.json",
        "plots",
        "plan.json",
    } <= names
    text = (tmp_path / "grid" / "ablation.md").read_text()
    assert "head = concat" in text
    assert re.search(r"seeds 0(,| and|-| to) ?1|2 seeds", text)


def test_what_is_missing_is_named(world, tmp_path, capsys):
    result = _run(world, tmp_path / "grid", "--branches=yolo,ocr", "--seeds=1", "--axis=yolo.model=not-there.pt")
    assert result.exit_code == 0
    assert "missing: model = not-there.pt, seed 0: not-there.pt is not on this machine" in result.output + "".join(
        capsys.readouterr()
    )


def test_without_resume_a_finished_grid_is_left_alone(world, tmp_path):
    _run(world, tmp_path / "grid", "--branches", "ocr", "--seeds", "1")
    with pytest.raises(UserError, match="go on with --resume"):
        _run(world, tmp_path / "grid", "--branches", "ocr", "--seeds", "1")
    assert _run(world, tmp_path / "grid", "--branches", "ocr", "--seeds", "1", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "all"], "--grid must be one of"),
        (["--mode", "drop"], "--mode must be one of"),
        (["--axis", "fusion.head"], "--axis takes key=value"),
        (["--jobs", "0"], "--jobs takes a number from 1, or auto"),
        (["--branches", "eyes"], "allowed are cnn, style, yolo, ocr"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(world, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        _run(world, tmp_path / "grid", *options)
    assert not (tmp_path / "grid").exists()
