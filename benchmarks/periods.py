"""What a run is worth on posters of different times, beside the best constant answer on the same posters.

    python benchmarks/periods.py RUN DATA [--branches ocr] [--split test] [--years 1990 2000 2010]

RUN is a run folder or a model that travels with mmposter, DATA a prepared data set or a pack. The constant is chosen on
all training posters. A genre without a positive in a period is left out of its mAP, so that numbers of two periods are
of slightly different questions; compare each with its constant.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np

from mmposter.config import parse_branches
from mmposter.data import Dataset
from mmposter.evaluation import ConstantPredictor, bootstrap_ci, get_metric
from mmposter.measurement.evaluate import score_split
from mmposter.runs.run import Run
from mmposter.shipped import find_run
from mmposter.training.inputs import load_inputs

METRICS = tuple(get_metric(name) for name in ("mean_average_precision", "macro_f1", "r_precision"))
HEADS = ("period", "posters", *(f"{name} (95 %), constant" for name in ("mAP", "macro F1", "R-precision")))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--branches", help="look through these only")
    parser.add_argument("--split", default="test")
    parser.add_argument(
        "--years", type=int, nargs="+", default=[1990, 2000, 2010], help="a new period begins with each"
    )
    asked = parser.parse_args()
    run, dataset = Run.load(find_run(asked.run)), Dataset.load(asked.data)
    only = None if asked.branches is None else parse_branches(asked.branches)
    inputs = load_inputs(run.serving_config(), dataset, device="cpu", offline=True, quiet=True, behind=run)
    raw, kept, seen = score_split(run, dataset, inputs, inputs.rows(asked.split), only=only, device="cpu")
    decision, train = run.decision(only), inputs.labels[inputs.rows("train")]
    probs = decision.apply(raw, seen)
    decided = decision.decide(probs, run.config.evaluation.empty, seen)
    years = dataset.table["year"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)[kept]
    groups = np.array(dataset.table["group"], dtype=object)[kept]
    print(f"| {' | '.join(HEADS)} |\n| --- |{' ---: |' * (len(HEADS) - 1)}")
    edges = [-np.inf, *asked.years, np.inf]
    periods = [("all", np.ones(len(kept), bool))]
    periods += [(_name(start, stop), (years >= start) & (years < stop)) for start, stop in pairwise(edges)]
    for name, rows in periods:
        target = inputs.labels[kept[rows]]
        if not target.any():
            print(f"| {name} | {int(rows.sum())} |{' |' * len(METRICS)}")
            continue
        ends = bootstrap_ci(target, probs[rows], decided[rows], METRICS, groups=groups[rows])
        cells = []
        for metric in METRICS:
            value = metric.value(target, decided[rows] if metric.kind == "decision" else probs[rows])
            low_high = "" if ends[metric.name] is None else " ({:.3f} to {:.3f})".format(*ends[metric.name])
            cells.append(f"{value:.3f}{low_high}, {ConstantPredictor.fit(train, metric).score(target):.3f}")
        print(f"| {name} | {int(rows.sum())} | {' | '.join(cells)} |", flush=True)


def _name(start: float, stop: float) -> str:
    if np.isinf(start):
        return f"before {stop:.0f}"
    return f"{start:.0f} and later" if np.isinf(stop) else f"{start:.0f} to {stop - 1:.0f}"


if __name__ == "__main__":
    main()
