"""Distillation: a student network learns to predict the features of pretrained teachers from images.

- Hints (A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv 1412.6550): from stages of the student
  1x1 convolutions predict the feature maps of the teachers at the same strides. The teachers' maps are standardised by
  channel, so that every channel has the same weight and predicting the mean costs about 1.
- Dense targets (S. Yun et al., "Re-labeling ImageNet", CVPR 2021, arXiv 2101.05022): a teacher sees each whole image
  once, and RoIAlign cuts the target of a random crop out of its map. Their maps hold class scores, ours features.
- The teacher's own classifier on the pooled features that the student predicts, against its scores on its own features,
  by the KL divergence at a temperature (G. Hinton, O. Vinyals, J. Dean, arXiv 1503.02531; without their factor of the
  squared temperature, which is a matter of the weight). Reusing the classifier: D. Chen et al., "Knowledge Distillation
  with the Reused Teacher Classifier", CVPR 2022, arXiv 2203.14001, who train by features alone.
- With labels, soft genres (Hinton et al. again): a head on the teachers' pooled features learns genres first, and its
  probabilities for a crop are the target of a linear layer on the student's pooled features.

Only the last needs labels.

Letters: B pictures, C channels of a teacher's stage, H W height and width of a map, K classes of its classifier, G
genres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.backbones.base import Backbone, global_average, probe_shapes
from fusion.classifier import map_shape
from fusion.layers import Dropout

STRIDES = (8, 16, 32)
GENRES = "genres"
"""The key of soft genres among predictions and targets; hints' names hold a slash."""

_CLIP = 8.0  # standard deviations from a channel's mean; targets beyond are outliers and are cut to it
_LEAST_STD = 1e-3  # for a channel that is nearly always 0
_LEAST_PRIOR = 1e-4  # for a genre that nearly every poster has, or none


@dataclass(frozen=True)
class Hint:
    """A stage of the student that learns to predict a stage of a teacher.

    Attributes:
        teacher: its name.
        student_stage: whose map the prediction is made from.
        teacher_stage: whose map is predicted.
        channels: C.
        final: whether it is the teacher's last map, whose average its classifier may read.

    Examples:
        >>> Hint("densenet121", "layer4", "block4", channels=1024, final=True).name
        'densenet121/block4'
    """

    teacher: str
    student_stage: str
    teacher_stage: str
    channels: int
    final: bool

    @property
    def name(self) -> str:
        """The key of this hint's predictions and targets."""
        return f"{self.teacher}/{self.teacher_stage}"


def stage_shapes(backbone: Backbone, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """C, H and W of every stage's map up to `Backbone.map_stage`, for images of `size` (height and width in pixels).

    Raises:
        ValueError: the network cannot take images of this size.

    Examples:
        >>> from fusion import build_backbone
        >>> stage_shapes(build_backbone("cnn3"), (96, 64))
        {'conv1': (32, 48, 32), 'conv2': (64, 24, 16), 'conv3': (128, 12, 8)}
    """
    map_shape(backbone, size)  # its message for a wrong size says what is allowed
    shapes = probe_shapes(backbone.stages, size)
    mapped = backbone.stage_names[: backbone.stage_names.index(backbone.map_stage) + 1]
    return {name: (shapes[name][1], shapes[name][2], shapes[name][3]) for name in mapped}


def stage_strides(backbone: Backbone, size: tuple[int, int]) -> dict[str, int]:
    """Pixels between two places of each stage's map, to the nearest power of two, for images of `size` pixels.

    Measured, not read from names. Stages that give tokens in place of a map are left out.

    Raises:
        ValueError: the network cannot take images of this size.

    Examples:
        >>> from fusion import build_backbone
        >>> stage_strides(build_backbone("cnn3"), (96, 64))
        {'conv1': 2, 'conv2': 4, 'conv3': 8}
    """
    strides = {}
    for name, (_, height, width) in stage_shapes(backbone, size).items():
        down, across = size[0] / height, size[1] / width
        if max(down, across) < 2 * min(down, across):  # they differ by rounding alone
            strides[name] = 2 ** max(0, round(math.log2(math.sqrt(down * across))))
    return strides


def match_stages(
    student: Backbone, teacher: Backbone, size: tuple[int, int], strides: Sequence[int] = STRIDES
) -> tuple[Hint, ...]:
    """Pair the stages of a student with those of a teacher: the last ones of each stride that both have.

    The teacher's last map is always paired, with the student's last one where no stride is shared. Hints come in the
    order of the teacher's stages.

    Args:
        student: the network that learns.
        teacher: a network that is learnt from.
        size: height and width in pixels of an image that both take.
        strides: at which hints are given, in addition to the last map.

    Raises:
        ValueError: one of them cannot take images of this size, or has no map of places at its end.

    Examples:
        >>> from fusion import build_backbone
        >>> hints = match_stages(build_backbone("cnn3"), build_backbone("cnn6"), (96, 64))
        >>> [(hint.student_stage, hint.name) for hint in hints]
        [('conv3', 'cnn6/conv3'), ('conv3', 'cnn6/conv6')]
    """
    mine, theirs = stage_strides(student, size), stage_strides(teacher, size)
    for backbone, found in ((student, mine), (teacher, theirs)):
        if backbone.map_stage not in found:
            raise ValueError(f"a backbone must end in a map of places to distil, got the tokens of {backbone.name}")
    by_stride = {stride: name for name, stride in mine.items()}  # of several stages the last one
    last = {stride: name for name, stride in theirs.items()}
    meets = {last[stride]: by_stride[stride] for stride in strides if stride in last and stride in by_stride}
    final = teacher.map_stage
    meets[final] = by_stride.get(theirs[final], student.map_stage)
    return tuple(
        Hint(teacher.name, meets[stage], stage, teacher.stage_channels[stage], stage == final)
        for stage in theirs
        if stage in meets
    )


class Distiller(nn.Module):
    """A student and the 1x1 convolutions that predict its teachers' maps, and the linear layer for soft genres.

    Args:
        student: the network that learns.
        hints: what is predicted from which of its stages, see `match_stages`.
        num_genres: G; 0: no soft genres.

    Raises:
        ValueError: no hint, two of one name, or an unknown stage.

    Examples:
        >>> from fusion import build_backbone
        >>> student, teacher = build_backbone("cnn3"), build_backbone("cnn6")
        >>> distiller = Distiller(student, match_stages(student, teacher, (96, 64)), num_genres=3)
        >>> {name: tuple(value.shape) for name, value in distiller(torch.rand(2, 3, 96, 64)).items()}
        {'cnn6/conv3': (2, 64, 12, 8), 'cnn6/conv6': (2, 128, 12, 8), 'genres': (2, 3)}
    """

    def __init__(self, student: Backbone, hints: Sequence[Hint], num_genres: int = 0) -> None:
        super().__init__()
        names = [hint.name for hint in hints]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"hints must be one or more with different names, got {names}")
        unknown = [hint.student_stage for hint in hints if hint.student_stage not in student.stages]
        if unknown:
            raise ValueError(f"hints must be at stages of {student.stage_names}, got {unknown}")
        self.student = student
        self.hints = tuple(hints)
        self.projections = nn.ModuleList(
            nn.Conv2d(student.stage_channels[hint.student_stage], hint.channels, 1) for hint in hints
        )
        last = student.stage_channels[student.map_stage]
        self.genres = nn.Linear(last, num_genres) if num_genres else None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images B x 3 x H' x W', normalised as the student's spec says -> standardised maps by their hints' names.

        Each map is B x C x H x W with H and W of the student's stage; under `GENRES` are logits B x G.
        """
        predicted: dict[str, Tensor] = {}
        x, passed = images, None
        for stage in self.student.stage_names:
            here = [index for index, hint in enumerate(self.hints) if hint.student_stage == stage]
            genres = self.genres if stage == self.student.map_stage else None
            if here or genres is not None:
                # From a copy of what a projection has read: a stage may begin with an in-place activation.
                x = self.student.forward_stages(x if passed is None else x.clone(), passed, stage)
                predicted |= {self.hints[index].name: self.projections[index](x) for index in here}
                if genres is not None:
                    predicted[GENRES] = genres(global_average(x))
                passed = stage
        return predicted


@dataclass(frozen=True)
class ChannelStatistics:
    """Of a teacher's map, C each.

    Attributes:
        mean: over pictures and places.
        std: over the same.
        pooled_std: over pictures, of the averages over places.

    Examples:
        >>> ChannelStatistics.of(torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])).mean
        tensor([4.])
    """

    mean: Tensor
    std: Tensor
    pooled_std: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> ChannelStatistics:
        """Measure maps N x C x H x W, N of 2 or more."""
        if maps.ndim != 4 or len(maps) < 2:
            raise ValueError(f"maps must be N x C x H x W with N of 2 or more, got {tuple(maps.shape)}")
        maps = maps.float()
        std, pooled_std = maps.std(dim=(0, 2, 3)), global_average(maps).std(dim=0)
        return cls(maps.mean(dim=(0, 2, 3)), std.clamp_min(_LEAST_STD), pooled_std.clamp_min(_LEAST_STD))


class HintLoss(nn.Module):
    """How far a predicted map is from the teacher's.

    Args:
        statistics: of the teacher's map.
        final: whether its average counts, too.
        classifier: weight K x C and bias K of the teacher's classifier on that average; None where it has no such.
        temperature: of the classifier's scores.
        logits_weight: of the KL divergence between them.

    Raises:
        ValueError: a temperature that is not positive, or a classifier of other channels or without ``final``.

    Examples:
        >>> loss = HintLoss(ChannelStatistics.of(torch.rand(9, 12, 4, 3)), final=True)
        >>> sorted(loss(torch.rand(5, 12, 4, 3), torch.rand(5, 12, 4, 3)))
        ['map', 'pooled']
    """

    mean: Tensor
    std: Tensor
    pooled_std: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        statistics: ChannelStatistics,
        *,
        final: bool = False,
        classifier: tuple[Tensor, Tensor] | None = None,
        temperature: float = 2.0,
        logits_weight: float = 0.5,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        channels = len(statistics.mean)
        if classifier is not None and (not final or classifier[0].shape[1] != channels):
            raise ValueError(
                f"classifier must read the average of a final map of {channels} channels, "
                f"got {classifier[0].shape[1]} with final={final}"
            )
        self.final, self.temperature, self.logits_weight = final, temperature, logits_weight
        self.register_buffer("mean", statistics.mean.float())
        self.register_buffer("std", statistics.std.float())
        self.register_buffer("pooled_std", statistics.pooled_std.float())
        self.register_buffer("weight", None if classifier is None else classifier[0].float())
        self.register_buffer("bias", None if classifier is None else classifier[1].float())

    def forward(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare a standardised prediction with the teacher's own map, both B x C x H x W; means over the batch.

        Returns:
            "map": squared error of the standardised map; of a final one also "pooled": of its standardised average,
            and with a classifier "logits": the weighted KL divergence.
        """
        predicted, target = predicted.float(), target.float()
        mean, std = (values.view(1, -1, 1, 1) for values in (self.mean, self.std))
        terms = {"map": F.mse_loss(predicted, ((target - mean) / std).clamp(-_CLIP, _CLIP))}
        if self.final:
            pooled = global_average(predicted) * self.std
            wanted = global_average(target)
            deviations = ((wanted - self.mean) / self.pooled_std).clamp(-_CLIP, _CLIP)
            terms["pooled"] = F.mse_loss(pooled / self.pooled_std, deviations)
            if self.weight is not None:
                scores, right = (
                    F.linear(features, self.weight, self.bias) / self.temperature
                    for features in (pooled + self.mean, wanted)
                )
                divergence = F.kl_div(F.log_softmax(scores, 1), F.softmax(right, 1), reduction="batchmean")
                terms["logits"] = divergence * self.logits_weight
        return terms


class SoftGenreLoss(nn.Module):
    """How far predicted genres are from those of the teachers' head: the KL divergence of each genre's yes and no.

    Args:
        prior: G, the mean of the targets.
        weight: of the divergence.

    Examples:
        >>> loss, targets = SoftGenreLoss(prior=torch.tensor([0.5, 0.2]), weight=1.0), torch.tensor([[0.5, 0.5]])
        >>> loss(torch.zeros(1, 2), targets).item()  # the logits say 0.5, too
        0.0
    """

    prior_logits: Tensor

    def __init__(self, prior: Tensor, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("prior_logits", prior.float().clamp(_LEAST_PRIOR, 1 - _LEAST_PRIOR).logit())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and probabilities B x G -> cross-entropy less the targets' entropy, so that the best is 0; a mean."""
        logits, targets = logits.float(), targets.float()
        entropy = F.binary_cross_entropy(targets, targets)
        return self.weight * (F.binary_cross_entropy_with_logits(logits, targets) - entropy)


class DistillationLoss(nn.Module):
    """The loss of every hint, and of soft genres.

    Args:
        parts: by a hint's name.
        genres: of soft genres; None without them.

    Examples:
        >>> loss = DistillationLoss({"teacher/map": HintLoss(ChannelStatistics.of(torch.rand(9, 12, 4, 3)))})
        >>> list(loss({"teacher/map": torch.rand(5, 12, 4, 3)}, {"teacher/map": torch.rand(5, 12, 4, 3)}))
        ['teacher/map/map']
    """

    def __init__(self, parts: Mapping[str, HintLoss], genres: SoftGenreLoss | None = None) -> None:
        super().__init__()
        self.names = tuple(parts)
        self.parts = nn.ModuleList(parts.values())  # no dict of modules: a name may hold a dot
        self.genres = genres

    def forward(self, predicted: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All terms, ``HINT/map``, ``HINT/pooled``, ``HINT/logits`` and ``genres/soft``; the loss is their sum.

        `predicted` comes from `Distiller`, `targets` of the same shapes from the teachers.
        """
        terms: dict[str, Tensor] = {}
        for name, part in zip(self.names, self.parts, strict=True):
            terms |= {f"{name}/{term}": value for term, value in part(predicted[name], targets[name]).items()}
        if self.genres is not None:
            terms[f"{GENRES}/soft"] = self.genres(predicted[GENRES], targets[GENRES])
        return terms

    def constant(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predictions that need no image, shaped as `targets`: each channel's mean, and the mean of the soft genres."""
        predicted = {name: torch.zeros_like(targets[name]) for name in self.names}
        if self.genres is not None:
            predicted[GENRES] = self.genres.prior_logits.expand_as(targets[GENRES])
        return predicted


def crop_maps(maps: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut one box out of every map and resize it: RoIAlign with two samples a side in each place.

    It works on images and on feature maps, so that both show the same part. (K. He et al., "Mask R-CNN", ICCV 2017,
    arXiv 1703.06870.)

    Args:
        maps: B x C x H x W.
        boxes: B x 4, left, top, right and bottom in 0-1 of the map.
        size: height and width of what is cut out.

    Returns:
        B x C x height x width.

    Raises:
        ValueError: not one box a map.

    Examples:
        >>> crop_maps(torch.rand(1, 3, 96, 64), torch.tensor([[0.0, 0.0, 0.5, 0.5]]), (24, 16)).shape
        torch.Size([1, 3, 24, 16])
    """
    from torchvision.ops import roi_align  # imported here: it takes over a second, and only distillation needs it

    if boxes.shape != (len(maps), 4):
        raise ValueError(f"boxes must be {len(maps)} x 4, one a map, got {' x '.join(map(str, boxes.shape))}")
    height, width = maps.shape[2:]
    places = boxes.to(maps) * maps.new_tensor([width, height, width, height])
    cut: Tensor = roi_align(maps, list(places[:, None]), size, sampling_ratio=2, aligned=True)
    return cut


def linear_classifier(state_dict: Mapping[str, Tensor], num_features: int) -> tuple[Tensor, Tensor] | None:
    """Weight K x C and bias K of an original classifier that is one linear layer on C = `num_features`; else None.

    The state dict is under the original library's keys.

    Examples:
        >>> weight, bias = linear_classifier({"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}, 512)
        >>> weight.shape, bias.shape
        (torch.Size([1000, 512]), torch.Size([1000]))
    """
    for name in ("fc", "_fc", "classifier"):
        weight, bias = state_dict.get(f"{name}.weight"), state_dict.get(f"{name}.bias")
        if weight is not None and bias is not None and weight.ndim == 2 and weight.shape[1] == num_features:
            return weight, bias
    return None


def genre_head(num_features: int, num_genres: int) -> nn.Sequential:
    """Two layers from the teachers' pooled features, B x `num_features`, to genre logits, B x `num_genres`.

    Examples:
        >>> genre_head(num_features=512, num_genres=3)(torch.rand(5, 512)).shape
        torch.Size([5, 3])
    """
    return nn.Sequential(
        nn.BatchNorm1d(num_features),
        Dropout(0.5),
        nn.Linear(num_features, 256),
        nn.GELU(),
        Dropout(0.5),
        nn.Linear(256, num_genres),
    )
