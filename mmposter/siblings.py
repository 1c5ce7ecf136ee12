"""Whether `fusion` and `detectors` are ours.

The names are short, and other packages have them, too. One that lies earlier on Python's path, or was installed over
ours, would end in an error far from its cause. So they are looked at before anything of them is imported; that costs
two small reads.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

NAMES = ("detectors", "fusion")
MARK = b"# This package belongs to mmposter"
"""What the `__init__.py` of each of ours begins with."""


def foreign_packages() -> dict[str, str]:
    """Those of our packages in whose place Python finds another one, by name; where that is, or that there is none."""
    found = {}
    for name in NAMES:
        place = _place(name)
        if place is None:
            found[name] = "not installed"
        elif not _is_ours(place):
            found[name] = str(place)
    return found


def explained(foreign: dict[str, str]) -> str:
    """What a person should read of `foreign_packages`: what stands where, and what to do."""
    lines = ["mmposter needs its own packages, and Python finds others in their place:"]
    lines += [f"  {name}: {place}{_owner(name)}" for name, place in foreign.items()]
    names = " ".join(foreign)
    lines += [
        "Both cannot be in one environment. To mend it, do one of these:",
        "  install mmposter into a fresh environment (python -m venv NAME)",
        f"  remove the other one and put ours back: pip uninstall {names}; "
        "pip install --force-reinstall --no-deps mmposter",
        f"  if it is a file or folder of your own ({', '.join(f'{name}.py, {name}/' for name in foreign)}), rename "
        "it or work in another folder",
    ]
    return "\n".join(lines)


def require_own() -> None:
    """Refuse to go on behind packages of others.

    Raises:
        ImportError: saying which file stands there, and what to do.
    """
    if foreign := foreign_packages():
        raise ImportError(explained(foreign))


def is_program() -> bool:
    """Whether Python is starting the command line, which says it in its own way: without a traceback."""
    return Path(sys.argv[0] if sys.argv else "").stem in ("mmposter", "-m") or (
        bool(sys.argv) and Path(sys.argv[0]).parts[-2:] == ("mmposter", "__main__.py")
    )


def _place(name: str) -> Path | None:
    """The file, or for a folder without `__init__.py` the folder, that an import would take."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return Path(file) if file else Path(next(iter(getattr(loaded, "__path__", [name]))))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is not None:
        return Path(spec.origin)
    return Path(next(iter(spec.submodule_search_locations or [name])))


def _is_ours(place: Path) -> bool:
    try:
        with place.open("rb") as stream:
            return stream.read(len(MARK)) == MARK
    except OSError:  # a folder, or in an archive
        return False


def _owner(name: str) -> str:
    """The distribution that says that it brings the module, where it is not mmposter."""
    from importlib.metadata import packages_distributions

    others = [one for one in packages_distributions().get(name, []) if one != "mmposter"]
    return f" (of the package {', '.join(dict.fromkeys(others))})" if others else ""
