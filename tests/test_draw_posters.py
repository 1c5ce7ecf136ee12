"""The posters of `make quickstart`: the same for a seed, readable by the csv source, and something to learn from."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmposter.data import prepare
from mmposter.data.vocabulary import Vocabulary

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "draw_posters.py"
COUNT = 36


def draw(out: Path, *arguments: str) -> Path:
    command = [sys.executable, str(SCRIPT), str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("drawn"), "--count", str(COUNT))


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_seed_decides_every_byte_and_a_longer_run_begins_alike(table: Path, tmp_path: Path) -> None:
    draw(tmp_path / "same", "--count", "4")
    draw(tmp_path / "other", "--count", "4", "--seed", "1")
    longer, same, other = contents(table.parent), contents(tmp_path / "same"), contents(tmp_path / "other")
    del same["posters.csv"]
    assert len(same) == 4
    assert all(longer[name] == data for name, data in same.items())
    assert all(other[name] != data for name, data in same.items())


def test_prepare_keeps_every_poster_with_its_genres(table: Path, tmp_path: Path) -> None:
    report = prepare(table, tmp_path / "data", format="csv", quiet=True)
    assert report.kept == COUNT
    assert not report.dropped
    assert set(report.issues) <= {"same_picture"}  # two are drawn of the same few shapes, with another title
    genres = {genre for row in rows(table) for genre in row["genres"].split("|")}
    assert genres <= set(Vocabulary.load("posters20").genres)
    assert len(genres) == 6


def test_each_film_has_one_or_two_genres_and_some_have_two(table: Path) -> None:
    counts = [len(row["genres"].split("|")) for row in rows(table)]
    assert set(counts) == {1, 2}


def test_posters_have_the_size_of_posters(table: Path) -> None:
    for path in table.parent.glob("*.jpg"):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert 290 <= image.width <= 310
            assert 430 <= image.height <= 462


def test_a_genre_can_be_seen_but_not_always(table: Path) -> None:
    light: dict[str, list[float]] = {}
    for row in rows(table):
        with Image.open(table.parent / row["image"]) as image:
            light.setdefault(row["genres"].split("|")[0], []).append(float(np.asarray(image.convert("L")).mean()))
    assert np.mean(light["Horror"]) + 60 < np.mean(light["Comedy"])
    # One of these horror posters wears the colours of another genre.
    assert max(light["Horror"]) > 2 * np.median(light["Horror"])


def test_a_bad_count_is_refused_in_words(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--count", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--count must be 1 or more; got 0" in done.stderr
