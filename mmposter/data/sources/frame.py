"""A pandas DataFrame as a source: the columns of format `csv`, without a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from mmposter.data.sources.base import SourceRows
from mmposter.data.sources.csv_table import read_rows
from mmposter.data.sources.tables import TextTable

if TYPE_CHECKING:
    import pandas as pd


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether a value is a pandas DataFrame; whoever has one has loaded pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def read_frame(frame: pd.DataFrame) -> SourceRows:
    """The rows of a DataFrame with the columns image and genres; if it has them also id, title, year, split, actors.

    `image` is absolute or relative to the current folder. Genres and actors are lists, or texts as in a table. What is
    wrong with a row is said with its number, from 1.

    Raises:
        UserError: there are no rows, or a required column is missing.
    """
    names = [str(name).strip() for name in frame.columns]
    cells = zip(*(map(_text, frame.iloc[:, place]) for place in range(len(names))), strict=True)
    table = TextTable(names, [(number, list(row)) for number, row in enumerate(cells, start=1)])
    found = SourceRows(root=Path.cwd())
    read_rows(table, found, "the DataFrame", "Rename them: frame.rename(columns={...})")
    return found


def _text(value: Any) -> str:
    """A cell as a table writes it; a missing value is empty."""
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist"):  # of numpy: an array, or one number
        value = value.tolist()
    if isinstance(value, list | tuple | set):
        return json.dumps([str(name) for name in (sorted(value, key=str) if isinstance(value, set) else value)])
    # NaN, NaT and pandas' own NA are not equal to themselves, or say nothing when asked.
    return "" if value is None or value != value or type(value).__name__ == "NAType" else str(value)
