"""The examples in docstrings say what really comes out, and nearly everything that is public has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import random

import numpy as np
import pytest

PACKAGES = ("mmposter.evaluation", "fusion")
"""Their modules' examples are run."""
SHARE = {"mmposter.evaluation": 1.0, "fusion": 0.8}
"""Of what these packages offer, how much has an example, by itself or in a method."""


def _modules(package: str) -> list[str]:
    folder = importlib.import_module(package).__path__
    return [package, *(found.name for found in pkgutil.walk_packages(folder, f"{package}."))]


@pytest.mark.parametrize(
    "module", ["mmposter.document.numbers", *(name for package in PACKAGES for name in _modules(package))]
)
def test_examples_come_out_as_they_say(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch = importlib.import_module("torch")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module)):
        random.seed(0)
        torch.manual_seed(0)
        # Libraries that other tests import may have set how numpy prints.
        with np.printoptions(formatter=None, linewidth=75, precision=8):
            assert not runner.run(example).failed, capsys.readouterr().out


def _without_example(package: str) -> tuple[list[str], int]:
    """Functions and classes that the package offers, defined in it, without an example; and how many it offers."""
    module, finder = importlib.import_module(package), doctest.DocTestFinder()
    offered = {name: getattr(module, name) for name in module.__all__}
    own = {name: found for name, found in offered.items() if callable(found) and found.__module__.startswith(package)}
    home = {name: importlib.import_module(found.__module__) for name, found in own.items()}
    without = [
        name
        for name, found in own.items()
        if not any(part.examples for part in finder.find(found, name, module=home[name]))
    ]
    return without, len(own)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_offers_has_an_example(package: str) -> None:
    without, count = _without_example(package)
    assert count > 10
    assert len(without) <= (1 - SHARE[package]) * count, f"no example: {', '.join(without)}"
