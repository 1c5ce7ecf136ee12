"""Format nfo, from the folders of a media library to prepared data: every film accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmposter.data import Dataset, prepare
from mmposter.data.sources import read_source
from mmposter.errors import UserError


@pytest.fixture
def library(tmp_path: Path, make_poster) -> Path:
    """Four good films, one of them twice, and one of each kind that is left out."""
    root = tmp_path / "films"

    def film(name: str, text: str, seed: int | None) -> None:
        path = root / name
        if seed is not None:
            make_poster(path.parent / f"{path.stem}-poster.jpg", seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def movie(title: str, genre: str, more: str = "") -> str:
        return f"<movie><title>{title}</title><year>2001</year><genre>{genre}</genre>{more}</movie>"

    film("Alien (2001)/movie.nfo", movie("Alien", "Horror / Science Fiction", "<id>tt0000001</id>"), 1)
    film("Alien 4k/alien.nfo", movie("Alien", "Horror", "<id>tt0000001</id>"), 2)
    film("Heat (2001)/Heat.nfo", movie("Heat", "Crime", "<tmdbid>949</tmdbid>"), 3)
    film("mixed/Up.nfo", movie("Up", "Animation"), 4)
    film("mixed/War.nfo", movie("War", "War"), 5)
    film("No Poster/movie.nfo", movie("No Poster", "Drama"), None)
    film("No Genre/movie.nfo", "<movie><title>No Genre</title></movie>", 6)
    film("Damaged/movie.nfo", "<movie><title>A & B</title></movie>", 7)
    film("Show/tvshow.nfo", "<tvshow/>", 8)
    make_poster(root / "No NFO (2001)" / "folder.jpg", 9)
    (root / "No NFO (2001)" / "film.mkv").touch()
    return root


def test_films_become_rows_and_every_other_is_counted_with_its_reason(library, tmp_path):
    report = prepare(library, tmp_path / "data", format="nfo", ratios=(1, 0, 0), quiet=True)
    dataset = Dataset.load(tmp_path / "data")
    rows = {row.id: row for row in dataset.table.itertuples()}
    assert set(rows) == {"tt0000001", "tmdb-949", "mixed/Up.nfo", "mixed/War.nfo"}
    assert list(rows["tt0000001"].genres) == ["Horror", "Sci-Fi"]
    assert (rows["tmdb-949"].title, rows["tmdb-949"].year) == ("Heat", 2001)
    assert rows["mixed/Up.nfo"].path == "mixed/Up-poster.jpg"
    assert report.dropped == {
        "bad_row": 1, "missing_poster": 1, "no_metadata": 1, "duplicate_id": 1, "no_genre": 1,
    }  # fmt: skip
    assert report.issues == {"other_nfo": 1}
    assert report.records == {"NFO files": 9, "of films": 7, "of other things": 1, "damaged or refused": 1}
    text = report.report_path.read_text(encoding="utf-8")
    assert "7 of films + 1 of other things + 1 damaged or refused = 9 = 9 NFO files" in text
    assert "NFO file that is not of a film" in text
    dropped = (tmp_path / "data" / "dropped.csv").read_text(encoding="utf-8")
    assert "Damaged/movie.nfo: it is no well-formed XML" in dropped
    assert "there is no poster beside movie.nfo: poster, folder, cover, movie, default or NAME-poster" in dropped


def test_corrections_find_films_by_their_ids(library, tmp_path):
    table = tmp_path / "corrections.csv"
    table.write_text("id,action,add,remove\ntt0000001,fix,Thriller,Horror\nmixed/Up.nfo,keep,,\n")
    prepare(library, tmp_path / "data", format="nfo", ratios=(1, 0, 0), corrections=table, quiet=True)
    rows = {row.id: list(row.genres) for row in Dataset.load(tmp_path / "data").table.itertuples()}
    assert rows["tt0000001"] == ["Sci-Fi", "Thriller"]


def test_a_library_is_a_source_beside_others(library, make_csv, tmp_path):
    table = make_csv(
        ["image,genres,title,year", "a.jpg,Drama,Other,1999", "b.jpg,Horror,Heat,2001"], {"a.jpg": 20, "b.jpg": 21}
    )
    out = tmp_path / "both"
    prepare([table, library], out, format=["csv", "nfo"], ratios=(1, 0, 0), quiet=True)
    dataset = Dataset.load(out)
    groups = dict(zip(dataset.table["id"], dataset.table["group"], strict=True))
    assert groups["tmdb-949"] == groups["b.jpg"], "one film, by its title and year"
    assert set(dataset.table["source"]) == {"films", "posters"}


def test_another_format_says_what_it_looks_like(library):
    with pytest.raises(UserError, match="looks like --format nfo"):
        read_source(library, "ccu")
