"""Which device, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmposter.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator


def resolve_device(name: str) -> str:
    """``auto`` to the best device there is; any other name is checked.

    Raises:
        UserError: for an unknown name, or a device that this machine lacks.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    if name not in there:
        raise UserError(f"--device must be auto, cpu, cuda or mps; got {name!r}")
    if not there[name]:
        usable = ", ".join(device for device, usable in there.items() if usable)
        raise UserError(f"--device {name}: torch sees no such device here; usable: {usable}, or auto")
    return name


def make_accelerator(device: str, precision: str, *, convolutions: bool = False) -> Accelerator:
    """accelerate on a resolved device; ``auto`` precision is bf16 or fp16 on a GPU that has it, else fp32.

    Args:
        convolutions: whether it trains an image network, which takes half the time in bf16 on a CPU with instructions
            for it, too.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision == "auto":
        precision = "fp32"
        if device == "cuda":
            precision = "bf16" if has_bf16(device) else "fp16"
        elif device == "cpu" and convolutions and has_bf16(device):
            precision = "bf16"
    # accelerate holds one precision a process, and refuses another; a grid may well compare two.
    AcceleratorState._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)


def has_bf16(device: str) -> bool:
    """Whether products of bf16 are instructions of a resolved device; where they are emulated, they are slow."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # Names of torch's own, which it may change.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device == "cpu" and any(ask is not None and ask() for ask in asked)
