"""Objects and their places: the detector's boxes, as one vector for each poster.

No comparison of these encodings is published for posters; an ablation can compare them.

Letters: B posters, N detections, K classes of the detector, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusion.base import Branch, Inputs, register_branch
from fusion.branches.persons import PERSON_NUMBERS, person_geometry
from fusion.layers import BatchNormRows, Dropout, check_choice, check_probability
from fusion.pooling import AttentionPool, DeepSetsPool, pack, unpack, zero_padding

ENCODINGS = ("counts", "histogram", "set", "joined")
POOLINGS = ("attention", "deepsets")
BOX_FEATURES = 6  # centre x, centre y, width, height, area, score
RARE = 0.1
"""Added to the variance of the numbers by class: divided by its own deviation alone, a class on one poster in a
thousand would say thirty times as much as a common one."""


@register_branch("yolo")
class YoloBranch(Branch):
    """Embedding of a poster's detections; present where there is at least one.

    Args:
        num_classes: K.
        dim: D, length of the embedding.
        encoding: "counts" (boxes per class, log(1 + n)), "histogram" (per class the sum of scores and the sum of areas)
            or "set" (one token a box from its class, place, size, area and score); "joined": histogram, the numbers of
            `fusion.branches.persons` and set side by side, under batch norms.
        pooling: of the set's tokens, "attention" or "deepsets"; unused by the encodings without tokens.
        heads: of the attention; must divide dim.
        dropout: before the embedding's last layer, in [0, 1).
        person: the class of persons, for "joined"; None: the detector knows none, and their numbers are left out.

    Raises:
        ValueError: unknown encoding or pooling, or a size or class out of range.

    Examples:
        >>> inputs = {"yolo.boxes": torch.rand(5, 3, 4), "yolo.scores": torch.rand(5, 3)}
        >>> inputs |= {"yolo.labels": torch.zeros(5, 3).long(), "yolo.mask": torch.ones(5, 3).bool()}
        >>> YoloBranch(num_classes=80, dim=8)(inputs)[0].shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        num_classes: int,
        dim: int = 128,
        encoding: str = "set",
        pooling: str = "attention",
        heads: int = 4,
        dropout: float = 0.2,
        person: int | None = None,
    ) -> None:
        super().__init__(dim)
        if num_classes < 1:
            raise ValueError(f"num_classes must be a positive integer, got {num_classes}")
        if person is not None and not 0 <= person < num_classes:
            raise ValueError(f"person must be a class from 0 to {num_classes - 1} or None, got {person}")
        check_choice("pooling", pooling, POOLINGS)
        self.encoding = check_choice("encoding", encoding, ENCODINGS)
        self.num_classes = num_classes
        joined = encoding == "joined"
        self.person = person if joined else None
        self.tokens: _BoxTokens | None = None
        self.pool: AttentionPool | DeepSetsPool | None = None
        numbers = {"counts": num_classes, "set": 0}.get(encoding, 2 * num_classes)
        numbers += 0 if self.person is None else PERSON_NUMBERS
        pooled = dim if joined or encoding == "set" else 0
        if pooled:
            self.tokens = _BoxTokens(num_classes, dim)
            self.pool = AttentionPool(dim, heads) if pooling == "attention" else DeepSetsPool(dim)
        self.norms = nn.ModuleList([BatchNormRows(numbers, eps=RARE), BatchNormRows(pooled)]) if joined else None
        dropped = Dropout(check_probability("dropout", dropout))
        self.output = nn.Sequential(dropped, nn.Linear(numbers + pooled, dim), nn.GELU())

    def present(self, inputs: Inputs) -> Tensor:
        """Which posters have a box: B bool."""
        return inputs["yolo.mask"].any(dim=1)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed the yolo.* entries, shaped as in the package's docstring -> embedding B x D, present B.

        Zeros where there is no box.
        """
        mask = inputs["yolo.mask"]
        parts = []
        if self.encoding != "set":
            parts.append(self._numbers(inputs, mask))
        if self.tokens is not None and self.pool is not None:
            boxes, scores, labels = (pack(inputs[f"yolo.{name}"], mask) for name in ("boxes", "scores", "labels"))
            parts.append(self.pool(unpack(self.tokens(boxes, scores, labels), mask), mask))
        if self.norms is not None:
            parts = [norm(part) for norm, part in zip(self.norms, parts, strict=True)]
        present = self.present(inputs)
        return self.output(torch.cat(parts, dim=1)).masked_fill(~present.unsqueeze(1), 0), present

    def _numbers(self, inputs: Inputs, mask: Tensor) -> Tensor:
        """What is said by class, and of persons: B x numbers."""
        boxes, scores, labels = (zero_padding(inputs[f"yolo.{name}"], mask) for name in ("boxes", "scores", "labels"))
        if self.encoding == "counts":
            return torch.log1p(self._sum_by_class(labels, mask.to(scores.dtype)))
        areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        parts = [self._sum_by_class(labels, scores), self._sum_by_class(labels, areas)]
        if self.person is not None:
            parts.append(person_geometry(boxes, scores, mask & (labels == self.person)))
        return torch.cat(parts, dim=1)

    def _sum_by_class(self, labels: Tensor, weights: Tensor) -> Tensor:
        """Sum of the weights of each class's boxes: B x N, B x N -> B x K; padding must weigh 0."""
        return weights.new_zeros(len(weights), self.num_classes).scatter_add(1, labels, weights)


class _BoxTokens(nn.Module):
    """One token a box: its class's embedding plus its geometry, through a small MLP."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.label = nn.Embedding(num_classes, dim)
        self.geometry = nn.Linear(BOX_FEATURES, dim)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())

    def forward(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """n x 4, n, n -> n x D."""
        corner, opposite = boxes[..., :2], boxes[..., 2:]
        size = opposite - corner
        area = size.prod(dim=-1, keepdim=True)
        geometry = torch.cat([(corner + opposite) / 2, size, area, scores.unsqueeze(-1)], dim=-1)  # n x 6
        tokens: Tensor = self.mlp(self.label(labels) + self.geometry(geometry))
        return tokens
