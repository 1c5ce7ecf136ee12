"""Run folders with damaged or absurd files: each loads, or is refused in our own words; never a traceback."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmposter import Run, UserError
from mmposter.cli import main
from mmposter.runs.listing import list_runs
from mmposter.runs.run import MODEL, WEIGHTS
from mmposter.training.checkpoint import TrainingProgress, load_checkpoint, save_checkpoint

DEEP = "[" * 50_000 + "]" * 50_000
# As JSON text, as some of it no Python value writes.
NASTY = (
    *("null", '""', "-1", "0", "true", "1e400", "-1e400", "NaN", "Infinity", "[]", "{}", "10000000", "1000000000"),
    *("9" * 30, "9" * 5000, "1e-400", "0.5", "[[[[]]]]", '{"a": {"b": 1}}', '"\\ud800"', '"../../../etc"', '"\\u0000"'),
    *(DEEP, json.dumps("x" * 100_000), json.dumps(["x"] * 20_000), json.dumps({f"k{n}": n for n in range(20_000)})),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, write_run, write_subsets) -> Path:
    folder = write_run(
        tmp_path_factory.mktemp("runs") / "whole",
        fingerprints={"tower": {"architecture": None}, "yolo": {"weights": "0" * 64, "size": 448}},
        facts={"data": "drawn", "other_weights_allowed": ["yolo"], "best_val_map": 0.3},
    )
    write_subsets(folder)
    (folder / "metrics.jsonl").write_text('{"epoch": 0, "val_map": 0.2}\n{"epoch": 1, "val_map": 0.3}\n')
    return folder


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "runs" / "run"))


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and every index, of containers too."""
    yield path
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(values: Any, path: tuple[Any, ...], text: str) -> str:
    """The JSON text of `values` with `text` at one place."""
    if not path:
        return text
    copy = json.loads(json.dumps(values))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = "@@here@@"
    return json.dumps(copy).replace('"@@here@@"', text)


def used(folder: Path) -> bool:
    """Whether all that reads a run folder could do so; a refusal is a `UserError`."""
    list_runs(folder)  # says that a run is damaged, and goes on to the others
    said = ""
    try:
        run = Run.load(folder)
        run.load_model()
        run.decision()
        run.decision(run.config.branches[:1])
        assert run.other_weights_allowed is not None
        repr(run), run._repr_html_()
    except UserError as error:
        said = str(error)
    assert len(said) < 10_000, "a message is for people"
    return not said


def test_what_is_fuzzed_is_whole(run):
    assert used(run)
    assert Run.load(run).subsets() is not None


@pytest.mark.parametrize(("name", "count"), [(MODEL, 160), ("subsets.json", 30), ("metrics.jsonl", 25)])
def test_any_value_in_any_place(run, name, count):
    text = (run / name).read_text()
    values = json.loads(text.splitlines()[0]) if name.endswith("jsonl") else json.loads(text)
    everything = [(path, nasty) for path in places(values) for nasty in NASTY]
    refused = 0
    for path, nasty in random.Random(name).sample(everything, min(count, len(everything))):
        (run / name).write_text(replaced(values, path, nasty))
        try:
            refused += not used(run)
        except Exception as error:
            pytest.fail(f"{name} with {nasty[:40]} at {path}: {type(error).__name__}: {str(error)[:300]}")
    assert refused > count // 3 or name == "metrics.jsonl"


@pytest.mark.parametrize(
    ("path", "nasty"),
    [
        (("format",), "1e400"),
        (("format",), '"2"'),
        (("format",), "null"),
        (("config", "cnn", "dim"), "10000000"),
        (("config", "cnn", "size"), "[1000000, 1000000]"),
        (("config", "seed"), "1e400"),
        (("vocabulary", "genres"), '["Calm", "calm"]'),
        (("vocabulary", "genres"), json.dumps([f"g{n}" for n in range(1_000_000)])),
        (("sizes", "num_features"), "1000000000"),
        (("sizes", "gram_size"), "-4"),
        (("sizes", "class_names"), json.dumps([str(n) for n in range(1_000_000)])),
        (("thresholds",), "[0.5]"),
        (("thresholds",), '["0.5", 0.5]'),
        (("thresholds",), "[NaN, 0.5]"),
        (("thresholds",), "0.5"),
        (("facts", "other_weights_allowed"), "3"),
        (("fingerprints",), "[1]"),
        (("fingerprints", "tower"), "7"),
        ((), DEEP),
        ((), ""),
    ],
)
def test_refused_in_words(run, path, nasty):
    values = json.loads((run / MODEL).read_text())
    (run / MODEL).write_text(replaced(values, path, nasty))
    with pytest.raises(UserError, match=r"model\.json|best\.safetensors|small") as caught:
        Run.load(run).load_model()
    assert len(str(caught.value)) < 2000


def test_a_huge_file_is_not_read(run):
    with (run / MODEL).open("wb") as stream:
        stream.truncate(3_000_000_000)  # a hole: it takes no disk
    with pytest.raises(UserError, match=r"model\.json is too large"):
        Run.load(run)


@pytest.mark.parametrize(
    "command",
    [
        "predict {poster} -m {run}",
        "explain {poster} -m {run} -o {out}",
        "evaluate {run}",
        "calibrate {run}",
        "export {run} --to torchscript -o {out}.pt",
        "serve --model {run} --port 0",
    ],
)
def test_every_command_ends_in_words(run, tmp_path, capsys, monkeypatch, command, make_drawn):
    make_drawn(1).save(tmp_path / "poster.png")
    named = {"poster": tmp_path / "poster.png", "run": run, "out": tmp_path / "out"}
    values = json.loads((run / MODEL).read_text())
    monkeypatch.setattr("sys.argv", ["mmposter", *(part.format(**named) for part in command.split())])
    for text in (replaced(values, ("format",), "1e400"), replaced(values, ("config",), DEEP)):
        (run / MODEL).write_text(text)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "model.json is damaged" in said
        assert "Traceback" not in said


# --- weights ---


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 66) + b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}   ' + b"\0" * 4,
    ],
)
def test_weights_whose_header_lies(run, content):
    (run / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=r"best\.safetensors"):
        Run.load(run).load_model()


def test_weights_of_another_model_or_none(run):
    state = load_file(run / WEIGHTS)
    key = next(key for key, value in state.items() if value.ndim == 2)
    for other in (
        {**state, key: torch.zeros(3, 3)},
        {**state, "more": torch.zeros(1)},
        {name: value for name, value in state.items() if name != key},
    ):
        save_file(other, run / WEIGHTS)
        with pytest.raises(UserError, match="does not hold this model's weights: 1 "):
            Run.load(run).load_model()
    save_file({**state, key: torch.full_like(state[key], float("nan"))}, run / WEIGHTS)
    with pytest.raises(UserError, match="weights that are no numbers"):
        Run.load(run).load_model()


def test_a_model_larger_than_its_weights_is_never_made(run, monkeypatch):
    """The refusal comes from the header: nothing of that size is allocated before."""
    values = json.loads((run / MODEL).read_text())
    values["config"]["fusion"]["hidden"] = 65_536
    values["config"]["cnn"]["dim"] = 65_536
    (run / MODEL).write_text(json.dumps(values))
    made = []
    empty = torch.empty

    def watched(*size: Any, **options: Any) -> torch.Tensor:
        found = empty(*size, **options)
        made.append(0 if found.is_meta else found.numel())
        return found

    monkeypatch.setattr(torch, "empty", watched)
    with pytest.raises(UserError, match=r"parameters beside the image network|does not hold this model's weights"):
        Run.load(run).load_model()
    assert max(made, default=0) < 1_000_000


# --- checkpoints of a training ---


@pytest.mark.parametrize(
    "progress", ["[]", "{", "null", '{"epoch": 1e400}', '{"other": 1}', '{"epoch": "1"}', '{"history": [1]}', DEEP]
)
def test_a_checkpoint_of_a_training(tmp_path, progress):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path / "last.safetensors", model, optimizer, vars(TrainingProgress()))
    assert load_checkpoint(tmp_path / "last.safetensors", model, optimizer, TrainingProgress) == TrainingProgress()
    tensors = load_file(tmp_path / "last.safetensors")
    save_file(tensors, tmp_path / "last.safetensors", metadata={"progress": progress})
    with pytest.raises(UserError, match=r"last\.safetensors .*start again with --overwrite"):
        load_checkpoint(tmp_path / "last.safetensors", model, optimizer, TrainingProgress)


def test_a_checkpoint_without_its_parts(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, model, optimizer, vars(TrainingProgress()))
    tensors = load_file(path)
    metadata = {"progress": json.dumps(vars(TrainingProgress()))}
    for broken in (
        {key: value for key, value in tensors.items() if key != "rng.cpu"},
        {**tensors, "rng.cpu": torch.zeros(3)},
        {**tensors, "optimizer.x.step": torch.zeros(1)},
        {**tensors, "model.weight": torch.zeros(5, 5)},
    ):
        save_file(broken, path, metadata=metadata)
        with pytest.raises(UserError, match=r"last\.safetensors"):
            load_checkpoint(path, model, optimizer, TrainingProgress)
