"""The tutorial, typed as it is written, in a fresh folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
NOT_COPIED = (".git", ".venv", "runs", "site", "quickstart", "tutorial", "*.egg-info", "__pycache__", ".*_cache")
COMMANDS = ["doctor", "prepare", "train", "evaluate", "predict", "compare", "ablate", "explain"]
_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"`(tutorial/[\w./-]+)`")


def script(*, install: bool) -> str:
    """The page's commands in their order, its Python too; each must succeed."""
    lines = ["set -e"]
    for language, code in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            lines.append(f"python - <<'END_OF_PYTHON'\n{code}END_OF_PYTHON\n")
        elif install or "pip install" not in code:
            lines.append(code)
    return "\n".join(lines)


def type_it(folder: Path, text: str, *first_on_path: Path) -> str:
    """Run a script in `folder`; what it printed, which also stands in `folder`/printed.txt."""
    path = os.pathsep.join([*map(str, first_on_path), os.environ["PATH"]])
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"PATH": path}
    with (folder / "printed.txt").open("w", encoding="utf-8") as out:
        done = subprocess.run(
            ["bash", "-x", "-c", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            check=False,
        )
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    assert done.returncode == 0, printed[-4000:]
    return printed


def missing_files(folder: Path) -> list[str]:
    """Files that the text names and the commands did not leave."""
    return [name for name in _FILE.findall(PAGE.read_text(encoding="utf-8")) if not (folder / name).exists()]


def test_the_tutorial_has_commands_and_names_files() -> None:
    commands = re.findall(r"^mmposter (\w+)", script(install=False), re.M)
    assert list(dict.fromkeys(commands)) == COMMANDS
    assert "pip install" in script(install=True)
    assert "pip install" not in script(install=False)
    assert len(missing_files(Path("nowhere"))) > 5


@pytest.mark.slow
def test_every_command_works_in_this_environment(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    printed = type_it(tmp_path, script(install=False), Path(sys.executable).parent)
    assert missing_files(tmp_path) == []
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.network
def test_every_command_works_in_an_environment_made_by_the_tutorial(tmp_path: Path) -> None:
    """Asks the package index for all libraries: gigabytes, some minutes."""
    checkout = tmp_path / "mmposter"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*NOT_COPIED))
    printed = type_it(checkout, script(install=True), Path(sys.base_prefix) / "bin")
    assert (checkout / ".venv" / "bin" / "mmposter").is_file()
    assert missing_files(checkout) == []
    assert "Traceback" not in printed
