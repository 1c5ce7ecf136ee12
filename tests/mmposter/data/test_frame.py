"""A DataFrame as the source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmposter.data import Dataset, prepare
from mmposter.errors import UserError

QUIET = {"quiet": True, "workers": 1}


@pytest.fixture
def films(make_csv, tmp_path, monkeypatch):
    """A folder with six posters and their table, which is the current one."""
    names = [f"{number}.jpg" for number in range(6)]
    rows = [f"{name},{'Drama|War' if number % 2 else 'Horror'},{1990 + number}" for number, name in enumerate(names)]
    path = make_csv(["image,genres,year", *rows], {name: number for number, name in enumerate(names)})
    monkeypatch.chdir(path.parent)
    return path


def test_it_gives_the_data_of_the_same_table_in_a_file(films, tmp_path):
    frame = pd.read_csv(films)
    prepare(films, tmp_path / "file", format="csv", **QUIET)
    prepare(frame, str(tmp_path / "frame"), **QUIET)
    frame["genres"] = [np.array(text.split("|")) for text in frame["genres"]]
    frame["year"] = [None, *map(float, frame["year"][1:])]
    prepare(frame, tmp_path / "lists", **QUIET)
    one, other, lists = (Dataset.load(tmp_path / name).table for name in ("file", "frame", "lists"))
    pd.testing.assert_frame_equal(one, other)
    assert list(map(list, lists["genres"])) == list(map(list, one["genres"]))
    assert lists["year"].isna().sum() == 1
    assert list(lists["year"].dropna()) == list(one["year"][1:])


def test_several_sources_may_be_frames(films, tmp_path):
    frame = pd.read_csv(films)
    prepare([frame[:3], frame[3:]], tmp_path / "both", **QUIET)
    assert set(Dataset.load(tmp_path / "both").sources) == {"table", "table-2"}


def test_what_is_wrong_is_said_as_of_a_table(films, tmp_path):
    frame = pd.read_csv(films)
    with pytest.raises(UserError, match=r"the DataFrame has no column image; its columns: poster, genres, year\.\n"):
        prepare(frame.rename(columns={"image": "poster"}), tmp_path / "out", **QUIET)
    with pytest.raises(UserError, match="a DataFrame is read as format csv; got 'kaggle'"):
        prepare(frame, tmp_path / "out", format="kaggle", **QUIET)
    frame.loc[0, "image"] = pd.NA
    frame.loc[1, "image"] = "../elsewhere.jpg"
    report = prepare(frame, tmp_path / "out", **QUIET)
    assert (report.kept, report.dropped) == (4, {"bad_row": 2})
    said = (tmp_path / "out" / "dropped.csv").read_text()
    assert "line 1 names no image" in said
    assert "lies outside the table's folder" in said


def test_a_path_may_be_a_text(films, tmp_path):
    assert prepare(str(films), str(tmp_path / "out"), **QUIET).kept == 6
