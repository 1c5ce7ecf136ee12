from __future__ import annotations

import numpy as np
import torch

from mmposter.images.transforms import PosterTransform

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)


def test_scale_and_normalisation_are_the_backbones_own():
    poster = np.zeros((90, 60, 3), np.uint8)
    poster[:] = (255, 0, 51)
    image = PosterTransform(MEAN, STD, (32, 48))(poster)
    assert image.shape == (3, 32, 48)
    assert image.dtype == torch.float32
    assert torch.allclose(image.mean(dim=(1, 2)), torch.tensor([1.0, -1.0, 0.2]), atol=1e-6)


def test_the_whole_poster_is_seen_and_nothing_is_flipped():
    poster = np.zeros((90, 60, 3), np.uint8)
    poster[:45, :30] = 255  # top left
    image = PosterTransform(MEAN, STD, (40, 80))(poster)[2]
    assert image[:18, :38].min() > 0.9
    assert image[22:].max() < 0.1
    assert image[:, 42:].max() < 0.1


def test_mean_0_and_deviation_1_leave_pixel_values_in_0_to_1(make_drawn):
    poster = np.asarray(make_drawn(0))
    image = PosterTransform((0, 0, 0), (1, 1, 1), poster.shape[:2])(poster)
    assert torch.allclose(image.permute(1, 2, 0) * 255, torch.from_numpy(poster.copy()).float(), atol=1e-3)


def test_the_poster_is_not_changed_and_may_be_read_only(make_drawn):
    poster = np.asarray(make_drawn(0))
    before = poster.copy()
    poster.flags.writeable = False
    PosterTransform(MEAN, STD, (32, 32))(poster)
    assert np.array_equal(poster, before)


def test_a_resized_poster_is_what_is_normalised(make_drawn):
    poster, transform = np.asarray(make_drawn(4)), PosterTransform((0, 0, 0), (1, 1, 1), (48, 32))
    resized = transform.resized(poster)
    assert resized.dtype == np.uint8
    torch.testing.assert_close(transform(poster), torch.from_numpy(resized).permute(2, 0, 1) / 255)
