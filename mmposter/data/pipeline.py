"""`prepare`: from a source of posters to a prepared folder, every poster accounted for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmposter.data import cleaning
from mmposter.data.corrections import CorrectionsFile, apply_corrections, read_corrections
from mmposter.data.dataset import (
    MANIFEST,
    VOCABULARY,
    manifest_table,
    read_info,
    read_manifest,
    read_vocabulary,
    relative_path,
    write_dataset,
)
from mmposter.data.downloading import DownloadOptions, Links, place_posters, sum_links
from mmposter.data.duplicates import DUPLICATE_DISTANCE, MAX_DISTANCE, group_posters
from mmposter.data.inspection import inspect_posters
from mmposter.data.joining import join_sources
from mmposter.data.preparation import REPORT, Prepared, PrepareReport, source_counts
from mmposter.data.report import notes, report_text
from mmposter.data.several import (
    Source,
    ask_sources,
    of_source,
    require_common_root,
    require_same_kind,
    source_options,
)
from mmposter.data.sources.base import AUTO, PASSED_OVER, SourceRows
from mmposter.data.splitting import NO_SPLIT, RATIOS, SPLITS, assign_splits
from mmposter.data.titles import TitlesFile, choose_titles, read_titles_file
from mmposter.data.uniting import unite_files, unite_ids
from mmposter.data.unknown import refuse_unknown, unknown_names
from mmposter.data.vocabulary import Vocabulary
from mmposter.engines.libraries import installed_version
from mmposter.errors import UserError
from mmposter.files.atomic import write_text
from mmposter.files.spreadsheets import table_text
from mmposter.images.reading import MIN_SIDE
from mmposter.outputs import claim
from mmposter.outputs.kinds import PREPARED
from mmposter.progress import say
from mmposter.visible import visible

DROPPED, ISSUES, DEAD_LINKS = "dropped.csv", "issues.csv", "dead_links.csv"
POSTERS = "posters"
# What the result depends on beside the source and the code.
_PACKAGES = ("mmposter", "numpy", "pandas", "pyarrow", "pillow", "imagehash", "iterative-stratification")


def prepare(
    source: Source | Sequence[Source],
    out: str | Path,
    *,
    format: str | Sequence[str] = AUTO,
    vocabulary: str = "posters20",
    seed: int = 0,
    ratios: Sequence[float] | Sequence[Sequence[float]] = RATIOS,
    min_side: int = MIN_SIDE,
    duplicate_distance: int = DUPLICATE_DISTANCE,
    workers: int | None = None,
    titles: Path | None = None,
    posters: Path | None = None,
    download: DownloadOptions | None = None,
    corrections: Path | None = None,
    allow_unknown: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> PrepareReport:
    """Read, clean, group, label and split the posters of `source`, and write the prepared folder `out`.

    Posters that the source knows by a link alone are downloaded first. Several sources become one data set, see
    `mmposter.data.joining`: each is split as it would be alone, and no film of one's validation or test teaches.

    Args:
        source: folder or table of the posters by its path, or a pandas DataFrame with the columns of format csv (image
            and genres; also id, title, year, split, actors), whose images are relative to the current folder; or
            several, the one whose split shall stay as it is first.
        out: folder to write; made if it is not there.
        format: name of the source reader, see `source_formats`; or one for each source. ``auto``: the one that is
            recognised by what lies there, which is said.
        vocabulary: built-in name or file; not used for sources without labels.
        seed: of the split.
        ratios: shares of train, val and test; or three for each source.
        min_side: posters whose shorter side has fewer pixels are dropped.
        duplicate_distance: Hamming distance of 64-bit perceptual hashes up to which posters are one group.
        workers: threads that decode; None for one a core.
        titles: table of films without a poster, for the branch that reads words, see `mmposter.data.titles`.
        posters: folder in which a row without a file is looked up as ``<id>.jpg``, and into which links are downloaded;
            None for ``out/posters``. Of several sources each has its own folder in it, by the source's name.
        download: manners of the download; None for the defaults.
        corrections: table of genres corrected by hand, see `mmposter.data.corrections`; the split stays as it is.
        allow_unknown: go on where more than a twentieth of the posters have a genre name that the vocabulary does not
            know.
        overwrite: replace a different manifest that is already in `out`.
        quiet: show no progress.

    Raises:
        UserError: bad options, no such source, many unknown genres, nothing left after cleaning, a different manifest
            or files of others in `out`, another process that writes there, or sources that cannot be one data set.
        OSError: `out` cannot be written.
    """
    start, out = time.monotonic(), Path(out)
    asked = ask_sources(source, format, ratios)
    for one in asked:
        if one.recognised and not quiet:
            say(visible(one.recognised if len(asked) == 1 else f"source {one.name}: {one.recognised}"))
    _check_options(min_side, duplicate_distance, workers, seed)
    with claim(out, PREPARED, go_on=True):
        found = [one.read() for one in asked]
        labelled = require_same_kind(asked, found)
        options = {
            **source_options(asked),
            "vocabulary": vocabulary if labelled else None,
            "seed": seed,
            "ratios": [list(one.ratios) for one in asked] if len(asked) > 1 else list(asked[0].ratios),
            "min_side": min_side,
            "duplicate_distance": duplicate_distance,
        }
        mended = _corrections_file(corrections, labelled)
        if mended is not None:
            options["corrections"] = mended.digest
        if not overwrite:
            _refuse_other_options(out, options)
        words = Vocabulary.load(vocabulary) if labelled else None
        names = [one.name if len(asked) > 1 else None for one in asked]
        if words is not None and not allow_unknown:
            for name, rows in zip(names, found, strict=True):
                named = ((row.id, row.genres) for row in rows.rows if row.problem is None and row.genres)
                with of_source(name):
                    refuse_unknown(named, words)
        films = _titles_file(titles, labelled)
        folders = [(posters or out / POSTERS) / (name or "") for name in names]
        if len(asked) > 1:
            require_common_root(found, folders)
        parts: dict[str, Prepared] = {}
        links: list[Links] = []
        for one, name, rows, folder in zip(asked, names, found, folders, strict=True):
            if rows.unpack is not None:
                rows.unpack(folder)
            placed, placed_links = place_posters(rows, folder, download or DownloadOptions(), quiet=quiet)
            links.append(placed_links)
            own = {**options, "ratios": one.ratios}
            with of_source(name):
                parts[one.name] = run_steps(placed, words, own, workers=workers, quiet=quiet)
        result = join_sources(parts, duplicate_distance) if len(parts) > 1 else parts[asked[0].name]
        result = _finish(_corrected(result, mended, asked[0].name), films)
        if not overwrite:
            result = _refuse_other_manifest(out, result)
        report = _summary(out, result, sum_links(links), time.monotonic() - start)
        _write(out, result, sum_links(links), report, options)
        return report


def run_steps(
    found: SourceRows,
    vocabulary: Vocabulary | None,
    options: Mapping[str, Any],
    *,
    workers: int | None,
    quiet: bool,
) -> Prepared:
    """All steps over the table of one source, nothing written; without a vocabulary, without labels.

    The paths of the result are absolute.

    Raises:
        UserError: no poster is left.
        RuntimeError: the counts do not add up, which is a fault of a step.
    """
    table = found.table()
    with_poster = int(cleaning.has_poster(table).sum())
    total = len(table)
    issues = list(found.issues)
    parts: list[pd.DataFrame] = []

    def keep(cut: cleaning.Cut) -> pd.DataFrame:
        parts.append(cut[1])
        return cut[0]

    table = keep(cleaning.drop_problem_rows(table))
    table = keep(cleaning.drop_missing_posters(table))
    table = keep(cleaning.drop_posters_without_metadata(table))
    united, odd = unite_ids(table)
    table = keep(united)
    issues += odd
    table = keep(inspect_posters(table, min_side=options["min_side"], workers=workers, quiet=quiet))
    unknown = [] if vocabulary is None else unknown_names(table["genres"], vocabulary)
    if vocabulary is not None:
        table, without_genre, odd = cleaning.map_genres(table, vocabulary)
        parts.append(without_genre)
        issues += odd
    else:
        table["raw_genres"] = table["genres"]
    united, odd = unite_files(table, vocabulary, found.root)
    table = keep(united)
    issues += odd
    dropped = pd.concat(parts, ignore_index=True)
    if len(table) + len(dropped) != total:
        raise RuntimeError(f"a step lost posters: {len(table)} kept + {len(dropped)} dropped is not {total}")
    if table.empty:
        counts = ", ".join(f"{reason} {count}" for reason, count in Counter(dropped["reason"]).items())
        raise UserError(
            f"no poster is left of {total} ({counts}).\nFor example {dropped['id'].iloc[0]}: "
            f"{dropped['message'].iloc[0]}.\nA poster needs a readable picture and, unless --format is folder, a genre "
            "of the vocabulary: mend the source or choose another --vocabulary."
        )
    table["group"], items, joined = group_posters(table, options["duplicate_distance"])
    issues += joined
    if vocabulary is not None:
        labels = vocabulary.encode_all(list(table["genres"]))
        table, moved = assign_splits(table, labels, options["ratios"], options["seed"], items)
        issues += moved
    else:
        table["split"] = NO_SPLIT
    return Prepared(
        root=found.root,
        records=found.records,
        table=table,
        dropped=dropped,
        issues=issues,
        unknown=unknown,
        vocabulary=vocabulary,
        titles=None,
        titles_out={},
        posters_found=with_poster,
        without_poster=total - with_poster,
    )


def _finish(result: Prepared, films: TitlesFile | None) -> Prepared:
    """With paths relative to the root, and with the films without a poster that may teach."""
    table = result.table.assign(path=[relative_path(path, result.root) for path in result.table["path"]])
    result = replace(result, table=table)
    if films is None or result.vocabulary is None:
        return result
    titles, out = choose_titles(films, table, result.vocabulary)
    return replace(result, titles=titles, titles_out=out, issues=[*result.issues, *films.issues])


def _corrections_file(file: Path | None, labelled: bool) -> CorrectionsFile | None:
    if file is not None and not labelled:
        raise UserError("--corrections mends genres, and this source has none; leave it out")
    return None if file is None else read_corrections(file)


def _corrected(result: Prepared, file: CorrectionsFile | None, name: str) -> Prepared:
    """With the genres that were corrected by hand; after the split, which they do not change."""
    if file is None or result.vocabulary is None:
        return result
    table, counts, issues = apply_corrections(file, result.table, result.vocabulary, name)
    return replace(result, table=table, corrections=counts, issues=[*result.issues, *issues])


def _titles_file(file: Path | None, labelled: bool) -> TitlesFile | None:
    if file is not None and not labelled:
        raise UserError("--titles teaches genres, and this source has none; leave it out, or give a table with genres")
    return None if file is None else read_titles_file(file)


def _summary(out: Path, result: Prepared, links: Links, seconds: float) -> PrepareReport:
    sizes = Counter(result.table["group"])
    sides = Counter(result.table["split"])
    return PrepareReport(
        out=out,
        posters_found=result.posters_found,
        without_poster=result.without_poster,
        kept=len(result.table),
        dropped=dict(Counter(result.dropped["reason"])),
        issues=dict(Counter(issue.kind for issue in result.issues)),
        passed_over=[issue.id for issue in result.issues if issue.kind == PASSED_OVER],
        records=result.records,
        splits={side: sides[side] for side in (*SPLITS, NO_SPLIT) if sides[side]},
        near_duplicate_groups=sum(size > 1 for size in sizes.values()),
        near_duplicate_posters=sum(size for size in sizes.values() if size > 1),
        titles={} if result.titles is None else {"kept": len(result.titles), **result.titles_out},
        links=links.counts,
        unknown_genres={name.name: name.posters for name in result.unknown},
        notes=tuple(notes(result)),
        sources=source_counts(result),
        downloaded=links.saved,
        seconds=seconds,
        corrections=result.corrections,
    )


def _write(out: Path, result: Prepared, links: Links, report: PrepareReport, options: Mapping[str, Any]) -> None:
    root = result.root
    dropped = result.dropped.copy()
    dropped["path"] = [None if path is None else relative_path(path, root) for path in dropped["path"]]
    columns = [*cleaning.DROPPED_COLUMNS, *(["source"] if result.parts else [])]
    cells = dropped[columns].astype(object).where(dropped[columns].notna(), None)
    write_text(out / DROPPED, table_text(columns, cells.to_numpy().tolist(), line_end="\n"))
    issues = [(issue.kind, issue.id, issue.message) for issue in result.issues]
    write_text(out / ISSUES, table_text(["kind", "id", "message"], issues, line_end="\n"))
    if links.total:
        dead = [(link.id, link.url, link.reason, link.message) for link in links.dead]
        write_text(out / DEAD_LINKS, table_text(["id", "url", "reason", "message"], dead, line_end="\n"))
    else:
        (out / DEAD_LINKS).unlink(missing_ok=True)
    write_text(out / REPORT, report_text(result, links, report, options))
    info = {
        "root": str(root),
        "options": dict(options),
        "counts": report.counts(),
        "versions": {package: installed_version(package) for package in _PACKAGES},
    }
    write_dataset(out, result.table, result.vocabulary, info, result.titles)


def _check_options(min_side: int, distance: int, workers: int | None, seed: int) -> None:
    problems = []
    if min_side < 1:
        problems.append(f"--min-side must be 1 or more, got {min_side}")
    if not 0 <= distance <= MAX_DISTANCE:
        problems.append(f"--duplicate-distance must be 0 to {MAX_DISTANCE}, got {distance}")
    if workers is not None and workers < 1:
        problems.append(f"--workers must be 1 or more, got {workers}")
    if not 0 <= seed < 2**32:
        problems.append(f"--seed must be 0 to {2**32 - 1}, got {seed}")
    if problems:
        raise UserError("\n".join(problems) + "\nSee mmposter prepare --help for the defaults.")


def _refuse_other_options(out: Path, options: Mapping[str, Any]) -> None:
    """Say so before the posters are read, when what is there was made otherwise."""
    info = read_info(out)
    if info is None:
        return
    before = info.get("options", {})
    differ = [
        f"{name} {before.get(name)!r} there, {value!r} now"
        for name, value in options.items()
        if before.get(name) != value
    ]
    if differ:
        raise _different(out, "it was prepared with other options: " + "; ".join(differ))


def _refuse_other_manifest(out: Path, result: Prepared) -> Prepared:
    """The result as it may be written: data of an earlier mmposter stay as they are, without hashes."""
    if not (out / MANIFEST).is_file():
        return result
    try:
        there = read_manifest((out / MANIFEST).read_bytes())
    except (ValueError, OSError) as error:
        raise _different(out, f"its {MANIFEST} cannot be read ({error})") from error
    if "phash" not in there.column_names:
        result = replace(result, table=result.table.drop(columns="phash"))
    now = manifest_table(result.table)
    if not there.equals(now):
        rows = f"{there.num_rows} posters there, {now.num_rows} now"
        raise _different(
            out, f"its {MANIFEST} holds other rows ({rows}), so the source, its corrections or the code has changed"
        )
    # The same names in another order give the same rows and other label columns. Its mapping may be another one: what
    # that changes would show in the rows.
    if result.vocabulary is not None and not read_vocabulary(out).same_labels(result.vocabulary):
        raise _different(out, f"its {VOCABULARY} is another one")
    return result


def _different(out: Path, why: str) -> UserError:
    return UserError(
        f"{out} holds prepared data already, and {why}.\n"
        "Give another --out, or replace it with --overwrite (features and runs made from it may no longer fit)."
    )
