"""A plain image classifier: an image network and the layers between its final map and the genres, without fusion.

The published systems were built like this: with the network's own classifier and a new last layer for the genres, or
with dense layers on the flattened map. `fusion.model.PosterModel` is called in the same way.

Letters: B posters, C channels, H W height and width of the final map, F what the last layer reads, G genres.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.backbones.base import Backbone, named_sequence, other_shapes, probe_shapes
from fusion.base import IMAGE, Inputs
from fusion.branches.cnn import CNN
from fusion.layers import Dropout, check_choice, check_probability

KINDS = ("own", "dense")
_LARGEST_PROBE = 512  # pixels; no network here needs more than 76 a side


class Classifier(nn.Module):
    """From the final feature map to the genres' logits.

    Args:
        body: B x C x H x W -> B x F, without the last layer.
        num_features: F.
        num_genres: G.
        pretrained: whether the body's parameters are pretrained; if so, they are frozen with the network.

    Attributes:
        body: as given.
        last: the linear layer from F to G, always new.

    Examples:
        >>> import torch
        >>> Classifier(nn.Flatten(), num_features=24, num_genres=3)(torch.rand(5, 6, 2, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, body: nn.Module, num_features: int, num_genres: int, *, pretrained: bool = False) -> None:
        super().__init__()
        if num_genres < 1:
            raise ValueError(f"num_genres must be at least 1, got {num_genres}")
        self.body = body
        self.last = nn.Linear(num_features, num_genres)
        self.pretrained = pretrained
        self._frozen = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits: B x C x H x W -> B x G."""
        logits: Tensor = self.last(self.body(x))
        return logits

    def set_trainable(self, *, body: bool) -> None:
        """Choose whether the body learns; the last layer always does.

        A frozen body has ``requires_grad`` off and stays in evaluation mode, so that its dropout is off.
        """
        self._frozen = not body
        self.body.requires_grad_(body)
        self.last.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but a frozen body stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.body.eval()
        return self


class ImageClassifier(nn.Module):
    """An image network and its classifier, called as `fusion.model.PosterModel` is.

    Args:
        tower: the image network.
        classifier: made for the tower's final map, see `build_classifier`.
        branch: the name of the one branch that it stands for.

    Examples:
        >>> import torch
        >>> from fusion import build_backbone
        >>> backbone = build_backbone("cnn3")
        >>> classifier = build_classifier("dense", "cnn3", backbone, map_shape(backbone, (96, 64)), num_genres=3)
        >>> ImageClassifier(backbone, classifier)({"image": torch.rand(2, 3, 96, 64)}).shape
        torch.Size([2, 3])
    """

    def __init__(self, tower: Backbone, classifier: Classifier, branch: str = CNN) -> None:
        super().__init__()
        self.tower = tower
        self.classifier = classifier
        self.branch = branch

    def forward(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """Logits B x G.

        Args:
            inputs: "image", B x 3 x H x W, normalised for the tower; other entries are not looked at.
            only: the branches to look at: None or `branch` alone, because there is no other.

        Raises:
            ValueError: other branches are asked for, or there is no image.
        """
        self._check(inputs, only)
        logits: Tensor = self.classifier(self.tower.forward_stages(inputs[IMAGE]))
        return logits

    def represent(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """What the last layer reads, each number times the norm of the weights behind it, of length 1: B x F.

        That is `fusion.heads.Head.represent` of a network without fusion. Raises as `forward`.
        """
        self._check(inputs, only)
        features = self.classifier.body(self.tower.forward_stages(inputs[IMAGE]))
        return F.normalize((features * self.classifier.last.weight.norm(dim=0)).float(), dim=1)

    def parts(self) -> dict[str, slice]:
        """Where the one branch stands in the representation: it is all of it."""
        return {self.branch: slice(0, self.classifier.last.in_features)}

    def _check(self, inputs: Inputs, only: Collection[str] | None) -> None:
        if only is not None and set([only] if isinstance(only, str) else only) != {self.branch}:
            raise ValueError(
                f"only must be None or hold {self.branch!r}, the one branch of an image classifier, got {only!r}"
            )
        if IMAGE not in inputs:
            raise ValueError(f"inputs must hold {IMAGE!r} for an image classifier, got {sorted(inputs)}")

    def sees(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """Of which posters it sees something, B bool: of all."""
        return inputs[IMAGE].new_ones(len(inputs[IMAGE]), dtype=torch.bool)

    def set_trainable(self, mode: str) -> None:
        """Choose what learns; calls may repeat in any order.

        The classifier's last layer always learns. The layers before it (fc6 and fc7 of VGG and AlexNet, the hidden
        layer of MobileNet) are frozen with the whole network where they are pretrained too; new ones always learn.

        Args:
            mode: of the tower, and its errors: see `fusion.Backbone.set_trainable`.
        """
        self.tower.set_trainable(mode)
        self.classifier.set_trainable(body=not (mode == "frozen" and self.classifier.pretrained))


def build_classifier(
    kind: str,
    backbone_name: str,
    backbone: Backbone,
    map_shape: tuple[int, int, int],
    num_genres: int,
    *,
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
    dropout_layers: int | None = None,
    state_dict: Mapping[str, Tensor] | None = None,
) -> Classifier:
    """The layers above a backbone's final map.

    Args:
        kind: "own": the original network's classifier with a new last layer for the genres (where we know none: global
            average and one linear layer). "dense": the flattened map through ``hidden``, a ReLU and
            dropout after each, and one linear layer.
        backbone_name: the name it was built under.
        backbone: the network below.
        map_shape: C, H and W of its final map, see `map_shape`.
        num_genres: G.
        hidden: dense only: widths of the layers between the map and the last one; none: that one alone.
        dropout: dense only: after each hidden layer, in [0, 1); an own classifier has its own rates.
        dropout_layers: dense only: after so many hidden layers, the first ones; None: after each.
        state_dict: own only: weights under the original library's keys, for the layers before the last; None: random.

    Raises:
        ValueError: unknown kind, a map of another network, hidden layers for an own classifier, or weights that lack
            the classifier's layers.

    Examples:
        >>> from fusion import build_backbone
        >>> backbone = build_backbone("cnn3")
        >>> build_classifier("dense", "cnn3", backbone, (128, 12, 8), num_genres=3, hidden=[64]).last
        Linear(in_features=64, out_features=3, bias=True)
    """
    check_choice("kind", kind, KINDS)
    check_probability("dropout", dropout)
    if map_shape[0] != backbone.num_features:
        raise ValueError(
            f"map_shape must have the {backbone.num_features} channels of {backbone_name}, got {map_shape}"
        )
    if kind == "dense":
        return _dense(map_shape, num_genres, hidden, dropout, dropout_layers)
    if hidden:
        raise ValueError(f"hidden must be empty where kind is 'own', got {tuple(hidden)}")
    side, make_layers = _OWN.get(backbone_name, (1, lambda _: []))
    layers = make_layers(map_shape[0] * side * side)
    body = named_sequence({"pool": nn.AdaptiveAvgPool2d(side), "flatten": nn.Flatten()})
    if layers:
        body.add_module("classifier", nn.Sequential(*layers))  # the keys are those of the original library
    widths = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
    if state_dict is not None:
        _load_original(body, state_dict, backbone_name)
    return Classifier(
        body,
        widths[-1] if widths else map_shape[0] * side * side,
        num_genres,
        pretrained=state_dict is not None and any(True for _ in body.parameters()),
    )


def map_shape(backbone: Backbone, size: tuple[int, int]) -> tuple[int, int, int]:
    """C, H and W of the final map of an image of `size` (height and width in pixels), measured.

    Raises:
        ValueError: the network cannot take images of this size.

    Examples:
        >>> from fusion import build_backbone
        >>> map_shape(build_backbone("cnn3"), (96, 64))
        (128, 12, 8)
    """
    try:
        return _final_shape(backbone, size)
    except (RuntimeError, AssertionError) as error:
        got = f"got {size[0]} x {size[1]}"
        smallest = _smallest_side(backbone, min(size))
        if smallest is not None:
            raise ValueError(
                f"size must be at least {smallest} x {smallest} pixels for {backbone.name}, {got}"
            ) from error
        raise ValueError(f"size must be one that {backbone.name} takes, {got}: {error}") from error


def _final_shape(backbone: Backbone, size: tuple[int, int]) -> tuple[int, int, int]:
    _, channels, height, width = probe_shapes(backbone.stages, size)[backbone.last_stage]
    return channels, height, width


def _smallest_side(backbone: Backbone, too_small: int) -> int | None:
    """The smallest square that the network takes, by bisection; None where size is not what it refuses."""
    low, high = too_small, _LARGEST_PROBE  # low is refused; high may be, too
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _final_shape(backbone, (middle, middle))
            high = middle
        except (RuntimeError, AssertionError):
            low = middle
    return None if high == _LARGEST_PROBE else high


def _dense(
    map_shape: tuple[int, int, int],
    num_genres: int,
    hidden: Sequence[int],
    dropout: float,
    dropout_layers: int | None,
) -> Classifier:
    channels, height, width = map_shape
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    features = channels * height * width
    for index, units in enumerate(hidden, start=1):
        layers |= {f"linear{index}": nn.Linear(features, units), f"relu{index}": nn.ReLU()}
        if dropout_layers is None or index <= dropout_layers:
            layers[f"dropout{index}"] = Dropout(dropout)
        features = units
    return Classifier(named_sequence(layers), features, num_genres)


# The original classifiers without their last layer, under their own keys (classifier.0, classifier.1, ...): the side to
# which the map is averaged, and the layers by the number of features that this gives. DenseNet and ResNet have none.
_Layers = list[nn.Module]


def _vgg(features: int) -> _Layers:
    return [nn.Linear(features, 4096), nn.ReLU(), Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(), Dropout(0.5)]


def _alexnet(features: int) -> _Layers:
    return [Dropout(0.5), *_vgg(features)[:-1]]


_OWN: dict[str, tuple[int, Callable[[int], _Layers]]] = {
    "vgg16": (7, _vgg),
    "vgg19": (7, _vgg),
    "alexnet": (6, _alexnet),
    "inception_v3": (1, lambda _: [Dropout(0.5)]),
    "efficientnet_b0": (1, lambda _: [Dropout(0.2)]),
    "mobilenet_v3_small": (1, lambda features: [nn.Linear(features, 1024), nn.Hardswish(), Dropout(0.2)]),
    "convnext_tiny": (1, lambda features: [nn.LayerNorm(features, eps=1e-6)]),
    "efficientnet_lite0": (1, lambda _: [Dropout(0.2)]),
    "efficientnet_lite1": (1, lambda _: [Dropout(0.2)]),
    "efficientnet_lite2": (1, lambda _: [Dropout(0.3)]),
}


def _load_original(body: nn.Module, state_dict: Mapping[str, Tensor], name: str) -> None:
    """Load the layers before the last, strictly; everything else in the file is the backbone's."""
    wanted = body.state_dict()
    missing = ", ".join(key for key in wanted if key not in state_dict)
    wrong = f"none of {missing}" if missing else "; ".join(other_shapes(wanted, state_dict))
    if wrong:
        raise ValueError(f"state_dict must hold the classifier's layers of {name}, got {wrong}")
    body.load_state_dict({key: state_dict[key] for key in wanted})
