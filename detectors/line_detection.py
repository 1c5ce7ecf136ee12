"""Where lines of text are on a poster: CRAFT's heat maps, and easyocr's boxes and lines from them.

Source: Y. Baek, B. Lee, D. Han, S. Yun, H. Lee, "Character Region Awareness for Text Detection", CVPR 2019,
arXiv 1904.01941; thresholds are easyocr's defaults.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_TEXT, _LINK, _LOW_TEXT = 0.7, 0.4, 0.4  # thresholds on CRAFT's region and affinity scores
_GROUPING = {"slope_ths": 0.1, "ycenter_ths": 0.5, "height_ths": 0.5, "width_ths": 0.5, "add_margin": 0.1}
_MIN_SIZE = 20  # pixels of the poster; a line whose longer side is not larger is dropped
_MAP_STRIDE = 2  # the heat maps have half the canvas's height and width


@dataclass(frozen=True)
class FoundLines:
    """The lines of one poster, in its pixels."""

    horizontal: list[list[int]]  # upright boxes, each (left, right, top, bottom), from top to bottom
    free: list[list[list[float]]]  # tilted ones, each four corners (x, y) from the line's own top left clockwise


class LineDetector:
    """CRAFT over posters, those of equal canvas together where that pays; a copy of easyocr's network is used.

    `scale` and `max_side` are those of `detectors.text.Reading`. The canvas's sides are multiples of `stride`: CRAFT
    halves its maps four times, so 16 is enough; easyocr takes 32.
    """

    def __init__(
        self, craft: nn.Module, *, device: str, dtype: torch.dtype, scale: float, max_side: int, stride: int
    ) -> None:
        self.scale, self.max_side, self.stride = scale, max_side, stride
        self._device, self._dtype = device, dtype
        folded = fold_batch_norms(copy.deepcopy(craft).eval())
        self._craft = folded.to(device=device, dtype=dtype).to(memory_format=torch.channels_last)
        # On a CPU one poster fills the cores, and the maps of several would not stay in its cache: 4 together take
        # a fifth longer than one by one.
        self._batch_size = 1 if torch.device(device).type == "cpu" else 16

    def __call__(self, posters: Sequence[NDArray[np.uint8]]) -> list[FoundLines]:
        """Find lines on posters, arrays H x W x 3, uint8, RGB; sizes may differ."""
        from easyocr.imgproc import normalizeMeanVariance, resize_aspect_ratio

        equal: dict[tuple[int, ...], list[int]] = defaultdict(list)
        canvases, ratios = [], []
        for index, poster in enumerate(posters):
            canvas, ratio, _ = resize_aspect_ratio(poster, self.max_side, interpolation=1, mag_ratio=self.scale)
            height, width = (-(-int(side * ratio) // self.stride) * self.stride for side in poster.shape[:2])  # up
            canvas = canvas[:height, :width]  # the rest is padding
            equal[canvas.shape].append(index)
            canvases.append(normalizeMeanVariance(canvas))
            ratios.append(ratio)
        found: dict[int, FoundLines] = {}
        for indices in equal.values():
            for start in range(0, len(indices), self._batch_size):
                batch = indices[start : start + self._batch_size]
                maps = self._heat_maps(np.stack([canvases[index] for index in batch]))
                found |= {index: _lines(*pair, ratios[index]) for index, pair in zip(batch, maps, strict=True)}
        return [found[index] for index in range(len(posters))]

    def _heat_maps(self, canvases: NDArray[np.float32]) -> list[tuple[Any, Any]]:
        images = torch.from_numpy(canvases).permute(0, 3, 1, 2)  # B x 3 x H x W, channels last in memory
        with torch.inference_mode():
            maps = self._craft(images.to(device=self._device, dtype=self._dtype))[0].float().cpu().numpy()
        return [(np.ascontiguousarray(m[..., 0]), np.ascontiguousarray(m[..., 1])) for m in maps]


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Each convolution in a `nn.Sequential` takes in the batch norm behind it: the same function in fewer passes."""
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        names = list(module._modules)
        for first, second in pairwise(names):
            convolution, norm = module._modules[first], module._modules[second]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[first] = fuse_conv_bn_eval(convolution, norm)
                module._modules[second] = nn.Identity()
    return network


def _lines(region: NDArray[np.float32], affinity: NDArray[np.float32], ratio: float) -> FoundLines:
    """easyocr's way from heat maps (a place is text, it joins two letters) to lines.

    `ratio` is that of the canvas's picture to the poster.
    """
    from easyocr.craft_utils import getDetBoxes
    from easyocr.utils import group_text_box

    boxes, _, _ = getDetBoxes(region, affinity, _TEXT, _LINK, _LOW_TEXT)
    quads = [(box * (_MAP_STRIDE / ratio)).astype(np.int32).reshape(-1) for box in boxes]
    horizontal, free = group_text_box(quads, **_GROUPING)
    return FoundLines(
        [box for box in horizontal if max(box[1] - box[0], box[3] - box[2]) > _MIN_SIZE],
        [quad for quad in free if np.ptp(np.array(quad), axis=0).max() > _MIN_SIZE],
    )
