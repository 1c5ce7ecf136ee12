"""What the report of an ablation holds, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmposter.document.blocks import Block, CodeBlock, DetailsBlock, Document, FigureBlock, ListBlock, PageSection
from mmposter.evaluation.ablation import HEADLINES, AblationResult
from mmposter.evaluation.plain import plain_values
from mmposter.report.ablation.findings import findings
from mmposter.report.ablation.method import method
from mmposter.report.ablation.numbers import seeds_in_words
from mmposter.report.ablation.plots import plot_differences, plot_genres, plot_modes, plot_subsets, plot_values
from mmposter.report.ablation.plots.genres import added_by_branch
from mmposter.report.ablation.sections import (
    ADD_ONE,
    CONTROLS,
    LEAVE_ONE_OUT,
    MODES,
    SUBSETS,
    TITLES,
    CellGroup,
    axes_of,
    group,
    groups,
    questions,
)
from mmposter.report.ablation.tables import (
    BETTER,
    WORSE,
    cells_table,
    comparisons_table,
    contributions_table,
    genres_table,
)


def outline(result: AblationResult) -> Document:
    """Put a result into the order of a report; figures are drawn here. Parts without a cell are left out."""
    parts = [
        _found(result),
        _subsets(result),
        _branches(result),
        _genres(result),
        _controls(result),
        _axes(result),
        _modes(result),
        PageSection("method", "How it was done", (), (ListBlock(method(result)),)),
        PageSection("configuration", "Base configuration", (), (CodeBlock(_yaml(result.provenance.config), "yaml"),)),
        _unfinished(result),
    ]
    return Document(
        f"Ablation on {result.provenance.data}",
        summary(result),
        _facts(result),
        tuple(part for part in parts if part is not None and (part.blocks or part.text)),
    )


def summary(result: AblationResult) -> str:
    """What was done, and whether all of it."""
    cells = sum(1 for cell in result.cells if cell.mode == "retrain")
    masked = len(result.cells) - cells
    text = (
        f"{cells} configuration{'s' if cells != 1 else ''} trained and {masked} masked, measured on the same "
        f"{result.provenance.posters} posters ({result.provenance.split}), each beside the full model and the best "
        "constant answer."
    )
    if not result.unfinished:
        return text
    verb = "is" if len(result.unfinished) == 1 else "are"
    return (
        f"UNFINISHED: {len(result.unfinished)} of the plan's trainings {verb} missing (listed at the end); the numbers "
        f"below are those of the rest. {text}"
    )


def _facts(result: AblationResult) -> dict[str, str]:
    source = result.provenance
    trained = [cell for cell in result.cells if cell.mode == "retrain"]
    seconds = sum(cell.seconds * len(cell.seeds) for cell in trained)
    return {
        "data": source.data,
        "manifest": f"sha256 {source.manifest[:16]}…",
        "split": source.split,
        "posters": f"{source.posters} measured, {source.train_posters} trained on, {source.val_posters} to choose "
        "epochs and thresholds",
        "seeds": seeds_in_words(source.seeds),
        "half-samples": str(source.bootstrap),
        "models trained": f"{sum(len(cell.seeds) for cell in trained)} in {seconds / 60:.0f} min",
        "mmposter": source.version,
        "commit": source.commit or "not installed from a checkout",
        "command": f"`{source.command}`",
    }


def _found(result: AblationResult) -> PageSection:
    sentences = findings(result)
    if not sentences:
        return PageSection("findings", "What was found", ("Nothing yet: no cell can be compared.",), ())
    text = (
        "Each sentence gives the number and, in brackets, its 95 % interval. “Not told apart” means that the interval "
        "or Holm's p-value carries no difference; it does not mean equal."
    )
    return PageSection("findings", "What was found", (text,), (ListBlock(sentences),))


def _subsets(result: AblationResult) -> PageSection | None:
    found = group(result, SUBSETS, "retrain") or group(result, SUBSETS, "mask")
    if found is None:
        return None
    lead = TITLES[HEADLINES[0]]
    picture = FigureBlock(
        f"subsets-{found.mode}",
        plot_subsets(result, found),
        f"Every subset of the branches, the best on the left: {lead} above, the branches it holds below (filled). "
        "Triangles differ from the full model by a difference that Holm's p-value carries, rings are not told apart.",
        f"{lead} of {len(found.rows)} subsets of the branches with intervals",
    )
    items: list[Block] = [picture, cells_table(result, found)]
    added = contributions_table(result, found.mode)
    return PageSection(
        "subsets", "Subsets of the branches", (_mode_text(found),), (*items, *([added] if added else []))
    )


def _branches(result: AblationResult) -> PageSection | None:
    found = [one for section in (LEAVE_ONE_OUT, ADD_ONE) for one in _modes_of(result, section)]
    items = [item for one in found for item in _shown(result, one)]
    text = []
    if any(one.borrowed for one in found):
        text.append("The models without one branch are those of the subsets, shown once more.")
    return (
        PageSection("branches", "Leaving out and adding single branches", tuple(text), tuple(items)) if items else None
    )


def _genres(result: AblationResult) -> PageSection | None:
    items: list[Block] = []
    for mode in MODES:
        added, how = added_by_branch(result, mode)
        if added:
            caption = (
                f"Average precision that each branch adds to each genre: {how}. Framed and bold where Holm's p-value "
                "carries it, pale where it does not; blue adds, orange takes."
            )
            alt = f"Heat map of {len(result.genres)} genres by {len(added)} branches"
            items.append(FigureBlock(f"genres-{mode}", plot_genres(result, mode), caption, alt))
    items += [
        DetailsBlock(f"Average precision by genre: {one.title}", (genres_table(result, one),))
        for one in groups(result)
        if not one.borrowed
    ]
    if not items:
        return None
    text = [
        f"In the tables {BETTER} and {WORSE} say that a model is better or worse in a genre than the full model, by "
        "Holm's p-value over all comparisons and genres of the section and mode."
    ]
    none = [genre for genre, count in zip(result.genres, result.support, strict=True) if not count]
    if none:
        text.append(f"No poster of this split has: {', '.join(none)}. Nothing can be said there.")
    full = result.full
    few = [
        f"{genre} ({count})"
        for genre, count in zip(result.genres, result.support, strict=True)
        if full is not None and count and full.by_genre[genre].ci95 is None
    ]
    if few:
        text.append(f"Values without an interval, for which nothing is claimed: {', '.join(few)}.")
    return PageSection("genres", "By genre", tuple(text), tuple(items))


def _controls(result: AblationResult) -> PageSection | None:
    items = [item for one in _modes_of(result, CONTROLS) for item in _shown(result, one)]
    text = (
        "A shuffled branch sees another poster's records: if it then does as the model without the branch, what the "
        "branch gave was about the poster and not a mere input more. Masked words show how much of a text branch's "
        "gain is the title or the names that the poster prints."
    )
    return PageSection("controls", "Controls", (text,), tuple(items)) if items else None


def _axes(result: AblationResult) -> PageSection | None:
    found = [one for key in axes_of(result) for one in _modes_of(result, key)]
    items = [item for one in found for item in _shown(result, one)]
    text = "Each axis changes one key of the base configuration and leaves all others as they are."
    return PageSection("axes", "Axes of the configuration", (text,), tuple(items)) if items else None


def _modes(result: AblationResult) -> PageSection | None:
    retrained, masked = group(result, SUBSETS, "retrain"), group(result, SUBSETS, "mask")
    if retrained is None or masked is None:
        return None
    items: list[Block] = []
    if {cell.branches for cell in retrained.cells} & {cell.branches for cell in masked.cells}:
        caption = "The same branches, once as a model trained on them alone and once with all others masked."
        figure = plot_modes(result, retrained, masked)
        items.append(FigureBlock("modes", figure, caption, "Subsets trained anew against subsets masked"))
    items.append(cells_table(result, masked))
    compared, added = comparisons_table(result, masked), contributions_table(result, "mask")
    items += [DetailsBlock(compared.caption, (compared,))] if compared else []
    items += [added] if added else []
    return PageSection("modes", "Trained anew against masked", (_mode_text(masked),), tuple(items))


def _unfinished(result: AblationResult) -> PageSection | None:
    if not result.unfinished:
        return None
    texts = tuple(f"{label}: {reason}" for label, reason in result.unfinished.items())
    return PageSection("unfinished", "What is not finished", (), (ListBlock(texts),))


def _shown(result: AblationResult, found: CellGroup) -> Iterator[Block]:
    """Values, differences and tables of one group."""
    lead = TITLES[HEADLINES[0]]
    caption = f"{found.title}: {lead}, mean over the seeds with its 95 % interval; rings are single seeds."
    yield FigureBlock(found.name, plot_values(result, found), caption, f"{lead} of {len(found.rows)} models")
    if questions(result, found):
        yield FigureBlock(
            f"{found.name}-differences",
            plot_differences(result, found),
            f"{found.title}: differences of {lead} on the same posters. Triangles mark what Holm's p-value carries, "
            "rings what is not told apart.",
            f"Paired differences of {lead} for {len(found.cells)} models",
        )
    yield cells_table(result, found)
    table = comparisons_table(result, found)
    if table is not None:
        yield table


def _modes_of(result: AblationResult, section: str) -> list[CellGroup]:
    return [one for mode in MODES if (one := group(result, section, mode)) is not None]


def _mode_text(found: CellGroup) -> str:
    if found.mode == "retrain":
        return (
            "Each subset is a model of its own, trained anew with every seed: what these branches are worth to "
            "someone who builds a model of them."
        )
    return (
        "Masked: the full models, not trained again, with all other branches taken away at test time: what the "
        "trained model relies on."
    )


def _yaml(config: Mapping[str, object]) -> str:
    import yaml

    text: str = yaml.safe_dump(plain_values(config), sort_keys=False, allow_unicode=True)
    return text
