"""Are explanations true to the model? Two checks on real posters.

    python benchmarks/explanations.py DATA --model runs/all --count 50 --seed 0

(a) The branches' shares must sum to what the poster's logit is above an empty one's: the largest difference, over all
genres. (b) What an explanation calls important must be: how far the logit of the surest genre moves when the three
objects or lines that count most, each by itself, are left out together, minus how far it moves for three drawn at
random (mean of the draws); mean over the posters that have four or more, with a 95 % bootstrap interval over posters.

DATA is a prepared data set, of which test posters are drawn, or a folder of posters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmposter import Dataset, PosterClassifier
from mmposter.engines.libraries import go_offline, prepare_libraries
from mmposter.explain.probe import Probe, branch_shares
from mmposter.explain.task import ExplainRequest
from mmposter.images.listing import image_files
from mmposter.progress import progress

TOGETHER, LEAST = 3, 4
DRAWS, RESAMPLES, PART = 20, 10_000, 8
GROUPS = {"boxes": ("yolo",), "words": ("ocr",), "boxes and words": ("yolo", "ocr")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="posters")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--online", action="store_true", help="files that are not here may be downloaded")
    options = parser.parse_args()
    prepare_libraries()
    go_offline(not options.online)
    rng = np.random.default_rng(options.seed)
    posters = _posters(options.data, options.split)
    chosen = [posters[index] for index in rng.permutation(len(posters))[: options.count]]
    classifier = PosterClassifier.load(options.model, device=options.device, offline=not options.online)
    largest, moved = 0.0, {name: [] for name in GROUPS}
    used = 0
    with progress("explanations", len(chosen)) as ticker:
        for probe in _probes(classifier, chosen):
            largest = max(largest, _gap(probe))
            for name, branches in GROUPS.items():
                if (pair := _moves(probe, branches, rng)) is not None:
                    moved[name].append(pair)
            used += 1
            ticker.advance()
    print(f"{used} of {len(chosen)} posters, branches {','.join(classifier.branches)}")
    print(f"largest |sum of shares - (logit - logit of the empty poster)|: {largest:.1e}\n")
    print("\n".join(_table({name: np.array(pairs).reshape(-1, 2) for name, pairs in moved.items()}, rng)))


def _posters(data: Path, split: str) -> list[Path]:
    if not (data / "manifest.parquet").is_file():
        return image_files(data)
    dataset = Dataset.load(data)
    return [dataset.image_path(row) for row in np.flatnonzero(dataset.table["split"] == split).tolist()]


def _probes(classifier: PosterClassifier, posters: Sequence[Path]) -> Iterator[Probe]:
    task = classifier._explainer
    task.start(1)
    try:
        for start in range(0, len(posters), PART):
            sightings, _ = task.sightings(task.load(ExplainRequest(posters[start : start + PART], classifier.branches)))
            yield from (sighting.probe for sighting in sightings)
    finally:
        task.stop()


def _gap(probe: Probe) -> float:
    values = probe.by_subset()
    if values is None:
        raise SystemExit("a network without fusion has no branches to share between")
    total = np.sum(list(branch_shares(values).values()), axis=0)
    return float(np.abs(total - (probe.logits - values[frozenset()])).max())


def _moves(probe: Probe, branches: Sequence[str], rng: np.random.Generator) -> tuple[float, float] | None:
    """How far the surest genre's logit moves without the items that count most, and without as many random ones."""
    items = [(name, index) for name in branches if name in probe.parts for index in range(len(probe.parts[name].items))]
    if len(items) < LEAST:
        return None
    genre = int(probe.logits.argmax())

    def move(sets: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        hidden = [{name: [i for n, i in (items[k] for k in some) if n == name] for name in branches} for some in sets]
        moved: NDArray[np.float64] = np.abs(probe.without(hidden)[:, genre] - probe.logits[genre])
        return moved

    alone = move([[k] for k in range(len(items))])
    most = np.argsort(-alone, kind="stable")[:TOGETHER].tolist()
    draws = [rng.choice(len(items), TOGETHER, replace=False).tolist() for _ in range(DRAWS)]
    together = move([most, *draws])
    return float(together[0]), float(together[1:].mean())


def _table(moved: dict[str, NDArray[np.float64]], rng: np.random.Generator) -> Iterator[str]:
    yield "| left out together | posters | the three that count most | three at random | difference, 95 % interval |"
    yield "|---|---|---|---|---|"
    for name, pairs in moved.items():
        if not len(pairs):
            yield f"| {name} | 0 | | | |"
            continue
        gaps = pairs[:, 0] - pairs[:, 1]
        means = gaps[rng.integers(0, len(gaps), (RESAMPLES, len(gaps)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        most, drawn = pairs.mean(axis=0)
        yield f"| {name} | {len(pairs)} | {most:.3f} | {drawn:.3f} | {gaps.mean():.3f} ({low:.3f} to {high:.3f}) |"


if __name__ == "__main__":
    main()
