"""`prepare` on a table of links: nothing is lost, nothing is downloaded twice, whatever happens."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset, prepare
from mmposter.data.downloading import DownloadOptions, place_posters
from mmposter.data.sources.base import PosterRow, SourceRows
from mmposter.errors import UserError

GENRES = ("Drama", "Comedy", "Romance|Drama", "Action", "Crime|Thriller")
# What the server does -> what the row is dropped for. Everything that passes after a while is kept.
KINDS = {
    "good": None,
    "500once": None,
    "429once": None,
    "cutonce": None,
    "moved": None,
    "404": "http_404",
    "403": "http_403",
    "410": "http_410",
    "503": "http_503",
    "reset": "no_connection",
    "cut": "cut_off",
    "toolong": "cut_off",
    "tooshort": "truncated",
    "html": "not_an_image",
    "empty": "empty",
    "loop": "redirect_loop",
    "tofile": "bad_redirect",
}
# Some kinds fail for ever, and in a second run only they are asked: no reason to give up the host here.
QUICK = {"backoff": 0.01, "attempts": 3, "timeout": 5.0, "hopeless": 100_000}


def write_table(path, kinds, url="https://images.example/M"):
    """A table in the form of the real one; row i is answered in the way of kinds[i]."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["", "Unnamed: 0", "imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster"])
        for number, kind in enumerate(kinds):
            movie = 1000 + number
            link = f"http://www.imdb.com/title/tt{movie}"
            title = f"Film, the {number}th ({1950 + number % 60})"
            poster = f"{url}/{kind}-{number}.jpg"
            writer.writerow([number, 7 * number, movie, link, title, 6.1, GENRES[number % 5], poster])
    return path


def many_kinds(count):
    """Mostly good ones, the others spread between them."""
    kinds = [kind for kind in KINDS for _ in range(max(1, count // 50))]
    kinds += ["good"] * (count - len(kinds))
    random.Random(0).shuffle(kinds)
    return kinds


def run(source, out, server, **changes):
    options = DownloadOptions(mirror=None if server is None else server.url, **(QUICK | changes))
    return prepare(source, out, format="kaggle", download=options, quiet=True, workers=2)


def test_every_row_is_accounted_for_and_nothing_is_asked_twice(poster_server, tmp_path):
    kinds = many_kinds(300)
    source, out = write_table(tmp_path / "MovieGenre.csv", kinds), tmp_path / "data"
    report = run(source, out, poster_server)
    good = [number for number, kind in enumerate(kinds) if KINDS[kind] is None]
    assert report.kept + sum(report.dropped.values()) == len(kinds) == 300
    assert report.kept == len(good) == report.downloaded
    assert report.dropped == {"missing_poster": 300 - len(good)}
    expected = pd.Series([KINDS[kind] or "there" for kind in kinds]).value_counts().to_dict()
    assert report.links == expected

    data = Dataset.load(out)
    assert data.root == (out / "posters").resolve()
    row = data.table.set_index("id").loc[f"tt{1000 + good[0]:07d}"]
    assert (row["title"], row["year"]) == (f"Film, the {good[0]}th", 1950 + good[0] % 60)
    assert row["path"] == f"tt{1000 + good[0]:07d}.jpg"
    assert all(path.is_file() for path in [data.image_path(row) for row in range(len(data))])

    dead = pd.read_csv(out / "dead_links.csv")
    assert dict(zip(dead["id"], dead["reason"], strict=True)) == {
        f"tt{1000 + number:07d}": KINDS[kind] for number, kind in enumerate(kinds) if KINDS[kind]
    }
    assert set(dead["url"].map(lambda url: urlsplit(url).netloc)) == {"images.example"}
    messages = pd.read_csv(out / "dropped.csv").set_index("id")["message"]
    assert messages[dead["id"][0]] == f"{dead['reason'][0]}: {dead['message'][0]}"
    text = report.report_path.read_text()
    assert f"| there | {report.kept} | the poster is there |" in text
    assert " = 300 links." in text

    # The second run asks only for what may have come back, and says the same.
    files = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    asked = set(poster_server.log)
    poster_server.log.clear()
    again = run(source, out, poster_server)
    assert again == report
    assert again.downloaded == 0
    assert {path.rpartition("/")[2].rpartition("-")[0] for path in poster_server.log} == {
        "503", "reset", "cut", "toolong",
    }  # fmt: skip
    assert set(poster_server.log) < asked
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == files

    # Without the network, from what is known.
    poster_server.log.clear()
    options = DownloadOptions(offline=True)
    offline = prepare(
        source, tmp_path / "other", format="kaggle", posters=out / "posters", download=options, quiet=True
    )
    assert poster_server.log == []
    assert offline.kept == report.kept
    # What is dead at the mirror is not known to be dead at the links' own host.
    assert offline.links == {"there": report.kept, "not_asked": 300 - report.kept}


def test_the_users_own_posters_are_taken_and_not_asked_for(poster_server, make_poster, tmp_path):
    source = write_table(tmp_path / "MovieGenre.csv", ["good", "404", "good", "404"])
    mine = make_poster(tmp_path / "mine" / "tt0001000.png", 5)
    make_poster(tmp_path / "mine" / "tt0001001.jpg", 6)
    options = DownloadOptions(mirror=poster_server.url)
    report = prepare(
        source, tmp_path / "data", format="kaggle", posters=tmp_path / "mine", download=options, quiet=True
    )
    assert report.links == {"there": 3, "http_404": 1}
    assert sorted(poster_server.log) == ["/M/404-3.jpg", "/M/good-2.jpg"]
    table = Dataset.load(tmp_path / "data").table
    assert list(table["path"]) == [mine.name, "tt0001001.jpg", "tt0001002.jpg"]


def test_rows_of_one_id_share_one_poster(poster_server, tmp_path):
    source = write_table(tmp_path / "MovieGenre.csv", ["good", "good"])
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines, lines[1].replace("good-0", "good-9")]) + "\n")
    report = run(source, tmp_path / "data", poster_server)
    assert report.dropped == {"duplicate_id": 1}
    assert report.links == {"there": 2}
    assert sorted(poster_server.log) == ["/M/good-0.jpg", "/M/good-1.jpg"]


def test_ids_that_are_no_file_names_are_not_written(poster_server, tmp_path):
    names = ["../out", "a/b", ".hidden", "", "a\0b", "x" * 300, "C:\\x", "good"]
    rows = [PosterRow(name, None, url=f"{poster_server.url}/good-{place}.jpg") for place, name in enumerate(names)]
    found, links = place_posters(
        SourceRows(tmp_path, rows), tmp_path / "deep" / "posters", DownloadOptions(), quiet=True
    )
    assert [row.problem is None for row in found.rows] == [name == "good" for name in names]
    assert links.counts == {"there": 1}
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"deep/posters/good.jpg", "deep/posters/downloads.jsonl"}


def test_posters_that_is_a_file_is_refused(tmp_path):
    source = write_table(tmp_path / "MovieGenre.csv", ["good"])
    with pytest.raises(UserError, match=r"MovieGenre.csv is a file; it must be a folder"):
        prepare(source, tmp_path / "data", format="kaggle", posters=source, quiet=True)


def test_nothing_left_says_why(tmp_path):
    source = write_table(tmp_path / "MovieGenre.csv", ["good"])
    with pytest.raises(UserError, match=r"missing_poster 1\).*\n.*not_asked: it was not asked for: --offline"):
        run(source, tmp_path / "data", None, offline=True)


def test_the_command_takes_the_mirror_and_shows_the_counts(poster_server, tmp_path):
    source = write_table(tmp_path / "MovieGenre.csv", ["good", "good", "404"])
    arguments = ["prepare", str(source), "--out", str(tmp_path / "data"), "--format", "kaggle"]
    result = CliRunner().invoke(app, [*arguments, "--mirror", poster_server.url, "--connections", "2"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "data" / "report.md")
    for words in ("link: there (2 downloaded now)", "link: http_404", "dropped: missing_poster"):
        assert words in result.stderr


def command(source, out, server):
    arguments = ["--out", str(out), "--format", "kaggle", "--mirror", server.url]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mmposter", "prepare", str(source), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        # A test run in the background of a shell ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def settled(posters: Path, kinds: list[str]) -> set[str]:
    """Paths that the folder knows about: posters that are there, and links that the ledger calls dead.

    A poster may be there without its line in the ledger, if the kill came between the two.
    """
    numbers = [int(path.stem.removeprefix("tt")) - 1000 for path in posters.glob("*.jpg")]
    ledger = posters / "downloads.jsonl"
    lines = ledger.read_text().splitlines() if ledger.is_file() else []
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            assert line is lines[-1]
    dead = {urlsplit(entry["url"]).path for entry in entries if entry["status"] == "dead"}
    return dead | {f"/M/{kinds[number]}-{number}.jpg" for number in numbers}


@pytest.mark.parametrize("moment", [60, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 150, 250))])
def test_killed_in_the_middle_it_goes_on_and_downloads_nothing_twice(poster_server, tmp_path, moment):
    kinds = ["404" if number % 7 == 0 else "good" for number in range(300)]
    source, out = write_table(tmp_path / "MovieGenre.csv", kinds), tmp_path / "data"
    poster_server.delay = 0.002
    process = command(source, out, poster_server)
    wait_for(lambda: len(poster_server.log) >= moment)
    process.kill()
    process.communicate()
    time.sleep(0.05)  # the answers that are on their way
    first, known = list(poster_server.log), settled(out / "posters", kinds)
    assert moment <= len(first) < 300
    assert len(first) == len(set(first))
    # Asked, but not known: the requests that were out when it was killed, four at most.
    assert len(set(first) - known) <= 4
    process = command(source, out, poster_server)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    second = poster_server.log[len(first) :]
    assert not known & set(second)
    assert len(second) == len(set(second)) == 300 - len(known)
    assert len(Dataset.load(out)) == kinds.count("good")
    # A file that was half written has another name and is no poster.
    assert len(list((out / "posters").glob("*.jpg"))) == kinds.count("good")


def test_an_interrupt_stops_at_once_and_keeps_what_is_there(poster_server, tmp_path):
    kinds = ["good"] * 40 + ["silent"] * 20
    source, out = write_table(tmp_path / "MovieGenre.csv", kinds), tmp_path / "data"
    process = command(source, out, poster_server)
    # Four hang in silence, and nobody waits for their time-out of 20 s.
    wait_for(lambda: sum("silent" in path for path in poster_server.log) == 4)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert time.monotonic() - start < 5
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert len(list((out / "posters").glob("*.jpg"))) == 40


@pytest.mark.slow
def test_six_thousand_rows(poster_server, tmp_path):
    kinds = many_kinds(6000)
    report = run(write_table(tmp_path / "MovieGenre.csv", kinds), tmp_path / "data", poster_server, connections=16)
    assert report.kept + sum(report.dropped.values()) == 6000
    assert report.kept == sum(KINDS[kind] is None for kind in kinds)


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_table_is_read_without_loss(poster_server, shared_root, shared_ccu, tmp_path):
    """Real posters of other films under the table's links; every ninth link fails."""
    source = shared_root / "data" / "kaggle" / "MovieGenre_sample.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files = sorted((shared_ccu / "Movie_Poster_Dataset").rglob("*.jpg"))
    places = {urlsplit(row["Poster"]).path: place for place, row in enumerate(rows)}
    kinds = ["404", "html", "empty", "cutonce"]
    poster_server.picture = lambda path: files[places[path]].read_bytes()
    poster_server.kind = lambda path: "good" if places[path] % 9 else kinds[places[path] // 9 % 4]
    report = run(source, tmp_path / "data", poster_server)
    assert report.kept + sum(report.dropped.values()) == len(rows)
    assert sum(report.links.values()) == len(rows)
    assert report.links["there"] == sum(place % 9 != 0 or place // 9 % 4 == 3 for place in range(len(rows)))
    assert report.dropped["missing_poster"] == len(rows) - report.links["there"]
    assert report.kept > 0.85 * len(rows)
