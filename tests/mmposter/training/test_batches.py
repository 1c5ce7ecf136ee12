"""Batches and the collection of predictions: every poster once, in order, whatever the batch size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from mmposter.config import Config
from mmposter.engines.device import make_accelerator
from mmposter.training.batches import EpochSampler, PosterBatches, read_ahead
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
@pytest.mark.parametrize("kept", ["all", "every other", "the last", "backwards, one twice"])
def test_predictions_are_of_just_the_rows_asked_for(posters, kept):
    values = torch.linspace(-3, 3, posters)[:, None]
    data = PosterBatches({"x": values}, torch.zeros(posters, 1))
    rows = {"all": list(range(posters)), "every other": list(range(0, posters, 2)), "the last": [posters - 1]}.get(
        kept, [*reversed(range(posters)), 0]
    )
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


def test_batches_that_are_read_ahead_are_the_same_and_a_failure_comes_where_it_was():
    def made():
        for number in range(5):
            if number == 3:
                raise ValueError("damaged")
            yield number

    seen = []
    with pytest.raises(ValueError, match="damaged"):
        seen.extend(read_ahead(made()))
    assert seen == [0, 1, 2]
    assert list(read_ahead(iter([]))) == []
    for batch in read_ahead(iter(range(10**9))):  # left early, it ends
        if batch == 2:
            break


def test_a_long_table_is_shuffled_by_windows_from_any_batch_on():
    places = np.random.default_rng(0).permutation(3000)
    rows = np.arange(0, 3000, 2)
    sampler = EpochSampler(rows, 64, seed=3, places=places)
    whole = list(sampler)
    assert sorted(row for batch in whole for row in batch) == rows.tolist()
    assert [len(batch) for batch in whole] == [64] * 23 + [28]
    sampler.start = 10
    assert list(sampler) == whole[10:]
    sampler.epoch, sampler.start = 1, 0
    assert list(sampler) != whole
