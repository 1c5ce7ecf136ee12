"""`mmposter similar`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_path, require_result
from mmposter.cli.named import posters_of
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.progress import LOADING, progress, say, stage, warn
from mmposter.shipped import BENCHMARK, POSTERS
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.similarity import PosterIndex
    from mmposter.similarity.answers import NearestPosters

_TOGETHER = 32
_SHOWN = 20  # posters that get a table


def similar_command(
    paths: Annotated[
        list[str], typer.Argument(metavar="POSTER...", help="Posters, folders, globs, links.", show_default=False)
    ],
    among: Annotated[
        str,
        typer.Option(
            "--among",
            "-a",
            metavar="DATA|FOLDER|INDEX",
            help="Where near posters are looked for: a folder of `mmposter prepare`, a pack, a folder of pictures, or "
            "the folder of an index.",
        ),
    ] = BENCHMARK,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many of the nearest posters.")] = 10,
    by: Annotated[
        str | None, typer.Option("--by", help="Comma-separated: compare by these branches alone. Default: all.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Among the posters of this side alone: train, val or test.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="FILE.csv, FILE.jsonl or FILE.parquet, in place of tables.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="DIR", help="Where the index is kept. Default: in the cache.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the index anew.")] = False,
    model: opt.Model = POSTERS,
    branches: opt.Only = None,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    workers: opt.Workers = "auto",
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find the most similar posters of a collection, and which branch makes them similar.

    Posters are compared by the cosine of the model's fused representation: the inputs of its head from all branches,
    weighted as the head weights them. It is the sum of the columns of the branches. A branch that sees nothing in one
    of the two posters (no words, no objects) adds nothing.

    The collection is indexed once, and the index is updated when it grows. Search is exact.

    Examples:

      mmposter similar poster.jpg

      mmposter similar poster.jpg --among data --by style --count 5

      mmposter similar new/ --among posters/ --out near.csv
    """
    from mmposter.config import parse_branches
    from mmposter.engines import automatic_workers
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.outputs import claim_file
    from mmposter.similarity import build_index
    from mmposter.similarity.answers import require_ending, write_answers

    if out is not None:
        require_ending(out)
    with nullcontext() if out is None else claim_file(out, overwrite=overwrite):
        posters = posters_of(paths)
        only = None if branches is None else parse_branches(branches)
        compared = None if by is None else parse_branches(by)
        with stage(LOADING):
            classifier = PosterClassifier.load(model, branches=only, device=device, offline=offline)
        processes = opt.parse_workers(workers)
        found = build_index(
            classifier, among, index, rebuild=rebuild, offline=offline,
            workers=automatic_workers(classifier.device) if processes == "auto" else processes,
        )  # fmt: skip
        answers = _answers(classifier, found, posters, count, compared, split)
        if out is not None:
            write_answers(out, answers, list(found.branches))
    for answer in answers[: 0 if out is not None else _SHOWN]:
        _table(answer, compared or list(found.branches))
    if out is None and len(answers) > _SHOWN:
        say(f"the first {_SHOWN} of {len(answers)} posters are shown; all of them: --out near.csv")
    _summary(answers, found)
    if out is not None:
        answer_path(out)
    require_result(any(answer.usable for answer in answers))


def _answers(
    classifier: PosterClassifier,
    index: PosterIndex,
    posters: Sequence[str],
    count: int,
    by: Sequence[str] | None,
    split: str | None,
) -> list[NearestPosters]:
    from mmposter.similarity.answers import nearest

    answers: list[NearestPosters] = []
    stream = classifier.stream_embeddings(posters)
    with progress("similar", len(posters)) as ticker:
        while together := list(islice(stream, _TOGETHER)):
            answers += nearest(index, together, count, by=by, split=split)
            ticker.advance(len(together))
    return answers


def _table(answer: NearestPosters, branches: Sequence[str]) -> None:
    name = visible(answer.name)
    if not answer.usable:
        return
    rows = []
    for one in answer.neighbours:
        missing = (*one.nothing, *answer.nothing)
        shares = ["" if branch in missing else f"{one.shares[branch]:+.2f}" for branch in branches]
        film = visible(one.name if one.title is not None else Path(one.id).name)
        genres = visible(", ".join(one.genres))
        rows.append([str(one.rank), f"{one.similarity:.3f}", film, genres, *shares])
    header = ["", "similarity", "film", "genres", *branches]
    Summary().answer(TableBlock(f"nearest to {name}", header, rows, "rrll" + "r" * len(branches)))
    if answer.note:
        say(f"{name}: {answer.note}")


def _summary(answers: Sequence[NearestPosters], index: PosterIndex) -> None:
    failed = [answer for answer in answers if answer.error]
    said = f"{len(answers) - len(failed)} of {len(answers)} posters without a fault; among {len(index):,} posters"
    say(f"{said}: {index.folder}")
    for answer in failed:
        warn(f"  {visible(f'{answer.path}: {answer.error}')}")
