"""The resize of `mmposter.images.transforms.PosterTransform` for graphs: to the last bit that of torch's 8-bit images.

torch resizes 8-bit pictures (bicubic or bilinear, antialias) in whole numbers: first along the width, then along the
height, each time with 16-bit weights, and each time rounded to 8 bits (`aten/src/ATen/native/cpu/UpSampleKernel.cpp`;
the scheme is Pillow's). ONNX has Resize (cubic, antialias), but onnxruntime's weights have other bits: of 101 real
posters 3 to 4 values in a thousand came out one or two steps of 255 off, and every poster had a score that was wrong by
1e-4 or more, up to 2e-3. `ExactResize` is torch's arithmetic in standard operators, so a graph gets the very pixels
that the model was trained on.

Letters: H W height and width of a poster, n and m pixels of one side before and after.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_A = -0.5  # of the cubic; Pillow's and torch's choice for antialias
_WEIGHT_BITS, _SHIFT_BITS = 15, 22  # a weight is below 2^15, and at most shifted by 22 bits
_HIGH_OFFSET = 128


class _Resize(nn.Module):
    """To `size`, height and width in pixels, by the filter `name`, one of `fusion.backbones.RESIZES`."""

    def __init__(self, size: tuple[int, int], name: str = "bicubic") -> None:
        super().__init__()
        self.size, self.name = size, name


class NativeResize(_Resize):
    """torch's own operator, for graphs that torch itself runs."""

    def forward(self, image: Tensor) -> Tensor:
        """1 x 3 x H x W, uint8 -> 1 x 3 x height x width, uint8."""
        if self.name == "nearest":
            return F.interpolate(image, self.size, mode="nearest-exact")
        return F.interpolate(image, self.size, mode=self.name, align_corners=False, antialias=True)


class ExactResize(_Resize):
    """The same in whole numbers, for graphs that torch does not run."""

    def forward(self, image: Tensor) -> Tensor:
        """1 x 3 x H x W, uint8 -> 1 x 3 x height x width, uint8."""
        height, width = self.size
        narrow = _resize_rows(image, width, self.name)
        return _resize_rows(narrow.transpose(2, 3), height, self.name).transpose(2, 3)


def filter_weights(length: int, size: int, name: str) -> tuple[Tensor, Tensor]:
    """How much each of n pixels counts for each of m, as whole numbers.

    Args:
        length: n; torch makes it a tensor where a graph is traced, and the graph then asks each poster.
        size: m.
        name: of the filter.

    Returns:
        n x m of int32 in the 16-bit range, and what each column is about in sum, a power of two (1 of float64).
    """
    # Of shape 1, not (): a quotient of two numbers without a dimension is float32 in torch's older ONNX exporter.
    scale = torch.as_tensor(length).to(torch.float64).reshape(1) / torch.tensor([size], dtype=torch.float64)
    centre = scale * (torch.arange(size, dtype=torch.float64) + 0.5)
    places = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    if name == "nearest":
        return (places == torch.floor(centre)).to(torch.int32), torch.ones(1, dtype=torch.float64)
    weights = _KERNELS[name](((places + 0.5 - centre) / scale.clamp(min=1.0)).abs())  # n x m
    weights = weights / weights.sum(dim=0)
    # The largest power of two that leaves the largest weight below 2^15.
    powers = 2.0 ** torch.arange(_SHIFT_BITS + 1, dtype=torch.float64)
    fits = 0.5 + weights.max() * powers < 2.0**_WEIGHT_BITS
    unit = torch.where(fits, powers, torch.ones_like(powers)).amax(dim=0, keepdim=True)
    # Half away from zero, as C rounds.
    return (torch.sign(weights) * torch.floor(weights.abs() * unit + 0.5)).to(torch.int32), unit


def _cubic(x: Tensor) -> Tensor:
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


# How much a pixel counts at a distance, in pixels of the coarser side.
_KERNELS = {"bicubic": _cubic, "bilinear": _triangle}


def _resize_rows(image: Tensor, size: int, name: str) -> Tensor:
    """1 x 3 x H x n, uint8 -> 1 x 3 x H x m, uint8."""
    weights, unit = filter_weights(image.shape[3], size, name)
    # ONNX multiplies 8-bit numbers exactly and fast, 16-bit ones not at all: weight = 256 high + low.
    high = torch.div(weights, 256, rounding_mode="floor")
    low = weights - 256 * high
    total = _Product.apply(image, (high + _HIGH_OFFSET).to(torch.uint8), low.to(torch.uint8))
    return torch.floor((total.to(torch.float64) + unit / 2) / unit).clamp(0, 255).to(torch.uint8)


class _Product(torch.autograd.Function):
    """image @ (256 (high - 128) + low), exactly: 1 x 3 x H x n and n x m, all uint8 -> 1 x 3 x H x m, int32."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, high: Tensor, low: Tensor) -> Tensor:
        return image.int() @ (256 * (high.int() - _HIGH_OFFSET) + low.int())

    @staticmethod
    def symbolic(g: Any, image: Any, high: Any, low: Any) -> Any:
        """The nodes that stand for `forward` in an ONNX graph."""

        def constant(value: int, dtype: torch.dtype) -> Any:
            return g.op("Constant", value_t=torch.tensor(value, dtype=dtype))

        none, offset = constant(0, torch.uint8), constant(_HIGH_OFFSET, torch.uint8)
        # uint8 by uint8: for uint8 by int8 onnxruntime has kernels that saturate.
        upper = g.op("MatMulInteger", image, high, none, offset)
        lower = g.op("MatMulInteger", image, low, none, none)
        return g.op("Add", g.op("Mul", upper, constant(256, torch.int32)), lower)
