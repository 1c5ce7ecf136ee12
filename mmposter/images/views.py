"""Random views of posters: a part of each, in other colours; all draws are given, so that they can be made again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

BOX_DRAWS = 4
"""Numbers that `boxes` takes for each box."""
COLOUR_DRAWS = 3
"""Numbers that `recoloured` takes for each picture."""

_STRETCH = 0.3  # logarithm of the most that a part's aspect differs from the poster's
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.2, 0.25  # logarithms of the largest factors


def boxes(draws: NDArray[np.float64], scale: tuple[float, float]) -> torch.Tensor:
    """Boxes B x 4 (left, top, right and bottom in 0-1): of a random area, stretched a little, at a random place.

    Args:
        draws: `BOX_DRAWS` x B, uniform in 0-1.
        scale: the smallest and the largest area, of the whole; less where a stretched box would reach over the edge.
    """
    area, aspect = scale[0] + (scale[1] - scale[0]) * draws[0], np.exp(_spread(draws[1], _STRETCH))
    height, width = np.minimum(np.sqrt(area / aspect), 1), np.minimum(np.sqrt(area * aspect), 1)
    top, left = (1 - height) * draws[2], (1 - width) * draws[3]
    return torch.from_numpy(np.stack([left, top, left + width, top + height], axis=1)).float()


def recoloured(images: torch.Tensor, draws: NDArray[np.float64]) -> torch.Tensor:
    """Other brightness, contrast and saturation for every picture of B x 3 x H x W in 0-255.

    Args:
        draws: `COLOUR_DRAWS` x B, uniform in 0-1.
    """
    most = np.array([[_BRIGHTNESS], [_CONTRAST], [_SATURATION]])
    factors = torch.from_numpy(np.exp(_spread(draws, most))).to(images)[..., None, None, None]
    images = images * factors[0]
    for factor, dims in ((factors[1], (1, 2, 3)), (factors[2], (1,))):
        grey = images.mean(dims, keepdim=True)
        images = (images - grey) * factor + grey
    return images.clamp(0, 255)


def _spread(draws: NDArray[np.float64], most: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """From 0-1 to -`most` to `most`."""
    return (2 * draws - 1) * most
