"""The format of a source that nobody names."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mmposter.data import prepare
from mmposter.data.several import ask_sources
from mmposter.data.sources import FORMATS, SourceRows, register_source
from mmposter.data.sources.recognised import recognise
from mmposter.errors import UserError


def table(folder: Path, header: str, row: str = "1,2,3,4,5,6") -> Path:
    path = folder / "films.csv"
    path.write_text(f"{header}\n{row}\n")
    return path


def test_tables_by_their_columns(tmp_path):
    for header, said in (
        ("image,genres,title", "format: csv, found by the columns image, genres"),
        ("Genres;Image", "format: csv, found by the columns image, genres"),
        ("imdbId,Imdb Link,Title,Genre,Poster", "format: kaggle, found by the columns imdbId, Genre, Poster"),
        ("Id,Genre,Action,Drama", "format: onehot, found by the columns Id, Genre, and one a genre"),
    ):
        assert str(recognise(table(tmp_path, header))) == said


def test_folders_by_what_lies_there(tmp_path, ccu, make_poster):
    ccu.poster("tt1", 1)
    assert str(recognise(ccu.root)) == "format: ccu, found by the folder Movie_Poster_Dataset"
    make_poster(tmp_path / "split" / "train" / "Drama" / "a.jpg", 1)
    assert str(recognise(tmp_path / "split")) == "format: imagefolder, found by the folder train"
    make_poster(tmp_path / "hub" / "a.jpg", 1)
    (tmp_path / "hub" / "metadata.csv").write_text("file_name,genres\na.jpg,Drama\n")
    assert str(recognise(tmp_path / "hub")) == "format: imagefolder, found by the file metadata.csv"
    make_poster(tmp_path / "movies" / "dataset" / "1.jpeg", 1)
    (tmp_path / "movies" / "dataset" / "1.json").write_text(json.dumps({"genres": ["Drama"]}))
    assert recognise(tmp_path / "movies").name == "mmimdb"
    (tmp_path / "shards" / "data").mkdir(parents=True)
    (tmp_path / "shards" / "data" / "train-0.parquet").write_bytes(b"")
    assert str(recognise(tmp_path / "shards")) == "format: parquet, found by the file data/train-0.parquet"
    make_poster(tmp_path / "mine" / "holiday" / "a.jpg", 1)
    (tmp_path / "mine" / "notes.txt").write_text("seen in May")
    assert str(recognise(tmp_path / "mine")) == "format: folder, found by its pictures"


def test_pictures_beside_a_table_are_not_taken_without_their_genres(tmp_path, make_poster):
    make_poster(tmp_path / "a.jpg", 1)
    path = table(tmp_path, "image,genres", "a.jpg,Drama")
    with pytest.raises(UserError, match=r"films\.csv, which looks like format csv \(by the columns") as error:
        recognise(tmp_path)
    assert str(error.value).endswith(f"Give the table as the source: {path}; or for its pictures, without genres: "
                                     "--format folder")  # fmt: skip


def test_what_is_no_source_is_described(tmp_path):
    with pytest.raises(UserError, match="it is a table with the columns path, label") as error:
        recognise(table(tmp_path, "path,label"))
    assert "--format csv. Known formats: ccu, csv, " in str(error.value)
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    with pytest.raises(UserError, match=r"it is a file a\.bin, and no table"):
        recognise(tmp_path / "a.bin")
    (tmp_path / "texts").mkdir()
    with pytest.raises(UserError, match="it is an empty folder"):
        recognise(tmp_path / "texts")
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / "texts" / name).write_text("x")
    with pytest.raises(UserError, match=r"it holds 2 \.txt, 1 \.md"):
        recognise(tmp_path / "texts")
    with pytest.raises(UserError, match="does not exist"):
        recognise(tmp_path / "nowhere")


def test_several_that_fit_are_a_question_and_one_from_outside_is_asked_too(tmp_path):
    @register_source("other", lambda source: source.suffix == ".csv")
    def read_other(source: Path) -> SourceRows:
        """Another one."""
        return SourceRows(root=source.parent)

    try:
        with pytest.raises(
            UserError, match=r"several formats: csv .by the columns.*; other .by what lies there"
        ) as error:
            recognise(table(tmp_path, "image,genres"))
        assert str(error.value).endswith("Say which it is: --format csv or --format other")
        assert recognise(table(tmp_path, "path,label")).name == "other"
    finally:
        FORMATS.remove("other")
    with pytest.raises(ValueError, match="another name than 'auto'"):
        register_source("auto")(read_other)


def test_prepare_says_what_it_takes_and_keeps_the_name(make_csv, tmp_path, capsys):
    names = [f"{number}.jpg" for number in range(4)]
    source = make_csv(["image,genres", *(f"{name},Drama" for name in names)], {name: int(name[0]) for name in names})
    prepare(source, tmp_path / "found", workers=1)
    assert "format: csv, found by the columns image, genres" in capsys.readouterr().err
    prepare(source, tmp_path / "found", format="csv", workers=1, quiet=True)  # the same data, so nothing is refused
    assert capsys.readouterr().err == ""
    read = pd.read_parquet(tmp_path / "found" / "manifest.parquet")
    assert sorted(read["id"]) == names


def test_of_several_sources_each_may_be_recognised(tmp_path, make_poster):
    make_poster(tmp_path / "mine" / "a.jpg", 1)
    one, other = table(tmp_path, "image,genres"), tmp_path / "mine"
    asked = ask_sources([one, str(other)], ["auto", "folder"], (0.7, 0.1, 0.2))
    assert [(source.name, source.format) for source in asked] == [("films", "csv"), ("mine", "folder")]
    assert [bool(source.recognised) for source in asked] == [True, False]
