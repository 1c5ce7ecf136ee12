"""NFO files and folders of strangers: nothing expands, no link leads out, and nothing else is written."""

from __future__ import annotations

import os
import resource
import stat
import time
from pathlib import Path

import pytest

from mmposter.data.media import NfoError, read_library, restore_nfo, tag_nfo
from mmposter.data.media.nfo import LIMIT, parse_nfo
from mmposter.data.sources import read_source
from mmposter.errors import UserError

FILM = "<movie><title>Good</title><genre>Drama</genre></movie>"
MEMORY = 300 * 2**20

_LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
ENTITIES = {
    "billion laughs": f'<?xml version="1.0"?><!DOCTYPE movie [<!ENTITY a0 "ha">{_LAUGHS}]><movie>&a11;</movie>',
    "quadratic": f'<!DOCTYPE movie [<!ENTITY a "{"a" * 50_000}">]><movie>{"&a;" * 50_000}</movie>',
    "file": '<!DOCTYPE movie [<!ENTITY a SYSTEM "file:///etc/passwd">]><movie><title>&a;</title></movie>',
    "network": '<!DOCTYPE movie SYSTEM "http://127.0.0.1:9/x.dtd"><movie><title>A</title></movie>',
    "parameter": '<!DOCTYPE movie [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><movie/>',
}


def nfo(folder: Path, text: str = FILM, name: str = "movie.nfo") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.fixture
def library(tmp_path) -> Path:
    root = tmp_path / "films"
    nfo(root / "Good")
    return root


def damaged(library: Path) -> dict[str, str]:
    """The films with a problem; the good one is always there."""
    found = {film.name: film.problem or "" for film in read_library(library).films}
    assert found.pop("Good") == ""
    return found


@pytest.mark.parametrize("kind", ENTITIES)
def test_entities_are_refused_and_named_and_never_expanded(library, kind):
    path = nfo(library / "Bad", ENTITIES[kind])
    assert "Bad/movie.nfo: it declares a DTD or entities" in damaged(library)["Bad"]
    (row,) = (row for row in read_source(library, "nfo").rows if row.problem)
    assert "DTD" in row.problem
    with pytest.raises(NfoError, match="DTD"):
        tag_nfo(path, ["Drama"], library, write=True)
    assert path.read_text() == ENTITIES[kind]


def test_a_file_of_a_gigabyte_is_not_read(library):
    path = nfo(library / "Bad")
    os.truncate(path, 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "is too large" in damaged(library)["Bad"]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_pipes_and_devices_are_no_nfo_files(library):
    os.mkfifo(library / "Good" / "pipe.nfo")
    (library / "Good" / "zero.nfo").symlink_to("/dev/zero")
    assert damaged(library) == {}


HARD = {
    "deep": "<movie>" + "<a>" * 15_000 + "</a>" * 15_000 + "</movie>",
    "comments": "<!---->" * 20_000,
    "open comments": "<movie></movie>" + "<!--" * 200_000,
    "open comments before": "<!-- " * 150_000 + "<tvshow>",
    "ends": "<movie>" + "</movie  " * 90_000,
    "blanks": f"<movie><genre>{' ' * 900_000}x</genre></movie>",
    "blanks before": " " * 900_000 + "<tvshow> & </tvshow>",
    "genres": "<movie>" + "<genre>a</genre>" * 8_000 + "</movie>",
    "tags": "<movie>\n" + "<tag>mmposter: a</tag>\n" * 8_000 + "</movie>",
    "one line of tags": "<movie>" + "<tag>mmposter: a</tag>" * 8_000 + "</movie>",
    "links": "imdb.com/" * 100_000,
}


@pytest.mark.parametrize("kind", HARD)
def test_no_small_file_takes_long(library, kind):
    path = nfo(library / "Bad", HARD[kind])
    assert path.stat().st_size <= LIMIT
    start = time.process_time()
    read_library(library)
    for _ in range(2):
        try:
            tag_nfo(path, ["Drama"], library, write=True)
        except NfoError:
            assert path.read_text() == HARD[kind]
    assert time.process_time() - start < 5, "seconds of one core; an attack takes minutes"


def test_links_are_not_followed_out_of_the_library(library, tmp_path):
    outside = tmp_path / "outside"
    secret = nfo(outside, "<movie><title>Secret</title></movie>", "secret.nfo")
    (outside / "secret.jpg").write_bytes(b"x")
    (library / "folder").symlink_to(outside)
    (library / "Linked").mkdir()
    (library / "Linked" / "movie.nfo").symlink_to(secret)
    (library / "Linked" / "poster.jpg").symlink_to(outside / "secret.jpg")
    (library / "Good" / "poster.jpg").symlink_to("../../outside/secret.jpg")
    found = read_library(library)
    assert [(film.name, film.poster) for film in found.films] == [("Good", None)]
    assert sorted(issue.id for issue in found.oddities) == [
        "Good/poster.jpg", "Linked/movie.nfo", "Linked/poster.jpg", "folder",
    ]  # fmt: skip
    assert {issue.kind for issue in found.oddities} == {"link_out"}


def test_links_in_a_circle_end(library):
    (library / "Good" / "again").symlink_to(library)
    (library / "loop.nfo").symlink_to(library / "loop.nfo")
    assert damaged(library) == {}


def test_a_link_within_the_library_is_read_and_never_written(library):
    target = library / "Good" / "movie.nfo"
    (library / "Same").mkdir()
    link = library / "Same" / "movie.nfo"
    link.symlink_to(target)
    assert len(read_library(library).films) == 2
    with pytest.raises(NfoError, match="it is a link"):
        tag_nfo(link, ["Drama"], library, write=True)
    assert link.is_symlink()
    assert target.read_text() == FILM


def test_nothing_is_written_behind_a_folder_that_became_a_link(library, tmp_path):
    """As if somebody swapped it after the library was looked through."""
    path = library / "Good" / "movie.nfo"
    (library / "Good").rename(tmp_path / "moved")
    (library / "Good").symlink_to(tmp_path / "moved")
    with pytest.raises(NfoError, match="outside the library"):
        tag_nfo(path, ["Drama"], library, write=True)
    assert (tmp_path / "moved" / "movie.nfo").read_text() == FILM


def test_a_backup_that_is_a_link_is_neither_written_nor_followed(library, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = library / "Good" / "movie.nfo"
    backup = path.with_name("movie.nfo.bak-mmposter")
    backup.symlink_to(precious)
    assert tag_nfo(path, ["Drama"], library, write=True)
    assert restore_nfo(path, library, write=True) == (True, True)
    assert (precious.read_text(), backup.is_symlink(), path.read_text()) == ("mine", True, FILM)


def test_the_rights_of_a_file_stay(library):
    path = library / "Good" / "movie.nfo"
    path.chmod(0o600)
    tag_nfo(path, ["Drama"], library, write=True)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_names_and_texts_that_steer_a_terminal_or_a_path_are_only_text(library):
    text = "<movie><title>../../etc/passwd</title><id>tt0000001/../..</id><year>1999</year></movie>"
    assert parse_nfo(text).imdb == "tt0000001"
    name = os.fsdecode(b"odd\xff\x1b[2J\n")
    nfo(library / name, text)
    rows = {row.id: row for row in read_source(library, "nfo").rows}
    assert rows["tt0000001"].title == "../../etc/passwd"
    assert rows["tt0000001"].path is None


def test_a_folder_alone_is_no_library(tmp_path):
    with pytest.raises(UserError, match="there is no film"):
        read_library(tmp_path)
