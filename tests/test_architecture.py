"""The rules of the house that no type checker sees: who may import whom, what loads when, how large files get."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("detectors", "fusion", "mmposter")
MAX_LINES = 500
HEAVY = ("torch", "torchvision", "transformers", "ultralytics", "easyocr", "sklearn", "matplotlib", "pandas", "cv2")
# Where git is not there to say it: folders that hold no source of ours, and the hidden names that do.
NOT_OURS = {"build", "dist", "quickstart", "runs", "__pycache__"}
HIDDEN_OURS = {".ci", ".gitignore"}


def project_files() -> list[Path]:
    """The files that belong to the project: git's list where this is a checkout, else all but the usual debris."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        try:
            listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\0")
            return sorted(path for name in listed if name and (path := ROOT / name).is_file())
        except (OSError, subprocess.CalledProcessError):  # no git here, or it distrusts the folder's owner
            pass
    files = (path for path in ROOT.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(_is_debris(name) for name in path.relative_to(ROOT).parts))


def _is_debris(name: str) -> bool:
    return name in NOT_OURS or name.endswith(".egg-info") or (name.startswith(".") and name not in HIDDEN_OURS)


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, inside functions and for type checkers too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides which package it reaches into"
            names.add((node.module or "").partition(".")[0])
    return names


def importers(library: str) -> set[str]:
    """Files of the three packages that import `library`, relative to the root."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in files if library in imported(path)}


def fresh(code: str) -> str:
    """Standard output of `code` in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("package", "forbidden"), [("detectors", {"fusion", "mmposter"}), ("fusion", {"detectors", "mmposter"})]
)
def test_arrows_run_one_way(package: str, forbidden: set[str]) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(ROOT)): found for path in files if (found := imported(path) & forbidden)}
    assert not wrong


def test_the_application_puts_the_other_two_together() -> None:
    used = {name for path in (ROOT / "mmposter").rglob("*.py") for name in imported(path)}
    assert {"detectors", "fusion"} <= used


def test_ultralytics_is_imported_in_one_file() -> None:
    """Also the licence's border: see "Licences" in the README."""
    assert importers("ultralytics") == {"detectors/yolo.py"}


def test_easyocr_is_imported_by_the_reader_alone() -> None:
    assert importers("easyocr") == {
        f"detectors/{name}.py" for name in ("easyocr_models", "line_detection", "line_recognition")
    }


@pytest.mark.parametrize("module", ["mmposter", "mmposter.cli", "mmposter.config", "detectors"])
def test_importing_loads_no_heavy_library(module: str) -> None:
    loaded = json.loads(fresh(f"import {module}, json, sys; print(json.dumps(list(sys.modules)))"))
    assert module in loaded
    assert not set(HEAVY) & set(loaded)


HELP = """
import json, sys, time
sys.argv = ["mmposter", *{arguments!r}]
from mmposter.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps([time.process_time(), list(sys.modules)]))
"""


LIBRARIES = "import json, sys, time, typer, pydantic, rich, yaml; print(json.dumps([time.process_time(), 0]))"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_is_quick_and_loads_no_heavy_library(arguments: list[str]) -> None:
    # CPU time of the process, not wall time, and the best of three: other work on the machine must not fail this.
    # Against the libraries that a command line cannot do without: a slow machine must not, either.
    least = min(json.loads(fresh(LIBRARIES))[0] for _ in range(3))
    seconds = []
    for _ in range(3):
        text, _, report = fresh(HELP.format(arguments=arguments)).rstrip().rpartition("\n")
        spent, loaded = json.loads(report)
        assert "Usage" in text
        assert not set(HEAVY) & set(loaded)
        seconds.append(spent)
    assert min(seconds) < 5 * least


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """All whole strings of a file's code, with their lines; examples in docstrings are none."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_a_branch_is_named_in_its_declaration_alone() -> None:
    """Whatever else asks for a branch by name would not know one from outside."""
    declared = [ROOT / "mmposter" / "branches", ROOT / "fusion" / "branches"]
    found = []
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        name = path.relative_to(ROOT).as_posix()
        if any(folder in path.parents for folder in declared):
            continue
        found += [f"{name}:{line}: {text}" for line, text in strings(path) if text in ("cnn", "style", "yolo", "ocr")]
    assert not found


def test_files_stay_small() -> None:
    files = [path for path in project_files() if path.suffix == ".py"]
    assert len(files) > 50
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert not {name: count for name, count in lines.items() if count >= MAX_LINES}


def test_no_file_names_a_folder_of_one_machine() -> None:
    # Behind a word character it is part of an address or of a relative path, which is no machine's own.
    machine = re.compile(r"(?<![\w.}])/(?:home|Users|root|work|mnt|scratch)/[\w.]|[A-Z]:\\{1,2}Users\\")
    here = {str(place) + "/" for place in (ROOT, Path.home()) if len(place.parts) > 2}
    files = project_files()
    assert ROOT / "setup.cfg" in files
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if machine.search(line) or any(place in line for place in here):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found
