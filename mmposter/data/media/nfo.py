"""One NFO file: how its bytes become text, the text XML, and the XML what we need to know of a film.

https://kodi.wiki/view/NFO_files/Movies. What other programs write differs: Jellyfin and Emby name ids as elements of
their own, older files have `<id>`, a "combination" NFO has a link behind the XML, a "parsing" NFO has a link alone.

The files come from strangers: their size is bounded, and XML is read by defusedxml, which refuses a DTD and entities.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mmposter.errors import UserError
from mmposter.files.plain import MEGABYTE, read_plain

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LIMIT = MEGABYTE
"""Bytes of an NFO file; those with many actors have a tenth of it."""

MOVIE = "movie"
"""The root element of a film."""

# The longer marks first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WITHOUT_MARK = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Which a file may declare: those in which ASCII is ASCII, so that what we add is the same bytes in all of them.
_ENCODINGS = re.compile(
    r"ascii|utf-?8|iso8859-\d+|cp125[0-8]|cp437|cp85\d|cp866|koi8-[ru]|gb2312|gbk|gb18030|big5|euc_(?:jp|kr)|shift_jis"
)
_FALLBACK = "cp1252"

_YEAR = re.compile(r"(?<!\d)(1[89]\d\d|20\d\d)(?!\d)")
_IMDB = re.compile(r"(?<![A-Za-z0-9])tt\d{5,10}(?!\d)", re.IGNORECASE)
_IMDB_LINK = re.compile(r"imdb\.com/(?:[a-z-]+/)?title/(tt\d{5,10})", re.IGNORECASE)
_TMDB_LINK = re.compile(r"themoviedb\.org/movie/(\d{1,10})", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,10}")
_GENRES = re.compile(r" / |[|;,]")
_NAME = re.compile(r"<([A-Za-z_][\w.:-]{0,60})[\s/>]")
_BLANKS = re.compile(r"\s*")
_NOT_AVAILABLE = "N/A"
_LONGEST = 500  # characters of a title or a name; a longer text is none
_END = re.compile(rf"</{MOVIE}\s*>")

Kind: TypeAlias = Literal["film", "link", "other"]


class NfoError(Exception):
    """An NFO file that cannot be read, or must not be changed; the message says why, without the file's name."""


@dataclass(frozen=True)
class NfoText:
    """The text of a file, and how it becomes its bytes again.

    Attributes:
        text: without the byte order mark.
        mark: the byte order mark, or nothing.
        encoding: Python's name.
        certain: whether the bytes are what their mark or their declaration says; else it was guessed.
    """

    text: str
    mark: bytes
    encoding: str
    certain: bool

    def encode(self, text: str) -> bytes:
        """The bytes of another text in the same encoding."""
        return self.mark + text.encode(self.encoding)


@dataclass(frozen=True)
class Nfo:
    """What a file says.

    Attributes:
        kind: ``film``; ``link`` for a file that holds a link to a film and no XML; ``other`` for one of something else.
        root: the root element's name; empty where there is no XML.
        imdb: such as ``tt0084787``.
        tmdb: digits.
    """

    kind: Kind
    root: str = ""
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    imdb: str | None = None
    tmdb: str | None = None


@dataclass(frozen=True)
class Parts:
    """An NFO file of a film, taken apart.

    Attributes:
        head: the XML.
        rest: what stands behind it: nothing, blanks, or a link.
        root: the element `movie`, with comments and processing instructions.
    """

    head: str
    rest: str
    root: Element = field(compare=False)


def read_bytes(path: Path) -> bytes:
    """The bytes of an NFO file.

    Raises:
        NfoError: it is no plain file, has more than `LIMIT` bytes, or cannot be read.
    """
    try:
        return read_plain(path, limit=LIMIT, mend="look at it")
    except UserError as error:
        raise NfoError(str(error).removeprefix(f"{path} ")) from None


def decode(data: bytes) -> NfoText:
    """The text of a file: by its byte order mark, else by its declaration, else UTF-8, else as Windows-1252."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], mark, encoding)
    for begin, encoding in _WITHOUT_MARK:
        if data.startswith(begin):
            return _decoded(data, b"", encoding)
    declared = _DECLARED.match(data)
    encoding = "utf-8"
    if declared is not None:
        try:
            name = codecs.lookup(declared[1].decode("ascii")).name
        except LookupError:
            name = ""
        # UTF-16 cannot be true of bytes that begin as these do: .NET writes it above UTF-8.
        encoding = name if _ENCODINGS.fullmatch(name) else encoding
    return _decoded(data, b"", encoding)


def _decoded(data: bytes, mark: bytes, encoding: str) -> NfoText:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return NfoText(data.decode(_FALLBACK, errors="replace"), mark, _FALLBACK, False)
    return NfoText(text, mark, encoding, True)


def parse_xml(text: str) -> Element:
    """The root element of a text, whatever encoding it declares; with comments and processing instructions.

    Raises:
        NfoError: no well-formed XML, or with a DTD.
    """
    from xml.etree.ElementTree import TreeBuilder

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=TreeBuilder(insert_comments=True, insert_pis=True), forbid_dtd=True)
    try:
        parser.feed(text)
        root: Element = parser.close()
    except DefusedXmlException:
        raise NfoError("it declares a DTD or entities, which no NFO file needs and which can harm") from None
    except SyntaxError as error:  # ParseError is one
        line, column = getattr(error, "position", (0, 0))
        what = str(error).partition(":")[0]
        raise NfoError(f"it is no well-formed XML: {what} in line {line}, column {column + 1}") from None
    except ValueError as error:
        raise NfoError(f"it is no well-formed XML: {error}") from None
    return root


def take_apart(text: str) -> Parts:
    """The XML of a film, and what stands behind it.

    Raises:
        NfoError: no well-formed XML, or its root is not `movie`.
    """
    *_, end = (None, *_END.finditer(text))
    if not text.lstrip().startswith("<"):
        raise NfoError("it holds no XML")
    try:
        head, rest, root = text, "", parse_xml(text.lstrip())
    except NfoError:
        if end is None or not text[end.end() :].strip():
            raise
        head, rest = text[: end.end()], text[end.end() :]
        root = parse_xml(head.lstrip())
    if root.tag != MOVIE:
        raise NfoError(f"it is of <{_short(str(root.tag))}>, not of <{MOVIE}>")
    return Parts(head, rest, root)


def read_nfo(path: Path) -> Nfo:
    """What a file says of a film; what is not there is None or empty.

    Raises:
        NfoError: it cannot be read, is too large, or is damaged.
    """
    return parse_nfo(decode(read_bytes(path)).text)


def parse_nfo(text: str) -> Nfo:
    """The same of the text of a file.

    Raises:
        NfoError: it begins as XML, and is damaged.
    """
    bare = text.lstrip()
    if not bare.startswith("<"):
        imdb, tmdb = _linked(text)
        return Nfo("link" if imdb or tmdb else "other", imdb=imdb, tmdb=tmdb)
    try:
        parts = take_apart(text)
    except NfoError:
        name = _root_name(bare)
        if name in ("", MOVIE):
            raise
        return Nfo("other", name)
    root = parts.root
    imdb, tmdb = _ids(root)
    linked = _linked(parts.rest)
    return Nfo(
        "film",
        MOVIE,
        title=next((text for name in ("title", "name", "originaltitle") for text in _texts(root, name)), None),
        year=_year(root),
        genres=tuple(dict.fromkeys(part for text in _texts(root, "genre") for part in _split(text))),
        actors=tuple(dict.fromkeys(name for actor in root.findall("actor") for name in _texts(actor, "name"))),
        imdb=imdb or linked[0],
        tmdb=tmdb or linked[1],
    )


def imdb_id(text: str) -> str | None:
    """The IMDb id in a text such as a folder's name; None where there is none."""
    found = _IMDB.search(text)
    return None if found is None else found[0].lower()


def year_in(text: str) -> int | None:
    """The year, of 1800 to 2099, in a text such as a date; None where there is none."""
    found = _YEAR.search(text)
    return None if found is None else int(found[0])


def _root_name(text: str) -> str:
    """The name of the first element of a text that may be damaged behind it; empty where there is none."""
    place = 0
    while True:
        place = _BLANKS.match(text, place).end()  # type: ignore[union-attr]  # matches the empty text too
        begin, end = next(
            (pair for pair in (("<?", "?>"), ("<!--", "-->")) if text.startswith(pair[0], place)), ("", "")
        )
        if not begin:
            found = _NAME.match(text, place)
            return "" if found is None else found[1]
        if (closed := text.find(end, place)) < 0:
            return ""
        place = closed + len(end)


def _texts(parent: Element, name: str) -> Iterator[str]:
    """The texts of the elements of this name, without those that are empty or longer than a name can be."""
    for element in parent.findall(name):
        text = " ".join((element.text or "").split())
        if 0 < len(text) <= _LONGEST and text != _NOT_AVAILABLE:
            yield text


def _split(text: str) -> Iterator[str]:
    """The genres of one element: ``Action / Adventure`` is two. Without blanks (``Action/Adventure``) names decide."""
    for part in _GENRES.split(text):
        if part.strip():
            yield part.strip()


def _year(root: Element) -> int | None:
    for name in ("year", "premiered", "releasedate", "aired"):
        for text in _texts(root, name):
            if (year := year_in(text)) is not None:
                return year
    return None


def _ids(root: Element) -> tuple[str | None, str | None]:
    """The ids of IMDb and TMDB, as the programs and their versions write them."""
    imdb: list[str] = []
    tmdb: list[str] = []
    for element in root.findall("uniqueid"):
        kind = (element.get("type") or "").casefold()
        (imdb if kind == "imdb" else tmdb if kind in ("tmdb", "themoviedb") else []).append(element.text or "")
    for element in root.findall("id"):
        imdb += [element.get("IMDB") or "", element.text or ""]
        tmdb.append(element.get("TMDB") or "")
    imdb += [text for name in ("imdbid", "imdb_id", "imdb") for text in _texts(root, name)]
    tmdb += [text for name in ("tmdbid", "tmdb_id", "tmdb") for text in _texts(root, name)]
    first = next((found for text in imdb if (found := imdb_id(text)) is not None), None)
    second = next((text.strip() for text in tmdb if _NUMBER.fullmatch(text.strip())), None)
    return first, second


def _linked(text: str) -> tuple[str | None, str | None]:
    imdb, tmdb = _IMDB_LINK.search(text), _TMDB_LINK.search(text)
    return (None if imdb is None else imdb[1].lower()), (None if tmdb is None else tmdb[1])


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
