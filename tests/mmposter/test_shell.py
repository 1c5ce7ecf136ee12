"""Commands that are printed can be typed: a name with a space, a quotation mark or a dollar sign stays one word."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import mmposter
from mmposter.cli import _COMMANDS
from mmposter.shell import command_line

ROOT = Path(mmposter.__file__).parents[1]
VALUE = "\0"
_BEGINS = rf"\bmmposter (?:{'|'.join(_COMMANDS.split())})\b|\bpip install\b|\bpython |\bcp -r\b"
# A command up to the end of its line, or to where a sentence goes on.
_TYPED = re.compile(rf"(?:{_BEGINS})(?:(?!; |\. |, |\()[^\n`<])*")


def unquoted(source: str) -> list[str]:
    """Commands in texts with values that no one has quoted."""
    found = []
    for node in ast.walk(ast.parse(source)) if re.search(r"mmposter\b|pip install|python |cp -r", source) else ():
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
            found += [command for command in _TYPED.findall(text) if VALUE in command]
    return found


@pytest.mark.parametrize("name", ["my run", "it's", 'a "b"', "$HOME", "a;b", "~x", "", "mmposter[lite]", "a\nb", "*"])
def test_any_word_comes_back_as_it_was(name: str):
    line = command_line("mmposter", "evaluate", Path("runs") / name if name else name, "DATA")
    assert shlex.split(line) == ["mmposter", "evaluate", f"runs/{name}" if name else "", "DATA"]


def test_plain_words_stay_plain():
    assert command_line("mmposter", "train", "DATA", "--set", "cnn.backbone=timm/resnet26d", "--out", "runs/x-1") == (
        "mmposter train DATA --set cnn.backbone=timm/resnet26d --out runs/x-1"
    )


@pytest.mark.parametrize("package", ["mmposter", "detectors", "fusion"])
def test_no_printed_command_holds_a_value_that_is_not_quoted(package: str):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert {path.name: found for path in files if (found := unquoted(path.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize("package", ["mmposter", "detectors", "fusion"])
def test_an_extra_is_quoted_where_it_is_printed(package: str):
    for path in (ROOT / package).rglob("*.py"):
        for found in re.findall(r"pip install[^\n]{0,3}mmposter\[", path.read_text(encoding="utf-8")):
            assert found.endswith("'mmposter["), (path, found)


def test_the_search_finds_what_it_is_for():
    assert unquoted('f"next: mmposter evaluate {run} DATA"') == [f"mmposter evaluate {VALUE} DATA"]
    assert unquoted('f"pip install {name}"')
    assert not unquoted("f\"next: {command_line('mmposter', 'evaluate', run)}\"")
    assert not unquoted('f"mmposter train DATA; {run} has none"')
