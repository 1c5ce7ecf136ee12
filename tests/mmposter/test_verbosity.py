"""How much a command prints: headline numbers by default, everything with -v, the path alone with -q."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mmposter.cli import _COMMANDS, app
from mmposter.errors import UserError
from mmposter.training.train import train
from mmposter.verbosity import Verbosity, verbosity

WITHOUT = {"serve", "runs", "config", "weights", "doctor"}  # they answer a question, and have nothing else to say
MOST_LINES = 15


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_world) -> tuple[Path, Path, list[str]]:
    """A run, its data, and what --set must say of them."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(folder, patch.setenv, 128)
        sets = ("train.epochs=1", "branches=yolo,ocr")
        config = world.config(*sets)
        train(config, world.dataset, folder / "a run", device="cpu", offline=True, quiet=True)
        asked = [part for override in (*world.overrides, *sets) for part in ("--set", override)]
    return folder / "a run", world.dataset.folder, asked


@pytest.fixture
def run(made: tuple[Path, Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(made[1].parent / "weights"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Result:
        found = CliRunner().invoke(app, [*map(str, arguments), "--offline"], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        assert verbosity() is Verbosity.DEFAULT  # a command's end takes the word back
        return found

    return call


def test_every_command_with_a_summary_has_both_options():
    commands = {command.name: command.callback for command in app.registered_commands}
    assert set(commands) == set(_COMMANDS.split())
    for name, function in commands.items():
        asked = {"verbose", "quiet"} & set(inspect.signature(function).parameters)
        assert asked == (set() if name in WITHOUT else {"verbose", "quiet"}), name


def test_they_ask_for_opposite_things():
    with pytest.raises(UserError, match="--verbose and --quiet ask for opposite things; give one of them"):
        CliRunner().invoke(app, ["pack", "data", "--out", "x.mmpack", "-v", "-q"], catch_exceptions=False)
    # What was asked of one command is not left to the next one.
    CliRunner().invoke(app, ["config"], catch_exceptions=False)
    assert verbosity() is Verbosity.DEFAULT


def test_evaluate_says_three_metrics_the_genres_at_both_ends_and_where_the_report_is(run, made):
    folder, data, _ = made
    brief, whole = run("evaluate", folder, data), run("evaluate", folder, data, "-v")
    said = brief.stdout.splitlines() + brief.stderr.splitlines()
    assert len(said) <= MOST_LINES
    rows = [line for line in brief.stdout.splitlines() if line.startswith("│")]
    assert [re.split(r"\s*│\s*", row)[1] for row in rows] == ["mAP", "macro F1", "any hit@3"]
    assert all(len(re.split(r"\s*│\s*", row)) == 7 for row in rows)  # metric, value, interval, constant, verdict
    assert "best genres, average precision (constant): " in brief.stdout
    assert "worst genres" in " ".join(brief.stdout.split())
    assert brief.stderr.splitlines()[-1] == f"report: {folder / 'evaluation' / 'test' / 'report.html'}"
    for part in ("By genre", "calibration error (ECE)", "- constant: ", "calibration, temperature"):
        assert part in whole.stdout
        assert part not in brief.stdout
    for row in rows:
        assert re.split(r"\s*│\s*", row)[2] in whole.stdout


def test_quiet_is_the_path_alone(run, made, tmp_path: Path):
    folder, data, asked = made
    page = folder / "evaluation" / "test" / "report.html"
    found = run("evaluate", folder, data, "-q")
    assert (found.stdout, found.stderr) == (f"{page}\n", "")
    out = tmp_path / "new"
    trained = run("train", data, "--out", out, *asked, "-q", "--device", "cpu")
    assert trained.stdout == f"{out}\n"
    assert trained.stderr == ""
    compared = run("compare", folder, out, "--data", data, "--out", tmp_path / "c", "-q", "--bootstrap", 20)
    assert (compared.stdout, compared.stderr) == (f"{tmp_path / 'c' / 'compare.html'}\n", "")
    alone = run("compare", folder, out, "-q", "--bootstrap", 20)
    assert "Minus a run" in alone.stdout  # without a page the numbers are the result


def test_train_tells_little_and_what_to_type_next(run, made, tmp_path: Path):
    folder, data, asked = made
    found = run("train", data, "--out", folder, *asked, "--overwrite", "--device", "cpu")
    assert found.stdout == f"{folder}\n"
    lines = found.stderr.splitlines()
    assert lines[-1] == f"next: mmposter evaluate '{folder}' {data}"
    assert len([line for line in lines if not re.match(r"(extract|train|loading models): ", line)]) <= MOST_LINES
    assert "val: 32 posters" in found.stderr
    assert "By genre" not in found.stderr


def test_calibrate_tells_of_the_whole_model(run, made):
    folder, data, _ = made
    brief, whole = run("calibrate", folder, data), run("calibrate", folder, data, "-v")
    rows = [line.split("│")[1].strip() for line in brief.stdout.splitlines() if line.startswith("│")]
    assert [row for row in rows if row] == ["yolo,ocr", "constant"]
    assert "ECE" in brief.stdout
    assert "to all branches" in " ".join(whole.stdout.split())
    (folder / "subsets.json").unlink()
