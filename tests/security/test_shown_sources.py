"""No text reaches the terminal beside the one console and the answers of a command."""

from __future__ import annotations

import ast
from pathlib import Path

import mmposter

ROOT = Path(mmposter.__file__).parent
# The console itself, the answers, the last line of the process, and two examples for other programs.
ALLOWED = {
    "progress.py",
    "cli/answers.py",
    "cli/stop.py",
    "cli/__init__.py",
    "__main__.py",  # where nothing of ours can be loaded
    "export/example.py",
}


def test_only_the_console_and_the_answers_print() -> None:
    found = []
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name in ALLOWED:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "typer.echo",
                "click.echo",
                "Console",
            ):
                found.append(f"{name}:{node.lineno} {ast.unparse(node)[:60]}")
    assert found == []
