"""The version, and what is said of commands and options that there are not."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

import mmposter
from mmposter.cli import main


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", ["mmposter", *words])
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_that_of_the_package(monkeypatch, capsys, option):
    assert mmposter.__version__ == version("mmposter")
    assert said(monkeypatch, capsys, option) == (0, f"mmposter {version('mmposter')}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "No such command 'trian' (did you mean train?)."),
        (["xyzzy"], "No such command 'xyzzy'."),
        (["predict", "--brnaches", "cnn"], "No such option: --brnaches (did you mean --branches?)"),
        (["prepare", "x", "--out", "y", "--vocabluary", "z"], "--vocabluary (did you mean --vocabulary?)"),
        (["train", "--epochs", "3"], "No such option: --epochs (did you mean --set train.epochs=VALUE?)"),
        (["train", "--batch-size", "3"], "(did you mean --set train.batch_size=VALUE?)"),
        (["train", "--xyzzy"], "No such option: --xyzzy"),
    ],
)
def test_the_nearest_command_or_option_is_proposed(monkeypatch, capsys, words, message):
    code, out, err = said(monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Possible options" not in err
