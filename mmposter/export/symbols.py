"""Operators of our models that torch's ONNX exporter does not know, and quiet around it.

torch has two exporters. The newer one needs a further package (onnxscript) and was not tried; the older one, used here,
traces the model. torch calls it legacy: where it goes one day, this file goes too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

OPSET = 17


@contextmanager
def own_symbols() -> Iterator[None]:
    """Teach the exporter our operators for the length of a block."""
    from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

    for name, symbol in _SYMBOLS.items():
        register_custom_op_symbolic(name, symbol, OPSET)
    try:
        yield
    finally:
        for name in _SYMBOLS:
            unregister_custom_op_symbolic(name, OPSET)


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Trace without gradients, in plain operators, and without what torch says to developers.

    That tracing is deprecated, and that it takes shapes for constants, which `mmposter.export.check` would find out.
    The older exporter also prints the whole graph when it fails, from C++ and to standard output.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    set_log = getattr(torch._C, "_jit_set_onnx_log_enabled", None)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", message=r"You are using the legacy TorchScript-based ONNX export")
        warnings.filterwarnings("ignore", message=r"Exporting aten::index operator")  # ours are never negative
        warnings.filterwarnings("ignore", message=r"Constant folding")  # of what it could have made shorter
        torch.backends.mha.set_fastpath_enabled(False)  # one operator for a layer, which no graph can hold
        # The exporter turns it on, whatever its `verbose`.
        torch._C._jit_set_onnx_log_enabled = _leave_off  # type: ignore[assignment]
        try:
            yield
        finally:
            torch._C._jit_set_onnx_log_enabled = set_log  # type: ignore[assignment]
            torch.backends.mha.set_fastpath_enabled(fast)


def _leave_off(*_: Any) -> None:
    pass


def _vecdot(g: Any, x: Any, y: Any, dim: Any) -> Any:
    axes = g.op("Constant", value_t=torch.tensor([_constant(dim)]))
    return g.op("ReduceSum", g.op("Mul", x, y), axes, keepdims_i=0)


def _triu_indices(g: Any, rows: Any, columns: Any, offset: Any, *_: Any) -> Any:
    indices = torch.triu_indices(_constant(rows), _constant(columns), _constant(offset))
    return g.op("Constant", value_t=indices)


def _adaptive_avg_pool2d(g: Any, x: Any, size: Any) -> Any:
    """Also to sizes that divide nothing (VGG's own classifier averages 10 x 7 places to 7 x 7)."""
    from torch.onnx import symbolic_helper

    wanted = symbolic_helper._maybe_get_const(size, "is")
    if list(wanted) == [1, 1]:
        return g.op("GlobalAveragePool", x)
    height, width = symbolic_helper._get_tensor_sizes(x)[2:]
    rows, columns = _bins(height, wanted[0]), _bins(width, wanted[1])
    narrow = g.op("MatMul", x, g.op("Constant", value_t=columns.T.contiguous()))
    return g.op("MatMul", g.op("Constant", value_t=rows), narrow)


def _bins(length: int, size: int) -> torch.Tensor:
    """size x length: which places torch averages for each one that is left, as weights that sum to 1."""
    places, wanted = torch.arange(length), torch.arange(size)[:, None]
    start, end = wanted * length // size, -((wanted + 1) * length // -size)
    inside = ((places >= start) & (places < end)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def _constant(value: Any) -> int:
    from torch.onnx import symbolic_helper

    return int(symbolic_helper._maybe_get_const(value, "i"))


_SYMBOLS: dict[str, Callable[..., Any]] = {
    "aten::adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "aten::linalg_vecdot": _vecdot,
    "aten::triu_indices": _triu_indices,
}
