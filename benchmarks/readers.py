"""The readers of words beside each other: title words found, false words, and CPU time, poster by poster in one run.

    python benchmarks/readers.py DATA --posters 200 --seed 18

DATA is what `mmposter prepare` wrote. One thread; each poster is read by all readers before the next one, so that other
work on the machine slows them all alike. A word that was read is false where it is no word of the title, of an actor's
name in DATA, or of wordninja's list of English words.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from PIL import Image
from reading import Boxes, false_words, title_words

from detectors import PPOCR_READINGS, READINGS, PpocrReader, PpocrReading, TextReader, reader_files, split_glued
from mmposter.data import Dataset
from mmposter.pretrained import catalogue, resolver


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--posters", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="which posters")
    parser.add_argument("--only", choices=("ppocr", "easyocr"), help="one reader alone")
    parser.add_argument("--enlarge", type=int, nargs="+", help="ppocr, once with each of these settings `ocr.enlarge`")
    parser.add_argument("--source", help="of DATA from several sources, posters of this one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    dataset = Dataset.load(options.data)
    table = dataset.table
    if options.source is not None:
        table = table[table["source"] == options.source]
    table = table.iloc[sorted(Random(options.seed).sample(range(len(table)), min(options.posters, len(table))))]
    names = {word.lower() for actors in dataset.table["actors"] for name in actors for word in name.split()}
    readers = {name: make() for name, make in _READERS.items() if options.only in (None, name)}
    for enlarge in options.enlarge or ():
        readers[f"ppocr, enlarge {enlarge}"] = _ppocr(replace(PPOCR_READINGS["default"], enlarge=enlarge))
    print(_table(readers, [dataset.root / path for path in table["path"]], list(table["title"]), names))


def _ppocr(reading: PpocrReading = PPOCR_READINGS["default"]) -> PpocrReader:
    return PpocrReader(resolver.resolve(catalogue.ppocr(), offline=True), reading=reading, split=False)


def _easyocr() -> TextReader:
    folder = resolver.resolve(catalogue.easyocr(reader_files(["en"])), offline=True)
    return TextReader(folder, reading=READINGS["default"])


_READERS = {"ppocr": _ppocr, "easyocr": _easyocr}


def _table(
    readers: dict[str, PpocrReader | TextReader], paths: Sequence[Path], titles: list[str], names: set[str]
) -> str:
    import wordninja

    known = names | set(wordninja.DEFAULT_LANGUAGE_MODEL._wordcost)
    read: dict[str, list[Boxes]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for path in paths:
        poster = np.asarray(Image.open(path).convert("RGB"))
        for name, reader in readers.items():
            start = time.process_time()
            (lines,) = reader([poster])
            seconds[name] += time.process_time() - start
            read[name].append({(number,): text for number, text in enumerate(lines.texts)})
            read[f"{name}, split"].append({(number,): split_glued(text) for number, text in enumerate(lines.texts)})
    rows = ["| reader | title words | false words | CPU ms a poster |", "|---|---|---|---|"]
    for name, boxes in read.items():
        taken = f"{1e3 * seconds[name] / len(paths):.0f}" if name in seconds else ""
        rows.append(f"| {name} | {title_words(boxes, titles)} | {false_words(boxes, titles, known)} | {taken} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
