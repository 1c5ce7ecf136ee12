"""How many genres a run decides a poster, for every set of its branches, against the truth.

    python benchmarks/genres_decided.py RUN DATA [--split test]

RUN is a run folder or a model that travels with mmposter, DATA a prepared data set or a pack. Decisions are those of
`mmposter evaluate RUN DATA --branches ...`: of a calibrated run those of the set, otherwise those of the whole.
"""

from __future__ import annotations

import argparse

import numpy as np

from mmposter.data import Dataset
from mmposter.evaluation.metrics import get_metric
from mmposter.measurement.evaluate import score_split
from mmposter.runs.decisions import branch_subsets
from mmposter.runs.run import Run
from mmposter.shipped import find_run
from mmposter.training.inputs import load_inputs

HEADS = ("branches", "posters", "saw nothing", "genres decided", "true", "ratio", "macro F1", "overall F1")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--split", default="test")
    asked = parser.parse_args()
    run, dataset = Run.load(find_run(asked.run)), Dataset.load(asked.data)
    inputs = load_inputs(run.serving_config(), dataset, device="cpu", offline=True, quiet=True, behind=run)
    rows = inputs.rows(asked.split)
    print(f"| {' | '.join(HEADS)} |\n| --- |{' ---: |' * (len(HEADS) - 1)}")
    for branches in branch_subsets(run.config.branches):
        raw, kept, seen = score_split(run, dataset, inputs, rows, only=branches, device="cpu")
        decision, truth = run.decision(branches), inputs.labels[kept] > 0
        decided = decision.decide(decision.apply(raw, seen), run.config.evaluation.empty, seen)
        mean, true = decided.sum(axis=1).mean(), truth.sum(axis=1).mean()
        f1 = [f"{get_metric(name).value(truth, decided):.3f}" for name in ("macro_f1", "overall_f1")]
        cells = [", ".join(branches), len(kept), np.count_nonzero(~seen), f"{mean:.2f}", f"{true:.2f}"]
        print(f"| {' | '.join(map(str, [*cells, f'{mean / true:.2f}', *f1]))} |", flush=True)


if __name__ == "__main__":
    main()
