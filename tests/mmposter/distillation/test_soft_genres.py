"""The head behind the soft genres: it learns from training posters, is judged on validation ones, and is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmposter.distillation.genres import FILE, SoftGenres
from mmposter.distillation.views import PosterMaps
from mmposter.errors import UserError
from mmposter.evaluation.metrics import mean_average_precision

FINAL = ("a/last", "b/last")
COUNT, VAL = 240, 40


def posters() -> PosterMaps:
    """Two teachers with six channels each, of maps of their own size; the first one's follow genre 0, then genre 1."""
    rng = np.random.default_rng(0)
    labels = (rng.random((COUNT, 2)) < (0.5, 0.25)).astype(np.float32)
    maps = {
        name: (rng.normal(0, 0.5, (COUNT, 6, 5 - genre, 4)) + 3 * labels[:, genre, None, None, None]).astype(np.float16)
        for genre, name in enumerate(FINAL)
    }
    maps["a/other"] = np.zeros((COUNT, 2, 10, 8), np.float16)
    return PosterMaps(
        np.zeros((COUNT, 20, 16, 3), np.uint8), maps, np.arange(VAL, COUNT), np.arange(VAL), labels=labels
    )


def make(tmp_path, data: PosterMaps, seed: int = 0) -> SoftGenres:
    return SoftGenres.of(data, FINAL, seed, tmp_path, device="cpu", quiet=True)


def test_the_head_learns_what_maps_say_of_genres(tmp_path):
    data = posters()
    soft = make(tmp_path, data)
    assert float(soft.validation_map) > 0.95
    probs = soft({name: torch.from_numpy(data.maps[name][:VAL]).float() for name in data.maps})
    assert probs.shape == (VAL, 2)
    assert not probs.requires_grad
    found = mean_average_precision(data.labels[:VAL], probs.numpy())
    assert found == pytest.approx(float(soft.validation_map), abs=0.01)
    learnt = soft({name: torch.from_numpy(values[VAL:]).float() for name, values in data.maps.items()})
    torch.testing.assert_close(soft.prior, learnt.mean(0), atol=0.03, rtol=0)


def test_it_is_trained_once_and_the_same_for_one_seed(tmp_path, monkeypatch):
    data = posters()
    first, again, other = (make(tmp_path / name, data, seed) for name, seed in (("one", 0), ("two", 0), ("three", 1)))
    state = first.state_dict()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())
    assert not torch.equal(first.head[2].weight, other.head[2].weight)
    assert (tmp_path / "one" / FILE).is_file()
    monkeypatch.setattr(SoftGenres, "_train", None)
    kept = make(tmp_path / "one", data, seed=5)
    assert all(torch.equal(value, kept.state_dict()[key]) for key, value in state.items())
    assert not kept.training


def test_posters_with_genres_are_needed(tmp_path):
    labels = np.zeros((COUNT, 2), np.float32)
    labels[:10] = 1  # ten of the validation posters
    with pytest.raises(UserError, match=r"there are 0 and 10\.\nLearn without genres: --set genre_weight=0"):
        make(tmp_path, replace(posters(), labels=labels))
