"""How soon a command answers where (nearly) all of its work was finished before.

    python benchmarks/finished.py OUT --posters 20000 1000000 --set yolo.model=yolo11n.pt

makes data of so many posters below OUT, or takes those that `benchmarks/scale.py OUT --keep` left there, and asks for
them again: `mmposter predict` of a file that was stopped when all posters were finished or all but 32, `mmposter
extract` of a store that has all records (first with an index file for every 32 posters), `mmposter train --resume` of a
run that was finished and of one that was stopped in its epoch. Seconds are those until the first line that the command
prints (there is no terminal, so no bar says before that it works) and those until its end; the second resumed training
is stopped after that line. Nothing is read from the network: what the models of --set need must be there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from scale import BRANCHES, make_data, train, train_command

from mmposter.config import load_config
from mmposter.data.dataset import Dataset, write_dataset
from mmposter.features.index import index_table
from mmposter.features.parts import SIZE
from mmposter.features.shard import SUFFIX
from mmposter.features.store import ExtractorStore
from mmposter.features.table import dataset_extractors
from mmposter.files.atomic import write_json

LEFT = 32  # posters of a file of predictions that was stopped just before its end; as many are predicted at a time
COMMANDS = ["predict", "extract", "train"]
MMPOSTER = [sys.executable, "-m", "mmposter"]


@dataclass(frozen=True)
class Answered:
    """When a command said its first line, when it ended, what it computed (s), and the last line."""

    first: float
    end: float
    cpu: float
    last: str


def main() -> None:
    """Measure each number of posters, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--posters", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--model", default="posters", help="of predict")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of extract, see there")
    parser.add_argument(
        "--only", nargs="+", choices=["predict", "extract", "train"], default=["predict", "extract", "train"]
    )
    asked = parser.parse_args()
    # A shell lets what runs in its background ignore Ctrl-C, and all that it starts, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("| posters | command | first line, s | end, s | CPU, s |\n| ---: | --- | ---: | ---: | ---: |")
    for posters in asked.posters:
        if "predict" in asked.only:
            for ending, left in (("csv", 0), ("jsonl", 0), ("jsonl", LEFT)):
                found = predict(asked.out / f"predicted-{posters}", posters, asked.model, ending, left)
                show(posters, f"predict --out .{ending}, {left} left", found)
        data = asked.out / f"data-{posters}"
        make_data(data, posters)
        if "extract" in asked.only:
            copy = asked.out / f"found-{posters}"
            make_store(copy, data, asked.set)
            for what in ("extract, many index files", "extract, merged"):
                show(posters, what, answered(extract_command(copy, asked.set)))
        if "train" in asked.only:
            run = asked.out / f"run-{posters}"
            if not (run / "model.json").is_file():
                train(data, run)
            show(posters, "train --resume, finished", answered([*train_command(data, run, 1), "--resume"]))
            show(posters, "train --resume, stopped", resume_stopped(data, asked.out / f"stopped-{posters}"))


def show(posters: int, what: str, found: Answered) -> None:
    """A row of the table."""
    print(f"| {posters:,} | {what} | {found.first:.1f} | {found.end:.1f} | {found.cpu:.1f} |", flush=True)
    print(f"  {found.last}", file=sys.stderr)


def extract_command(data: Path, settings: Sequence[str]) -> list[str]:
    """All extractors of all branches."""
    words = [word for setting in settings for word in ("--set", setting)]
    return ["extract", str(data), "--branches", BRANCHES, "--offline", "--device", "cpu", *words]


def make_store(folder: Path, data: Path, settings: Sequence[str]) -> None:
    """The posters of `data`, and a store that has a record of each, as far as `mmposter extract` looks at it.

    The files of the records are empty. There is one for every 32 posters, and an index file beside it, as where shares
    of the posters were extracted on several machines, or the command was killed.
    """
    if (folder / "whole").is_file():
        return
    known = Dataset.load(data)
    write_dataset(folder, known.table, known.vocabulary, {"root": str(folder)})
    dataset = Dataset.load(folder)
    branches = dataset_extractors(dataset, load_config(None, settings, branches=BRANCHES), offline=True)
    hashes = [sha.decode() for sha in dataset.hashes.tolist()]
    for step in {step.name: step for branch in branches.values() for step in branch.steps}.values():
        store = ExtractorStore(dataset.features_folder, step.name, step.fingerprint())
        write_json(store.folder / "fingerprint.json", {"name": step.name, **step.fingerprint()})
        for name in ("index", "shards"):
            (store.folder / name).mkdir(exist_ok=True)
        for start in range(0, len(hashes), SIZE):
            shard = hashlib.sha256(f"{start}".encode()).hexdigest()[:32]
            (store.folder / "shards" / f"{shard}{SUFFIX}").touch()
            rows = ((sha, (shard, row)) for row, sha in enumerate(hashes[start : start + SIZE]))
            table = index_table(rows, {shard: 0})
            pq.write_table(table, store.folder / "index" / f"{shard}.parquet", write_page_checksum=True)
    (folder / "whole").touch()


def predict(folder: Path, posters: int, model: str, ending: str, left: int) -> Answered:
    """A list of so many names, of which all but `left` are in the unfinished file already."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"genres-{left}.{ending}"
    real = [draw(folder / f"real-{number}.jpg", number) for number in range(2 * LEFT)]
    made = [f"made-up/{number:08}.jpg" for number in range(posters - 2 * LEFT)]
    command = ["predict", "-", "--model", model, "--out", str(target), "--offline", "--device", "cpu"]
    command += ["--workers", "1", "--overwrite"]
    # Stopped after its first posters; its file then grows to what was finished of all.
    stopped(command, lambda: _lines(folder, target), "\n".join(real))
    (partial,) = folder.glob(f"{target.name}*.partial")
    line = partial.read_text(encoding="utf-8").splitlines()[0]
    assert real[0] in line, line
    names = [*made, *real]
    done = names[: posters - left]
    with partial.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{line.replace(real[0], name)}\n" for name in done)
    return answered(command[:-1], "\n".join(names))


def _lines(folder: Path, target: Path) -> bool:
    return any(file.stat().st_size for file in folder.glob(f"{target.name}*.partial"))


def draw(path: Path, seed: int) -> str:
    """A picture of noise, in the size of a poster."""
    if not path.exists():
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (222, 150, 3), np.uint8)).save(path)
    return str(path)


def resume_stopped(data: Path, run: Path) -> Answered:
    """A training that was stopped once its first checkpoint was there; resumed, and stopped when it says so."""
    shutil.rmtree(run, ignore_errors=True)
    command = train_command(data, run, 2)  # of few posters the first epoch ends before a checkpoint within it
    stopped(command, (run / "last.safetensors").exists)
    return answered([*command, "--resume"], stop=True)


def stopped(command: Sequence[str], ready: Callable[[], bool], given: str = "") -> None:
    """Run a command until it is ready to be stopped, and stop it as Ctrl-C does."""
    program = _start(command, given)
    while program.poll() is None and not ready():
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate()
    if not ready():
        raise SystemExit(f"{' '.join(command)}\n{said.decode()}")


def answered(command: Sequence[str], given: str = "", *, stop: bool = False) -> Answered:
    """Run a command to its end, or stop it after its first line.

    Raises:
        SystemExit: its exit code was not 0.
    """
    began = time.perf_counter()
    program = _start(command, given)
    assert program.stderr is not None
    first, lines = 0.0, []
    for line in program.stderr:
        lines.append(line.decode().rstrip())
        if len(lines) == 1:
            first = time.perf_counter() - began
            if stop:
                program.send_signal(signal.SIGINT)
    _, status, usage = os.wait4(program.pid, 0)
    end = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) and not stop:
        raise SystemExit("\n".join([" ".join(command), *lines]))
    return Answered(first or end, end, usage.ru_utime + usage.ru_stime, lines[-1] if lines else "")


def _start(command: Sequence[str], given: str) -> subprocess.Popen[bytes]:
    program = subprocess.Popen(
        [*MMPOSTER, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert program.stdin is not None
    program.stdin.write(given.encode())
    program.stdin.close()
    program.stdin = None  # `communicate` would write to it
    return program


if __name__ == "__main__":
    main()
