"""`mmposter compare`: from run folders to scored posters that may be compared, and from those to a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mmposter.errors import UserError
from mmposter.evaluation.comparison import Comparison, compare
from mmposter.evaluation.scored import PREDICTIONS, ScoredPosters, file_hash
from mmposter.progress import progress
from mmposter.report.evaluation import EVALUATIONS, evaluation_folder
from mmposter.runs.decisions import Subsets

# Kept as text, not imported from mmposter.runs.run: a comparison of saved evaluations should not wait for torch.
_MODEL, _WEIGHTS = "model.json", "best.safetensors"


def compare_runs(
    folders: Sequence[Path],
    *,
    split: str = "test",
    evaluate: Callable[[Path], object] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    quiet: bool = False,
) -> Comparison:
    """Compare what `mmposter evaluate` saved of several runs; the first one is what the others are compared with.

    Args:
        folders: run folders, or folders that an evaluation was written to.
        split: the split that was measured.
        evaluate: called with a run folder that has no evaluation of its present weights yet, to write one; None:
            such a run is refused.
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
    scored = [_load(folder, split, evaluate) for folder in folders]
    for folder, one in zip(folders[1:], scored[1:], strict=True):
        _require_same(folders[0], scored[0], folder, one)
    with progress("measuring", len(scored), quiet=quiet) as ticker:
        return compare(
            list(zip(_names(folders, scored), scored, strict=True)), n_boot=n_boot, seed=seed, tick=ticker.advance
        )


def _load(folder: Path, split: str, evaluate: Callable[[Path], object] | None) -> ScoredPosters:
    if (folder / PREDICTIONS).is_file():
        one = ScoredPosters.load(folder / PREDICTIONS)
        where = folder.resolve().parent
        # Inside its run, not somewhere by --out.
        if where.name == EVALUATIONS and (change := _change_since(where.parent, one)) is not None:
            masked = f" --branches {','.join(one.source.branches)}" if one.source.masked else ""
            raise UserError(
                f"{where.parent} was {change} since its evaluation in {folder}.\nEvaluate it anew: mmposter "
                f"evaluate {where.parent} DATA --split {one.source.split}{masked}"
            )
        return one
    if not (folder / _MODEL).is_file():
        raise UserError(
            f"{folder} is no run folder (it has no {_MODEL}) and holds no evaluation (it has no {PREDICTIONS}); "
            "make a run with: mmposter train DATA --out RUN"
        )
    path = evaluation_folder(folder, split) / PREDICTIONS
    problem = _problem(folder, path)
    if problem is None:
        return ScoredPosters.load(path)
    if evaluate is None:
        raise UserError(
            f"{problem}\nEvaluate it first: mmposter evaluate {folder} DATA --split {split}\n"
            "or let the comparison do it: add --data DATA"
        )
    evaluate(folder)
    return ScoredPosters.load(path)


def _problem(folder: Path, path: Path) -> str | None:
    """Why the saved evaluation of a run cannot be used; None if it can."""
    if not path.is_file():
        return f"{folder} has not been evaluated (there is no {path})"
    change = _change_since(folder, ScoredPosters.load(path))
    return None if change is None else f"{folder} was {change} since its evaluation in {path.parent}"


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
        raise UserError(
            f"{one} was evaluated on the split {ours.split!r}, {two} on {theirs.split!r}; only the same posters can be "
            f"compared. Evaluate one of them anew: mmposter evaluate {two} DATA --split {ours.split}"
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
