"""From run folders to a comparison: what is read, what is evaluated first, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmposter.errors import UserError
from mmposter.evaluation import METRICS
from mmposter.evaluation.scored import PREDICTIONS, ScoredPosters, Source, file_hash
from mmposter.measurement.compare import compare_runs
from mmposter.measurement.evaluate import evaluate_run, examine_run
from mmposter.report.evaluation import evaluation_folder, write_evaluation
from mmposter.runs.run import Run
from mmposter.training.train import train

GENRES = ("A", "B")


def make_run(folder: Path, seed: int = 0, weights: bytes = b"w") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "best.safetensors").write_bytes(weights)
    (folder / "seed").write_text(str(seed))
    return folder


def save(run: Path, split: str = "test", **changes) -> ScoredPosters:
    rng = np.random.default_rng(int((run / "seed").read_text()))
    target = np.random.default_rng(0).random((40, 2)) < 0.5
    target[~target.any(axis=1), 0] = True
    probs = np.clip(0.3 * target + 0.6 * rng.random((40, 2)), 0, 1).astype(np.float32)
    source = Source(
        run=run.name,
        weights=file_hash(run / "best.safetensors"),
        branches=("cnn",),
        config={"seed": 0, "branches": ["cnn"], "name": run.name},
        data="posters",
        manifest="m" * 64,
        split=split,
        empty="allow",
        constant={metric.name: 0.1 for metric in METRICS},
        version="0",
        commit=None,
    )
    genres = changes.pop("genres", GENRES)
    one = ScoredPosters(
        ids=tuple(map(str, range(40))),
        groups=np.array(list(map(str, range(40))), dtype=object),
        genres=genres,
        target=target,
        probs=probs,
        decisions=probs > 0.5,
        thresholds=np.array([0.5, 0.5]),
        source=replace(source, **changes),
    )
    one.save(evaluation_folder(run, split) / PREDICTIONS)
    return one


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one, two = make_run(tmp_path / "one", 1), make_run(tmp_path / "two", 2)
    save(one)
    save(two)
    return one, two


def test_saved_evaluations_are_compared_with_the_first(pair):
    found = compare_runs(pair, n_boot=20, quiet=True)
    assert [row.name for row in found.rows] == ["one", "two"]
    assert found.rows[1].changes == {"name": "two"}


def test_a_folder_of_an_evaluation_will_do_as_well(pair):
    found = compare_runs([pair[0], evaluation_folder(pair[1], "test")], n_boot=20, quiet=True)
    assert [row.name for row in found.rows] == ["one", "two"]


def test_runs_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path):
    runs = [make_run(tmp_path / name / "run", number) for number, name in enumerate("ab")]
    for run in runs:
        save(run, config={"seed": 0, "branches": ["cnn"], "where": str(run)})
    assert [row.name for row in compare_runs(runs, n_boot=20, quiet=True).rows] == list(map(str, runs))


def test_masked_evaluations_say_what_was_left(pair):
    save(pair[1], config={"seed": 0, "branches": ["cnn", "yolo"]})
    assert [row.name for row in compare_runs(pair, n_boot=20, quiet=True).rows] == ["one", "two [cnn]"]


def test_without_an_evaluation_the_error_says_what_to_type(tmp_path: Path, pair):
    bare = make_run(tmp_path / "bare")
    with pytest.raises(
        UserError, match=r"bare has not been evaluated[\s\S]*mmposter evaluate .*bare DATA --split test"
    ):
        compare_runs([pair[0], bare], quiet=True)
    with pytest.raises(UserError, match="add --data DATA"):
        compare_runs([bare, pair[0]], quiet=True)
    with pytest.raises(UserError, match=r"--split val"):
        compare_runs(pair, split="val", quiet=True)
    with pytest.raises(UserError, match="nowhere is no run folder"):
        compare_runs([pair[0], tmp_path / "nowhere"], quiet=True)


def test_runs_without_an_evaluation_are_evaluated_first_and_no_others(tmp_path: Path, pair):
    bare = make_run(tmp_path / "bare", 3)
    asked: list[Path] = []

    def evaluate(run: Path, place: Path) -> None:
        assert place == evaluation_folder(run, "test")
        asked.append(run)
        save(run)

    assert len(compare_runs([*pair, bare], evaluate=evaluate, n_boot=20, quiet=True).rows) == 3
    assert asked == [bare]


def test_an_evaluation_of_an_earlier_training_is_not_used(pair):
    (pair[1] / "best.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match="two was trained again since its evaluation"):
        compare_runs(pair, quiet=True)
    inside = evaluation_folder(pair[1], "test")
    with pytest.raises(UserError, match=r"two was trained again[\s\S]*mmposter evaluate .*two DATA --split test$"):
        compare_runs([pair[0], inside], quiet=True)
    asked: list[Path] = []
    compare_runs(pair, evaluate=lambda run, place: (asked.append(run), save(run)), n_boot=20, quiet=True)
    assert asked == [pair[1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest": "x" * 64}, r"one and .*two were evaluated on other data[\s\S]*mmmmmmmmmmmm[\s\S]*xxxxxxxxxxxx"),
        ({"genres": ("B", "A")}, r"one and .*two were trained with other genres[\s\S]*A, B[\s\S]*B, A"),
    ],
)
def test_other_data_or_genres_are_refused_and_both_named(pair, changes, message):
    save(pair[1], **changes)
    with pytest.raises(UserError, match=message):
        compare_runs(pair, quiet=True)


def test_another_split_is_refused_and_both_named(pair):
    save(pair[1], split="val")
    with pytest.raises(UserError, match=r"one was evaluated on the split 'test', .*val on 'val'"):
        compare_runs([pair[0], evaluation_folder(pair[1], "val")], quiet=True)


def test_one_run_and_the_same_run_twice_are_refused(pair):
    with pytest.raises(UserError, match="name two or more"):
        compare_runs(pair[:1], quiet=True)
    with pytest.raises(UserError, match=r"given twice: .*one"):
        compare_runs([pair[0], pair[1], pair[1].parent / "two" / ".." / "one"], quiet=True)


# With real runs ------------------------------------------------------------------------------------------------------


def test_examine_run_says_what_evaluate_run_says_and_calibrates_on_validation_posters(world, tmp_path):
    config = world.config("train.epochs=1", branches="yolo,ocr")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    run = Run.load(tmp_path / "run")
    found = examine_run(run, world.dataset, device="cpu", offline=True)
    assert found.evaluation == evaluate_run(run, world.dataset, device="cpu", offline=True)
    table = world.dataset.table
    assert list(found.scored.ids) == list(table["id"][table["split"] == "test"])
    assert [set(row) for row in table["genres"][table["split"] == "test"]] == [
        {genre for genre, on in zip(found.scored.genres, row, strict=True) if on} for row in found.scored.target
    ]
    assert found.calibration.fitted_posters == (table["split"] == "val").sum()
    assert found.scored.source.weights == file_hash(tmp_path / "run" / "best.safetensors")
    assert found.scored.source.masked == ()
    # The same posters as a split of their own: what the calibration was fitted on.
    val = examine_run(run, world.dataset, split="val", device="cpu", offline=True)
    assert val.fitted_on_itself
    assert val.calibration.calibrator.temperature == pytest.approx(found.calibration.calibrator.temperature)
    masked = examine_run(run, world.dataset, only=("ocr",), calibration=None, device="cpu", offline=True)
    assert masked.scored.source.masked == ("yolo",)
    assert masked.calibration is None
    assert not np.array_equal(masked.scored.probs, found.scored.probs)
    write_evaluation(found, evaluation_folder(run.folder, "test"))
    write_evaluation(masked, evaluation_folder(run.folder, "test", ("ocr",)))
    both = compare_runs([run.folder, evaluation_folder(run.folder, "test", ("ocr",))], n_boot=20, quiet=True)
    assert [row.name for row in both.rows] == ["run", "run [ocr]"]
    assert both.rows[0].metrics["macro_f1"].value == pytest.approx(found.evaluation.metrics["macro_f1"].value)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "mmposter", *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
def test_the_commands_as_they_are_typed(world, tmp_path):
    data, runs = str(world.dataset.folder), [str(tmp_path / name) for name in ("a", "b")]
    for number, run in enumerate(runs):
        config = world.config(
            "train.epochs=1", f"seed={number}", f"loss.name={('bce', 'focal')[number]}", branches="cnn"
        )
        train(config, world.dataset, Path(run), device="cpu", offline=True, quiet=True)
    done = command("evaluate", runs[0], data, "--offline", "--calibration", "isotonic")
    assert done.returncode == 0, done.stderr
    assert "calibration, isotonic fitted on val posters" in done.stdout.replace("\n", " ")
    assert f"report: {runs[0]}/evaluation/test/report.html" in done.stderr
    for name in ("report.html", "evaluation.json", "predictions.parquet", "plots/together.png"):
        assert (Path(runs[0]) / "evaluation" / "test" / name).stat().st_size > 0
    refused = command("compare", *runs)
    assert refused.returncode == 2
    assert f"mmposter evaluate {runs[1]} DATA" in refused.stderr
    assert "Traceback" not in refused.stderr
    out = tmp_path / "comparison"
    done = command("compare", *runs, "--data", data, "--offline", "--json", "--out", str(out), "--bootstrap", "40")
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert [row["name"] for row in plain["rows"]] == ["a", "b"]
    assert plain["rows"][1]["changes"] == {"loss.name": "focal"}
    assert plain["n_boot"] == 40
    assert {path.name for path in out.iterdir()} == {"compare.html", "compare.csv", "compare.md"}
    wrong = command("evaluate", runs[0], data, "--calibration", "platt")
    assert wrong.returncode == 2
    assert "--calibration takes temperature, isotonic or none; got 'platt'" in wrong.stderr
