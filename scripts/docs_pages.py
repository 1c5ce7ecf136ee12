"""Hooks of mkdocs (see mkdocs.yml): README.md stands in the site as the page "Handbook".

Pages link to it as `../README.md`, and it links to them as `docs/...`, so that all links work on a code host too. What
else it links to in the checkout has no page, and stands there as plain text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

HANDBOOK = "handbook.md"
_LINK = re.compile(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    readme = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, HANDBOOK, content=_LINK.sub(_link_of_readme, readme)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return markdown if page.file.src_uri == HANDBOOK else markdown.replace("](../README.md", f"]({HANDBOOK}")


def _link_of_readme(link: re.Match[str]) -> str:
    text, target = link.groups()
    return f"[{text}]({target.removeprefix('docs/')})" if target.startswith("docs/") else text
