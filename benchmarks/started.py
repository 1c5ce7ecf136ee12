"""What going on from a trained model gives on few posters of genres that it does not know.

    python benchmarks/started.py [DATA] [--start RUN] [--count 100] [--draws 5] [--split test] [--set KEY=VALUE ...]

DATA is a pack or a prepared folder with the genres of posters20; `benchmark` is the pack that travels with mmposter.
Three sets of five made-up genres are drawn from it: `groups` of real genres, `periods` of years, and `mixed`, which is
a genre in a period. Of the posters of the split, which the model has not been trained on, `--count` are drawn: seven of
eight teach, the rest stand in for the validation posters. All others of the split are measured. Each draw, which is
also the seed, is trained twice: from the start, and anew behind the same image network (`--init posters`, which is also
what is done where nothing is said). Settings are chosen with ``--split val``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmposter.config import Config, load_config, read_values
from mmposter.data import Dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.evaluation import mean_average_precision
from mmposter.features.pins import Pins
from mmposter.features.settled import settle
from mmposter.training.inputs import Inputs, load_inputs
from mmposter.training.start import Start
from mmposter.training.train import fit

GROUPS = {
    "Dark": {"Horror", "Thriller", "Mystery", "Crime"},
    "Light": {"Comedy", "Romance"},
    "Loud": {"Action", "Adventure", "Sci-Fi"},
    "True": {"Documentary", "Biography", "History", "War", "Sport", "Music"},
    "Young": {"Animation", "Family", "Fantasy"},
}
STARTS = (1980, 1987, 1994, 2001, 2008)
"""First years of the periods; the last is open."""
MIDDLE = 2000
MIXED = ("Early fights", "Early laughs", "Late fights", "Late laughs", "Lone drama")


def groups(genres: set[str], year: int) -> list[str]:
    """Every group that holds one of the genres."""
    return [name for name, members in GROUPS.items() if genres & members]


def periods(genres: set[str], year: int) -> list[str]:
    """The one period of the year."""
    return [f"From {max(start for start in STARTS if start <= max(year, STARTS[0]))}"]


def mixed(genres: set[str], year: int) -> list[str]:
    """What no group of genres and no period alone says."""
    when = "Early" if year < MIDDLE else "Late"
    found = [f"{when} laughs"] if "Comedy" in genres else []
    found += [f"{when} fights"] if genres & {"Action", "Crime", "Thriller"} else []
    return [*found, "Lone drama"] if genres == {"Drama"} else found


class MadeUp(NamedTuple):
    """Five genres, and which of them a poster has by its real genres and year."""

    genres: tuple[str, ...]
    of: Callable[[set[str], int], list[str]]


MADE_UP = {
    "groups": MadeUp(tuple(GROUPS), groups),
    "periods": MadeUp(tuple(f"From {start}" for start in STARTS), periods),
    "mixed": MadeUp(MIXED, mixed),
}


class Measured(NamedTuple):
    """One training."""

    value: float  # mAP on the posters that were kept apart
    seconds: float


def with_genres(dataset: Dataset, name: str) -> Dataset:
    """The same posters with made-up genres."""
    made, table = MADE_UP[name], dataset.table.copy()
    years = table["year"].fillna(MIDDLE)
    table["genres"] = [made.of(set(genres), int(year)) for genres, year in zip(table["genres"], years, strict=True)]
    return replace(dataset, table=table, genre_vocabulary=Vocabulary(name, made.genres))


def drawn(inputs: Inputs, dataset: Dataset, split: str, count: int, draw: int) -> Inputs:
    """`count` posters of the split to learn from; the others of it are called ``test``, all else is left out."""
    labels = dataset.labels()
    rows = np.random.default_rng(draw).permutation([row for row in inputs.rows(split) if labels[row].any()])
    splits = np.full(len(labels), "left out", dtype=object)
    splits[rows] = "test"
    splits[rows[:count]] = "train"
    splits[rows[:count][-max(count // 8, 1) :]] = "val"
    return replace(inputs, labels=labels, splits=splits)


def measure(config: Config, dataset: Dataset, inputs: Inputs, start: Start | None) -> Measured:
    """Train once, and measure the posters that were kept apart."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"device": "cpu", "offline": True, "quiet": True}
        fitted = fit(config, dataset, inputs, Path(folder), start=start, **how)
        seconds = time.monotonic() - began
        probs, kept, _ = fitted.trainer.predict(inputs.rows("test"))
    return Measured(mean_average_precision(inputs.labels[kept], probs), seconds)


def line(name: str, began: list[Measured], anew: list[Measured], constant: float) -> str:
    """A row of the table."""
    gains = [one.value - other.value for one, other in zip(began, anew, strict=True)]
    numbers = [constant, float(np.mean([one.value for one in anew])), float(np.mean([one.value for one in began]))]
    cells = [f"{number:.3f}" for number in numbers]
    cells += [f"{np.mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})"]
    cells += [f"{np.mean([one.seconds for one in found]):.0f}" for found in (anew, began)]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="benchmark")
    parser.add_argument("--start", default="posters")
    parser.add_argument("--genres", nargs="+", choices=list(MADE_UP), default=list(MADE_UP))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--split", default="test")
    parser.add_argument("--set", action="append", default=[], help="of both trainings")
    parser.add_argument("--set-anew", action="append", default=[], help="of the one that begins anew")
    parser.add_argument("--set-start", action="append", default=[], help="of the one that goes on from the start")
    asked = parser.parse_args()
    dataset, start = Dataset.load(asked.data), Start.load(asked.start)
    pins = Pins.of(dataset)
    configs = {
        "anew": settle(load_config(None, [*asked.set, *asked.set_anew]), pins),
        "began": settle(start.config(read_values(None, [*asked.set, *asked.set_start])), pins),
    }
    everything = {
        name: load_inputs(config, dataset, device="cpu", offline=True, quiet=True) for name, config in configs.items()
    }
    heads = ("genres", "constant", "anew", "from the start", "gained (lowest to highest)", "s anew", "s from the start")
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for name in asked.genres:
        made = with_genres(dataset, name)
        found: dict[str, list[Measured]] = {"anew": [], "began": []}
        shares = []
        for draw in range(asked.draws):
            for way, config in configs.items():
                inputs = drawn(everything[way], made, asked.split, asked.count, draw)
                seeded = config.model_copy(update={"seed": draw})
                found[way].append(measure(seeded, made, inputs, start if way == "began" else None))
            target = inputs.labels[inputs.rows("test")]
            shares.append(float(target[:, target.any(axis=0)].mean()))
        print(line(name, found["began"], found["anew"], float(np.mean(shares))), flush=True)


if __name__ == "__main__":
    main()
