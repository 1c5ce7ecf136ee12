"""Trainings without their figures, which take longer to draw than these small models to train."""

from __future__ import annotations

import pytest

from mmposter.training import train as train_module


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_cli.py` and the tests of the figures themselves hold that they are written and what they show."""
    monkeypatch.setattr(train_module, "write_plots", lambda *_: None)
