"""The examples in docstrings say what really comes out."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("mmposter.evaluation", "fusion")
"""Their modules' examples are run."""
COMPLETE = ("mmposter.evaluation",)
"""All that these packages offer has an example, by itself or in a method."""


def _modules(package: str) -> list[str]:
    folder = importlib.import_module(package).__path__
    return [package, *(found.name for found in pkgutil.walk_packages(folder, f"{package}."))]


@pytest.mark.parametrize("module", [name for package in PACKAGES for name in _modules(package)])
def test_examples_come_out_as_they_say(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert not failed, capsys.readouterr().out


def _without_example(package: str) -> list[str]:
    """Functions and classes that the package offers, defined in it, without an example."""
    module, finder = importlib.import_module(package), doctest.DocTestFinder()
    offered = {name: getattr(module, name) for name in module.__all__}
    own = {name: found for name, found in offered.items() if callable(found) and found.__module__.startswith(package)}
    home = {name: importlib.import_module(found.__module__) for name, found in own.items()}
    return [
        name
        for name, found in own.items()
        if not any(part.examples for part in finder.find(found, name, module=home[name]))
    ]


@pytest.mark.parametrize("package", COMPLETE)
def test_what_a_package_offers_has_an_example(package: str) -> None:
    assert _without_example(package) == []
