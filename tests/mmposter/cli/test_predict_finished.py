"""`mmposter predict --out` where earlier commands have finished some posters, or all."""

from __future__ import annotations

import contextlib
import csv

import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.cli.predict import _identity
from mmposter.explain.classifier import PosterClassifier
from mmposter.inference.predictions import PredictionFile
from mmposter.inference.task import Prediction
from mmposter.shipped import POSTERS, find_run

PATHS = ["a.jpg", "b.jpg", "c.jpg"]


class LoadedError(Exception):
    """A model was loaded."""


@pytest.fixture
def no_model(monkeypatch):
    def load(*_, **__):
        raise LoadedError

    monkeypatch.setattr(PosterClassifier, "load", load)


def predicted(out, finished, *options, **identity):
    made_with = _identity(find_run(POSTERS), None, None, **identity)
    with contextlib.suppress(KeyboardInterrupt), PredictionFile(out, made_with=made_with) as file:
        for path in finished:
            file.write(Prediction(path, ["Drama"], {"Drama": 0.9, "War": 0.1}))
        raise KeyboardInterrupt
    command = ["predict", *PATHS, "--out", str(out), "--offline", "--device", "cpu", *options]
    return CliRunner().invoke(app, command)


@pytest.mark.parametrize("options", [[], ["--precision", ".8"]])
def test_a_file_of_which_all_is_there_is_ended_without_a_model(tmp_path, no_model, options):
    identity = {"precision": 0.8} if options else {}
    done = predicted(tmp_path / "out.csv", PATHS, *options, **identity)
    assert done.exit_code == 0, done.output
    assert "3 of 3 posters were finished before" in done.stderr
    assert "nothing left to predict; writing" in done.stderr
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == PATHS
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


def test_what_is_left_is_told_and_needs_the_model(tmp_path, no_model):
    done = predicted(tmp_path / "out.csv", PATHS[:2])
    assert isinstance(done.exception, LoadedError)
    assert "2 of 3 posters were finished before" in done.stderr
    assert "nothing left" not in done.stderr
