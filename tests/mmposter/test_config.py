from __future__ import annotations

import pytest
from pydantic import BaseModel

from mmposter.config import BRANCHES, Config, load_config, parse_branches, parse_config, recipe_names
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
    assert "cnn.backbon: unknown key; allowed there: backbone, init, size" in text
    assert "yolo.size: Input should be a multiple of 32; got 450" in text
    assert "fusion.head: allowed are sum, concat, gated, attention; got 'sum2'. One from outside comes with" in text
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
        assert "  shuffled: allowed with regime finetune are yolo and ocr, as cnn and style have no cached" in message
        assert load_config(None, [f"shuffled={name}"]).shuffled == (name,)
    # One mistake is not reported as two.
    assert "shuffled" not in error(None, ["shuffled=yolo"], branches="faces")


@pytest.mark.parametrize("given", ["", ",", "cnn,faces"])
def test_unknown_branches_and_none(given):
    with pytest.raises(UserError, match="--branches: allowed are cnn, style, yolo, ocr, at least one of them; got"):
        parse_branches(given)
    assert "branches: allowed are cnn, style, yolo, ocr" in error(branches=given)


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
