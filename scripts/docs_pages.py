"""Hooks of mkdocs (see mkdocs.yml): README.md and the card of the shipped model are pages of the site, too.

Pages link to them as `../README.md`, so that links work on a code host. README.md links to the project's home on the
web, because it is shown by package indexes, too; in the site these links lead to pages. What else it links to in the
checkout has no page, and stands there as plain text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

PAGES = {"README.md": "readme.md", "mmposter/shipped/posters/README.md": "model.md"}
"""Pages by the file of the checkout that they are made of."""

_HOME = re.compile(
    r"https://(?:github\.com/mmposter/mmposter/(?:blob|tree)|raw\.githubusercontent\.com/mmposter/mmposter)/main/"
)
_LINK = re.compile(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = page_of(Path(config.config_file_path).parent / source)
        files.append(File.generated(config, page, content=text))
    return files


def page_of(source: Path) -> str:
    """A file of the checkout as a page: its links lead to other pages, or are plain text."""
    return _LINK.sub(_link_of_checkout, _HOME.sub("", source.read_text(encoding="utf-8")))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if page.file.src_uri not in PAGES.values():
        for source, made in PAGES.items():
            markdown = markdown.replace(f"](../{source}", f"]({made}")
    return markdown


def _link_of_checkout(link: re.Match[str]) -> str:
    text, target = link.groups()
    if target.startswith("docs/"):
        return f"[{text}]({target.removeprefix('docs/')})"
    return f"[{text}]({PAGES[target]})" if target in PAGES else text
