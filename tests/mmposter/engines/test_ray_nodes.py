"""A cluster of real Ray nodes on loopback: nodes die and join in the middle, and the result is that of one process."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmposter.engines import run
from mmposter.errors import UserError

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")

SOURCE = '''
import os
import time

import numpy as np

from mmposter.features.extractors import FeatureExtractor


class Slow(FeatureExtractor):
    """The mean colour of each poster, half a second a part on a node, of which the log has the name."""

    name = "slow"

    def __init__(self, log):
        self.log = log

    def fingerprint(self):
        return {"version": 1}

    def start(self):
        pass

    def metadata(self):
        return {}

    def __call__(self, batch):
        if node := os.environ.get("MMPOSTER_TEST_NODE"):
            time.sleep(0.5)
            with open(self.log, "a") as log:
                log.write(node + "\\n")
        return [{"mean": poster.mean(axis=(0, 1), dtype=np.float64)[None]} for poster in batch]

    def empty(self):
        return None

    def collate(self, records):
        return {}
'''


class Nodes:
    """Nodes of one CPU each, at 127.0.0.2 and on; the first is the head."""

    def __init__(self, folder: Path, importable: Path, port: int) -> None:
        self.address = f"127.0.0.2:{port}"
        self._folder, self.importable, self._port = folder, importable, port
        self._nodes: list[subprocess.Popen[bytes]] = []

    def add(self) -> int:
        """Start a node and wait for it; two that start at once on one machine would take one another's sockets."""
        number = len(self._nodes)
        log = self._folder / f"node{number}.log"
        where = [f"--address={self.address}"]
        if number == 0:
            where = ["--head", f"--port={self._port}", f"--temp-dir={self._folder}", "--include-dashboard=false"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block", "--disable-usage-stats"]
        command += [f"--node-ip-address=127.0.0.{number + 2}", "--num-cpus=1", "--object-store-memory=80000000"]
        seen = {"PYTHONPATH": str(self.importable), "MMPOSTER_TEST_NODE": f"node{number}"}
        with log.open("wb") as output:
            self._nodes.append(
                subprocess.Popen(
                    command, env={**os.environ, **seen}, stdout=output, stderr=output, start_new_session=True
                )
            )
        wait_until(lambda: "Ray runtime started" in log.read_text() or self._nodes[-1].poll() is not None, 180)
        assert self._nodes[-1].poll() is None, log.read_text()[-2000:]
        return number

    def kill(self, number: int) -> None:
        """As a power cut would: all of its processes at once."""
        node = self._nodes[number]
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        for number in reversed(range(len(self._nodes))):
            self.kill(number)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def nodes(tmp_path, monkeypatch) -> Iterator[Nodes]:
    """A head alone, which RAY_ADDRESS names."""
    importable = tmp_path / "importable"
    importable.mkdir()
    (importable / "mmposter_slow_extractor.py").write_text(SOURCE)
    for name, value in {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
        monkeypatch.setenv(name, value)
    # Sockets lie in this folder, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    cluster = Nodes(folder, importable, 20000 + os.getpid() % 10000)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        cluster.add()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def posters(poster_files):
    import hashlib

    from mmposter.features.extract import StoredPoster

    paths = poster_files(240)  # two a part
    return [StoredPoster(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


DRIVER = """
import pickle, sys
from pathlib import Path
sys.path.insert(0, {importable!r})
from mmposter_slow_extractor import Slow
from mmposter.features import parts
from mmposter.features.extract import extract
from mmposter.features.store import ExtractorStore
parts.SIZE = 2
posters = pickle.loads(Path({posters!r}).read_bytes())
extract(posters, [Slow({log!r})], Path({root!r}), threads=1, workers={workers!r}, engine={engine!r}, quiet=True)
store = ExtractorStore(Path({root!r}), "slow", Slow("").fingerprint())
Path({root!r}, "records").write_bytes(pickle.dumps(store.read([poster.sha256 for poster in posters])))
"""


def extracting(nodes, folder, log, workers, engine):
    """A process that extracts the posters into a store; Ray reads its settings once a process."""
    there = {"importable": str(nodes.importable), "posters": str(folder.parent / "listed"), "root": str(folder)}
    code = DRIVER.format(**there, log=str(log), workers=workers, engine=engine)
    folder.mkdir()
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_of_three_nodes_die_and_one_joins_and_the_store_is_that_of_one_process(nodes, posters, tmp_path):
    (tmp_path / "listed").write_bytes(pickle.dumps(posters))
    log = tmp_path / "log"
    log.touch()
    nodes.add()
    nodes.add()
    process = extracting(nodes, tmp_path / "several", log, "auto", "ray")
    wait_until(lambda: {"node0", "node1", "node2"} <= set(log.read_text().split()) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    nodes.kill(1)
    nodes.kill(2)
    nodes.add()
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert said == ""  # Ray speaks of dead nodes there, where a command's result stands
    assert "was lost; its parts were computed again" in errors
    done = log.read_text().split()
    assert set(done) == {"node0", "node1", "node2", "node3"}
    assert len(done) > 120  # what was lost was computed again
    extracting(nodes, tmp_path / "alone", tmp_path / "log-alone", 1, "local").communicate()
    several, alone = (pickle.loads((tmp_path / name / "records").read_bytes()) for name in ("several", "alone"))
    assert [record["mean"].tobytes() for record in several] == [record["mean"].tobytes() for record in alone]


def test_a_head_that_dies_ends_the_run_with_a_message(nodes, posters, tmp_path):
    (tmp_path / "listed").write_bytes(pickle.dumps(posters))
    log = tmp_path / "log"
    log.touch()
    process = extracting(nodes, tmp_path / "store", log, "auto", "ray")
    wait_until(lambda: bool(log.read_text()) or process.poll() is not None)
    nodes.kill(0)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert "the head of the Ray cluster, 127.0.0.2:" in errors
    assert "the same command goes on" in errors


@pytest.fixture
def local_tasks(tasks, monkeypatch):
    """The module of tasks, for the workers of a Ray that is made for a run."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(tasks.__file__))
    return tasks


def test_a_part_that_kills_its_worker_each_time_ends_the_run_and_the_others_are_kept(local_tasks):
    found = []
    with pytest.raises(
        UserError, match=r"a Ray worker died \(4 times on the same parts\)\.\nWhat was finished is kept"
    ):
        found.extend(run(local_tasks.Echo(), [0, 1, "kill", 3], workers=1, threads=1, engine="ray"))
    assert [part for part, _ in found] == [0, 1]
    assert not ray.is_initialized()


def test_an_error_of_the_task_comes_back_as_it_was_and_is_not_tried_again(local_tasks, tmp_path):
    with pytest.raises(ValueError, match="no good") as caught:
        list(run(local_tasks.Echo(str(tmp_path)), [0, 1, "value"], workers=1, threads=1, engine="ray"))
    assert "in a worker" in caught.value.__notes__[0]


def test_processes_and_their_models_are_used_again_by_call_after_call(local_tasks):
    found = list(run(local_tasks.Echo(pause=0.02), range(160), workers=2, threads=1, engine="ray"))
    assert [part for part, _ in found] == list(range(160))
    assert 1 <= len({pid for _, pid in found}) <= 3  # of 20 calls


def test_predict_goes_on_without_a_node(nodes, world, tmp_path):
    from mmposter import PosterClassifier
    from mmposter.training.train import train

    train(
        world.config("train.epochs=1", branches="cnn,style"), world.dataset, tmp_path / "run", offline=True, quiet=True
    )
    folder = tmp_path / "many"
    folder.mkdir()
    sources = [world.dataset.image_path(row) for row in range(64)]
    for number in range(1920):
        os.link(sources[number % 64], folder / f"{number:04}.png")
    nodes.add()
    out = tmp_path / "predictions.jsonl"
    command = [sys.executable, "-m", "mmposter", "predict", str(folder), "--model", str(tmp_path / "run"), "--offline"]
    command += ["--device", "cpu", "--engine", "ray", "--threads", "1", "--out", str(out), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(tmp_path.glob("predictions.jsonl.*partial")) or process.poll() is not None)
    wait_until(
        lambda: process.poll() is not None or any(f.stat().st_size for f in tmp_path.glob("predictions.jsonl.*partial"))
    )
    assert process.poll() is None, "the work was done before the kill: make it longer"
    nodes.kill(1)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert said.strip() == str(out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(line["path"]).name for line in lines] == [f"{number:04}.png" for number in range(1920)]
    alone = PosterClassifier.load(tmp_path / "run", device="cpu", offline=True).predict(sources)
    for number, line in enumerate(lines):
        assert line["scores"] == pytest.approx(alone[number % 64].scores, abs=1e-4)
