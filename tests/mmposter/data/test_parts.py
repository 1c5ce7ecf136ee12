"""Parts of a data set: every poster is in one, in an order for tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmposter.data import Dataset
from mmposter.data.parts import PARTS, UNKNOWN_YEAR, poster_parts, usual_parts
from mmposter.errors import UserError


def dataset(**columns) -> Dataset:
    table = pd.DataFrame(
        {
            "year": pd.array([1905, 1979, 1980, 2015, 2016, None], dtype="Int32"),
            "width": np.array([199, 400, 299, 300, 182, 1000]),
            "height": np.array([400, 200, 500, 300, 268, 1500]),
            **columns,
        }
    )
    info = {"options": {"sources": ["ccu", "more", "gone"]}}
    return Dataset(Path("data"), Path("posters"), table, None, info)


def rows(found: Dataset, by: str) -> dict[str, list[int]]:
    return {name: np.flatnonzero(part).tolist() for name, part in poster_parts(found, by).items()}


def test_by_what_posters_are_parted():
    joined = dataset(source=["more", "ccu", "more", "ccu", "ccu", "ccu"])
    assert rows(joined, "source") == {"ccu": [1, 3, 4, 5], "more": [0, 2]}
    assert list(rows(joined, "source")) == ["ccu", "more"], "as they were given"
    assert rows(joined, "period") == {
        "before 1980": [0, 1],
        "1980 to 2015": [2, 3],
        "2016 and later": [4],
        UNKNOWN_YEAR: [5],
    }
    assert list(rows(joined, "decade")) == ["1900s", "1970s", "1980s", "2010s", UNKNOWN_YEAR]
    assert rows(joined, "size") == {
        "below 200 pixels": [0, 4],
        "200 to 299 pixels": [1, 2],
        "300 pixels and more": [3, 5],
    }
    for by in PARTS:
        assert np.sum(list(poster_parts(joined, by).values()), axis=0).tolist() == [1] * 6


def test_sources_are_parts_where_there_are_several():
    assert usual_parts(dataset()) == ()
    assert usual_parts(dataset(source=["one"] * 6)) == ("source",)
    with pytest.raises(UserError, match="all posters of data are of one source"):
        poster_parts(dataset(), "source")
    with pytest.raises(UserError, match="--by takes source, period, decade, size; got 'year'"):
        poster_parts(dataset(), "year")
