"""The films of a media library: which NFO file, which video and which poster belong together.

https://kodi.wiki/view/Naming_video_files/Movies, https://jellyfin.org/docs/general/server/media/movies. A film has a
folder of its own, or lies with others in one, beside files of its own name. In a folder of its own `movie.nfo` goes
before ``NAME.nfo``, and a picture called `poster` or `folder` is its poster. DVDs and Blu-rays are folders
(`VIDEO_TS`, `BDMV`) with their NFO file inside.

Links are not followed out of the library.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmposter.data.media.nfo import Nfo, NfoError, imdb_id, read_nfo, year_in
from mmposter.errors import UserError
from mmposter.images.formats import picture_suffixes

OTHER_NFO, SECOND_NFO, LINK_OUT, UNREADABLE = "other_nfo", "second_nfo", "link_out", "unreadable_folder"
"""Kinds of oddities."""

POSTER_NAMES = ("poster", "folder", "cover", "movie", "default")
"""Names, without their ending, of the poster in a folder of one film, in the order in which they are looked for."""

_MOVIE_NFO = "movie"
_DISCS = {"video_ts": "video_ts.nfo", "bdmv": "index.nfo"}
# Of other programs: thumbnails of a NAS, and bins.
_NOT_LOOKED_AT = frozenset({"@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"})
# Folders of a film that hold other videos and pictures than its own.
_EXTRAS = frozenset({
    "extras", "extra", "trailers", "trailer", "samples", "sample", "featurettes", "interviews", "scenes", "shorts",
    "specials", "other", "others", "extrafanart", "extrathumbs", "subs", "subtitles", "behind the scenes",
    "deleted scenes", "theme-music", "backdrops"
})  # fmt: skip
_VIDEOS = frozenset({
    ".3gp", ".asf", ".avi", ".disc", ".divx", ".flv", ".iso", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".ogm", ".ogv", ".rmvb", ".strm", ".ts", ".vob", ".webm", ".wmv"
})  # fmt: skip
# As the three programs name what belongs to a film: `Alien-trailer`, and parts and versions of it: `Alien-cd1`.
_EXTRA_VIDEO = re.compile(
    r".*(?:[-._ ](?:trailer|sample)|-(?:featurette|behindthescenes|deleted|deletedscene|interview|scene|short|clip|"
    r"extra|other))\d*"
)
_PART = re.compile(r"(?:[-._ ](?:cd|dvd|dis[ck])[-._ ]?|-(?:part|pt))\d{1,2}$")
_VERSION = (" - ", "[", " [", "-", ".", "_")
_DATED = re.compile(r"(.*\S)[ ._]*[(\[]([12]\d{3})[)\]].*")


@dataclass(frozen=True)
class Film:
    """One film of a library.

    Attributes:
        id: its number at IMDb, else ``tmdb-`` and that at TMDB, else the path of its NFO file (or its poster) below the
            library.
        name: how people call it: ``Title (year)``.
        nfo: its NFO file; None where it has none.
        poster: its poster; None where there is none.
        title: as its NFO file says; without one, as its folder or its file is called.
        genres: as its NFO file writes them.
        problem: why its NFO file cannot be read; None for one that can, or where there is none.
    """

    id: str
    name: str
    nfo: Path | None
    poster: Path | None
    title: str | None = None
    year: int | None = None
    genres: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Oddity:
    """Something in a library that is no film, or not read.

    Attributes:
        kind: one of the four above.
        id: its path below the library.
        message: why, for people.
    """

    kind: str
    id: str
    message: str


@dataclass
class MediaLibrary:
    """What is in a library.

    Attributes:
        root: the folder as it was given; all paths begin with it.
        films: in the order of their folders.
        nfos: all NFO files of films, second and damaged ones too.
        oddities: what was looked at and is no film.
        records: NFO files by what they are, as terms of a sum: the first is the sum.
    """

    root: Path
    films: list[Film] = field(default_factory=list)
    nfos: list[Path] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)


def read_library(root: Path) -> MediaLibrary:
    """Look for the films below a folder. Nothing of it is changed, and no damaged file stops the others.

    Raises:
        UserError: it is no folder, or there is no film in it.
    """
    if not root.is_dir():
        raise UserError(
            f"format nfo needs the folder of a media library; {root} is none.\nFor a table use --format csv."
        )
    search = _Search(root)
    search.run()
    library = search.library
    if not library.films:
        raise UserError(
            f"there is no film below {root}: no movie.nfo, no NAME.nfo with <movie>, and no video with a poster.\n"
            "Give the folder that holds the films; for pictures alone use --format folder."
        )
    return library


class _Search:
    """One look through a library."""

    def __init__(self, root: Path) -> None:
        self.library = MediaLibrary(root)
        self._real = Path(os.path.realpath(root))
        self._counts: Counter[str] = Counter()
        self._taken: set[Path] = set()  # posters

    def run(self) -> None:
        shows: set[Path] = set()
        for place, folders, names in os.walk(self.library.root, onerror=self._unreadable):
            folder = Path(place)
            folders[:] = [name for name in sorted(folders) if self._goes_on(folder, name)]
            names = sorted(name for name in names if not name.startswith("."))
            here = _Folder(folder, names, folders, self._inside)
            folders[:] = [name for name in folders if name.casefold() not in _DISCS]
            if folder.parent in shows or "tvshow.nfo" in map(str.casefold, names):
                shows.add(folder)
            self._look(here, of_show=folder in shows)
        found = {name: self._counts[name] for name in _RECORDS if self._counts[name]}
        self.library.records = {"NFO files": sum(found.values()), **found} if found else {}

    def _look(self, here: _Folder, *, of_show: bool) -> None:
        read: list[tuple[Path, Nfo]] = []
        damaged: list[tuple[Path, str]] = []
        for path in here.nfos:
            try:
                nfo = read_nfo(path)
            except NfoError as error:
                damaged.append((path, str(error)))
                continue
            if nfo.kind == "other":
                what = f"it is of <{nfo.root}>, not of a film" if nfo.root else "it holds no XML and no link to a film"
                self._count("of other things", OTHER_NFO, path, what)
            else:
                read.append((path, nfo))
        self.library.nfos += [path for path, _ in (*read, *damaged)]
        # The one that players read: movie.nfo, or that inside the folder of a disc. A link alone says less than XML.
        first = min(read, key=lambda pair: (pair[1].kind != "film", not here.is_first(pair[0])), default=None)
        if first is not None and len(read) > 1 and (here.is_first(first[0]) or here.disc):
            for path, _ in read:
                if path != first[0]:
                    message = f"it was not read: {first[0].name} is of the same film"
                    self._count("second ones of a film", SECOND_NFO, path, message)
            read = [first]
        alone = here.alone([path for path, _ in read] or [path for path, _ in damaged])
        for path, nfo in read:
            self._count("links alone" if nfo.kind == "link" else "of films")
            self._add(here, path, nfo, alone=alone)
        for path, problem in damaged:
            if alone and read:
                message = f"{problem}; {read[0][0].name} is of the same film"
                self._count("second ones of a film", SECOND_NFO, path, message)
            else:
                self._count("damaged or refused")
                self._add(here, path, None, alone=alone, problem=problem)
        claimed = [path for path, _ in (*read, *damaged)]
        if not (of_show or here.is_extra or (alone and claimed)):
            for stem in here.films_without(claimed)[: 1 if alone else None]:
                if (poster := here.poster(stem, alone=alone, taken=self._taken)) is not None:
                    self._without_nfo(here, stem, poster, alone=alone)

    def _add(self, here: _Folder, path: Path, nfo: Nfo | None, *, alone: bool, problem: str | None = None) -> None:
        stem = here.path.name if here.disc and path.parent != here.path else path.stem
        poster = here.poster(stem, alone=alone, taken=self._taken)
        if poster is not None:
            self._taken.add(poster)
        of_folder = alone or stem.casefold() == _MOVIE_NFO
        title, year = _from_name((of_folder and here.path.name) or stem)
        said = nfo or Nfo("film")
        title, year = said.title or title, said.year or year
        imdb = said.imdb or imdb_id(stem) or (imdb_id(here.path.name) if alone else None)
        known = imdb or (f"tmdb-{said.tmdb}" if said.tmdb else None)
        self.library.films.append(
            Film(
                id=known if known is not None and problem is None else self._below(path),
                name=title if year is None else f"{title} ({year})",
                nfo=path,
                poster=poster,
                title=title,
                year=year,
                genres=said.genres,
                actors=said.actors,
                problem=None if problem is None else f"{self._below(path)}: {problem}",
            )
        )

    def _without_nfo(self, here: _Folder, stem: str, poster: Path, *, alone: bool) -> None:
        self._taken.add(poster)
        title, year = _from_name(here.path.name if alone and here.path != self.library.root else stem)
        name = title if year is None else f"{title} ({year})"
        self.library.films.append(Film(self._below(poster), name, None, poster, title, year))

    def _count(self, what: str, kind: str = "", path: Path | None = None, message: str = "") -> None:
        self._counts[what] += 1
        if path is not None:
            self.library.oddities.append(Oddity(kind, self._below(path), message))

    def _goes_on(self, folder: Path, name: str) -> bool:
        """Whether a folder is looked through; one behind a link is not: what lies in the library is found without."""
        if name.startswith(".") or name.casefold() in _NOT_LOOKED_AT:
            return False
        path = folder / name
        if not path.is_symlink():
            return True
        self._inside(path)
        return False

    def _inside(self, path: Path) -> bool:
        """Whether a path that may be a link leads to something in the library; else it is an oddity."""
        try:
            inside = not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(self._real)
        except (OSError, ValueError):
            inside = False
        if not inside:
            message = "a link that leads out of the library, which is not followed"
            self.library.oddities.append(Oddity(LINK_OUT, self._below(path), message))
        return inside

    def _unreadable(self, error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        message = f"the folder cannot be read ({error.strerror or error})"
        self.library.oddities.append(Oddity(UNREADABLE, self._below(path), message))

    def _below(self, path: Path) -> str:
        return path.relative_to(self.library.root).as_posix()


_RECORDS = ("of films", "links alone", "of other things", "second ones of a film", "damaged or refused")


class _Folder:
    """The names in one folder, by what they are.

    Attributes:
        path: of the folder.
        nfos: NFO files in it, and in the folders of a disc.
        videos: names of the videos without endings; trailers and the like left out.
        disc: whether the film is a DVD or a Blu-ray, in folders.
    """

    def __init__(self, path: Path, names: list[str], folders: list[str], inside: Callable[[Path], bool]) -> None:
        self.path = path
        self.nfos: list[Path] = []
        self.videos: list[str] = []
        self._pictures: dict[str, list[Path]] = {}  # by name without ending, in small letters
        suffixes = picture_suffixes()
        for name in names:
            file = path / name
            stem, suffix = os.path.splitext(name)
            suffix = suffix.casefold()
            if suffix in _VIDEOS:
                if not _EXTRA_VIDEO.fullmatch(stem.casefold()):
                    self.videos.append(stem)
            elif (suffix == ".nfo" or suffix in suffixes) and os.path.isfile(file) and inside(file):
                (self.nfos if suffix == ".nfo" else self._pictures.setdefault(stem.casefold(), [])).append(file)
        discs = [path / name for name in folders if name.casefold() in _DISCS]
        self.disc = bool(discs)
        self.nfos += [file for disc in discs for file in _disc_nfos(disc) if inside(file)]

    @property
    def is_extra(self) -> bool:
        """Whether the folder holds what belongs to a film and is none."""
        return self.path.name.casefold() in _EXTRAS

    def is_first(self, nfo: Path) -> bool:
        """Whether an NFO file of a film goes before all others in its folder."""
        return nfo.stem.casefold() == _MOVIE_NFO or nfo.parent != self.path

    def alone(self, nfos: list[Path]) -> bool:
        """Whether the folder is that of one film, which these NFO files, or if there is none its videos, are of."""
        if self.disc or any(map(self.is_first, nfos)):
            return True
        names = [self.path.name, *(nfo.stem for nfo in nfos)]
        others = {_film(video) for video in self.videos if not _is_of(video, names)}
        films = len(nfos) or any(_is_of(video, names) for video in self.videos)
        return films + len(others) == 1

    def films_without(self, nfos: list[Path]) -> list[str]:
        """Names of films that no NFO file is of: those of their videos; of a disc, that of the folder."""
        if self.disc:
            return [self.path.name]
        known = [nfo.stem for nfo in nfos]
        return list({_film(video): video for video in reversed(self.videos) if not _is_of(video, known)}.values())[::-1]

    def poster(self, stem: str, *, alone: bool, taken: set[Path]) -> Path | None:
        """The poster of a film whose files are called so; in a folder of its own, also by the usual names."""
        names = [stem, *(self.videos if alone else ()), *([self.path.name] if alone else ())]
        stems = dict.fromkeys(spelt for name in names for spelt in (name.casefold(), _film(name)))
        usual = POSTER_NAMES if alone else ()
        for name in dict.fromkeys([*(f"{stem}-poster" for stem in stems), *usual, *stems]):
            for path in self._pictures.get(name, ()):
                if path not in taken:
                    return path
        return None


def _disc_nfos(disc: Path) -> Iterable[Path]:
    wanted = _DISCS[disc.name.casefold()]
    try:
        return sorted(path for path in disc.iterdir() if path.name.casefold() == wanted and os.path.isfile(path))
    except OSError:
        return []


def _film(stem: str) -> str:
    """The name of a film's file in small letters, without that of its part: ``Alien-cd1``."""
    return _PART.sub("", stem.casefold())


def _is_of(video: str, names: list[str]) -> bool:
    """Whether a video is a part or a version of a film of one of these names: ``Alien - 4k``, not ``Aliens``."""
    found = _film(video)
    wanted = [_film(name) for name in names]
    return any(
        found == name or (name and found.startswith(name) and found[len(name) :].startswith(_VERSION))
        for name in wanted
    )


def _from_name(name: str) -> tuple[str, int | None]:
    """Title and year of a folder or a file that is called ``Title (year)`` or so."""
    dated = _DATED.fullmatch(name)
    return (name, None) if dated is None else (dated[1], year_in(dated[2]))
