"""A finished training is known by its settings, not by the text of a configuration: a new key orphans no grid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic.fields import FieldInfo

from mmposter.ablation import training
from mmposter.ablation.grid import build_plan
from mmposter.ablation.identity import differing_settings, identity
from mmposter.ablation.run import AblationSettings, ablate
from mmposter.ablation.scores import CELLS
from mmposter.config import Config, TrainConfig, load_config

SETTINGS = AblationSettings(seeds=(0, 1), device="cpu", jobs=1, offline=True)


class Schema:
    """The schema of a later version, which has one key more."""

    def __init__(self) -> None:
        self._usual = Config.__pydantic_fields__["train"].default

    def grow(self) -> None:
        TrainConfig.__pydantic_fields__["made_up"] = FieldInfo.from_annotated_attribute(int, 3)
        self._rebuild()

    def shrink(self) -> None:
        TrainConfig.__pydantic_fields__.pop("made_up", None)
        self._rebuild()
        Config.__pydantic_fields__["train"].default = self._usual

    def _rebuild(self) -> None:
        TrainConfig.model_rebuild(force=True)
        Config.__pydantic_fields__["train"].default = TrainConfig()
        Config.model_rebuild(force=True)


@pytest.fixture
def schema() -> Iterator[Schema]:
    found = Schema()
    yield found
    found.shrink()


@pytest.fixture
def trained(monkeypatch) -> list[int]:
    """The seeds of the trainings that were really done."""
    done: list[int] = []
    original = training.fit

    def fit(config, *args, **kwargs):
        done.append(config.seed)
        return original(config, *args, **kwargs)

    monkeypatch.setattr(training, "fit", fit)
    return done


def test_settings_are_those_that_differ():
    config = load_config(None, ["yolo.dim=8", "train.patience=10", "seed=3"], branches="yolo")
    assert differing_settings(config) == {"branches": ["yolo"], "yolo.dim": 8}
    assert identity(config) == identity(config.model_copy(update={"seed": 4}))
    assert identity(config) != identity(load_config(None, ["yolo.dim=8"], branches="yolo,ocr"))


def test_a_finished_grid_outlives_a_new_key(world, tmp_path, schema, trained):
    plan = build_plan(world.config(branches="ocr"))
    folders = [training.key for training in plan.trainings()]
    first = ablate(plan, world.dataset, tmp_path / "grid", SETTINGS, quiet=True)
    assert trained == [0, 1]
    trained.clear()
    schema.grow()

    plan = build_plan(world.config(branches="ocr"))
    assert plan.base.model_dump()["train"]["made_up"] == 3
    assert [training.key for training in plan.trainings()] == folders  # one that was stopped half way goes on, too
    again = ablate(plan, world.dataset, tmp_path / "grid", SETTINGS, resume=True, quiet=True)
    assert trained == []
    assert [cell.by_seed for cell in again.cells] == [cell.by_seed for cell in first.cells]

    other = build_plan(world.config("train.made_up=4", branches="ocr"))
    ablate(other, world.dataset, tmp_path / "grid", SETTINGS, resume=True, quiet=True)
    assert trained == [0, 1]


def test_a_changed_value_is_trained_anew_beside_the_other(world, tmp_path, trained):
    for epochs, expected in ((2, [0, 1]), (3, [0, 1]), (2, [])):
        trained.clear()
        plan = build_plan(world.config(f"train.epochs={epochs}", branches="ocr"))
        ablate(plan, world.dataset, tmp_path / "grid", SETTINGS, resume=True, quiet=True)
        assert trained == expected


def test_a_training_is_found_under_any_name_of_its_folder(world, tmp_path, trained):
    plan = build_plan(world.config(branches="ocr"))
    ablate(plan, world.dataset, tmp_path / "grid", SETTINGS, quiet=True)
    (folder,) = (tmp_path / "grid" / CELLS).iterdir()
    folder.rename(folder.with_name("ocr-as-it-was-called-before"))
    trained.clear()
    ablate(plan, world.dataset, tmp_path / "grid", SETTINGS, resume=True, quiet=True)
    assert trained == []
