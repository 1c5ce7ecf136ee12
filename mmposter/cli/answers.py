"""What a command prints on standard output: its result, for a person, a script or the next command in a pipe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

from mmposter.shell import called
from mmposter.visible import visible, visible_json

NO_RESULT = 1
"""Exit code of a command that could use no poster."""


def answer_path(path: Path) -> None:
    """Print the path of what was made: the file's very name where a script reads it, a readable one on a terminal."""
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None or sys.stdout.isatty():
        answer_line(visible(called(path)))
        return
    sys.stdout.flush()
    raw.write(os.fsencode(called(path)) + os.linesep.encode())
    raw.flush()


def answer_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value as JSON; None as `indent`: on one line."""
    answer_line(visible_json(json.dumps(value, indent=indent, ensure_ascii=False)))


def answer_line(text: str) -> None:
    """Print a line, and do not keep it back: who reads along sees each as it comes."""
    print(text, flush=True)


def require_result(found: bool) -> None:
    """End with exit code 1 where a command ran to its end and has nothing to show for it: no poster could be used."""
    if not found:
        raise typer.Exit(NO_RESULT)
