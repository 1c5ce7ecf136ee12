from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from mmposter.cli.prepare import PrepareCommand, prepare_command
from mmposter.data import Dataset, prepare, source_formats
from mmposter.data.downloading import DownloadOptions
from mmposter.data.vocabulary import builtin_vocabularies
from mmposter.errors import UserError


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command(cls=PrepareCommand)(prepare_command)
    return app


def test_prints_the_report_path_alone_on_standard_output(app, make_csv, tmp_path):
    names = [f"{number}.jpg" for number in range(4)]
    source = make_csv(["image,genres", *(f"{name},Drama" for name in names)], {name: int(name[0]) for name in names})
    arguments = [str(source), "--out", str(tmp_path / "data"), "--format", "csv", "--ratios", "0.5", "0", "0.5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "data" / "report.md")
    assert sorted(Dataset.load(tmp_path / "data").table["split"]) == ["test", "test", "train", "train"]


def test_errors_for_people_pass_through(app, tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "data"), "--format", "tsv"])
    assert isinstance(result.exception, UserError)


def test_defaults_are_those_of_the_library():
    ours, library = inspect.signature(prepare_command).parameters, inspect.signature(prepare).parameters
    # Of the library `quiet` is for no text at all, of the command for little.
    shared = set(ours) & set(library) - {"source", "out", "format", "quiet"}
    assert shared == {
        "vocabulary", "seed", "ratios", "min_side", "duplicate_distance", "workers", "titles", "posters",
        "allow_unknown", "overwrite", "corrections",
    }  # fmt: skip
    assert [tuple(map(float, text.split())) for text in ours["ratios"].default] == [library["ratios"].default]
    same = shared - {"ratios"}  # which typer takes as texts
    assert {name: ours[name].default for name in same} == {name: library[name].default for name in same}
    manners = {name for name in ours if hasattr(DownloadOptions(), name)}
    assert manners == {"mirror", "offline", "retry_dead", "connections", "timeout"}
    assert manners | shared | {"source", "out", "format", "quiet", "verbose"} == set(ours)
    assert {name: ours[name].default for name in manners} == {
        name: getattr(DownloadOptions(), name) for name in manners
    }


def test_help_names_every_choice(app):
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output
    for name in [*source_formats(), *builtin_vocabularies()]:
        assert name in text


def test_nothing_heavy_is_loaded_before_the_command_runs():
    code = (
        "import sys, mmposter.cli.prepare; print(sorted({'torch', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
