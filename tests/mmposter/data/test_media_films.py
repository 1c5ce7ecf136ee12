"""Which NFO file, which video and which poster belong together, as Kodi, Jellyfin and Emby lay them down."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mmposter.data.media import Film, MediaLibrary, read_library
from mmposter.errors import UserError

Lay = Callable[..., MediaLibrary]


def film(title: str, *, year: int = 1999, more: str = "") -> str:
    return f"<movie><title>{title}</title><year>{year}</year><genre>Drama</genre>{more}</movie>"


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Writes files of a library (empty ones, or with a text) and reads it."""

    def lay(*empty: str, **texts: str) -> MediaLibrary:
        for name, text in {**dict.fromkeys(empty, ""), **texts}.items():
            path = tmp_path / "films" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return read_library(tmp_path / "films")

    return lay


def found(library: MediaLibrary) -> dict[str, tuple[str | None, str | None]]:
    """By the film's name where its NFO file and its poster lie."""

    def below(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(library.root).as_posix()

    return {one.name: (below(one.nfo), below(one.poster)) for one in library.films}


def test_a_folder_for_each_film(lay):
    library = lay(
        "The Thing (1982)/poster.jpg", "The Thing (1982)/fanart.jpg", "The Thing (1982)/The.Thing.mkv",
        "Heat (1995)/folder.PNG", "Heat (1995)/Heat.mkv", "Heat (1995)/Heat-trailer.mp4",
        "Alien (1979)/Alien (1979)-poster.webp", "Alien (1979)/Alien (1979) - 4k.mkv", "Alien (1979)/folder.jpg",
        "Drive (2011)/drive.jpg", "Drive (2011)/drive-cd1.avi", "Drive (2011)/drive-cd2.avi",
        **{
            "The Thing (1982)/movie.nfo": film("The Thing", year=1982, more="<imdbid>tt0084787</imdbid>"),
            "Heat (1995)/Heat.nfo": film("Heat", year=1995, more="<tmdbid>949</tmdbid>"),
            "Alien (1979)/Alien (1979).nfo": film("Alien", year=1979),
            "Drive (2011)/drive.NFO": film("Drive", year=2011),
        },
    )  # fmt: skip
    assert found(library) == {
        "Alien (1979)": ("Alien (1979)/Alien (1979).nfo", "Alien (1979)/Alien (1979)-poster.webp"),
        "Drive (2011)": ("Drive (2011)/drive.NFO", "Drive (2011)/drive.jpg"),
        "Heat (1995)": ("Heat (1995)/Heat.nfo", "Heat (1995)/folder.PNG"),
        "The Thing (1982)": ("The Thing (1982)/movie.nfo", "The Thing (1982)/poster.jpg"),
    }
    ids = [one.id for one in library.films]
    assert ids == ["Alien (1979)/Alien (1979).nfo", "Drive (2011)/drive.NFO", "tmdb-949", "tt0084787"]
    assert library.oddities == []
    assert library.records == {"NFO files": 4, "of films": 4}


def test_many_films_in_one_folder_have_only_what_has_their_name(lay):
    library = lay(
        "Alien.mkv", "Alien-poster.jpg", "Aliens.mkv", "Aliens.jpg", "folder.jpg", "poster.jpg", "Heat.mkv",
        **{"Alien.nfo": film("Alien"), "Aliens.nfo": film("Aliens"), "Heat.nfo": film("Heat")},
    )  # fmt: skip
    assert found(library) == {
        "Alien (1999)": ("Alien.nfo", "Alien-poster.jpg"),
        "Aliens (1999)": ("Aliens.nfo", "Aliens.jpg"),
        "Heat (1999)": ("Heat.nfo", None),
    }


def test_one_nfo_file_beside_the_video_of_another_film_is_no_folder_of_one_film(lay):
    library = lay("poster.jpg", "Alien.mkv", "Aliens.mkv", "Aliens-poster.jpg", **{"Alien.nfo": film("Alien")})
    assert found(library) == {"Alien (1999)": ("Alien.nfo", None), "Aliens": (None, "Aliens-poster.jpg")}


def test_films_without_an_nfo_file_are_found_by_video_and_poster(lay):
    library = lay(
        "Heat (1995)/Heat.mkv", "Heat (1995)/folder.jpg", "Heat (1995)/cover.jpg", "Heat (1995)/sample/a.mkv",
        "Heat (1995)/sample/folder.jpg", "Unsorted/A.mkv", "Unsorted/B (1998).mkv", "Unsorted/folder.jpg",
        "Unsorted/B (1998)-poster.jpg", "Pictures/poster.jpg", "Disc (2001)/VIDEO_TS/x.vob", "Disc (2001)/poster.jpg",
    )  # fmt: skip
    assert found(library) == {
        "Disc (2001)": (None, "Disc (2001)/poster.jpg"),
        "Heat (1995)": (None, "Heat (1995)/folder.jpg"),
        "B (1998)": (None, "Unsorted/B (1998)-poster.jpg"),
    }
    assert library.records == {}


def test_discs_have_their_nfo_file_inside(lay):
    library = lay(
        "A (2001)/VIDEO_TS/VIDEO_TS.IFO", "A (2001)/folder.jpg", "B (2002)/BDMV/index.bdmv", "B (2002)/poster.jpg",
        **{
            "A (2001)/VIDEO_TS/VIDEO_TS.nfo": film("A", year=2001),
            "A (2001)/A (2001).nfo": film("A of Emby", year=2001),
            "B (2002)/BDMV/index.nfo": film("B", year=2002),
        },
    )  # fmt: skip
    assert found(library) == {
        "A (2001)": ("A (2001)/VIDEO_TS/VIDEO_TS.nfo", "A (2001)/folder.jpg"),
        "B (2002)": ("B (2002)/BDMV/index.nfo", "B (2002)/poster.jpg"),
    }
    assert [(issue.kind, issue.id) for issue in library.oddities] == [("second_nfo", "A (2001)/A (2001).nfo")]
    assert len(library.nfos) == 3, "tags of ours may be in any of them"


def test_movie_nfo_goes_before_others_and_a_damaged_one_does_not(lay):
    library = lay(
        "A/poster.jpg", "B/poster.jpg", "C/poster.jpg", "D/poster.jpg",
        **{
            "A/movie.nfo": film("A"), "A/zzz.nfo": film("Z"), "A/link.nfo": "https://www.imdb.com/title/tt0000123/",
            "B/movie.nfo": "<movie><title>B", "B/b.nfo": film("B"),
            "D/movie.nfo": "<movie><title>D", "C/c.nfo": "https://www.imdb.com/title/tt0000124/",
            "C/info.nfo": "RELEASE NOTES",
        },
    )  # fmt: skip
    films = {one.id: one for one in library.films}
    assert {(one.name, one.poster is not None) for one in library.films} == {
        ("A (1999)", True), ("B (1999)", True), ("C", True), ("D", True),
    }  # fmt: skip
    assert films["D/movie.nfo"].problem.startswith("D/movie.nfo: it is no well-formed XML: no element found in line 1")
    assert films["tt0000124"].genres == ()
    kinds = sorted((issue.kind, issue.id) for issue in library.oddities)
    second = [("second_nfo", name) for name in ("A/link.nfo", "A/zzz.nfo", "B/movie.nfo")]
    assert kinds == [("other_nfo", "C/info.nfo"), *second]
    counts = {
        "of films": 2,
        "links alone": 1,
        "of other things": 1,
        "second ones of a film": 3,
        "damaged or refused": 1,
    }
    assert library.records == {"NFO files": 8, **counts}


def test_shows_and_what_other_programs_leave_are_no_films(lay):
    library = lay(
        "Show/poster.jpg", "Show/Season 1/folder.jpg", "Show/Season 1/e1.mkv", "Heat/poster.jpg",
        ".hidden/x.mkv", ".hidden/poster.jpg", "@eaDir/x.mkv", "@eaDir/poster.jpg", "Heat/.actors/a.jpg",
        **{
            "Show/tvshow.nfo": "<tvshow/>", "Show/Season 1/e1.nfo": "<episodedetails/>", "Heat/Heat.nfo": film("Heat"),
            "@eaDir/x.nfo": film("X"),
        },
    )  # fmt: skip
    assert found(library) == {"Heat (1999)": ("Heat/Heat.nfo", "Heat/poster.jpg")}
    assert {issue.message for issue in library.oddities} == {
        "it is of <tvshow>, not of a film", "it is of <episodedetails>, not of a film",
    }  # fmt: skip


def test_names_say_what_an_nfo_file_does_not(lay):
    library = lay(
        **{
            "Heat (1995) [imdbid-tt0113277]/movie.nfo": "<movie/>",
            "mixed/Alien (1979).nfo": "<movie><title>Alien</title></movie>",
            "mixed/Other.nfo": "<movie/>",
        }
    )
    assert [(one.id, one.title, one.year) for one in library.films] == [
        ("tt0113277", "Heat", 1995), ("mixed/Alien (1979).nfo", "Alien", 1979), ("mixed/Other.nfo", "Other", None),
    ]  # fmt: skip


def test_a_film_is_told_apart_from_its_parts_and_its_namesakes(lay):
    library = lay(
        "The Godfather.mkv", "The Godfather-poster.jpg", "The Godfather Part 2.mkv", "The Godfather Part 2-poster.jpg"
    )
    assert set(found(library)) == {"The Godfather", "The Godfather Part 2"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_named(lay, tmp_path):
    (tmp_path / "films" / "Closed").mkdir(parents=True)
    (tmp_path / "films" / "Closed").chmod(0)
    library = lay(**{"A/movie.nfo": film("A")})
    assert [(issue.kind, issue.id) for issue in library.oddities] == [("unreadable_folder", "Closed")]


def test_what_is_no_library_is_refused(tmp_path):
    with pytest.raises(UserError, match="needs the folder of a media library"):
        read_library(tmp_path / "nowhere")
    (tmp_path / "poster.jpg").touch()
    with pytest.raises(UserError, match="there is no film below"):
        read_library(tmp_path)
    assert Film("a", "a", None, None).problem is None
