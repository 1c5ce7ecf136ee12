"""docs/published.md: each row's file and key are there and hold the value; no printed number is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmposter.config import flat_config
from mmposter.published.systems import published_names, systems

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
_CODE = re.compile(r"`([^`]*)`")
_GONE = object()


def rows() -> list[tuple[str, ...]]:
    """The cells of the page's one table, below its header."""
    lines = (ROOT / "docs" / "published.md").read_text(encoding="utf-8").splitlines()
    table = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines if line.startswith("|")]
    assert table[0] == ("system", "stated", "where", "holds", "differs, and why")
    return table[2:]


def placed() -> Iterator[tuple[str, str, str]]:
    """File, key and value of every row that has them."""
    for _, _, where, holds, _ in rows():
        if where != "–":
            name, _, key = code(where).partition(": ")
            yield name, key, code(holds)


def code(cell: str) -> str:
    found = _CODE.fullmatch(cell)
    assert found is not None, cell
    return found[1]


@cache
def read(name: str) -> Any:
    path = CONFIGS / name if name.startswith("vocabularies/") else CONFIGS / "published" / name
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def at(values: Any, key: str) -> Any:
    """What stands at a dotted key; `_GONE` where there is none."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return _GONE
        values = values[part]
    return values


def holds(found: Any, value: str) -> bool:
    if isinstance(found, list) and found and all(isinstance(text, str) and " " in text for text in found):
        return any(value in text for text in found)
    if isinstance(found, str) and " " in found:
        return value in found
    return found is not _GONE and found == yaml.safe_load(value)


@pytest.mark.parametrize(("name", "key", "value"), list(placed()))
def test_the_recipe_holds_what_the_row_says(name, key, value):
    assert holds(at(read(name), key), value), f"{name}: {key} holds {at(read(name), key)!r}"


def test_a_row_without_a_place_says_why():
    assert [row for row in rows() if row[2] == "–" and not row[4]] == []
    assert all(len(row) == 5 and row[0] in {key.upper() for key in systems()} for row in rows())


def test_every_printed_number_and_every_fault_has_a_row():
    wanted = set()
    for folder in systems():
        said = read(f"{folder}/system.yaml")
        parts = {"constant": said.get("constant", {}), "variants": _faults(said)}
        for model, network in said["models"].items():
            for kind in ("published", "training"):
                parts[f"models.{model}.{kind}"] = network.get(kind, {})
            parts[f"models.{model}.variants"] = _faults(network)
        wanted |= {(f"{folder}/system.yaml", f"{key}.{name}") for key, part in parts.items() for name in part}
    assert len(wanted) == 38 + 6  # numbers, and faults: two of P1, three of P3, one of P7
    assert wanted <= {(name, key) for name, key, _ in placed()}


def _faults(said: dict[str, Any]) -> dict[str, Any]:
    """What the variant as_published changes, by key."""
    changed = said.get("variants", {}).get("as_published", {})
    return flat_config({"as_published": {key: value for key, value in changed.items() if key != "note"}})


def test_every_network_of_a_paper_has_a_row():
    named = {name.removesuffix(".yaml") for name, _, _ in placed()}
    assert set(published_names()) - named == {"p1/densenet169"}  # which is not in the paper, as the page says


def test_a_wrong_row_is_found():
    assert not holds(at(read("p1/system.yaml"), "crops.target"), "300")
    assert not holds(at(read("p1/system.yaml"), "crops.targets"), "null")
    assert not holds(at(read("p7/system.yaml"), "differs"), "words that stand nowhere")
    assert not holds(at(read("p4/cnn4.yaml"), "cnn.hidden"), "[64, 128]")
