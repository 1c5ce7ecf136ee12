"""A made-up media library through prepare and predict: what is found, what is written, and whether it comes back.

    python benchmarks/library.py OUT [--films 50] [--model posters] [--branches cnn] [--precision .8]

Posters are drawn (scripts/draw_posters.py) and laid down in OUT/films as Kodi, Jellyfin and Emby lay them down: a
folder for each film, and many films in one; in several encodings, with line ends of Windows, with a link behind the
XML. Some films are not as they should be: damaged or hostile NFO files, no poster, no genre, no NFO file, a read-only
one. The commands run as users run them; their seconds include the start of the program.

Whether anything but our tags changed is not asked of mmposter: the bytes in common with the first content, from the
front and from the back, must be all of it, and what lies between must be tags.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST = 12
"""Films, so that each style and each fault has some."""

_TAGS = re.compile(r"(?:\s*<tag>mmposter: [^<]+</tag>)+\s*")


@dataclass(frozen=True)
class Drawn:
    """A film of the drawn posters."""

    title: str
    year: int
    genres: list[str]
    number: int
    poster: Path

    @property
    def name(self) -> str:
        return f"{self.title} {self.number} ({self.year})"

    def xml(self, genres: list[str], more: str = "", title: str | None = None) -> str:
        """As most programs write it."""
        lines = [
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>',
            "<movie>",
            f"  <title>{title or self.title} {self.number}</title>",
            f"  <year>{self.year}</year>",
            *(f"  <genre>{genre}</genre>" for genre in genres),
            f'  <uniqueid type="imdb" default="true">tt{9_000_000 + self.number}</uniqueid>',
            f"  <!-- by hand --><tag>seen</tag>{more}",
            "</movie>",
        ]
        return "\n".join(lines) + "\n"


def kodi(films: Path, film: Drawn) -> None:
    """A folder with files of the film's name, line ends of Windows, and a link behind the XML."""
    folder = films / film.name
    link = f"https://www.imdb.com/title/tt{9_000_000 + film.number}/\r\n"
    text = film.xml([" / ".join(film.genres)]).replace("\n", "\r\n") + link
    lay(folder / f"{film.name}.nfo", text.encode())
    shutil.copy(film.poster, folder / f"{film.name}-poster.jpg")
    shutil.copy(film.poster, folder / f"{film.name}-fanart.jpg")
    lay(folder / f"{film.name}.mkv")


def jellyfin(films: Path, film: Drawn) -> None:
    """A folder with movie.nfo and folder.jpg, with a byte order mark."""
    folder = films / film.name
    more = "\n  <lockdata>false</lockdata>\n  <fileinfo>\n    <streamdetails />\n  </fileinfo>"
    lay(folder / "movie.nfo", b"\xef\xbb\xbf" + film.xml(film.genres, more).encode())
    shutil.copy(film.poster, folder / "folder.jpg")
    lay(folder / f"{film.name} - 1080p.mkv")


def emby(films: Path, film: Drawn) -> None:
    """A folder with an NFO file in UTF-16 on one line, and poster.jpg."""
    folder = films / film.name
    text = film.xml(film.genres).replace("UTF-8", "utf-16").replace("\n", "")
    lay(folder / "movie.nfo", text.encode("utf-16"))
    shutil.copy(film.poster, folder / "poster.jpg")
    lay(folder / f"{film.name}.mp4")


def mixed(films: Path, film: Drawn) -> None:
    """Many films in one folder, in Latin-1."""
    folder = films / "Unsorted"
    text = film.xml(film.genres, title=f"{film.title} à la carte").replace("UTF-8", "ISO-8859-1")
    lay(folder / f"{film.name}.nfo", text.encode("latin-1"))
    shutil.copy(film.poster, folder / f"{film.name}.jpg")
    lay(folder / f"{film.name}.avi")


def odd(films: Path, film: Drawn, fault: str) -> None:
    """A film in a folder of its own that is not as it should be."""
    folder = films / film.name
    text = film.xml([] if fault == "no genre" else film.genres)
    if fault == "entities":
        text = f'<!DOCTYPE movie [<!ENTITY a "{"ha" * 1000}">]><movie><title>{"&a;" * 1000}</title></movie>'
    elif fault == "not well-formed":
        text = text.replace("<title>", "<title>Tom & ")
    elif fault == "too large":
        text = text.replace("<year>", " " * 2_000_000 + "<year>")
    elif fault == "a link alone":
        text = f"https://www.imdb.com/title/tt{9_000_000 + film.number}/"
    lay(folder / f"{film.name}.mkv")
    if fault != "no NFO file":
        lay(folder / "movie.nfo", text.encode())
    if fault == "read-only":
        (folder / "movie.nfo").chmod(0o444)
    if fault != "no poster":
        shutil.copy(film.poster, folder / "poster.jpg")


STYLES: tuple[Callable[[Path, Drawn], None], ...] = (kodi, jellyfin, emby, mixed)
FAULTS = (
    "entities", "not well-formed", "too large", "a link alone", "no genre", "no NFO file", "no poster", "read-only",
)  # fmt: skip


def lay(path: Path, content: bytes = b"") -> None:
    """Write a file of the library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def draw(out: Path, count: int) -> list[Drawn]:
    """The films, with their posters drawn."""
    command = [sys.executable, str(ROOT / "scripts" / "draw_posters.py"), str(out), "--count", str(count)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with (out / "posters.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        Drawn(row["title"], int(row["year"]), row["genres"].split("|"), number, out / row["image"])
        for number, row in enumerate(rows)
    ]


def make_library(films: Path, drawn: list[Drawn]) -> None:
    """Lay down all films, and a show beside them."""
    for film in drawn:
        if film.number < len(FAULTS):
            odd(films, film, FAULTS[film.number])
        else:
            STYLES[film.number % len(STYLES)](films, film)
    lay(films / "A Show" / "tvshow.nfo", b"<tvshow><title>A Show</title></tvshow>")
    lay(films / "A Show" / "Season 1" / "S01E01.nfo", b"<episodedetails><title>One</title></episodedetails>")
    lay(films / "A Show" / "Season 1" / "S01E01.mkv")
    shutil.copy(drawn[0].poster, films / "A Show" / "poster.jpg")


def contents(films: Path) -> dict[str, bytes]:
    """The NFO files of the library and whatever else is not a video or a picture, by their paths."""
    kept = (
        path
        for path in sorted(films.rglob("*"))
        if path.is_file() and path.suffix not in (".jpg", ".mkv", ".mp4", ".avi")
    )
    return {path.relative_to(films).as_posix(): path.read_bytes() for path in kept}


def in_common(one: bytes, other: bytes) -> int:
    """With how many same bytes the two begin."""
    differ = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def changed_bytes(before: bytes, after: bytes) -> int:
    """Bytes of `before` that are not in `after` any more, and those that came in and are no tag of ours."""
    front = in_common(before, after)
    gone, came = before[front:], after[front:]
    back = in_common(gone[::-1], came[::-1])
    gone, came = gone[: len(gone) - back], came[: len(came) - back]
    text = came.replace(b"\0", b"").decode("ascii", "replace")
    # Tags begin as what follows them does (`<`), so the cut may be some letters late: their end belongs to the front.
    turned = (text[len(text) - late :] + text[: len(text) - late] for late in range(min(len(text), 20)))
    return len(gone) + (0 if not came or any(map(_TAGS.fullmatch, turned)) else len(came))


class Commands:
    """Runs commands of mmposter, and keeps how long they took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, *words: object) -> str:
        """What a command says to people; it must end well."""
        begun = time.monotonic()
        command = [sys.executable, "-m", "mmposter", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.seconds[what] = time.monotonic() - begun
        if done.returncode:
            sys.exit(f"mmposter {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}")
        return done.stderr


def number(pattern: str, text: str) -> int:
    """The number that a command said; 0 where it did not."""
    found = re.search(pattern, text)
    return 0 if found is None else int(found[1].replace(",", ""))


def measure(out: Path, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """All steps; the rows of the table."""
    films, command = out / "films", Commands()
    drawn = draw(out / "drawn", arguments.films)
    make_library(films, drawn)
    first = contents(films)

    command("prepare", "prepare", films, "--format", "nfo", "--out", out / "data", "--ratios", 1, 0, 0)
    info = json.loads((out / "data" / "dataset.json").read_text())["counts"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in info["dropped"].items())
    rows = [
        ("films laid down", str(len(drawn))),
        ("prepare: films kept", f"{info['kept']} ({command.seconds['prepare']:.0f} s)"),
        ("prepare: films left out", f"{sum(info['dropped'].values())} ({dropped})"),
        ("prepare: NFO files not of films", str(info["issues"].get("other_nfo", 0))),
    ]
    how = ["--format", "nfo", "--model", arguments.model, "--precision", arguments.precision, "--offline"]
    how += [] if arguments.branches is None else ["--branches", arguments.branches]
    said = command("dry", "predict", films, *how, "--write-nfo", "--out", out / "films.jsonl")
    lines = [json.loads(line) for line in (out / "films.jsonl").read_text(encoding="utf-8").splitlines()]
    verdicts = Counter(line.get("verdict") for line in lines)
    rows += [
        ("predict: films found", str(number(r"([\d,]+) films found", said))),
        ("predict: posters found", f"{len(lines)} ({verdicts['accept']} accepted, {verdicts['review']} for review)"),
        ("without --yes: files that would change", str(number(r"([\d,]+) NFO files? would change", said))),
        ("without --yes: files changed", str(sum(data != first.get(name) for name, data in contents(films).items()))),
    ]

    said = command("write", "predict", films, *how, "--write-nfo", "--yes")
    written = contents(films)
    backups = [name for name in written if name.endswith(".bak-mmposter")]
    changed = [name for name in first if written[name] != first[name]]
    outside = sum(changed_bytes(first[name], written[name]) for name in changed)
    skipped = re.search(r"\d skipped:\n((?:  .*\n)+)", said)
    reasons = Counter(line.partition(".nfo: ")[2] for line in (skipped[1].splitlines() if skipped else ()))
    rows += [
        ("with --yes: files changed", f"{len(changed)} ({command.seconds['write']:.0f} s)"),
        ("with --yes: NFO bytes changed outside our tags", str(outside)),
        ("with --yes: backups that are the first content", str(sum(written[n] == first[n[:-13]] for n in backups))),
        ("with --yes: accepted films skipped", f"{sum(reasons.values())} ({'; '.join(reasons)})" if reasons else "0"),
    ]
    command("again", "predict", films, *how, "--write-nfo", "--yes")
    again = contents(films)
    rows.append(("again: files changed", str(sum(data != written.get(name) for name, data in again.items()))))
    command("restore", "predict", films, "--format", "nfo", "--restore-nfo", "--yes")
    last = contents(films)
    same = sum(last.get(name) == data for name, data in first.items())
    rows += [
        ("restored: NFO files as they were", f"{same} of {len(first)} ({command.seconds['restore']:.0f} s)"),
        ("restored: other files left behind", str(len(set(last) - set(first)))),
    ]
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A made-up media library through prepare and predict.")
    parser.add_argument("out", type=Path, help="folder to write; must not be there")
    parser.add_argument("--films", type=int, default=50, help="how many films (default 50)")
    parser.add_argument("--model", default="posters", help="run, or name of a shipped model (default posters)")
    parser.add_argument("--branches", help="comma-separated; default: all that the model has")
    parser.add_argument("--precision", default=".8", help="promised for the tags (default .8)")
    arguments = parser.parse_args()
    if arguments.films < LEAST:
        parser.error(f"--films must be {LEAST} or more; got {arguments.films}")
    if arguments.out.exists():
        parser.error(f"{arguments.out} is there already; give another folder")
    rows = measure(arguments.out, arguments)
    print(f"{arguments.films} films, model {arguments.model}, precision {arguments.precision}\n")
    print("| what | result |\n| --- | --- |")
    for what, result in rows:
        print(f"| {what} | {result} |")


if __name__ == "__main__":
    main()
