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
        augment: random crop of 70 % or more, horizontal flip and colour, from the `seed` of each call.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        size: tuple[int, int],
        resize: str = "bicubic",
        *,
        augment: bool = False,
    ) -> None:
        from torchvision.transforms import v2  # takes over a second, which nobody should wait who transforms nothing

        self.size = size
        # torch's plain nearest takes the pixel at a corner; Pillow's, which networks were shown, the one at the centre.
        name = "nearest-exact" if resize == "nearest" else resize
        options = {"interpolation": v2.InterpolationMode(name), "antialias": True}
        if augment:
            steps = [
                v2.RandomResizedCrop(self.size, scale=(0.7, 1.0), ratio=(0.6, 0.8), **options),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
            ]
        else:
            steps = [v2.Resize(self.size, **options)]
        self.augment = augment
        self._steps = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])

    def __call__(self, poster: NDArray[np.uint8], seed: int | None = None) -> torch.Tensor:
        """Transform one poster.

        Args:
            poster: H x W x 3, uint8, RGB.
            seed: with `augment`, makes the picture a function of it alone, whatever ran before.
        """
        image = torch.from_numpy(np.array(poster)).permute(2, 0, 1)
        if not self.augment or seed is None:
            return self._run(image)
        # torchvision draws from torch's global CPU generator; forking keeps the training's own sequence untouched.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed a GPU, where dropout draws
            return self._run(image)

    def _run(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._steps(image)
        return result
