"""What a trained model is worth when another reader reads the words on the same posters.

    python benchmarks/other_reader.py RUN DATA [--readers ppocr easyocr] [--split test] [--posters 400]

The model is not trained again, and decides as it always does. Measured are posters of the split that it has not seen
(with --posters so many of them, always the same ones) and that every reader got through, by all branches and by the
words alone. DATA needs the posters themselves: a pack holds the words of one reader. What is read goes into DATA's own
store, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmposter.branches.ocr import NAME as OCR
from mmposter.config import Config
from mmposter.data import Dataset
from mmposter.data.dataset import FEATURES, write_dataset
from mmposter.evaluation import bootstrap_ci, bootstrap_difference, compute_metrics, get_metric
from mmposter.measurement.evaluate import score_split
from mmposter.runs.run import Run
from mmposter.runs.seen import SeenPosters
from mmposter.training.inputs import Inputs, load_inputs

METRICS = tuple(get_metric(name) for name in ("mean_average_precision", "macro_f1", "r_precision", "any_hit_at_3"))
_OF_DATA = {"kind", "schema", "vocabulary", "manifest_sha256", "titles"}  # facts that `write_dataset` writes anew


class Answers(NamedTuple):
    """N x G probabilities and decisions of the rows (N) that could be used."""

    probs: NDArray[np.float32]
    decided: NDArray[np.bool_]
    rows: list[int]


def unseen(run: Run, dataset: Dataset, split: str, most: int | None, folder: Path) -> Dataset:
    """The posters of one split that the run has not learnt of, as data of their own over the same store."""
    rows = np.flatnonzero(dataset.table["split"] == split)
    seen = SeenPosters.load(run.folder)
    if seen is not None:
        rows = rows[~seen.among(dataset.table.iloc[rows])]
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    facts = {key: value for key, value in dataset.info.items() if key not in _OF_DATA}
    write_dataset(folder, dataset.table.iloc[rows], dataset.vocabulary, facts | {"root": str(dataset.root.resolve())})
    (folder / FEATURES).symlink_to(dataset.features_folder.resolve())
    return Dataset.load(folder)


def read_by(config: Config, reader: str) -> Config:
    """The configuration with another reader, in that reader's usual settings."""
    words = config.ocr.model_copy(update={"reader": reader, "enlarge": "auto", "reading": "default"})
    return config.model_copy(update={OCR: words.settled()})


def answers(run: Run, dataset: Dataset, inputs: Inputs, split: str, only: Sequence[str]) -> Answers:
    """What the model says, through the given branches."""
    probs, kept, seen = score_split(run, dataset, inputs, inputs.rows(split), only=only, device="cpu")
    decision = run.decision(only)
    shown = decision.apply(probs, seen)
    return Answers(shown, decision.decide(shown, run.config.evaluation.empty, seen), kept.tolist())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--readers", nargs="+", default=["ppocr", "easyocr"], help="the first is compared with")
    parser.add_argument("--split", default="test")
    parser.add_argument("--posters", type=int, help="measure at most so many")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    run = Run.load(asked.run)
    with tempfile.TemporaryDirectory() as folder:
        dataset = unseen(run, Dataset.load(asked.data), asked.split, asked.posters, Path(folder))
        found = {}
        for reader in asked.readers:
            config = read_by(run.serving_config(), reader)
            found[reader] = load_inputs(config, dataset, device="cpu", offline=True, workers=asked.workers)
        _print(run, dataset, found, asked.split)


def _print(run: Run, dataset: Dataset, found: dict[str, Inputs], split: str) -> None:
    first, groups = next(iter(found)), np.array(dataset.table["group"], dtype=object)
    print(f"{run.folder.name}: {len(dataset):,} posters of {split}\n")
    print("| branches | reader | " + " | ".join(metric.name for metric in METRICS) + " |\n|---|---" + "|---:" * 4 + "|")
    for only in (run.config.branches, (OCR,)):
        said = {reader: answers(run, dataset, inputs, split, only) for reader, inputs in found.items()}
        rows = sorted(set.intersection(*(set(one.rows) for one in said.values())))
        target, units = found[first].labels[rows], {"groups": groups[rows], "seed": 0}
        models = {}
        for reader, one in said.items():
            places = [one.rows.index(row) for row in rows]
            models[reader] = one.probs[places], one.decided[places]
        for reader, model in models.items():
            values, ends = compute_metrics(target, *model), bootstrap_ci(target, *model, METRICS, **units)
            cells = [_cell(values[metric.name], ends[metric.name]) for metric in METRICS]
            print(f"| {','.join(only)} | {reader} | " + " | ".join(cells) + " |")
            if reader != first:
                less = bootstrap_difference(target, model, models[first], METRICS, **units)
                cells = [_cell(less[metric.name].value, less[metric.name].ci95) for metric in METRICS]
                print(f"| {','.join(only)} | {reader} minus {first} | " + " | ".join(cells) + " |")


def _cell(value: float, ends: tuple[float, float] | None) -> str:
    return f"{value:.3f}" if ends is None else f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


if __name__ == "__main__":
    main()
