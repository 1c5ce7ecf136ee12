"""The pages of the Python API name all that is public, and nothing else."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"mmposter": "api", "fusion": "api-fusion", "detectors": "api-detectors"}


@pytest.mark.parametrize("package", PAGES)
def test_every_public_name_stands_on_its_page_once(package: str) -> None:
    text = (ROOT / "docs" / f"{PAGES[package]}.md").read_text(encoding="utf-8")
    named = re.findall(rf"^::: {package}\.(\w+)$", text, re.M)
    assert sorted(named) == sorted(importlib.import_module(package).__all__)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")}
    assert 'id="mmposter.PosterClassifier.load"' in pages["api.html"]
    assert 'href="commands/index.html"' in pages["index.html"]
    assert 'src="explanation.png"' in pages["readme.html"]
    # Links may lead out, but nothing that a browser loads by itself may come from elsewhere.
    loaded = r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*"
    assert {name: found for name, page in pages.items() if (found := re.findall(loaded, page))} == {}
    styles = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)
