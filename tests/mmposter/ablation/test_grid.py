"""Which cells a grid has, and that each is what its name says."""

from __future__ import annotations

import pytest

from mmposter.ablation.grid import build_plan, parse_axes, variant
from mmposter.config import load_config
from mmposter.errors import UserError

BASE = load_config("lite")


def _names(plan, mode=None):
    return [cell.name for cell in plan.cells if mode in (None, cell.mode)]


def test_subsets_are_the_default_and_the_full_model_comes_first():
    plan = build_plan(BASE)
    assert len(plan.cells) == 15
    assert plan.reference.name == "cnn-style-yolo-ocr"
    assert plan.reference.against == ()
    assert {cell.branches for cell in plan.cells} == {tuple(cell.name.split("-")) for cell in plan.cells}
    assert all(cell.config.branches == cell.branches for cell in plan.cells)
    assert len(plan.trainings()) == 15
    for cell in plan.cells[1:]:
        assert cell.against[0][0] == plan.reference.name


def test_masked_cells_are_views_of_one_training():
    plan = build_plan(BASE, mode="mask")
    assert len(plan.cells) == 15
    (training,) = plan.trainings()
    assert training.config == BASE
    assert [cell.name for cell in training.cells] == _names(plan)
    assert {cell.only for cell in plan.cells} == {None, *(cell.branches for cell in plan.cells[1:])}
    both = build_plan(BASE, mode="both")
    assert len(both.cells) == 29
    masked = next(cell for cell in both.cells if cell.name == "mask.cnn-ocr")
    assert [name for name, _ in masked.against] == ["cnn-style-yolo-ocr", "cnn-ocr"]
    assert len(both.trainings()) == 15


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ("leave-one-out", ["cnn-yolo-ocr", "yolo-ocr", "cnn-ocr", "cnn-yolo"]),
        ("add-one", ["cnn-yolo-ocr", "cnn", "cnn-yolo", "cnn-ocr"]),
    ],
)
def test_other_grids(grid, names):
    plan = build_plan(load_config("lite", branches="cnn,yolo,ocr"), grid=grid)
    assert _names(plan) == names


def test_adding_one_is_also_compared_with_where_it_began():
    plan = build_plan(BASE, grid="add-one")
    against = {cell.name: [name for name, _ in cell.against] for cell in plan.cells}
    assert against["cnn-ocr"] == ["cnn-style-yolo-ocr", "cnn"]
    assert against["cnn"] == ["cnn-style-yolo-ocr"]


def test_one_branch_has_nothing_to_leave_out():
    for grid in ("subsets", "leave-one-out", "add-one"):
        plan = build_plan(load_config("lite", branches="ocr"), grid=grid, mode="both", controls=True)
        assert all(cell.branches == ("ocr",) for cell in plan.cells)


def test_controls():
    plan = build_plan(BASE, controls=True, mode="both")
    cells = {cell.name: cell for cell in plan.cells}
    for branch in BASE.branches:
        shuffled = cells[f"shuffled={branch}"]
        assert shuffled.config.shuffled == (branch,)
        assert shuffled.branches == BASE.branches
        # What it must be compared with is there: the same model without the branch.
        assert cells[shuffled.against[1][0]].branches == tuple(name for name in BASE.branches if name != branch)
        masked = cells[f"mask.shuffled-{branch}"]
        assert masked.shuffled == (branch,)
        assert masked.config == BASE
        assert masked.changes == {"shuffled": [branch]}
    assert cells["ocr.mask=title"].config.ocr.mask == "title"
    alone = cells["ocr-alone.ocr.mask=names"]
    assert (alone.branches, alone.config.ocr.mask) == (("ocr",), "names")
    assert [name for name, _ in alone.against] == ["ocr"]
    assert cells["ocr"].branches == ("ocr",)
    sections = {cell.section for cell in plan.cells}
    assert {"controls", "style.gate", "yolo.encoding", "fusion.head", "loss.name"} <= sections
    assert {cell.config.style.gate for cell in plan.cells if cell.section == "style.gate"} == {"gram", "se", "srm"}
    assert {cell.config.yolo.encoding for cell in plan.cells} == {"counts", "histogram", "set", "joined"}
    assert {cell.config.fusion.head for cell in plan.cells} == {"concat", "gated", "attention", "sum"}
    assert {cell.config.loss.name for cell in plan.cells} == {"bce", "weighted_bce", "ranked_bce", "focal", "asl"}
    assert len({cell.name for cell in plan.cells}) == len(plan.cells)


def test_controls_of_absent_branches_are_not_there():
    plan = build_plan(load_config("lite", branches="cnn,yolo"), controls=True)
    assert not any("ocr" in cell.name or "style" in cell.name for cell in plan.cells)


def test_finetune_deals_only_what_lies_in_the_store():
    plan = build_plan(load_config("lite", regime="finetune"), controls=True)
    assert {cell.config.shuffled for cell in plan.cells} == {(), ("yolo",), ("ocr",)}


def test_any_key_is_an_axis_and_its_base_value_is_the_reference():
    plan = build_plan(BASE, axes=parse_axes(["train.epochs=8,null,32", "cnn.size=[64,48],null"]))
    assert [cell.name for cell in plan.cells[:3]] == ["cnn-style-yolo-ocr", "train.epochs=8", "train.epochs=32"]
    assert [cell.config.train.epochs for cell in plan.cells] == [None, 8, 32, None]
    assert plan.cells[3].config.cnn.size == (64, 48)
    assert "[" not in plan.cells[3].name
    assert plan.cells[1].label == "epochs = 8"
    assert plan.reference.section == "train.epochs"


def test_a_changed_base_is_another_training():
    keys = {
        training.key for base in (BASE, variant(BASE, {"train.epochs": 3})) for training in build_plan(base).trainings()
    }
    assert len(keys) == 30
    other_seed = BASE.model_copy(update={"seed": 7})
    assert [t.key for t in build_plan(BASE).trainings()] == [t.key for t in build_plan(other_seed).trainings()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": "pairs"}, "--grid must be one of subsets, leave-one-out, add-one"),
        ({"mode": "hide"}, "--mode must be one of retrain, mask, both"),
        ({"axes": {"seed": [1]}}, "use --seeds"),
        ({"axes": {"branches": ["cnn"]}}, "use --grid"),
        ({"axes": {"fusion.heads": ["sum"]}}, "fusion.heads: unknown key"),
        ({"axes": {"fusion.head": ["mean"]}}, "fusion.head"),
        ({"axes": {"no.such.key": [1]}}, "no.such.key is no key"),
    ],
)
def test_wrong_grids_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        build_plan(BASE, **arguments)


@pytest.mark.parametrize("text", ["fusion.head", "=sum", "fusion.head=", "a=[1"])
def test_wrong_axes_are_named(text):
    with pytest.raises(UserError, match="--axis takes key=value,value"):
        parse_axes([text])


def test_a_control_is_no_base():
    with pytest.raises(UserError, match="must be a real model"):
        build_plan(load_config("lite", ["shuffled=yolo"]))
