"""How long the evaluation of many posters takes, and how much memory: made-up scores through all that follows.

    python benchmarks/evaluating.py [--posters 10000 100000 200000] [--steps evaluate report compare calibrate seen]

Each line of the table is a process of its own, so that its memory is its own:

- `evaluate`: the metrics with their intervals and constant answers, as `mmposter evaluate` asks for them;
- `report`: `evaluate`, and all that the command does behind it (calibration fitted on as many validation posters as
  there are test posters, tables, figures, report.html, predictions.parquet, listing.txt);
- `compare`: two models, read from their predictions.parquet, and the page of their comparison;
- `calibrate`: what `mmposter calibrate` does for one set of branches, after a first one that it is compared with;
- `seen`: which posters are among four times as many that a run was trained on (perceptual hashes).

The posters have as many genres as real ones, one in forty is a near-duplicate of the one before, and the scores are
float32 as a model's. What the numbers are measured with is left alone: no step is made easier than in the command.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmposter.evaluation import (
    METRICS,
    Evaluation,
    bootstrap_ci,
    bootstrap_difference,
    compute_metrics,
    evaluate,
    get_metric,
)
from mmposter.evaluation.comparison import compare
from mmposter.evaluation.examination import examine
from mmposter.evaluation.scaling import fit_scaling
from mmposter.evaluation.scored import PREDICTIONS, ScoredPosters, Source
from mmposter.evaluation.thresholds import apply_thresholds, tune_thresholds

GIGABYTE = 1e9
TRAINED = 4  # times as many posters are trained on as are measured


class Posters(NamedTuple):
    """Made-up posters: N x G target and probabilities, N names of near-duplicate groups."""

    target: NDArray[np.bool_]
    probs: NDArray[np.float32]
    groups: NDArray[np.object_]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posters", type=int, nargs="+", default=[10_000, 100_000, 200_000])
    parser.add_argument("--genres", type=int, default=20)
    parser.add_argument("--boot", type=int, default=1000, help="half-samples, as evaluation.bootstrap")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the process of one line
    asked = parser.parse_args()
    if asked.alone:
        alone(asked.steps[0], asked.posters[0], asked.genres, asked.boot)
        return
    print("| step | posters | seconds | CPU seconds | peak memory, GB | page, MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for step in asked.steps:
        for count in asked.posters:
            command = [sys.executable, __file__, "--alone", "--steps", step, "--posters", str(count)]
            command += ["--genres", str(asked.genres), "--boot", str(asked.boot)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            took = f"{found['seconds']:.1f} | {found['cpu']:.1f} | {found['peak']:.2f} | {found['page']}"
            print(f"| {step} | {count:,} | {took} |", flush=True)


def alone(step: str, count: int, genres: int, boot: int) -> None:
    """Make posters up, do one step, and print what it took; what the posters themselves take is in the memory too."""
    with tempfile.TemporaryDirectory() as folder:
        work = STEPS[step](count, genres, boot, Path(folder))
        begun, worked = time.perf_counter(), time.process_time()
        result = work()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
        page = f"{result.stat().st_size / 1e6:.2f}" if isinstance(result, Path) else ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "page": page}))


def made_up(count: int, genres: int, seed: int, model: int = 0) -> Posters:
    """Posters of a seed, each with a genre or more; other models see other parts of what their genres come from."""
    rng = np.random.default_rng(seed)
    prevalence = 0.5 * np.geomspace(1.0, 0.03, genres)
    base = np.log(prevalence / (1 - prevalence))
    hidden = rng.normal(size=(count, genres)).astype(np.float32)
    target = rng.random((count, genres), dtype=np.float32) < 1 / (1 + np.exp(-(base + 1.3 * hidden)))
    target[~target.any(axis=1), 0] = True
    noise = np.random.default_rng([seed, model]).normal(size=(count, genres)).astype(np.float32)
    probs = (1 / (1 + np.exp(-(base + 0.8 * hidden + 0.6 * noise)))).astype(np.float32)
    number = np.arange(count)
    number[39::40] -= 1
    return Posters(target, probs, np.array([f"poster{at:07}" for at in number.tolist()], dtype=object))


def _evaluated(count: int, genres: int, boot: int) -> Callable[[], tuple[Posters, NDArray[np.float64], Evaluation]]:
    posters, val = made_up(count, genres, seed=0), made_up(2000, genres, seed=1)
    train = made_up(TRAINED * count, genres, seed=2).target
    thresholds, names = tune_thresholds(val.target, val.probs), [f"genre {g}" for g in range(genres)]

    def work() -> tuple[Posters, NDArray[np.float64], Evaluation]:
        found = evaluate(
            posters.target,
            posters.probs,
            thresholds,
            names,
            train_target=train,
            split="test",
            n_boot=boot,
            groups=posters.groups,
        )
        return posters, thresholds, found

    return work


def _scored(posters: Posters, thresholds: NDArray[np.float64], model: int) -> ScoredPosters:
    count, genres = posters.target.shape
    config = {"seed": 0, "branches": ["cnn"], "fusion": {"head": "sum"}, "regime": "features", "train": {"lr": model}}
    source = Source(
        run=f"made-up-{model}",
        weights=f"{model:02}" * 32,
        branches=("cnn",),
        config=config,
        data="made-up",
        manifest="cd" * 32,
        split="test",
        empty="top1",
        constant={metric.name: 0.2 for metric in METRICS},
        version="0",
        commit=None,
    )
    ids = tuple(f"poster{at:07}" for at in range(count))
    names, decided = tuple(f"genre {g}" for g in range(genres)), apply_thresholds(posters.probs, thresholds, "top1")
    return ScoredPosters(ids, posters.groups, names, posters.target, posters.probs, decided, thresholds, source)


def _evaluate(count: int, genres: int, boot: int, _: Path) -> Callable[[], object]:
    return _evaluated(count, genres, boot)


def _report(count: int, genres: int, boot: int, folder: Path) -> Callable[[], object]:
    from mmposter.report.evaluation import write_evaluation

    evaluated, val = _evaluated(count, genres, boot), made_up(count, genres, seed=1)
    titles = [(f"A film with a title {at}", 1950 + at % 70) for at in range(count)]

    def work() -> object:
        posters, thresholds, evaluation = evaluated()
        scored = _scored(posters, thresholds, 0)
        found = examine(scored, evaluation, method="temperature", fit=(val.target, val.probs), titles=titles)
        return write_evaluation(found, folder / "evaluation")

    return work


def _compare(count: int, genres: int, boot: int, folder: Path) -> Callable[[], object]:
    from mmposter.report.comparison import write_comparison

    for model in range(2):
        posters = made_up(count, genres, seed=0, model=model)
        (folder / str(model)).mkdir()
        _scored(posters, np.full(genres, 0.3), model).save(folder / str(model) / PREDICTIONS)

    def work() -> object:
        scored = [ScoredPosters.load(folder / str(model) / PREDICTIONS) for model in range(2)]
        found = compare([(one.source.run, one) for one in scored], n_boot=boot)
        return write_comparison(found, folder / "comparison")

    return work


def _calibrate(count: int, genres: int, boot: int, _: Path) -> Callable[[], object]:
    whole, one = (made_up(count, genres, seed=0, model=model) for model in range(2))
    val, names = made_up(count, genres, seed=1), ("mean_average_precision", "macro_f1", "r_precision")
    metrics, error = [get_metric(name) for name in names], get_metric("expected_calibration_error")
    decided = whole.probs >= 0.3

    def work() -> object:
        scaling = fit_scaling(val.target, val.probs)
        thresholds = tune_thresholds(val.target, scaling.apply(val.probs), shares=val.target.mean(axis=0))
        scaled = scaling.apply(one.probs)
        decisions = apply_thresholds(scaled, thresholds, "top1")
        values = compute_metrics(one.target, scaled, decisions)
        ends = bootstrap_ci(one.target, scaled, decisions, (*metrics, error), boot, groups=one.groups)
        before = bootstrap_ci(one.target, one.probs, decisions, [error], boot, groups=one.groups)
        mine, other = (scaled, decisions), (whole.probs, decided)
        return values, ends, before, bootstrap_difference(one.target, mine, other, metrics, boot, groups=one.groups)

    return work


def _seen(count: int, _genres: int, _boot: int, _: Path) -> Callable[[], object]:
    from mmposter.runs.seen import SeenPosters

    rng = np.random.default_rng(0)
    trained, measured = (rng.integers(0, 2**64, size, np.uint64) for size in (TRAINED * count, count))
    measured[: count // 40] = trained[: count // 40] ^ np.uint64(0b1001)  # saved again: two bits differ

    def table(hashes: NDArray[np.uint64], name: str) -> pd.DataFrame:
        sums = [f"{name}{at:063x}" for at in range(len(hashes))]
        return pd.DataFrame({"sha256": sums, "phash": hashes})

    seen, posters = SeenPosters.of(table(trained, "a"), "train"), table(measured, "b")

    def work() -> object:
        found = seen.among(posters)
        assert found.sum() >= count // 40
        return found

    return work


STEPS: dict[str, Callable[[int, int, int, Path], Callable[[], object]]] = {
    "evaluate": _evaluate,
    "report": _report,
    "compare": _compare,
    "calibrate": _calibrate,
    "seen": _seen,
}

if __name__ == "__main__":
    main()
