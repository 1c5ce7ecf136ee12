"""Recipes of strangers: they read nothing but their own keys, and stand for no more than they say."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmposter import UserError, Vocabulary
from mmposter.ablation.grid import parse_axes
from mmposter.cli import app
from mmposter.config import load_config, recipe_names
from mmposter.distillation.config import load_distillation_config
from mmposter.files.strict_json import DEPTH, parse_json, read_json
from mmposter.files.strict_yaml import parse_yaml
from mmposter.published.systems import systems

SECRET = "hunter2-of-the-environment"

RESOLVERS = (
    "${oc.env:MMPOSTER_TEST_SECRET}",
    "x ${oc.env:MMPOSTER_TEST_SECRET} y",
    "${oc.env:NOTHING,${oc.env:MMPOSTER_TEST_SECRET}}",
    "${ oc.env:MMPOSTER_TEST_SECRET }",
    "${oc.decode:'1'}",
    "${oc.create:{}}",
    "${oc.deprecated:seed}",
    "${oc.dict.keys:cnn}",
    "${name:a}",
    "${${seed}:b}",
    "${cnn.${seed}}",
    "${",
    "\\${seed}",
)


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("MMPOSTER_TEST_SECRET", SECRET)


def refused(tmp_path: Path, text: str, *overrides: str) -> str:
    """What `mmposter config` says of a recipe that it must refuse, quickly."""
    (tmp_path / "recipe.yaml").write_text(text)
    begun = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "recipe.yaml", overrides)
    assert time.monotonic() - begun < 5
    assert len(str(caught.value)) < 10_000
    return str(caught.value)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("key", ["yolo.model", "seed", "cnn.init", "unknown"])
def test_a_recipe_resolves_nothing(tmp_path, resolver, key):
    section, _, name = key.partition(".")
    quoted = json.dumps(resolver)
    said = refused(tmp_path, f"{section}: {{{name}: {quoted}}}" if name else f"{section}: {quoted}")
    assert "own keys" in said
    assert SECRET not in said
    hidden = quoted.replace("$", "\\x24")  # the same text, as YAML also writes it
    assert SECRET not in refused(tmp_path, f"{section}: {hidden}")
    with pytest.raises(UserError, match="own keys"):
        load_config(None, [f"{key}={quoted}"])


def test_the_environment_is_not_printed(tmp_path):
    (tmp_path / "recipe.yaml").write_text("ocr: {encoder: '${oc.env:MMPOSTER_TEST_SECRET}'}\n")
    for arguments in (
        ["config", "--config", str(tmp_path / "recipe.yaml")],
        ["config", "--set", "ocr.encoder=${oc.env:MMPOSTER_TEST_SECRET}"],
        ["config", "--set", "ocr={encoder: '${oc.env:MMPOSTER_TEST_SECRET}'}"],
        ["config", "--set", "'${oc.env:MMPOSTER_TEST_SECRET}'=1"],
    ):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, UserError), result.output
        assert SECRET not in result.output + str(result.exception)


def test_other_configurations_resolve_nothing_either(tmp_path):
    with pytest.raises(UserError, match="own keys"):
        load_distillation_config(["student=${oc.env:MMPOSTER_TEST_SECRET}"])
    (tmp_path / "mine.yaml").write_text("name: '${oc.env:MMPOSTER_TEST_SECRET}'\ngenres: [A]\n")
    assert Vocabulary.load(tmp_path / "mine.yaml").name == "${oc.env:MMPOSTER_TEST_SECRET}"
    said = "'${oc.env:MMPOSTER_TEST_SECRET}'"
    assert parse_axes([f"yolo.model={said}"]) == {"yolo.model": [said[1:-1]]}


def test_its_own_keys_may_be_referred_to(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "seed: 3\ncnn: {dim: 12, size: [64, 48]}\nstyle: {dim: '${cnn.dim}'}\nyolo: {model: 'net-${seed}.pt'}\n"
    )
    found = load_config(tmp_path / "recipe.yaml", ["ocr.dim=${cnn.dim}", "seed=4"])
    assert (found.style.dim, found.ocr.dim, found.yolo.model) == (12, 12, "net-4.pt")


# --- bombs ---


def aliases(levels: int, width: int = 10) -> str:
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def references(levels: int) -> str:
    return "\n".join(["a0: xxxxxxxxxx", *(f"a{n}: '${{a{n - 1}}}${{a{n - 1}}}'" for n in range(1, levels))])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (aliases(10), "aliases stand for more"),
        (aliases(30, 2), "aliases stand for more"),
        ("a: &a {b: *a}", "of nothing that ends before it"),
        ("a: &a [*a]", "of nothing that ends before it"),
        ("a: *nothing", "cannot be read"),
        (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]", "aliases stand for more"),
        (references(5), "refers to other keys itself"),
        (references(40), "refers to other keys itself"),
        ("seed: 1\na:\n" + "- '${seed}'\n" * 500, "500 times"),
        ("a: " + "[" * 100_000, "cannot be read"),
        ("a: " + "{b: " * 2_000 + "}" * 2_000, "lie in each other"),
        ("".join(" " * n + "- \n" for n in range(500)), "lie in each other"),
        ("a: " + "x" * 2_000_000, "too large"),
        ("seed: 0x" + "f" * 100_000, "64 bits"),
        ("seed: " + "9" * 10_000, "cannot be read"),
        ("seed: 1:" + "59:" * 1000 + "1", "64 bits"),
        ("a: !!python/object/apply:os.system [exit]", "cannot be read"),
        ("{[1]: 2}", "cannot be read"),
        ("? {a: 1}\n: 2", "cannot be read"),
        ("seed: !!int x", "cannot be read"),
        ("seed: 1\nseed: 2", "there twice"),
        ("seed: 1\n--- \nseed: 2", "cannot be read"),
        ("\0", "cannot be read"),
        ("a: \"\\ud800\"", "cannot be read"),
    ],
)  # fmt: skip
def test_bombs_are_refused_in_words(tmp_path, text, words):
    assert words in refused(tmp_path, text)
    (tmp_path / "mine.yaml").write_text(text)
    if words != "refers to other keys itself" and "times" not in words:
        with pytest.raises(UserError, match=r"mine\.yaml"):
            Vocabulary.load(tmp_path / "mine.yaml")


def test_what_is_no_file(tmp_path):
    for odd in (tmp_path, "/dev/zero", "x" * 5000, "a\0b"):
        with pytest.raises(UserError):
            load_config(str(odd))


# --- sizes ---


@pytest.mark.parametrize(
    "override",
    [
        *("cnn.dim=10000000", "cnn.size=[100000,100000]", "cnn.hidden=[1000000]", "cnn.dim=0", "style.dim=1000000000"),
        *(
            "yolo.max_boxes=100000",
            "yolo.size=1048576",
            "ocr.max_lines=1000000",
            "fusion.options.hidden=-1",
            "style.reduced=1e9",
        ),
        *("train.epochs=100000000", "train.batch_size=1000000000", "train.workers=1000000", "seed=1e30", "seed=-1"),
        *(
            "evaluation.bootstrap=1000000000",
            "train.learning_rate=0",
            "train.learning_rate=.nan",
            "loss.options.gamma=.inf",
        ),
        *("fusion.options.dropout=1", f"cnn.backbone={'x' * 5000}", "ocr.languages=[" + ",".join(["en"] * 1000) + "]"),
        f"cnn.hidden=[{','.join(['64'] * 100)}]",
    ],
)
def test_absurd_sizes_name_their_key(override):
    with pytest.raises(UserError, match=f"  {override.partition('=')[0]}") as caught:
        load_config(None, [override])
    assert len(str(caught.value)) < 1000


def test_sizes_that_are_absurd_together(tmp_path):
    from mmposter.features.sizes import Sizes
    from mmposter.runs.building import build_model

    config = load_config(None, ["cnn.dim=65536", "branches=cnn"])
    with pytest.raises(UserError, match=r"asks for 4,\d+,\d+,\d+ parameters"):
        build_model(config, Sizes(num_features=65_536), 5)


def test_every_recipe_of_ours_is_honest():
    assert all(load_config(name) for name in recipe_names() if not name.endswith("system"))
    assert systems()
    assert load_distillation_config()


# --- the reader of JSON ---


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[1e999]", "[-Infinity]", "[" * 10**5, "9" * 100, '"\\ud800"', "\0", '{"a" 1}', "[1,]"]
)
def test_json_is_refused_in_words(tmp_path, text):
    (tmp_path / "some.json").write_text(text)
    for read in (lambda: read_json(tmp_path / "some.json"), lambda: parse_json(text, "some.json")):
        with pytest.raises(UserError, match=r"some\.json is damaged \(") as caught:
            read()
        assert len(str(caught.value)) < 1000


def test_json_that_is_honest(tmp_path):
    value = {"a": [1, -2.5, True, None, "é 漢"], "b": {"seed": 2**63 - 1}}
    (tmp_path / "some.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert read_json(tmp_path / "some.json") == value
    nested = "[" * DEPTH + "]" * DEPTH
    assert parse_json(nested, "nested") == json.loads(nested)


def test_what_is_no_json_file(tmp_path):
    for odd in (tmp_path, tmp_path / "nothing.json", "/dev/zero", "x" * 5000, "a\0b"):
        with pytest.raises(UserError, match=r"cannot be read|no plain file"):
            read_json(odd)
    (tmp_path / "large.json").write_text("[" + "1," * 1000 + "1]")
    with pytest.raises(UserError, match=r"large\.json is too large"):
        read_json(tmp_path / "large.json", limit=100)


def test_numbers_are_read_as_they_were():
    said = "a: 1e-3\nb: 1e5\nc: 2001-01-01\nd: yes\ne: .5\nf: 0x1F\ng: 1_000\nh: nan\ni: [en, no]\nj: ~\nk: 010"
    assert parse_yaml(said) == {
        **{"a": 0.001, "b": 100000.0, "c": "2001-01-01", "d": True, "e": 0.5, "f": 31, "g": 1000, "h": "nan"},
        **{"i": ["en", False], "j": None, "k": 8},
    }
