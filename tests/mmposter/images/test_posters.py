from __future__ import annotations

from pathlib import Path

import pytest

from mmposter.images.formats import picture_suffixes
from mmposter.images.listing import list_posters, passed_over_text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.png", "notes.txt", "deep/c.jpg", "deep/er/d.webp", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_stands_for_the_pictures_below_it(folder):
    assert list_posters(["."], []) == ["a.png", "b.jpg", "deep/c.jpg", "deep/er/d.webp"]


def test_the_order_is_that_of_the_arguments_and_nothing_comes_twice(folder):
    assert list_posters(["deep", "b.jpg", "./b.jpg", "*.jpg", "deep/c.jpg", "a.png"], []) == [
        "deep/c.jpg",
        "deep/er/d.webp",
        "b.jpg",
        "a.png",
    ]


def test_patterns(folder):
    assert list_posters(["*.jpg"], []) == ["b.jpg"]
    assert list_posters(["**/*.jpg"], []) == ["b.jpg", "deep/c.jpg"]
    assert list_posters(["[ab].*"], []) == ["a.png", "b.jpg"]
    assert list_posters(["*"], []) == ["a.png", "b.jpg", "notes.txt"]  # folders are no posters


def test_a_file_that_looks_like_a_pattern_is_that_file(folder):
    (folder / "Film [2010].jpg").touch()
    assert list_posters(["Film [2010].jpg"], []) == ["Film [2010].jpg"]


def test_what_is_not_there_is_kept_for_the_report(folder):
    missing = ["typo.jpg", "Film [1999].jpg", "none/*.jpg", "~nobody-of-this-name/x.jpg", "word " * 60 + ".jpg"]
    assert list_posters(missing, []) == missing


def test_lines_of_standard_input(folder):
    assert list_posters(["b.jpg\n", "  a.png ", "", "   ", "b.jpg\r"], []) == ["b.jpg", "a.png"]


def test_posters_of_an_earlier_list_are_not_looked_at_again(folder, monkeypatch):
    looked = []
    monkeypatch.setattr("os.path.isdir", lambda path: looked.append(path))
    assert list_posters(["b.jpg", "a.png", "b.jpg"], [], {"b.jpg"}) == ["b.jpg", "a.png"]
    assert looked == ["a.png"]


def test_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert list_posters(["~/a.png"], []) == [str(folder / "a.png")]


def test_a_folder_gives_what_a_glob_gives_and_names_the_rest(folder):
    for name in ("x.jfif", "y.AVIF", "z.mpo", "w.jpe", "a.pdf", "b.docx", "c.zip", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    others: list[Path] = []
    found = list_posters(["."], others)
    assert {"x.jfif", "y.AVIF", "z.mpo", "w.jpe"} <= set(found)
    assert set(list_posters(["*.jfif", "*.AVIF", "*.mpo", "*.jpe"], [])) <= set(found)
    assert [str(path) for path in others] == ["a.pdf", "b.docx", "c.zip", "notes.txt"]
    assert passed_over_text(others).startswith("4 files were passed over: a.pdf, b.docx, c.zip, ...; no pictures")
    assert passed_over_text(["a\x1b[2J.txt"]).startswith(r"1 file was passed over: a\x1b[2J.txt; no")


def test_what_a_folder_takes_is_what_is_decoded():
    assert {".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"} <= set(
        picture_suffixes()
    )
    assert not {".eps", ".pdf", ".ps", ".txt", ".jp2"} & set(picture_suffixes())
