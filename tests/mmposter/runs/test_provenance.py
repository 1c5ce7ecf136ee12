"""The commit of a source tree: only where the tree is that repository's own, and never without its changes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mmposter.runs.provenance import commit_of, package_version


def git(folder: Path, *arguments: str) -> str:
    names = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, **names}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    try:
        git(tmp_path, "init", "-q")
    except OSError:
        pytest.skip("git is not here")
    (tmp_path / "mmposter").mkdir()
    (tmp_path / "mmposter" / "__init__.py").write_text("")
    (tmp_path / "README.md").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout):
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")[:12]


def test_changed_and_new_source_is_said_other_files_are_not(checkout):
    clean = commit_of(checkout)
    (checkout / "README.md").write_text("changed")
    assert commit_of(checkout) == clean
    (checkout / "mmposter" / "new.py").write_text("x = 1")
    assert commit_of(checkout) == f"{clean}+changes"
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")[:12] != clean
    (checkout / "mmposter" / "__init__.py").write_text("y = 1")
    assert commit_of(checkout).endswith("+changes")


def test_a_copy_inside_another_repository_is_not_that_repository(checkout):
    copy = checkout / "venv" / "site-packages"
    (copy / "mmposter").mkdir(parents=True)
    (copy / "mmposter" / "__init__.py").write_text("")
    assert commit_of(copy) is None


def test_without_a_repository_there_is_no_commit(tmp_path, checkout, monkeypatch):
    outside = tmp_path / "outside"
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (outside / "mmposter").mkdir(parents=True)
    assert commit_of(outside) is None
    monkeypatch.setenv("PATH", str(outside))  # no git at all
    assert commit_of(checkout) is None


def test_git_dir_of_a_hook_does_not_lead_astray(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert commit_of(checkout) is not None


def test_the_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    assert package_version() == version("mmposter")
