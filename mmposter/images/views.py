"""Random views of posters: a part of each, in other colours; all draws are given, so that they can be made again."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
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


def cut(pixels: torch.Tensor, parts: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """One part of every poster, resized: B x H x W x 3 of uint8 -> B x 3 x height x width of uint8.

    Bilinear with antialias, which torch has a fast way for where a pixel's colours lie side by side.

    Args:
        parts: B x 4, from `boxes`; rounded to pixels, at least one of them.
        size: height and width.
    """
    height, width = pixels.shape[1:3]
    made = torch.empty(len(pixels), *size, 3, dtype=torch.uint8)
    edges = (parts * torch.tensor([width, height, width, height])).round().int().tolist()
    for poster, (left, top, right, bottom), place in zip(pixels, edges, made, strict=True):
        part = poster[top : max(bottom, top + 1), left : max(right, left + 1)].permute(2, 0, 1)[None]
        place.copy_(F.interpolate(part, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0))
    return made.permute(0, 3, 1, 2)


def recoloured(images: torch.Tensor, draws: NDArray[np.float64]) -> torch.Tensor:
    """Other brightness, contrast and saturation for every picture of B x 3 x H x W in 0-255, float.

    One after another they are: times a brightness; away from the picture's mean by a contrast; away from the pixel's
    grey, the mean of its channels, by a saturation. Together that is one matrix and one offset a picture.

    Args:
        draws: `COLOUR_DRAWS` x B, uniform in 0-1.
    """
    most = np.array([[_BRIGHTNESS], [_CONTRAST], [_SATURATION]])
    brightness, contrast, saturation = torch.from_numpy(np.exp(_spread(draws, most))).to(images)
    offset = images.mean((1, 2, 3)) * brightness * (1 - contrast)
    grey = torch.full((3, 3), 1 / 3, dtype=images.dtype, device=images.device)
    mixed = saturation[:, None, None] * (torch.eye(3).to(images) - grey) + grey
    matrix = mixed * (brightness * contrast)[:, None, None]
    with torch.autocast(images.device.type, enabled=False):  # a colour in bf16 has but three digits
        made = torch.baddbmm(offset[:, None, None].expand(-1, 3, 1), matrix, images.flatten(2))
    return made.view_as(images).clamp_(0, 255)


def _spread(draws: NDArray[np.float64], most: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """From 0-1 to -`most` to `most`."""
    return (2 * draws - 1) * most
