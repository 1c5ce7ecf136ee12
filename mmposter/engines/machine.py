"""What this machine has, as far as this process may use it."""

from __future__ import annotations

import os
from pathlib import Path

WORKER_MEMORY = 2 * 1024**3
"""Bytes that a worker with all four branches is counted with; most of it are the libraries and the models."""

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """CPU cores that this process may use: its affinity, and a container's share of them."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def memory() -> int:
    """Bytes of memory that this machine, or this container, has."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if (limit := _read(_CGROUP / "memory.max")).isdigit():
        limits.append(int(limit))
    return min(limits, default=4 * WORKER_MEMORY)


def gpus(device: str) -> int:
    """GPUs that a task on `device` may use; 0 for the CPU, 1 for the one of a Mac."""
    if device == "cuda":
        import torch

        return int(torch.cuda.device_count())
    return int(device == "mps")


def automatic_workers(device: str) -> int:
    """One worker a GPU; on the CPU one a core, as far as memory goes."""
    return max(1, gpus(device) or min(cores(), memory() // WORKER_MEMORY))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
