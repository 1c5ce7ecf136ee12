"""What came out of one published network, as it is kept beside its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmposter.errors import UserError
from mmposter.files.strict_json import read_json
from mmposter.published.systems import Variant

RESULT = "result.json"
FORMAT = 1


@dataclass(frozen=True)
class Result:
    """One trained and measured network."""

    name: str  # the row's, such as `p1/densenet121` or `ours/lite`
    label: str  # for tables
    variant: Variant | None  # of a published network; None where no fault is known, so that there is nothing to vary
    # by name {value, ci95, constant, difference, verdict} on the test split; difference: the interval of value minus
    # constant, paired by poster, which earlier versions did not have
    metrics: Mapping[str, Mapping[str, Any]]
    # the same on whole posters, where it was trained on crops of other posters; None elsewhere
    whole: Mapping[str, Mapping[str, Any]] | None
    titles: Mapping[str, str]  # the metrics' names for people
    changed: Mapping[str, Sequence[Any]]  # keys where the user departs from the recipe: [the recipe's, the user's]
    config: Mapping[str, Any]  # the whole configuration
    # name, manifest, vocabulary, posters (or crops) by split, share of test crops with a sibling in training
    data: Mapping[str, Any]
    run: str  # the run folder, below the output folder
    epochs: int  # that were trained
    seconds: float  # that the steps of training took, validation left out
    device: str  # that it was trained on
    commit: str | None  # of mmposter, None if unknown
    diverged: str | None = None  # why there are no metrics; None where there are

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def load(cls, path: Path) -> Result | None:
        """Read one; None where there is none, or it is damaged or of another format."""
        try:
            values = dict(read_json(path))
            return cls(**values) if values.pop("format") == FORMAT else None
        except (UserError, ValueError, TypeError, KeyError):
            return None


def find_results(out: Path) -> list[Result]:
    """All results below a folder that `mmposter reproduce` wrote to, by name and variant."""
    found = (Result.load(path) for path in sorted(out.glob(f"*/*/*/{RESULT}")))
    return [result for result in found if result is not None]
