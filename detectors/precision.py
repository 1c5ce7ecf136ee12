"""In which floating point format a frozen network runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]


def resolve_precision(precision: Precision, device: str) -> torch.dtype:
    """The format behind a name; ``auto`` is bf16 where `device` computes in it, else fp32.

    A CPU without such instructions would take several times as long for bf16 as for fp32.

    Raises:
        ValueError: for another name.
    """
    import torch

    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be auto, fp32 or bf16; got {precision!r}")
    if precision == "auto":
        return torch.bfloat16 if computes_in_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def computes_in_bf16(device: str) -> bool:
    """Whether `device` has bf16 instructions of its own."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "cpu":
        # Older torch does not know these questions: then fp32, which is never wrong.
        questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, question, bool)() for question in questions)
    return False
