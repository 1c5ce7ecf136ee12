"""`mmposter explain`: files that are whole, kept and named, and mistakes that are told."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.errors import UserError
from mmposter.explain.folder import file_names
from mmposter.report.plots.style import new_figure


def run_command(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments), "--device", "cpu", "--offline"])


@pytest.fixture
def run(make_run):
    return make_run("cnn.backbone=pixels", "cnn.size=[48,32]", branches="cnn")


@pytest.fixture
def plain_cards(monkeypatch):
    """Cards without anything on them: drawing takes most of the time."""
    monkeypatch.setattr("mmposter.explain.result.draw_card", lambda explanation: new_figure(1))


@pytest.mark.figures
def test_a_folder_is_explained_and_bad_posters_are_counted(run, poster_files, tmp_path):
    posters = poster_files(2)
    (posters[0].parent / "text.jpg").write_text("no picture")
    result = run_command(posters[0].parent, "--model", run, "--out", tmp_path / "why", "--genre", "Drama")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "why").iterdir()} == {
        f"{number:03d}.{ending}" for number in range(2) for ending in ("png", "json")
    }
    assert "2 of 3 posters explained" in result.stderr
    assert "text.jpg: not_an_image" in result.stderr
    assert "Drama" in result.stdout
    assert "001" in result.stdout
    said = json.loads((tmp_path / "why" / "001.json").read_text())
    assert said["path"] == str(posters[1])
    assert [genre["genre"] for genre in said["genres"]] == ["Drama"]
    with Image.open(tmp_path / "why" / "001.png") as card:
        assert card.width == 1200


def test_what_a_stopped_command_has_finished_is_kept(run, poster_files, tmp_path, monkeypatch, plain_cards):
    from mmposter.explain.folder import ExplanationFolder

    posters, out = poster_files(3), tmp_path / "why"
    write, written = ExplanationFolder.write, []

    def stopped(self, explanation):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(explanation.path)
        write(self, explanation)

    monkeypatch.setattr(ExplanationFolder, "write", stopped)
    assert run_command(*posters, "--model", run, "--out", out).exit_code == 130
    assert not list(out.glob(".*")), "no half file is left"
    kept = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(kept) == 4
    monkeypatch.setattr(ExplanationFolder, "write", write)
    result = run_command(*posters, "--model", run, "--out", out)
    assert result.exit_code == 0, result.output
    assert "1 of 1 posters explained, 2 were there already" in result.stderr
    assert all((out / name).stat().st_mtime_ns == when for name, when in kept.items())
    assert len(list(out.iterdir())) == 6
    (out / "000.png").unlink()
    assert "1 of 1 posters explained" in run_command(*posters, "--model", run, "--out", out).stderr


def test_files_of_others_are_not_replaced_unasked(run, poster_files, tmp_path, plain_cards):
    posters, out = poster_files(1), tmp_path / "why"
    arguments = [posters[0], "--out", out]
    assert run_command(*arguments, "--model", run).exit_code == 0
    first = (out / "000.json").read_bytes()
    result = run_command(*arguments, "--model", run, "--genre", "Drama")
    assert isinstance(result.exception, UserError)
    assert "made with another model, branches, --genre or --among" in str(result.exception)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(posters[0], elsewhere)
    result = run_command(elsewhere / "000.png", "--out", out, "--model", run)
    assert f"explains another poster ({posters[0]})" in str(result.exception)
    assert (out / "000.json").read_bytes() == first
    assert run_command(*arguments, "--model", run, "--genre", "Drama", "--overwrite").exit_code == 0
    assert (out / "000.json").read_bytes() != first


def test_mistakes_are_told_before_anything_is_written(run, poster_files, tmp_path):
    poster, out = poster_files(1)[0], tmp_path / "why"
    for arguments, message in (
        ((poster, "--genre", "Western"), "genres must be one or more of Action, Comedy, Drama, Horror; got 'Western'"),
        ((poster, "--branches", "ocr"), "--branches ocr: this run was trained with cnn"),
        ((tmp_path / "posters" / "none*" / "",), None),
    ):
        result = run_command(*arguments, "--model", run, "--out", out)
        if message is None:
            assert "0 of 1 posters explained" in result.stderr
        else:
            assert isinstance(result.exception, UserError)
            assert message in str(result.exception)
        assert not out.exists()
    assert run_command(poster, "--model", run).exit_code == 2, "--out is needed"


def test_posters_that_share_a_name_get_names_of_their_own():
    names = file_names(["a/x.jpg", "b/x.png", "b/X.jpg", "b/y.jpg"])
    assert len({name.casefold() for name in names.values()}) == 4
    assert names["b/y.jpg"] == "y"
    assert names["a/x.jpg"].startswith("x-")
    assert file_names(["b/x.png", "a/x.jpg"])["a/x.jpg"] == names["a/x.jpg"], "whatever the order"
