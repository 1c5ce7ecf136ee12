"""The files of an audit: a page to go through with keys, a table, and the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mmposter.data.dataset import Dataset
from mmposter.document.blocks import ListBlock
from mmposter.document.review import ReviewGenre, ReviewItem, ReviewPage, render_review
from mmposter.errors import BadImageError, UserError
from mmposter.evaluation.audited import Audited
from mmposter.evaluation.mistakes import KINDS, Finding
from mmposter.files.atomic import write_json, write_text
from mmposter.files.spreadsheets import table_text
from mmposter.images.thumbnails import thumbnail_uri
from mmposter.outputs import claim
from mmposter.outputs.kinds import AUDIT

PAGE = "audit.html"
TABLE, NUMBERS = "audit.csv", "audit.json"
COLUMNS = (
    "kind",
    "id",
    "source",
    "title",
    "year",
    "split",
    "genres",
    "genre",
    "suggestion",
    "probability",
    "score",
    "place",
    "others",
)


SIZE = (150, 220)
"""Width and height in pixels of a poster on the page, the most."""

_SHOWN, _FOLDED = 6, 30  # genres of a poster that are shown, beside those it has, and those behind a button
_LEAD = (
    "Each poster was judged by a model that learnt from other films alone. The model is often wrong: a person decides. "
    "Then download the corrections, and give them to `mmposter prepare SOURCE --out DATA --overwrite --corrections "
    "FILE`, with the other options as before."
)


def write_audit(found: Audited, out: Path, pictures: Mapping[str, str] | None = None) -> Path:
    """Write audit.html, audit.csv (a row a finding) and audit.json, each one atomically.

    Args:
        found: the result.
        out: where to.
        pictures: of posters by id, from `audit_thumbnails`; None: the page shows none.

    Returns:
        The page.

    Raises:
        UserError: files of others would be replaced, or another process is writing there.
        OSError: the folder cannot be written.
    """
    page = render_review(review_page(found, pictures or {}))
    with claim(out, AUDIT, go_on=True):
        write_json(out / NUMBERS, found.to_json())
        rows = ([row[name] for name in COLUMNS] for row in found.table())
        write_text(out / TABLE, table_text(COLUMNS, rows))
        write_text(out / PAGE, page)
    return out / PAGE


def audit_thumbnails(found: Audited, dataset: Dataset) -> dict[str, str]:
    """The text of an ``src`` attribute of each poster on the page that can be read here, by id; of a pack none can."""
    if not dataset.has_pictures:
        return {}
    wanted = {found.posters[finding.row].id for finding in found.findings}
    crops, pictures = dataset.crops, {}
    for row, name in enumerate(dataset.table["id"]):
        if name not in wanted:
            continue
        try:
            crop = None if crops is None else crops[row]
            pictures[str(name)] = thumbnail_uri(dataset.image_path(row), SIZE, crop)
        except (BadImageError, UserError):
            continue
    return pictures


def review_page(found: Audited, pictures: Mapping[str, str]) -> ReviewPage:
    """The page: an item a poster, whatever was found about it, the most suspicious first."""
    by_row: dict[int, list[Finding]] = {}
    for finding in sorted(found.findings, key=lambda finding: -finding.score):
        by_row.setdefault(finding.row, []).append(finding)
    counts, facts = found.counts, found.facts
    shown = {"data": str(facts.get("data", "")), "posters looked at": f"{len(found.posters):,}"}
    shown |= {"folds": str(facts.get("folds", ""))} | {kind: f"{count:,}" for kind, count in counts.items()}
    identity = json.dumps([facts.get("manifest"), list(found.genres)])
    return ReviewPage(
        title=f"Audit of {facts.get('data', 'posters')}",
        lead=_LEAD,
        facts=shown,
        kinds={kind: meaning for kind, meaning in KINDS.items() if counts[kind]},
        genres=found.genres,
        items=[_item(found, row, findings, pictures) for row, findings in by_row.items()],
        blocks=[ListBlock([pair.sentence() for pair in found.pairs])] if found.pairs else [],
        blocks_title="Genres that are hardly told apart",
        state=f"mmposter-audit-{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
        file="corrections.csv",
    )


def _item(found: Audited, row: int, findings: list[Finding], pictures: Mapping[str, str]) -> ReviewItem:
    poster = found.posters[row]
    known = (poster.year, poster.source, poster.split, poster.id)
    return ReviewItem(
        id=poster.id,
        source=poster.source,
        title=poster.title or poster.id,
        details=" · ".join(str(value) for value in known if value is not None),
        picture=pictures.get(poster.id),
        kinds=list(dict.fromkeys(finding.kind for finding in findings)),
        notes=[_note(found, finding) for finding in findings],
        genres=_genres(found, row, findings),
    )


def _genres(found: Audited, row: int, findings: list[Finding]) -> list[ReviewGenre]:
    """Those that it has and those that are suggested, then the surest others; of a long vocabulary not all."""
    given, probs = found.target[row], found.probs[row]
    # Of findings of two kinds that disagree the first, which has the higher score, is used.
    changes: dict[int, bool] = {}
    for finding in findings:
        if finding.genre is not None and finding.add is not None:
            changes.setdefault(finding.genre, finding.add)
    first = [column for column in range(len(given)) if given[column] or column in changes]
    others = sorted((column for column in range(len(given)) if column not in first), key=lambda column: -probs[column])
    room = max(_SHOWN - len(first), 2)
    return [
        ReviewGenre(
            column=column,
            given=bool(given[column]),
            suggested=changes.get(column, bool(given[column])),
            probability=float(probs[column]),
            folded=place >= len(first) + room,
        )
        for place, column in enumerate([*first, *others[: room + _FOLDED]])
    ]


def _note(found: Audited, finding: Finding) -> str:
    genre = "" if finding.genre is None else found.genres[finding.genre]
    percent = f"{finding.probability * 100:.0f} %"
    match finding.kind:
        case "missing":
            return f"{genre} may be missing: {percent}."
        case "wrong":
            return f"{genre} may be wrong: {percent}."
        case "misleading":
            return f"Nothing of its genres is seen, and {genre} is ({percent}): it misleads, or its genres are others."
        case "twins":
            others = ", ".join(found.posters[other].id for other in finding.others[:3])
            more = " and others" if len(finding.others) > 3 else ""
            change = "added" if finding.add else "removed"
            return f"Other genres than {others}{more}, of one film or picture: {genre} to be {change}? ({percent} here)"
