"""Ctrl-C: one line that says what is kept, and the exit code that shells know."""

from __future__ import annotations

import sys

import pytest

import mmposter.data
from mmposter.cli import main


def test_an_interrupt_says_what_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mmposter.data, "prepare", interrupted)
    monkeypatch.setattr(sys, "argv", ["mmposter", "prepare", "posters.csv", "--format", "csv", "--out", "data"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert "stopped. What was finished is kept" in capsys.readouterr().err


def test_other_exit_codes_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mmposter", "prepare"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "stopped" not in capsys.readouterr().err
