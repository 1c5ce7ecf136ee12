"""docs/commands: a page a command, whose first half is the command's own help."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.main import get_command

from mmposter.cli import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("command_pages", ROOT / "scripts" / "command_pages.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_page_that_says_what_its_help_says(command_pages: ModuleType) -> None:
    stale = [
        page.name for page, text in command_pages.pages().items() if not page.is_file() or page.read_text() != text
    ]
    assert stale == [], "python scripts/command_pages.py writes them anew"


def test_there_are_no_pages_of_commands_that_are_gone(command_pages: ModuleType) -> None:
    found = {page.stem for page in command_pages.PAGES.glob("*.md")} - {"index"}
    assert found == set(get_command(app).commands)


def test_what_people_wrote_below_the_help_stays(command_pages: ModuleType, tmp_path: Path) -> None:
    command = get_command(app).commands["config"]
    page = tmp_path / "config.md"
    page.write_text(command_pages.page_text(command, page))
    assert "| `-c`, `--config` `NAME\\|FILE` |" in page.read_text()
    page.write_text(page.read_text().replace("Print the complete", "Old words") + "\n## Mine\n")
    text = command_pages.page_text(command, page)
    assert "Print the complete configuration" in text
    assert text.endswith("\n\n## Mine\n")


def test_the_index_names_every_command() -> None:
    index = (ROOT / "docs" / "commands" / "index.md").read_text(encoding="utf-8")
    assert [name for name in get_command(app).commands if f"({name}.md)" not in index] == []


def test_the_site_has_every_page() -> None:
    """`make docs` says so, too, but takes libraries that tests do without."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert isinstance(settings["validation"]["nav"], dict)

    def pages(entries: list[dict[str, Any]]) -> Iterator[str]:
        for value in (value for entry in entries for value in entry.values()):
            yield from pages(value) if isinstance(value, list) else [value]

    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(pages(settings["nav"])) == sorted({*written, "readme.md", "model.md"})
