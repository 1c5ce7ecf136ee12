"""The heads behind the soft genres: they learn from training posters, answer for others, are judged and kept."""

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
TRAIN = np.arange(VAL, COUNT)


def posters() -> PosterMaps:
    """Two teachers with six channels each, of maps of their own size; the first one's follow genre 0, then genre 1."""
    rng = np.random.default_rng(0)
    labels = (rng.random((COUNT, 2)) < (0.5, 0.25)).astype(np.float32)
    maps = {
        name: (rng.normal(0, 0.5, (COUNT, 6, 5 - genre, 4)) + 3 * labels[:, genre, None, None, None]).astype(np.float16)
        for genre, name in enumerate(FINAL)
    }
    maps["a/other"] = np.zeros((COUNT, 2, 10, 8), np.float16)
    groups = np.array([f"film {number // 2}" for number in range(COUNT)], dtype=object)
    return PosterMaps(np.zeros((COUNT, 20, 16, 3), np.uint8), maps, TRAIN, np.arange(VAL), labels=labels, groups=groups)


def noise() -> PosterMaps:
    """Genres that are dealt at random: nothing in any map says which. Each film has two posters, of the same genres."""
    rng = np.random.default_rng(1)
    flat = np.ones((1, 1, 2, 2), np.float16)  # every crop shows the same
    maps = {
        name: rng.normal(0, 1, (COUNT // 2, 300, 1, 1)).repeat(2, axis=0).astype(np.float16) * flat for name in FINAL
    }
    labels = (rng.random((COUNT // 2, 4)) < 0.3).astype(np.float32).repeat(2, axis=0)
    return replace(posters(), maps=maps, labels=labels)


def make(tmp_path, data: PosterMaps, seed: int = 0, folds: int = 4) -> SoftGenres:
    return SoftGenres.of(data, FINAL, folds, seed, tmp_path, device="cpu", quiet=True)


def answers(soft: SoftGenres, data: PosterMaps, rows: np.ndarray) -> torch.Tensor:
    return soft({name: torch.from_numpy(values[rows]).float() for name, values in data.maps.items()}, rows)


def test_the_heads_learn_what_maps_say_of_genres(tmp_path):
    data = posters()
    soft = make(tmp_path, data)
    assert float(soft.validation_map) > 0.95
    assert float(soft.train_map) > 0.95
    probs = answers(soft, data, np.arange(VAL))
    assert probs.shape == (VAL, 2)
    assert not probs.requires_grad
    found = mean_average_precision(data.labels[:VAL], probs.numpy())
    assert found == pytest.approx(float(soft.validation_map), abs=0.01)
    torch.testing.assert_close(soft.prior, answers(soft, data, TRAIN).mean(0), atol=0.04, rtol=0)


def test_no_answer_knows_the_labels_of_its_own_poster(tmp_path):
    """A head that learnt a poster gives noise back as if it were seen there; the one that answers for it cannot."""
    data = noise()
    soft = make(tmp_path, data)
    rows = TRAIN[data.labels[TRAIN].any(axis=1)]
    base = float(data.labels[rows].mean())
    honest = answers(soft, data, rows).numpy()
    soft.folds.copy_(torch.where(soft.folds < 0, soft.folds, (soft.folds + 1) % 4))  # of a head that has learnt it
    leaking = answers(soft, data, rows).numpy()
    assert mean_average_precision(data.labels[rows], leaking) > base + 0.35
    assert mean_average_precision(data.labels[rows], honest) < base + 0.1
    assert float(soft.train_map) == pytest.approx(mean_average_precision(data.labels[rows], honest), abs=0.01)


def test_posters_of_a_group_are_in_one_fold_and_others_have_none(tmp_path):
    data = posters()
    data.labels[VAL] = 0  # a training poster without a genre
    folds = make(tmp_path, data).folds.numpy()
    labelled = TRAIN[data.labels[TRAIN].any(axis=1)]
    assert set(folds[labelled]) == {0, 1, 2, 3}
    assert all(len(set(folds[labelled][data.groups[labelled] == group])) == 1 for group in data.groups[labelled])
    others = np.setdiff1d(np.arange(COUNT), labelled)
    assert VAL in others
    assert set(folds[others]) == {-1}


def test_a_poster_that_no_head_has_learnt_gets_the_mean_of_all(tmp_path):
    data = posters()
    soft = make(tmp_path, data)
    rows = np.arange(VAL)
    pooled = soft._pooled({name: torch.from_numpy(data.maps[name][rows]).float() for name in FINAL})
    each = torch.stack([torch.sigmoid(head(pooled)) for head in soft.heads])
    assert len(each) == 4
    torch.testing.assert_close(answers(soft, data, rows), each.mean(0))
    (first,) = np.flatnonzero(soft.folds.numpy() == 2)[:1]
    pooled = soft._pooled({name: torch.from_numpy(data.maps[name][[first]]).float() for name in FINAL})
    torch.testing.assert_close(answers(soft, data, np.array([first])), torch.sigmoid(soft.heads[2](pooled)))


def test_they_are_trained_once_and_the_same_for_one_seed(tmp_path, monkeypatch):
    data = posters()
    first, again, other = (make(tmp_path / name, data, seed) for name, seed in (("one", 0), ("two", 0), ("three", 1)))
    state = first.state_dict()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())
    assert not torch.equal(first.heads[0][2].weight, other.heads[0][2].weight)
    assert (tmp_path / "one" / FILE).is_file()
    monkeypatch.setattr(SoftGenres, "_train", None)
    kept = make(tmp_path / "one", data, seed=5)
    assert all(torch.equal(value, kept.state_dict()[key]) for key, value in state.items())
    assert not kept.training


def test_what_is_kept_says_its_folds(tmp_path):
    data = posters()
    make(tmp_path, data)
    moved = replace(data, groups=np.arange(COUNT).astype(str).astype(object))  # each a film of its own
    with pytest.raises(UserError, match=r"other folds of the posters.*\n?.*remove it, and it is made again"):
        make(tmp_path, moved)
    with pytest.raises(UserError, match="remove it, and it is made again"):
        make(tmp_path, data, folds=3)


def test_fewer_films_than_folds_make_fewer_folds(tmp_path):
    labels = np.zeros((COUNT, 2), np.float32)
    labels[:4] = labels[[60, 61, 62, 64]] = 1
    soft = make(tmp_path, replace(posters(), labels=labels))
    assert len(soft.heads) == 3


@pytest.mark.parametrize(("rows", "there"), [((), 0), ((60, 61), 1), ((60, 62), 2)])
def test_posters_of_several_films_with_genres_are_needed(tmp_path, rows, there):
    labels = np.zeros((COUNT, 2), np.float32)
    labels[:10] = 1  # ten of the validation posters
    labels[list(rows)] = 1
    message = rf"3 training posters of different films .* there are {there} and 10\.\nLearn without genres: --set genre"
    with pytest.raises(UserError, match=message):
        make(tmp_path, replace(posters(), labels=labels))
