"""A file says what predict says, of every picture, and holds what a program needs to name genres."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmposter import PosterClassifier, Run, export_run
from mmposter.evaluation.scored import file_hash
from mmposter.export.formats import FACTS_FILE, FORMATS
from mmposter.export.graph import PosterGraph
from mmposter.features.sizes import Sizes
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.runs.building import build_model, build_tower, tower_sizes
from mmposter.runs.decisions import Decision
from mmposter.runs.run import WEIGHTS

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def scores(path: Path, to: str, pictures) -> np.ndarray:
    runner = FORMATS[to].open(path)
    return np.stack([runner(picture) for picture in pictures])


def assert_agree(found, wanted) -> None:
    """Equal, of pictures that differ: a file that says the same of all must not pass."""
    assert np.std(wanted, axis=0).max() > 0.01
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_onnx_gives_the_scores_of_predict_in_one_session(onnx_file, pictures, expected):
    assert_agree(scores(onnx_file.path, "onnx", pictures), expected)


def test_torchscript_gives_the_scores_of_predict(torchscript_file, pictures, expected):
    assert_agree(scores(torchscript_file.path, "torchscript", pictures), expected)


def test_the_file_holds_genres_thresholds_and_origin(onnx_file, torchscript_file):
    run = Run.load(onnx_file.run)
    session = onnxruntime.InferenceSession(onnx_file.path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["genres"]) == list(run.vocabulary.genres)
    assert json.loads(said["thresholds"]) == run.decision(["cnn", "style"]).thresholds.tolist()
    assert json.loads(said["thresholds"]) != run.thresholds.tolist()  # those of all branches fit no subset
    assert json.loads(said["branches"]) == ["cnn", "style"]
    assert (said["empty"], said["run"]) == ("top1", "all")
    assert said["weights_sha256"] == file_hash(onnx_file.run / WEIGHTS)
    assert said["calibration"] == run.decision(["cnn", "style"]).digest
    assert "random weights" in said["licence"]
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", [1, "height", "width", 3])
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("probabilities", [1, 4]), ("logits", [1, 4])]
    extra = {FACTS_FILE: ""}
    torch.jit.load(torchscript_file.path, _extra_files=extra)
    assert json.loads(extra[FACTS_FILE])["genres"] == list(run.vocabulary.genres)


def test_what_calibrate_fitted_is_in_the_probabilities_and_not_in_the_logits(onnx_file, pictures):
    session = onnxruntime.InferenceSession(onnx_file.path, providers=["CPUExecutionProvider"])
    probs, logits = session.run(None, {"image": pictures[0][None]})
    raw = 1 / (1 + np.exp(-logits))
    wanted = Run.load(onnx_file.run).decision(["cnn", "style"]).scaling.apply(raw)
    np.testing.assert_allclose(probs, wanted, atol=1e-5)
    assert np.abs(probs - raw).max() > 0.01


def test_the_command_says_what_was_left_out_and_what_that_costs(onnx_file, torchscript_file):
    subsets = Run.load(onnx_file.run).subsets().subsets
    here, whole = (
        subsets[names].metrics["mean_average_precision"].value
        for names in (("cnn", "style"), ("cnn", "style", "yolo", "ocr"))
    )
    for made in (onnx_file, torchscript_file):
        assert made.result.stdout == f"{made.path}\n"
        assert f"masked: yolo,ocr; test mAP {here:.3f} in place of {whole:.3f}" in made.result.stderr
        assert "looks through cnn,style" in made.result.stderr


# What a program on another machine has: no mmposter, and for ONNX no torch.
_WITHOUT = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(program: Path, paths, without: str = "mmposter,fusion,torch") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _WITHOUT, without, program, *paths],
        capture_output=True,
        text=True,
        check=False,
        cwd=program.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        ("onnx", "mmposter,fusion,torch"),
        pytest.param("torchscript", "mmposter,fusion", marks=pytest.mark.slow),  # importing torch takes seconds
    ],
)
def test_the_example_names_genres_without_mmposter(kind, without, request, mixed_folder):
    """Of pictures as they come: turned by EXIF, with a palette, CMYK, half transparent, animated."""
    made = request.getfixturevalue(f"{kind}_file")
    folder, reasons = mixed_folder
    paths = [folder / name for name, reason in reasons.items() if reason is None and name != "deep.png"]
    assert len(paths) == 7
    classifier = PosterClassifier.load(made.run, branches=["cnn", "style"], device="cpu", offline=True)
    for path, line, found in zip(
        paths, run_example(made.example, paths, without), classifier.predict(paths), strict=True
    ):
        assert line == f"{path}: {', '.join(f'{genre} ({found.scores[genre]:.3f})' for genre in found.genres)}"


def test_the_example_refuses_what_it_would_read_as_another_picture(onnx_file, mixed_folder, tmp_path):
    Image.fromarray(np.full((70, 50), 0.5, np.float32)).save(tmp_path / "float.tif")
    good = mixed_folder[0] / "cmyk.jpg"
    deep = [mixed_folder[0] / "deep.png", tmp_path / "float.tif"]
    lines = run_example(onnx_file.example, [*deep, good])
    assert [line.partition(": ")[0] for line in lines] == [str(good)]


@pytest.mark.parametrize(("policy", "count"), [("top1", 1), ("allow", 0)])
def test_the_example_obeys_the_policy_for_posters_without_a_genre(onnx_file, tmp_path, policy, count):
    import onnx

    model = onnx.load(onnx_file.path)
    onnx.helper.set_model_props(
        model, {"genres": json.dumps(list("abcd")), "thresholds": json.dumps([2.0] * 4), "empty": policy}
    )
    onnx.save(model, tmp_path / onnx_file.path.name)
    program = Path(shutil.copy(onnx_file.example, tmp_path))
    Image.new("RGB", (50, 70), (90, 90, 90)).save(tmp_path / "grey.png")
    (line,) = run_example(program, [tmp_path / "grey.png"])
    assert line.count("(") == count


@pytest.mark.parametrize(
    ("overrides", "branches"),
    [
        # Re-weighting in the middle of the network, which only the finetune regime has.
        (("regime=finetune", "style.stage=conv2"), "cnn,style"),
        (("regime=finetune", "cnn.classifier=own", "loss.name=cross_entropy"), "cnn"),
        (("cnn.normalisation=unit", "cnn.resize=bilinear"), "style"),
        (("regime=finetune", "cnn.resize=nearest"), "cnn"),
    ],
)
def test_other_kinds_of_runs(train_run, pictures, tmp_path, overrides, branches):
    run = train_run(*overrides, branches=branches)
    made = export_run(run, "onnx", tmp_path / "out" / "other.onnx", offline=True)
    assert (made.branches, made.masked, made.cost) == (tuple(branches.split(",")), (), None)
    assert made.difference < 1e-6
    predictions = PosterClassifier.load(run, device="cpu", offline=True).predict(pictures)
    wanted = [list(prediction.scores.values()) for prediction in predictions]
    assert_agree(scores(made.path, "onnx", pictures), wanted)


@pytest.mark.parametrize("to", sorted(FORMATS))
@pytest.mark.parametrize(
    ("head", "descriptor", "gate"), [("attention", "both", "gram"), ("gated", "gram", "se"), ("concat", "both", "srm")]
)
def test_every_head_and_gate_can_be_written(made, pictures, tmp_path, to, head, descriptor, gate):
    """Random weights are enough to see that the graph is the module, with a branch that is masked."""
    sets = ("cnn.backbone=cnn3", f"fusion.head={head}", f"style.descriptor={descriptor}", f"style.gate={gate}")
    config = made.world.config(*sets, regime="finetune", branches="cnn,style,yolo")
    torch.manual_seed(0)
    weights = TowerWeights(config.cnn.backbone, None)
    tower = build_tower(config, weights.build())
    sizes = Sizes(class_names=("a", "b"), **tower_sizes(tower))
    model = build_model(config, sizes, 4, tower).eval()
    with torch.no_grad():
        for layer in model.fusion.modules():  # else logits hardly differ
            if isinstance(layer, torch.nn.Linear):
                layer.weight *= 8
    tower_input = TowerInput.of(config.cnn, weights)
    decision = Decision(np.full(4, 0.5))
    graph = PosterGraph(
        FORMATS[to].resize(tower_input.size, tower_input.resize),
        model,
        tower_input,
        branches=("cnn", "style"),
        single_label=False,
        decision=decision,
    ).eval()
    FORMATS[to].write(graph, {"mmposter": "0"}, tmp_path / "graph")
    with torch.inference_mode():
        wanted = np.stack([graph(torch.from_numpy(picture[None]))[0][0].numpy() for picture in pictures])
    assert_agree(scores(tmp_path / "graph", to, pictures), wanted)
