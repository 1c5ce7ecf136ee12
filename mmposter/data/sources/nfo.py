"""Format `nfo`: the folders of a media library, as Kodi, Jellyfin and Emby keep them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from mmposter.data.media.films import POSTER_NAMES, Film, read_library
from mmposter.data.sources.base import Issue, PosterRow, SourceRows, register_source
from mmposter.visible import visible

_LOOKED_AT = 200


def looks_like_nfo(source: Path) -> str:
    """A folder with an NFO file in it or one level below."""
    if not source.is_dir():
        return ""
    near = (path for pattern in ("*.nfo", "*/*.nfo") for path in islice(source.glob(pattern), _LOOKED_AT))
    found = next((path for path in near if path.is_file()), None)
    return "" if found is None else f"the file {visible(found.relative_to(source).as_posix())}"


@register_source("nfo", looks_like_nfo)
def read_nfo_library(source: Path) -> SourceRows:
    """A media library of Kodi, Jellyfin or Emby: movie.nfo or NAME.nfo, and poster.jpg, folder.jpg or NAME-poster.jpg.

    A row a film (see `mmposter.data.media.films`). Its id is that of IMDb or TMDB, or its path in the library. A film
    without a poster has no path, one without an NFO file no metadata, and a damaged NFO file is a row with a `problem`.

    Issues: an NFO file of a show, an episode or something else (``other_nfo``), a second one of a film
    (``second_nfo``), a link that leads out of the library (``link_out``), a folder that may not be read
    (``unreadable_folder``). Other pictures, such as fan art, are not looked at.

    Raises:
        UserError: no folder, or no film in it.
    """
    library = read_library(source.resolve())
    rows = [_row(film) for film in library.films]
    issues = [Issue(odd.kind, odd.id, odd.message) for odd in library.oddities]
    return SourceRows(library.root, rows, issues, library.records)


def _row(film: Film) -> PosterRow:
    beside = "its video" if film.nfo is None else film.nfo.name
    return PosterRow(
        id=film.id,
        path=film.poster,
        title=film.title,
        year=film.year,
        genres=film.genres,
        actors=film.actors,
        has_record=film.nfo is not None,
        problem=film.problem,
        absence=f"there is no poster beside {beside}: {', '.join(POSTER_NAMES)} or NAME-poster",
    )
