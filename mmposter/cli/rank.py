"""`mmposter rank`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path, require_result
from mmposter.cli.named import posters_of
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.errors import UserError
from mmposter.progress import LOADING, progress, say, stage, warn
from mmposter.shipped import POSTERS
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.explain import Explanation
    from mmposter.explain.ranking import RankedPoster

ENDINGS = (".csv", ".jsonl")


def rank_command(
    paths: Annotated[
        list[str], typer.Argument(metavar="POSTERS...", help="Posters, folders, globs, links.", show_default=False)
    ],
    genres: Annotated[
        str, typer.Option("--as", metavar="GENRE,...", help="The genres of the film.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="FILE.csv or FILE.jsonl, in place of a table.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
    model: opt.Model = POSTERS,
    branches: opt.Only = None,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Rank several posters of a movie by how clearly they show given genres, and say why.

    The score is the geometric mean of the probabilities of the genres in --as. Beside each probability you see the
    branch that contributes most (its Shapley value) and the word or object that counted most. "says louder" lists other
    genres that the poster shows more clearly than the weakest of the given ones.

    The ranking says what the model reads in a poster, not which poster is good.

    Examples:

      mmposter rank posters/*.jpg --as Horror,Thriller

      mmposter rank a.jpg b.jpg c.jpg --as Comedy --out rank.csv
    """
    from mmposter.config import parse_branches
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.explain.ranking import parse_genres, rank_explained
    from mmposter.outputs import claim_file

    if out is not None and out.suffix not in ENDINGS:
        raise UserError(f"--out must end in {' or '.join(ENDINGS)}; got {out}")
    with nullcontext() if out is None else claim_file(out, overwrite=overwrite):
        posters = posters_of(paths)
        only = None if branches is None else parse_branches(branches)
        with stage(LOADING):
            classifier = PosterClassifier.load(model, branches=only, device=device, offline=offline)
        wanted = parse_genres(genres, classifier.genres)
        explained: list[Explanation] = []
        with progress("rank", len(posters)) as ticker:
            for explanation in classifier.stream_explanations(posters, genres=wanted):
                explained.append(explanation)
                ticker.advance()
        ranked = rank_explained(explained, wanted)
        if out is not None:
            _write(out, ranked)
    if out is None and ranked:
        _table(ranked, wanted)
    failed = [one for one in explained if one.error]
    say(f"{len(ranked)} of {len(posters)} posters ranked as {', '.join(wanted)}")
    for one in failed:
        warn(f"  {visible(f'{one.path}: {one.error}')}")
    if out is not None:
        answer_path(out)
    require_result(bool(ranked))


def _write(out: Path, ranked: Sequence[RankedPoster]) -> None:
    from mmposter.files.atomic import write_text
    from mmposter.files.spreadsheets import table_text

    if out.suffix == ".jsonl":
        write_text(out, "".join(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in ranked))
        return
    rows = [one.row() for one in ranked]
    header = list(rows[0]) if rows else ["rank", "path", "score"]
    write_text(out, table_text(header, ([row.get(name) for name in header] for row in rows)))


def _table(ranked: Sequence[RankedPoster], genres: Sequence[str]) -> None:
    from mmposter.explain.ranking import short_name, strongest

    rows = []
    for one in ranked:
        cells = [f"{found.probability:.2f}  {visible(strongest(found))}" for found in one.evidence.values()]
        louder = ", ".join(f"{visible(genre)} {score:.2f}" for genre, score in list(one.louder.items())[:2])
        rows.append([str(one.rank), visible(short_name(one.explanation.path)), f"{one.score:.3f}", *cells, louder])
    header = ["", "poster", "score", *(visible(genre) for genre in genres), "says louder"]
    Summary().answer(TableBlock("", header, rows, "rlr" + "l" * (len(genres) + 1), keys=2))
