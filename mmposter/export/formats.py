"""How a graph becomes a file, and how that file is run again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmposter.export.example import ONNX_EXAMPLE, TORCHSCRIPT_EXAMPLE
from mmposter.export.graph import PosterGraph
from mmposter.export.resize import ExactResize, NativeResize
from mmposter.export.symbols import OPSET, own_symbols, quiet_tracing

Runner: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From a poster H x W x 3, uint8, RGB, to its G probabilities."""

Facts: TypeAlias = Mapping[str, Any]
"""What a file says beside its graph: plain values for JSON."""

FACTS_FILE = "mmposter.json"
"""TorchScript: the extra file that holds the facts."""

INPUT, OUTPUTS = "image", ("probabilities", "logits")


@dataclass(frozen=True)
class ExportFormat:
    """A kind of file."""

    name: str  # as the command line has it
    suffix: str  # of a file's name
    packages: tuple[str, ...]  # that writing and checking it needs beside torch
    resize: Callable[[tuple[int, int], str], nn.Module]  # of height and width, and the filter; the graph's first part
    write: Callable[[PosterGraph, Facts, Path], None]  # the graph and its facts into a file
    open: Callable[[Path], Runner]  # a file for use
    example: str  # text of a program that runs it, ``NAME`` in place of the file's name


def _write_onnx(graph: PosterGraph, facts: Facts, path: Path) -> None:
    import onnx

    written = io.BytesIO()
    with quiet_tracing(), own_symbols():
        torch.onnx.export(
            graph,
            (_some_picture(),),
            written,  # type: ignore[arg-type]  # it takes files too
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={INPUT: {1: "height", 2: "width"}},
        )
    model = onnx.load_from_string(written.getvalue())
    model.producer_name, model.producer_version = "mmposter", str(facts["mmposter"])
    onnx.helper.set_model_props(model, {key: _as_text(value) for key, value in facts.items()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _open_onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(poster: NDArray[np.uint8]) -> NDArray[np.float32]:
        probs: NDArray[np.float32] = session.run([OUTPUTS[0]], {INPUT: poster[None]})[0][0]
        return probs

    return run


def _write_torchscript(graph: PosterGraph, facts: Facts, path: Path) -> None:
    with quiet_tracing():
        traced = torch.jit.trace(graph, (_some_picture(),), check_trace=False)  # type: ignore[no-untyped-call]
        # Written by us: torch has its own errors, without a reason, where a disk is full.
        written = io.BytesIO()
        torch.jit.save(traced, written, _extra_files={FACTS_FILE: json.dumps(dict(facts), ensure_ascii=False)})
    path.write_bytes(written.getvalue())


def _open_torchscript(path: Path) -> Runner:
    with quiet_tracing():
        model = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(poster: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            probs: NDArray[np.float32] = model(torch.from_numpy(poster[None].copy()))[0][0].numpy()
        return probs

    return run


def _some_picture() -> torch.Tensor:
    """The picture that a graph is traced with: of no size that a network takes, so that no step is skipped."""
    return torch.randint(0, 256, (1, 61, 43, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_KINDS = (
    ExportFormat("onnx", ".onnx", ("onnx", "onnxruntime"), ExactResize, _write_onnx, _open_onnx, ONNX_EXAMPLE),
    ExportFormat("torchscript", ".pt", (), NativeResize, _write_torchscript, _open_torchscript, TORCHSCRIPT_EXAMPLE),
)
FORMATS = {kind.name: kind for kind in _KINDS}
"""The kinds of files by name."""
