"""Parts of a data set that are measured each by itself: sources, periods, decades, sizes of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mmposter.data.dataset import Dataset
from mmposter.errors import UserError
from mmposter.suggest import did_you_mean

PERIODS = (1980, 2016)
"""Years in which a new period begins: the posters most in use, and those that most networks have learned from, are of
1980 to 2015."""
SIZES = (200, 300)
"""Pixels of the shorter side at which larger pictures begin: smaller ones than 200 are thumbnails of their servers."""

UNKNOWN_YEAR = "year not known"

Part = NDArray[np.bool_]
"""N, True for the rows of a data set that belong to it."""


def poster_parts(dataset: Dataset, by: str) -> dict[str, Part]:
    """The posters of each part by its name, in the order of tables; every poster is in one.

    Args:
        dataset: N posters.
        by: a name of `PARTS`.

    Raises:
        UserError: another name, or ``source`` where all posters are of one.
    """
    if by not in PARTS:
        raise UserError(f"--by takes {', '.join(PARTS)}; got {by!r}{did_you_mean(by, PARTS)}")
    return {name: rows for name, rows in PARTS[by](dataset).items() if rows.any()}


def usual_parts(dataset: Dataset) -> tuple[str, ...]:
    """What is measured by parts where nobody asks: the sources, of several."""
    return () if dataset.sources is None else ("source",)


def _by_source(dataset: Dataset) -> dict[str, Part]:
    if dataset.sources is None:
        raise UserError(
            f"--by source: all posters of {dataset.folder} are of one source.\nPrepare several together: mmposter "
            "prepare SOURCE SOURCE --out DATA"
        )
    names = np.array(dataset.sources, dtype=object)
    # In the order in which they were given, which says whose split stayed as it was.
    given = [name for name in dataset.info.get("options", {}).get("sources", []) if name in set(names)]
    return {name: names == name for name in dict.fromkeys([*given, *sorted(set(names))])}


def _by_period(dataset: Dataset) -> dict[str, Part]:
    years = _years(dataset)
    return {**_ranges(years, PERIODS, ""), UNKNOWN_YEAR: np.isnan(years)}


def _by_decade(dataset: Dataset) -> dict[str, Part]:
    years = _years(dataset)
    known = years[~np.isnan(years)] // 10 * 10
    found = {f"{decade:.0f}s": years // 10 * 10 == decade for decade in np.unique(known)}
    return {**found, UNKNOWN_YEAR: np.isnan(years)}


def _by_size(dataset: Dataset) -> dict[str, Part]:
    sides = dataset.table[["width", "height"]].min(axis=1).to_numpy(dtype=float)
    return _ranges(sides, SIZES, " pixels")


def _ranges(values: NDArray[np.float64], edges: Sequence[int], unit: str) -> dict[str, Part]:
    first, last = edges[0], edges[-1]
    return {
        f"below {first}{unit}" if unit else f"before {first}": values < first,
        **{f"{low} to {high - 1}{unit}": (values >= low) & (values < high) for low, high in pairwise(edges)},
        f"{last}{unit} and more" if unit else f"{last} and later": values >= last,
    }


def _years(dataset: Dataset) -> NDArray[np.float64]:
    years = dataset.table["year"].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return np.asarray(years, dtype=np.float64)


PARTS: Mapping[str, Callable[[Dataset], dict[str, Part]]] = {
    "source": _by_source,
    "period": _by_period,
    "decade": _by_decade,
    "size": _by_size,
}
"""What posters can be parted by; the size is that of the picture's shorter side."""
