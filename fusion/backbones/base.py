"""An image network cut into stages, which can be run in parts and frozen in parts, and the facts about it.

Letters: B posters, C channels, H W height and width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

RESIZES = ("bicubic", "bilinear", "nearest")
"""Filters that pictures are resized by, all with antialias but the last, which takes the pixel at the centre."""

PROBE_SIZE = (96, 96)  # large enough for every family (cnn4 needs 76), small enough to cost milliseconds


@dataclass(frozen=True)
class BackboneSpec:
    """Facts about one image network.

    Examples:
        >>> from fusion import backbone_spec
        >>> spec = backbone_spec("cnn4")
        >>> spec.input_size, spec.mean, spec.weights_file
        ((200, 150), (0.0, 0.0, 0.0), None)
    """

    name: str
    mean: tuple[float, float, float]  # of the red, green and blue channel of an image in 0-1
    std: tuple[float, float, float]
    input_size: tuple[int, int]  # height and width in pixels; a poster's aspect, not ImageNet's square
    weights_file: str | None  # None: there are no published weights
    url: str | None  # None: the weights come in pip_package or from the hub only
    pip_package: str | None
    licence: str  # of the code and of the weights file
    hub: str | None = None  # the Hugging Face repository that holds weights_file
    megabytes: float | None = None  # of weights_file, as its owner says (10^6 bytes)
    resize: str = "bicubic"  # the filter, one of RESIZES, that its library records for the images it is shown


class Backbone(nn.Module):
    """Stages that run one after another; the last one's output is the final feature map.

    The final map includes the last norm and activation, so that its global average is what the original classifier
    saw (for ConvNeXt: what its classifier's own norm saw, see `fusion.backbones.torchvision_families`).

    Args:
        name: the name it was built under, for messages.
        stages: the parts in the order they run.
        input_size: height and width in pixels of the images it is meant for.
        probe_size: of the image that is run through it once to see the stages' channels.
        map_stage: the last stage that gives a map of places, where later ones pool it to a single one; None: the last.

    Attributes:
        stage_channels: channels of each stage's output.
        num_features: channels of the final map.
        map_stage: the last stage whose map has a style to be measured.
        norms_held: whether batch norms stay in evaluation mode in training, see `hold_batch_norms`.

    Examples:
        >>> backbone = Backbone("tiny", {"one": nn.Conv2d(3, 8, 3, stride=2), "two": nn.Conv2d(8, 16, 3, stride=2)})
        >>> backbone.stage_channels
        {'one': 8, 'two': 16}
        >>> backbone(torch.rand(5, 3, 96, 64)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        name: str,
        stages: Mapping[str, nn.Module],
        *,
        input_size: tuple[int, int] = PROBE_SIZE,
        probe_size: tuple[int, int] = PROBE_SIZE,
        map_stage: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.input_size = input_size
        self.stages = nn.ModuleDict(stages)
        self.stage_channels = {name: shape[1] for name, shape in probe_shapes(self.stages, probe_size).items()}
        self.num_features = self.stage_channels[self.last_stage]
        self.map_stage = self.last_stage if map_stage is None else map_stage
        self._frozen: frozenset[str] = frozenset()
        self.norms_held = False

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages in the order they run."""
        return list(self.stages)

    @property
    def last_stage(self) -> str:
        """Name of the stage whose output is the final feature map."""
        return self.stage_names[-1]

    def forward_stages(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        """Run a part of the network.

        Args:
            x: B x 3 x H x W images, or with ``start`` that stage's output.
            start: run the stages *after* this one; None: from the first.
            stop: run up to and including this one; None: to the last.

        Returns:
            the feature map of the last stage run, B x C x H' x W'; ``x`` itself where no stage lies between.

        Raises:
            ValueError: unknown stage, or stop comes before start.
        """
        first = 0 if start is None else self._index(start) + 1
        end = len(self.stages) if stop is None else self._index(stop) + 1
        if end < first:
            raise ValueError(f"stop must not come before start = {start!r}, got {stop!r}")
        for stage in list(self.stages.values())[first:end]:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Global average of the final feature map: B x 3 x H x W -> B x num_features."""
        return global_average(self.forward_stages(x))

    def set_trainable(self, mode: str) -> None:
        """Choose what learns; each call sets every stage, so calls may repeat in any order.

        Frozen stages have ``requires_grad`` off and stay in evaluation mode, so that the running statistics of their
        batch norms do not move and their stochastic depth is off.

        Args:
            mode: "frozen" (nothing learns), "full" (all), or a stage's name (it and all later ones learn).

        Raises:
            ValueError: mode is none of these.
        """
        names = self.stage_names
        if mode == "frozen":
            first = len(names)
        elif mode == "full":
            first = 0
        elif mode in names:
            first = names.index(mode)
        else:
            raise ValueError(f"mode must be 'frozen', 'full' or one of the stages {names}, got {mode!r}")
        self._frozen = frozenset(names[:first])
        for name, stage in self.stages.items():
            stage.requires_grad_(name not in self._frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but frozen stages stay in evaluation mode, and so do batch norms that are held."""
        super().train(mode)
        if self.norms_held:
            hold_batch_norms(self)
        for name in self._frozen:
            self.stages[name].eval()
        return self

    def _index(self, stage: str) -> int:
        if stage not in self.stages:
            raise ValueError(f"stage must be one of {self.stage_names}, got {stage!r}")
        return self.stage_names.index(stage)


def hold_batch_norms(network: nn.Module) -> None:
    """Normalise by the running statistics in training too, until `network.train()` is called.

    Training and use then agree: with a batch's own statistics a network can come to depend on the other images of the
    batch, and does badly without them. (Y. Wu and J. Johnson, "Rethinking 'Batch' in BatchNorm", 2021, arXiv
    2105.07576, on frozen batch norms.)

    Examples:
        >>> from fusion import hold_batch_norms
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
        >>> hold_batch_norms(network)
        >>> [part.training for part in network]
        [True, False]
    """
    for norm in batch_norms(network):
        norm.eval()


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Those with running statistics."""
    return [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]


def global_average(x: Tensor) -> Tensor:
    """Mean over all places: B x C x H x W -> B x C."""
    return x.mean(dim=(2, 3))


def group_by_resolution(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Cut a chain of named modules wherever the feature map gets smaller: stage1, stage2 and so on."""
    shapes = probe_shapes(modules, PROBE_SIZE)
    groups = [list(names) for _, names in groupby(modules, lambda name: shapes[name][2:])]
    return {f"stage{k}": named_sequence({name: modules[name] for name in names}) for k, names in enumerate(groups, 1)}


def named_sequence(modules: Mapping[str, nn.Module]) -> nn.Sequential:
    """An `nn.Sequential` that keeps the modules' names."""
    return nn.Sequential(OrderedDict(modules))


def probe_shapes(modules: Mapping[str, nn.Module] | nn.ModuleDict, size: tuple[int, int]) -> dict[str, torch.Size]:
    """Shape of the map after each module of a chain, from one image of zeros; no statistics change."""
    parameters = (parameter for module in modules.values() for parameter in module.parameters())
    x = next(parameters, torch.zeros(())).new_zeros(1, 3, *size)
    shapes = {}
    with evaluating(modules.values()), torch.no_grad():
        for name, module in modules.items():
            x = module(x)
            shapes[name] = x.shape
    return shapes


def other_shapes(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """The tensors of a state dict whose shapes differ from those of a network, in words."""
    return [
        f"{key} {tuple(given[key].shape)} in place of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]


def misfits(keys_by_fault: Mapping[str, list[str]]) -> str:
    """The keys of a state dict that do not fit a network, in words: how many of each fault, and the first three."""
    return "; ".join(
        f"{len(keys)} {fault} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for fault, keys in keys_by_fault.items()
        if keys
    )


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Modules in evaluation mode inside a block, so that a probe does not change the statistics of batch norms."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class Undrawn(TorchFunctionMode):
    """Inside its block new networks get no random weights: for those whose weights are loaded right afterwards.

    They hold the mean of what would be drawn, or what memory held, and torch's generator stays where it was. Drawing
    takes longer than loading does. What is no parameter, or comes from a generator of its own, is drawn.

    Examples:
        >>> with Undrawn():
        ...     network = nn.Linear(3, 2)
        >>> keys = network.load_state_dict({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
        >>> network(torch.ones(3))
        tensor([3., 3.], grad_fn=<ViewBackward0>)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, drawn = getattr(func, "__name__", ""), args[0] if args else kwargs.get("tensor")
        if name not in _DRAWS or kwargs.get("generator") is not None or not isinstance(drawn, nn.Parameter):
            return func(*args, **kwargs)
        if name in ("normal_", "uniform_"):
            # A truncated normal draws until all lies between its bounds: with what memory holds, it may for ever.
            given = [*args[1:2], *(kwargs[key] for key in ("mean", "a", "from") if key in kwargs), 0.0]
            with torch.no_grad():
                drawn.fill_(given[0])
        return drawn


_DRAWS = {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"}
_DRAWS |= {"xavier_normal_", "orthogonal_"}
