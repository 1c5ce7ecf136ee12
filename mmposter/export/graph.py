"""One module from a poster's pixels to the probabilities that `mmposter predict` shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion import ImageClassifier, PosterModel, probabilities
from mmposter.features.tower import TowerInput
from mmposter.runs.decisions import Decision


class PosterGraph(nn.Module):
    """Resize, normalisation, image network, head, and the run's decision.

    Args:
        resize: 1 x 3 x H x W, uint8, to the network's size, see `mmposter.export.resize`.
        model: with its image network, in evaluation mode.
        tower_input: mean and standard deviation of the network's images.
        branches: to look through; all others are masked.
        single_label: whether the probabilities of a poster sum to 1.
        decision: what is done with them.
    """

    mean: Tensor
    std: Tensor
    offsets: Tensor

    def __init__(
        self,
        resize: nn.Module,
        model: PosterModel | ImageClassifier,
        tower_input: TowerInput,
        *,
        branches: Sequence[str],
        single_label: bool,
        decision: Decision,
    ) -> None:
        super().__init__()
        self.resize, self.model = resize, model
        self.branches, self.single_label = tuple(branches), single_label
        scaling = decision.scaling
        self.slope = None if scaling is None else scaling.slope
        self.register_buffer("mean", torch.tensor(tower_input.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(tower_input.std)[:, None, None])
        self.register_buffer("offsets", None if scaling is None else torch.from_numpy(scaling.offsets))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Genres of one poster.

        Args:
            image: 1 x H x W x 3, uint8, RGB.

        Returns:
            probabilities 1 x G, as shown, and the model's logits 1 x G, both float32.
        """
        pixels = self.resize(image.permute(0, 3, 1, 2))
        logits = self.model({"image": (pixels.float() / 255 - self.mean) / self.std}, self.branches)
        return self._decided(logits), logits

    def _decided(self, logits: Tensor) -> Tensor:
        if self.single_label:
            return probabilities(logits, single_label=True)
        # In double precision: onnxruntime's sigmoid of float32 cuts off at 18.
        probs = logits.double().sigmoid().float()
        if self.slope is None:
            return probs
        exact = probs.double()  # through float32, as predict does: what it has rounded to 1 stays 1
        return (self.slope * (exact.log() - (1 - exact).log()) + self.offsets).sigmoid().float()
