from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from mmposter.data import Dataset, prepare, write_dataset
from mmposter.data.dataset import read_info
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError


def run(source, out, format="ccu", **options):
    return prepare(source, out, format=format, allow_unknown=True, quiet=True, workers=2, **options)


@pytest.fixture
def messy(ccu):
    """One of everything that can be wrong, beside four good posters."""
    for index, genre in enumerate(["Drama", "Comedy, Musical", "Horror, Zombie", "Western"]):
        ccu.record(f"tt{index}", genre)
        ccu.poster(f"tt{index}", index)
    ccu.record("tt1", "Comedy, Musical")  # second record
    ccu.poster("tt1", 77, year=1990)  # second poster of an id
    ccu.raw('{ "imdbID" : "tt50", "Genre" : }')  # malformed, and its poster is then without metadata
    ccu.poster("tt50", 50)
    ccu.record("tt51", "Drama")  # no poster
    ccu.record("tt52", "Drama")
    ccu.record("tt53", "Drama")
    ccu.record("tt54", "Drama")
    good = ccu.poster("tt52", 52).read_bytes()
    ccu.poster("tt52", 52).write_bytes(good[:-200])
    ccu.poster("tt53", 53).write_bytes(b"")
    ccu.poster("tt54", 54, size=(16, 64))
    ccu.record("tt55", "N/A")
    ccu.poster("tt55", 55)
    ccu.record("tt56", None)
    ccu.poster("tt56", 56)
    ccu.record("tt57", "Zombie")
    ccu.poster("tt57", 57)
    ccu.record("tt58", "Thriller")  # the very file of tt0
    ccu.poster("tt58", 0)
    ccu.record("tt59", "Thriller", title="Dra|ma")  # tt2's picture, saved again
    ccu.poster("tt59", 2, quality=60)
    return ccu


def test_every_reason_is_counted_and_the_sum_holds(messy, tmp_path):
    out = tmp_path / "data"
    report = run(messy.root, out)
    assert report.dropped == {
        "missing_poster": 1,
        "no_metadata": 1,
        "duplicate_id": 1,
        "truncated": 1,
        "empty": 1,
        "too_small": 1,
        "no_genre": 2,
        "no_known_genre": 1,
        "same_file": 1,
    }
    assert report.issues == {"duplicate_record": 1, "bad_record": 1, "unknown_genre": 2, "genres_differ": 1}
    assert report.kept == 5
    assert report.posters_found == len(list(messy.root.rglob("*.jpg")))
    assert report.kept + sum(report.dropped.values()) == report.posters_found + report.without_poster
    assert (report.near_duplicate_groups, report.near_duplicate_posters) == (1, 2)

    dropped = pd.read_csv(out / "dropped.csv")
    assert dict(zip(dropped["id"], dropped["reason"], strict=True)) == {
        "tt51": "missing_poster",
        "tt50": "no_metadata",
        "tt1": "duplicate_id",
        "tt52": "truncated",
        "tt53": "empty",
        "tt54": "too_small",
        "tt55": "no_genre",
        "tt56": "no_genre",
        "tt57": "no_known_genre",
        "tt58": "same_file",
    }
    paths = dropped.set_index("id")["path"]
    assert paths["tt1"] == "Movie_Poster_Dataset/1990/tt1.jpg"
    message = dropped.set_index("id")["message"]["tt58"]
    assert message == "same bytes as tt0, which is kept; genres differ: kept Drama, here Thriller"
    assert set(pd.read_csv(out / "issues.csv")["kind"]) == set(report.issues)


def test_manifest_of_the_good_ones(messy, tmp_path):
    run(messy.root, tmp_path / "data")
    data = Dataset.load(tmp_path / "data")
    table = data.table.set_index("id")
    assert list(table.index) == ["tt0", "tt1", "tt2", "tt3", "tt59"]
    assert table["genres"].to_dict() == {
        "tt0": ["Drama"],
        "tt1": ["Comedy", "Music"],
        "tt2": ["Horror"],
        "tt3": ["Other"],
        "tt59": ["Thriller"],
    }
    assert table.loc["tt2", "raw_genres"] == ["Horror", "Zombie"]
    assert table.loc["tt59", "group"] == table.loc["tt2", "group"] == "tt2"
    assert table.loc["tt59", "split"] == table.loc["tt2", "split"]
    assert table.loc["tt0", ["path", "year", "width", "height"]].tolist() == [
        "Movie_Poster_Dataset/1985/tt0.jpg", 1985, 48, 64,
    ]  # fmt: skip


def test_report_shows_the_arithmetic_and_the_names(messy, tmp_path):
    report = run(messy.root, tmp_path / "data")
    text = report.report_path.read_text(encoding="utf-8")
    left, right = text[text.index("## Sum check") :].split("\n\n")[1:3]
    terms, total = left.split(" = ")
    assert sum(int(term.split()[0]) for term in terms.split(" + ")) == int(total) == int(right.split(" = ")[1])
    assert "| no_genre | 2 | no genre, or only N/A and the like | tt55, tt56 |" in text
    assert "| tt2 | 2 | tt2 A Title, tt59 Dra\\|ma |" in text
    assert "genre 'Zombie' is not known to vocabulary 'posters20'" in text
    assert "| Drama | 1 | 20.0% |" in text


def test_running_again_gives_the_same_bytes(messy, tmp_path):
    run(messy.root, tmp_path / "data")
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    run(messy.root, tmp_path / "data")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    assert set(before) == {
        "manifest.parquet", "dataset.json", "vocabulary.json", "report.md", "dropped.csv", "issues.csv",
    }  # fmt: skip


def test_csv_rows_in_another_order_give_the_same_manifest(make_csv, tmp_path):
    genres = ["Drama", "Comedy|Drama", "Horror", "War|Drama", "Comedy"]
    rows = [f"{index}.jpg,{genres[index % 5]}" for index in range(25)]
    source = make_csv(["image,genres", *rows], {f"{index}.jpg": index for index in range(25)})
    run(source, tmp_path / "one", format="csv")
    source.write_text("\n".join(["image,genres", *rows[::-1]]) + "\n")
    run(source, tmp_path / "two", format="csv")
    assert (tmp_path / "one/manifest.parquet").read_bytes() == (tmp_path / "two/manifest.parquet").read_bytes()


def test_csv_given_split_and_bad_rows(make_csv, tmp_path):
    lines = [
        "image,genres,split",
        "0.jpg,Drama,train",
        "1.jpg,Drama,test",
        "2.jpg,War,val",
        "nowhere.jpg,War,val",
        "odd",
    ]
    source = make_csv(lines, {"0.jpg": 0, "1.jpg": 1, "2.jpg": 2})
    report = run(source, tmp_path / "data", format="csv")
    assert report.dropped == {"bad_row": 1, "missing_poster": 1}
    assert (report.posters_found, report.without_poster) == (3, 2)
    table = Dataset.load(tmp_path / "data").table
    assert dict(zip(table["id"], table["split"], strict=True)) == {"0.jpg": "train", "1.jpg": "test", "2.jpg": "val"}


def test_csv_images_elsewhere_keep_their_absolute_path(make_csv, make_poster, tmp_path):
    image = make_poster(tmp_path / "elsewhere" / "1.jpg", 1)
    source = make_csv(["image,genres", f"{image},Drama", "0.jpg,Drama"], {"0.jpg": 0})
    run(source, tmp_path / "data", format="csv")
    data = Dataset.load(tmp_path / "data")
    assert {data.image_path(row) for row in range(len(data))} == {image, source.parent.resolve() / "0.jpg"}


def test_folder_has_no_labels(make_poster, tmp_path):
    for seed, name in enumerate(["b.jpg", "a/c.png"]):
        make_poster(tmp_path / "pictures" / name, seed)
    report = run(tmp_path / "pictures", tmp_path / "data", format="folder")
    assert report.splits == {"none": 2}
    data = Dataset.load(tmp_path / "data")
    assert not data.has_labels
    assert not (tmp_path / "data/vocabulary.json").exists()
    assert list(data.table["genres"]) == [[], []]
    assert data.info["vocabulary"] is None
    for ask in (data.labels, lambda: data.vocabulary):
        with pytest.raises(UserError, match=r"has no genres.*\n.*--format csv"):
            ask()


def test_other_options_and_other_rows_are_refused_without_overwrite(messy, tmp_path):
    out = tmp_path / "data"
    run(messy.root, out)
    before = (out / "manifest.parquet").read_bytes()
    with pytest.raises(UserError, match=r"other options: seed 0 there, 9 now.*\n.*--overwrite"):
        run(messy.root, out, seed=9)
    messy.record("tt60", "War")
    messy.poster("tt60", 60)
    with pytest.raises(UserError, match=r"holds other rows \(5 posters there, 6 now\)"):
        run(messy.root, out)
    assert (out / "manifest.parquet").read_bytes() == before
    assert run(messy.root, out, overwrite=True).kept == 6
    assert len(Dataset.load(out)) == 6


def test_other_genre_order_is_refused_though_the_rows_are_equal(make_csv, tmp_path):
    source = make_csv(["image,genres", "0.jpg,Drama", "1.jpg,War"], {"0.jpg": 0, "1.jpg": 1})
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\ngenres: [Drama, War]\n")
    run(source, tmp_path / "data", format="csv", vocabulary=str(mine))
    mine.write_text("name: mine\ngenres: [War, Drama]\n")
    with pytest.raises(UserError, match=r"vocabulary\.json is another one"):
        run(source, tmp_path / "data", format="csv", vocabulary=str(mine))


def test_data_of_a_vocabulary_with_fewer_raw_names_are_the_same_data(messy, tmp_path):
    """What an earlier version's file mapped less of is no other vocabulary, as long as the rows are the same."""
    out = tmp_path / "data"
    run(messy.root, out)
    facts = json.loads((out / "vocabulary.json").read_text())
    del facts["mapping"]["Film-Noir"]
    (out / "vocabulary.json").write_text(json.dumps(facts))
    assert Dataset.load(out).vocabulary.map(["Western"]) == (["Other"], [])
    run(messy.root, out)
    assert "Film-Noir" in Dataset.load(out).vocabulary.mapping


def test_damaged_manifest_is_refused_then_replaced(messy, tmp_path):
    out = tmp_path / "data"
    run(messy.root, out)
    (out / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read"):
        run(messy.root, out)
    assert run(messy.root, out, overwrite=True).kept == len(Dataset.load(out))


def test_nothing_left_is_an_error_with_the_counts(make_csv, tmp_path):
    source = make_csv(["image,genres", "0.jpg,Zombie", "1.jpg,War"], {"0.jpg": 0})
    with pytest.raises(UserError, match=r"no poster is left of 2 \(missing_poster 1, no_known_genre 1\)"):
        run(source, tmp_path / "data", format="csv")
    assert not (tmp_path / "data").exists()


def test_bad_options_are_told_together(messy, tmp_path):
    with pytest.raises(
        UserError, match=r"--min-side must be 1 or more, got 0\n--duplicate-distance must be 0 to 16, got 40\n"
    ):
        run(messy.root, tmp_path / "data", min_side=0, duplicate_distance=40)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        run(messy.root, tmp_path / "file")


def test_info_tells_how_to_reproduce(messy, tmp_path):
    report = run(messy.root, tmp_path / "data", seed=4, vocabulary="raw25")
    info = read_info(tmp_path / "data")
    assert info["root"] == str(messy.root.resolve())
    assert info["options"]["seed"] == 4
    assert info["options"]["format"] == "ccu"
    assert info["counts"]["dropped"] == dict(report.dropped)
    assert info["vocabulary"] == "raw25"
    assert info["versions"]["numpy"] == np.__version__
    # raw25 keeps N/A as a genre, and a poster with no genre at all counts as that.
    assert "no_genre" not in report.dropped


def test_labels_splits_and_paths(messy, tmp_path):
    run(messy.root, tmp_path / "data")
    data = Dataset.load(tmp_path / "data")
    labels = data.labels()
    assert labels.dtype == np.float32
    assert labels.shape == (5, 20)
    assert [data.vocabulary.decode(row) for row in labels] == list(data.table["genres"])
    parts = [data.split(name) for name in ("train", "val", "test")]
    assert sum(len(part) for part in parts) == len(data) == len(data.split("all"))
    assert all(part.labels().shape == (len(part), 20) for part in parts)
    with pytest.raises(UserError, match="train, val, test or all, got 'dev'"):
        data.split("dev")
    row = data.table.iloc[1]
    assert data.image_path(1) == data.image_path(row) == messy.root.resolve() / row["path"]
    assert all(path.is_file() for path in [data.image_path(row) for row in range(len(data))])


def test_moved_source_needs_the_new_root(messy, tmp_path):
    run(messy.root, tmp_path / "data")
    shutil.move(messy.root, tmp_path / "moved")
    with pytest.raises(UserError, match="--root FOLDER"):
        Dataset.load(tmp_path / "data").image_path(0)
    assert Dataset.load(tmp_path / "data", root=tmp_path / "moved").image_path(0).is_file()


def test_another_vocabulary_over_the_same_posters(messy, tmp_path):
    run(messy.root, tmp_path / "data")
    data = Dataset.load(tmp_path / "data")
    other, without = data.with_vocabulary(Vocabulary.load("top5"))
    assert list(other.table["id"]) == ["tt0", "tt1"]
    assert without == ["tt2", "tt3", "tt59"]
    assert other.labels().tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert len(data) == 5


def test_load_refuses_what_was_not_prepared(messy, tmp_path):
    with pytest.raises(UserError, match=r"is no prepared data folder.*\nMake one: mmposter prepare"):
        Dataset.load(tmp_path)
    out = tmp_path / "data"
    run(messy.root, out)
    info = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps(info | {"schema": 99}))
    with pytest.raises(UserError, match="schema 99"):
        Dataset.load(out)
    (out / "dataset.json").write_text(json.dumps(info | {"manifest_sha256": "0"}))
    with pytest.raises(UserError, match="interrupted"):
        Dataset.load(out)
    os.remove(out / "manifest.parquet")
    with pytest.raises(UserError, match="is no prepared data folder"):
        Dataset.load(out)


def test_missing_values_come_back_as_missing(make_csv, tmp_path):
    source = make_csv(["image,genres,title,year", "0.jpg,Drama,,", "1.jpg,War,Two,1999"], {"0.jpg": 0, "1.jpg": 1})
    run(source, tmp_path / "data", format="csv")
    table = Dataset.load(tmp_path / "data").table
    assert table["title"].tolist() == [None, "Two"]
    assert table["year"].isna().tolist() == [True, False]
    assert table["year"][1] == 1999


def test_a_table_made_by_hand_is_written_sorted_and_loaded(messy, tmp_path):
    run(messy.root, tmp_path / "data")
    data = Dataset.load(tmp_path / "data")
    write_dataset(tmp_path / "copy", data.table[::-1], data.vocabulary, {"root": str(tmp_path)})
    copy = Dataset.load(tmp_path / "copy")
    pd.testing.assert_frame_equal(copy.table, data.table)
    assert copy.root == tmp_path


def test_one_label_a_poster(make_csv, tmp_path):
    lines = ["image,genres", "0.jpg,Romance|Comedy|Zombie", "1.jpg,Western", "2.jpg,", "3.jpg,Zombie", "4.jpg,Horror"]
    source = make_csv(lines, {f"{number}.jpg": number for number in range(5)})
    report = run(source, tmp_path / "data", format="csv", vocabulary="single13")
    data = Dataset.load(tmp_path / "data")
    assert data.table["genres"].tolist() == [["Comedy"], ["Other"], ["Other"], ["Horror"]]
    assert dict(report.dropped) == {"no_known_genre": 1}
    assert dict(report.issues) == {"unknown_genre": 2}
    assert data.vocabulary.labels == "first"
    assert data.labels().sum(axis=1).tolist() == [1, 1, 1, 1]
    # The same from data that were prepared with every genre.
    run(source, tmp_path / "all", format="csv", vocabulary="raw25")
    other, without = Dataset.load(tmp_path / "all").with_vocabulary(Vocabulary.load("single13"))
    assert without == []
    assert other.table["genres"].tolist() == data.table["genres"].tolist()
    assert (other.labels() == data.labels()).all()


@pytest.mark.shared
def test_one_real_year(shared_ccu, tmp_path):
    texts = tmp_path / "ccu/Movie_Poster_Metadata/groundtruth"
    texts.mkdir(parents=True)
    shutil.copy(shared_ccu / "Movie_Poster_Metadata/groundtruth/1980.txt", texts)
    shutil.copytree(shared_ccu / "Movie_Poster_Dataset/1980", tmp_path / "ccu/Movie_Poster_Dataset/1980")
    report = run(tmp_path / "ccu", tmp_path / "data")
    posters = len(list((shared_ccu / "Movie_Poster_Dataset/1980").glob("*.jpg")))
    assert report.posters_found == posters
    assert report.kept + sum(report.dropped.values()) == posters + report.without_poster
    assert report.kept > 0.9 * posters
    assert set(Dataset.load(tmp_path / "data").table["year"]) == {1980}
