"""Extraction against the loop that a user would write: same posters, same weights, same sizes, in one run.

    python benchmarks/extract.py DATA --config lite                      # every row
    python benchmarks/extract.py DATA --config lite --only all-default   # one
    python benchmarks/extract.py DATA --config lite --floor              # what the multiplications alone would take

DATA is what `mmposter prepare` wrote. A round runs the loop (benchmarks/loop.py) and each of our settings, each in a
process of its own, one after another. Posters/s are without the time in which libraries and models load: of the loop,
by starting the clock after it; of ours, by a second run over fewer posters, whose time is taken off. A ratio is that of
two rates of one round; shown are the median of the rounds and their range. Linux only (memory is read from /proc).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd
from floor import floor
from measure import run_measured
from reading import Measured, agreement, our_boxes, their_boxes, title_words

from mmposter.data import Dataset, write_dataset
from mmposter.engines import cores

HERE = Path(__file__).resolve().parent
LOOPS = {"loop-ocr": ("ocr",), "loop-all": ("ocr", "text", "yolo", "cnn")}
EASYOCR = ("--set", "ocr.reader=easyocr")
ROWS = {  # the loop that a row stands beside, and our options
    "ocr-exact": ("loop-ocr", ("--branches", "ocr", *EASYOCR, "--set", "ocr.reading=exact")),
    "ocr-default": ("loop-ocr", ("--branches", "ocr", *EASYOCR)),
    "ocr-fast": ("loop-ocr", ("--branches", "ocr", *EASYOCR, "--set", "ocr.reading=fast")),
    "ocr-careful": ("loop-ocr", ("--branches", "ocr", *EASYOCR, "--set", "ocr.reading=careful")),
    "ocr-ppocr": ("loop-ocr", ("--branches", "ocr", "--set", "ocr.reader=ppocr")),
    "all-default": ("loop-all", EASYOCR),
    "all-ppocr": ("loop-all", ("--set", "ocr.reader=ppocr")),
}


def main() -> None:
    """Measure, and print a table in Markdown."""
    options = _options()
    if options.floor:
        print(floor(options.config, options.set, options.device))
        return
    folder = Path(tempfile.mkdtemp(prefix="mmposter-benchmark-"))
    try:
        whole = _subset(options.data, options.posters, folder / "whole")
        part = _subset(options.data, options.posters, folder / "part", first=options.warm)
        wanted = options.only or list(ROWS)
        rounds = []
        for number in range(options.rounds):
            measured = {loop: _loop(loop, whole, options) for loop in dict.fromkeys(ROWS[name][0] for name in wanted)}
            for name in wanted:
                measured[name] = _ours(ROWS[name][1], whole, part, options)
                beside = measured[ROWS[name][0]]
                _say(f"round {number + 1}: {name} {measured[name].rate:.2f}/s, {ROWS[name][0]} {beside.rate:.2f}/s")
            rounds.append(measured)
        print(_table(rounds, pd.read_parquet(whole / "manifest.parquet")))
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
    parser.add_argument("--floor", action="store_true")
    return parser.parse_args()


def _subset(data: Path, count: int, folder: Path, first: int | None = None) -> Path:
    """A data set of `count` evenly spaced posters of `data` (the first `first` of them)."""
    whole = Dataset.load(data)
    rows = [index * len(whole) // count for index in range(count)][:first]
    write_dataset(folder, whole.table.iloc[rows].reset_index(drop=True), whole.vocabulary, {"root": str(whole.root)})
    return folder


def _loop(name: str, data: Path, options: argparse.Namespace) -> Measured:
    from mmposter.config import load_config
    from mmposter.features.extractors import build_extractors
    from mmposter.features.settled import settle
    from mmposter.features.table import dataset_posters

    config = settle(load_config(options.config, [*options.set, "ocr.reader=easyocr"]))
    paths = [str(poster.path) for poster in dataset_posters(Dataset.load(data))]
    device = options.loop_device or options.device
    branches = build_extractors(config, device="cpu", offline=True)
    reader, encoder = branches["ocr"].steps
    spec = {
        "posters": paths,
        "parts": LOOPS[name],
        "device": device,
        "gpu": device != "cpu",
        "easyocr": str(reader._folder),
        "encoder": str(encoder._folder),
        "yolo": str(branches["yolo"].feature._file),
        "yolo_size": config.yolo.size,
        "backbone": config.cnn.backbone,
        "backbone_file": str(branches["cnn"].feature._tower.weights.file),
        "stage": config.style.stage,
    }
    file = data / "loop.txt"
    file.write_text(json.dumps(spec))
    wall, peak, out = run_measured([sys.executable, "-W", "ignore", str(HERE / "loop.py"), str(file)])
    result = json.loads(out.splitlines()[-1])
    return Measured(
        rate=len(paths) / result["seconds"],
        wall=wall,
        peak_gb=peak,
        parts={part: seconds / len(paths) for part, seconds in result["parts"].items()},
        boxes=their_boxes(result["texts"]),
    )


def _ours(extra: Sequence[str], whole: Path, part: Path, options: argparse.Namespace) -> Measured:
    command = [sys.executable, "-m", "mmposter", "extract", "--config", options.config, "--offline", *extra]
    command += [word for override in options.set for word in ("--set", override)]
    command += ["--device", options.device, "--workers", options.workers]
    command += ["--threads", options.threads] if options.threads else []
    overrides = [word for flag, word in pairwise(extra) if flag == "--set"]
    taken = []
    for data in (part, whole):
        shutil.rmtree(data / "features", ignore_errors=True)
        taken.append(run_measured([*command, str(data)])[:2])
    (short, _), (long, peak) = taken
    posters = [len(pd.read_parquet(data / "manifest.parquet")) for data in (part, whole)]
    return Measured(
        rate=(posters[1] - posters[0]) / (long - short),
        wall=long,
        peak_gb=peak,
        boxes=our_boxes(whole, [options.config, *options.set, *overrides]),
    )


def _table(rounds: Sequence[dict[str, Measured]], manifest: pd.DataFrame) -> str:
    head = ("", "posters/s", "ratio to its loop", "whole run, s", "peak, GB", "title words", "text as the loop's")
    lines = [f"| {' | '.join(head)} |", "|---|" + "---|" * (len(head) - 1)]
    for name in rounds[0]:
        runs = [measured[name] for measured in rounds]
        loops = [measured[ROWS[name][0]] for measured in rounds] if name in ROWS else []
        ratios = [run.rate / loop.rate for run, loop in zip(runs, loops, strict=False)]
        cells = [
            name,
            _spread([run.rate for run in runs]),
            _spread(ratios) if ratios else "",
            _spread([run.wall for run in runs], 1),
            f"{max(run.peak_gb for run in runs):.2f}",
            title_words(runs[0].boxes, manifest["title"]),
            agreement(runs[0].boxes, loops[0].boxes) if loops else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for name in LOOPS:
        if name in rounds[0]:
            parts = {part: statistics.median(m[name].parts[part] for m in rounds) for part in rounds[0][name].parts}
            lines += ["", f"{name} by part, ms a poster: " + ", ".join(f"{p} {1e3 * s:.0f}" for p, s in parts.items())]
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
