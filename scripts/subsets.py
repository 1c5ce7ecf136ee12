"""Train and evaluate all fifteen subsets of the branches on one prepared data set; print a Markdown table.

    python scripts/subsets.py DATA --config lite --out runs/subsets --seeds 3

Every cell is trained anew (not masked). Runs that are finished are read, not trained again. The interval is that of
seed 0; the difference to `cnn` alone is paired by poster, on the mean of the seeds' probabilities.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from mmposter.cli.options import go_offline, prepare_libraries
from mmposter.config import BRANCHES, load_config
from mmposter.data import Dataset
from mmposter.errors import UserError
from mmposter.evaluate import evaluate_run, predict_split
from mmposter.evaluation import apply_thresholds, bootstrap_difference
from mmposter.run import Run
from mmposter.training.train import load_inputs, train

HEADLINES = ("mean_average_precision", "macro_f1", "r_precision")
SUBSETS = [names for size in range(1, 5) for names in combinations(BRANCHES, size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--config", default="lite")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("runs/subsets"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    prepare_libraries()
    go_offline(True)
    dataset = Dataset.load(arguments.data)
    cells = {names: _cell(arguments, dataset, names) for names in SUBSETS}
    print(_table(cells))


def _cell(arguments: argparse.Namespace, dataset: Dataset, names: tuple[str, ...]) -> dict:
    evaluations, probs, decisions = [], [], []
    target = None
    for seed in range(arguments.seeds):
        folder = arguments.out / f"{'-'.join(names)}-{seed}"
        config = load_config(arguments.config, arguments.set, branches=names, seed=seed)
        started = time.monotonic()
        try:
            run = Run.load(folder)
        except UserError:
            started_before = (folder / "model.json").exists()
            run = train(config, dataset, folder, device="cpu", resume=started_before, offline=True, quiet=True).run
        evaluations.append(evaluate_run(run, dataset, split=arguments.split, device="cpu", offline=True).to_json())
        inputs = load_inputs(run.serving_config(), dataset, device="cpu", offline=True, quiet=True)
        scores, rows = predict_split(run, dataset, inputs, inputs.rows(arguments.split), device="cpu")
        probs.append(scores)
        decisions.append(apply_thresholds(scores, run.thresholds, empty=config.evaluation.empty))
        target = inputs.labels[rows]
        found = evaluations[-1]["metrics"]["mean_average_precision"]["value"]
        print(f"{','.join(names)} seed {seed}: mAP {found:.4f} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
        (folder / f"{arguments.split}.json").write_text(json.dumps(evaluations[-1], indent=2))
    return {"evaluations": evaluations, "probs": np.mean(probs, axis=0), "decisions": decisions[0], "target": target}


def _table(cells: dict) -> str:
    reference = cells[("cnn",)]
    lines = [
        "| branches | mAP, mean (seeds) | 95 % interval | macro F1 | R-precision | mAP against `cnn`, paired |",
        "|---|---|---|---|---|---|",
    ]
    for names, cell in cells.items():
        values = {
            name: [evaluation["metrics"][name]["value"] for evaluation in cell["evaluations"]] for name in HEADLINES
        }
        low, high = cell["evaluations"][0]["metrics"]["mean_average_precision"]["ci95"]
        seeds = ", ".join(f"{value:.3f}" for value in values["mean_average_precision"])
        means = {name: float(np.mean(values[name])) for name in HEADLINES}
        lines.append(
            f"| {', '.join(names)} | **{means['mean_average_precision']:.3f}** ({seeds}) | {low:.3f} to {high:.3f} "
            f"| {means['macro_f1']:.3f} | {means['r_precision']:.3f} | {_difference(cell, reference)} |"
        )
    metrics = reference["evaluations"][0]["metrics"]
    constant = [metrics[name]["constant"] for name in HEADLINES]
    lines.append(f"| best constant answer | {constant[0]:.3f} | | {constant[1]:.3f} | {constant[2]:.3f} | |")
    return "\n".join(lines)


def _difference(cell: dict, reference: dict) -> str:
    if cell is reference:
        return ""
    pair = [(item["probs"], item["decisions"]) for item in (cell, reference)]
    difference = bootstrap_difference(cell["target"], *pair)["mean_average_precision"]
    low, high = difference.ci95
    return f"{difference.value:+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
