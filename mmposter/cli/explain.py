"""`mmposter explain`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import require_result
from mmposter.cli.named import posters_of
from mmposter.cli.summary import Summary
from mmposter.document.blocks import TableBlock
from mmposter.errors import UserError
from mmposter.progress import LOADING, progress, say, stage, warn
from mmposter.shipped import POSTERS
from mmposter.visible import visible

if TYPE_CHECKING:
    from mmposter.explain import Explanation
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.explain.folder import ExplanationFolder
    from mmposter.similarity import PosterIndex

_ROWS = 40  # of the table: a screen or two


def explain_command(
    paths: Annotated[
        list[str], typer.Argument(metavar="POSTER...", help="Posters, folders, globs, links.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for NAME.png and NAME.json of each poster.")
    ],
    model: opt.Model = POSTERS,
    genre: Annotated[
        list[str] | None,
        typer.Option("--genre", "-g", help="Explain this genre, predicted or not; repeatable.", show_default=False),
    ] = None,
    among: Annotated[
        str | None,
        typer.Option(
            "--among",
            "-a",
            metavar="DATA|FOLDER|INDEX",
            help="Name the nearest training posters of these, too (as `mmposter similar` finds them).",
        ),
    ] = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Of two posters also a page with what differs: NAME-and-NAME.html.")
    ] = False,
    branches: opt.Only = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in --out.")] = False,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Explain predictions: an image and a JSON file for each poster.

    For each predicted genre (or --genre): what each branch adds to the logit (Shapley values), where the cnn and style
    branches found evidence (Grad-CAM), and how much each object and line of text counts (the logit with it minus the
    logit without it).

    A poster that cannot be read is listed and skipped; if none can be read, the exit code is 1. Finished posters are
    kept when the command is stopped, and the same command continues.

    Examples:

      mmposter explain poster.jpg --out why

      mmposter explain posters/ --model runs/all --out why

      mmposter explain poster.jpg --model runs/all --genre Horror --genre Comedy --out why

      mmposter explain poster.jpg --among benchmark --out why

      mmposter explain a.jpg b.jpg --side-by-side --out why
    """
    from mmposter.config import parse_branches
    from mmposter.explain.classifier import PosterClassifier
    from mmposter.explain.folder import ExplanationFolder, identity
    from mmposter.outputs import claim
    from mmposter.outputs.kinds import EXPLANATIONS
    from mmposter.similarity import build_index

    posters = posters_of(paths)
    page = _page_of(posters, out, overwrite=overwrite) if side_by_side else None
    only = None if branches is None else parse_branches(branches)
    with stage(LOADING):
        classifier = PosterClassifier.load(model, branches=only, device=device, offline=offline)
    index = None if among is None else build_index(classifier, among, offline=offline)
    with claim(out, EXPLANATIONS, go_on=True):
        made_with = identity(classifier, genre, index)
        target = ExplanationFolder(out, posters, made_with=made_with, overwrite=overwrite)
        _explain(classifier, posters, target, genre, index)
        if page is None:
            Summary().file("cards", target.folder)
        else:
            _compare(classifier, posters, genre, page)


def _page_of(posters: Sequence[str], out: Path, *, overwrite: bool) -> Path:
    """Where the page of two posters goes (UserError: they are not two, or it is there)."""
    from mmposter.explain.folder import file_names
    from mmposter.outputs import refuse_file

    if len(posters) != 2:
        raise UserError(f"--side-by-side compares two posters; got {len(posters)}")
    names = list(file_names(posters).values())
    page = out / f"{names[0]}-and-{names[1]}.html"
    refuse_file(page, overwrite=overwrite)
    return page


def _compare(classifier: PosterClassifier, posters: Sequence[str], genre: Sequence[str] | None, page: Path) -> None:
    """Write the page of two posters, where both can be used."""
    from mmposter.cli.answers import answer_path
    from mmposter.explain.side_by_side import side_by_side_page
    from mmposter.files.atomic import write_text

    one, other = classifier.explain(posters, genres=list(classifier.genres) if genre is None else genre)
    if one.picture is None or other.picture is None:
        warn("no page: one of the two posters could not be used")
        return
    write_text(page, side_by_side_page(one, other, genre))
    answer_path(page)


def _explain(
    classifier: PosterClassifier,
    posters: Sequence[str],
    target: ExplanationFolder,
    genre: Sequence[str] | None,
    among: PosterIndex | None,
) -> None:
    """Explain the posters that are not done, and say what became of them."""
    todo = [poster for poster in posters if poster not in target.done]
    explained: list[Explanation] = []
    failed: list[Explanation] = []
    count = 0
    with progress("explain", len(posters), done=len(target.done)) as ticker:
        for explanation in classifier.stream_explanations(todo, genres=genre, among=among):
            if explanation.error:
                failed.append(explanation)
            if explanation.picture is not None:
                target.write(explanation)
                count += 1
                if count <= _ROWS:
                    explained.append(explanation)
            ticker.advance()
    if explained:
        _table(explained, classifier.branches)
        _nearest(explained)
    there = f", {len(target.done)} were there already" if target.done else ""
    more = f" (the table has the first {_ROWS})" if count > _ROWS else ""
    say(f"{count} of {len(todo)} posters explained{there}{more}")
    for explanation in failed:
        warn(f"  {visible(f'{explanation.path}: {explanation.error}')}")
    require_result(count > 0 or bool(target.done))


def _nearest(explanations: Sequence[Explanation]) -> None:
    """A line for each near film, with the branch that made it near."""
    shown = Summary()
    for explanation in (one for one in explanations if one.nearest is not None):
        shown.headline(f"nearest to {visible(explanation.name)}{'' if explanation.nearest else ': none'}")
        for near in explanation.nearest or ():
            most = max(near.shares, key=lambda branch: near.shares[branch])
            about = f"most by {most} ({near.shares[most]:+.2f}); {near.id}"
            shown.headline(visible(f"  {near.similarity:.3f}  {near.name}: {about}"))


def _table(explanations: Sequence[Explanation], branches: Sequence[str]) -> None:
    from mmposter.branches import declared

    rows = []
    for explanation in explanations:
        name = visible(explanation.name)
        if not explanation.genres:
            rows.append([name, "none", *[""] * (len(branches) + 2)])
        for genre in explanation.genres:
            shares = [f"{genre.shares[branch]:+.2f}" if genre.shares else "" for branch in branches]
            top = ""
            if genre.items:
                item = genre.items[0]
                label = f'"{item.label}"' if declared(item.branch).quoted else item.label
                top = f"{visible(label)} {item.contribution:+.2f}"
            rows.append([name, visible(genre.genre), f"{genre.probability:.2f}", *shares, top])
            name = ""
    header = ["poster", "genre", "probability", *branches, "counted most"]
    Summary().headline(TableBlock("", header, rows, "llr" + "r" * len(branches) + "l", keys=2))
