"""The page of a comparison, and the files of `mmposter compare --out`."""

from __future__ import annotations

import json
from pathlib import Path

from mmposter.document.blocks import CodeBlock, DetailsBlock, Emphasis, FigureBlock, ListBlock, PageSection, TableBlock
from mmposter.document.numbers import number, p_value
from mmposter.document.page import render_page
from mmposter.evaluation.comparison import Comparison
from mmposter.evaluation.metrics import METRICS
from mmposter.files.atomic import write_text
from mmposter.outputs import claim
from mmposter.outputs.kinds import COMPARISON
from mmposter.report.comparison_text import (
    HEADLINES,
    VERDICTS,
    difference_text,
    genre_lines,
    metric_rows,
    notes,
    runs_table,
    title,
    to_csv,
    to_markdown,
    value_text,
)
from mmposter.report.plots.comparison import MOST, plot_comparison, plot_genre_differences
from mmposter.runs.provenance import package_version, source_commit


def write_comparison(found: Comparison, folder: Path) -> Path:
    """Write compare.html, compare.csv and compare.md, each one atomically.

    Returns:
        The page.

    Raises:
        UserError: files of others would be replaced, or another process is writing there.
        OSError: the folder cannot be written.
    """
    page = folder / "compare.html"
    with claim(folder, COMPARISON, go_on=True):
        write_text(folder / "compare.csv", to_csv(found))
        write_text(folder / "compare.md", to_markdown(found))
        write_text(page, comparison_page(found))
    return page


def comparison_page(found: Comparison) -> str:
    """The page as HTML."""
    commit = source_commit()
    facts = {
        "Data": f"{found.data}, manifest `{found.manifest[:12]}`",
        "Split": f"{found.split}, {found.posters} posters, {len(found.genres)} genres",
        "Compared with": found.rows[0].name,
        "Intervals": f"{found.n_boot} half-samples, seed {found.seed}",
        "mmposter": package_version() + ("" if commit is None else f", commit `{commit}`"),
    }
    return render_page(
        f"Comparison on {title(found)}",
        _lead(found),
        facts,
        [_runs(found), _metrics(found), _by_genre(found), _source(found)],
    )


def _lead(found: Comparison) -> str:
    # Of many rows only the leading metric, so that the paragraph stays one.
    metrics = HEADLINES if len(found.rows) <= 3 else HEADLINES[:1]
    sentences = []
    for row in found.rows[1:]:
        assert row.difference is not None
        parts = [
            f"{metric.title} {difference_text(row.difference.metrics[metric.name])}, {row.difference.verdict(metric)}"
            for metric in metrics
        ]
        sentences.append(f"{row.name} minus {found.rows[0].name}: {'; '.join(parts)}.")
    return " ".join(sentences) or f"One configuration, {found.rows[0].name}, over {len(found.rows[0].seeds)} seeds."


def difference_tables(found: Comparison) -> list[TableBlock]:
    """Of each row but the first one, every metric minus the first one's."""
    tables = []
    for row in found.rows[1:]:
        difference = row.difference
        assert difference is not None
        verdicts = [difference.verdict(metric) for metric in METRICS]
        rows = [
            [
                metric.title,
                difference_text(difference.metrics[metric.name]),
                p_value(difference.metrics[metric.name].p_value),
                p_value(difference.metrics[metric.name].adjusted),
                verdict,
            ]
            for metric, verdict in zip(METRICS, verdicts, strict=True)
        ]
        tables.append(
            TableBlock(
                f"{row.name} minus {found.rows[0].name}",
                ["metric", "difference", "p", "p, adjusted", "verdict"],
                rows,
                align="lrrrl",
                emphasis={(number, 4): VERDICTS[verdict] for number, verdict in enumerate(verdicts)},
            )
        )
    return tables


def _runs(found: Comparison) -> PageSection:
    return PageSection(
        "runs",
        "Runs",
        ["Runs that differ in nothing but the seed are one row, with the mean over their seeds."],
        [
            FigureBlock(
                "headlines",
                plot_comparison(found),
                "Headline metrics with their 95 % intervals. Overlapping intervals do not say that there is no "
                "difference: the differences below are paired by poster and much sharper. Nor do these intervals say "
                "whether a run is better than the dashed constant: the run's own report does, paired as well.",
                "Headline metrics of each run; the table below holds the same numbers.",
            ),
            runs_table(found),
            ListBlock(notes(found)),
        ],
    )


def _metrics(found: Comparison) -> PageSection:
    table = TableBlock("Values", ["metric", *(row.name for row in found.rows), "constant answer"], metric_rows(found))
    return PageSection(
        "metrics",
        "All metrics",
        ["Lower is better for the calibration error; the verdicts know it."],
        [table, *difference_tables(found)],
    )


def _by_genre(found: Comparison) -> PageSection:
    first, others = found.rows[0], [row for row in found.rows if row.difference is not None]
    rows, emphasis = [], dict[tuple[int, int | None], Emphasis]()
    ordered = sorted(zip(found.genres, found.support, strict=True), key=lambda item: -item[1])
    for at, (genre, support) in enumerate(ordered):
        cells = [genre, str(support), value_text(first.by_genre[genre])]
        for row in others:
            assert row.difference is not None
            verdict = row.difference.genre_verdict(genre)
            if verdict in ("better", "worse"):
                emphasis[at, len(cells)] = VERDICTS[verdict]
            cells.append(difference_text(row.difference.by_genre[genre]))
        rows.append([*cells, number(found.prevalence[genre])])
    header = ["genre", "support", first.name, *(f"{row.name} minus {first.name}" for row in others), "prevalence"]
    blocks: list[FigureBlock | TableBlock | ListBlock] = [ListBlock(genre_lines(found))] if others else []
    if 1 <= len(others) <= MOST and any(found.support):
        blocks.append(
            FigureBlock(
                "genre-differences",
                plot_genre_differences(found),
                "Differences of average precision with their 95 % intervals (each of its own, not adjusted).",
                "Differences by genre; the table below holds the same numbers.",
            )
        )
    blocks.append(TableBlock("Average precision", header, rows, emphasis=emphasis))
    text = "Green and red: adjusted p below .05 over all rows and genres; a genre with fewer than 10 posters has none."
    return PageSection("genres", "By genre", [text], blocks)


def _source(found: Comparison) -> PageSection:
    runs = {row.name: {"runs": row.runs, "seeds": row.seeds, "changes": dict(row.changes)} for row in found.rows}
    return PageSection(
        "source",
        "Where the numbers come from",
        [f"Manifest of the data: `{found.manifest}`. The same numbers are in `compare.csv` and `compare.md`."],
        [DetailsBlock("Runs of each row", [CodeBlock(json.dumps(runs, indent=2, ensure_ascii=False))])],
    )
