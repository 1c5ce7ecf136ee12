"""Time a command, and the most memory that it and all its processes hold at a time.

    python benchmarks/measure.py mmposter ablate DATA --config lite --out ablation

Memory that processes share is counted once (the sum of their proportional set sizes, looked at every two seconds: to
look costs them time); Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Run the command that follows on the command line."""
    if len(sys.argv) < 2:
        raise SystemExit(f"usage: {sys.argv[0]} COMMAND [ARGUMENT ...]")
    seconds, peak, out = run_measured(sys.argv[1:])
    print(out, end="")
    print(f"{seconds:.1f} s, peak {peak:.2f} GB", file=sys.stderr)


class CommandError(SystemExit):
    """The command and what it said; where nobody minds, the benchmark ends with it."""


class DeadlineError(Exception):
    """The command took longer than it may, and was ended with all its processes."""


def run_measured(command: Sequence[str], limit: float | None = None) -> tuple[float, float, str]:
    """Seconds, the most memory that the program and its children held at a time (GB), and what it printed.

    Args:
        command: the program and its arguments.
        limit: seconds that it may take; None: any time.

    Raises:
        CommandError: its exit code was not 0.
        DeadlineError: it took longer than `limit`.
    """
    begun = time.perf_counter()
    # Its own session: everything of the program can be found.
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    peak = [0.0]
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(program.pid, peak, ended.wait), daemon=True)
    watcher.start()
    try:
        out, err = program.communicate(timeout=limit)
    except BaseException as error:  # a deadline, or Ctrl-C: in its own session it would go on
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise DeadlineError(f"{' '.join(command)}\nended after {limit:.0f} s") from None
        raise
    finally:
        wall = time.perf_counter() - begun
        ended.set()
        watcher.join()
    if program.returncode:
        raise CommandError(f"{' '.join(command)}\n{out}{err}")
    return wall, peak[0], out


def _watch(session: int, peak: list[float], wait: Callable[[float], bool]) -> None:
    while not wait(2.0):
        peak[0] = max(
            peak[0],
            sum(_share(int(name)) for name in os.listdir("/proc") if name.isdigit() and _session(int(name)) == session),
        )


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _share(pid: int) -> float:
    """A process's memory in GB, what it shares with others divided among them (PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 2**20


if __name__ == "__main__":
    main()
