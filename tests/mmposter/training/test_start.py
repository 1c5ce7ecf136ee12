"""``--start``: going on from a trained model's branches and head."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fusion import PosterModel
from mmposter.cli import app
from mmposter.config import load_config
from mmposter.data import Dataset, write_dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.files.tensors import load_tensors, save_tensors
from mmposter.runs.run import START, WEIGHTS, Run
from mmposter.runs.seen import SeenPosters
from mmposter.training.inputs import load_inputs
from mmposter.training.start import Start
from mmposter.training.train import fit, train

SHORT = {"train": {"epochs": 2, "batch_size": 16}, "evaluation": {"bootstrap": 100}}


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_world):
    with pytest.MonkeyPatch.context() as patch:
        yield make_world(tmp_path_factory.mktemp("start"), patch.setenv)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A run to start from; its n-grams, batch norms and head are not those of a fresh one."""
    folder = tmp_path_factory.mktemp("trained") / "before"
    config = world.config("train.epochs=1")
    run = train(config, world.dataset, folder, device="cpu", offline=True, quiet=True).run
    weights = load_tensors(folder / WEIGHTS)
    weights["fusion.branches.ocr.ngrams.idf"] += 1  # no poster of this world has a text
    save_tensors(folder / WEIGHTS, weights)
    return run


@pytest.fixture(scope="module")
def mine(world, tmp_path_factory):
    """The same posters with other genres: one shared, in another place and case, and two new ones."""
    table = world.dataset.table.copy()
    new = {"Bright": "Sunny", "Wordy": "wordy", "Rare": "Odd"}
    table["genres"] = [[new[name] for name in names if name in new] or ["Odd"] for names in table["genres"]]
    table["raw_genres"] = table["genres"]
    folder = tmp_path_factory.mktemp("mine") / "data"
    vocabulary = Vocabulary("mine", ("Odd", "Sunny", "wordy"), {})
    write_dataset(folder, table, vocabulary, {"root": str(world.dataset.root)})
    # What was extracted is there already.
    (folder / "features").symlink_to(world.dataset.features_folder, target_is_directory=True)
    return Dataset.load(folder)


def begun(start, dataset, config, out):
    """A model right after it has taken over what the start knows, before its first step."""
    inputs = load_inputs(config, dataset, device="cpu", offline=True, quiet=True, behind=start.run)
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        kept = {}

        def stop(trainer, *, quiet=False):
            kept["model"] = trainer.plain_model
            raise KeyboardInterrupt

        patch.setattr("mmposter.training.loop.Trainer.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(config, dataset, inputs, out, device="cpu", offline=True, quiet=True, start=start)
    return kept["model"]


def test_branches_are_taken_over_wholly_and_of_the_head_the_shared_genres(trained, mine, tmp_path):
    start = Start.load(trained)
    assert start.genres(mine.vocabulary) == {2: 2}
    model, before = begun(start, mine, start.config(SHORT), tmp_path / "run"), trained.load_model()
    theirs = before.fusion.branches.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.fusion.branches.state_dict().items())
    assert (before.fusion.branch("ocr").ngrams.idf != 1).any()
    (weights, bias), (old, old_bias) = model.fusion.head.outputs(), before.fusion.head.outputs()
    for ours, other in zip(weights, old, strict=True):
        assert torch.equal(ours[2], other[2])
        assert not ours[:2].any(), "a new genre begins at its base rate"
    assert bias[2] == old_bias[2]
    rates = mine.labels()[(mine.table["split"] == "train").to_numpy()].mean(axis=0)
    assert torch.sigmoid(bias[:2]).tolist() == pytest.approx(rates[:2].tolist(), abs=0.02)


def test_a_run_says_what_it_was_started_from_and_what_was_gained(trained, mine, tmp_path):
    start, out = Start.load(trained), tmp_path / "run"
    result = train(start.config(SHORT), mine, out, device="cpu", offline=True, quiet=True, start=start)
    fact = json.loads((out / "model.json").read_text())["facts"][START]
    assert (fact["name"], fact["weights"]) == ("before", start.weights)
    whole, shared = result.gains
    assert (whole.posters, whole.genres, whole.before) == ("validation", 3, None)
    assert shared.genres == 1
    assert shared.before is not None
    assert [gain.to_json() for gain in result.gains] == fact["gains"]
    card = (out / "README.md").read_text()
    assert "went on from the branches and the head of `before`" in card
    assert "| validation |" in card
    assert "Started from before" in result._repr_html_()
    assert Run.load(out).load_model().fusion.head.num_genres == 3


def test_what_the_start_has_seen_counts_as_seen(trained, mine, tmp_path):
    few = replace(mine, table=mine.table.iloc[:24].reset_index(drop=True))
    start = Start.load(trained)
    train(start.config(SHORT), few, tmp_path / "run", device="cpu", offline=True, quiet=True, start=start)
    seen = SeenPosters.load(tmp_path / "run")
    before = SeenPosters.load(trained.folder)
    assert before is not None
    assert set(seen.files.tolist()) >= set(before.files.tolist())


def test_going_on_is_exact_and_wants_the_same_start(world, trained, mine, tmp_path, monkeypatch):
    start = Start.load(trained)
    config = start.config({**SHORT, "train": {**SHORT["train"], "epochs": 3}})
    how = {"device": "cpu", "offline": True, "quiet": True}
    train(config, mine, tmp_path / "whole", start=start, **how)
    with monkeypatch.context() as patch:
        from mmposter.training.loop import Trainer

        end = Trainer._end_epoch

        def stop(trainer):
            end(trainer)
            raise KeyboardInterrupt

        patch.setattr(Trainer, "_end_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, mine, tmp_path / "run", start=start, **how)
    with pytest.raises(UserError, match=r"was started from before .*give --start with that run"):
        train(config, mine, tmp_path / "run", resume=True, **how)
    other = train(world.config("train.epochs=1", seed=3), world.dataset, tmp_path / "other", **how).run
    with pytest.raises(UserError, match="was started from before"):
        train(Start.load(other).config(SHORT), mine, tmp_path / "run", resume=True, start=Start.load(other), **how)
    with pytest.raises(UserError, match="was not started from a model; leave out --start"):
        train(start.config(SHORT), world.dataset, tmp_path / "other", resume=True, start=start, **how)
    train(config, mine, tmp_path / "run", resume=True, start=start, **how)
    whole, resumed = (load_tensors(tmp_path / name / WEIGHTS) for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"branches": "cnn"}, "branches"),
        ({"fusion": {"head": "concat"}}, "fusion.head"),
        ({"ocr": {"encoding": "ngrams"}}, "ocr.encoding"),
        ({"cnn": {"dim": 3}}, "cnn.dim"),
        ({"cnn": {"init": "none"}}, "cnn.init"),
        ({"regime": "finetune"}, "regime"),
    ],
)
def test_what_the_start_decides_cannot_be_set(trained, said, key):
    with pytest.raises(UserError, match=rf"{key}: .*\n.*With --start may be set: seed, train"):
        Start.load(trained).config(said)


def test_what_may_be_set_is_kept(trained, world, tmp_path):
    said = {"seed": 3, "train": {"learning_rate": 0.01}, "cnn": {"dropout": 0.1}, "ocr": {"titles": 0.5}}
    config = Start.load(trained).config(said)
    assert (config.seed, config.train.learning_rate, config.cnn.dropout, config.ocr.titles) == (3, 0.01, 0.1, 0.5)
    assert config.branches == trained.config.branches
    with pytest.raises(UserError, match=r"train.speed: unknown key"):
        Start.load(trained).config({"train": {"speed": 1}})
    with pytest.raises(UserError, match=r"decides these keys"):  # of Python, where any configuration can be given
        train(load_config(), world.dataset, tmp_path / "run", device="cpu", start=Start.load(trained))


def test_a_network_without_branches_is_refused(trained):
    whole = replace(trained, config=trained.config.with_network(classifier="own"))
    with pytest.raises(UserError, match="one network without branches"):
        Start.load(whole)


def test_a_genre_without_a_training_poster_stays_at_its_base_rate(trained, mine, tmp_path):
    table = mine.table.copy()
    table["genres"] = [[name for name in names if name != "wordy"] or ["Odd"] for names in table["genres"]]
    start, none = Start.load(trained), replace(mine, table=table)
    model = begun(start, none, start.config(SHORT), tmp_path / "run")
    weights, _ = model.fusion.head.outputs()
    assert isinstance(model, PosterModel)
    assert not any(weight[2].any() for weight in weights)
    assert np.array_equal(none.labels().sum(axis=0) > 0, [True, True, False])


def test_a_network_that_learnt_on_posters_is_taken_over_too(world, mine, tmp_path):
    config = world.config("train.epochs=1", branches="cnn", regime="finetune", seed=4)
    how = {"device": "cpu", "offline": True, "quiet": True}
    before = train(config, world.dataset, tmp_path / "tuned", **how).run
    start = Start.load(before)
    model, old = begun(start, mine, start.config(SHORT), tmp_path / "run"), before.load_model()
    theirs = old.tower.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.tower.state_dict().items())


def command(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments), "--offline", "--device", "cpu"])


def test_the_command_shows_what_was_gained(trained, mine, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    sets = ("--set", "train.epochs=1", "--set", "evaluation.bootstrap=100")
    result = command(mine.folder, "--start", trained.folder, *sets)
    assert result.exit_code == 0, result.output
    assert Run.load("runs/from-before-features-0").facts[START]["name"] == "before"
    assert "Started from before" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--start", "nowhere"), "nowhere is no run folder"),
        (("--branches", "cnn"), "decides these keys:\n  branches: "),
        (("--set", "train.speed=1"), "train.speed: unknown key"),
        (("--set", "fusion.options.hidden=4"), "hidden"),
    ],
)
def test_a_mistake_is_told(trained, mine, tmp_path, arguments, message):
    result = command(mine.folder, "--start", trained.folder, *arguments, "--out", tmp_path / "run")
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_what_was_lost_on_the_benchmark(world, trained, mine, tmp_path, monkeypatch):
    """The world stands in for the pack: posters that were learnt of are left out there, too."""
    monkeypatch.setattr("mmposter.training.gained.BENCHMARK", str(world.dataset.folder))
    start = Start.load(trained)
    how = {"device": "cpu", "offline": True, "quiet": True, "start": start}
    result = train(start.config(SHORT), mine, tmp_path / "run", **how)
    lost = result.gains[-1]
    validation = world.dataset.table[world.dataset.table["split"] == "val"]
    assert (lost.posters, lost.n, lost.genres) == (f"{world.dataset.folder}, validation", len(validation), 1)
    same = result.gains[1]  # the same posters under the same genre
    assert (lost.before, lost.after) == pytest.approx((same.before, same.after))
    assert "validation posters were seen" not in (tmp_path / "run" / "README.md").read_text()
    # Where they are what was trained on, nothing is left to be measured, and the own ones had been learnt of.
    table = mine.table.copy()
    table["split"] = ["train" if side == "val" else "val" if side == "train" else side for side in table["split"]]
    swapped = train(start.config(SHORT), replace(mine, table=table), tmp_path / "swapped", **how)
    assert [gain.posters for gain in swapped.gains] == ["validation", "validation"]
    assert swapped.run.facts[START]["val_seen"] == (table["split"] == "val").sum()
    assert "had learnt of 32 of the 32 validation posters" in (tmp_path / "swapped" / "README.md").read_text()
