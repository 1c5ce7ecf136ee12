"""The branch `photo`: a second image network, frozen, from posters to a pack that goes without its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from typer.testing import CliRunner

from fusion import PhotoBranch
from mmposter import PosterClassifier, Run, UserError, load_config
from mmposter.cli import app
from mmposter.config import Config
from mmposter.data import Dataset
from mmposter.pretrained.resolver import ENVIRONMENT
from mmposter.readiness.states import branch_state
from mmposter.training.inputs import cached_branches

NAME = "tiny/vit"
SMALL = ["--set", "cnn.backbone=mobilenet_v3_small", "--set", "cnn.size=[64,48]", "--init", "none"]
PHOTO = ["--set", f"photo.backbone=hf/{NAME}", "--set", "photo.dropout=0"]
FEW = ["--set", "train.epochs=4", "--set", "evaluation.bootstrap=100", "--set", "train.learning_rate=0.01"]
BOTH = ["--branches", "photo,cnn", *SMALL, *PHOTO, *FEW]


def command(*arguments: object) -> str:
    """Standard output of a command that ends well."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


def write_network(folder: Path) -> None:
    """A tiny ViT as a hub has it."""
    torch.manual_seed(0)
    sides = {"image_size": 40, "patch_size": 8, "hidden_size": 32, "intermediate_size": 48}
    config = transformers.ViTConfig(**sides, num_hidden_layers=1, num_attention_heads=2)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 40, "width": 32}).save_pretrained(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Bluish (Drama) and reddish (Horror) posters, trained on through the command line."""
    folder = tmp_path_factory.mktemp("photo")
    lines, rng = ["image,genres"], np.random.default_rng(0)
    for number in range(60):
        blocks = rng.integers(0, 120, (8, 6, 3), dtype=np.uint8)
        blocks[..., 2 if number % 2 == 0 else 0] += 120
        Image.fromarray(blocks).resize((60, 80), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'Drama' if number % 2 == 0 else 'Horror'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    weights, data, run = folder / "weights", folder / "data", folder / "run"
    write_network(weights / NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT, str(weights))
        command("prepare", folder / "list.csv", "--format", "csv", "--out", data)
        command("train", data, *BOTH, "--out", run, "--offline", "--device", "cpu")
        yield SimpleNamespace(folder=folder, data=data, run=run, poster=folder / "0.png")


def test_it_is_off_and_leaves_no_trace_where_nothing_is_said() -> None:
    assert Config().branches == ("cnn", "style", "yolo", "ocr")
    assert "photo" not in load_config(None, ["photo.dim=32"]).model_dump()
    on = load_config(None, ["photo.dim=32"], branches="photo,ocr,cnn")
    assert on.branches == ("cnn", "ocr", "photo")
    assert on.model_dump()["photo"]["dim"] == 32


def test_it_learns_is_measured_and_predicts(place: SimpleNamespace) -> None:
    measured = json.loads(command("evaluate", place.run, place.data, "--branches", "photo", "--json"))
    value = measured["metrics"]["mean_average_precision"]
    assert value["value"] > value["constant"] + 0.2, "colours are to be seen through a random network, too"
    assert f"the picture once more, through hf/{NAME}" in (place.run / "README.md").read_text(encoding="utf-8")
    red, blue = PosterClassifier.load(place.run, device="cpu").predict([place.folder / "1.png", place.poster])
    assert red.scores["Horror"] > blue.scores["Horror"]


def test_an_explanation_has_its_share(place: SimpleNamespace) -> None:
    out = place.folder / "why"
    command("explain", place.poster, "--model", place.run, "--out", out, "--genre", "Drama")
    (genre,) = json.loads((out / "0.json").read_text(encoding="utf-8"))["genres"]
    assert set(genre["shares"]) == {"cnn", "photo"}
    assert sum(genre["shares"].values()) == pytest.approx(genre["logit"] - genre["empty_logit"], abs=1e-4)


def test_the_network_stays_as_it_is_where_cnn_is_finetuned(place: SimpleNamespace) -> None:
    out = place.folder / "finetuned"
    command("train", place.data, *BOTH, "--regime", "finetune", "--set", "train.epochs=1", "--out", out)
    keys = Run.load(out).load_model().state_dict()
    assert any(key.startswith("tower.") for key in keys)
    of_branch = {key for key in keys if ".photo." in key}
    assert of_branch == {f"fusion.branches.photo.{key}" for key in PhotoBranch(32).state_dict()}, "no network"


def test_a_pack_goes_without_the_network(place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, of_pack = place.folder / "both.mmpack", place.folder / "of_pack"
    command("pack", place.data, *BOTH, "--out", pack)
    monkeypatch.setenv(ENVIRONMENT, str(place.folder / "nowhere"))
    command("train", pack, *BOTH, "--out", of_pack, "--offline")

    def of_pack_by(backbone: str, *settings: str) -> None:
        config = load_config(None, [f"photo.backbone={backbone}", *settings], branches="photo")
        cached_branches(config, Dataset.load(pack), device="cpu", offline=True)

    of_pack_by(f"hf/{NAME}", "photo.size=[40,32]")  # the network's own
    with pytest.raises(UserError, match=r"photo\.size: null in the pack, \[48,32\] asked"):
        of_pack_by(f"hf/{NAME}", "photo.size=[48,32]")
    with pytest.raises(UserError, match=r"photo\.backbone: hf/tiny/vit in the pack, densenet121 asked"):
        of_pack_by("densenet121")


def test_a_network_of_ones_own_is_not_packed(place: SimpleNamespace) -> None:
    folder = place.folder / "weights" / NAME
    done = CliRunner().invoke(
        app, ["pack", str(place.data), *BOTH, "--set", f"photo.backbone=hf/{folder}", "--out", "no"]
    )
    assert isinstance(done.exception, UserError)
    assert "this one is a folder of yours. Use --set photo.backbone=NAME" in str(done.exception)


def test_an_unknown_network_is_called_by_its_own_key(place: SimpleNamespace) -> None:
    done = CliRunner().invoke(
        app, ["extract", str(place.data), "--branches", "photo", "--set", "photo.backbone=resnet5"]
    )
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("photo.backbone must be one of")
    done = CliRunner().invoke(app, ["extract", str(place.data), "--branches", "photo", "--set", "photo.backbone=cnn3"])
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "cnn3 has no published weights; give photo.backbone another one"


def test_what_is_not_here_is_said_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmposter.readiness.states.find_spec", lambda name: None)
    state = branch_state("photo", load_config(None, [], branches="photo"))
    assert (state.state, state.commands) == ("missing", ("pip install 'mmposter[lite]'",))
