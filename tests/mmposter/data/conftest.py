"""Tiny posters, and a made-up data set in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _poster(path: Path, seed: int, *, size: tuple[int, int] = (48, 64), quality: int = 90) -> Path:
    """A smooth random picture: seeds far apart for the perceptual hash, and stable when saved again."""
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path, quality=quality)
    return path


def _record(movie: str, genre: str | None, title: str = "A Title", actors: str = "N/A") -> str:
    """One object as the published files have it: sorted JSON with an unquoted ObjectId in front."""
    body = {"Title": title, "Actors": actors, "imdbID": movie, "Genre": genre}
    lines = json.dumps(body, indent=2, ensure_ascii=False).splitlines()
    return "\n".join(["{", '  "_id" : ObjectId("56fb997a71a06517682a2c60"),', *lines[1:]])


class CcuMaker:
    """Builds a source folder in the published layout, one call a thing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts: dict[int, list[str]] = {}
        (root / "Movie_Poster_Dataset").mkdir(parents=True)
        (root / "Movie_Poster_Metadata" / "groundtruth").mkdir(parents=True)

    def poster(self, movie: str, seed: int, year: int = 1985, **options: object) -> Path:
        return _poster(self.root / "Movie_Poster_Dataset" / str(year) / f"{movie}.jpg", seed, **options)  # type: ignore[arg-type]

    def record(self, movie: str, genre: str | None, year: int = 1985, **fields: str) -> None:
        self.raw(_record(movie, genre, **fields), year)

    def raw(self, text: str, year: int = 1985) -> None:
        self.texts.setdefault(year, []).append(text)
        path = self.root / "Movie_Poster_Metadata" / "groundtruth" / f"{year}.txt"
        path.write_text("\n".join(self.texts[year]) + "\n", encoding="utf-16")


@pytest.fixture
def ccu(tmp_path: Path) -> CcuMaker:
    return CcuMaker(tmp_path / "source")


@pytest.fixture
def make_poster():
    return _poster


@pytest.fixture
def make_csv(tmp_path: Path):
    """Write posters.csv beside posters with the given seeds; returns the table's path."""

    def make(lines: list[str], seeds: dict[str, int], folder: str = "table") -> Path:
        for name, seed in seeds.items():
            _poster(tmp_path / folder / name, seed)
        path = tmp_path / folder / "posters.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make
