"""The house: rooms stand on floors, nothing imports from a higher one, no modules import one another in a circle.

A room is a folder of mmposter, or a module beside the folders. Imports inside functions and for type checkers count.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    ("errors", "suggest", "visible", "siblings", "shell", "verbosity", "pace"),
    ("progress", "objects"),
    ("files", "images", "document", "engines"),
    ("branches", "hub", "mirrors"),
    ("outputs", "config", "shipped"),
    ("data", "pretrained", "evaluation"),
    ("features",),
    ("runs",),
    ("packs", "readiness", "report"),
    ("training",),
    ("measurement", "ablation", "distillation"),
    ("inference", "published", "audit"),
    ("similarity",),
    ("explain", "export", "sharing"),
    ("serve", "mmposter"),  # mmposter/__init__.py, the names that a notebook imports
    ("cli",),
    ("__main__",),
)
"""Rooms from the ground up. Those of one floor know nothing of each other."""

DECLARATIONS = tuple(f"branches.{name}" for name in ("base", "cnn", "ocr", "photo", "style", "yolo"))
"""A declaration is asked from every floor, and makes what stands above it. The imports inside its methods, and those
for type checkers, do not count; what it imports when it is loaded does."""

Graph = dict[str, set[str]]


def imports_of(package: Path, at_load: tuple[str, ...] = ()) -> Graph:
    """By module of the package, without the package's name, the modules that it imports.

    Of those in `at_load` only what they import when they are loaded.
    """
    files = {_module(path, package): path for path in sorted(package.rglob("*.py"))}
    return {
        name: _imported(path, set(files), package.name, at_load=name in at_load) - {name}
        for name, path in files.items()
    }


def _module(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or package.name


def _imported(path: Path, modules: set[str], package: str, *, at_load: bool) -> set[str]:
    found: list[str] = []
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    names = set()
    for name in found:
        top, _, rest = name.partition(".")
        if top == package:
            # `from package.room import thing`: the thing is a module, or stands in the room's own.
            known = (part for part in (rest, rest.rpartition(".")[0]) if part in modules)
            names.add(next(known, package))
    return names


def circles(graph: Graph) -> list[set[str]]:
    """Modules that reach one another."""
    reached = {name: _reach(graph, name) for name in graph}
    together = {name: frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return [set(members) for members in sorted(set(together.values()), key=sorted) if members]


def _reach(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        new = graph[todo.pop()] - found
        found |= new
        todo += new
    return found


def upward(graph: Graph, floors: tuple[tuple[str, ...], ...]) -> set[tuple[str, str]]:
    """Imports from a higher floor, or from another room of the same."""
    height = {room: number for number, rooms in enumerate(floors) for room in rooms}
    rooms = {name: name.partition(".")[0] for name in graph}
    return {
        (name, other)
        for name, others in graph.items()
        for other in others
        if rooms[name] != rooms[other] and height[rooms[name]] <= height[rooms[other]]
    }


@pytest.fixture(scope="module")
def house() -> Graph:
    return imports_of(ROOT / "mmposter", DECLARATIONS)


def test_every_room_stands_on_one_floor(house: Graph) -> None:
    listed = [room for rooms in FLOORS for room in rooms]
    assert sorted(listed) == sorted({name.partition(".")[0] for name in house})


def test_nothing_is_imported_from_a_higher_floor(house: Graph) -> None:
    assert upward(house, FLOORS) == set()


def test_no_modules_import_one_another_in_a_circle(house: Graph) -> None:
    assert circles(house) == []


def test_the_graph_finds_what_hides(tmp_path: Path) -> None:
    """An import in a function, one for a type checker, a module named as a thing of its folder, the folder itself."""
    package = tmp_path / "inn"
    files = {
        "__init__.py": "",
        "cellar/__init__.py": "",
        "cellar/wine.py": "def drink():\n    from inn.attic import bats\n",
        "attic/__init__.py": "NAME = 1\n",
        "attic/bats.py": "import typing\nif typing.TYPE_CHECKING:\n    import inn.cellar.wine\n",
        "attic/dust.py": "from inn.attic import NAME\n",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = imports_of(package)
    assert graph["attic.dust"] == {"attic"}
    assert circles(graph) == [{"cellar.wine", "attic.bats"}]
    assert upward(graph, (("inn", "cellar"), ("attic",))) == {("cellar.wine", "attic.bats")}
    assert upward(graph, (("inn",), ("cellar", "attic"))) == {
        ("cellar.wine", "attic.bats"), ("attic.bats", "cellar.wine")
    }  # fmt: skip
