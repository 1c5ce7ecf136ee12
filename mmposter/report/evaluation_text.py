"""An evaluation on a console and as Markdown: its summary, its cells, and the notes that a reader needs."""

from __future__ import annotations

from collections.abc import Mapping

from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.document.markdown import markdown_table
from mmposter.document.numbers import interval, number, with_interval
from mmposter.evaluation import weighted
from mmposter.evaluation.evaluate import Evaluation
from mmposter.evaluation.examination import Examination, PartResult
from mmposter.evaluation.intervals import MIN_POSTERS
from mmposter.evaluation.metrics import METRICS, Metric
from mmposter.evaluation.thresholds import NEVER

METRIC_COLUMNS = ("metric", "value", "95 % interval", "constant", "minus the constant", "verdict")
GENRE_COLUMNS = ("genre", "support", "AP", "95 % interval", "prevalence", "precision", "recall", "F1", "threshold")

ROUNDED = "with the posters' own features a value may differ in the third decimal"

VERDICTS: Mapping[str, Emphasis] = {
    "better": "good",
    "within noise": "unsure",
    "NOT BETTER": "bad",
    "cannot be beaten": "muted",
    "undefined": "muted",
}

SUMMARY_METRICS = ("mean_average_precision", "macro_f1", "any_hit_at_3")
"""What a command prints by default, of data with several genres a poster."""
_EXTREMES = 3  # genres at either end that it names


def title(evaluation: Evaluation) -> str:
    """The heading of a report: split and number of posters."""
    return f"{evaluation.split}: {evaluation.n} posters"


def to_markdown(evaluation: Evaluation) -> str:
    """Both tables and the notes as Markdown."""
    parts = [
        f"### {title(evaluation)}",
        markdown_table(METRIC_COLUMNS, metric_rows(evaluation)),
        markdown_table(GENRE_COLUMNS, genre_rows(evaluation)),
        "\n".join(f"- {note}" for note in notes(evaluation)),
    ]
    return "\n\n".join(parts) + "\n"


def summary(evaluation: Evaluation) -> list[TableBlock | str]:
    """What a command prints by default: three metrics beside the constant answer, and the genres at both ends."""
    names = [metric.name for metric in evaluation.headlines] if evaluation.single_label else SUMMARY_METRICS
    shown = [metric for metric in evaluation.listed if metric.name in names]
    rows = [[*_measured(evaluation, metric)[:4], evaluation.verdict(metric.name)] for metric in shown]
    emphasis: dict[tuple[int, int | None], Emphasis] = {(at, 4): VERDICTS[row[4]] for at, row in enumerate(rows)}
    header = [*METRIC_COLUMNS[:4], METRIC_COLUMNS[-1]]
    return [TableBlock(title(evaluation), header, rows, "lrrrl", emphasis), *_extremes(evaluation)]


def _extremes(evaluation: Evaluation) -> list[str]:
    """The genres that are ranked best and worst, with the constant's average precision, their prevalence."""
    found = sorted((-row.average_precision, name) for name, row in evaluation.by_genre.items() if row.support)
    names = [name for _, name in found]
    ends = {"best": names[:_EXTREMES], "worst": names[_EXTREMES:][-_EXTREMES:][::-1]}
    lines = []
    for word, chosen in ends.items():
        rows = [(name, evaluation.by_genre[name]) for name in chosen]
        said = ", ".join(f"{name} {number(row.average_precision)} ({number(row.prevalence)})" for name, row in rows)
        lines += [f"{word} genres, average precision (constant): {said}"] if said else []
    return lines


def whole(evaluation: Evaluation) -> list[TableBlock | str]:
    """Both tables and the notes; a genre without a positive, for which there is no number, stands in the notes."""
    rows = [row for row in genre_rows(evaluation) if evaluation.by_genre[row[0]].support]
    tables = [metrics_table(evaluation, title(evaluation)), TableBlock("By genre", GENRE_COLUMNS, rows)]
    return [*tables, *(f"- {note}" for note in notes(evaluation))]


def metrics_table(evaluation: Evaluation, caption: str = "") -> TableBlock:
    """Every metric with its interval, beside the constant answer."""
    rows = metric_rows(evaluation)
    headlines = {metric.title for metric in evaluation.headlines}
    emphasis: dict[tuple[int, int | None], Emphasis] = {
        (at, len(METRIC_COLUMNS) - 1): VERDICTS[row[-1]] for at, row in enumerate(rows)
    }
    emphasis |= {(at, None): "strong" for at, row in enumerate(rows) if row[0] in headlines}
    return TableBlock(caption, METRIC_COLUMNS, rows, align="lrrrrl", emphasis=emphasis)


def genres_table(evaluation: Evaluation) -> TableBlock:
    """Every genre, the most frequent first."""
    rows = genre_rows(evaluation)
    emphasis: dict[tuple[int, int | None], Emphasis] = {
        (at, None): "muted" for at, row in enumerate(rows) if not evaluation.by_genre[row[0]].support
    }
    return TableBlock("By genre, the most frequent first", GENRE_COLUMNS, rows, emphasis=emphasis)


def parts_tables(found: Examination) -> list[TableBlock]:
    """One table a kind of parts: the headline metrics on each, beside the constant answer on the same posters."""
    tables = []
    for by in dict.fromkeys(part.by for part in found.parts):
        rows: list[list[str]] = []
        emphasis: dict[tuple[int, int | None], Emphasis] = {}
        for part in found.parts:
            if part.by == by:
                measured = _part_rows(part)
                at = len(rows)
                rows += measured
                emphasis |= {(at + k, 6): VERDICTS[row[-1]] for k, row in enumerate(measured)}
        header = [by, "posters", *(name for name in METRIC_COLUMNS if name != "minus the constant")]
        tables.append(TableBlock(f"By {by}", header, rows, align="lrlrrrl", emphasis=emphasis, keys=3))
    return tables


def _part_rows(part: PartResult) -> list[list[str]]:
    named = [part.name, str(part.posters)]
    if part.evaluation is None:
        return [[*named, "–", "–", "–", "–", "undefined"]]
    headlines = {metric.title for metric in part.evaluation.headlines}
    rows = [[*row[:4], row[-1]] for row in metric_rows(part.evaluation) if row[0] in headlines]
    return [[*(named if k == 0 else ["", ""]), *row] for k, row in enumerate(rows)]


def parts_notes(found: Examination) -> list[str]:
    """What a reader must know to read the tables of parts right."""
    if not found.parts:
        return []
    return [
        "by parts: the constant is chosen on all training posters; a genre without a positive in a part is left out of "
        "its means, so two parts answer slightly different questions: compare each with its constant"
    ]


def metric_rows(evaluation: Evaluation) -> list[list[str]]:
    """The cells under `METRIC_COLUMNS`, one row a metric, headlines first."""
    return [_measured(evaluation, metric) for metric in evaluation.listed]


def _measured(evaluation: Evaluation, metric: Metric) -> list[str]:
    found = evaluation.metrics[metric.name]
    return [
        metric.title,
        number(found.value),
        interval(found.ci95, "–"),
        number(found.constant),
        interval(found.difference.ci95, sign=True),
        evaluation.verdict(metric.name),
    ]


def genre_rows(evaluation: Evaluation) -> list[list[str]]:
    """The cells under `GENRE_COLUMNS`, one row a genre, the most frequent first."""
    ordered = sorted(evaluation.by_genre.items(), key=lambda item: -item[1].support)
    return [
        [
            genre,
            str(row.support),
            number(row.average_precision),
            interval(row.ci95, "–"),
            *map(number, (row.prevalence, row.precision, row.recall, row.f1)),
            "–" if row.threshold >= NEVER else number(row.threshold),
        ]
        for genre, row in ordered
    ]


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader must know to read the tables right."""
    notes = [
        "constant: the best single answer for all posters, chosen on the training posters for that metric; the "
        "constant of overall recall, every genre at once, cannot be beaten",
        "minus the constant: 95 % interval of the difference, paired by poster; better and within noise go by it, not "
        "by the value's own interval",
        f"95 % interval: {evaluation.bootstrap['n_boot']} half-samples of {evaluation.bootstrap['unit']}, seed "
        f"{evaluation.bootstrap['seed']}, corrected for bias, hence not centred on the value",
        *(
            [
                f"no interval, and no verdict but that of the values: {evaluation.bootstrap['independent']} "
                f"{evaluation.bootstrap['unit']} are fewer than {MIN_POSTERS}"
            ]
            if evaluation.bootstrap["independent"] < MIN_POSTERS
            else []
        ),
        "lower is better: " + ", ".join(metric.title for metric in METRICS if not metric.higher_is_better),
        "decided: the surest genre of each poster"
        if evaluation.surest_alone
        else f"a poster where nothing passes its threshold: {evaluation.empty}",
    ]
    notes += [
        f"left out, {reason.replace('_', ' ')}: {count}" for reason, count in evaluation.left_out.items() if count
    ]
    if evaluation.single_label is not None:
        notes.append(
            "one genre a poster: accuracy, macro precision and macro recall are of the surest genre, whatever the "
            "thresholds; a genre counts in both means if it is true or answered anywhere"
        )
        answers = [sum(column) for column in zip(*evaluation.single_label.confusion, strict=True)]
        if few := [
            genre for genre, n in zip(evaluation.by_genre, answers, strict=True) if 0 < n < weighted.MIN_ANSWERS
        ]:
            notes.append(
                f"answered once or twice, so the interval of macro precision counts 0 for it at its lower end and "
                f"1 at its upper: {', '.join(few)}"
            )
    if evaluation.genres_without_positives:
        notes.append("no positive, left out of means over genres: " + ", ".join(evaluation.genres_without_positives))
    return notes


def examined(found: Examination) -> list[TableBlock | str]:
    """`whole`, the parts of the posters, and what a calibration would change."""
    data = data_note(found)
    lines = [*parts_notes(found), calibration_note(found), *([] if data is None else [data])]
    return [*whole(found.evaluation), *parts_tables(found), *(f"- {line}" for line in lines)]


def calibration_note(examination: Examination) -> str:
    """The calibration in one line, for a console."""
    found = examination.calibration
    if found is None:
        return "calibration: none fitted"
    scale = "" if found.calibrator.temperature is None else f" T = {found.calibrator.temperature:.3f}"
    where = "on these very posters, so it flatters" if examination.fitted_on_itself else f"on {found.fitted_on} posters"
    return (
        f"calibration, {found.calibrator.method}{scale} fitted {where}: calibration error "
        f"{number(found.error_before.value)} to {number(found.error_after.value)}, change "
        f"{with_interval(found.change.value, found.change.ci95, sign=True)}; reported, not applied"
    )


def data_note(examination: Examination) -> str | None:
    """That the features came out of a pack, where they did; None otherwise."""
    pack = examination.scored.source.pack
    return None if pack is None else f"features: those of the pack {pack}, which are rounded; {ROUNDED}"
