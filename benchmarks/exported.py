"""An exported file against `mmposter predict` on real posters: the same genres, how far the scores differ, how fast.

    python benchmarks/exported.py RUN DATA --count 200
    python benchmarks/exported.py RUN DATA --to torchscript

RUN is what `mmposter train` wrote, DATA what `mmposter prepare` wrote; test posters come first. The file is made in a
temporary folder. Scores are compared on the same pixels; the program beside the file, which decodes for itself, is run
in a process of its own, and its genres are compared too. Both times are processor time of whole posters, from the
file's bytes on, one after another, on one thread.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter import BadImageError, Dataset, PosterClassifier, export_run
from mmposter.evaluation import apply_thresholds
from mmposter.export import FORMATS
from mmposter.images.reading import load_image

Result = TypeVar("Result")


def main() -> None:
    """Measure, and print what was found."""
    options = _options()
    torch.set_num_threads(1)
    paths = _posters(Dataset.load(options.data, options.root), options.count)
    with tempfile.TemporaryDirectory(prefix="mmposter-benchmark-") as folder:
        made = export_run(options.run, options.to, Path(folder) / f"run{FORMATS[options.to].suffix}", offline=True)
        classifier = PosterClassifier.load(options.run, branches=made.branches, device="cpu", offline=True)
        predictions, ours = _timed(lambda path: classifier.predict(path)[0], paths)
        runner = FORMATS[options.to].open(made.path)
        found, theirs = _timed(lambda path: runner(np.asarray(load_image(path))), paths)
        listed = _run_example(made.example, paths)
    scores = np.array([list(prediction.scores.values()) for prediction in predictions])
    probs = np.stack(found)
    genres = _genres(classifier, probs)
    wanted = [prediction.genres for prediction in predictions]
    print(f"{len(paths)} posters, {options.to}, branches {','.join(made.branches)}, {made.megabytes:.1f} MB")
    print(f"same genres, surest first: {sum(a == b for a, b in zip(genres, wanted, strict=True))}")
    print(f"the same by the program beside the file: {sum(a == b for a, b in zip(listed, wanted, strict=True))}")
    print(f"largest difference of a score: {np.abs(probs - scores).max():.2g}")
    print(f"scores vary between posters by (standard deviation, mean over genres): {scores.std(axis=0).mean():.3f}")
    print(f"processor ms a poster, median: predict {ours:.1f}, {options.to} {theirs:.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder, or posters")
    parser.add_argument("data", type=Path, help="folder that `mmposter prepare` wrote")
    parser.add_argument("--root", type=Path, help="where the posters lie now")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--to", choices=sorted(FORMATS), default="onnx")
    return parser.parse_args()


def _posters(dataset: Dataset, count: int) -> list[Path]:
    """The first posters that can be decoded, those of the test split before all others."""
    rows = sorted(range(len(dataset.table)), key=lambda row: dataset.table["split"].iloc[row] != "test")
    paths: list[Path] = []
    for row in rows:
        if len(paths) == count:
            break
        try:
            load_image(dataset.image_path(row))
        except BadImageError:
            continue
        paths.append(dataset.image_path(row))
    return paths


def _timed(step: Callable[[Path], Result], paths: Sequence[Path]) -> tuple[list[Result], float]:
    """What `step` makes of each path, and the median of the processor's milliseconds that it took."""
    step(paths[0])  # models load on the first call
    results, times = [], []
    for path in paths:
        begun = time.process_time()
        results.append(step(path))
        times.append(1e3 * (time.process_time() - begun))
    return results, float(np.median(times))


def _genres(classifier: PosterClassifier, probs: NDArray[np.float32]) -> list[list[str]]:
    decision = classifier.run.decision(classifier.branches)
    chosen = apply_thresholds(probs, decision.thresholds, empty=classifier.run.config.evaluation.empty)
    orders = np.argsort(-probs, axis=1, kind="stable")
    return [[classifier.genres[i] for i in order if row[i]] for order, row in zip(orders, chosen, strict=True)]


def _run_example(program: Path, paths: list[Path]) -> list[list[str]]:
    """The genres that the program prints of each poster."""
    done = subprocess.run(
        [sys.executable, str(program), *map(str, paths)], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.removeprefix(f"{path}: ") for path, line in zip(paths, done.splitlines(), strict=True)]
    return [[part.rpartition(" (")[0] for part in line.split(", ") if part] for line in lines]


if __name__ == "__main__":
    main()
