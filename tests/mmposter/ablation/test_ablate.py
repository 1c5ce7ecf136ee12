"""A grid end to end: trained, resumed, compared; on posters whose genres show where they were planted."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from mmposter.ablation import training
from mmposter.ablation.grid import Plan, build_plan
from mmposter.ablation.run import AblationSettings, ablate
from mmposter.ablation.scores import CELLS
from mmposter.errors import UserError
from mmposter.evaluation import apply_thresholds, compute_metrics
from mmposter.evaluation.unseen import best_constant_set
from mmposter.measurement.evaluate import evaluate_run
from mmposter.report.ablation import findings
from mmposter.runs.run import Run
from mmposter.training.train import train

SETTINGS = AblationSettings(seeds=(0, 1), device="cpu", jobs=1, offline=True)
HEADLINES = ("mean_average_precision", "macro_f1", "r_precision")


def _ablate(world, out, plan, settings=SETTINGS, **options):
    return ablate(plan, world.dataset, out, settings, quiet=True, **options)


@pytest.fixture(scope="module")
def grid_of_two(make_world, tmp_path_factory):
    """Posters, the plan of all subsets of two branches, retrained and masked, and its result by one process."""
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(tmp_path_factory.mktemp("world"), patch.setenv)
        plan = build_plan(world.config(branches="yolo,ocr"), mode="both")
        yield world, plan, _ablate(world, tmp_path_factory.mktemp("grid") / "one", plan)


@pytest.fixture
def trainings(monkeypatch):
    """The trainings that were really done: (branches, seed)."""
    done = []
    original = training.fit

    def fit(config, *args, **kwargs):
        done.append((",".join(config.branches), config.seed))
        return original(config, *args, **kwargs)

    monkeypatch.setattr(training, "fit", fit)
    return done


def test_a_cell_is_what_train_and_evaluate_give(world, tmp_path):
    base = world.config(branches="cnn,yolo")
    result = _ablate(world, tmp_path / "grid", build_plan(base, mode="both"))
    assert [cell.name for cell in result.cells] == ["cnn-yolo", "cnn", "mask.cnn", "yolo", "mask.yolo"]
    for seed in (0, 1):
        for branches in ("cnn,yolo", "cnn"):
            folder = tmp_path / f"{branches}-{seed}"
            config = world.config(branches=branches, seed=seed)
            train(config, world.dataset, folder, device="cpu", offline=True, quiet=True)
            evaluation = evaluate_run(Run.load(folder), world.dataset, device="cpu", offline=True)
            cell = result.cell(branches.replace(",", "-"))
            for name in HEADLINES:
                assert cell.by_seed[name][seed] == pytest.approx(evaluation.metrics[name].value, abs=1e-6)
                assert result.constant[name] == pytest.approx(evaluation.metrics[name].constant)
        masked = evaluate_run(Run.load(tmp_path / f"cnn,yolo-{seed}"), world.dataset, only=("yolo",), device="cpu")
        for name in HEADLINES:
            assert result.cell("mask.yolo").by_seed[name][seed] == pytest.approx(masked.metrics[name].value, abs=1e-6)
    for cell in result.cells:
        for name in HEADLINES:
            assert cell.metrics[name].value == pytest.approx(np.mean(cell.by_seed[name]))
        for comparison in cell.comparisons:
            other = result.cell(comparison.against)
            expected = cell.metrics[HEADLINES[0]].value - other.metrics[HEADLINES[0]].value
            assert comparison.metrics[HEADLINES[0]].value == pytest.approx(expected)


def test_contributions_sum_to_all_minus_nothing(grid_of_two):
    _, _, result = grid_of_two
    full = result.cell("yolo-ocr")
    for mode in ("retrain", "mask"):
        parts = [item for item in result.contributions if item.mode == mode]
        assert [item.branch for item in parts] == ["yolo", "ocr"]
        for name in HEADLINES:
            total = sum(item.metrics[name].value for item in parts)
            assert total == pytest.approx(full.metrics[name].value - result.constant[name])
        for genre, constant in result.constant_by_genre.items():
            total = sum(item.by_genre[genre].value for item in parts)
            assert total == pytest.approx(full.by_genre[genre].value - constant)


def test_a_stopped_grid_trains_only_what_is_missing(world, tmp_path, trainings):
    plan = build_plan(world.config(branches="yolo,ocr"))
    whole = _ablate(world, tmp_path / "whole", plan)
    assert len(trainings) == 6
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    folders = sorted((tmp_path / "cut" / CELLS).glob("*/seed-*"))
    shutil.rmtree(folders[0])
    (folders[1] / "training.json").unlink()  # killed between its two files
    (folders[2] / "scores.npz").write_bytes(b"half a file")
    trainings.clear()
    again = _ablate(world, tmp_path / "cut", plan, resume=True)
    assert len(trainings) == 3
    assert [cell.by_seed for cell in again.cells] == [cell.by_seed for cell in whole.cells]
    trainings.clear()
    _ablate(world, tmp_path / "cut", plan, resume=True)
    assert trainings == []


def test_a_training_stopped_in_the_middle_goes_on(world, tmp_path, monkeypatch):
    plan = build_plan(world.config(branches="ocr"))
    whole = _ablate(world, tmp_path / "whole", plan)
    original = training.Scores.save
    monkeypatch.setattr(training.Scores, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _ablate(world, tmp_path / "grid", plan)
    assert list((tmp_path / "grid").rglob("last.safetensors"))
    monkeypatch.setattr(training.Scores, "save", original)
    again = _ablate(world, tmp_path / "grid", plan, resume=True)
    assert [cell.by_seed for cell in again.cells] == [cell.by_seed for cell in whole.cells]
    assert not list((tmp_path / "grid").rglob("*.safetensors"))


def test_more_seeds_and_axes_keep_what_is_there(world, tmp_path, trainings):
    base = world.config(branches="yolo,ocr")
    _ablate(world, tmp_path / "grid", build_plan(base))
    trainings.clear()
    plan = build_plan(base, axes={"fusion.head": ["concat"]})
    settings = AblationSettings(seeds=(0, 1, 2), device="cpu", jobs=1, offline=True)
    result = _ablate(world, tmp_path / "grid", plan, settings, resume=True)
    assert sorted(trainings) == [("yolo,ocr", 0), ("yolo,ocr", 1), ("yolo,ocr", 2), ("yolo,ocr", 2)]
    assert [cell.seeds for cell in result.cells] == [(0, 1, 2), (0, 1, 2)]


def test_other_settings_are_other_trainings(world, tmp_path, trainings):
    _ablate(world, tmp_path / "grid", build_plan(world.config(branches="ocr")))
    trainings.clear()
    _ablate(world, tmp_path / "grid", build_plan(world.config("train.epochs=2", branches="ocr")), resume=True)
    assert len(trainings) == 2


def test_two_processes_find_the_same(grid_of_two, tmp_path):
    world, plan, one = grid_of_two
    two = _ablate(world, tmp_path / "two", plan, AblationSettings(seeds=(0, 1), device="cpu", jobs=2, offline=True))
    for first, second in zip(one.cells, two.cells, strict=True):
        for name in HEADLINES:
            assert first.by_seed[name] == pytest.approx(second.by_seed[name], abs=1e-4)


def test_finetune_has_a_grid_too(world, tmp_path):
    plan = build_plan(world.config("train.epochs=1", branches="cnn,yolo", regime="finetune"), mode="both")
    result = _ablate(world, tmp_path / "grid", plan)
    assert [cell.name for cell in result.cells] == ["cnn-yolo", "cnn", "mask.cnn", "yolo", "mask.yolo"]
    assert all(cell.seeds == (0, 1) for cell in result.cells)
    assert result.provenance.posters == 16


def test_precision_is_an_axis_in_one_process(world, tmp_path):
    plan = build_plan(world.config(branches="ocr"), axes={"train.precision": ["bf16", "fp32"]})
    result = _ablate(world, tmp_path / "grid", plan)
    assert not result.unfinished
    probs = []
    for cell in result.cells:
        (file,) = (tmp_path / "grid" / CELLS).glob(f"{cell.name}-*/seed-0/scores.npz")
        with np.load(file) as arrays:
            probs.append(arrays[f"probs:{cell.name}"])
    reference, half, full = probs
    assert np.array_equal(reference, full)
    assert not np.array_equal(half, full)
    np.testing.assert_allclose(half, full, atol=0.05)


def test_what_cannot_be_trained_costs_nothing_else(world, tmp_path):
    plan = build_plan(world.config(branches="yolo,ocr"), axes={"yolo.model": ["not-there.pt"], "yolo.dim": [8]})
    result = _ablate(world, tmp_path / "grid", plan)
    assert [cell.name for cell in result.cells] == ["yolo-ocr", "yolo.dim=8"]
    assert list(result.unfinished) == ["model = not-there.pt, seed 0", "model = not-there.pt, seed 1"]
    assert all("not-there.pt" in reason for reason in result.unfinished.values())


def test_a_library_that_breaks_on_one_cell_costs_nothing_else(world, tmp_path, monkeypatch):
    original = training.fit

    def fit(config, *args, **kwargs):
        if config.fusion.head == "gated":
            raise RuntimeError("out of memory")
        return original(config, *args, **kwargs)

    monkeypatch.setattr(training, "fit", fit)
    plan = build_plan(world.config(branches="ocr"), axes={"fusion.head": ["gated", "concat"]})
    result = _ablate(world, tmp_path / "grid", plan)
    assert [cell.name for cell in result.cells] == ["ocr", "fusion.head=concat"]
    assert set(result.unfinished.values()) == {"RuntimeError: out of memory"}


def test_a_reference_that_cannot_be_trained_is_an_error(world, tmp_path):
    plan = build_plan(world.config("yolo.model=not-there.pt", branches="yolo,ocr"))
    with pytest.raises(UserError, match=r"the full model could not be trained(.|\n)*not-there.pt"):
        _ablate(world, tmp_path / "grid", plan)


def test_a_folder_is_not_mixed_up(world, world_of, tmp_path):
    plan = build_plan(world.config(branches="ocr"))
    _ablate(world, tmp_path / "grid", plan)
    with pytest.raises(UserError, match="holds an ablation already; go on with --resume"):
        _ablate(world, tmp_path / "grid", plan)
    with pytest.raises(UserError, match="another state of"):
        _ablate(world_of(64, seed=1), tmp_path / "grid", plan, resume=True)
    _ablate(world, tmp_path / "grid", plan, overwrite=True)
    with pytest.raises(UserError, match="--split of an ablation must be test or val"):
        _ablate(world, tmp_path / "new", plan, AblationSettings(seeds=(0,), split="train", device="cpu"))


def test_models_are_kept_where_asked_for(world, tmp_path):
    settings = AblationSettings(seeds=(0,), device="cpu", jobs=1, offline=True, keep_models=True)
    result = _ablate(world, tmp_path / "grid", build_plan(world.config(branches="cnn,yolo")), settings)
    for folder in (tmp_path / "grid" / CELLS).glob("*/seed-0/run"):
        run = Run.load(folder)
        name = "-".join(run.config.branches)
        value = evaluate_run(run, world.dataset, device="cpu", offline=True).metrics["mean_average_precision"].value
        assert result.cell(name).by_seed["mean_average_precision"] == pytest.approx((value,), abs=1e-6)


def test_scores_are_probabilities_of_the_test_posters(world, tmp_path):
    plan = build_plan(world.config(branches="ocr"))
    result = _ablate(world, tmp_path / "grid", plan, AblationSettings(seeds=(0,), device="cpu", jobs=1, offline=True))
    (folder,) = (tmp_path / "grid" / CELLS).glob("*/seed-0")
    facts = json.loads((folder / "training.json").read_text())
    with np.load(folder / "scores.npz") as arrays:
        rows, probs, unseen = arrays["rows"], arrays["probs:ocr"], arrays["unseen:ocr"] == 1
    assert list(world.dataset.table["split"].iloc[rows]) == ["test"] * 16
    labels = world.dataset.labels()
    rates = labels[np.array(world.dataset.table["split"] == "train")].mean(axis=0)
    assert 0 < unseen.sum() < len(rows)  # posters without words have the base rates and a constant's genres
    assert (probs[unseen] == rates).all()
    decisions = apply_thresholds(probs, facts["thresholds"], "top1")
    decisions[unseen] = best_constant_set(rates)
    metrics = compute_metrics(world.dataset.labels()[rows], probs, decisions)
    for name in HEADLINES:
        assert result.cell("ocr").metrics[name].value == pytest.approx(metrics[name])


def test_a_planted_truth_is_found(world_of, tmp_path):
    """Crowded shows in the boxes alone, Wordy in the lines alone, Rare nowhere; the report says just that."""
    world = world_of(480)
    learning = ("train.epochs=6", "train.batch_size=40", "train.learning_rate=0.03", "evaluation.bootstrap=400")
    plan = build_plan(world.config(*learning, branches="yolo,ocr"), controls=True, mode="both")
    controls = [cell for cell in plan.cells if cell.section == "controls" and cell.config.ocr.mask == "none"]
    plan = Plan(plan.base, tuple(controls))  # these posters have no words to mask
    settings = AblationSettings(seeds=tuple(range(5)), device="cpu", jobs=1, offline=True)
    result = _ablate(world, tmp_path / "grid", plan, settings)
    said = findings(result)
    for branch, genre, other in (("yolo", "Crowded", "Wordy"), ("ocr", "Wordy", "Crowded")):
        rest = "ocr" if branch == "yolo" else "yolo"
        for without in (result.cell(rest), result.cell(f"mask.{rest}")):
            comparison = without.comparisons[0]
            assert comparison.by_genre[genre].ci95[1] < -0.2
            assert comparison.by_genre[genre].adjusted < 0.05
            assert comparison.by_genre[other].adjusted > 0.05 or without.mode == "mask"
            assert comparison.by_genre["Rare"].adjusted is None or comparison.by_genre["Rare"].adjusted > 0.05
        shuffled = result.cell(f"shuffled={branch}").comparisons
        assert shuffled[0].by_genre[genre].adjusted < 0.05  # against the full model: lost
        assert shuffled[1].against == rest
        assert shuffled[1].metrics["mean_average_precision"].ci95[0] < 0.01  # without the branch: no gain
        assert any(branch in text and genre in text for text in said)
        assert not any(text.startswith(f"Genres that need {branch}") and other in text for text in said)


@pytest.mark.slow
def test_a_shuffled_branch_is_not_significant_more_often_than_its_level(world_of, tmp_path):
    """40 data sets: the model with a shuffled branch beside the one without it, at the level of 5 %."""
    found = []
    for seed in range(40):
        world = world_of(200, seed)
        base = world.config("train.epochs=4", "train.learning_rate=0.01", branches="yolo,ocr")
        plan = build_plan(base, controls=True)
        kept = ("yolo-ocr", "yolo", "ocr", "shuffled=yolo", "shuffled=ocr")
        plan = Plan(plan.base, tuple(cell for cell in plan.cells if cell.name in kept))
        settings = AblationSettings(seeds=(0, 1, 2), device="cpu", jobs=1, offline=True)
        result = _ablate(world, tmp_path / str(seed), plan, settings)
        for branch in ("yolo", "ocr"):
            gain = result.cell(f"shuffled={branch}").comparisons[1].metrics["mean_average_precision"]
            found.append(gain.p_value < 0.05 and gain.value > 0)
    # Of 80 at 2.5 % a side, more than 6 would happen by luck in less than 1 of 100 cases.
    assert sum(found) <= 6
