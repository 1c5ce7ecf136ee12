"""A server of its own for the benchmark: its log, what it keeps on disk, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

END_S = 60.0


class Started:
    """A process of `mmposter serve`.

    Args:
        process: of it.
        folder: in which it may keep temporary files.
        log: what it writes.
        url: on which it listens.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, log: Path, url: str) -> None:
        self._process, self._folder, self._log = process, folder, log
        self.url = url

    def after(self, uploaded: Sequence[str]) -> list[str]:
        """What is wrong with its files, its end and its log.

        Args:
            uploaded: posters that the page has accepted.
        """
        wrong = []
        if self._process.poll() is not None:
            return [f"the server has ended with exit code {self._process.returncode}", *self._tail()]
        there = {path.name for path in self._folder.glob("mmposter-serve-*/posters/*")}
        size = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        print(f"on disk: {len(there)} of {len(uploaded)} accepted uploads and {size / 1e6:.1f} MB in all")
        if not there <= set(uploaded):
            wrong.append(f"{len(there - set(uploaded))} files on disk are no accepted uploads")
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(END_S)
        # torch makes an empty folder for its compiler, whatever a program does.
        there_still = [path for path in self._folder.rglob("*") if path.is_file() or path.name.startswith("mmposter")]
        left = [str(path.relative_to(self._folder)) for path in there_still]
        text = self._log.read_text(encoding="utf-8", errors="replace")
        print(f"SIGTERM: exit code {code}, {len(left)} files and folders of ours left on disk; tracebacks in the log: "
              f"{text.count('Traceback')}")  # fmt: skip
        if code != 0:
            wrong.append(f"exit code {code} after SIGTERM")
        if left:
            wrong.append(f"left on disk: {', '.join(left[:5])}")
        if "Traceback" in text:
            wrong += ["the log has a traceback", *self._tail()]
        return wrong

    def _tail(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]


@contextmanager
def start_server(model: str, branches: str | None, *, offline: bool) -> Iterator[Started]:
    """Run `mmposter serve` on a free port.

    Args:
        model: to serve.
        branches: to look through; None: all.
        offline: whether it may not touch the network.

    Raises:
        SystemExit: it did not start.
    """
    command = [sys.executable, "-m", "mmposter", "serve", "--model", model, "--port", "0"]
    command += [] if branches is None else ["--branches", branches]
    command += ["--offline"] if offline else []
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place) / "tmp", Path(place) / "log"
        folder.mkdir()
        with log.open("wb") as file:
            process = subprocess.Popen(command, stderr=file, env={**os.environ, "TMPDIR": str(folder)})
        try:
            yield Started(process, folder, log, _address(process, log))
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    while True:
        text = log.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^(http://\S+)  \(REST", text, re.MULTILINE):
            return found[1]
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        raise SystemExit(f"the server did not start:\n{text}")
