"""A source, a library of image networks, a head and a loss from outside are used by commands, and refused without."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fusion import head_names, list_backbones, loss_names
from mmposter import PosterClassifier, Run, UserError, load_config
from mmposter.ablation.grid import variant
from mmposter.branches import plugins
from mmposter.branches.plugins import PLUGINS, load_named, load_plugin, unload
from mmposter.cli import app
from mmposter.config import Config
from mmposter.data import source_formats

PLUGIN = Path(__file__).resolve().parents[2] / "examples" / "other_parts.py"
NETWORK = ["--branches", "cnn", "--set", "cnn.init=none", "--set", "cnn.backbone=tiny/16"]
PARTS = ["--set", "fusion.head=mean", "--set", "loss.name=hinge", "--set", "loss.options.margin=0.5"]
FEW = ["--set", "train.epochs=2", "--set", "evaluation.bootstrap=100"]


def command(*arguments: object, plugin: bool = True) -> str:
    """Standard output of a command that ends well."""
    done = CliRunner().invoke(app, [*(["--plugin", str(PLUGIN)] if plugin else []), *map(str, arguments)])
    if isinstance(done.exception, UserError):
        raise done.exception
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Posters, prepared, extracted and trained on through the command line."""
    folder = tmp_path_factory.mktemp("parts")
    rng, lines = np.random.default_rng(0), []
    for number in range(40):
        low = 120 * (number % 2)
        Image.fromarray(rng.integers(low, low + 120, (80, 60, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file": f"{number}.png", "genres": ["Drama" if number % 2 == 0 else "Horror"]}))
    (folder / "films.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data, run = folder / "data", folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLUGINS, "")
        command("prepare", folder / "films.jsonl", "--format", "jsonl", "--out", data)
        command("extract", data, *NETWORK, "--workers", "1")
        command("train", data, *NETWORK, *PARTS, *FEW, "--out", run)
        yield SimpleNamespace(folder=folder, data=data, run=run)
        unload(PLUGIN)


@pytest.fixture
def without(place: SimpleNamespace) -> Iterator[None]:
    unload(PLUGIN)
    yield
    load_plugin(PLUGIN)


def test_all_four_are_used(place: SimpleNamespace) -> None:
    run = Run.load(place.run)
    assert run.config.loss.options == {"margin": 0.5}
    assert run.config.fusion.options == {}  # our defaults are for our heads
    assert not run.config.single_label
    model = run.load_model()
    assert type(model.fusion.head).__name__ == "MeanHead"
    assert run.sizes.num_features == 16
    assert run.architecture is not None
    assert run.architecture.label == "tiny/16"
    found = PosterClassifier.load(place.run, device="cpu").predict([place.folder / "0.png"])[0]
    assert set(found.scores) == set(run.vocabulary.genres)
    assert json.loads(command("evaluate", place.run, place.data, "--json"))


def test_the_network_can_be_trained_with_it(place: SimpleNamespace) -> None:
    out = place.folder / "finetuned"
    command("train", place.data, *NETWORK, *FEW, "--set", "regime=finetune", "--out", out)
    assert Run.load(out).load_model().tower.backbone.name == "tiny/16"


@pytest.mark.slow  # two processes load torch
def test_workers_know_the_network_too(place: SimpleNamespace) -> None:
    command("extract", place.data, *NETWORK, "--set", "cnn.size=[64,48]", "--workers", "2")


def test_options_of_our_heads_wait_where_the_head_is_another(place: SimpleNamespace) -> None:
    base = load_config(None, ["fusion.head=concat", "fusion.options.dropout=0.1"])
    assert variant(base, {"fusion.head": "mean"}).fusion.options == {"dropout": 0.1}
    assert variant(variant(base, {"fusion.head": "mean"}), {"fusion.head": "concat"}) == base


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("loss.options.margn=1", "loss.options: allowed with the loss hinge: margin; got 'margn'"),
        ("loss.options.margin=wide", "loss.options.margin: Input should be a valid number"),
        ("fusion.options.bias=2", "fusion.options.bias: Input should be a valid boolean"),
        ("fusion.head=median", "fusion.head: allowed are sum, concat, gated, attention, mean; got 'median'"),
        ("loss.options.margin=-1", "loss.options: margin must be positive, got -1"),
    ],
)
def test_names_and_options_are_checked(place: SimpleNamespace, override: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        command("train", place.data, *NETWORK, *PARTS, "--set", override, "--out", place.folder / "odd")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("fusion", r"head 'mean', .*\(sum, concat"),
        ("loss", r"loss 'hinge', .*\(bce"),
        ("cnn", r"image network 'tiny/16', .*\(alexnet"),
    ],
)
def test_a_run_says_what_to_type_without_them(
    place: SimpleNamespace, without: None, tmp_path: Path, section: str, told: str
) -> None:
    """A run that has one of them, and is else of ours."""
    values = json.loads((place.run / "model.json").read_text(encoding="utf-8"))
    values["config"] = {**Config().model_dump(mode="json"), section: values["config"][section]}
    (tmp_path / "model.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UserError, match=rf"has the {told}.*\n.*mmposter --plugin FILE COMMAND"):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "DATA", "--set", "loss.name=hinge"], "loss.name: allowed are bce, .*; got 'hinge'. .*--plugin FILE"),
        (
            ["train", "DATA", "--set", "fusion.head=mean"],
            "fusion.head: allowed are sum, .*; got 'mean'. .*--plugin FILE",
        ),
        (["extract", "DATA", *NETWORK], "cnn.backbone must be one of .*, got 'tiny/16'.*--plugin FILE"),
        (["prepare", "films.jsonl", "--format", "jsonl"], "--format 'jsonl' is unknown. Known: ccu, .*--plugin FILE"),
    ],
)
def test_each_name_is_refused_without_them(
    place: SimpleNamespace, without: None, arguments: list[str], told: str
) -> None:
    filled = [str(place.data) if text == "DATA" else text for text in arguments]
    out = [] if arguments[0] == "extract" else ["--out", str(place.folder / "none")]
    with pytest.raises(UserError, match=f"(?s){told}"):
        command(*filled, *out, plugin=False)


def test_a_file_that_fails_leaves_no_names_behind(place: SimpleNamespace, without: None, tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text(PLUGIN.read_text(encoding="utf-8") + "\nraise RuntimeError('broken')\n", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be run: RuntimeError: broken"):
        load_plugin(file)
    known = [*source_formats(), *head_names(), *loss_names(), *list_backbones()]
    assert not {"jsonl", "mean", "hinge"} & set(known)


def test_a_package_brings_them_without_the_option(
    place: SimpleNamespace, without: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By an entry point that is a module."""
    from importlib.metadata import EntryPoint

    (tmp_path / "brought_parts.py").write_text(PLUGIN.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("parts", "brought_parts", "mmposter.plugins")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])
    monkeypatch.setitem(plugins._state, "installed", False)
    load_named()
    try:
        assert load_config(None, ["loss.name=hinge", "fusion.head=mean"]).loss.name == "hinge"
    finally:
        plugins._take_back("brought_parts")
