"""`predict --format nfo`: films of a media library by their posters, and tags in their NFO files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mmposter import Run, UserError
from mmposter.cli import app
from mmposter.evaluation.promise import Evidence

TAG = "<tag>mmposter: "


def promising(percent: int) -> Evidence:
    """Validation posters that promise up to .9 of the genres from this percent on, and nothing of those below."""
    percents, true = np.array([[percent, percent - 1, 0]] * 400), np.array([[True, False, False]] * 400)
    return Evidence(percents, true, 400, 800)


@pytest.fixture
def run(make_run) -> Path:
    """Gives three genres to every poster that it can see."""
    folder = make_run(branches="cnn", calibrated=True)
    promise_from(folder, 21)
    return folder


def promise_from(folder: Path, percent: int) -> None:
    found = Run.load(folder).subsets()
    changed = replace(found.of(("cnn",)), evidence=promising(percent))
    replace(found, subsets=found.subsets | {("cnn",): changed}).save(folder)


@pytest.fixture
def library(tmp_path, make_drawn) -> Path:
    """Three films with an NFO file and a poster; one each without a poster, without XML, and with a bad poster."""
    root = tmp_path / "films"
    films = {
        "Heat (1995)/movie.nfo": "<movie>\n  <title>Heat</title>\n  <year>1995</year>\n</movie>\n",
        "Alien (1979)/alien.nfo": "<movie><title>Alien</title><year>1979</year></movie>",
        "Locked (2001)/movie.nfo": "<movie><title>Locked</title><year>2001</year></movie>",
        "Bare (2002)/movie.nfo": "<movie><title>Bare</title><year>2002</year></movie>",
        "Link (2003)/movie.nfo": "https://www.imdb.com/title/tt0000003/",
        "Bad (2004)/movie.nfo": "<movie><title>Bad</title><year>2004</year></movie>",
    }
    for number, (name, text) in enumerate(films.items()):
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        if "Bad" in name:
            (path.parent / "poster.jpg").write_bytes(b"no picture")
        elif "Bare" not in name:
            make_drawn(number, 60, 90).save(path.parent / "poster.png")
    (root / "Locked (2001)" / "movie.nfo").chmod(0o444)
    return root


def command(library: Path, *more: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["predict", str(library), "--format", "nfo", *more], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def predict(run: Path, library: Path, *more: str, precision: str = ".8") -> str:
    how = ["--model", str(run), "--offline", "--workers", "1", "--precision", precision]
    return command(library, *how, *more)


def contents(library: Path) -> dict[str, bytes]:
    return {str(path.relative_to(library)): path.read_bytes() for path in library.rglob("*") if path.is_file()}


def test_a_line_names_the_film_and_its_poster(run, library, tmp_path):
    said = predict(run, library, "--out", str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["film"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"Heat (1995)", "Alien (1979)", "Locked (2001)", "Link (2003)", "Bad (2004)"}
    assert rows["Heat (1995)"]["path"] == str(library / "Heat (1995)" / "poster.png")
    assert rows["Bad (2004)"]["error"].startswith("not_an_image")
    assert "6 films found, 5 with a poster" in said
    assert "1 without a poster:\n  Bare (2002)" in said
    listed = command(library, "--model", str(run), "--offline", "--listing")
    assert any(line.startswith("Heat (1995)  ") for line in listed.splitlines())


def test_tags_are_shown_written_replaced_and_taken_out(run, library, tmp_path):
    before = contents(library)
    shown = predict(run, library, "--write-nfo")
    assert contents(library) == before, "without --yes nothing is written"
    assert "2 NFO files would change:\n  Alien (1979): " in shown
    assert "Nothing was written. To write, type the same command with --yes" in shown
    assert "2 skipped:" in shown
    assert "Locked (2001): movie.nfo: it is read-only" in shown
    assert "Link (2003): movie.nfo: it holds no XML" in shown

    said = predict(run, library, "--write-nfo", "--yes", "--out", str(tmp_path / "out.jsonl"))
    assert "2 NFO files changed" in said
    assert "to undo: mmposter predict LIBRARY --format nfo --restore-nfo --yes" in said
    lines = {line["film"]: line for line in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    genres = lines["Heat (1995)"]["genres"]
    assert len(genres) == 3
    after = contents(library)
    assert set(after) - set(before) == {
        "Heat (1995)/movie.nfo.bak-mmposter", "Alien (1979)/alien.nfo.bak-mmposter",
    }  # fmt: skip
    tags = "".join(f"  {TAG}{genre}</tag>\n" for genre in genres)
    expected = before["Heat (1995)/movie.nfo"].decode().replace("</movie>", f"{tags}</movie>")
    assert after["Heat (1995)/movie.nfo"].decode() == expected
    unchanged = set(before) - {"Heat (1995)/movie.nfo", "Alien (1979)/alien.nfo"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}

    again = predict(run, library, "--write-nfo", "--yes")
    assert "0 NFO files changed\n2 had the same tags before" in again
    assert contents(library) == after

    promise_from(run, 99)
    said = predict(run, library, "--write-nfo", "--yes")
    assert "Heat (1995): no tag any more" in said, "it is for review now, and a tag of ours would say otherwise"
    restored = command(library, "--restore-nfo", "--yes")
    assert "0 NFO files changed" in restored
    assert contents(library) == before


def test_restoring_is_shown_first_and_needs_no_model(run, library):
    before = contents(library)
    predict(run, library, "--write-nfo", "--yes")
    heat = library / "Heat (1995)" / "movie.nfo"
    heat.write_text(heat.read_text().replace("<year>", "<rating>9</rating><year>"))
    changed = contents(library)
    assert "2 NFO files would change" in command(library, "--restore-nfo")
    assert contents(library) == changed
    said = command(library, "--restore-nfo", "--yes", "--model", "nowhere")
    assert "2 NFO files changed" in said
    assert "Backups kept, as the NFO file was changed by others since:\n  Heat (1995)/movie.nfo.bak-mmposter" in said
    assert heat.read_text() == "<movie>\n  <title>Heat</title>\n  <rating>9</rating><year>1995</year>\n</movie>\n"
    kept = {"Heat (1995)/movie.nfo", "Heat (1995)/movie.nfo.bak-mmposter"}
    assert {name: data for name, data in contents(library).items() if name not in kept} == {
        name: data for name, data in before.items() if name not in kept
    }


def test_what_cannot_be_promised_is_not_written(run, library):
    before = contents(library)
    with pytest.raises(
        UserError, match=r"cannot be promised.*\nNo NFO file was changed. Type for example: --precision 0.9"
    ):
        predict(run, library, "--write-nfo", "--yes", precision=".995")
    assert contents(library) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "csv"], "--format takes nfo"),
        (["--write-nfo"], "--write-nfo is for media libraries"),
        (["--format", "nfo", "--write-nfo"], "needs --precision.\nType for example: mmposter predict LIBRARY"),
        (["--format", "nfo", "--write-nfo", "--restore-nfo"], "one of --write-nfo and --restore-nfo"),
        (["--format", "nfo", "--yes"], "--yes goes with"),
    ],
)
def test_options_that_say_nothing_are_refused(tmp_path, more, message):
    done = CliRunner().invoke(app, ["predict", str(tmp_path), *more])
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


def test_a_library_is_a_folder(tmp_path):
    for path, message in (("-", "needs the folder of a media library"), (str(tmp_path), "there is no film below")):
        done = CliRunner().invoke(app, ["predict", path, "--format", "nfo"])
        assert message in str(done.exception)
