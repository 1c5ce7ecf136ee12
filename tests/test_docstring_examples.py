"""The examples in docstrings run, and nearly everything that is public has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import random
from types import ModuleType

import pytest

PACKAGES = ("fusion",)
SHARE = 0.8  # of a package's public names


def modules(package: str) -> list[ModuleType]:
    root = importlib.import_module(package)
    found = pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.")
    return [root, *(importlib.import_module(module.name) for module in found)]


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_run(package: str) -> None:
    torch = importlib.import_module("torch")
    runner, said, failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), [], []
    for module in modules(package):
        for example in doctest.DocTestFinder(exclude_empty=True).find(module):
            random.seed(0)
            torch.manual_seed(0)
            if runner.run(example, out=said.append).failed:
                failed.append(example.name)
    assert runner.tries > 0
    assert not failed, "".join(said)


@pytest.mark.parametrize("package", PACKAGES)
def test_most_of_what_is_public_has_an_example(package: str) -> None:
    root = importlib.import_module(package)
    without = [name for name in root.__all__ if ">>>" not in (getattr(root, name).__doc__ or "")]
    assert len(without) <= (1 - SHARE) * len(root.__all__), f"no example: {', '.join(without)}"
