"""Grad-CAM: which places of a feature map speak for a genre.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
arXiv 1610.02391: the map's channels, each weighted by the mean gradient of the genre's logit over its places, summed,
and what is below 0 cut off. Computed by captum's `LayerGradCam`.

Letters: n genres that are asked for, G genres, C channels, h w height and width of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor, nn

Score: TypeAlias = Callable[[Tensor], Tensor]
"""What a model makes of a feature map: n x C x h x w -> logits n x G, each row on its own."""


def grad_cam(score: Score, features: Tensor, genres: Sequence[int]) -> Tensor:
    """Grad-CAM of one poster for n genres, by number: its map 1 x C x h x w -> n x h x w, 0 or more, as logits.

    `score` is the part of the model that stands above the map.
    """
    from captum.attr import LayerGradCam

    above = _Above(score)
    maps = features.detach().repeat(len(genres), 1, 1, 1).requires_grad_()
    found: Tensor = LayerGradCam(above, above.features).attribute(maps, target=list(genres), relu_attributions=True)
    return found.detach().squeeze(1)


class _Above(nn.Module):
    """The model from the map on. captum wants a layer to look at: one that hands the map through."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.features = nn.Identity()
        self._score = score

    def forward(self, maps: Tensor) -> Tensor:
        """n x C x h x w -> n x G."""
        return self._score(self.features(maps))
