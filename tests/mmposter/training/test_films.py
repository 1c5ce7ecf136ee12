"""Films without a poster in a training: seen once an epoch, by one branch, and resumed like the rest."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mmposter.data.titles import TITLES, Titles, write_titles
from mmposter.runs.run import WEIGHTS
from mmposter.training import loop
from mmposter.training.films import films_of
from mmposter.training.train import train

COUNT = 40
GENRES = ("Bright", "Crowded", "Wordy")  # of the world; its fourth has no film


@pytest.fixture
def taught(world):
    """The world's data set with films whose title says their genre."""
    genres = tuple((GENRES[number % 3],) for number in range(COUNT))
    titles = Titles(
        tuple(f"{name.lower()} film {number}" for number, (name,) in enumerate(genres)), (None,) * COUNT, genres
    )
    folder = world.dataset.folder
    write_titles(folder, titles)
    digest = hashlib.sha256((folder / TITLES).read_bytes()).hexdigest()
    return replace(world.dataset, info={**world.dataset.info, "titles": {"films": COUNT, "sha256": digest}})


def weights(config, dataset, out, **more) -> dict[str, torch.Tensor]:
    train(config, dataset, out, device="cpu", offline=True, quiet=True, **more)
    return load_file(out / WEIGHTS)


def test_an_epoch_sees_every_film_once_and_another_epoch_in_another_order(world, taught):
    films = films_of(world.config(), taught)
    assert films is not None
    assert len(films) == COUNT
    orders = []
    for epoch in range(2):
        seen = [films.batch(epoch, step, 7) for step in range(7)]
        labels = torch.cat([batch for _, batch in seen])
        assert torch.equal(labels.sum(dim=0), films.labels.sum(dim=0))
        assert sum(len(inputs["ocr.ngrams"]) for inputs, _ in seen) == COUNT
        orders.append(labels)
    assert not torch.equal(*orders)
    again = films.batch(1, 3, 7)[0]["ocr.ngrams"]
    assert torch.equal(again, films.batch(1, 3, 7)[0]["ocr.ngrams"])


def test_they_teach_the_n_grams_and_leave_other_branches_to_the_posters(world, taught, tmp_path):
    config = world.config()
    with_films = weights(config, taught, tmp_path / "with")
    without = weights(config, world.dataset, tmp_path / "without")
    key = "fusion.branches.ocr.ngrams.weight"
    assert (with_films[key] != 0).sum() > (without[key] != 0).sum()
    none = weights(world.config("ocr.titles=0"), taught, tmp_path / "none")
    assert all(torch.equal(none[name], without[name]) for name in without)


@pytest.mark.parametrize("overrides", [("ocr.titles=0",), ("ocr.encoding=embedded",)])
def test_without_a_weight_or_a_branch_that_reads_titles_there_are_none(world, taught, overrides):
    assert films_of(world.config(*overrides), taught) is None
    assert films_of(world.config(branches="yolo"), taught) is None


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(world, taught, tmp_path, monkeypatch):
    config = world.config(branches="yolo,ocr")
    whole = weights(config, taught, tmp_path / "whole")
    original, count = loop.Trainer._step, 0

    class StopError(Exception):
        pass

    def step(self, *arguments):
        nonlocal count
        if count == 4:
            raise StopError
        count += 1
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", step)
        patch.setattr(loop, "CHECKPOINT_SECONDS", -1)
        with pytest.raises(StopError):
            weights(config, taught, tmp_path / "part")
    resumed = weights(config, taught, tmp_path / "part", resume=True)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_the_shares_of_genres_among_films_are_not_taken_for_those_of_posters(world, taught):
    films = films_of(world.config(), taught)
    assert films is not None
    posters = torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, 1.0, 1.0]])
    from fusion import build_loss

    offsets = films.offsets(build_loss("bce"), posters)
    shares = posters.mean(dim=0).logit() + offsets
    expected = films.labels.mean(dim=0).clamp(0.5 / COUNT).logit()
    torch.testing.assert_close(shares, expected, atol=1e-3, rtol=0)
