"""The floor: the time that the networks alone would take.

Of torch's networks that is the time of their multiplications at the rate of one large convolution, counted by torch for
a poster of 300 x 444 pixels, as most of `ccu` are. The recogniser's and the encoder's share depends on what is printed
on a poster: of easyocr's lines, `LINES` is the mean over `ccu`. Of PP-OCR's networks, which are onnxruntime's, it is
the time of their bare calls on what the reader gave them of the posters at hand.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from detectors.precision import resolve_precision
from mmposter.config import load_config
from mmposter.data import Dataset
from mmposter.features.extractors import build_extractors
from mmposter.features.settled import settle
from mmposter.images.reading import load_image

CANVAS = (448, 304)  # of CRAFT
LINES, WIDTH, TOKENS = 7.0, 320, 6  # lines a poster, pixels of a padded crop, tokens of a line
AT_A_TIME = 32  # posters of which PP-OCR's inputs are kept


class Share(NamedTuple):
    """A network's part of the floor, by poster."""

    seconds: float
    how: str  # what was counted or timed
    at: str  # the precision, or what ran it


def rate(dtype: torch.dtype, device: str, seconds: float) -> float:
    """Operations a second of a 3x3 convolution, 256 to 256 channels on 112 x 80 places (8 of them on a GPU)."""
    batch = 1 if device == "cpu" else 8
    layer = torch.nn.Conv2d(256, 256, 3, padding=1, bias=False).to(device, dtype).to(memory_format=torch.channels_last)
    images = torch.randn(batch, 256, 112, 80, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    best = float("inf")
    end = time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < end:
            begun = time.perf_counter()
            layer(images)
            if device != "cpu":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - begun)
    return batch * 2 * 256 * 256 * 9 * 112 * 80 / best


def floor(data: Path, config_name: str, overrides: Sequence[str], device: str, seconds: float) -> str:
    """Two tables in Markdown: each network's time with easyocr and with PP-OCR.

    Args:
        data: a data set, of whose posters PP-OCR's networks are timed.
        config_name: a recipe.
        overrides: as of ``--set``; the reader of words is each in turn.
        device: of the networks.
        seconds: for which the convolution is timed in each precision.
    """
    best = resolve_precision("auto", device)
    rates = {dtype: rate(dtype, device, seconds) for dtype in dict.fromkeys((torch.float32, best))}
    threads = torch.get_num_threads()
    said = ", ".join(f"{value / 1e9:.0f} GFLOP/s in {_named(dtype)}" for dtype, value in rates.items())
    posters = [np.asarray(load_image(poster)) for poster in _paths(data)]

    def counted(operations: float, dtype: torch.dtype) -> Share:
        return Share(operations / rates[dtype], f"{operations / 1e9:.1f} GFLOP", _named(dtype))

    tables = [f"Rate of a large convolution with {threads} threads: {said}"]
    for reader in ("easyocr", "ppocr"):
        config = settle(load_config(config_name, [*overrides, f"ocr.reader={reader}"]))
        branches = build_extractors(config, ("cnn", "yolo", "ocr"), device=device, offline=True)
        lines, encoder = branches["ocr"].steps
        for step in (*branches["cnn"].steps, *branches["yolo"].steps, lines, encoder):
            step.start()
        shares: dict[str, Share] = {}
        if reader == "easyocr":
            shares |= {name: counted(value, best) for name, value in _easyocr(lines._model, device).items()}
            count_lines, tokens = LINES, TOKENS
        else:
            shares, texts = _ppocr(lines._model, posters, threads)
            count_lines = len(texts) / len(posters)
            tokens = (
                round(np.mean([len(encoder._encoder._tokenizer(text)["input_ids"]) for text in texts]))
                if texts
                else TOKENS
            )
        words = count(encoder._encoder._model.float(), torch.ones(1, tokens, dtype=torch.long, device=device))
        shares["text encoder"] = counted(2 * count_lines * words, best)  # each line, and all of them as one text
        yolo = branches["yolo"].steps[0]._model._model.model.to(device)
        side = config.yolo.size
        shares["YOLO"] = counted(count(yolo, torch.zeros(1, 3, side, side, device=device)), torch.float32)
        tower = branches["cnn"].steps[0]._tower
        picture = torch.zeros(1, 3, *tower.input.size, device=device)
        shares["backbone"] = counted(count(tower.backbone, picture), torch.float32)
        tables.append(_table(reader, shares, f"{count_lines:.1f} lines a poster"))
    return "\n\n".join(tables)


def _paths(data: Path) -> list[Path]:
    dataset = Dataset.load(data)
    return [dataset.image_path(row) for row in range(len(dataset))]


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _table(reader: str, shares: dict[str, Share], words: str) -> str:
    rows = [f"With {reader}, {words}:", "", "| network | a poster | at | ms |", "|---|---|---|---|"]
    rows += [f"| {name} | {share.how} | {share.at} | {1e3 * share.seconds:.1f} |" for name, share in shares.items()]
    return "\n".join([*rows, f"| all | | | {1e3 * sum(share.seconds for share in shares.values()):.1f} |"])


def _easyocr(reader: Any, device: str) -> dict[str, float]:
    """Operations a poster of both networks of easyocr."""
    crop = torch.zeros(1, 1, 64, WIDTH, device=device)
    craft, recogniser = reader._detector._craft.float(), reader._recogniser._network.float()
    return {
        "CRAFT": count(craft, torch.zeros(1, 3, *CANVAS, device=device)),
        "recogniser": LINES * count(recogniser, crop, None),
    }


class _Kept:
    """Stands before a network of rapidocr's and keeps what it is given."""

    def __init__(self, network: Any) -> None:
        self.network, self.given = network, list[NDArray[np.float32]]()

    def __call__(self, images: NDArray[np.float32]) -> Any:
        self.given.append(images)
        return self.network(images)


def _ppocr(reader: Any, posters: Sequence[NDArray[np.uint8]], threads: int) -> tuple[dict[str, Share], list[str]]:
    """Seconds a poster of both networks of PP-OCR, and the lines that were read.

    Posters are read by one thread each, as many side by side as there are threads, and so are the bare calls.
    """
    pipeline = reader._model
    kept = {"detector": _Kept(pipeline.text_det.session), "recogniser": _Kept(pipeline.text_rec.session)}
    pipeline.text_det.session, pipeline.text_rec.session = kept.values()
    seconds, calls, texts = dict.fromkeys(kept, 0.0), dict.fromkeys(kept, 0), list[str]()
    for start in range(0, len(posters), AT_A_TIME):
        texts += [text for lines in reader(posters[start : start + AT_A_TIME]) for text in lines.texts]
        for name, network in kept.items():
            seconds[name] += min(_bare(network.network.session, network.given, threads) for _ in range(2))
            calls[name] += len(network.given)
            network.given.clear()
    where = "onnxruntime, " + kept["detector"].network.session.get_providers()[0].removesuffix("ExecutionProvider")
    how = {name: f"{calls[name] / len(posters):.1f} calls" for name in kept}
    return {name: Share(seconds[name] / len(posters), how[name], where) for name in kept}, texts


def _bare(session: Any, inputs: Sequence[NDArray[np.float32]], threads: int) -> float:
    """Seconds of the calls alone, `threads` side by side."""
    name = session.get_inputs()[0].name
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        for _ in pool.map(lambda images: session.run(None, {name: images}), inputs):
            pass
        return time.perf_counter() - begun


def count(module: Any, *inputs: Any) -> float:
    """Operations of one call, two a multiply-add."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return float(counter.get_total_flops())
