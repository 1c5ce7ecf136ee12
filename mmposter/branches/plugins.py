"""What comes from outside: from a file that a person names, or an installed package.

It declares a branch as ``BRANCH``, or registers a head, a loss, a gate, an image network or a source of posters by the
decorators of `fusion` and `mmposter.data.sources`.

A plugin is code, and runs with all rights of the person. So the person alone names it (``mmposter --plugin FILE``, or
the variable `PLUGINS`), or installs it; no run, recipe or pack can. Worker processes get the variable, and load the
same files. Each is a module ``mmposter.branches.plugins.STEM``, so that what is made of its classes can be sent to
them.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mmposter.branches.registry import forget, register
from mmposter.errors import UserError

PLUGINS = "MMPOSTER_PLUGINS"
"""The variable that names plugin files, with the sign between them that PATH has on this system."""

GROUPS = ("mmposter.branches", "mmposter.plugins")
"""The entry points by which a package brings branches, and modules that do all that a plugin file does."""

__path__: list[str] = []  # a package without a folder: `_PluginFiles` knows where its modules are

_STEM = re.compile(r"[A-Za-z_]\w*")


class Door(Protocol):
    """A registry that plugins fill."""

    def names_of(self, module: str) -> list[str]:
        """The names that a module has registered."""

    def remove(self, name: str) -> None:
        """Forget the entry of this name."""


DOORS: list[Door] = []
"""Those of the application; `fusion` has its own."""

_state = {"loading": False, "installed": False}
_loaded: set[Path] = set()


class _PluginFiles(MetaPathFinder):
    """Finds ``mmposter.branches.plugins.STEM`` among the files that `PLUGINS` names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, stem = fullname.rpartition(".")
        if package != __name__:
            return None
        file = next((file for file in _named() if file.stem == stem), None)
        return None if file is None else spec_from_file_location(fullname, file)


sys.meta_path.append(_PluginFiles())


def _named() -> list[Path]:
    return [Path(name) for name in os.environ.get(PLUGINS, "").split(os.pathsep) if name]


def load_plugin(file: str | Path) -> None:
    """Run a plugin file of the person's, and add what it brings; processes that start later do the same.

    Raises:
        UserError: it is not there, has the name of another one, cannot be run, or brings nothing.
    """
    path = Path(file).resolve()
    if not path.is_file() or path.suffix != ".py" or not _STEM.fullmatch(path.stem):
        raise UserError(f"--plugin takes a Python file with a plain name, such as my_branch.py; got {str(file)!r}")
    if other := next((one for one in _named() if one.stem == path.stem and one.resolve() != path), None):
        raise UserError(f"--plugin {file}: another plugin has the same name ({other}); rename one of them")
    if os.pathsep in str(path):
        raise UserError(f"--plugin {file}: its path must not have the sign {os.pathsep!r}")
    before = os.environ.get(PLUGINS, "")
    if path not in [one.resolve() for one in _named()]:
        os.environ[PLUGINS] = os.pathsep.join([*map(str, _named()), str(path)])
    try:
        load_named()
    except UserError:
        os.environ[PLUGINS] = before
        raise


def _load(path: Path) -> None:
    if path in _loaded:
        return
    name = f"{__name__}.{path.stem}"
    try:
        module = importlib.import_module(name)
        if not hasattr(module, "BRANCH") and not _registered_by(name):
            raise UserError(
                "it must declare a branch as BRANCH = ..., or register a head, a loss, a gate, an image network or a "
                "source; see docs/extending.md"
            )
        _declare(module)
    except Exception as error:  # of a stranger's code, anything
        sys.modules.pop(name, None)
        _take_back(name)
        if isinstance(error, UserError):
            raise UserError(f"the plugin {path} cannot be used: {error}") from error
        raise UserError(f"the plugin {path} cannot be run: {type(error).__name__}: {error}") from error
    _loaded.add(path)


def _declare(brought: Any) -> None:
    """Add the branch of a module, which may have none, or a declaration itself."""
    if not isinstance(brought, ModuleType):
        register(brought)
    elif hasattr(brought, "BRANCH"):
        register(brought.BRANCH)


def _registered_by(module: str) -> list[tuple[Door, str]]:
    fusion = sys.modules.get("fusion.registry")  # a plugin that registers there has loaded it
    doors = [*DOORS, *(fusion.REGISTRIES if fusion else ())]
    return [(door, name) for door in doors for name in door.names_of(module)]


def _take_back(module: str) -> None:
    for door, name in _registered_by(module):
        door.remove(name)


def load_named() -> None:
    """Add what installed packages bring, and the files that `PLUGINS` names; what is there stays.

    Raises:
        UserError: as `load_plugin`. An installed package that is broken is a warning.
    """
    if _state["loading"]:
        return
    _state["loading"] = True  # a plugin may ask for the branches itself
    try:
        if not _state["installed"]:
            _state["installed"] = True
            _load_installed()
        for path in _named():
            _load(path.resolve())
    finally:
        _state["loading"] = False


def _load_installed() -> None:
    entries = [entry for group in GROUPS for entry in entry_points(group=group)]
    for entry in sorted(entries, key=lambda entry: entry.name):
        try:
            _declare(entry.load())
        except Exception as error:  # of a stranger's code, anything; all else is of use without it
            warnings.warn(
                f"the plugin {entry.name} of an installed package ({entry.value}) cannot be used and is left out: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


def unload(file: str | Path) -> None:
    """Forget a plugin and what it brought, as if it had not been named in this process."""
    path = Path(file).resolve()
    module = sys.modules.pop(f"{__name__}.{path.stem}", None)
    _take_back(f"{__name__}.{path.stem}")
    if module is not None and hasattr(module, "BRANCH"):
        forget(module.BRANCH.name)
    _loaded.discard(path)
    os.environ[PLUGINS] = os.pathsep.join(str(one) for one in _named() if one.resolve() != path)
