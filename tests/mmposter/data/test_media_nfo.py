"""One NFO file: encodings, the ways in which programs write a film, and what is no film."""

from __future__ import annotations

import pytest

from mmposter.data.media.nfo import LIMIT, Nfo, NfoError, decode, parse_nfo, read_nfo, take_apart

KODI = """<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>
<movie>
    <title>Amélie</title>
    <originaltitle>Le Fabuleux Destin</originaltitle>
    <genre>Comedy / Romance</genre>
    <genre clear="true">Drama</genre>
    <genre>Comedy</genre>
    <uniqueid type="tmdb">194</uniqueid>
    <uniqueid type="imdb" default="true">tt0211915</uniqueid>
    <premiered>2001-04-25</premiered>
    <actor><name>Audrey Tautou</name><role>Amélie</role></actor>
    <tag>mmposter: Horror</tag>
</movie>
"""


def test_what_kodi_writes():
    expected = Nfo(
        "film", "movie", "Amélie", 2001, ("Comedy", "Romance", "Drama"), ("Audrey Tautou",), "tt0211915", "194"
    )
    assert parse_nfo(KODI) == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (
            "<title>A</title><year>1999</year><imdbid>tt0000123</imdbid><tmdbid>7</tmdbid>",
            ("A", 1999, "tt0000123", "7"),
        ),
        ("<name>A</name><releasedate>1999-01-01</releasedate><id>TT0000123</id>", ("A", 1999, "tt0000123", None)),
        ('<title/><originaltitle>B</originaltitle><id IMDB="tt0000123" TMDB="9"/>', ("B", None, "tt0000123", "9")),
        ("<title>N/A</title><year>0</year><id>12</id><tmdbid>x</tmdbid>", (None, None, None, None)),
        (f"<title>{'x' * 501}</title><year>20000</year>", (None, None, None, None)),
    ],
)
def test_other_programs_and_other_versions(inside, expected):
    found = parse_nfo(f"<movie>{inside}</movie>")
    assert (found.title, found.year, found.imdb, found.tmdb) == expected


@pytest.mark.parametrize("text", ["Action / Adventure", "Action|Adventure", "Action; Adventure", " Action ,Adventure,"])
def test_several_genres_in_one_element(text):
    assert parse_nfo(f"<movie><genre>{text}</genre></movie>").genres == ("Action", "Adventure")


@pytest.mark.parametrize(
    ("declared", "encoding", "mark"),
    [
        ("UTF-8", "utf-8", b""),
        ("UTF-8", "utf-8", b"\xef\xbb\xbf"),
        ("utf-16", "utf-16-le", b"\xff\xfe"),
        ("utf-16", "utf-16-be", b"\xfe\xff"),
        ("UTF-16", "utf-16-le", b""),
        ("utf-16", "utf-8", b""),  # as .NET writes it
        ("ISO-8859-1", "iso8859-1", b""),
        ("windows-1252", "cp1252", b""),
        ("shift_jis", "shift_jis", b""),
    ],
)
def test_encodings_are_read_and_become_the_same_bytes(declared, encoding, mark):
    title = "映画" if encoding == "shift_jis" else "Amélie"
    text = KODI.replace("UTF-8", declared).replace("Amélie", title)
    data = mark + text.encode(encoding)
    found = decode(data)
    assert (found.text, found.encoding, found.mark, found.certain) == (text, encoding, mark, True)
    assert found.encode(found.text) == data
    assert parse_nfo(found.text).title == title


@pytest.mark.parametrize("declared", ["UTF-8", "rot13", "unicode_escape", "idna", "no-such-encoding"])
def test_what_is_in_no_declared_encoding_is_guessed(declared):
    found = decode(KODI.replace("UTF-8", declared).encode("cp1252"))
    assert (found.encoding, found.certain) == ("cp1252", False)
    assert parse_nfo(found.text).title == "Amélie"


def test_a_link_behind_the_xml_and_a_link_alone():
    link = "https://www.imdb.com/de/title/tt0211915/?ref_=x\r\n"
    assert parse_nfo(KODI.replace("tt0211915", "") + link).imdb == "tt0211915"
    assert parse_nfo(KODI + "\n" + link).title == "Amélie"
    assert parse_nfo(link) == Nfo("link", imdb="tt0211915")
    assert parse_nfo("look: https://www.themoviedb.org/movie/194-amelie") == Nfo("link", tmdb="194")


@pytest.mark.parametrize("root", ["tvshow", "episodedetails", "musicvideo", "set"])
def test_what_is_of_something_else_is_no_film_even_if_it_is_damaged(root):
    comment = "<!-- made by somebody -->"
    assert parse_nfo(f"<?xml version='1.0'?>{comment}<{root}><title>A</title></{root}>") == Nfo("other", root)
    assert parse_nfo(f"<{root}>A & B</{root}>") == Nfo("other", root)
    assert parse_nfo("     R e l e a s e   n o t e s    A < B") == Nfo("other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<movie><title>A & B</title></movie>", r"not well-formed \(invalid token\) in line 1, column 18"),
        ("<movie>\n<title>A</title>", "no element found in line 2"),
        ("<movie/><movie></movie>", "junk after document element"),
        ("<", "no well-formed XML"),
        ("<!DOCTYPE movie><movie/>", "declares a DTD"),
    ],
)
def test_a_damaged_film_says_where(text, message):
    with pytest.raises(NfoError, match=message):
        parse_nfo(text)


def test_the_parts_of_a_file_are_the_whole():
    text = f"\n {KODI}https://www.imdb.com/title/tt0211915/"
    parts = take_apart(text)
    assert parts.head + parts.rest == text
    assert parts.head.endswith("</movie>")
    with pytest.raises(NfoError, match="of <tvshow>, not of <movie>"):
        take_apart("<tvshow/>")
    with pytest.raises(NfoError, match="it holds no XML"):
        take_apart("https://www.imdb.com/title/tt0211915/")


def test_files_that_are_none(tmp_path):
    (tmp_path / "large.nfo").write_bytes(b"<movie>" + b" " * LIMIT + b"</movie>")
    with pytest.raises(NfoError, match=r"^is too large .* more than 1 MB"):
        read_nfo(tmp_path / "large.nfo")
    with pytest.raises(NfoError, match=r"^(is no plain file|cannot be read)"):
        read_nfo(tmp_path)
    with pytest.raises(NfoError, match=r"^cannot be read"):
        read_nfo(tmp_path / "nowhere.nfo")
