"""`mmposter predict --format nfo`: the posters of media libraries, and tags in their NFO files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmposter.data.media import BACKUP, Film, MediaLibrary, NfoError, read_library, restore_nfo, tag_nfo
from mmposter.errors import UserError
from mmposter.outputs.lock import one_writer
from mmposter.progress import say
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.evaluation.promise import Promise
    from mmposter.inference.classifier import Prediction

FORMATS = ("nfo",)
_SHOWN = 10  # films that are named; of the others the number is told
_EXAMPLE = "mmposter predict LIBRARY --format nfo"


def check_options(
    format: str | None, paths: Sequence[str], *, precision: float | None, write: bool, restore: bool, yes: bool
) -> None:
    """Refuse options of libraries that say nothing, or not enough.

    Raises:
        UserError: another format, no folder, or one of the options without what it needs.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"--format takes {', '.join(FORMATS)}, or is left out for posters and folders; got {format!r}")
    if format is None and (write or restore):
        raise UserError(f"--{'write' if write else 'restore'}-nfo is for media libraries; type for example: {_EXAMPLE}")
    if write and restore:
        raise UserError("give one of --write-nfo and --restore-nfo")
    if yes and not (write or restore):
        raise UserError(f"--yes goes with --write-nfo or --restore-nfo; type for example: {_EXAMPLE} --write-nfo")
    if write and precision is None:
        raise UserError(
            "--write-nfo writes the genres of which a precision is promised, so it needs --precision.\nType for "
            f"example: {_EXAMPLE} --write-nfo --precision .8"
        )
    if format is not None and (not paths or "-" in paths):
        raise UserError(f"--format nfo needs the folder of a media library; type for example: {_EXAMPLE}")


@dataclass
class Libraries:
    """Several media libraries, by their posters.

    Attributes:
        films: with a poster, by its path.
    """

    found: list[MediaLibrary]
    films: dict[str, Film] = field(init=False)

    def __post_init__(self) -> None:
        self.films = {str(film.poster): film for one in self.found for film in one.films if film.poster is not None}

    @classmethod
    def read(cls, paths: Iterable[str]) -> Libraries:
        """Look through the folders.

        Raises:
            UserError: one is no folder, or has no film in it.
        """
        return cls([read_library(Path(os.path.expanduser(path))) for path in dict.fromkeys(paths)])

    def naming(
        self, stream: Callable[[Sequence[str]], Iterator[Prediction]]
    ) -> Callable[[Sequence[str]], Iterator[Prediction]]:
        """The same predictions of posters, with the names of their films."""

        def named(posters: Sequence[str]) -> Iterator[Prediction]:
            for prediction in stream(posters):
                film = self.films.get(prediction.path or "")
                yield prediction if film is None else replace(prediction, film=film.name)

        return named

    def say(self) -> None:
        """How many films there are, and which have no poster."""
        films = [film for one in self.found for film in one.films]
        without = [film.name for film in films if film.poster is None]
        say(f"{len(films):,} films found, {len(films) - len(without):,} with a poster")
        if without:
            _say_names(f"{len(without):,} without a poster", without)
        odd = [f"{one.id}: {one.message}" for library in self.found for one in library.oddities]
        if odd:
            _say_names(f"{len(odd):,} {'file or folder' if len(odd) == 1 else 'files or folders'} left out", odd)


class Tags:
    """Collects the genres of films as they are predicted, and writes them as tags into their NFO files."""

    def __init__(self, libraries: Libraries) -> None:
        self._libraries = libraries
        self._genres: dict[str, list[str]] = {}

    def add(self, prediction: Prediction) -> None:
        """Count one more; a poster that could not be used changes nothing."""
        if prediction.path is not None and prediction.verdict is not None:
            self._genres[prediction.path] = prediction.genres if prediction.verdict == "accept" else []

    def counted(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The same predictions, each counted as it comes by."""
        for prediction in predictions:
            self.add(prediction)
            yield prediction

    def finish(self, *, write: bool) -> None:
        """Write the tags, or say what would be written.

        Raises:
            UserError: another process writes tags there.
            OSError: the disk is full, or fails; what is written stays.
        """
        said = _Changes(write)
        with ExitStack() as stack:
            for library in self._libraries.found:
                if write:
                    stack.enter_context(one_writer(library.root))
                for film in library.films:
                    genres = self._genres.get(str(film.poster))
                    if genres is not None:
                        self._tag(film, genres, library, said)
        said.print(undo=f"{_EXAMPLE} --restore-nfo --yes")

    def _tag(self, film: Film, genres: list[str], library: MediaLibrary, said: _Changes) -> None:
        if film.nfo is None or film.problem is not None:
            if genres:
                said.skipped.append(f"{film.name}: {film.problem or 'it has no NFO file'}")
            return
        try:
            if tag_nfo(film.nfo, genres, library.root, write=said.write):
                said.changed.append(f"{film.name}: {', '.join(genres) or 'no tag any more'}")
            elif genres:
                said.same += 1
        except NfoError as error:
            said.skipped.append(f"{film.name}: {film.nfo.name}: {error}")


def restore(libraries: Libraries, *, write: bool) -> None:
    """Take our tags out of the NFO files, or say of which they would be taken.

    Raises:
        UserError: another process writes tags there.
        OSError: the disk is full, or fails.
    """
    said, kept = _Changes(write), []
    with ExitStack() as stack:
        for library in libraries.found:
            if write:
                stack.enter_context(one_writer(library.root))
            for nfo in library.nfos:
                name = nfo.relative_to(library.root).as_posix()
                try:
                    changed, stays = restore_nfo(nfo, library.root, write=write)
                except NfoError as error:
                    said.skipped.append(f"{name}: {error}")
                    continue
                said.changed += [name] * changed
                kept += [f"{name}{BACKUP}"] * stays
    said.print()
    if kept:
        _say_names("Backups kept, as the NFO file was changed by others since", kept)


def require_promise(promise: Promise) -> None:
    """Refuse to write genres of which no precision can be promised.

    Raises:
        UserError: it cannot; with the highest that can.
    """
    if not promise.holds:
        remedy = f"Type for example: --precision {promise.highest:g}" if promise.highest else "Use another --model"
        raise UserError(f"{promise.text()}.\nNo NFO file was changed. {remedy}")


@dataclass
class _Changes:
    write: bool
    changed: list[str] = field(default_factory=list)
    same: int = 0
    skipped: list[str] = field(default_factory=list)

    def print(self, undo: str | None = None) -> None:
        """What was done, or would be."""
        files = f"{len(self.changed):,} NFO file{'s' * (len(self.changed) != 1)}"
        _say_names(f"{files} {'changed' if self.write else 'would change'}", self.changed)
        if self.same:
            say(f"{self.same:,} had the same tags before")
        if self.skipped:
            _say_names(f"{len(self.skipped):,} skipped", self.skipped)
        if not self.write:
            say("Nothing was written. To write, type the same command with --yes")
        elif undo is not None and self.changed:
            say(f"The first content of each is in NAME.nfo{BACKUP}; to undo: {undo}")


def _say_names(heading: str, names: Sequence[str]) -> None:
    say(heading + ":" * bool(names))
    for name in names[:_SHOWN]:
        say(f"  {visible(name)}")
    if len(names) > _SHOWN:
        say(f"  and {len(names) - _SHOWN:,} more")
