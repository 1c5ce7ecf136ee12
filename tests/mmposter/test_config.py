from __future__ import annotations

import inspect
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import BaseModel, TypeAdapter

import fusion
from mmposter.branches.named import GATES, HEADS, LOSSES
from mmposter.config import BRANCHES, Config, differences, load_config, parse_branches, parse_config, recipe_names
from mmposter.errors import UserError


def error(*arguments, **direct) -> str:
    with pytest.raises(UserError) as caught:
        load_config(*arguments, **direct)
    return str(caught.value)


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        keys += leaves(field.annotation, f"{prefix}{name}.") if nested else [prefix + name]
    return keys


def test_every_default_is_valid_and_survives_json():
    config = Config()
    assert parse_config(config.model_dump(mode="json")) == config == load_config()
    assert config.branches == BRANCHES


def test_every_unknown_key_and_bad_value_stands_in_one_error():
    bad = [
        "cnn.backbon=resnet18",
        "yolo.size=450",
        "train.epochs=0",
        "fusion.head=sum2",
        "nonsense.a=1",
        "cnn.dropout=x",
    ]
    lines = error(None, bad).splitlines()
    assert lines[0] == "the configuration does not fit:"
    assert sorted(line.strip().split(":")[0] for line in lines[1:]) == [
        "cnn.backbon",
        "cnn.dropout",
        "fusion.head",
        "nonsense",
        "train.epochs",
        "yolo.size",
    ]
    text = "\n".join(lines)
    assert "cnn.backbon: unknown key (did you mean backbone?); allowed there: backbone, init, size" in text
    assert "yolo.size: Input should be a multiple of 32; got 450" in text
    assert (
        "fusion.head: allowed are sum, concat, gated, attention; got 'sum2' (did you mean sum?). One from outside"
        in text
    )
    assert "nonsense: unknown key; allowed there: branches, regime, seed" in text


@pytest.mark.parametrize("key", leaves(Config))
def test_no_key_takes_nonsense(key):
    """A mapping is no value of any key."""
    assert f"  {key}" in error(None, [f"{key}={{a: 1}}"])


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", "seed", 7),
        ("train.learning_rate=3e-4", "train.learning_rate", 3e-4),
        ("train.augment=false", "train.augment", False),
        ("cnn.size=[320,224]", "cnn.size", (320, 224)),
        ("style.reduced=null", "style.reduced", None),
        ("style.stage=block3", "style.stage", "block3"),
        ("cnn.init=none", "cnn.init", "none"),
        ("ocr.languages=[en,fr]", "ocr.languages", ("en", "fr")),
        ("cnn.init=a=b.pth", "cnn.init", "a=b.pth"),
        ("branches=yolo,cnn", "branches", ("cnn", "yolo")),
        ("branches=[ocr]", "branches", ("ocr",)),
        ("ocr.mask=title", "ocr.mask", "title"),
        ("shuffled=yolo", "shuffled", ("yolo",)),
        ("shuffled=ocr,yolo", "shuffled", ("yolo", "ocr")),
        ("shuffled=[yolo,ocr]", "shuffled", ("yolo", "ocr")),
        ("shuffled=[]", "shuffled", ()),
    ],
)
def test_set_reads_values_as_yaml(override, key, value):
    found = load_config(None, [override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "override",
    [
        "cnn.size=[-1,0]",
        "cnn.size=[320]",
        "ocr.languages=[]",
        "train.learning_rate=.inf",
        "train.learning_rate=.nan",
        "train.max_grad=1",
        "seed=-1",
        "fusion.options.dropout=1",
        "fusion.options=5",
        "fusion.branch_dropout=1",
        "branches=5",
        "branches=null",
        "branches=[]",
        "ocr.mask=plot",
        "shuffled=faces",
        "shuffled=null",
        "shuffled=5",
        "cnn=",
    ],
)
def test_bad_values_name_their_key(override):
    assert f"  {override.split('=')[0]}" in error(None, [override])


@pytest.mark.parametrize("override", ["seed", "=3", "", "[=3", "cnn[0]=3", "--seed=3", "a b=1"])
def test_what_is_no_override(override):
    assert error(None, ["seed=1", override]) == f"--set takes section.key=value; got {override!r}"


@pytest.mark.parametrize("override", ["seed=[", "seed={", "seed=${x}"])
def test_values_that_are_no_yaml(override):
    assert "given by --set cannot be read" in error(None, [override])


@pytest.mark.parametrize("given", ["ocr,cnn", "cnn, ocr", "ocr,cnn,ocr,", ["ocr", "cnn"], ("cnn", "ocr")])
def test_branches_come_in_the_one_order_each_once(given):
    assert load_config(branches=given).branches == ("cnn", "ocr")
    if isinstance(given, str):
        assert parse_branches(given) == ("cnn", "ocr")


def test_only_branches_with_cached_records_can_be_shuffled():
    assert "  shuffled: allowed are the branches that are on (cnn,ocr); got yolo" in error(
        None, ["shuffled=yolo"], branches="cnn,ocr"
    )
    assert load_config(None, ["shuffled=yolo,ocr"], regime="finetune").shuffled == ("yolo", "ocr")
    for name in ("cnn", "style"):
        message = error(None, [f"shuffled={name},yolo"], regime="finetune")
        assert (
            "  shuffled: allowed with regime finetune are yolo, ocr and photo, as cnn and style have no cached"
            in message
        )
        assert load_config(None, [f"shuffled={name}"]).shuffled == (name,)
    # One mistake is not reported as two.
    assert "shuffled" not in error(None, ["shuffled=yolo"], branches="faces")


@pytest.mark.parametrize("given", ["", ",", "cnn,faces"])
def test_unknown_branches_and_none(given):
    with pytest.raises(
        UserError, match="--branches: allowed are cnn, style, yolo, ocr, photo, at least one of them; got"
    ):
        parse_branches(given)
    assert "branches: allowed are cnn, style, yolo, ocr, photo" in error(branches=given)


def test_direct_values_win_over_set_and_set_over_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\ncnn:\n  dim: 11\n  dropout: 0.1\ntrain: {epochs: 5}\nbranches: [yolo, cnn]\n")
    config = load_config(path, ["cnn.dim=12", "seed=2"], seed=3, branches=None)
    assert (config.seed, config.cnn.dim, config.cnn.dropout, config.train.epochs) == (3, 12, 0.1, 5)
    assert config.branches == ("cnn", "yolo")
    assert load_config(str(path)).seed == 1


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "empty.yaml") == Config()


@pytest.mark.parametrize(
    "content", [b"- a\n- b\n", b"5\n", b"seed: \xff\n", b"a: [1", b"seed: 1\nseed: 2\n", b"1: 2", b"cnn:\n"]
)
def test_files_that_are_no_recipe(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    assert any(words in error(path) for words in ("cannot be read", "must be a mapping", "does not fit"))


def test_a_recipe_that_is_not_there_names_those_that_are(tmp_path):
    for missing in ("nothing", tmp_path / "none.yaml", tmp_path, ""):
        message = error(missing)
        assert repr(str(missing)) in message
        assert all(name in message for name in recipe_names() if not name.startswith("published/"))
        assert "published/NAME" in message


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name):
    assert load_config(name).branches


def test_there_are_recipes_and_no_vocabulary_among_them():
    assert "default" in recipe_names()
    assert not [name for name in recipe_names() if "vocabular" in name]
    assert load_config("default") == Config()


def test_a_configuration_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="frozen"):
        Config().cnn.dim = 3


@pytest.mark.parametrize(
    ("registry", "names", "options"),
    [
        (HEADS, fusion.head_names, fusion.head_options),
        (LOSSES, fusion.loss_names, fusion.loss_options),
        (GATES, fusion.gate_names, fusion.gate_options),
    ],
)
def test_our_own_names_and_options_are_those_of_fusion(registry, names, options):
    assert sorted(registry.own) == names()
    for name, known in registry.own.items():
        there = options(name)
        for option in known:
            assert there[option.name].default is not inspect.Parameter.empty
            kind = get_args(option.annotation)[0]  # Annotated
            assert kind == there[option.name].annotation or kind in get_args(there[option.name].annotation)
            assert TypeAdapter(option.annotation).validate_python(option.default) == option.default


@pytest.mark.parametrize(
    ("overrides", "head", "loss"),
    [
        ((), {"dropout": 0.5}, {}),
        (("fusion.head=attention", "fusion.options.heads=2"), {"hidden": 256, "dropout": 0.5, "heads": 2}, {}),
        (("loss.name=asl",), {"dropout": 0.5}, {"gamma_neg": 2.0, "gamma_pos": 0.0, "clip": 0.05}),
        (("loss.name=weighted_bce",), {"dropout": 0.5}, {"max_pos_weight": 20.0}),
        (("loss.options.gamma=1", "loss.name=focal", "loss.options.alpha=0.3"), {"dropout": 0.5},
         {"gamma": 1.0, "alpha": 0.3}),
        # As an earlier version had them; the last one wins, in whichever way it is said.
        (("fusion.head=gated", "fusion.hidden=16", "fusion.dropout=0"), {"hidden": 16, "dropout": 0.0}, {}),
        (("fusion.dropout=0.1", "fusion.options.dropout=0.2"), {"dropout": 0.2}, {}),
        (("fusion.options.dropout=0.2", "fusion.dropout=0.1"), {"dropout": 0.1}, {}),
        # Of another head or loss: they wait, as an ablation may come to it.
        (("fusion.hidden=16", "loss.gamma=1"), {"dropout": 0.5, "hidden": 16}, {"gamma": 1.0}),
        (("fusion.hidden=256", "loss.gamma=2"), {"dropout": 0.5}, {}),
    ],
)  # fmt: skip
def test_heads_and_losses_have_options(overrides, head, loss):
    config = load_config(None, overrides)
    assert (config.fusion.options, config.loss.options) == (head, loss)
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("loss.options.gama=1", "loss.options: allowed with the loss bce: none; got 'gama'"),
        ("fusion.options.dims=[8]", "fusion.options: allowed with the head sum: dropout; got 'dims'"),
        ("loss.options.alpha=x", "loss.options.alpha: Input should be a valid number"),
        ("loss.options.gamma_neg=-1", "loss.options.gamma_neg: Input should be greater than or equal to 0; got -1"),
        ("fusion.hidden=0", "fusion.options.hidden: Input should be greater than or equal to 1; got 0"),
        ("loss.name=hinge", "loss.name: allowed are bce, weighted_bce, ranked_bce, focal, asl, cross_entropy, "
         "double_sigmoid_bce; "
         "got 'hinge'. One from outside comes with its file: mmposter --plugin FILE COMMAND"),
        ("style.gate=cbam", "style.gate: allowed are gram, se, srm; got 'cbam'. One from outside"),
    ],
)  # fmt: skip
def test_bad_names_and_options_are_refused_with_the_list(override, told):
    assert f"  {told}" in error(None, [override])


def test_two_versions_of_one_configuration_do_not_differ():
    now = Config().model_dump(mode="json")
    earlier = {
        **now,
        "fusion": {"head": "sum", "hidden": 256, "dropout": 0.5, "branch_dropout": 0.1},
        "loss": {"name": "bce", "gamma": 2.0, "gamma_neg": 2.0, "gamma_pos": 0.0, "clip": 0.05, "max_pos_weight": 20.0},
    }
    assert parse_config(earlier) == Config()
    assert differences(earlier, now) == {}
    earlier["fusion"]["hidden"] = 16
    assert differences(earlier, now) == {"fusion.options.hidden": (16, 256)}


def test_our_own_names_take_no_torch():
    code = (
        "import sys; from mmposter.config import load_config;"
        "load_config(None, ['fusion.head=gated', 'fusion.hidden=16', 'loss.name=asl', 'loss.options.clip=0.1',"
        "'style.gate=se']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
