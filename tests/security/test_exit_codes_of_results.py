"""Exit code 1 where no poster could be used, 0 where some could; 2 for a mistake, 130 and 143 for a stop."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mmposter.cli import main

QUICK = ("--branches", "cnn", "--offline", "--device", "cpu")


@pytest.fixture
def folders(tmp_path: Path, poster_files) -> tuple[Path, Path]:  # type: ignore[no-untyped-def]
    """A folder with a good and a broken poster, and one with broken ones alone."""
    (good,) = poster_files(1)
    (good.parent / "broken.jpg").write_bytes(b"no picture")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "text.png").write_text("no picture")
    return good.parent, bad


def end_of(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["mmposter", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("how", ["lines", "listing", "jsonl", "csv"])
def test_predict_ends_with_1_where_no_poster_could_be_used(  # type: ignore[no-untyped-def]
    folders, tmp_path: Path, monkeypatch, capsys, how: str
) -> None:
    more = {"listing": ["--listing"], "lines": []}.get(how, ["--out", tmp_path / f"out.{how}"])
    mixed, bad = folders
    assert end_of(monkeypatch, "predict", bad, *QUICK, *more) == 1
    told = capsys.readouterr()
    assert "0 of 2 posters without a fault" in told.err
    assert "empty.jpg: empty" in told.err
    if how == "lines":
        assert len([json.loads(line) for line in told.out.splitlines()]) == 2  # the reasons are a result to read
    if how in ("jsonl", "csv"):
        assert (tmp_path / f"out.{how}").exists()
        more = [*more, "--overwrite"]
    if how in ("lines", "jsonl"):
        assert end_of(monkeypatch, "predict", mixed, *QUICK, *more) == 0
        assert "1 of 2 posters without a fault" in capsys.readouterr().err


def test_explain_ends_with_1_where_no_poster_could_be_used(  # type: ignore[no-untyped-def]
    folders, tmp_path: Path, monkeypatch, capsys
) -> None:
    mixed, bad = folders
    assert end_of(monkeypatch, "explain", bad, *QUICK, "--out", tmp_path / "why") == 1
    assert "0 of 2 posters explained" in capsys.readouterr().err
    assert end_of(monkeypatch, "explain", mixed, *QUICK, "--out", tmp_path / "why") == 0
    # What an earlier run has finished is a result, too.
    assert end_of(monkeypatch, "explain", mixed, *QUICK, "--out", tmp_path / "why") == 0


def test_extract_ends_with_1_where_no_poster_could_be_used(  # type: ignore[no-untyped-def]
    tmp_path: Path, poster_files, monkeypatch
) -> None:
    files = poster_files(3)
    assert end_of(monkeypatch, "prepare", files[0].parent, "--format", "folder", "--out", tmp_path / "data") == 0
    for path in files:
        path.write_bytes(b"damaged since")
    words = ("extract", tmp_path / "data", *QUICK, "--workers", 1, "--set", "cnn.init=none")
    assert end_of(monkeypatch, *words) == 1
    assert end_of(monkeypatch, *words, "--shard", "3/9") == 0  # an empty share is none that failed


def test_prepare_with_nothing_left_is_a_mistake_to_mend(  # type: ignore[no-untyped-def]
    folders, tmp_path: Path, monkeypatch, capsys
) -> None:
    assert end_of(monkeypatch, "prepare", folders[1], "--format", "folder", "--out", tmp_path / "data") == 2
    assert "no poster is left" in capsys.readouterr().err
