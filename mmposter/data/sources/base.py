"""What a source reader hands over: one row a poster or a movie without one, and the oddities that cost no row."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mmposter.branches.plugins import DOORS
from mmposter.images.formats import picture_suffixes
from mmposter.images.listing import look_through

if TYPE_CHECKING:
    import pandas as pd

# The one spelling of a missing value that movie metadata uses (OMDb writes it into every field).
NOT_AVAILABLE = "N/A"
AUTO = "auto"
"""What stands for a format that is to be recognised."""
PASSED_OVER = "passed_over"
"""The kind of an issue: a file in a folder of pictures that is no picture by its name."""
# A file's name on every system: no folder, no leading dot, no sign that a shell or Windows reads otherwise.
SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class PosterRow:
    """One poster file, or one movie whose poster is not there."""

    id: str
    path: Path | str | None  # absolute; a text is a link into an object store; None where the source knows no file
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()  # raw names, in the source's order
    actors: tuple[str, ...] = ()
    split: str | None = None  # as written in the source; None where it gives none
    has_record: bool = True  # False for a poster file that no metadata speaks of
    problem: str | None = None  # why the row cannot be used at all, in words; None for a good row
    url: str | None = None  # where its poster can be downloaded, http or https; for rows without a file
    absence: str | None = None  # why there is no file, in words, where the source or the download knows more


@dataclass(frozen=True)
class Issue:
    """Something odd that is counted and named but drops no row."""

    kind: str  # short machine-readable word, such as ``duplicate_record``
    id: str  # the poster's id, or the place in the source
    message: str


@dataclass
class SourceRows:
    """Everything that one reader found.

    `records` counts the metadata records before they are matched with posters, as terms of a sum: the first entry is
    the number found in the text, the others add up to it. Empty where a row is a record (csv) or there are none.
    """

    root: Path  # absolute; manifest paths are relative to it
    rows: list[PosterRow] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)
    labelled: bool = True  # False for a source that has no genres by its nature
    unpack: Callable[[Path], None] | None = None
    """Writes the pictures that the source itself holds into a folder, as ``<id>.jpg``; its rows have no paths."""

    def table(self) -> pd.DataFrame:
        """The rows as a table, one column a field of `PosterRow`, in the source's order, which `row` counts from 1."""
        import pandas as pd

        rows = [_writable(row) for row in self.rows]
        columns = {
            "row": pd.Series(range(1, len(rows) + 1), dtype="int64"),
            "id": pd.Series([row.id for row in rows], dtype=object),
            "path": pd.Series([None if row.path is None else str(row.path) for row in rows], dtype=object),
            "title": pd.Series([row.title for row in rows], dtype=object),
            "year": pd.Series([row.year for row in rows], dtype="Int64"),
            "genres": pd.Series([list(row.genres) for row in rows], dtype=object),
            "actors": pd.Series([list(row.actors) for row in rows], dtype=object),
            "split": pd.Series([row.split for row in rows], dtype=object),
            "has_record": pd.Series([row.has_record for row in rows], dtype=bool),
            "problem": pd.Series([row.problem for row in rows], dtype=object),
            "absence": pd.Series([row.absence for row in rows], dtype=object),
        }
        return pd.DataFrame(columns)


def _writable(row: PosterRow) -> PosterRow:
    """The row as a table can hold it: half characters as their codes; a file with such a name cannot be found again."""
    path = row.path
    if path is not None:
        path = _codes(path) if isinstance(path, str) else Path(_codes(str(path)))
    odd = None if path == row.path else "the file's name is no UTF-8, which a manifest cannot hold; rename it"
    return replace(
        row,
        id=_codes(row.id),
        path=path,
        title=None if row.title is None else _codes(row.title),
        genres=tuple(map(_codes, row.genres)),
        actors=tuple(map(_codes, row.actors)),
        split=None if row.split is None else _codes(row.split),
        problem=row.problem or odd,
    )


def _codes(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


Reader: TypeAlias = Callable[[Path], SourceRows]

Looks: TypeAlias = Callable[[Path], str | bool]
"""Whether a path looks like a format: by what, in words such as ``the columns image, genres``. Empty or False: not."""


@dataclass(frozen=True)
class SourceFormat:
    """A kind of source: how it is read, and how it is recognised."""

    read: Reader  # the first line of its docstring is the help of --format
    looks: Looks | None = None
    last: bool = False  # recognised only where no other format is

    def seen_by(self, source: Path) -> str:
        """By what `source` looks like this format; empty where it does not, or where nobody can tell."""
        if self.looks is None:
            return ""
        try:
            seen = self.looks(source)
        except OSError:  # a folder that may not be listed: the reader's own error says so
            return ""
        return seen if isinstance(seen, str) else "what lies there" if seen else ""


class SourceFormats(dict[str, SourceFormat]):
    """The formats by name."""

    def names_of(self, module: str) -> list[str]:
        """The names that a module has registered."""
        return [name for name, format in self.items() if format.read.__module__ == module]

    def remove(self, name: str) -> None:
        """Forget the format called `name`."""
        del self[name]


FORMATS = SourceFormats()
DOORS.append(FORMATS)


def register_source(name: str, looks: Looks | None = None, *, last: bool = False) -> Callable[[Reader], Reader]:
    """Decorator of a function that reads a source: register it as the format ``name``.

    Args:
        name: what ``--format`` takes.
        looks: by what a path looks like such a source, so that it is recognised without ``--format``; cheap: a look at
            some names or at the first line.
        last: recognise it only where no other format is: what it needs is there in sources of others, too.

    Raises:
        ValueError: the name is taken already, or is `AUTO`.
    """

    def enter(read: Reader) -> Reader:
        if name in FORMATS:
            raise ValueError(f"source must have a new name, {name!r} is taken by {FORMATS[name].read.__name__}")
        if name == AUTO:
            raise ValueError(f"source must have another name than {AUTO!r}, which stands for recognising the format")
        FORMATS[name] = SourceFormat(read, looks, last)
        return read

    return enter


def pictures_below(folder: Path, found: SourceRows, *, beside: Collection[str] = ()) -> list[Path]:
    """The pictures below a folder, sorted; every other file there is an issue of `found` (``passed_over``).

    Args:
        beside: names of files that are read otherwise; a suffix such as ``.json`` stands for all that have it.
    """
    pictures, others = look_through(folder)
    for path in others:
        if path.name not in beside and path.suffix not in beside:
            message = f"no picture by its name; read are {', '.join(picture_suffixes())}"
            found.issues.append(Issue(PASSED_OVER, path.relative_to(found.root).as_posix(), message))
    return pictures


def below(folder: Path, text: str) -> Path:
    """The file that a table names, in the folder of the table; an absolute path stands for itself.

    Backslashes as Windows writes them part folders, unless a file is called so; such a path never leaves its root.
    """
    path = folder / text
    if "\\" not in text or Path(text).is_absolute() or os.path.exists(path):
        return path
    return folder / text.replace("\\", "/").lstrip("/")


def year_of(value: object) -> int | None:
    """The year, or None for anything but four digits; 1999.0 is what pandas and spreadsheets write."""
    text = str(value).strip().removesuffix(".0")
    return int(text) if len(text) == 4 and text.isdecimal() else None


def known_text(value: object) -> str | None:
    """The text, or None where it is empty, ``N/A`` or no text."""
    if not isinstance(value, str) or value.strip() in ("", NOT_AVAILABLE):
        return None
    return value.strip()
