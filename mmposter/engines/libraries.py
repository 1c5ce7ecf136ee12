"""The libraries below us: quiet, off the network where asked, and with a known number of threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec

from mmposter.errors import UserError
from mmposter.shell import command_line


def require_packages(packages: Sequence[str], user: str, extra: str) -> None:
    """Refuse to go on where packages of an extra are missing.

    Raises:
        UserError: naming them, who needs them, and what to type.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{user} needs {' and '.join(missing)}; type: {command_line('pip', 'install', f'mmposter[{extra}]')}"
        )


def installed_version(package: str) -> str | None:
    """The version of a package; None where it is not installed, or only its source lies on the path."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def prepare_libraries() -> None:
    """Before any library loads: no chatter that says nothing to a user of ours, and no threads that spin."""
    import logging
    import os
    import warnings

    # Threads that wait should sleep: where other work runs, OpenMP's spinning makes reading several times slower.
    # For a thousand turns, tens of microseconds, they do spin: an LSTM's small steps would wait for their waking.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # oneDNN keeps what it has compiled for 1024 shapes of input. Lines of text have that many, and a reading process
    # would grow by half a gigabyte in 600 posters.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_TQDM", "1")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    # Its files are fetched by us; by itself it would ask name servers for a network as soon as it is imported.
    os.environ.setdefault("YOLO_OFFLINE", "true")
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)


def go_offline(offline: bool) -> None:
    """Tell the libraries below us to stay off the network, before any of them is imported."""
    import os

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TRANSFORMERS_OFFLINE"] = "1"
        os.environ["YOLO_OFFLINE"] = "true"


def limit_threads(threads: int) -> None:
    """Give every library that computes `threads` in this process; two processes with two each on two cores crawl."""
    import os

    os.environ["OMP_NUM_THREADS"] = str(threads)
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def release_memory() -> None:
    """Give freed memory back to the system: glibc would keep half a gigabyte of a worker's, in pieces it cannot use.

    So would Arrow, of a long table that was read.
    """
    import sys

    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
