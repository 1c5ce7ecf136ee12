"""Checkpoints and encoders that hold code: it is never run unless the person says so, and honest ones still load."""

from __future__ import annotations

import ast
import json
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from detectors import UnsafeCheckpointError, YoloDetector
from fusion.backbones import count_parameters, require_modest, require_no_code
from fusion.backbones.huggingface import build_hf
from mmposter import PosterClassifier, UserError, trusting
from mmposter.cli import app
from mmposter.config import OcrConfig, YoloConfig, load_config
from mmposter.features.extractors import OcrExtractor, TextExtractor, YoloExtractor
from mmposter.pretrained.catalogue import text_encoder, yolo
from mmposter.pretrained.resolver import ENVIRONMENT, locate, resolve
from mmposter.pretrained.trust import is_trusted
from mmposter.runs.run import OTHER_WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {0: "person", 1: "dog"}


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (self.marker,)


class Called:
    """Is a call of `function` when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A YOLO11n of random weights, as ultralytics trains it."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    model.names = dict(CLASSES)
    return model


@pytest.fixture(scope="module")
def honest(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "mine.pt"
    torch.save({"model": network, "ema": None, "train_args": {"imgsz": 64, "data": Path("a/b.yaml")}, "epoch": 3}, path)
    return path


@pytest.fixture
def evil(tmp_path) -> tuple[Path, Path]:
    """A checkpoint, and the folder that it makes where its code is run."""
    marker = tmp_path / "code was run"
    torch.save({"model": Evil(marker)}, tmp_path / "evil.pt")
    return tmp_path / "evil.pt", marker


def test_a_checkpoint_of_ultralytics_gives_the_same_boxes_as_its_own_loader(honest, make_drawn):
    safe = YoloDetector(honest, size=64, confidence=0.0)
    own = YoloDetector(honest, size=64, confidence=0.0, trust=True)
    assert safe.class_names == own.class_names == tuple(CLASSES.values())
    poster = np.asarray(make_drawn(1))
    (found,), (expected,) = safe([poster]), own([poster])
    assert len(found.scores) > 0
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.slow
@pytest.mark.shared
def test_the_published_checkpoint_loads(shared_root, make_drawn):
    file = shared_root / "weights" / "yolo11n.pt"
    poster = np.asarray(make_drawn(2, 300, 450))
    (found,), (expected,) = YoloDetector(file)([poster]), YoloDetector(file, trust=True)([poster])
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_code_is_run_on_the_person_s_word_alone(evil):
    file, marker = evil
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pt names (posix|nt)\.mkdir"):
        YoloDetector(file)
    assert not marker.exists()
    with pytest.raises(ValueError, match="must be an ultralytics checkpoint"):
        YoloDetector(file, trust=True)
    assert marker.exists(), "the checkpoint of this test holds no code"


def test_the_extractor_says_what_to_type(evil):
    file, marker = evil
    with pytest.raises(UserError, match=r"evil\.pt was not loaded[\s\S]*--trust"):
        YoloExtractor(YoloConfig(model=str(file)), device="cpu", offline=True).start()
    assert not marker.exists()
    with trusting():
        extractor = YoloExtractor(YoloConfig(model=str(file)), device="cpu", offline=True)
    assert not is_trusted()
    with pytest.raises(UserError, match="yolo branch cannot be used"):
        extractor.start()
    assert marker.exists()


def _calls(network: nn.Module, marker: Path) -> dict[str, dict[str, Any]]:
    from ultralytics.nn.modules import Conv
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.downloads import safe_download

    hooked = nn.Sequential(nn.Identity())
    hooked.register_forward_hook(print)
    return {
        "beside the network": {"model": network, "more": Evil(marker)},
        "a layer that is called": {"model": Called(Conv, 1, 1)},
        "a network that is called": {"model": Called(DetectionModel, "https://example.com/evil.yaml")},
        "a function of ultralytics": {"model": Called(safe_download, "https://example.com/evil")},
        "a class, asked for": {"model": Called(getattr, network, "__class__")},
        "a hook": {"model": hooked},
        "eval": {"model": Called(eval, f"__import__('os').mkdir({str(marker)!r})")},
        "no network": {"model": 3},
        "another network": {"model": nn.Linear(2, 2)},
    }


def test_nothing_that_a_checkpoint_names_is_called(network, tmp_path, monkeypatch):
    monkeypatch.setattr("ultralytics.nn.tasks.yaml_model_load", lambda *_: pytest.fail("a network was made from YAML"))
    marker, before = tmp_path / "marker", Counter(torch.serialization.get_safe_globals())  # a set, in any order
    for name, content in _calls(network, marker).items():
        path = tmp_path / f"{name}.pt"
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"\.pt|the checkpoint"):
            YoloDetector(path)
        assert not marker.exists(), name
    assert Counter(torch.serialization.get_safe_globals()) == before, "torch's list of safe names is as it was"


@pytest.mark.parametrize("name", ["net.yaml", "net.onnx", "net.engine", "net.torchscript", "net.mlmodel", "net"])
def test_other_files_than_checkpoints_are_refused(tmp_path, name):
    (tmp_path / name).write_text("nc: 80")
    with pytest.raises(ValueError, match=r"a \.pt file"):
        YoloDetector(tmp_path / name)


def test_damaged_checkpoints(honest, tmp_path):
    whole = honest.read_bytes()
    scripted = tmp_path / "scripted.pt"
    torch.jit.script(nn.ReLU()).save(str(scripted))
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 10_000_000)
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("no checkpoint")
    for path in sorted(tmp_path.glob("*.pt")):
        with pytest.raises(ValueError, match=path.stem):
            YoloDetector(path)


# --- what a run folder names ---


def detector_run(write_run, folder: Path, file: Path, **facts: Any) -> Path:
    """A stranger's run: it looks through `file`, and pins it."""
    overrides = (f"yolo.model={file}", "yolo.size=64", "branches=yolo")
    identity = YoloExtractor(load_config(None, overrides).yolo, device="cpu", offline=True).identity()
    return Path(
        write_run(folder, *overrides, classes=tuple(CLASSES.values()), fingerprints={"yolo": identity}, facts=facts)
    )


@pytest.fixture
def poster(tmp_path, make_drawn) -> Path:
    make_drawn(3).save(tmp_path / "poster.png")
    return tmp_path / "poster.png"


def test_a_run_that_names_a_checkpoint_with_code(write_run, evil, poster, tmp_path):
    file, marker = evil
    run = detector_run(write_run, tmp_path / "run", file, **{OTHER_WEIGHTS: ["yolo"]})
    result = CliRunner().invoke(app, ["predict", str(poster), "--model", str(run), "--device", "cpu", "--offline"])
    assert isinstance(result.exception, UserError)
    assert "--trust" in str(result.exception)
    assert not marker.exists()
    command = ["predict", str(poster), "--model", str(run), "--device", "cpu", "--offline", "--trust"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError), "its code runs, and leaves no network"
    assert marker.exists()
    assert not is_trusted(), "the word was for one command"


def test_a_run_made_with_a_path_still_loads(write_run, honest, poster, tmp_path):
    run = detector_run(write_run, tmp_path / "run", honest)
    (found,) = PosterClassifier.load(run, device="cpu", offline=True).predict(poster)
    assert found.error is None
    assert set(found.scores) == {"Calm", "Loud"}


def test_no_run_but_a_shipped_one_frees_itself_of_its_pins(write_run, honest, poster, tmp_path, monkeypatch):
    run = detector_run(write_run, tmp_path / "package" / "posters", honest, **{OTHER_WEIGHTS: ["yolo"]})
    values = json.loads((run / "model.json").read_text())
    values["fingerprints"]["yolo"]["weights"] = "0" * 64
    (run / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"yolo branch .* was trained behind other weights[\s\S]*--trust"):
        PosterClassifier.load(run, device="cpu", offline=True)
    with trusting():
        PosterClassifier.load(run, device="cpu", offline=True)
    monkeypatch.setattr("mmposter.shipped._folder", lambda: tmp_path / "package")
    assert PosterClassifier.load(run, device="cpu", offline=True).predict(poster)[0].error is None


# --- text encoders, and networks of the hub ---


@pytest.fixture
def encoder(tmp_path) -> tuple[Path, Path]:
    """A folder whose ``config.json`` leads to code beside it, and the folder which that code makes."""
    folder, marker = tmp_path / "encoder", tmp_path / "code was run"
    folder.mkdir()
    for name in text_encoder("x").files:
        (folder / name).write_text("{}")
    (folder / "evil.py").write_text(
        f"import os\nos.mkdir({str(marker)!r})\nfrom transformers import BertConfig as C, BertModel as M\n"
        "class EvilConfig(C):\n    model_type = 'evil'\nclass EvilModel(M):\n    config_class = EvilConfig\n"
    )
    write_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"})
    return folder, marker


def write_config(folder: Path, **values: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, **values}))


def text_extractor(folder: Path) -> TextExtractor:
    config = OcrConfig(encoder=str(folder))
    reader = OcrExtractor(config, device="cpu", offline=True, pinned={"weights": "0" * 64})
    return TextExtractor(config, reader, device="cpu", offline=True)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_text_encoder_never_runs_its_own_code(encoder, trusted, monkeypatch):
    folder, marker = encoder
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("transformers asked whether to run code"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(folder.parent / "modules"))
    if trusted:
        with trusting():
            extractor = text_extractor(folder)
    else:
        extractor = text_extractor(folder)
    for use in (extractor.start, lambda: extractor.embedding_dim):
        with pytest.raises(UserError, match=r"text encoder in .*encoder cannot be used[\s\S]*ocr\.encoder"):
            use()
    assert not marker.exists()


@pytest.mark.parametrize(
    "said",
    [
        {"model_type": "bert", "_attn_implementation": "stranger/kernel"},
        {"model_type": "bert", "attn_implementation": {"": "stranger/kernel"}},
        {"model_type": "bert", "use_kernels": True},
        {"model_type": "bert", "quantization_config": {"quant_method": "custom"}},
        {"model_type": "bert", "num_hidden_layers": 10**9},
        {"model_type": "bert", "vocab_size": 10**9},
        {"model_type": []},
        {"model_type": "bert", "hidden_size": "wide"},
    ],
)
def test_descriptions_of_encoders_that_ask_for_code_or_the_whole_memory(encoder, said):
    folder, _ = encoder
    write_config(folder, **said)
    with pytest.raises(UserError, match=r"text encoder in .* cannot be used"):
        text_extractor(folder).start()


def test_an_encoder_that_leads_to_another_model(encoder):
    folder, _ = encoder
    write_config(folder, model_type="bert")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "stranger/model"}')
    with pytest.raises(UserError, match=r"adapter_config\.json, and leads to another model"):
        text_extractor(folder).start()


VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 16,
}


def test_a_described_image_network_brings_no_code_and_fits():
    kernels = {**VIT, "_attn_implementation": "stranger/kernel", "auto_map": {"AutoModel": "evil.Evil"}}
    built, plain = build_hf("hf/x", config=kernels), build_hf("hf/x", config=VIT)
    settings = [net.stages[net.map_stage].network.config for net in (built, plain)]
    assert settings[0]._attn_implementation == settings[1]._attn_implementation
    assert count_parameters("hf/x", VIT) == sum(value.numel() for value in plain.parameters())
    for said, words in (
        ({"model_type": "timm_wrapper", "architecture": "resnet18"}, "timm/NAME"),
        ({**VIT, "num_hidden_layers": 10**6}, "num_hidden_layers may be 1,000 at most"),
        ({**VIT, "hidden_size": 10**9}, "hidden_size may be 10,000,000 at most"),
        ({**VIT, "num_attention_heads": 0}, "config must describe a network|must be a model"),
    ):
        with pytest.raises(ValueError, match=words):
            build_hf("hf/x", config=said)
    require_modest(VIT)
    require_no_code({**VIT, "_attn_implementation": "eager", "auto_map": {}})


def test_every_from_pretrained_refuses_code():
    """Read from the source: a call that forgets it would ask the person, or run what lies beside the weights."""
    found = 0
    for path in [path for name in ("mmposter", "fusion", "detectors") for path in (ROOT / name).rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        constants = (
            {"_AS_DATA"}
            if '_AS_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}' in text
            else set()
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
                found += 1
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert said.get("trust_remote_code") == "False" or said.get(None) in constants, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert {"weights_only": "True"}.items() <= {k.arg: ast.unparse(k.value) for k in node.keywords}.items()
    assert found >= 4


# --- names that are joined to folders ---


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/nothing", "a/../../b", "../nothing", "", "C:\\x", "..\\x", "a\0b", "x" * 5000]
)
def test_a_name_stays_in_the_folders_of_the_resolver(tmp_path, monkeypatch, name):
    inside, files = tmp_path / "weights", text_encoder("x").files
    inside.mkdir()
    for file in files:
        (tmp_path / file).write_text("{}")
    (tmp_path / "secret").mkdir()
    for file in files:
        (tmp_path / "secret" / file).write_text("{}")
    monkeypatch.setenv(ENVIRONMENT, str(inside))
    with pytest.raises(UserError, match="is no published name and no file or folder here"):
        resolve(text_encoder(name), offline=True)
    with pytest.raises(UserError):
        locate(yolo(name))
    with pytest.raises(UserError):
        YoloExtractor(YoloConfig(model=name[:4000]), device="cpu", offline=True)


def test_honest_names_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    (tmp_path / "yolo11s.pt").write_bytes(b"")
    assert resolve(yolo("yolo11s.pt"), offline=True) == tmp_path
    folder = tmp_path / "sentence-transformers" / "all-MiniLM-L12-v2"
    folder.mkdir(parents=True)
    for file in text_encoder("x").files:
        (folder / file).write_text("{}")
    assert resolve(text_encoder("sentence-transformers/all-MiniLM-L12-v2"), offline=True) == folder
