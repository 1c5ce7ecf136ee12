"""Extraction against the loops that a user would write: same posters, same weights, same sizes, in one run.

    python benchmarks/extract.py DATA --config lite                      # every row
    python benchmarks/extract.py DATA --config lite --only all-default   # one
    python benchmarks/extract.py DATA --config lite --against rapidocr   # one loop alone
    python benchmarks/extract.py DATA --config lite --floor              # what the networks alone would take

DATA is what `mmposter prepare` wrote. A round runs the loops (benchmarks/loop.py) and each of our settings, each in a
process of its own, one after another. One loop reads words with easyocr, the other with rapidocr, both as their users
do; what is read by PP-OCR stands beside both, in a table each. Posters/s are without the time in which libraries and
models load: of the loop, by starting the clock after it; of ours, by a second run over fewer posters, whose time is
taken off. A ratio is that of two rates of one round; shown are the median of the rounds and their range. Linux only
(memory is read from /proc).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from floor import floor
from reading import Measured, agreement, title_words
from sides import LOOPS, boxes_of, run_loop, run_ours, subset

from mmposter.engines import cores


class Row(NamedTuple):
    """One of our settings."""

    beside: dict[str, str]  # the loop that it stands beside, by that loop's reader
    options: tuple[str, ...]  # of `mmposter extract`


EASYOCR, PPOCR = ("--set", "ocr.reader=easyocr"), ("--set", "ocr.reader=ppocr")
WORDS = ("--branches", "ocr")
ROWS = {
    "ocr-exact": Row({"easyocr": "loop-ocr"}, (*WORDS, *EASYOCR, "--set", "ocr.reading=exact")),
    "ocr-default": Row({"easyocr": "loop-ocr"}, (*WORDS, *EASYOCR)),
    "ocr-fast": Row({"easyocr": "loop-ocr"}, (*WORDS, *EASYOCR, "--set", "ocr.reading=fast")),
    "ocr-careful": Row({"easyocr": "loop-ocr"}, (*WORDS, *EASYOCR, "--set", "ocr.reading=careful")),
    "ocr-ppocr": Row({"easyocr": "loop-ocr", "rapidocr": "loop-rapidocr"}, (*WORDS, *PPOCR)),
    "all-default": Row({"easyocr": "loop-all"}, EASYOCR),
    "all-ppocr": Row({"easyocr": "loop-all", "rapidocr": "loop-all-rapidocr"}, PPOCR),
}


def main() -> None:
    """Measure, and print a table in Markdown for each kind of loop."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="mmposter-benchmark-"))
    try:
        whole = subset(options.data, options.posters, folder / "whole")
        if options.floor:
            print(floor(whole, options.config, options.set, options.device, options.seconds))
            return
        part = subset(options.data, options.posters, folder / "part", first=options.warm)
        wanted = _wanted(options.only or list(ROWS), options.against)
        rounds = [_round(number + 1, wanted, whole, part, options) for number in range(options.rounds)]
        titles = pd.read_parquet(whole / "manifest.parquet")["title"]
        print("\n\n".join(_table(against, rounds, titles) for against in options.against))
    finally:
        shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that `mmposter prepare` wrote")
    parser.add_argument("--posters", type=int, default=200, help="evenly spaced over DATA")
    parser.add_argument("--warm", type=int, default=64, help="posters of the second, shorter run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--config", default="lite")
    parser.add_argument("--set", action="append", default=[], help="as of `mmposter extract`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--loop-device", default=None, help="of the loop, where it shall differ")
    parser.add_argument("--workers", default=str(cores()), help="of ours; one a core")
    parser.add_argument("--threads", default=None, help="of each of our workers")
    parser.add_argument("--only", action="append", choices=sorted(ROWS))
    parser.add_argument("--against", action="append", choices=("easyocr", "rapidocr"), help="the loop's reader")
    parser.add_argument("--floor", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of --floor's convolution, in each precision")
    options = parser.parse_args()
    options.against = options.against or ["easyocr", "rapidocr"]
    if not _wanted(options.only or list(ROWS), options.against):
        parser.error(f"no row of --only stands beside the loop of {' and '.join(options.against)}")
    if not 0 < options.warm < options.posters and not options.floor:
        parser.error(f"--warm must lie between 0 and --posters; got {options.warm} of {options.posters}")
    return options


def _wanted(names: Sequence[str], against: Sequence[str]) -> list[str]:
    return [name for name in names if set(against) & ROWS[name].beside.keys()]


def _round(
    number: int, wanted: Sequence[str], whole: Path, part: Path, options: argparse.Namespace
) -> dict[str, Measured]:
    """Each loop and each row once."""
    loops = dict.fromkeys(
        loop for name in wanted for kind, loop in ROWS[name].beside.items() if kind in options.against
    )
    device = options.loop_device or options.device
    measured = {loop: run_loop(LOOPS[loop], whole, options.config, options.set, device) for loop in loops}
    for name in wanted:
        measured[name] = _ours(name, whole, part, options)
        beside = [f"{loop} {measured[loop].rate:.2f}/s" for loop in ROWS[name].beside.values() if loop in measured]
        _say(f"round {number}: {name} {measured[name].rate:.2f}/s, {', '.join(beside)}")
    return measured


def _ours(name: str, whole: Path, part: Path, options: argparse.Namespace) -> Measured:
    extra = ROWS[name].options
    command = ["--config", options.config, *extra, *(word for one in options.set for word in ("--set", one))]
    command += ["--device", options.device, "--workers", options.workers]
    command += ["--threads", options.threads] if options.threads else []
    rate, wall, peak = run_ours(command, whole, part)
    return Measured(rate, wall, peak, boxes_of(whole, options.config, options.set, extra))


def _table(against: str, rounds: Sequence[dict[str, Measured]], titles: Sequence[str]) -> str:
    """The loops with one reader, and the rows that stand beside them."""
    head = ("", "posters/s", "ratio to its loop", "whole run, s", "peak, GB", "title words", "text as the loop's")
    lines = [f"Against the loop with {against}:", "", f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
    beside = {name: ROWS[name].beside[against] for name in rounds[0] if name in ROWS and against in ROWS[name].beside}
    loops = list(dict.fromkeys(beside.values()))
    for name in [*loops, *beside]:
        runs = [measured[name] for measured in rounds]
        own = [measured[beside[name]] for measured in rounds] if name in beside else []
        cells = [
            name,
            _spread([run.rate for run in runs]),
            _spread([run.rate / loop.rate for run, loop in zip(runs, own, strict=True)]) if own else "",
            _spread([run.wall for run in runs], 1),
            f"{max(run.peak_gb for run in runs):.2f}",
            title_words(runs[0].boxes, titles),
            agreement(runs[0].boxes, own[0].boxes) if own else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for name in loops:
        parts = {part: statistics.median(m[name].parts[part] for m in rounds) for part in rounds[0][name].parts}
        lines += ["", f"{name} by part, ms a poster: " + ", ".join(f"{p} {1e3 * s:.0f}" for p, s in parts.items())]
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
