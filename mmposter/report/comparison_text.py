"""A comparison on a console, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.document.markdown import markdown_table
from mmposter.document.numbers import exact, number, p_value, with_interval
from mmposter.evaluation.comparison import LEVEL, Comparison, RunRow
from mmposter.evaluation.metrics import METRICS
from mmposter.evaluation.seeds import Estimate
from mmposter.files.spreadsheets import table_text

HEADLINES = tuple(metric for metric in METRICS if metric.headline)
RUN_COLUMNS = ["run", "what", "seeds", *(metric.title for metric in HEADLINES)]
VERDICTS: Mapping[str, Emphasis] = {"better": "good", "worse": "bad", "within noise": "unsure", "–": "muted"}


def title(found: Comparison) -> str:
    """The heading of a comparison."""
    return f"{found.data}, {found.split}: {found.posters} posters"


def describe(row: RunRow) -> str:
    """What a row looks at, and what else sets it apart from the first one."""
    changes = [f"{key}={value}" for key, value in row.changes.items()]
    return "; ".join([",".join(row.branches) + (" (others masked)" if row.masked else ""), *changes])


def runs_table(found: Comparison) -> TableBlock:
    """The headline metrics of every row, and of the constant answer."""
    rows = [[*_about(row), *(value_text(row.metrics[metric.name]) for metric in HEADLINES)] for row in found.rows]
    constant = [number(found.constant[metric.name]) for metric in HEADLINES]
    rows.append(["constant answer", "never looks at a poster", "", *constant])
    return TableBlock("", RUN_COLUMNS, rows, "lllrrr", {(len(rows) - 1, None): "muted"})


def _about(row: RunRow) -> list[str]:
    return [row.name, describe(row), ",".join(map(str, row.seeds))]


def value_text(estimate: Estimate) -> str:
    """``0.320 (0.292–0.331)``."""
    return with_interval(estimate.value, estimate.ci95, "–")


def difference_text(estimate: Estimate) -> str:
    """``+0.012 (-0.003 to +0.027)``."""
    return with_interval(estimate.value, estimate.ci95, sign=True)


def notes(found: Comparison) -> list[str]:
    """What a reader must know to read the tables right."""
    first = found.rows[0]
    notes = [
        f"differences: to {first.name}, paired by poster; {found.n_boot} half-samples of near-duplicate groups, "
        f"seed {found.seed}, corrected for bias, hence not centred on the value",
        "p: Holm's, adjusted over the rows of one metric (by genre: over rows and genres); better and worse: below "
        f"{LEVEL:g}",
        "lower is better: " + ", ".join(metric.title for metric in METRICS if not metric.higher_is_better),
    ]
    if any(len(row.seeds) == 1 for row in found.rows):
        notes.append("a row of one seed: its interval holds the luck of the posters, not that of training")
    fewer = [
        f"{row.name} ({row.difference.pairs} of {max(len(row.seeds), len(first.seeds))})"
        for row in found.rows
        if row.difference is not None and row.difference.pairs < max(len(row.seeds), len(first.seeds))
    ]
    if fewer:
        notes.append(f"other seeds than {first.name}: the difference is over the pairs there are: {', '.join(fewer)}")
    if found.left_out:
        notes.append(f"left out, not measured in all runs: {found.left_out} posters")
    without = [genre for genre, count in zip(found.genres, found.support, strict=True) if not count]
    if without:
        notes.append("no positive, left out of means over genres: " + ", ".join(without))
    return notes


def headline_runs(found: Comparison) -> TableBlock:
    """The headline metrics of every row, for a console."""
    # The interval below its value: three intervals side by side fit no narrow terminal.
    rows = [
        [*_about(row), *(value_text(row.metrics[metric.name]).replace(" (", "\n(") for metric in HEADLINES)]
        for row in found.rows
    ]
    rows.append(["constant answer", "", "", *(number(found.constant[metric.name]) for metric in HEADLINES)])
    return TableBlock(title(found), RUN_COLUMNS, rows, "lllrrr")


def differences(found: Comparison) -> list[TableBlock]:
    """What every row has more or less than the first one, for a console; nothing where there is one row."""
    rows = [
        [
            row.name,
            metric.title,
            difference_text(row.difference.metrics[metric.name]),
            p_value(row.difference.metrics[metric.name].adjusted),
            row.difference.verdict(metric),
        ]
        for row in found.rows
        if row.difference is not None
        for metric in HEADLINES
    ]
    if not rows:
        return []
    verdicts: dict[tuple[int, int | None], Emphasis] = {(at, 4): VERDICTS[row[-1]] for at, row in enumerate(rows)}
    header = ["run", "metric", "difference", "p", "verdict"]
    return [TableBlock(f"Minus {found.rows[0].name}", header, rows, "llrrl", verdicts, keys=2)]


def explained(found: Comparison) -> list[str]:
    """The notes, and the genres in which a row surely differs, for a console."""
    lines = [*notes(found), *(f"average precision by genre, {line}" for line in genre_lines(found))]
    return [f"- {line}" for line in lines]


def genre_lines(found: Comparison) -> list[str]:
    """One line a row: the genres whose average precision surely differs from the first row's."""
    lines = []
    for row in found.rows[1:]:
        assert row.difference is not None
        sure = [
            f"{genre} {row.difference.by_genre[genre].value:+.3f}"
            for genre in found.genres
            if row.difference.genre_verdict(genre) in ("better", "worse")
        ]
        lines.append(f"{row.name}: {'surely differs in ' + ', '.join(sure) if sure else 'no genre surely differs'}")
    return lines


def metric_rows(found: Comparison) -> list[list[str]]:
    """Of every metric its title, its value in each row, and the constant answer's."""
    return [
        [
            metric.title,
            *(value_text(row.metrics[metric.name]) for row in found.rows),
            number(found.constant[metric.name]),
        ]
        for metric in METRICS
    ]


def to_markdown(found: Comparison) -> str:
    """All metrics and genres as Markdown tables."""
    others = found.rows[1:]
    runs = [[*_about(row), ", ".join(row.runs)] for row in found.rows]
    differences = [[metric.title, *(_difference_and_p(row, metric.name) for row in others)] for metric in METRICS]
    genres = [
        [
            f"{genre} ({count})",
            value_text(found.rows[0].by_genre[genre]),
            *(difference_text(row.difference.by_genre[genre]) for row in others if row.difference is not None),
            number(found.prevalence[genre]),
        ]
        for genre, count in zip(found.genres, found.support, strict=True)
    ]
    names, first = [row.name for row in others], found.rows[0].name
    parts = [
        f"### {title(found)}",
        markdown_table(["run", "what", "seeds", "folders"], runs),
        markdown_table(["metric", first, *names, "constant answer"], metric_rows(found)),
        *([f"#### Minus {first}", markdown_table(["metric", *names], differences)] if others else []),
        "#### Average precision by genre",
        markdown_table(["genre (posters)", first, *(f"{name} minus {first}" for name in names), "prevalence"], genres),
        "\n".join(f"- {note}" for note in notes(found)),
    ]
    return "\n\n".join(parts) + "\n"


def to_csv(found: Comparison) -> str:
    """One line a row of the comparison and a metric, or a genre's average precision."""
    header = ["run", "seeds", "branches", "metric", "genre", "value", "low", "high", "constant"]
    header += ["difference", "difference_low", "difference_high", "p", "p_holm"]
    lines: list[list[str]] = []
    for row in found.rows:
        about = [row.name, " ".join(map(str, row.seeds)), " ".join(row.branches)]
        change = row.difference
        for metric in METRICS:
            name = metric.name
            lines.append(
                [*about, name, "", *_cells(row.metrics[name]), exact(found.constant[name])]
                + ([""] * 5 if change is None else _changed(change.metrics[name]))
            )
        for genre in found.genres:
            lines.append(
                [*about, "average_precision", genre, *_cells(row.by_genre[genre]), exact(found.prevalence[genre])]
                + ([""] * 5 if change is None else _changed(change.by_genre[genre]))
            )
    return table_text(header, lines, line_end="\n")


def _difference_and_p(row: RunRow, metric: str) -> str:
    assert row.difference is not None
    return f"{difference_text(row.difference.metrics[metric])}, p {p_value(row.difference.metrics[metric].adjusted)}"


def _cells(estimate: Estimate) -> list[str]:
    low, high = estimate.ci95 or (None, None)
    return [exact(estimate.value), exact(low), exact(high)]


def _changed(estimate: Estimate) -> list[str]:
    return [*_cells(estimate), exact(estimate.p_value), exact(estimate.adjusted)]
