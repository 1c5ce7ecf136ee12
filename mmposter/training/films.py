"""Films without a poster in a training: what one branch reads of their titles, and which of them a step sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fusion import Loss, base_logits
from mmposter.branches import declared
from mmposter.config import Config
from mmposter.data.dataset import Dataset
from mmposter.features.ragged import Features, batch_of, take
from mmposter.training.seeds import mixed_seed


@dataclass(frozen=True)
class Films:
    """M films: the inputs of one branch, all others are masked."""

    branch: str  # that reads them
    features: Features  # its entries, M rows each
    labels: torch.Tensor  # M x G, 0 or 1
    weight: float  # of their loss beside that of the posters
    seed: int  # of the order in which they come

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, epoch: int, step: int, steps: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The films of one of the `steps` of an epoch, which sees every film once: inputs and labels."""
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, epoch, -2))
        order = torch.randperm(len(self), generator=generator)
        rows = order[len(self) * step // steps : len(self) * (step + 1) // steps]
        return batch_of(self.features, rows), self.labels[rows]

    def offsets(self, loss: Loss, posters: torch.Tensor) -> torch.Tensor:
        """What the films' base rates add to the posters' in logits: G.

        A list of titles has its own share of each genre; without this the head's bias would learn it.

        Args:
            loss: that is minimised.
            posters: N x G of the training posters.
        """
        return base_logits(loss, self.labels) - base_logits(loss, posters)


def films_of(config: Config, dataset: Dataset) -> Films | None:
    """The films of a data set for the branch of `config` that reads titles; None where there is none of either."""
    titles = dataset.titles
    if titles is None or not len(titles):
        return None
    for name in config.branches:
        read = declared(name).titles(titles.titles, config)
        if read is not None:
            features, weight = read
            labels = torch.from_numpy(titles.labels(dataset.vocabulary))
            known = labels.any(dim=1).nonzero().squeeze(1)
            return Films(name, take(features, known), labels[known], weight, config.seed) if len(known) else None
    return None
