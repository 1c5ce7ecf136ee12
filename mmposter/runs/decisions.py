"""From a model's probabilities to those that are shown, and to genres: for every set of branches that it looks through.

A model whose branches are masked is less sure, and the thresholds of the whole do not fit it. `mmposter calibrate`
fits a scaling and thresholds for every set on validation posters, measures them, and leaves both in ``subsets.json``
of the run folder. A run without that file decides as it was trained.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmposter.config import Config
from mmposter.errors import UserError
from mmposter.evaluation import Difference
from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.promise import Evidence
from mmposter.evaluation.scaling import Scaling
from mmposter.evaluation.thresholds import NEVER, EmptyPolicy, apply_thresholds
from mmposter.evaluation.unseen import Unseen
from mmposter.files.atomic import write_json
from mmposter.files.formats import require_format
from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import mapping, number, read_json, shown, sound, text, texts, whole
from mmposter.shell import command_line

SUBSETS = "subsets.json"
FORMAT = 1
_LARGEST = 16 * MEGABYTE
MEASURED = ("mean_average_precision", "macro_f1", "r_precision")
"""The metrics that are kept of every set of branches; the calibration error stands beside them."""
ERROR = "expected_calibration_error"


@dataclass(frozen=True, eq=False)
class Decision:
    """What is done with the probabilities of a model that looks through certain branches."""

    thresholds: FloatArray  # G, one a genre, for the probabilities that `apply` gives
    scaling: Scaling | None = None  # None leaves the probabilities as they are
    # The answer for posters of which these branches see nothing; None: of a run that knows no base rates.
    unseen: Unseen | None = None

    def apply(self, probs: NDArray[np.float32], seen: BoolArray | None = None) -> NDArray[np.float32]:
        """The probabilities N x G that are shown and compared with the thresholds.

        Args:
            probs: the model's own.
            seen: N, of which posters something was seen; None: of all.
        """
        scaled = probs if self.scaling is None else self.scaling.apply(probs).astype(np.float32)
        return scaled if seen is None or self.unseen is None else self.unseen.fill(scaled, seen)

    def decide(self, probs: NDArray[np.float32], empty: EmptyPolicy, seen: BoolArray | None = None) -> BoolArray:
        """The genres N x G of probabilities that `apply` gave; `empty` as in `apply_thresholds`.

        A poster of which nothing was seen gets those of `unseen`, or where that is not known the surest alone.
        """
        decided = apply_thresholds(probs, self.thresholds, empty)
        if seen is None or seen.all():
            return decided
        if self.unseen is not None:
            return self.unseen.fill_genres(decided, seen)
        return np.where(seen[:, None], decided, apply_thresholds(probs, np.full(probs.shape[1], NEVER), "top1"))

    @property
    def digest(self) -> str | None:
        """Tells one fitted decision from another; None for that of the training."""
        if self.scaling is None:
            return None
        return hashlib.sha256(json.dumps(_decision_json(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Subset:
    """A set of branches: what was fitted for it, and how good it is on posters that the fit did not see."""

    decision: Decision  # fitted on validation posters
    metrics: Mapping[str, Difference]  # value and 95 % interval of `MEASURED`, by name
    error_before: Difference  # calibration error of the probabilities as they are
    error_after: Difference  # of the scaled ones
    # To all branches, paired by poster, of the same; None for all branches themselves.
    difference: Mapping[str, Difference] | None
    # What the validation posters say of which precision can be promised; None: of a file of before.
    evidence: Evidence | None = None


@dataclass(frozen=True)
class PosterCounts:
    """Which posters were used."""

    data: str  # name of the data folder
    manifest: str  # sha256 of its manifest
    split: str  # ``val``, ``test`` or ``train``
    count: int  # posters with a genre


@dataclass(frozen=True, eq=False)
class Subsets:
    """The content of ``subsets.json``."""

    weights: str  # sha256 of the run's weights that it belongs to
    genres: tuple[str, ...]  # in the order of thresholds and offsets
    fitted: PosterCounts  # posters of the fit
    measured: PosterCounts  # posters of the metrics
    constant: Mapping[str, float]  # of each metric the value of the best constant answer on the measured posters
    subsets: Mapping[tuple[str, ...], Subset]  # by branches, in the run's order
    # The same without the files that branches can go without, for sets with such a branch; empty where there is none.
    spared: Mapping[tuple[str, ...], Subset] = field(default_factory=dict)

    def of(self, names: Sequence[str], *, spare: bool = False) -> Subset:
        """What was fitted for these branches, in the run's order; with `spare` for the case without those files."""
        return (self.spared if spare and tuple(names) in self.spared else self.subsets)[tuple(names)]

    def save(self, folder: Path) -> None:
        """Write ``subsets.json`` into a run folder, atomically."""
        write_json(
            folder / SUBSETS,
            {
                "format": FORMAT,
                "weights": self.weights,
                "genres": list(self.genres),
                "fitted": asdict(self.fitted),
                "measured": asdict(self.measured),
                "constant": {name: _plain(value) for name, value in self.constant.items()},
                "subsets": _by_branches(self.subsets),
                **({"spared": _by_branches(self.spared)} if self.spared else {}),
            },
        )

    def in_place_of(self, whole: Sequence[str], part: Sequence[str], *, spare: bool = False) -> str:
        """What it costs to look through `part` of the branches alone, in words."""
        less, all_ = (one.metrics[MEASURED[0]].value for one in (self.of(part, spare=spare), self.of(whole)))
        return f"{self.measured.split} mAP {less:.3f} in place of {all_:.3f}"

    @classmethod
    def load(cls, folder: Path, branches: Sequence[str], genres: Sequence[str]) -> Subsets | None:
        """Read ``subsets.json`` of a run folder; None where there is none.

        Args:
            folder: of the run.
            branches: all of the run's, in its order.
            genres: of the run, in its order.

        Raises:
            UserError: it is damaged, of a newer mmposter, or of another model.
        """
        path = folder / SUBSETS
        if not path.is_file():
            return None
        mend = f"make it again with: {command_line('mmposter', 'calibrate', folder, 'DATA')}"
        values = read_json(path, limit=_LARGEST, mend=mend)
        with sound(path, mend):
            known = mapping(values, SUBSETS)
            require_format(path, known["format"], FORMAT)
            found = cls(
                weights=text(known["weights"], "weights"),
                genres=texts(known["genres"], "genres"),
                fitted=_posters(known["fitted"]),
                measured=_posters(known["measured"]),
                constant={name: _number(known["constant"][name]) for name in (*MEASURED, ERROR)},
                subsets=_subsets(known["subsets"], len(genres)),
                spared=_subsets(known.get("spared", {}), len(genres)),
            )
        wanted = set(branch_subsets(branches))
        if found.genres != tuple(genres) or set(found.subsets) != wanted or not set(found.spared) <= wanted:
            raise UserError(f"{path} is of a model with other genres or branches; {mend}")
        return found


def saw_nothing_note(branches: Sequence[str]) -> str:
    """What is said beside the answer for a poster of which these branches see nothing.

    >>> saw_nothing_note(["yolo", "ocr"])
    'saw nothing (yolo, ocr): base rates'
    """
    return f"saw nothing ({', '.join(branches)}): base rates"


def unseen_answer(config: Config, shares: ArrayLike) -> Unseen:
    """The answer of a run for posters of which nothing was seen, where each genre has this share (G)."""
    fixed, single = config.evaluation.thresholds, config.single_label
    if fixed == "tuned" and not single:
        return Unseen.of(shares)
    limit = NEVER if isinstance(fixed, str) else fixed
    return Unseen.of(shares, np.full(np.shape(shares), limit), config.evaluation.empty)


def branch_subsets(branches: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets in the given order of names, the largest first."""
    sizes = range(len(branches), 0, -1)
    return [names for size in sizes for names in combinations(branches, size)]


def _decision_json(decision: Decision) -> dict[str, Any]:
    assert decision.scaling is not None  # what is saved was fitted
    return {
        "slope": decision.scaling.slope,
        "offsets": decision.scaling.offsets.tolist(),
        "thresholds": decision.thresholds.tolist(),
    }


def _by_branches(subsets: Mapping[tuple[str, ...], Subset]) -> dict[str, Any]:
    return {",".join(names): _subset_json(subset) for names, subset in subsets.items()}


def _subsets(values: Any, genres: int) -> dict[tuple[str, ...], Subset]:
    known = mapping(values, "subsets")
    return {tuple(names.split(",")): _subset(subset, genres) for names, subset in known.items()}


def _subset_json(subset: Subset) -> dict[str, Any]:
    difference, unseen = subset.difference, subset.decision.unseen
    return {
        **_decision_json(subset.decision),
        **({} if unseen is None else {"unseen": unseen.probs.tolist()}),
        "metrics": {name: _measured_json(value) for name, value in subset.metrics.items()},
        "calibration_error": {
            "before": _measured_json(subset.error_before),
            "after": _measured_json(subset.error_after),
        },
        "difference": None if difference is None else {name: _measured_json(d) for name, d in difference.items()},
        **({} if subset.evidence is None else {"evidence": subset.evidence.to_json()}),
    }


def _posters(values: Any) -> PosterCounts:
    known = mapping(values, "posters")
    data, manifest, split = (text(known[name], name) for name in ("data", "manifest", "split"))
    return PosterCounts(data, manifest, split, whole(known["count"], "count"))


def _subset(values: Mapping[str, Any], genres: int) -> Subset:
    scaling = Scaling(number(values["slope"], "slope"), _vector(values["offsets"], genres))
    if not 0 < scaling.slope < math.inf:
        raise ValueError(f"slope must be above 0, got {scaling.slope}")
    error, difference = values["calibration_error"], values["difference"]
    unseen = Unseen.of(base_rates(values["unseen"], genres)) if "unseen" in values else None
    return Subset(
        decision=Decision(_vector(values["thresholds"], genres), scaling, unseen),
        metrics={name: _measured(values["metrics"][name]) for name in MEASURED},
        error_before=_measured(error["before"]),
        error_after=_measured(error["after"]),
        difference=None if difference is None else {name: _measured(difference[name]) for name in MEASURED},
        evidence=_evidence(values["evidence"]) if "evidence" in values else None,
    )


def _evidence(values: Any) -> Evidence:
    known = mapping(values, "evidence")
    posters, genres = (whole(known[name], name) for name in ("posters", "genres"))
    return Evidence.from_json(posters, genres, text(known["surest"], "surest"))


def base_rates(values: Any, count: int) -> FloatArray:
    """A share a genre, as a file says them; ValueError where they are none."""
    shares = _vector(values, count)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"shares must lie in 0-1, got {shown(values)}")
    return shares


def _vector(values: Sequence[float], count: int) -> FloatArray:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{count} numbers must be there, one a genre; got {shown(values)}")
    return np.array([number(value, "each of them") for value in values], dtype=np.float64)


def _measured_json(found: Difference) -> dict[str, Any]:
    return {"value": _plain(found.value), "ci95": None if found.ci95 is None else list(found.ci95)}


def _measured(values: Mapping[str, Any]) -> Difference:
    ends = values["ci95"]
    if ends is not None and (not isinstance(ends, list) or len(ends) != 2):
        raise ValueError(f"an interval has two ends, got {shown(ends)}")
    interval = None if ends is None else (number(ends[0], "an end"), number(ends[1], "an end"))
    return Difference(_number(values["value"]), interval)


def _plain(value: float) -> float | None:
    """JSON has no NaN: a metric that is undefined is null."""
    return None if math.isnan(value) else value


def _number(value: Any) -> float:
    return math.nan if value is None else number(value, "a metric")
