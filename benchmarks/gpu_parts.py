"""The parts of benchmarks/gpu.py."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from gpu_report import Report, Row, reason
from measure import CommandError, run_measured
from random_detector import make_detector
from sides import HERE, run_loop, run_ours, subset

from mmposter.branches import declared
from mmposter.config import BRANCHES, Config, load_config
from mmposter.data import Dataset, prepare, write_dataset
from mmposter.engines.machine import cores
from mmposter.errors import UserError
from mmposter.features.extractors import build_extractors
from mmposter.features.settled import settle

ROOT = HERE.parent
FEW, DRAWN, COPIES = 12, 256, 8
"""Posters that are drawn; and how often each is there: with other bytes behind its picture it is another file."""
WARM = 64
"""Posters of the shorter run, and of the loop."""
WANTED_S, FASTER = 20.0, 3.0
"""Seconds of a run that is measured, where extraction is so many times as fast as the loop."""
EPOCHS, BATCH = 6, 32
TESTS_S, PREDICT_S, FINETUNE_S = 120.0, 90.0, 150.0
"""The most that one of them may take."""


@dataclass(frozen=True)
class Bench:
    """What the parts share."""

    report: Report
    folder: Path
    data: Path  # all posters, prepared
    posters: Path  # a folder of some of them
    few: bool
    config: str
    overrides: list[str]
    device: str
    model: str
    only: str | None  # branches that were asked for

    @property
    def branches(self) -> list[str]:
        """To be extracted."""
        return list(BRANCHES) if self.only is None else self.only.split(",")

    @classmethod
    def make(cls, report: Report, folder: Path, asked: argparse.Namespace) -> Bench:
        """Draw what must be drawn; a detector without its weights gets random ones."""
        few = asked.posters == "few"
        data = Path(asked.posters)
        if asked.posters in ("drawn", "few"):
            drawn = folder / "drawn"
            command = [sys.executable, str(ROOT / "scripts" / "draw_posters.py"), str(drawn)]
            subprocess.run([*command, "--count", str(FEW if few else DRAWN)], check=True, capture_output=True)
            prepare(drawn / "posters.csv", folder / "prepared", format="csv", quiet=True)
            data = folder / "prepared" if few else copies(folder / "prepared", COPIES, folder / "copies")
            report.notes.append(f"{len(Dataset.load(data)):,} posters, drawn by scripts/draw_posters.py.")
        else:
            report.notes.append(f"{len(Dataset.load(data)):,} posters.")
        posters = folder / "posters"
        posters.mkdir()
        dataset = Dataset.load(data)
        for row in range(min(WARM, len(dataset))):
            source = dataset.image_path(row)
            (posters / f"{row}{source.suffix}").symlink_to(source.resolve())
        bench = cls(
            report, folder, data, posters, few, asked.config, list(asked.set), asked.device, asked.model,
            asked.branches,
        )  # fmt: skip
        bench._find_detector()
        return bench

    def _find_detector(self) -> None:
        config = self.settled("ppocr")
        if "yolo" not in self.branches or lacking("yolo", config) is None or find_spec("ultralytics") is None:
            return
        file = make_detector(self.folder / Path(config.yolo.model).name)
        self.overrides.append(f"yolo.model={file}")
        self.report.notes.append(
            f"The weights of {file.name} are not here: the detector's are random, and it finds nothing."
        )

    def settled(self, reader: str) -> Config:
        """The configuration with a reader of words."""
        return settle(load_config(self.config, [*self.overrides, f"ocr.reader={reader}"]))

    def sets(self, *more: str) -> list[str]:
        """``--config`` and ``--set`` of a command."""
        return ["--config", self.config, *(word for one in (*self.overrides, *more) for word in ("--set", one))]


def copies(data: Path, times: int, folder: Path) -> Path:
    """A data set with each poster so many times, each time as another file with the same picture."""
    dataset = Dataset.load(data)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rows = []
    for row, facts in enumerate(dataset.table.to_dict("records")):
        content = dataset.image_path(row).read_bytes()
        for number in range(times):
            name, other = f"{facts['id']}-{number}.jpg", content + bytes(number)
            (pictures / name).write_bytes(other)
            rows.append(facts | {"id": name, "path": name, "sha256": hashlib.sha256(other).hexdigest()})
    write_dataset(folder, pd.DataFrame(rows), dataset.vocabulary, {"root": str(pictures)})
    return folder


def lacking(branch: str, config: Config) -> str | None:
    """Why a branch cannot be used here; None: it can."""
    if absent := [name for name in declared(branch).imports(config) if find_spec(name) is None]:
        return f"not installed: {', '.join(absent)}"
    try:
        build_extractors(config, (branch,), offline=True)
    except UserError as error:
        return str(error).splitlines()[0]
    return None


def run_tests(bench: Bench) -> None:
    """The tests with the marker `gpu`."""
    what = "tests that need a GPU"
    files = [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
    if find_spec("pytest") is None or not files:
        bench.report.add(Row(what, "left out: " + ("there are none" if not files else "pytest is not installed")))
        return
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(ROOT),
        "--basetemp",
        str(bench.folder / "tests"),
    ]
    with bench.report.part(what):
        try:
            _, _, out = run_measured([*command, *files], bench.report.limit(TESTS_S))
        except CommandError as error:
            found = re.search(r"^.*\b(?:failed|error|no tests)\b.* in [\d.]+ ?s.*$", str(error), re.MULTILINE)
            raise RuntimeError(found[0].strip("= ") if found else reason(error)) from error
        lines = out.splitlines()
        skipped = sorted({line.partition(": ")[2] for line in lines if line.startswith("SKIPPED")})
        bench.report.add(Row(what, lines[-1].strip("= "), "; ".join(f"skipped: {why}" for why in skipped)))


def run_predict(bench: Bench) -> None:
    """`mmposter predict` of one poster in a fresh process, and the library with its models loaded."""
    common = ["--model", bench.model, "--device", bench.device]
    common += [] if bench.only is None else ["--branches", bench.only]
    cold, warm, many = "predict one poster, cold", "predict one poster, warm", "predict many posters, warm"
    with bench.report.part(cold, warm, many):
        poster = min(bench.posters.iterdir())
        command = [sys.executable, "-m", "mmposter", "predict", str(poster), *common, "--offline"]
        seconds, _, _ = run_measured(command, bench.report.limit(PREDICT_S))
        said = f"`mmposter predict --model {Path(bench.model).name}` in a fresh process"
        bench.report.add(Row(cold, f"{seconds:.1f} s", said, {"seconds": seconds}))
        command = [sys.executable, "-W", "ignore", str(HERE / "predicting.py"), str(bench.posters), *common]
        _, _, out = run_measured([*command, "--repeat", "3" if bench.few else "21"], bench.report.limit(PREDICT_S))
        found = json.loads(out.splitlines()[-1])
        said = f"`PosterClassifier.predict`, {','.join(found['branches'])}; the first one {found['first_s']:.1f} s"
        bench.report.add(Row(warm, f"{1e3 * found['one_s']:.0f} ms", said, {"seconds": found["one_s"]}))
        rate = found["posters_s"]
        bench.report.add(Row(many, f"{rate:.1f} posters/s", "posters in one call", {"posters_s": rate}))


def run_finetune(bench: Bench) -> None:
    """Steps a second of a training in bf16, of the epochs after the first."""
    what = "finetune, bf16"
    batch, epochs = (4, 2) if bench.few else (BATCH, EPOCHS)
    workers = 0 if bench.few else min(8, cores())
    with bench.report.part(what):
        data = subset(bench.data, min(len(Dataset.load(bench.data)), 640), bench.folder / "finetune")
        sets = ("train.precision=bf16", f"train.epochs={epochs}", f"train.batch_size={batch}", "train.keep=last",
                f"train.workers={workers}", "evaluation.bootstrap=100")  # fmt: skip
        out = bench.folder / "run"
        command = [sys.executable, "-m", "mmposter", "train", str(data), "--branches", "cnn,style", *bench.sets(*sets)]
        command += ["--regime", "finetune", "--device", bench.device, "--offline", "--out", str(out)]
        _, peak, _ = run_measured(command, bench.report.limit(FINETUNE_S))
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
        steps = lines[0]["step"]
        rate = statistics.median(steps / line["seconds"] for line in lines[1:])
        config = bench.settled("ppocr")
        said = (
            f"{config.cnn.backbone}, batches of {batch}, {workers} processes that decode, median of {epochs - 1} epochs"
        )
        bench.report.add(Row(what, f"{rate:.2f} steps/s", said, {"steps_s": rate, "batch": batch, "peak_gb": peak}))


def run_extraction(bench: Bench) -> None:
    """Posters a second by branch and all together, ours and the loop's."""
    kinds = [(branch, "ppocr") for branch in bench.branches] + ([("ocr", "easyocr")] if "ocr" in bench.branches else [])
    why = {kind: lacking(kind[0], bench.settled(kind[1])) for kind in kinds}
    usable = [kind for kind in kinds if why[kind] is None]
    for kind in kinds:
        if why[kind] is not None:
            bench.report.add(Row(_named(*kind), f"left out: {why[kind]}"))
    loops: dict[str, float] = {}
    few = subset(bench.data, min(WARM, max(1, len(Dataset.load(bench.data)) // 3)), bench.folder / "few")
    for reader in dict.fromkeys(reader for branch, reader in usable if branch == "ocr" or reader == "ppocr"):
        with bench.report.part(f"the loop with {'rapidocr' if reader == 'ppocr' else reader}"):
            loops |= _loop(bench, reader, [branch for branch, other in usable if other == reader], few)
    together = ",".join(branch for branch, reader in usable if reader == "ppocr")
    order = [(together, "ppocr"), *usable] if "," in together else usable
    for branches, reader in order:
        name = _named(branches, reader)
        with bench.report.part(name):
            _ours(bench, name, branches, reader, few, loops.get(name))


def _named(branches: str, reader: str) -> str:
    kind = f" ({reader})" if "ocr" in branches.split(",") else ""
    return f"extract {branches}{kind}"


def _loop(bench: Bench, reader: str, branches: list[str], few: Path) -> dict[str, float]:
    """Posters a second of the loop, by the name of the row that stands beside it."""
    parts = []
    if "ocr" in branches:
        parts += ["rapidocr" if reader == "ppocr" else "ocr", "text"]
    parts += ["yolo"] if "yolo" in branches else []
    parts += ["cnn"] if {"cnn", "style"} & set(branches) else []
    found = run_loop(parts, few, bench.config, bench.overrides, bench.device, bench.report.limit())
    taken = {"yolo": found.parts.get("yolo"), **dict.fromkeys(("cnn", "style"), found.parts.get("cnn"))}
    if "ocr" in branches:
        taken["ocr"] = found.parts[parts[0]] + found.parts["text"]
    rates = {_named(name, reader): 1 / taken[name] for name in branches}
    return rates | {_named(",".join(branches), reader): found.rate}


def _ours(bench: Bench, name: str, branches: str, reader: str, few: Path, loop: float | None) -> None:
    most = len(Dataset.load(bench.data))
    wanted = round(FASTER * (loop or WARM) * WANTED_S)
    count = most if bench.few else min(most, max(2 * WARM, wanted))
    whole = subset(bench.data, count, bench.folder / f"whole-{len(bench.report.rows)}")
    options = ["--branches", branches, *bench.sets(f"ocr.reader={reader}"), "--device", bench.device]
    rate, wall, peak = run_ours(options, whole, few, bench.report.limit())
    numbers = {"posters_s": rate, "wall_s": wall, "peak_gb": peak, "posters": float(count)}
    beside = "no loop was measured"
    if loop is not None:
        numbers["loop_posters_s"] = loop
        beside = f"the loop {loop:.2f}/s: {rate / loop:.2f} times as fast"
    bench.report.add(Row(name, f"{rate:.2f} posters/s", beside, numbers))
