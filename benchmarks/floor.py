"""The floor: the time that the networks' multiplications alone would take at the rate of one large convolution.

Counted by torch for a poster of 300 x 444 pixels, as most of `ccu` are. The recogniser's and the encoder's share
depends on what is printed on a poster: `LINES` is the mean over `ccu`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

CANVAS = (448, 304)  # of CRAFT
LINES, WIDTH, TOKENS = 7.0, 320, 6  # lines a poster, pixels of a padded crop, tokens of a line


def rate(dtype: torch.dtype, device: str, seconds: float = 3.0) -> float:
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


def floor(config_name: str, overrides: Sequence[str], device: str) -> str:
    """A table in Markdown: operations of each network, and their time at that rate."""
    from detectors.precision import resolve_precision
    from mmposter.config import load_config
    from mmposter.features.extractors import build_extractors

    branches = build_extractors(
        load_config(config_name, [*overrides, "ocr.reader=easyocr"]), device="cpu", offline=True
    )
    counted = _operations(branches)
    best = resolve_precision("auto", device)
    rates = {torch.float32: rate(torch.float32, device)}
    rates[best] = rates.get(best) or rate(best, device)
    lines = [
        f"Rate of a large convolution with {torch.get_num_threads()} threads: "
        + ", ".join(
            f"{value / 1e9:.0f} GFLOP/s in {str(dtype).removeprefix('torch.')}" for dtype, value in rates.items()
        ),
        "",
        "| network | GFLOP a poster | precision | ms at that rate |",
        "|---|---|---|---|",
    ]
    total = 0.0
    for name, (operations, dtype) in counted.items():
        used = best if dtype is None else dtype
        total += operations / rates[used]
        lines.append(
            f"| {name} | {operations / 1e9:.1f} | {str(used).removeprefix('torch.')} | "
            f"{1e3 * operations / rates[used]:.1f} |"
        )
    lines.append(f"| all | {sum(value for value, _ in counted.values()) / 1e9:.1f} | | {1e3 * total:.1f} |")
    return "\n".join(lines)


def _operations(branches: Any) -> dict[str, tuple[float, torch.dtype | None]]:
    """Operations a poster, and the precision (None: bf16 where the device has it)."""
    for branch in branches.values():
        for step in branch.steps:
            step.start()
    reader = branches["ocr"].steps[0]._model  # easyocr's
    crop = torch.zeros(1, 1, 64, WIDTH)
    recogniser = reader._recogniser._network.float()
    craft = reader._detector._craft.float()
    yolo = branches["yolo"].steps[0]
    tower = branches["cnn"].steps[0]._tower
    encoder = branches["ocr"].steps[1]._model.float()
    tokens = torch.ones(1, TOKENS, dtype=torch.long)
    return {
        "CRAFT": (count(craft, torch.zeros(1, 3, *CANVAS)), None),
        "recogniser": (LINES * count(recogniser, crop, None), None),
        "text encoder": (2 * LINES * count(encoder, tokens), None),  # each line, and all of them as one text
        "YOLO": (count(yolo._model._model.model, torch.zeros(1, 3, 448, 448)), torch.float32),
        "backbone": (count(tower.backbone, torch.zeros(1, 3, *tower.input.size)), torch.float32),
    }


def count(module: Any, *inputs: Any) -> float:
    """Operations of one call, two a multiply-add."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return float(counter.get_total_flops())
