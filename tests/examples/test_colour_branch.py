"""A branch from outside goes the whole way, from posters to an explanation on the page, with no edit in mmposter."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run, UserError, load_config
from mmposter.branches import branch_names, own_names
from mmposter.branches.plugins import PLUGINS, load_plugin, unload
from mmposter.cli import app
from mmposter.config import Config
from mmposter.data import Dataset
from mmposter.serve.app import create_app
from mmposter.serve.gradio_page import VisitorPage, add_page
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.places import Places
from mmposter.serve.settings import ServeSettings
from mmposter.training.inputs import cached_branches

PLUGIN = Path(__file__).resolve().parents[2] / "examples" / "colour_branch.py"
FEW = ["--set", "train.epochs=4", "--set", "evaluation.bootstrap=100", "--set", "train.learning_rate=0.01"]
COLOUR = ["--branches", "colour", *FEW]


def command(*arguments: object, plugin: bool = True) -> str:
    """Standard output of a command that ends well."""
    named = ["--plugin", str(PLUGIN)] if plugin else []
    done = CliRunner().invoke(app, [*named, *map(str, arguments)])
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


def coloured(seed: int) -> Image.Image:
    """Blocks of bluish (even numbers) or reddish colours."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 120, (8, 6, 3), dtype=np.uint8)
    blocks[..., 2 if seed % 2 == 0 else 0] += 120
    return Image.fromarray(blocks).resize((60, 80), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def outside() -> Iterator[None]:
    """The plugin's branch, taken away again at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLUGINS, "")
        yield
        unload(PLUGIN)


@pytest.fixture(scope="module")
def place(outside: None, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Posters, prepared, extracted and trained on through the command line."""
    folder = tmp_path_factory.mktemp("colour")
    lines = ["image,genres"]
    for number in range(60):
        coloured(number).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'Drama' if number % 2 == 0 else 'Horror'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data, run = folder / "data", folder / "run"
    command("prepare", folder / "list.csv", "--format", "csv", "--out", data)
    command("extract", data, *COLOUR, "--workers", "1")
    command("train", data, *COLOUR, "--out", run)
    return SimpleNamespace(folder=folder, data=data, run=run, poster=folder / "0.png")


def test_it_has_a_section_in_the_configuration_and_a_place_behind_ours(place: SimpleNamespace) -> None:
    assert branch_names() == (*own_names(), "colour")
    config = load_config(None, ["colour.bins=12"], branches="colour,cnn")
    assert config.branches == ("cnn", "colour")
    assert config.model_dump()["colour"]["bins"] == 12
    with pytest.raises(
        UserError, match=r"colour\.bin: unknown key \(did you mean bins\?\); allowed there: bins, dim, dropout"
    ):
        load_config(None, ["colour.bin=12"])
    own = load_config(None, ["train.lr.colour=0.1", "train.lr.ocr=0.2"], branches="colour,cnn").model_dump()
    assert own["train"]["lr"] == {"colour": 0.1, "ocr": 0.2}
    without = load_config(None, ["train.lr.colour=0.1", "train.lr.ocr=0.2"], branches="cnn").model_dump()
    assert without["train"]["lr"] == {"ocr": 0.2}
    assert "colour" not in Config().model_dump()  # a run that goes without it stays of use without its file


def test_it_learns_is_measured_and_predicts(place: SimpleNamespace) -> None:
    measured = json.loads(command("evaluate", place.run, place.data, "--json"))
    assert "colours, as histograms of 8 bins" in (place.run / "README.md").read_text(encoding="utf-8")
    assert measured
    red = PosterClassifier.load(place.run, device="cpu").predict([place.folder / "1.png"])[0]
    blue = PosterClassifier.load(place.run, device="cpu").predict([place.poster])[0]
    assert red.scores["Horror"] > blue.scores["Horror"]
    out = place.folder / "scores.jsonl"
    command("predict", place.poster, "--model", place.run, "--out", out)
    assert json.loads(out.read_text(encoding="utf-8"))["scores"] == pytest.approx(blue.scores, abs=1e-5)


def test_it_is_ablated_beside_another_branch(place: SimpleNamespace) -> None:
    small = ["--set", "cnn.backbone=mobilenet_v3_small", "--set", "cnn.size=[64,48]", "--init", "none"]
    out = place.folder / "ablation"
    options = ["--branches", "cnn,colour", "--seeds", "2", "--jobs", "1", "--out", out, *small, *FEW]
    command("ablate", place.data, *options)
    assert "colour" in (out / "ablation.md").read_text(encoding="utf-8")


def test_it_is_explained_in_a_file_and_on_the_page(place: SimpleNamespace) -> None:
    out = place.folder / "why"
    command("explain", place.poster, "--model", place.run, "--out", out, "--genre", "Drama")
    (genre,) = json.loads((out / "0.json").read_text(encoding="utf-8"))["genres"]
    assert genre["shares"]["colour"] == pytest.approx(genre["logit"] - genre["empty_logit"], abs=1e-4)
    assert (out / "0.png").is_file()

    classifier, settings = PosterClassifier.load(place.run, device="cpu"), ServeSettings(max_posters=2)
    served = create_app(classifier, settings, add_page)
    with TestClient(served, base_url="http://127.0.0.1"):
        uploads = served.state.uploads
        page = VisitorPage(classifier, settings, served.state.worker, Places(4, 10**9, lambda: 1), uploads)
        files = uploads.keep([UploadedPoster("blue.png", place.poster.read_bytes())])
        html, _ = page.why(files, ["colour"], 0, "Drama")
    assert "colour (its colours)" in html
    assert "#56B4E9" in html


def test_it_is_packed_and_trained_on_again(place: SimpleNamespace) -> None:
    pack = place.folder / "colours.mmpack"
    command("pack", place.data, *COLOUR, "--out", pack)
    command("train", pack, *COLOUR, "--out", place.folder / "of_pack")
    config, dataset = load_config(None, ["colour.bins=12"], branches="colour"), Dataset.load(pack)
    with pytest.raises(UserError, match=r"colour\.bins: 8 in the pack, 12 asked"):
        cached_branches(config, dataset, device="cpu", offline=True)


def test_export_refuses_it(place: SimpleNamespace) -> None:
    done = CliRunner().invoke(app, ["--plugin", str(PLUGIN), "export", str(place.run)])
    assert isinstance(done.exception, UserError)
    assert "looks through colour, and an exported file sees pixels alone" in str(done.exception)


@pytest.mark.slow  # two processes load torch
def test_workers_load_it_too(place: SimpleNamespace) -> None:
    command("extract", place.data, *COLOUR, "--set", "colour.bins=5", "--workers", "2")


def test_a_run_says_what_to_type_where_its_branch_is_not_loaded(place: SimpleNamespace) -> None:
    unload(PLUGIN)
    try:
        with pytest.raises(UserError, match=r"has the branch 'colour'.*\n.*mmposter --plugin FILE COMMAND"):
            Run.load(place.run)
        with pytest.raises(UserError, match=r"allowed are cnn, style, yolo, ocr.*got colour"):
            load_config(None, branches="colour")
    finally:
        load_plugin(PLUGIN)
    assert Run.load(place.run).config.branches == ("colour",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("BRANCH = 3\n", "must be an instance of BranchDeclaration"),
        ("x = 1\n", "must declare a branch as BRANCH"),
        ("raise RuntimeError('broken')\n", "cannot be run: RuntimeError: broken"),
    ],
)
def test_a_file_that_brings_no_branch_is_refused_in_words(outside: None, tmp_path: Path, text: str, told: str) -> None:
    before, file = os.environ[PLUGINS], tmp_path / "odd_branch.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        load_plugin(file)
    assert os.environ[PLUGINS] == before
    with pytest.raises(UserError, match="--plugin takes a Python file"):
        load_plugin(tmp_path / "none.py")


def test_two_branches_of_one_name_are_refused(place: SimpleNamespace, tmp_path: Path) -> None:
    copy = Path(shutil.copy(PLUGIN, tmp_path / "other.py"))
    with pytest.raises(UserError, match="'colour' is taken"):
        load_plugin(copy)


def test_a_broken_package_is_a_warning(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    import mmposter.branches.plugins as plugins

    def broken() -> Callable[[], None]:
        raise ImportError("no such module")

    entry = SimpleNamespace(name="sound", value="sounds:BRANCH", load=broken)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == "mmposter.branches" else [])
    plugins._load_installed()
    assert "the plugin sound of an installed package (sounds:BRANCH) cannot be used" in str(recwarn.pop().message)
