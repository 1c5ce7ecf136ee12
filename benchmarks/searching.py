"""How long an exact search takes, and what near posters have in common.

    python benchmarks/searching.py speed [--rows 1000000] [--width 544]
    python benchmarks/searching.py quality [DATA] [--model posters] [--split test]

`speed` writes an index of made-up posters into a temporary folder (2 bytes a number) and searches it for 1 and for 32
posters, as `mmposter similar` does: all parts are read, their checksums compared, each block multiplied.

`quality` looks for the 10 nearest training posters of each poster of a split, and prints what share of the genres both
have (intersection over union), and how many of the near posters have a genre in common with it, beside 10 random
training posters. Below stand other representations of the same model, made of the same embeddings: the cosine of them
as they are, with each branch of length 1, and of what each branch adds to the logits (head `sum` alone).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from fusion.heads import SumHead
from mmposter import Dataset, PosterClassifier
from mmposter.files.atomic import write_json
from mmposter.similarity import PosterIndex, build_index
from mmposter.similarity.index import FORMAT, INDEX, KIND, ROWS, IndexFacts
from mmposter.similarity.writing import MERGED, write_part

COUNT = 10
Array = NDArray[np.float32]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    speed_of = what.add_parser("speed")
    speed_of.add_argument("--rows", type=int, default=1_000_000)
    speed_of.add_argument("--width", type=int, default=544, help="D of the model posters")
    quality_of = what.add_parser("quality")
    quality_of.add_argument("data", nargs="?", default="benchmark")
    quality_of.add_argument("--model", default="posters")
    quality_of.add_argument("--split", default="test")
    asked = parser.parse_args()
    if asked.what == "speed":
        speed(asked.rows, asked.width)
    else:
        quality(asked.data, asked.model, asked.split)


def speed(rows: int, width: int) -> None:
    """Time searches among made-up posters."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        index = made_up(Path(folder), rows, width)
        wrote = time.perf_counter() - begun
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        before = peak()
        print(f"{rows:,} posters, {width} numbers each: {size:,.0f} MB on disk, written in {wrote:.0f} s\n")
        print("| search for | seconds | of a CPU | of a CPU, a poster |\n| --- | ---: | ---: | ---: |")
        rng = np.random.default_rng(1)
        for queries in (1, 32):
            vectors = rng.normal(size=(queries, width)).astype(np.float32)
            begun, worked = time.perf_counter(), time.process_time()
            found = index.search(vectors, COUNT)
            seconds, worked = time.perf_counter() - begun, time.process_time() - worked
            assert all(len(near) == min(COUNT, rows) for near in found)
            print(f"| {queries} | {seconds:.1f} | {worked:.1f} | {worked / queries:.2f} |", flush=True)
        print(f"\nmost memory {peak():,.0f} MB, {peak() - before:,.0f} MB of it for the searches")


def made_up(folder: Path, rows: int, width: int) -> PosterIndex:
    """An index of random posters."""
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, rows, MERGED):
        count = min(MERGED, rows - start)
        vectors = rng.standard_normal((count, width), dtype=np.float32).astype(np.float16)
        names = pa.array([f"p{row}" for row in range(start, start + count)])
        split, nothing = pa.array(["train"] * count), pa.nulls(count)
        columns = {"id": names, "title": names, "split": split, "key": names}
        table = pa.table([columns.get(name, nothing).cast(ROWS.field(name).type) for name in ROWS.names], schema=ROWS)
        parts.append(write_part(folder, vectors, table))
    facts = IndexFacts(
        kind=KIND, format=FORMAT, made_with="made up", source="/", branches={"all": [0, width]}, through=["all"],
        parts=parts,
        posters=rows, finished=True,
    )  # fmt: skip
    write_json(folder / INDEX, facts.model_dump())
    return PosterIndex.load(folder)


def peak() -> float:
    """The most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def quality(data: str, model: str, split: str) -> None:
    """Say what near posters have in common."""
    classifier = PosterClassifier.load(model, device="cpu", offline=True)
    dataset = Dataset.load(data)
    index = build_index(classifier, data, offline=True)
    vectors = np.concatenate([index.vectors(part) for part in index.facts.parts]).astype(np.float32)
    genres = dict(zip(map(str, dataset.table["id"]), dataset.labels() > 0, strict=True))
    rows = [row for part in index.facts.parts for row in index.rows(part).select(["id", "split"]).to_pylist()]
    ids, sides = np.array([row["id"] for row in rows]), np.array([row["split"] for row in rows])
    seen = vectors.any(axis=1)
    asked, among = np.flatnonzero((sides == split) & seen), np.flatnonzero((sides == "train") & seen)
    print(
        f"{len(asked)} posters of {split}, {COUNT} of {len(among)} training posters; {', '.join(classifier.branches)}\n"
    )
    print("| training posters | genres shared | with a genre in common |\n| --- | ---: | ---: |")

    def show(name: str, near: Sequence[Sequence[str]]) -> None:
        shared, any_shared = [], []
        for one, others in zip(ids[asked], near, strict=True):
            both = genres[one] & np.array([genres[other] for other in others])
            either = genres[one] | np.array([genres[other] for other in others])
            shared.append((both.sum(axis=1) / either.sum(axis=1)).mean())
            any_shared.append(both.any(axis=1).mean())
        print(f"| {name} | {np.mean(shared):.3f} | {np.mean(any_shared):.3f} |", flush=True)

    def searched(by: list[str] | None) -> list[list[str]]:
        found = index.search(vectors[asked], COUNT, by=by, split="train")
        return [[one.id for one in near] or list(ids[among[:COUNT]]) for near in found]

    rng = np.random.default_rng(0)
    show("random", [ids[rng.choice(among, min(COUNT, len(among)), replace=False)].tolist() for _ in asked])
    show("nearest by all (`similar`)", searched(None))
    for branch in classifier.branches:
        show(f"nearest by {branch} alone", searched([branch]))
    for name, other in others(classifier, vectors).items():
        unit = other / np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
        order = np.argsort(-(unit[asked] @ unit[among].T), axis=1, kind="stable")[:, :COUNT]
        show(name, [ids[among[near]].tolist() for near in order])


def others(classifier: PosterClassifier, vectors: Array) -> dict[str, Array]:
    """Other representations, each up to the length of a row, which no cosine sees."""
    model, parts = classifier.run.load_model(), classifier.parts
    if not hasattr(model, "fusion"):
        return {}
    head = model.fusion.head
    with torch.no_grad():
        weights = [much.numpy() for much in head.attention_to()]
    plain = [vectors[:, place] / np.maximum(much, 1e-12) for place, much in zip(parts.values(), weights, strict=True)]
    alike = [values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in plain]
    found = {"other: embeddings as they are": plain, "other: each branch of length 1": alike}
    if isinstance(head, SumHead):
        maps, _ = head.outputs()
        pairs = zip(plain, maps, strict=True)
        found["other: what each branch adds to the logits"] = [values @ m.detach().numpy().T for values, m in pairs]
    return {name: np.concatenate(values, axis=1) for name, values in found.items()}


if __name__ == "__main__":
    main()
