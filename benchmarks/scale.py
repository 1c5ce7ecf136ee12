"""How opening, training and evaluating grow with the number of posters: seconds, and the most memory at a time.

    python benchmarks/scale.py OUT --posters 20000 100000 1000000

makes data of so many posters below OUT, with the records of the benchmark pack again and again (so their sizes are
right, and nothing is learnt that matters). `mmposter train` trains on them for one epoch, with all four branches: first
it lays the features out, then, trained again, it finds them. With --evaluate the run is measured on the test
posters (one in five). A million posters take 44 GB of OUT while they are measured; --keep leaves them there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import run_measured

from mmposter.data.dataset import Dataset, write_dataset
from mmposter.features.index import index_table

BRANCHES = "cnn,style,yolo,ocr"
PART = 50_000  # posters of an index file


@dataclass(frozen=True)
class Measured:
    """What one command took."""

    seconds: float
    peak: float  # GB
    epoch: float = 0.0  # seconds of the epoch alone


def main() -> None:
    """Measure each number of posters, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--posters", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--evaluate", action="store_true", help="measure a run on the test posters, too")
    parser.add_argument("--keep", action="store_true", help="leave the data there")
    asked = parser.parse_args()
    print(
        "| posters | what | seconds | peak memory (GB) | microseconds a poster |\n| ---: | --- | ---: | ---: | ---: |"
    )
    for posters in asked.posters:
        data, run = asked.out / f"data-{posters}", asked.out / f"run-{posters}"
        make_data(data, posters)
        for what in ("train, features laid out first", "train"):
            found = train(data, run)
            learnt = int(json.loads((run / "model.json").read_text())["facts"]["train_posters"])
            show(posters, what, found.seconds, found.peak, 1e6 * found.seconds / posters)
            show(posters, "one epoch of it", found.epoch, found.peak, 1e6 * found.epoch / learnt)
        if asked.evaluate:
            command = ["evaluate", str(run), str(data), "--include-trained", "--offline"]
            seconds, peak, _ = run_measured([sys.executable, "-m", "mmposter", *command])
            show(posters, "evaluate", seconds, peak, 1e6 * seconds / (posters // 5))
        if not asked.keep:
            shutil.rmtree(data)


def show(posters: int, what: str, seconds: float, peak: float, each: float) -> None:
    """A row of the table."""
    print(f"| {posters:,} | {what} | {seconds:.1f} | {peak:.2f} | {each:.0f} |", flush=True)


def train(data: Path, run: Path) -> Measured:
    """One epoch of all branches."""
    seconds, peak, _ = run_measured([sys.executable, "-m", "mmposter", *train_command(data, run, 1), "--overwrite"])
    (epoch,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return Measured(seconds, peak, epoch["seconds"])


def train_command(data: Path, run: Path, epochs: int) -> list[str]:
    """The arguments of `mmposter` that train all branches."""
    pins = json.loads((data / "dataset.json").read_text())["pins"]
    height, width = pins["fingerprints"]["cnn"]["size"]
    settings = [f"train.epochs={epochs}", f"cnn.size=[{height},{width}]"]
    command = ["train", str(data), "--branches", BRANCHES, "--out", str(run), "--offline"]
    return [*command, *(word for setting in settings for word in ("--set", setting))]


def make_data(folder: Path, posters: int) -> None:
    """Data of so many posters, with the records of the benchmark pack; nothing where they are there already."""
    if (folder / "dataset.json").is_file():
        return
    pack = Dataset.load("benchmark")
    store = pack.folder / "features"
    # Neighbours lie in one shard, as where `mmposter extract` has put them.
    by_place = _by_place(store, list(pack.table["sha256"]))
    source = by_place[np.arange(posters) % len(by_place)]
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(posters)]
    table = pack.table.iloc[source].reset_index(drop=True)
    names = [f"made-up-{number:08}" for number in range(posters)]
    random = np.random.default_rng(0)
    table = table.assign(
        id=names,
        path=[f"{name}.jpg" for name in names],
        group=names,
        title=[f"Film {number}" for number in range(posters)],
        sha256=hashes,
        split=random.permutation(np.repeat(["train", "val", "test"], _shares(posters))),
        phash=random.integers(0, 2**64 - 1, posters, np.uint64),
    )
    for extractor in sorted(store.iterdir()):
        if (extractor / "fingerprint.json").is_file():
            _repeat(extractor, folder / "features" / extractor.name, list(pack.table["sha256"]), source, hashes)
    info = {key: pack.info[key] for key in ("pictures", "pack", "options", "pins")}
    write_dataset(folder, table, pack.vocabulary, {**info, "root": str(folder)})


def _shares(posters: int) -> list[int]:
    val, test = posters // 10, posters // 5
    return [posters - val - test, val, test]


def _by_place(store: Path, hashes: list[str]) -> np.ndarray:
    """The rows of the pack, those of one shard together."""
    places = _places(next(folder for folder in sorted(store.glob("cnn-*"))))
    return np.array(sorted(range(len(hashes)), key=lambda row: places[hashes[row]][:2]))


def _places(extractor: Path) -> dict[str, tuple[str, int, int]]:
    """Shard, row and checksum by picture."""
    rows = pa.concat_tables([pq.read_table(file) for file in sorted((extractor / "index").glob("*.parquet"))])
    return {row["sha256"]: (row["shard"], row["row"], row["crc32"]) for row in rows.to_pylist()}


def _repeat(extractor: Path, copy: Path, known: list[str], source: np.ndarray, hashes: list[str]) -> None:
    """The store of an extractor, in which other pictures have the same records."""
    places = _places(extractor)
    (copy / "index").mkdir(parents=True)
    (copy / "shards").symlink_to(extractor / "shards")
    for name in ("fingerprint.json", "metadata.json"):
        shutil.copy(extractor / name, copy / name)
    sums = {shard: crc for shard, _, crc in places.values()}
    for start in range(0, len(hashes), PART):
        stop = min(start + PART, len(hashes))
        rows = ((hashes[at], places[known[source[at]]][:2]) for at in range(start, stop))
        pq.write_table(index_table(rows, sums), copy / "index" / f"{start:010}.parquet")


if __name__ == "__main__":
    main()
