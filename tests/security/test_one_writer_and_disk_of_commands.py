"""Each command that writes, through its command line: a second writer, and a place that cannot be, are one message."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmposter.cli import main
from mmposter.outputs import kinds
from mmposter.outputs.folder import Kind, _sorted_out
from mmposter.outputs.lock import LOCK

CONFTEST = Path(__file__).parents[1] / "mmposter" / "conftest.py"
QUICK = ("cnn.backbone=pixels", "cnn.init=none", "cnn.size=[64,48]", "train.epochs=1", "evaluation.bootstrap=100")
SETS = [part for text in QUICK for part in ("--set", text)]
HERE = ("--device", "cpu", "--offline")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A tiny data set, and a run on it that was evaluated and calibrated, all through the command line."""
    spec = importlib.util.spec_from_file_location("worlds_of_tests", CONFTEST)
    assert spec is not None
    assert spec.loader is not None
    worlds = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = worlds  # its dataclass looks for its module
    spec.loader.exec_module(worlds)
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        world = worlds.make_world(folder, patch.setenv, 32)
        data, run = world.dataset.folder, folder / "run"
        for command in (
            ["train", data, "--branches", "cnn", *SETS, "--out", run, *HERE],
            ["calibrate", run, data, *HERE],
            ["evaluate", run, data, *HERE],
        ):
            patch.setattr(sys, "argv", ["mmposter", *map(str, command)])
            with pytest.raises(SystemExit) as end:
                main()
            assert not end.value.code, command
        copy = shutil.copytree(run, folder / "copy")
        yield SimpleNamespace(folder=folder, data=data, run=run, copy=copy, posters=folder / "posters")
    del sys.modules[spec.name]


@pytest.fixture
def command(made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command of `COMMANDS` with this output; its exit code."""
    found = SimpleNamespace(weights=SimpleNamespace(identity=lambda: {}), name="t", hints=(), classifier=None)
    monkeypatch.setattr("mmposter.distillation.distill.Teacher.find", lambda *_, **__: found)
    monkeypatch.setattr("mmposter.distillation.distill._student", lambda *_, **__: (found.weights, None))

    def run(name: str, out: Path) -> int:
        words = {"DATA": made.data, "RUN": made.run, "COPY": made.copy, "POSTERS": made.posters, "OUT": out}
        words["POSTER"] = made.posters / "film000.png"
        arguments = [str(words.get(word, word)) for word in COMMANDS[name]]
        monkeypatch.setattr(sys, "argv", ["mmposter", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return run


COMMANDS: dict[str, list[str]] = {
    "prepare": ["prepare", "POSTERS", "--format", "folder", "--out", "OUT"],
    "train": ["train", "DATA", "--branches", "cnn", *SETS, "--out", "OUT", *HERE],
    "distill": ["distill", "DATA", "--out", "OUT", *HERE],
    "ablate": ["ablate", "DATA", "--branches", "cnn", *SETS, "--seeds", "1", "--out", "OUT", *HERE],
    "reproduce": ["reproduce", "p4/cnn4", "DATA", "--out", "OUT", *HERE],
    "evaluate": ["evaluate", "RUN", "DATA", "--out", "OUT", *HERE],
    "compare": ["compare", "RUN", "COPY", "--out", "OUT", *HERE],
    "explain": ["explain", "POSTER", "--model", "RUN", "--out", "OUT", *HERE],
    "predict": ["predict", "POSTER", "--model", "RUN", "--out", "OUT", *HERE],
    "export": ["export", "RUN", "--to", "torchscript", "--out", "OUT", "--offline"],
    "pack": ["pack", "DATA", "--branches", "cnn", *SETS, "--out", "OUT", "--offline"],
}
ENDINGS = {"predict": ".csv", "export": ".pt", "pack": ".mmpack"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_writer_is_refused(
    name: str, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out{ENDINGS.get(name, '')}"
    if name not in ENDINGS:
        out.mkdir()
    file = tmp_path / f".{out.name}.lock" if name in ENDINGS else out / LOCK
    about = {"pid": 4242, "host": "elsewhere", "since": "noon", "command": f"mmposter {name} mine"}
    with file.open("w") as stream:
        stream.write(json.dumps(about))
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert command(name, out) == 2
    told = capsys.readouterr().err
    assert f"{out} is being written by process 4242 on elsewhere, since noon: mmposter {name} mine" in told
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["below a file", "in /proc", "too long"])
def test_a_place_that_cannot_be_written(
    name: str, kind: str, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    place = {
        "below a file": tmp_path / "file" / "folder",
        "in /proc": Path("/proc/nowhere/folder"),
        "too long": tmp_path / ("n" * 300),
    }[kind]
    # A pack is named after its file, and such a name is refused before any path is looked at.
    out = place / "x.mmpack" if name == "pack" else place.with_name(f"{place.name}{ENDINGS.get(name, '')}")
    assert command(name, out) == 2
    told = capsys.readouterr().err
    assert {"below a file": "is a file, and a folder is needed", "in /proc": "/proc/nowhere", "too long": "too long"}[
        kind
    ] in told
    assert "cannot be written or read" in told
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ENDINGS])
def test_a_file_in_the_place_of_the_folder(
    name: str, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert command(name, tmp_path / "out") == 2
    assert "is a file; it must be a folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_disk_that_gets_full_keeps_what_is_finished(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third file on there is no room; with room, the same command ends well."""
    out, synced, fsync = tmp_path / "out", [], os.fsync

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 2:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert command("prepare", out) == 2
    told = capsys.readouterr().err
    assert f"error: {out / 'report.md'} cannot be written or read: the disk is full." in told
    assert sorted(path.name for path in out.iterdir()) == ["dropped.csv", "issues.csv"]
    assert command("prepare", out) == 0
    assert (out / "dataset.json").is_file()


def test_a_store_that_cannot_be_written(
    made: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(made.data, data, ignore=shutil.ignore_patterns("features"))
    (data / "features").write_text("mine")
    monkeypatch.setattr(
        sys, "argv", ["mmposter", "extract", str(data), "--branches", "cnn", *SETS, "--workers", "1", *HERE]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert f"{data / 'features'} is a file, and a folder is needed there" in capsys.readouterr().err


def test_a_calibration_that_cannot_be_written(
    made: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    (run / "subsets.json").unlink()
    (run / "subsets.json").mkdir()
    monkeypatch.setattr("mmposter.runs.run.Run.subsets", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["mmposter", "calibrate", str(run), str(made.data), *HERE])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert f"{run / 'subsets.json'} cannot be written or read: a folder stands where a file is needed" in (
        capsys.readouterr().err
    )


def test_commands_write_what_their_kinds_name(
    made: SimpleNamespace, command: Callable[..., int], tmp_path: Path
) -> None:
    """A new file that nobody has added to `mmposter.outputs.kinds` would make --overwrite refuse its own folder."""

    def strangers(folder: Path, kind: Kind) -> list[str]:
        return _sorted_out(folder, kind)[1]

    assert strangers(made.run, kinds.RUN) == []
    wanted = {"ablate": kinds.ABLATION, "evaluate": kinds.EVALUATION, "compare": kinds.COMPARISON}
    for name, kind in {**wanted, "prepare": kinds.PREPARED}.items():
        assert command(name, tmp_path / name) == 0
        assert strangers(tmp_path / name, kind) == []
        assert kind.is_in(tmp_path / name)
    for name, ending in {**ENDINGS, "explain": ""}.items():
        assert command(name, tmp_path / f"{name}{ending}") == 0
    assert list(made.folder.rglob("*.lock")) == list(tmp_path.rglob("*.lock")) == []


def test_overwrite_of_a_run_with_a_thesis_in_it(
    made: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(made.run, run)
    (run / "thesis.txt").write_text("years of work")
    again = ["mmposter", "train", str(made.data), "--branches", "cnn", *SETS, "--out", str(run), *HERE, "--overwrite"]
    for left in (2, 0):
        monkeypatch.setattr(sys, "argv", again)
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code or 0) == left
        if left:
            assert "thesis.txt" in capsys.readouterr().err
            assert (run / "best.safetensors").exists()
            (run / "thesis.txt").rename(tmp_path / "thesis.txt")
    assert not (run / "evaluation").exists()
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
