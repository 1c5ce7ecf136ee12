"""The whole poster: the pooled features of the image network, or of a second one that stays as it is."""

from __future__ import annotations

from torch import Tensor, nn

from fusion.base import POOLED, Branch, Inputs, register_branch
from fusion.layers import BatchNormRows, Dropout, check_probability

CNN, PHOTO = "cnn", "photo"


@register_branch(CNN)
class CnnBranch(Branch):
    """Batch norm, dropout, a linear layer and a GELU on the pooled map: with the head's classifier, two layers.

    Batch norm because the channels of a pretrained network differ in scale by orders of magnitude.

    Args:
        num_features: C, channels of the backbone's final map.
        dim: D, length of the embedding.
        dropout: on the pooled features, in [0, 1).

    Examples:
        >>> import torch
        >>> branch = CnnBranch(num_features=12, dim=8)
        >>> embedding, present = branch({"cnn.pooled": torch.rand(5, 12)})
        >>> embedding.shape
        torch.Size([5, 8])
    """

    def __init__(self, num_features: int, dim: int = 256, dropout: float = 0.2) -> None:
        super().__init__(dim)
        self.num_features = num_features
        self.layers = nn.Sequential(
            BatchNormRows(num_features),
            Dropout(check_probability("dropout", dropout)),
            nn.Linear(num_features, dim),
            nn.GELU(),
        )

    def tower_inputs(self) -> dict[str, int]:
        """The pooled features, C."""
        return {POOLED: self.num_features}

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed: cnn.pooled B x C -> embedding B x D, present B (all True)."""
        return self.layers(inputs[POOLED]), self.present(inputs)


@register_branch(PHOTO)
class PhotoBranch(CnnBranch):
    """The same layers on the pooled map of a second network, which is frozen in every regime.

    Args:
        num_features: C, channels of that network's final map.
        dim: D, length of the embedding.
        dropout: on the pooled features, in [0, 1).

    Examples:
        >>> import torch
        >>> branch = PhotoBranch(num_features=12, dim=8)
        >>> embedding, present = branch({"photo.pooled": torch.rand(5, 12)})
        >>> embedding.shape
        torch.Size([5, 8])
    """

    def tower_inputs(self) -> dict[str, int]:
        """None: it reads records of its own."""
        return {}

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed: photo.pooled B x C -> embedding B x D, present B (all True)."""
        return self.layers(inputs[f"{PHOTO}.pooled"]), self.present(inputs)
