"""`mmposter train` where nobody says where the run goes, and with how many hands."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.errors import UserError
from mmposter.runs.run import Run
from mmposter.training import loop, train
from mmposter.training import pictures as pictures_module


def command(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments), "--offline", "--device", "cpu"])


def test_runs_are_numbered_and_resumed_by_themselves(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [part for override in (*world.overrides, "train.epochs=1") for part in ("--set", override)]
    asked = (world.dataset.folder, "--branches", "cnn", *sets)
    first = command(*asked)
    assert (first.exit_code, first.stdout) == (0, "runs/cnn-features-0\n"), first.output
    trained = Run.load("runs/cnn-features-0")
    calls = []

    def stands_in(config, dataset, out, **how):
        """A training that is stopped at once."""
        calls.append((out.name, how["resume"], how["overwrite"], how["workers"], how["threads"]))
        replace(trained, folder=out, thresholds=None).save()
        raise UserError("stopped")

    monkeypatch.setattr(train, "train", stands_in)
    second = command(*asked, "--workers", 3, "--threads", 2)
    assert "run: runs/cnn-features-0-2, as runs/cnn-features-0 is there already" in second.stderr
    for how in ("--resume", "--overwrite"):
        command(*asked, how)
    command(*asked)
    assert calls == [
        ("cnn-features-0-2", False, False, 3, 2),
        ("cnn-features-0-2", True, False, "auto", None),
        ("cnn-features-0", False, True, "auto", None),
        ("cnn-features-0-3", False, False, "auto", None),
    ]


def test_a_mistake_leaves_no_folder(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command(world.dataset.folder, "--branches", "cnn", "--workers", "many")
    assert "--workers takes a number from 1, or auto; got 'many'" in str(result.exception)
    monkeypatch.setenv("MMPOSTER_WEIGHTS", str(tmp_path))
    result = command(world.dataset.folder, "--branches", "cnn", "--set", "cnn.backbone=resnet18")
    assert result.exit_code != 0
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(("workers", "expected"), [(3, 3), ("auto", 0)])
def test_workers_load_the_posters_that_are_learnt_from(world, tmp_path, monkeypatch, workers, expected):
    loaders, decoders, extraction = set(), set(), []
    made, decode, extract = loop._loader, pictures_module.decode_posters, train.load_inputs

    def loader(data, sampler, count):
        loaders.add(count)
        return made(data, sampler, 0)

    def decode_posters(*args, threads, **how):
        decoders.add(threads)
        return decode(*args, threads=threads, **how)

    def load_inputs(*args, **how):
        extraction.append((how["workers"], how["threads"]))
        return extract(*args, **how)

    monkeypatch.setattr(loop, "_loader", loader)
    monkeypatch.setattr(pictures_module, "decode_posters", decode_posters)
    monkeypatch.setattr(train, "load_inputs", load_inputs)
    config = world.config("train.epochs=1", branches="cnn", regime="finetune")
    how = {"device": "cpu", "offline": True, "quiet": True}
    result = train.train(config, world.dataset, tmp_path / "run", workers=workers, threads=2, **how)
    assert (loaders, decoders, extraction) == ({expected}, {2}, [(workers, 2)])
    assert result.run.config.train.workers == 0, "what a run is does not hang on who made it"
    torch.set_num_threads(1)
