"""Another package called `fusion` or `detectors` is told from ours, in plain words and before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmposter.siblings import NAMES, explained, foreign_packages, require_own


@pytest.fixture
def other(tmp_path) -> Path:
    """A folder with another package `fusion`."""
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "__init__.py").write_text('"""Nuclear fusion."""\nraise SystemExit("was run")\n')
    return tmp_path


def python(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=path, check=False
    )


def test_ours_are_ours():
    assert foreign_packages() == {}
    require_own()


def test_importing_says_which_file_stands_there_and_what_to_do(other):
    done = python("-c", "import mmposter", path=other)
    assert done.returncode == 1
    message = done.stderr.partition("ImportError: ")[2]
    assert f"fusion: {other / 'fusion' / '__init__.py'}" in message
    assert "pip uninstall fusion; pip install --force-reinstall --no-deps mmposter" in message
    assert "detectors:" not in message
    assert "was run" not in done.stdout + done.stderr


def test_the_program_says_it_without_a_traceback(other):
    done = python("-m", "mmposter", "doctor", path=other)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "error: mmposter needs its own packages, and Python finds others in their place:"
    assert lines[1] == f"  fusion: {other / 'fusion' / '__init__.py'}"
    assert lines[-1].startswith("mmposter ")
    assert sys.executable in lines[-1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["module", "folder"])
def test_a_file_or_a_folder_of_ones_own_is_found_too(name, kind, tmp_path, monkeypatch):
    place = tmp_path / f"{name}.py" if kind == "module" else tmp_path / name / "__init__.py"
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.packages_distributions", dict)  # to read all of this environment takes long
    assert foreign_packages() == {name: str(place)}
    with pytest.raises(ImportError, match=f"{name}.py, {name}/"):
        require_own()


def test_one_that_was_installed_over_ours_is_found(tmp_path, monkeypatch):
    """Then it lies where ours should: only what is in it tells."""
    place = tmp_path / "fusion" / "__init__.py"
    place.parent.mkdir()
    (tmp_path / "fusion" / "gram.py").write_text("")
    place.write_text("# Data fusion\n")
    monkeypatch.setattr(
        sys.modules["fusion"] if "fusion" in sys.modules else __import__("fusion"), "__file__", str(place)
    )
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"fusion": ["mmposter", "fusion"]})
    assert "fusion: " + str(place) + " (of the package fusion)" in explained(foreign_packages())


def test_one_that_is_missing_is_said(monkeypatch):
    monkeypatch.delitem(sys.modules, "detectors", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert foreign_packages()["detectors"] == "not installed"
