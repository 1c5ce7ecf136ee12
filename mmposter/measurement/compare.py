"""`mmposter compare`: from run folders to scored posters that may be compared, and from those to a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mmposter.errors import UserError
from mmposter.evaluation.comparison import Comparison, compare
from mmposter.evaluation.scored import PREDICTIONS, ScoredPosters, file_hash
from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import read_json
from mmposter.progress import progress
from mmposter.report.evaluation import EVALUATIONS, evaluation_folder
from mmposter.runs.decisions import Subsets
from mmposter.shell import command_line

# Kept as text, not imported from mmposter.runs.run: a comparison of saved evaluations should not wait for torch.
_MODEL, _WEIGHTS = "model.json", "best.safetensors"
_LARGEST = 16 * MEGABYTE


def compare_runs(
    folders: Sequence[Path],
    *,
    split: str = "test",
    evaluate: Callable[[Path, Path], object] | None = None,
    data: tuple[str, str] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    quiet: bool = False,
) -> Comparison:
    """Compare what `mmposter evaluate` saved of several runs; the first one is what the others are compared with.

    Args:
        folders: run folders, or folders that an evaluation was written to.
        split: the split that was measured.
        evaluate: called with a run folder that has no evaluation of its present weights yet, and with the folder to
            write one to; None: such a run is refused.
        data: name and manifest's sha256 of the data that are asked for; None: each run's own.
        n_boot: half-samples behind the intervals.
        seed: of the half-samples.
        quiet: show no progress.

    Raises:
        UserError: a folder twice, none, or without an evaluation; runs that were evaluated on other manifests, splits
            or genres.
    """
    if len(folders) < 2:
        raise UserError("one run has nothing to be compared with; name two or more: mmposter compare RUN RUN ...")
    twice = {str(folder) for folder in folders if [other.resolve() for other in folders].count(folder.resolve()) > 1}
    if twice:
        raise UserError(f"given twice: {', '.join(sorted(twice))}; name each run once")
    scored = [_load(folder, split, evaluate, data) for folder in folders]
    for folder, one in zip(folders[1:], scored[1:], strict=True):
        _require_same(folders[0], scored[0], folder, one)
    with progress("measuring", len(scored), unit="run", quiet=quiet) as ticker:
        return compare(
            list(zip(_names(folders, scored), scored, strict=True)), n_boot=n_boot, seed=seed, tick=ticker.advance
        )


def _load(
    folder: Path, split: str, evaluate: Callable[[Path, Path], object] | None, data: tuple[str, str] | None
) -> ScoredPosters:
    if (folder / PREDICTIONS).is_file():
        one = ScoredPosters.load(folder / PREDICTIONS)
        # Inside its run, not somewhere by --out.
        run = next((up.parent for up in list(folder.resolve().parents)[:2] if up.name == EVALUATIONS), None)
        if run is not None and (change := _change_since(run, one)) is not None:
            masked = ["--branches", ",".join(one.source.branches)] if one.source.masked else []
            anew = command_line("mmposter", "evaluate", run, "DATA", "--split", one.source.split, *masked)
            raise UserError(f"{run} was {change} since its evaluation in {folder}.\nEvaluate it anew: {anew}")
        return one
    if not (folder / _MODEL).is_file():
        raise UserError(
            f"{folder} is no run folder (it has no {_MODEL}) and holds no evaluation (it has no {PREDICTIONS}); "
            "make a run with: mmposter train DATA --out RUN"
        )
    places = [evaluation_folder(folder, split)]
    if data is not None:
        # Earlier versions kept those on other data in the first place, too.
        places.append(evaluation_folder(folder, split, data=data))
        if _own_manifest(folder) not in (None, data[1]):
            places.reverse()
    place, saved = _evaluation_of(places, data)
    problem = _problem(folder, place, saved, data)
    if saved is not None and problem is None:
        return saved
    if evaluate is None:
        first = command_line("mmposter", "evaluate", folder, "DATA", "--split", split)
        raise UserError(f"{problem}\nEvaluate it first: {first}\nor let the comparison do it: add --data DATA")
    path = places[0] / PREDICTIONS
    evaluate(folder, path.parent)
    return ScoredPosters.load(path)


def _evaluation_of(places: Sequence[Path], data: tuple[str, str] | None) -> tuple[Path, ScoredPosters | None]:
    """The first place that holds an evaluation of these data; else the first, and None."""
    for place in places:
        if (place / PREDICTIONS).is_file():
            one = ScoredPosters.load(place / PREDICTIONS)
            if data is None or one.source.manifest == data[1]:
                return place, one
    return places[0], None


def _own_manifest(run: Path) -> str | None:
    """The manifest that a run was trained on; None where it does not say."""
    values = read_json(run / _MODEL, limit=_LARGEST)
    facts = values.get("facts") if isinstance(values, dict) else None
    said = facts.get("manifest") if isinstance(facts, dict) else None
    return said if isinstance(said, str) else None


def _problem(folder: Path, place: Path, one: ScoredPosters | None, data: tuple[str, str] | None) -> str | None:
    """Why the saved evaluation of a run cannot be used; None if it can."""
    if one is None:
        on = "" if data is None else f" on {data[0]}"
        return f"{folder} has not been evaluated{on} (there is no {place / PREDICTIONS})"
    change = _change_since(folder, one)
    return None if change is None else f"{folder} was {change} since its evaluation in {place}"


def _change_since(run: Path, one: ScoredPosters) -> str | None:
    """What happened to a run after its evaluation; None if nothing did."""
    weights = run / _WEIGHTS
    if not weights.is_file():
        return None
    if file_hash(weights) != one.source.weights:
        return "trained again"
    branches = one.source.config["branches"]
    fitted = Subsets.load(run, branches, one.genres)
    looked = tuple(name for name in branches if name in one.source.branches)
    now = None if fitted is None else fitted.subsets[looked].decision.digest
    return None if now == one.source.decision else "calibrated"


def _require_same(one: Path, first: ScoredPosters, two: Path, other: ScoredPosters) -> None:
    ours, theirs = first.source, other.source
    if ours.split != theirs.split:
        anew = command_line("mmposter", "evaluate", two, "DATA", "--split", ours.split)
        raise UserError(
            f"{one} was evaluated on the split {ours.split!r}, {two} on {theirs.split!r}; only the same posters can be "
            f"compared. Evaluate one of them anew: {anew}"
        )
    if first.genres != other.genres:
        raise UserError(
            f"{one} and {two} were trained with other genres, or in another order, so they cannot be compared:\n"
            f"  {one}: {', '.join(first.genres)}\n  {two}: {', '.join(other.genres)}\n"
            "Train both on data with the same vocabulary: mmposter prepare SOURCE --out DATA --vocabulary NAME_OR_FILE"
        )
    if ours.manifest != theirs.manifest:
        raise UserError(
            f"{one} and {two} were evaluated on other data, so they cannot be compared:\n"
            f"  {one}: {ours.data}, manifest {ours.manifest[:12]}\n  {two}: {theirs.data}, manifest "
            f"{theirs.manifest[:12]}\nEvaluate both on the same prepared folder: mmposter evaluate RUN DATA"
        )


def _names(folders: Sequence[Path], scored: Sequence[ScoredPosters]) -> list[str]:
    """The name of the run, what was left of it if branches were masked, and the whole path where that is not unique."""
    names = [one.source.run + (f" [{','.join(one.source.branches)}]" if one.source.masked else "") for one in scored]
    return [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]
