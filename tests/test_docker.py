"""The Dockerfile copies what a build needs, its command can be typed, and nothing in it is root's."""

from __future__ import annotations

import configparser
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from typer.main import get_command

from mmposter.cli import app

ROOT = Path(__file__).resolve().parents[1]
STEPS = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


def step(word: str) -> list[str]:
    """What stands behind a word of the Dockerfile, line by line."""
    return re.findall(rf"^{word} (.+)$", STEPS, re.M)


def copied() -> list[str]:
    return [name for line in step("COPY") for name in line.split()[:-1] if not name.startswith("--")]


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    for name in copied():
        assert (ROOT / name).exists(), name
        assert any(fnmatchcase(name, pattern) for pattern in let_in), name


def test_the_copies_are_all_that_the_wheel_is_made_of() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    places = {name.partition(".")[0] for name in parser["options"]["packages"].split()} | {"configs"}
    named = {parser["metadata"]["long_description"].removeprefix("file:").strip(), parser["metadata"]["license_files"]}
    assert places | named | {"setup.cfg", "pyproject.toml"} <= set(copied())


def test_the_command_can_be_typed() -> None:
    assert json.loads(step("ENTRYPOINT")[-1]) == ["mmposter"]
    name, *arguments = json.loads(step("CMD")[-1])
    command = get_command(app).commands[name]
    context = command.make_context(name, list(arguments), resilient_parsing=True)
    assert context.params["host"] == "0.0.0.0"
    assert f"{context.params['port']}" == step("EXPOSE")[0]
    assert context.params["offline"]


def test_it_does_not_run_as_root_and_says_whether_it_is_well() -> None:
    assert step("USER") == ["mmposter"]
    assert STEPS.index("\nUSER") < STEPS.index("\nCMD")
    assert f":{step('EXPOSE')[0]}/health" in step("HEALTHCHECK")[0]


@pytest.mark.parametrize("extra", ["serve", "offline"])
def test_the_extras_that_it_installs_exist(extra: str) -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    assert extra in parser["options.extras_require"]
    assert re.search(rf"\[[\w,]*{extra}[\w,]*\]", STEPS)
