"""`mmposter predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmposter.cli import options as opt
from mmposter.cli.answers import answer_json, answer_line, answer_path, require_result
from mmposter.cli.summary import Summary
from mmposter.document.blocks import Emphasis, TableBlock
from mmposter.errors import UserError
from mmposter.progress import LOADING, progress, say, stage, warn
from mmposter.shipped import POSTERS, find_run
from mmposter.visible import visible

if TYPE_CHECKING:
    from typing import TypeAlias

    from mmposter.inference.classifier import Prediction

    Stream: TypeAlias = Callable[[Sequence[str]], Iterator[Prediction]]


def predict_command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS...", help="Posters, folders, globs, links; none or - reads a list from standard input."
        ),
    ] = None,
    model: opt.Model = POSTERS,
    branches: opt.Only = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="FILE.jsonl, FILE.csv or FILE.parquet, one line a poster.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, help="The K surest genres, not those above their thresholds.")
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            "--precision",
            help="Give genres of which at least this share is true, such as .85; mark each poster accept or review.",
        ),
    ] = None,
    listing: Annotated[
        bool,
        typer.Option("--listing", help="Print lines to read: Name  Genre (0.736), ...: the three surest, or --top-k."),
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="nfo",
            help="nfo: PATHS are media libraries of Kodi, Jellyfin or Emby; the poster of each film is looked for.",
        ),
    ] = None,
    write_nfo: Annotated[
        bool,
        typer.Option(
            "--write-nfo",
            help="With --format nfo and --precision: add the genres of accepted films as tags to their NFO files. "
            "Without --yes, show what would be written.",
        ),
    ] = False,
    restore_nfo: Annotated[
        bool, typer.Option("--restore-nfo", help="With --format nfo: take these tags out again; predict nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write what --write-nfo or --restore-nfo shows.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    trust: opt.Trust = False,
    workers: opt.Workers = "auto",
    threads: opt.Threads = None,
    engine: opt.Engine = "local",
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> None:
    """Predict the genres of posters.

    On a terminal it prints a table, in a pipe one JSON object per line, with --out a file. A poster that cannot be read
    is listed and skipped; if none can be read, the exit code is 1. With --out, finished posters are kept when the
    command is stopped, and the same command continues. The shipped model leaves out branches whose files are not
    installed and says what that costs; branches named with --branches are required.

    --precision returns genres only where that share of them is correct on new posters, guaranteed with 95 % confidence
    from the validation posters. Other posters are marked for review, those first where a look corrects most genres.

    Examples:

      mmposter predict poster.jpg

      mmposter predict poster.jpg --model runs/cnn-yolo

      mmposter predict https://example.org/poster.jpg

      mmposter predict posters/ --model runs/cnn-yolo --out genres.csv

      mmposter predict posters/ --out genres.parquet

      mmposter predict posters/ --precision .85 --out genres.csv

      mmposter predict posters/ --model runs/cnn-yolo --listing > genres.txt

      mmposter predict /media/films --format nfo --precision .8 --write-nfo

      find . -name '*.jpg' | mmposter predict --model runs/cnn-yolo --top-k 3

      mmposter predict - --model runs/cnn-yolo --out genres.jsonl --workers 8 < million_paths.txt
    """
    if listing and out is not None:
        raise UserError(
            "--listing prints and --out writes another format; for a file: mmposter predict ... --listing > FILE"
        )
    _check_precision(precision, top_k=top_k, listing=listing)
    from mmposter.cli.libraries import Libraries, Tags, check_options, require_promise, restore

    check_options(format, paths or [], precision=precision, write=write_nfo, restore=restore_nfo, yes=yes)
    if restore_nfo:
        restore(Libraries.read(paths or []), write=yes)
        return
    from mmposter.config import parse_branches
    from mmposter.images.listing import list_posters, passed_over_text
    from mmposter.inference.accepting import Tally
    from mmposter.inference.classifier import looked_through
    from mmposter.inference.predictions import PredictionFile
    from mmposter.runs.run import Run

    only = None if branches is None else parse_branches(branches)
    processes = opt.parse_workers(workers)
    folder = find_run(model)
    identity = _identity(folder, only, top_k, precision, format)
    target = None if out is None else PredictionFile(out, made_with=identity, overwrite=overwrite)
    from_pipe = not paths and not sys.stdin.isatty()
    # Ours before anything is loaded: a second command for the same file is refused at once.
    with target or nullcontext():
        others: list[Path] = []
        libraries = None if format is None else Libraries.read(paths or [])
        if libraries is not None:
            libraries.say()
            posters = list(libraries.films)
        else:
            piped = from_pipe or paths == ["-"]
            given = sys.stdin.read().split("\n") if piped else paths or []
            posters = list_posters(given, others, target.done if target is not None else frozenset())
        passed = f"{passed_over_text(others)}\n" if others else ""
        if not posters:
            raise UserError(
                f"no poster to look at; {passed}Give files, folders, globs, links, or a list of them on standard input"
            )
        tally = None
        if precision is not None:
            run, kept = looked_through(Run.load(folder), only)
            tally = Tally(run.evidence(kept), precision)
            if write_nfo:
                require_promise(tally.asked)
        tags = Tags(libraries) if write_nfo and libraries is not None else None
        todo = posters if target is None else [path for path in posters if path not in target.done]
        found: Iterator[Prediction] = iter(())
        if known := len(posters) - len(todo):
            say(f"{known:,} of {len(posters):,} posters were finished before")
        if todo:
            from mmposter.explain.classifier import PosterClassifier

            with stage(LOADING):
                classifier = PosterClassifier.load(folder, branches=only, device=device, offline=offline)
            answers = partial(classifier.stream, top_k=top_k, precision=precision)
            stream: Stream = partial(answers, workers=processes, threads=threads, engine=engine)
            found = _watched(stream if libraries is None else libraries.naming(stream), todo)
        else:
            say(f"nothing left to predict; writing {out}")
        if target is not None:
            for prediction in found:
                target.write(prediction)
            count, failed = target.count, target.failed
            for prediction in target.predictions() if tally is not None else ():
                for counter in (tally, tags):
                    if counter is not None:
                        counter.add(prediction)
        else:
            for counter in (tally, tags):
                found = found if counter is None else counter.counted(found)
            if sys.stdout.isatty() and not listing:
                count, failed = _table(list(found), top_k)
            else:
                count, failed = _lines(found, listing=listing, top_k=top_k)
    _summary(count, failed)
    if tally is not None:
        from mmposter.cli.accepting import print_tally

        print_tally(tally)
    if tags is not None:
        tags.finish(write=yes)
    if passed:
        say(passed.rstrip())
    if target is not None:
        answer_path(target.path)
    require_result(count > len(failed))


def _check_precision(precision: float | None, *, top_k: int | None, listing: bool) -> None:
    """Refuse a precision that is none, or beside what gives genres of any."""
    if precision is None:
        return
    from mmposter.evaluation.promise import require_share

    require_share(precision, "--precision")
    if top_k is not None or listing:
        other = "--listing" if listing else "--top-k"
        raise UserError(f"give one of --precision and {other}: the surest genres may be of any precision")


def _identity(
    folder: Path,
    branches: Sequence[str] | None,
    top_k: int | None,
    precision: float | None = None,
    format: str | None = None,
) -> str:
    """What must be the same for an unfinished file to be gone on with."""
    import hashlib

    from mmposter.files.strict_json import read_text
    from mmposter.inference.classifier import missing_branches
    from mmposter.runs.decisions import SUBSETS
    from mmposter.runs.run import MODEL, Run

    known = [
        str(folder),
        str(branches),
        str(top_k),
        *(str(given) for given in (precision, format) if given is not None),
    ]
    if (folder / MODEL).is_file():
        files = [folder / name for name in (MODEL, SUBSETS)]
        known[0] = "\n".join(read_text(file) for file in files if file.is_file())
        known += [f"{state.branch} {state.spares}" for state in missing_branches(Run.load(folder), branches)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def _watched(stream: Stream, posters: Sequence[str]) -> Iterator[Prediction]:
    with progress("predict", len(posters)) as ticker:
        for prediction in stream(posters):
            yield prediction
            ticker.advance()


def _lines(predictions: Iterator[Prediction], *, listing: bool, top_k: int | None) -> tuple[int, list[Prediction]]:
    """Print them as they come; how many there were, and those that could not be used."""
    from mmposter.evaluation.listing import SUREST

    count, failed = 0, []
    for prediction in predictions:
        count += 1
        failed += [prediction] if prediction.error else []
        if listing:
            answer_line(prediction.listing(k=top_k or SUREST))
        else:
            answer_json(prediction.to_json(), indent=None)
    return count, failed


def _table(predictions: Sequence[Prediction], top_k: int | None) -> tuple[int, list[Prediction]]:
    from mmposter.inference.predictions import review_ranks

    asked, ranks = any(prediction.verdict for prediction in predictions), review_ranks(predictions)
    verdict = ["verdict"] if asked else []
    films = ["film"] if any(prediction.film for prediction in predictions) else []
    header = [*films, "poster", *verdict, "genres" if top_k is None else f"top {top_k}", "next"]
    rows: list[list[str]] = []
    emphasis: dict[tuple[int, int | None], Emphasis] = {}
    for row, prediction in enumerate(predictions):
        ranked = sorted(prediction.scores.items(), key=lambda item: -item[1])
        chosen = [f"{visible(genre)} {prediction.scores[genre]:.2f}" for genre in prediction.genres]
        others = [f"{visible(genre)} {score:.2f}" for genre, score in ranked if genre not in prediction.genres][:3]
        if not chosen and prediction.error:
            chosen, emphasis[row, len(header) - 2] = [visible(prediction.error)], "bad"
        if prediction.note:
            chosen.append(prediction.note)
        said = f"review {ranks[row]}" if row in ranks else prediction.verdict or ""
        name = visible(Path(prediction.path or "").name)
        film = [visible(prediction.film or "")] if films else []
        rows.append([*film, name, *([said] if asked else []), "\n".join(chosen), ", ".join(others)])
    Summary().answer(TableBlock("", header, rows, "l" * len(header), emphasis))
    return len(predictions), [p for p in predictions if p.error]


def _summary(count: int, failed: Sequence[Prediction]) -> None:
    say(f"{count - len(failed)} of {count} posters without a fault")
    for prediction in failed:
        warn(f"  {visible(f'{prediction.path}: {prediction.error}')}")
