"""The page of one evaluation, and the folder that it lies in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmposter.branches import declarations
from mmposter.document.blocks import (
    Block,
    CodeBlock,
    DetailsBlock,
    Document,
    Emphasis,
    FigureBlock,
    ListBlock,
    PageSection,
    PicturesBlock,
    TableBlock,
    Thumbnail,
)
from mmposter.document.numbers import DASH, interval, number, percent, with_interval
from mmposter.document.page import render_page
from mmposter.evaluation.evaluate import Evaluation
from mmposter.evaluation.examination import Examination
from mmposter.evaluation.listing import LISTING
from mmposter.evaluation.operating import OperatingPoint
from mmposter.evaluation.scored import PREDICTIONS, ScoredPosters
from mmposter.evaluation.single_label import SingleLabelResult
from mmposter.evaluation.thresholds import NEVER
from mmposter.files.atomic import write_json, write_text
from mmposter.outputs import claim
from mmposter.outputs.kinds import EVALUATION
from mmposter.report.evaluation_text import data_note, genres_table, metrics_table, notes, parts_notes, parts_tables
from mmposter.report.plots import (
    plot_average_precision,
    plot_confusion,
    plot_cooccurrence,
    plot_precision_recall,
    plot_reliability,
)
from mmposter.report.plots.style import save_png
from mmposter.shipped import is_borrowed, run_name

EVALUATIONS, PAGE, NUMBERS, PLOTS = "evaluation", "report.html", "evaluation.json", "plots"


def evaluation_folder(
    run: Path, split: str, branches: tuple[str, ...] | None = None, *, data: tuple[str, str] | None = None
) -> Path:
    """Where the evaluation of a run is kept: ``RUN/evaluation/test``, or ``.../test-cnn-yolo`` where others are masked.

    On other data than the run's own it is ``RUN/evaluation/NAME-1a2b3c4d/test``, so that neither replaces the other.

    That of a shipped model, or one of the hub, lies in the working folder, in ``runs/NAME``: nobody writes into an
    installed package or a cache.

    Args:
        run: the run folder.
        split: ``train``, ``val`` or ``test``.
        branches: those that `--branches` asked for; None: all.
        data: name and manifest's sha256 of other data; None for the run's own.
    """
    home = Path("runs") / run_name(run) if is_borrowed(run) else run
    home = home / EVALUATIONS if data is None else home / EVALUATIONS / f"{data[0]}-{data[1][:8]}"
    return home / "-".join([split, *(branches or ())])


def write_evaluation(found: Examination, folder: Path, pictures: Mapping[str, str] | None = None) -> Path:
    """Write report.html, evaluation.json, predictions.parquet, listing.txt and plots/*.png, each one atomically.

    Args:
        found: what was measured.
        folder: where to.
        pictures: of the hardest posters by id, from `mmposter.report.thumbnails`; None: the page shows none.

    Returns:
        The page.

    Raises:
        UserError: files of others would be replaced, or another process is writing there.
        OSError: the folder cannot be written.
    """
    document = evaluation_document(found, pictures)
    page = render_page(document.title, document.lead, document.facts, document.sections)
    with claim(folder, EVALUATION, go_on=True):
        found.scored.save(folder / PREDICTIONS)
        write_json(folder / NUMBERS, found.to_json())
        write_text(folder / LISTING, "".join(f"{line}\n" for line in found.listing))
        for block in document.figures:
            save_png(block.figure, folder / PLOTS / f"{block.name.replace('-', '_')}.png")
        write_text(folder / PAGE, page)
    return folder / PAGE


def evaluation_document(found: Examination, pictures: Mapping[str, str] | None = None) -> Document:
    """The page; where a poster has one genre, none are true together, and a confusion matrix says the rest."""
    single = found.evaluation.single_label
    sections = [
        _metrics(found),
        *([] if single is None else [_confusion(found, single)]),
        _by_genre(found),
        *([_parts(found)] if found.parts else []),
        _precision_recall(found.scored),
        *([] if found.evaluation.surest_alone else [_thresholds(found)]),
        *([_together(found)] if single is None else []),
        _calibration(found),
        _hardest(found, pictures),
        _source(found),
    ]
    source = found.scored.source
    title = f"{source.run} on {source.data}, {found.evaluation.split}"
    return Document(title, _lead(found), evaluation_facts(found), sections)


def _lead(found: Examination) -> str:
    # Two words of the verdict are capitals in tables; in a sentence they need none.
    parts = []
    for metric in found.evaluation.headlines:
        result = found.evaluation.metrics[metric.name]
        compared = found.evaluation.verdict(metric.name).lower()
        value, constant = with_interval(result.value, result.ci95), number(result.constant)
        by = "" if result.difference.ci95 is None else f" ({interval(result.difference.ci95, sign=True)})"
        parts.append(f"{metric.title} {value}, constant answer {constant}: {compared}{by}")
    return f"{found.evaluation.n} posters of the {found.evaluation.split} split: " + "; ".join(parts) + "."


def evaluation_facts(found: Examination) -> dict[str, str]:
    """What was measured, for the head of a page."""
    source = found.scored.source
    masked = f" (masked: {', '.join(source.masked)})" if source.masked else ""
    return {
        "Run": source.run,
        "Branches": ", ".join(source.branches) + masked,
        "Data": f"{source.data}, manifest `{source.manifest[:12]}`",
        "Split": f"{source.split}, {found.evaluation.n} posters, {len(found.scored.genres)} genres",
        **({"Left out": f"{source.left_out} posters that the run has seen in training"} if source.left_out else {}),
        "Seed": str(source.seed),
        "Head": f"{_head(source.config)}, regime {source.config['regime']}",
        "Weights": f"`{source.weights[:12]}`",
        **({} if source.decision is None else {"Scaled by": f"`mmposter calibrate`, `{source.decision}`"}),
        "mmposter": source.version + ("" if source.commit is None else f", commit `{source.commit}`"),
    }


def _head(config: Mapping[str, Any]) -> str:
    """What joins the branches; a network alone has its own classifier."""
    own = [found for one in declarations().values() if (found := one.own_classifier(config)) is not None]
    return f"{own[0]} classifier, without fusion" if own else str(config["fusion"]["head"])


def evaluation_blocks(evaluation: Evaluation) -> list[Block]:
    """The tables and the notes, for a notebook; that of the genres is folded away."""
    genres = DetailsBlock("Genres", [genres_table(evaluation)])
    return [metrics_table(evaluation), genres, ListBlock(notes(evaluation))]


def _metrics(found: Examination) -> PageSection:
    rounded = data_note(found)
    return PageSection(
        "metrics",
        "Metrics",
        [
            "Each metric beside the best answer that never looks at a poster. “Within noise” means that the interval "
            "of the difference to it, paired by poster, reaches zero."
        ],
        [metrics_table(found.evaluation), ListBlock([*notes(found.evaluation), *([rounded] if rounded else [])])],
    )


def _confusion(found: Examination, single: SingleLabelResult) -> PageSection:
    counts, genres = np.array(single.confusion), found.scored.genres
    true, answered = counts.sum(axis=1), counts.sum(axis=0)
    most = int(answered.argmax())
    total = int(counts.sum())
    text = [
        "Every poster has one genre, and is answered with the genre that is surest. Of a model without a fault all "
        f"counts would stand on the diagonal. Answered most: {genres[most]}, on {percent(answered[most] / total)} of "
        f"the posters; it is true of {percent(true[most] / total)}."
    ]
    never = [genre for genre, count, said in zip(genres, true, answered, strict=True) if count and not said]
    if never:
        text.append(f"True of some posters and never answered: {', '.join(never)}.")
    return PageSection(
        "confusion",
        "Confusion matrix",
        text,
        [
            FigureBlock(
                "confusion",
                plot_confusion(single.confusion, genres),
                "One row a true genre, one column an answer, with the number of posters; shaded by the share of the "
                "row, so that the diagonal's shade is the recall. An empty cell is 0.",
                "Confusion matrix: how often each genre was answered with each other.",
            )
        ],
    )


def _by_genre(found: Examination) -> PageSection:
    return PageSection(
        "genres",
        "Genres",
        [
            "A genre's constant answer is its prevalence. Something of the genre is seen on the posters where average "
            f"precision minus prevalence, paired by poster, lies above zero with its interval: {_seen(found)}."
        ],
        [
            FigureBlock(
                "average-precision",
                plot_average_precision(found.evaluation),
                "Average precision of each genre with its 95 % interval; the orange tick is the constant answer's.",
                "Average precision by genre, best on top; the table below holds the same numbers.",
            ),
            genres_table(found.evaluation),
        ],
    )


def _parts(found: Examination) -> PageSection:
    kinds = ", ".join(dict.fromkeys(part.by for part in found.parts))
    return PageSection(
        "parts",
        "Parts of the posters",
        [f"The headline metrics on the posters of each part, by {kinds}."],
        [*parts_tables(found), ListBlock(parts_notes(found))],
    )


def _seen(found: Examination) -> str:
    rows = found.evaluation.by_genre.items()
    seen = [genre for genre, row in rows if row.difference.ci95 is not None and row.difference.ci95[0] > 0]
    return ", ".join(seen) or "none"


def _precision_recall(scored: ScoredPosters) -> PageSection:
    return PageSection(
        "precision-recall",
        "Precision and recall",
        [
            "What each threshold would trade: further right more of the genre's posters are found, further up fewer of "
            "those found are wrong. The area below the curve is the average precision."
        ],
        [
            FigureBlock(
                "precision-recall",
                plot_precision_recall(scored.target, scored.probs, scored.genres),
                "Precision against recall, the most frequent genre first; dashed: the constant answer.",
                "Precision against recall, one panel a genre.",
            )
        ],
    )


def _thresholds(found: Examination) -> PageSection:
    header = ["genre", "support", "threshold", "precision", "recall", "F1", "decided", "F1 at .5", "decided at .5"]
    header += ["best F1 in hindsight", "at"]

    def point(at: OperatingPoint) -> list[str]:
        return [number(at.precision), number(at.recall), number(at.f1), percent(at.decided)]

    rows = []
    for row in sorted(found.thresholds, key=lambda row: -row.support):
        best = row.hindsight
        hindsight = ["–", "–"] if best is None else [number(best.f1), number(best.threshold)]
        half = [number(row.half.f1), percent(row.half.decided)]
        rows.append(
            [row.genre, str(row.support), _threshold(row.tuned.threshold), *point(row.tuned), *half, *hindsight]
        )
    emphasis: dict[tuple[int, int | None], Emphasis] = {
        (at, column): "muted" for at in range(len(rows)) for column in (9, 10)
    }
    return PageSection(
        "thresholds",
        "Thresholds",
        [
            "A genre is decided where its probability reaches its threshold, tuned on validation posters. “Decided” is "
            "the share of posters that get the genre. Beside it: what .5 would give, and the best F1 that any "
            "threshold reaches on these very posters. That one is hindsight: nobody can know it beforehand, so it is "
            "a bound and no result.",
            "These numbers are of the thresholds alone, without the rule for posters where nothing passes "
            f"({found.evaluation.empty}), which the tables above include.",
        ],
        [TableBlock("", header, rows, emphasis=emphasis)],
    )


def _threshold(value: float) -> str:
    """A dash where no probability can reach it."""
    return DASH if value >= NEVER else number(value)


def _together(found: Examination) -> PageSection:
    together = found.together
    blocks: list[FigureBlock | ListBlock] = [
        FigureBlock(
            "together",
            plot_cooccurrence(together),
            "One row a true genre. Left: how many of its posters have each other genre too. Right: on how many each "
            "genre is decided; on the diagonal that is the recall.",
            "Two matrices of genres, one of the truth and one of the decisions.",
        )
    ]
    text = ["Which genres are decided where a genre is true. A model without a fault would make both matrices alike."]
    sentences = [confusion.sentence() for confusion in (*together.too_often, *together.too_seldom)]
    if sentences:
        text.append("The two are furthest apart here (after 1.96 standard errors are taken off):")
        blocks.insert(0, ListBlock(sentences))
    else:
        text.append("Nowhere are the two further apart than luck explains.")
    return PageSection("together", "Genres together", text, blocks)


def _calibration(found: Examination) -> PageSection:
    text = [
        "Of all (poster, genre) pairs that got about .7, do 70 % have the genre? A point on the dashed line says yes; "
        "below it the model is too sure, above it too timid."
    ]
    result = found.calibration
    curves = {_as_it_is(found): found.reliability}
    if result is not None:
        curves[f"calibrated ({result.calibrator.method})"] = result.after
    blocks: list[FigureBlock | TableBlock] = [
        FigureBlock(
            "reliability",
            plot_reliability(curves),
            "All pairs in 15 bins of equal width; below, how many pairs each bin holds (logarithmic).",
            "Reliability diagram with the number of pairs in each bin.",
        )
    ]
    if result is None:
        text.append("No calibration was fitted: it was not asked for, or the data have no validation posters.")
        return PageSection("calibration", "Calibration", text, blocks)
    method = result.calibrator.method
    if method == "temperature":
        text.append(
            f"Fitted: one temperature, T = {result.calibrator.temperature:.3f}, by which every logit is divided "
            "(above 1 the model was too sure, below 1 too timid). It changes no ranking, and no decision where the "
            "thresholds are moved along."
        )
    else:
        text.append(
            "Fitted: one non-decreasing function of the probability for all genres (isotonic regression). It puts no "
            "genre before another that was behind it, but may make them equal."
        )
    if found.fitted_on_itself:
        text.append("It was fitted on these very posters, so what it gains here flatters.")
    else:
        text.append(f"It was fitted on {result.fitted_posters} posters of the {result.fitted_on} split, not on these.")
    text.append(
        "It is for those who read the probabilities as such, to rank across genres or to set a price on a mistake. "
        f"It is reported, not applied: the model, its thresholds and all other numbers here are {_as_it_is(found)}."
    )
    blocks.append(
        TableBlock(
            "",
            ["", _as_it_is(found), f"calibrated ({method})", "change"],
            [
                [
                    "calibration error (ECE)",
                    with_interval(result.error_before.value, result.error_before.ci95),
                    with_interval(result.error_after.value, result.error_after.ci95),
                    with_interval(result.change.value, result.change.ci95, sign=True),
                ],
                [
                    "log loss (nats a pair)",
                    f"{result.log_loss_before:.4f}",
                    f"{result.log_loss_after:.4f}",
                    f"{result.log_loss_after - result.log_loss_before:+.4f}",
                ],
            ],
        )
    )
    return PageSection("calibration", "Calibration", text, blocks)


def _hardest(found: Examination, pictures: Mapping[str, str] | None) -> PageSection:
    rows = [
        [
            poster.id,
            number(poster.loss),
            ", ".join(poster.true),
            ", ".join(poster.decided) or "none",
            _named(poster.missed),
            _named(poster.false),
            _named({poster.worst: poster.worst_probability}),
        ]
        for poster in found.hardest
    ]
    text, blocks = _pictures(found, pictures)
    return PageSection(
        "hardest",
        "Most wrong",
        [
            f"The {len(rows)} posters with the highest loss (mean binary cross-entropy over the genres, in nats), by "
            "id. Missed: genres that it has and that were not decided; false: decided and not true; each with the "
            "probability that the model gave it. Costliest: the genre that adds most to the loss.",
            text,
        ],
        [
            TableBlock("", ["id", "loss", "true", "decided", "missed", "false", "costliest"], rows, align="lrlllll"),
            *blocks,
        ],
    )


def _pictures(found: Examination, pictures: Mapping[str, str] | None) -> tuple[str, list[PicturesBlock]]:
    """The misclassified ones among the hardest posters, in the same order, and a sentence on what is shown."""
    if pictures is None:
        return "Posters belong to their owners: they are shown here only with `mmposter evaluate --thumbnails`.", []
    wrong = [poster for poster in found.hardest if poster.missed or poster.false]
    shown = [poster for poster in wrong if poster.id in pictures]
    thumbnails = [
        Thumbnail(
            pictures[poster.id],
            poster.id,
            f"is {', '.join(poster.true)}; decided {', '.join(poster.decided) or 'none'}",
        )
        for poster in shown
    ]
    text = f"Pictures of {len(shown)} of the {len(wrong)} misclassified posters among them"
    text += "." if len(shown) == len(wrong) else "; the files of the others cannot be read here."
    return text, [PicturesBlock(thumbnails)] if thumbnails else []


def _source(found: Examination) -> PageSection:
    source = found.scored.source
    return PageSection(
        "source",
        "Where the numbers come from",
        [
            f"Manifest of the data: `{source.manifest}`. Weights of the run: `{source.weights}`. The same numbers are "
            f"in `{NUMBERS}`, each poster's probabilities in `{PREDICTIONS}` (which `mmposter compare` reads), its "
            f"three surest genres as a line to read in `{LISTING}`, and the figures in `{PLOTS}/`."
        ],
        [
            DetailsBlock(
                "Configuration of the run", [CodeBlock(json.dumps(dict(source.config), indent=2, ensure_ascii=False))]
            )
        ],
    )


def _as_it_is(found: Examination) -> str:
    """Where probabilities and thresholds come from: the training, or what was fitted after it."""
    return "as trained" if found.scored.source.decision is None else "as scaled by mmposter calibrate"


def _named(probabilities: Mapping[str, float]) -> str:
    # A genre and its probability stay on one line.
    return ", ".join(f"{genre}\N{NO-BREAK SPACE}{number(value)}" for genre, value in probabilities.items()) or "–"
