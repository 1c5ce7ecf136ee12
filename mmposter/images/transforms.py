"""Posters as a backbone wants them: its own size, scale and normalisation, the same in training and prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


class PosterTransform:
    """An 8-bit RGB poster to a normalised tensor 3 x H x W.

    The whole poster is resized, its aspect not kept: posters differ little from 2:3, and a crop would lose the title
    or the credits. The filter is torch's of 8-bit images, which is Pillow's scheme.

    Args:
        mean: of the red, green and blue channel of an image in 0-1; taken away from it.
        std: of the same; what is left is divided by it.
        size: height and width in pixels.
        resize: the filter, one of `fusion.backbones.RESIZES`; with antialias, where it has one.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], size: tuple[int, int], resize: str = "bicubic"
    ) -> None:
        from torchvision.transforms import v2  # takes over a second, which nobody should wait who transforms nothing

        self.size = size
        # torch's plain nearest takes the pixel at a corner; Pillow's, which networks were shown, the one at the centre.
        name = "nearest-exact" if resize == "nearest" else resize
        self._resize = v2.Resize(self.size, interpolation=v2.InterpolationMode(name), antialias=True)
        self._normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])

    def __call__(self, poster: NDArray[np.uint8]) -> torch.Tensor:
        """Transform one poster, H x W x 3, uint8, RGB."""
        result: torch.Tensor = self._normalise(self._resize(torch.from_numpy(np.array(poster)).permute(2, 0, 1)))
        return result

    def resized(self, poster: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The resized poster alone, H' x W' x 3, uint8: what `__call__` normalises."""
        image: torch.Tensor = self._resize(torch.from_numpy(np.array(poster)).permute(2, 0, 1))
        return image.permute(1, 2, 0).numpy()
