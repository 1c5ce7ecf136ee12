"""The torchvision networks, cut into stages.

Normalisation, the filter of the resize and the address of the weights are those of torchvision's default weight
records, written down here: to ask torchvision takes over two seconds, also of commands that run no network.
Where a family differs:

- DenseNet: block k includes the transition before it; block4 ends with norm5 and the ReLU that torchvision applies in
  `forward`.
- VGG and AlexNet: only the convolutions; the fully connected layers (nine tenths of the weights) are left out.
- Inception v3: torchvision's pretrained network turns ImageNet-normalised images into (x - .5) / .5 inside `forward`;
  here the spec's mean and std are .5, and the stages do not change the image. No auxiliary classifier.
- ConvNeXt: its classifier starts with a LayerNorm *after* pooling, which is left out, because a re-weighting of
  channels would not commute with it; the branch on top normalises anyway.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import nn

from fusion.backbones.base import BackboneSpec, group_by_resolution, named_sequence
from fusion.backbones.catalogue import register_backbone

POSTER_SIZE = (320, 224)  # height and width; posters are about 3 to 2, and 32 divides both
_LICENCE = "BSD-3-Clause (torchvision); weights trained on ImageNet, whose terms are for research"


def _densenet(model: Any) -> dict[str, nn.Module]:
    layers = dict(model.features.named_children())
    stages = {"stem": named_sequence({name: layers[name] for name in ("conv0", "norm0", "relu0", "pool0")})}
    for block in range(1, 5):
        names = ([f"transition{block - 1}"] if block > 1 else []) + [f"denseblock{block}"]
        stages[f"block{block}"] = named_sequence({name: layers[name] for name in names})
    stages["block4"].add_module("norm5", layers["norm5"])
    stages["block4"].add_module("relu5", nn.ReLU(inplace=True))
    return cast(dict[str, nn.Module], stages)


def cut_resnet(model: Any) -> dict[str, nn.Module]:
    """A stem and the four layers."""
    stem = named_sequence({name: getattr(model, name) for name in ("conv1", "bn1", "relu", "maxpool")})
    return {"stem": stem} | {f"layer{k}": getattr(model, f"layer{k}") for k in range(1, 5)}


def _cut_after_pooling(model: Any) -> dict[str, nn.Module]:
    """VGG and AlexNet: a stage ends with each maximum pooling."""
    groups: list[dict[str, nn.Module]] = [{}]
    for name, module in model.features.named_children():
        groups[-1][name] = module
        if isinstance(module, nn.MaxPool2d):
            groups.append({})
    return {f"stage{k}": named_sequence(group) for k, group in enumerate(groups, start=1) if group}


_INCEPTION_STAGES = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
    ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    ("Mixed_5b", "Mixed_5c", "Mixed_5d"),
    ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


def _inception(model: Any) -> dict[str, nn.Module]:
    return {
        f"stage{k}": named_sequence({name: getattr(model, name) for name in names})
        for k, names in enumerate(_INCEPTION_STAGES, start=1)
    }


def _by_resolution(model: Any) -> dict[str, nn.Module]:
    """EfficientNet, MobileNet and ConvNeXt: a stage ends where the next module makes the map smaller."""
    return group_by_resolution(dict(model.features.named_children()))


_FAMILIES = {
    _densenet: ("densenet121", "densenet169", "densenet201"),
    cut_resnet: ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    _cut_after_pooling: ("vgg16", "vgg19", "alexnet"),
    _inception: ("inception_v3",),
    _by_resolution: ("efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"),
}
_WEIGHTS = {  # the file and its size in megabytes
    "densenet121": ("densenet121-a639ec97.pth", 32.3),
    "densenet169": ("densenet169-b2777c0a.pth", 57.4),
    "densenet201": ("densenet201-c1103571.pth", 81.1),
    "resnet18": ("resnet18-f37072fd.pth", 46.8),
    "resnet34": ("resnet34-b627a593.pth", 87.3),
    "resnet50": ("resnet50-11ad3fa6.pth", 102.5),
    "resnet101": ("resnet101-cd907fc2.pth", 178.8),
    "resnet152": ("resnet152-f82ba261.pth", 241.7),
    "vgg16": ("vgg16-397923af.pth", 553.4),
    "vgg19": ("vgg19-dcbb9e9d.pth", 574.7),
    "alexnet": ("alexnet-owt-7be5be79.pth", 244.4),
    "inception_v3": ("inception_v3_google-0cc3c7bd.pth", 109.0),
    "efficientnet_b0": ("efficientnet_b0_rwightman-7f5810bc.pth", 21.4),
    "mobilenet_v3_small": ("mobilenet_v3_small-047dcff4.pth", 10.3),
    "convnext_tiny": ("convnext_tiny-983f1562.pth", 114.4),
}
_ADDRESS = "https://download.pytorch.org/models/"
# init_weights: torchvision's slow truncated normal, a minute's work that loaded weights would overwrite.
_INCEPTION_OPTIONS: dict[str, Any] = {"aux_logits": False, "transform_input": False, "init_weights": False}


def torchvision_spec(name: str) -> BackboneSpec:
    """Facts about the network called ``name`` in torchvision."""
    inception, (file, megabytes) = name == "inception_v3", _WEIGHTS[name]
    return BackboneSpec(
        name=name,
        mean=(0.5, 0.5, 0.5) if inception else (0.485, 0.456, 0.406),
        std=(0.5, 0.5, 0.5) if inception else (0.229, 0.224, 0.225),
        input_size=(448, 299) if inception else POSTER_SIZE,  # 299: the smallest side Inception was made for
        weights_file=file,
        url=_ADDRESS + file,
        pip_package=None,
        licence=_LICENCE,
        megabytes=megabytes,
        resize="bicubic" if name == "efficientnet_b0" else "bilinear",
    )


def make_torchvision(name: str) -> nn.Module:
    """The network called ``name`` in torchvision, with random weights."""
    from torchvision import models

    network: nn.Module = models.get_model(name, weights=None, **(_INCEPTION_OPTIONS if name == "inception_v3" else {}))
    return network


for _cut, _names in _FAMILIES.items():
    for _name in _names:
        register_backbone(_name, torchvision_spec, _cut)(partial(make_torchvision, _name))
