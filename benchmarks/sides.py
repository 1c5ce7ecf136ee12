"""The two sides of a comparison, each in processes of its own: a loop as users write it, and `mmposter extract`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measure import run_measured
from reading import Boxes, Measured, our_boxes, their_boxes

from mmposter.config import Config, load_config
from mmposter.data import Dataset, write_dataset
from mmposter.features.extractors import build_extractors
from mmposter.features.settled import settle
from mmposter.features.table import dataset_posters

HERE = Path(__file__).resolve().parent
LOOPS = {
    "loop-ocr": ("ocr",),
    "loop-all": ("ocr", "text", "yolo", "cnn"),
    "loop-rapidocr": ("rapidocr",),
    "loop-all-rapidocr": ("rapidocr", "text", "yolo", "cnn"),
}
"""What a loop does with each poster: steps of loop.py."""


def subset(data: Path, count: int, folder: Path, first: int | None = None) -> Path:
    """A data set of `count` evenly spaced posters of `data` (the first `first` of them)."""
    whole = Dataset.load(data)
    count = min(count, len(whole))
    rows = [index * len(whole) // count for index in range(count)][:first]
    write_dataset(folder, whole.table.iloc[rows].reset_index(drop=True), whole.vocabulary, {"root": str(whole.root)})
    return folder


def run_loop(
    parts: Sequence[str], data: Path, config: str, overrides: Sequence[str], device: str, limit: float | None = None
) -> Measured:
    """The loop over all posters of a data set.

    Args:
        parts: steps of loop.py, in order.
        data: the data set; two files of the loop are written into it.
        config: a recipe.
        overrides: as of ``--set``; the reader of words is the loop's.
        device: of its networks.
        limit: seconds after which it is ended.

    Raises:
        measure.CommandError, measure.DeadlineError: it came to no end.
        UserError: pretrained files are missing.
    """
    reader = "ppocr" if "rapidocr" in parts else "easyocr"
    settled = settle(load_config(config, [*overrides, f"ocr.reader={reader}"]))
    paths = [str(poster.path) for poster in dataset_posters(Dataset.load(data))]
    spec = {"posters": paths, "parts": list(parts), "device": device, "gpu": device != "cpu"}
    file = data / "loop.txt"
    file.write_text(json.dumps(spec | _weights(parts, settled, data / "backbone.pt")))
    wall, peak, out = run_measured([sys.executable, "-W", "ignore", str(HERE / "loop.py"), str(file)], limit)
    result = json.loads(out.splitlines()[-1])
    return Measured(
        rate=len(paths) / result["seconds"],
        wall=wall,
        peak_gb=peak,
        parts={part: seconds / len(paths) for part, seconds in result["parts"].items()},
        boxes=their_boxes(result["texts"]),
    )


def _weights(parts: Sequence[str], config: Config, file: Path) -> dict[str, Any]:
    """Where the loop finds the weights that ours have; those of the image network are written to `file`."""
    found: dict[str, Any] = {}
    if words := {"ocr", "text", "rapidocr"} & set(parts):
        reader, encoder = build_extractors(config, ["ocr"], offline=True)["ocr"].steps
        if "ocr" in words:
            found["easyocr"] = str(reader._folder)
        found["encoder"] = str(encoder._folder)
    if "yolo" in parts:
        yolo = build_extractors(config, ["yolo"], offline=True)["yolo"].feature
        found |= {"yolo": str(yolo._file), "yolo_size": config.yolo.size}
    if "cnn" in parts:
        tower = build_extractors(config, ["cnn"], offline=True)["cnn"].feature._tower
        torch.save(tower.weights.build().state_dict(), file)
        found |= {"backbone": config.cnn.backbone, "backbone_file": str(file), "stage": config.style.stage}
        seen = tower.input
        found |= {"size": seen.size, "resize": seen.resize, "mean": seen.mean, "std": seen.std}
    return found


def run_ours(options: Sequence[str], whole: Path, part: Path, limit: float | None = None) -> tuple[float, float, float]:
    """`mmposter extract` over both data sets, without what an earlier run has left there.

    Args:
        options: of the command.
        whole: all posters.
        part: fewer of them, whose time is taken off: what libraries and models take to load.
        limit: seconds after which each run is ended.

    Returns:
        posters a second (NaN where the run over more posters was the shorter one: too few of them), seconds of the
        whole run, and the most memory (GB).

    Raises:
        measure.CommandError, measure.DeadlineError: it came to no end.
    """
    taken = []
    for data in (part, whole):
        shutil.rmtree(data / "features", ignore_errors=True)
        command = [sys.executable, "-m", "mmposter", "extract", "--offline", *options, str(data)]
        taken.append(run_measured(command, limit)[:2])
    (short, _), (long, peak) = taken
    few, many = (len(Dataset.load(data)) for data in (part, whole))
    return (many - few) / (long - short) if long > short else float("nan"), long, peak


def boxes_of(whole: Path, config: str, overrides: Sequence[str], options: Sequence[str]) -> list[Boxes]:
    """What `run_ours` has read, the last ``--set`` of `options` among the overrides."""
    more = [word for flag, word in pairwise(options) if flag == "--set"]
    return our_boxes(whole, [config, *overrides, *more])
