from __future__ import annotations

import numpy as np
import pytest
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
    PosterTransform(MEAN, STD, (32, 32), augment=True)(poster, seed=3)
    assert np.array_equal(poster, before)


def test_augmentation_depends_on_its_seed_alone(make_drawn):
    poster, transform = np.asarray(make_drawn(4)), PosterTransform(MEAN, STD, (48, 32), augment=True)
    torch.manual_seed(1)
    first = transform(poster, seed=5)
    torch.manual_seed(2)
    assert torch.equal(transform(poster, seed=5), first)
    assert not torch.equal(transform(poster, seed=6), first)


def test_augmentation_leaves_the_trainings_own_random_numbers_alone(make_drawn, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the GPU's generator was reseeded"))
    transform = PosterTransform(MEAN, STD, (48, 32), augment=True)
    torch.default_generator.manual_seed(9)
    expected = torch.rand(4)
    torch.default_generator.manual_seed(9)
    transform(np.asarray(make_drawn(4)), seed=5)
    assert torch.equal(torch.rand(4), expected)


def test_without_augmentation_a_seed_changes_nothing(make_drawn):
    poster, transform = np.asarray(make_drawn(4)), PosterTransform(MEAN, STD, (48, 32))
    assert torch.equal(transform(poster, seed=1), transform(poster, seed=2))
