"""report.md of a prepared folder: every count with examples, as plain Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmposter.data.corrections import BAD_ROW, NOT_POSSIBLE, TWICE, UNKNOWN_GENRE, UNKNOWN_ID
from mmposter.data.downloading import Links
from mmposter.data.duplicates import SAME_PICTURE
from mmposter.data.joining import MEASURED_ELSEWHERE, MOVED, TAKEN_ID
from mmposter.data.media.films import LINK_OUT, OTHER_NFO, SECOND_NFO, UNREADABLE
from mmposter.data.preparation import Prepared, PrepareReport, source_rows
from mmposter.data.splitting import SPLITS
from mmposter.data.uniting import UNITED
from mmposter.data.unknown import first_names
from mmposter.document.markdown import markdown_table

_EXAMPLES = 5
_GROUPS_SHOWN = 10
_NAMES_SHOWN = 50

_REASONS = {
    "bad_row": "the row of the table or the NFO file cannot be read, or the file's name is no UTF-8",
    "missing_poster": "metadata without a poster",
    "no_metadata": "poster without metadata",
    "duplicate_id": "the id was there before, and its genres or another picture; the first is kept",
    "united": "further row, or copy of the file, of a poster; its genres went to the one that is kept",
    "empty": "the file is empty",
    "missing": "the file vanished while it was read",
    "unreadable": "the file cannot be opened, or is none",
    "not_an_image": "the content is no picture",
    "truncated": "the picture cannot be decoded to its end",
    "too_small": "the shorter side is below --min-side",
    "too_large": "more pixels or bytes than are decoded",
    "too_dark": "colours of 12 bits in 16, which the decoder cuts to four",
    "no_genre": "no genre, or only N/A and the like",
    "no_known_genre": "genres, but none that the vocabulary keeps",
    "same_file": "same bytes as another poster; the first id is kept",
    MEASURED_ELSEWHERE: "of a film that an earlier source measures, and not on the same side",
}
_ISSUES = {
    "bad_record": "metadata record that is no JSON or has no id",
    "duplicate_record": "further metadata record of an id; the first is used",
    "bad_encoding": "text file with a damaged or unexpected encoding",
    "bad_year": "year that is no number",
    "unknown_genre": "genre name that the vocabulary does not know; the poster keeps its other genres, if any",
    "genres_differ": "other genres for an id with another picture, or for a picture under another id; not used",
    "contradiction": "rows of one poster that say another title, year or split; the first is used",
    "unknown_split": "split name that is none of train, val, test; not used",
    "genres_disagree": "row whose genre list says something else than its columns; the columns are used",
    "ignored_column": "column that was not read as a genre",
    "passed_over": "file in a folder of pictures that is no picture by its name",
    "ignored_sheet": "further sheet of a workbook, which was not read",
    "ignored_file": "metadata file that was not read",
    "unknown_split_id": "split file with movies that are not there",
    "two_splits": "movie that the split file names on two sides; not used",
    OTHER_NFO: "NFO file that is not of a film, such as one of a show, an episode or a set",
    SECOND_NFO: "further NFO file of a film; the one that players read is used",
    LINK_OUT: "link that leads out of the library; not followed",
    UNREADABLE: "folder that may not be read",
    "parted_group": "the source's own split parts a film or near-duplicates; it was left as it is",
    MOVED: "poster of validation or test whose film is for training in an earlier source; it is for training too",
    TAKEN_ID: "id that an earlier source has for another film; its source's name stands before it",
    UNKNOWN_ID: "row of --corrections for a poster that is not among those kept; not applied",
    UNKNOWN_GENRE: "row of --corrections with a genre that the vocabulary does not have; not applied",
    BAD_ROW: "row of --corrections that is none; not applied",
    NOT_POSSIBLE: "row of --corrections that would leave no genre, or more than the vocabulary allows; not applied",
    TWICE: "further row of --corrections for a poster, which says something else; the first is used",
    SAME_PICTURE: "cut, framed, mirrored or with another title; found beside the perceptual hash, and in one group",
}

_TITLES = {
    "kept": "kept",
    "bad_row": "left out: a row without a title, or with too many or too few fields",
    "measured_on": "left out: a film of a validation or test poster, by its id or by its title",
    "no_genre": "left out: no genre that the vocabulary keeps",
    "double": "left out: the same title and year were there before",
}

_LINK_REASONS = {
    "there": "the poster is there",
    "http_403": "the server refuses it",
    "http_404": "the server does not have it",
    "http_410": "the server has it no more",
    "http_429": "the server asked for patience until we had none",
    "timeout": "no answer in time",
    "no_connection": "no connection to the server, or it broke off",
    "cut_off": "the answer ended before its end",
    "host_given_up": "not asked: its server had failed too often in a row",
    "not_asked": "not asked: --offline",
    "bad_link": "the link cannot be asked",
    "bad_redirect": "it leads to something that is not http or https",
    "redirect_loop": "redirected too often",
    "too_many_bytes": "larger than any poster",
    "empty": "an answer without content",
    "not_an_image": "the answer is no picture",
    "truncated": "a picture that ends before its end",
    "too_large": "a picture with more pixels than are decoded",
}


def report_text(result: Prepared, links: Links, report: PrepareReport, options: Mapping[str, Any]) -> str:
    """The whole report. It has no dates and no durations: the same input gives the same text."""
    made_with = "Options: " + ", ".join(f"{name} {value}" for name, value in options.items()) + "."
    parts = ["# Prepared posters", made_with, *_sums(report)]
    if report.sources:
        parts += ["## Sources", *_sources(result, report)]
    parts += ["## Dropped", _dropped(result, report)]
    if links.total:
        parts += ["## Links", *_links(links)]
    parts += ["## Counted, not dropped", _issues(result, report)]
    parts += ["## Films and near-duplicates", *_groups(result, report, options)]
    parts += ["## Split", _splits(report)]
    if report.titles:
        parts += ["## Films without a poster", *_titles(report)]
    if report.corrections:
        parts += ["## Corrections", *_corrections(report)]
    if result.unknown:
        parts += ["## Unknown genre names", *_unknown(result)]
    if result.vocabulary is not None:
        parts += ["## Genres by split", *_genres(result)]
    return "\n\n".join(parts) + "\n"


def _titles(report: PrepareReport) -> Iterator[str]:
    yield "They teach the branch `ocr` alone, and are never measured on."
    yield markdown_table(["films", "count"], [[_TITLES[kind], str(count)] for kind, count in report.titles.items()])


def _corrections(report: PrepareReport) -> Iterator[str]:
    yield (
        "Genres corrected by hand, after the split, which stays as it is; `raw_genres` are as the source has them. "
        "What is measured on corrected posters cannot be compared with what was measured on them before."
    )
    yield markdown_table(["corrections", "count"], [[kind, str(count)] for kind, count in report.corrections.items()])


def notes(result: Prepared) -> Iterator[str]:
    """What a person should know of the genres before going on: unknown names, united rows, contradictions."""
    if result.unknown and result.vocabulary is not None:
        yield (
            f"posters with genres that vocabulary {result.vocabulary.name!r} does not know: "
            f"{'; '.join(first_names(result.unknown))}. Those that have other genres too count as posters without "
            "these, the others are left out"
        )
    rows = result.dropped[result.dropped["reason"] == UNITED]
    if len(rows):
        row_id, message = rows[["id", "message"]].iloc[0]
        yield f"rows united with another of the same poster: {len(rows)}, such as {row_id}: {message}"
    for kind in ("genres_differ", "contradiction", BAD_ROW, UNKNOWN_ID, UNKNOWN_GENRE, NOT_POSSIBLE, TWICE):
        found = [issue for issue in result.issues if issue.kind == kind]
        if found:
            yield f"{kind} {len(found)}: {_ISSUES[kind]}. For example {found[0].id}: {found[0].message}"


def _sums(report: PrepareReport) -> list[str]:
    left = [f"{report.kept} kept", *(f"{count} {reason}" for reason, count in report.dropped.items())]
    total = report.kept + sum(report.dropped.values())
    lines = [
        "## Sum check",
        f"{' + '.join(left)} = {total}",
        f"{report.posters_found} posters found + {report.without_poster} without a poster = "
        f"{report.posters_found + report.without_poster}",
    ]
    if report.records:
        lines.append(f"Metadata: {_records(report.records)}")
    return lines


def _records(records: Mapping[str, int]) -> str:
    (whole, count), *terms = records.items()
    right = " + ".join(f"{number} {name}" for name, number in terms)
    return f"{right} = {sum(number for _, number in terms)} = {count} {whole}"


def _sources(result: Prepared, report: PrepareReport) -> Iterator[str]:
    yield (
        "Each source is split as it is alone. Where a film or a picture is in several, the first has its way: a "
        f"later one's posters are for training where the first one's are ({MOVED}), and are dropped where the first "
        f"one's are measured and they are not on the same side ({MEASURED_ELSEWHERE})."
    )
    yield markdown_table(("", *report.sources), source_rows(report.sources))
    for name, part in result.parts.items():
        if part.records:
            yield f"Metadata of {name}: {_records(part.records)}"


def _dropped(result: Prepared, report: PrepareReport) -> str:
    if not report.dropped:
        return "Nothing."
    rows = []
    for reason, count in report.dropped.items():
        ids = result.dropped.loc[result.dropped["reason"] == reason, "id"]
        rows.append((reason, str(count), _REASONS.get(reason, ""), _examples(ids)))
    return markdown_table(("reason", "posters", "meaning", "examples"), rows) + "\n\nAll of them: dropped.csv."


def _links(links: Links) -> list[str]:
    rows = []
    for reason, count in links.counts.items():
        ids = [link.id for link in links.dead if link.reason == reason]
        meaning = _LINK_REASONS.get(reason) or "the server answered so" * reason.startswith("http_")
        rows.append((reason, str(count), meaning, _examples(ids)))
    total = f"{' + '.join(str(count) for count in links.counts.values())} = {links.total} links."
    table = markdown_table(("link", "posters", "meaning", "examples"), rows)
    return [total, table + ("\n\nAll that are not there: dead_links.csv." if links.dead else "")]


def _issues(result: Prepared, report: PrepareReport) -> str:
    if not report.issues:
        return "Nothing."
    rows = []
    for kind, count in report.issues.items():
        first = [issue for issue in result.issues if issue.kind == kind]
        rows.append(
            (kind, str(count), _ISSUES.get(kind, ""), f"{_examples(issue.id for issue in first)}: {first[0].message}")
        )
    return (
        markdown_table(("kind", "count", "meaning", "examples, and the first one's message"), rows)
        + "\n\nAll of them: issues.csv."
    )


def _groups(result: Prepared, report: PrepareReport, options: Mapping[str, Any]) -> list[str]:
    text = (
        f"{report.near_duplicate_groups} groups of two and more, {report.near_duplicate_posters} posters in them: of "
        "one film (its IMDb id, or title and year), of one picture (same_picture above), or of near perceptual hashes "
        f"(64-bit phash, distance {options['duplicate_distance']} or less). Our split parts no group; a split that the "
        "source gives stays as it is."
    )
    sizes = Counter(result.table["group"])
    largest = sorted((group for group, size in sizes.items() if size > 1), key=lambda group: (-sizes[group], group))
    if not largest:
        return [text]
    rows = []
    for group in largest[:_GROUPS_SHOWN]:
        members = result.table[result.table["group"] == group]
        named = (
            f"{row_id} {title}" if isinstance(title, str) else row_id
            for row_id, title in members[["id", "title"]].itertuples(index=False)
        )
        rows.append((group, str(sizes[group]), _examples(named), ", ".join(sorted(set(members["split"])))))
    return [text, markdown_table(("group", "posters", "members", "split"), rows)]


def _splits(report: PrepareReport) -> str:
    rows = [(side, str(count), f"{count / report.kept:.1%}") for side, count in report.splits.items()]
    return markdown_table(("split", "posters", "share"), rows)


def _unknown(result: Prepared) -> list[str]:
    rows = [
        (name.name, str(name.posters), str(name.beside), str(name.posters - name.beside), name.nearest or "")
        for name in result.unknown[:_NAMES_SHOWN]
    ]
    header = ("name", "posters", "that keep other genres, as if they had not this one", "left out", "did you mean")
    more = len(result.unknown) - _NAMES_SHOWN
    return [markdown_table(header, rows) + (f"\n\nAnd {more} others: issues.csv." if more > 0 else "")]


def _genres(result: Prepared) -> list[str]:
    vocabulary = result.vocabulary
    assert vocabulary is not None
    counts = {side: Counter[str]() for side in SPLITS}
    for genres, side in result.table[["genres", "split"]].itertuples(index=False):
        counts[side].update(genres)
    rows, thin = [], []
    for genre in vocabulary.genres:
        numbers = [counts[side][genre] for side in SPLITS]
        total = sum(numbers)
        cells = [f"{number} ({number / total:.1%})" if total else "0" for number in numbers]
        rows.append((genre, str(total), f"{total / len(result.table):.1%}", *cells))
        wanted = [number for side, number in zip(SPLITS, numbers, strict=True) if counts[side] or side == "train"]
        if 0 in wanted:
            thin.append(genre)
    parts = [markdown_table(("genre", "posters", "of all", *(f"{side} (share of the genre)" for side in SPLITS)), rows)]
    if thin:
        parts.append(f"Missing on a side, so not to be learned or measured there: {', '.join(thin)}.")
    return parts


def _examples(ids: Iterable[str]) -> str:
    shown = list(ids)
    more = f" and {len(shown) - _EXAMPLES} more" if len(shown) > _EXAMPLES else ""
    return ", ".join(shown[:_EXAMPLES]) + more
