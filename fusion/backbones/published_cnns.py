"""The small networks of published poster systems, trained from scratch: no weights, pixel values in 0-1.

Each is published in a sentence or two; what is missing there is our choice, marked "Ours". The layers after the last
map come from `fusion.classifier`. P1, P3, P4 and P7 are the systems of configs/published.

- ``cnn6`` (P1): "6 conv layers, each with pooling, dropout and ReLU", on crops of 150 x 150. Ours: 3 x 3 kernels,
  widths 32, 32, 64, 64, 128, 128, dropout 0.25. Poolings round up: six of them leave 3 x 3 of 150 and 1 x 1 of 64.
- ``cnn3`` (P3): "VGG-like", 3 conv layers, pooling after each, on 268 x 182. Ours: 3 x 3 kernels as in VGG, widths
  32, 64, 128. Its three fully connected layers and its one dropout layer are the classifier's.
- ``cnn4`` (P4): 5 x 5 kernels, widths 16, 32, 64, 64, each with 2 x 2 pooling and dropout 0.25, on 200 x 150. Ours: no
  padding, the default of Keras, in which it was written; 8 x 5 places are left, and a side below 76 is too small.
- ``pixels`` (P7): no layer at all; the feed-forward network on raw pixels is a dense classifier on it. The image's
  size is not published: ours is 96 x 64.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from fusion.backbones.base import BackboneSpec, named_sequence
from fusion.backbones.catalogue import register_backbone
from fusion.layers import Dropout


def _make_cnn(
    widths: tuple[int, ...], kernel_size: int, padding: int, dropout: float, ceil_mode: bool
) -> nn.Sequential:
    """One stage for each convolution: conv, ReLU, 2 x 2 maximum pooling, dropout."""
    stages: dict[str, nn.Module] = {}
    channels = 3
    for index, width in enumerate(widths, start=1):
        stages[f"conv{index}"] = named_sequence(
            {
                "conv": nn.Conv2d(channels, width, kernel_size, padding=padding),
                "relu": nn.ReLU(inplace=True),
                "pool": nn.MaxPool2d(2, ceil_mode=ceil_mode),
                "dropout": Dropout(dropout),
            }
        )
        channels = width
    return named_sequence(stages)


def _cut(model: nn.Module) -> dict[str, nn.Module]:
    return dict(model.named_children())


for _name, _input_size, _make in (
    ("cnn6", (150, 150), partial(_make_cnn, (32, 32, 64, 64, 128, 128), 3, 1, 0.25, True)),
    ("cnn3", (268, 182), partial(_make_cnn, (32, 64, 128), 3, 1, 0.0, False)),
    ("cnn4", (200, 150), partial(_make_cnn, (16, 32, 64, 64), 5, 0, 0.25, False)),
    ("pixels", (96, 64), lambda: named_sequence({"pixels": nn.Identity()})),
):
    _spec = BackboneSpec(
        name=_name,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        input_size=_input_size,
        weights_file=None,
        url=None,
        pip_package=None,
        licence="MIT (mmposter)",
    )
    register_backbone(_name, _spec, _cut)(_make)
