"""The recipes that travel with the package, and those in files of people: plain values, not checked yet."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from mmposter.errors import UserError
from mmposter.files.paths import file_here
from mmposter.files.strict_yaml import parse_yaml, read_yaml
from mmposter.suggest import did_you_mean

# In configs/, and no recipes: genre lists, names of genres, and the facts about published systems (mmposter.published).
_NO_RECIPES = ("vocabularies", "genre_names.yaml", "__pycache__", "system.yaml")


def recipe_names() -> list[str]:
    """The recipes that travel with the package, such as ``default`` or ``ablations/losses``."""
    return sorted(_walk(resources.files("mmposter.configs"), ""))


def _walk(folder: Traversable, prefix: str) -> list[str]:
    names: list[str] = []
    for item in folder.iterdir():
        if item.name in _NO_RECIPES:
            continue
        if item.is_dir():
            names += _walk(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".yaml"):
            names.append(prefix + item.name.removesuffix(".yaml"))
    return names


def recipe(source: str | Path) -> dict[Any, Any]:
    """The plain values of a recipe, by its name or from a YAML file.

    Raises:
        UserError: there is no such recipe or file, or it is no mapping.
    """
    found = parse_yaml(_text(source))
    if not isinstance(found, dict | None):
        raise UserError(
            f"the configuration {source} must be a mapping, such as `seed: 1` or `cnn:` with `dim: 256` in it"
        )
    return found or {}


def _text(source: str | Path) -> str:
    if str(source) in recipe_names():
        return resources.files("mmposter.configs").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
    if file_here(source) is None:
        short = [name for name in recipe_names() if not name.startswith("published/")]
        meant = did_you_mean(str(source), recipe_names())
        raise UserError(
            f"--config takes a YAML file or a recipe ({', '.join(short)}, or published/NAME with a name that "
            f"`mmposter reproduce --list` shows); there is no {str(source)!r}{meant}"
        )
    return read_yaml(source)
