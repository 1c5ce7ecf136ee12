"""What earlier runs learnt of the links: one JSON object a line, only ever added to."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mmposter.errors import UserError
from mmposter.files.disk import naming
from mmposter.files.strict_json import mapping, parse_json, text

LEDGER = "downloads.jsonl"


class Ledger:
    """The file `downloads.jsonl` beside the posters.

    A process that is killed while it writes leaves half a line at worst; that line is skipped, as is
    every line that is damaged, and the next one begins on a line of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._lock = threading.Lock()
        self.dead: dict[str, tuple[str, str]] = {}  # address -> reason and message, by its last line
        self.later: set[str] = set()  # addresses that did not come, and may
        lines = self._path.read_bytes() if self._path.is_file() else b""
        self._whole = not lines or lines.endswith(b"\n")
        for line in lines.split(b"\n"):
            self._learn(line)

    def record(self, address: str, status: str, *, reason: str, message: str, files: Sequence[str]) -> None:
        """Add a line: `status` is ``saved``, ``dead`` or ``later`` (worth another attempt in another run)."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"when": when, "url": address, "status": status, "reason": reason, "message": message, "files": files}
        line = json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            # Unbuffered, so that a line goes to the system in one piece and survives the process.
            with naming(self._path), self._path.open("ab", buffering=0) as file:
                file.write(line if self._whole else b"\n" + line)
            self._whole = True

    def _learn(self, line: bytes) -> None:
        try:
            entry = mapping(parse_json(line, self._path), "a line")
            address, status = text(entry["url"], "url"), entry["status"]
            known = text(entry["reason"], "reason"), text(entry["message"], "message")
        except (UserError, ValueError, KeyError):
            return
        self.dead.pop(address, None)
        self.later.discard(address)
        if status == "dead":
            self.dead[address] = known
        elif status == "later":
            self.later.add(address)
