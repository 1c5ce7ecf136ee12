"""Batches and the collection of predictions: every poster once, in order, whatever the batch size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmposter.config import Config
from mmposter.engines.device import make_accelerator
from mmposter.training.batches import EpochSampler, PosterBatches
from mmposter.training.loop import passes, predict_rows, rate_factor


class _Echo(nn.Module):
    """Logits that say which poster they belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs, only=None):
        return self.weight * inputs["x"]

    def sees(self, inputs, only=None):
        return inputs["x"][:, 0] > 0


@pytest.mark.parametrize("posters", [1, 64, 65, 70, 130])
@pytest.mark.parametrize("kept", ["all", "every other", "the last"])
def test_predictions_are_of_just_the_rows_asked_for(posters, kept):
    values = torch.linspace(-3, 3, posters)[:, None]
    data = PosterBatches({"x": values}, torch.zeros(posters, 1))
    rows = {"all": list(range(posters)), "every other": list(range(0, posters, 2)), "the last": [posters - 1]}[kept]
    probs, found, seen = predict_rows(make_accelerator("cpu", "fp32"), _Echo(), data, rows, Config())
    assert found.tolist() == rows
    assert seen.tolist() == (values[rows, 0] > 0).tolist()
    np.testing.assert_allclose(probs[:, 0], values.sigmoid()[rows, 0], atol=1e-6)


def test_sampler_is_a_function_of_seed_and_epoch_and_can_start_anywhere():
    sampler = EpochSampler(range(10), 3, seed=1)
    first = list(sampler)
    assert sorted(row for batch in first for row in batch) == list(range(10))
    assert list(sampler) == first
    sampler.start = 2
    assert list(sampler) == first[2:]
    sampler.start, sampler.epoch = 0, 1
    assert list(sampler) != first
    assert list(EpochSampler(range(10), 3, seed=2)) != first


def test_no_training_batch_of_one_poster():
    assert sorted(map(len, EpochSampler(range(10), 3))) == [3, 3, 4]
    assert list(map(len, EpochSampler(range(10), 3, shuffle=False))) == [3, 3, 3, 1]


def test_batches_of_one_poster_are_all_of_one_where_that_is_asked_for():
    assert list(map(len, EpochSampler(range(5), 1))) == [1] * 5


def test_few_posters_are_passed_more_often_and_a_number_of_passes_is_kept():
    usual = Config().train
    assert passes(usual, 62) == (16, 10)
    assert passes(usual, 1) == (usual.min_steps, usual.min_steps * 10 // 16)
    assert passes(usual.model_copy(update={"epochs": 3}), 1) == (3, 10)


def test_rate_rises_then_falls_to_nothing():
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[-1] < 0.001


def _pixels(poster, seed):
    """A transform that changes nothing."""
    return torch.from_numpy(np.array(poster))


def test_a_crop_is_the_pictures_own_slice_and_none_is_the_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (72, 48, 3), dtype=np.uint8)
    upright, turned = tmp_path / "upright.png", tmp_path / "turned.png"
    Image.fromarray(pixels).save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    Image.fromarray(np.rot90(pixels)).save(turned, exif=exif)
    paths = [upright, turned, upright, upright]
    crops = [(3, 10, 43, 60), (3, 10, 43, 60), None, (0, 0, 48, 72)]
    data = PosterBatches({}, torch.zeros(4, 1), paths, _pixels, crops=crops)
    for row in (0, 1):
        np.testing.assert_array_equal(data[row][1], pixels[10:60, 3:43])
    for row in (2, 3):
        np.testing.assert_array_equal(data[row][1], pixels)
    np.testing.assert_array_equal(PosterBatches({}, torch.zeros(4, 1), paths, _pixels)[0][1], pixels)


@pytest.mark.parametrize("crop", [(10, 0, 49, 40), (0, 40, 40, 73), (-1, 0, 39, 40), (0, -1, 40, 39), (9, 0, 9, 40)])
def test_a_crop_that_the_picture_does_not_hold_is_left_out(tmp_path, crop):
    path = tmp_path / "poster.png"
    Image.new("RGB", (48, 72)).save(path)
    data = PosterBatches({}, torch.zeros(2, 1), [path, path], _pixels, crops=[crop, (0, 0, 40, 40)])
    inputs, _, rows = data.collate([data[0], data[1]])
    assert rows.tolist() == [1]
    assert inputs["image"].shape == (1, 40, 40, 3)
