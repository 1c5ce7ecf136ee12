"""A small project of drawn posters, and a way to run scripts as their users do without waiting for torch each time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

import pytest

from mmposter.pretrained.resolver import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
COUNT = 12
"""Posters: the fewest of which each split has some."""

FORKING = Path(__file__).with_name("forking_python.py")


class Runner:
    """Runs command lines as `python COMMAND`, quickly (see forking_python.py).

    Args:
        folder: for the socket and the program.
    """

    def __init__(self, folder: Path) -> None:
        wrapper, place = folder / "python", folder / "socket"
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        own |= dict.fromkeys(("YOLO_CONFIG_DIR", "TORCH_HOME"), str(folder))
        self.environment = {**os.environ, **own}
        self._python = str(wrapper)
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(FORKING), str(place), str(wrapper)],
            stdin=subprocess.PIPE,
            env=self.environment,
        )
        while not (wrapper.is_file() and os.access(wrapper, os.X_OK)):
            assert self._server.poll() is None, "the program that runs scripts has ended"
            time.sleep(0.05)

    def __call__(self, *command: object, code: int = 0, python: str | None = None) -> str:
        """What a command line prints; its exit code must be `code`. A script is named from the root on."""
        words = [str(word) for word in command]
        words[0] = words[0] if words[0] == "-m" else str(ROOT / words[0])
        done = subprocess.run(
            [python or self._python, *words],
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def end(self) -> None:
        self._server.communicate()


@dataclass(frozen=True)
class Project:
    """What a script may ask for.

    Attributes:
        posters: folder of drawn posters.
        data: of them, prepared, with the features of all four branches.
        run: trained on the data, calibrated and evaluated.
        weights: where the small detector and text encoder lie.
        settings: ``--set KEY=VALUE ...`` of the run.
    """

    posters: Path
    data: Path
    run: Path
    weights: Path
    settings: list[str]


SETTINGS = [
    "cnn.backbone=mobilenet_v3_small",
    "cnn.init=none",
    "cnn.size=[64,48]",
    "style.reduced=8",
    "yolo.size=64",
    "yolo.confidence=0",  # the detector is sure of nothing
    "ocr.reader=ppocr",
    "fusion.options.hidden=16",
    "train.epochs=1",
    "train.batch_size=8",
    "evaluation.bootstrap=100",
]


def _make_encoder(folder: Path) -> None:
    """A sentence encoder of one layer that knows letters."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*named.values(), *ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **named).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=160, **sizes)).save_pretrained(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("runner"))
    yield runner
    runner.end()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def project(run: Runner, monkeypatch_module: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Project:
    from mmposter import Dataset, Run, load_config
    from mmposter.measurement.calibrate import calibrate_run
    from mmposter.training.train import train

    folder = tmp_path_factory.mktemp("project")
    posters, data, weights, trained = (folder / name for name in ("posters", "data", "weights", "run"))
    settings = [word for value in SETTINGS for word in ("--set", value)]
    weights.mkdir()
    monkeypatch_module.setenv(ENVIRONMENT, str(weights))  # a released model names its encoder, and no folder
    run.environment[ENVIRONMENT] = str(weights)
    _make_encoder(weights)
    run("benchmarks/random_detector.py", weights / "yolo11n.pt")
    run("scripts/draw_posters.py", posters, "--count", COUNT)
    run("-m", "mmposter", "prepare", posters / "posters.csv", "--format", "csv", "--out", data)
    run("-m", "mmposter", "extract", data, *settings, "--offline", "--workers", "1", "--device", "cpu")
    # Here, where figures are not drawn.
    config, dataset = load_config(None, SETTINGS), Dataset.load(data)
    train(config, dataset, trained, device="cpu", offline=True, quiet=True)
    subsets = calibrate_run(Run.load(trained), dataset, device="cpu", offline=True, quiet=True)
    subsets.save(trained)
    return Project(posters, data, trained, weights, settings)
