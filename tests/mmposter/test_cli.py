"""The commands as a user types them: exit codes, where output goes, and no traceback for a mistake.

One command of each test runs as a process of its own; the others run in this one, where torch is loaded already.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from mmposter.cli import main

Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Completed]:
    """As `run`, in this process."""

    def call(*arguments: str, stdin: str = "", check: bool = False) -> Completed:
        monkeypatch.setattr(sys, "argv", ["mmposter", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        result = Completed(arguments, int(end.value.code or 0), *capsys.readouterr())
        assert not check or result.returncode == 0, result.stderr
        return result

    monkeypatch.setenv("COLUMNS", "120")
    return call


def run(*arguments: str, cwd=None, stdin: str = "", check: bool = False) -> Completed:
    return subprocess.run(
        [sys.executable, "-m", "mmposter", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=check,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "is no prepared data folder"),
        (["train", "nowhere", "--branches", "cnn,wheels"], "allowed are cnn, style, yolo, ocr"),
        (["train", "nowhere", "--set", "cnn.dropot=0.1"], "cnn.dropot: unknown key"),
        (["train", "nowhere", "--config", "nothing"], "there is no 'nothing'"),
        (["extract", "nowhere", "--shard", "2/2"], "--shard takes I/N"),
        (["extract", "nowhere", "--workers", "0"], "--workers takes a number from 1, or auto; got '0'"),
        (["extract", "nowhere", "--engine", "spark"], "--engine takes local or ray; got 'spark'"),
        (["extract", "s3://films/data", "--engine", "ray"], "must lie under a path that all nodes see"),
        (["predict", "x.jpg", "--model", "nowhere", "--workers", "many"], "--workers takes a number"),
        (["evaluate", "nowhere", "nowhere"], "is no run folder"),
        (["predict", "x.jpg", "--model", "nowhere"], "is no run folder"),
        (["predict", "x.jpg", "--model", "nowhere", "--out", "x.txt"], "--out must end in .jsonl, .csv or .parquet"),
        (
            ["predict", "x.jpg", "--model", "nowhere", "--listing", "--out", "x.csv"],
            "--listing prints and --out writes",
        ),
        (["predict", "--model", "nowhere"], "no poster to look at"),
        (["runs", "nowhere"], "there is no folder nowhere"),
        (["prepare", "nowhere", "--out", "out", "--format", "csv"], "nowhere"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_two(tmp_path, run_here, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run_here(*arguments)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_mistake_ends_the_process_with_two(tmp_path):
    result = run("runs", "nowhere", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no folder nowhere; ")


@pytest.mark.figures
def test_the_whole_line(world, tmp_path, run_here):
    data, out = str(world.dataset.folder), str(tmp_path / "run")
    sets = [part for override in (*world.overrides, "train.epochs=2") for part in ("--set", override)]
    trained = run(
        "train", data, "--branches", "cnn,ocr", "--out", out, "--device", "cpu", "--offline", *sets, check=True
    )
    assert trained.stdout == f"{out}\n"
    assert "mmposter evaluate" in trained.stderr
    for name in ("model.json", "best.safetensors", "metrics.jsonl", "metrics.csv", "README.md", "plots/training.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    evaluated = json.loads(run_here("evaluate", out, data, "--json", "--offline", check=True).stdout)
    assert {"split", "n", "metrics", "by_genre"} <= evaluated.keys()
    assert set(evaluated["metrics"]["mean_average_precision"]) == {"value", "ci95", "constant", "difference"}
    assert evaluated["metrics"]["mean_average_precision"]["ci95"] is None  # of so few posters there is none
    listing = (tmp_path / "run" / "evaluation" / "test" / "listing.txt").read_text(encoding="utf-8").splitlines()
    assert len(listing) == evaluated["n"]
    assert re.fullmatch(r"Film \d+ \(2000\)  (\w+ \(\d\.\d{3}\), ){2}\w+ \(\d\.\d{3}\)", listing[0])
    masked = json.loads(run_here("evaluate", out, data, "--json", "--branches", "cnn", "--offline", check=True).stdout)
    assert (
        masked["metrics"]["expected_calibration_error"]["value"]
        != evaluated["metrics"]["expected_calibration_error"]["value"]
    )
    listed = json.loads(run_here("runs", str(tmp_path), "--json", check=True).stdout)
    assert [(row["name"], row["state"], row["epochs"]) for row in listed] == [("run", "finished", 2)]


def test_predict_to_a_pipe_and_to_a_file(world, tmp_path, run_here):
    data, out = str(world.dataset.folder), str(tmp_path / "run")
    sets = [part for override in (*world.overrides, "train.epochs=1") for part in ("--set", override)]
    run_here("train", data, "--branches", "cnn", "--out", out, "--device", "cpu", "--offline", *sets, check=True)
    posters = [str(world.dataset.image_path(row)) for row in range(3)]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    piped = run(
        "predict", "--model", out, "--offline", "--top-k", "2", stdin="\n".join([*posters, str(bad)]), check=True
    )
    lines = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [line["path"] for line in lines] == [*posters, str(bad)]
    assert all(list(line) == ["path", "genres", "scores", "error", "saw_nothing"] for line in lines)
    assert [len(line["genres"]) for line in lines] == [2, 2, 2, 0]
    assert lines[3]["error"].startswith("empty")
    assert "3 of 4 posters without a fault" in piped.stderr
    listed = run_here(
        "predict", "--model", out, "--offline", "--listing", posters[0], str(bad), check=True
    ).stdout.splitlines()
    surest = sorted(lines[0]["scores"].items(), key=lambda item: -item[1])[:3]
    assert listed[0] == "film000  " + ", ".join(f"{genre} ({score:.3f})" for genre, score in surest)
    assert listed[1].startswith("bad  empty: ")
    target = tmp_path / "genres.csv"
    first = run_here("predict", *posters, "--model", out, "--offline", "--out", str(target), check=True)
    assert first.stdout == f"{target}\n"
    assert target.read_text().splitlines()[0] == "path,genres,error,saw_nothing,Bright,Crowded,Wordy,Rare"
    assert run_here("predict", *posters, "--model", out, "--out", str(target)).returncode == 2


def test_config_prints_yaml_that_it_reads(tmp_path, run_here):
    text = run("config", "--config", "lite", "--set", "fusion.head=gated", check=True).stdout
    (tmp_path / "mine.yaml").write_text(text)
    assert run_here("config", "--config", str(tmp_path / "mine.yaml"), check=True).stdout == text
