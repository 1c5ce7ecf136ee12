"""Good, bad and hostile requests from several clients at once; every answer is checked.

    python benchmarks/serving.py POSTERS --model RUN --seconds 60 --clients 8

It starts `mmposter serve` itself; with `--url` it takes one that runs. A good request (1 to 4 posters) must get status
200 and the scores that `PosterClassifier` gives when it is called directly (which is done first, and takes its time);
on the page, an answer with the posters' cards. A bad or hostile one must get its own status and code; connections that
never finish their headers, and bodies that stop in the middle, must be ended in time (`serving_strangers.py`). At the
end nothing of them may be left inside the server, its memory (Linux) may not have grown by more than `--growth` since
10 s after the start, and where it was started here: on disk lie the accepted uploads alone; SIGTERM ends it with exit
code 0 and leaves nothing on disk; its log has no traceback. Exit code 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import requests
from serving_process import start_server
from serving_requests import DATA, JOIN, PATIENCE_S, PREDICT, REQUESTS, UPLOAD
from serving_strangers import holding

from mmposter import PosterClassifier
from mmposter.engines.libraries import go_offline, prepare_libraries
from mmposter.images.listing import image_files

TOLERANCE = 1e-5
READING_TOLERANCE = 5e-3
"""With `ocr`: lines of text are read in batches with those of other posters, and come out a little different."""
_LET_GO_S = 60.0

Scores = dict[str, float]
Files = list[tuple[str, tuple[str, bytes]]]


def main() -> None:
    """Run the clients and print what they saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posters", type=Path, help="folder of posters")
    parser.add_argument("--url", help="a server that runs; default: one is started")
    parser.add_argument("--model", required=True, help="the run that the server serves")
    parser.add_argument("--branches", help="that the server looks through; default: all")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--count", type=int, default=24, help="different posters that are sent")
    parser.add_argument("--good", type=float, default=0.5, help="share of good requests")
    parser.add_argument("--growth", type=float, default=0.1, help="of the memory that is allowed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--online", action="store_true", help="the direct calls may touch the network")
    given = parser.parse_args()
    prepare_libraries()
    go_offline(not given.online)
    with ExitStack() as stack:
        started = None
        if given.url is None:
            started = stack.enter_context(start_server(given.model, given.branches, offline=not given.online))
        url = given.url if started is None else started.url
        bench = Bench.make(
            url, given.posters, given.model, given.branches, given.count, given.seed, offline=not given.online
        )
        wrong = bench.run(given.clients, given.seconds, given.good, given.seed)
        wrong += bench.after(given.growth)
        if started is not None:
            wrong += started.after(bench.uploaded)
    for line in wrong[:20]:
        print("WRONG", line)
    print(f"{len(wrong)} wrong" if wrong else "all as they should be")
    sys.exit(bool(wrong))


@dataclass
class Bench:
    """The server, what is sent to it, and what must come back.

    Attributes:
        url: of the server.
        posters: bytes of each poster.
        branches: sets that are asked for; None: all.
        all_branches: of the model.
        expected: scores by set of branches and poster.
        limits: of the server.
        latencies: seconds by kind of request.
        difference: the largest between a score and the direct call's.
        memory: bytes of the server 10 s after the start.
        uploaded: posters that the page has accepted.
    """

    url: str
    posters: list[bytes]
    branches: list[str | None]
    all_branches: tuple[str, ...]
    expected: dict[tuple[str | None, int], Scores]
    limits: dict[str, int]
    latencies: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    difference: dict[str, float] = field(default_factory=lambda: {"with ocr": 0.0, "without ocr": 0.0})
    memory: float = 0.0
    uploaded: list[str] = field(default_factory=list)

    @classmethod
    def make(
        cls, url: str, folder: Path, model: str, only: str | None, count: int, seed: int, *, offline: bool
    ) -> Bench:
        """Ask the server for its limits, and the library for the right answers."""
        paths = random.Random(seed).sample(image_files(folder), count)
        served = requests.get(f"{url}/api/v1/model", timeout=PATIENCE_S).json()
        chosen = None if only is None else only.split(",")
        classifier = PosterClassifier.load(model, branches=chosen, offline=offline)
        if list(classifier.branches) != served["branches"] or list(classifier.genres) != served["genres"]:
            raise SystemExit(f"{url} serves another model than {model}")
        branches: list[str | None] = [None, *classifier.branches]
        if len(classifier.branches) > 2:
            branches.append(",".join(classifier.branches[:2]))
        print(f"direct calls: {count} posters through {len(branches)} sets of branches", flush=True)
        expected = {}
        for names in branches:
            chosen = None if names is None else names.split(",")
            for row, found in enumerate(classifier.predict(paths, branches=chosen)):
                expected[names, row] = found.scores
        return cls(
            url, [path.read_bytes() for path in paths], branches, classifier.branches, expected, served["limits"]
        )

    def run(self, clients: int, seconds: float, good: float, seed: int) -> list[str]:
        """Let the clients loose; what was wrong."""
        wait_until(lambda: requests.get(f"{self.url}/health", timeout=PATIENCE_S).status_code == 200)
        begun = time.monotonic()
        timer = threading.Timer(10, self._remember_memory)
        timer.start()
        with holding(self.url, self.posters[0]) as holders, ThreadPoolExecutor(clients) as pool:
            found = pool.map(
                lambda number: self._client(random.Random(seed + number), begun + seconds, good), range(clients)
            )
            wrong = [line for lines in found for line in lines]
        timer.join()
        wrong += holders.wrong
        print(f"held open meanwhile: {holders.said()}")
        print(f"{sum(self.statuses.values())} requests in {time.monotonic() - begun:.1f} s from {clients} clients")
        print(f"{'request':30} {'answer':>28} {'count':>6} {'p50':>8} {'p95':>8}")
        for (kind, answer), count in sorted(self.statuses.items()):
            p50, p95 = np.percentile(self.latencies[kind], [50, 95])
            print(f"{kind:30} {answer:>28} {count:6} {p50:7.3f}s {p95:7.3f}s")
        differences = ", ".join(f"{value:.1e} {name}" for name, value in self.difference.items())
        print(f"largest difference of a score to the direct call: {differences}")
        return wrong

    def after(self, growth: float) -> list[str]:
        """What is wrong with the server when all clients have gone."""
        wrong = []
        begun = time.monotonic()
        requests.get(f"{self.url}/health", timeout=PATIENCE_S).raise_for_status()
        print(f"/health answers in {time.monotonic() - begun:.3f} s")
        try:
            wait_until(lambda: self._metric("inside_requests") == 0 == self._metric("inside_bytes"), _LET_GO_S)
        except TimeoutError:
            wrong.append(f"{self._metric('inside_requests'):.0f} requests are still inside")
        last = self._metric("resident_bytes")
        print(f"memory of the server: {self.memory / 1e6:.0f} MB after 10 s, {last / 1e6:.0f} MB at the end")
        if last > self.memory * (1 + growth):
            wrong.append(f"the memory has grown by {last / self.memory - 1:.0%}")
        return wrong

    def _client(self, rng: random.Random, end: float, good: float) -> list[str]:
        wrong = []
        bad = itertools.cycle(rng.sample(list(REQUESTS), len(REQUESTS)))
        with requests.Session() as session:
            while time.monotonic() < end:
                kind = rng.choice(["good", "good", "good on the page"]) if rng.random() < good else next(bad)
                begun = time.monotonic()
                try:
                    if kind == "good":
                        answer = self._good(session, rng)
                    elif kind == "good on the page":
                        answer = self._good_page(session, rng)
                    else:
                        answer = REQUESTS[kind](self, session)
                except (requests.RequestException, OSError, AssertionError) as error:
                    answer = f"{type(error).__name__}"
                    wrong.append(f"{kind}: {error}")
                self.latencies[kind].append(time.monotonic() - begun)
                self.statuses[kind, answer] += 1
        return wrong

    def _good(self, session: requests.Session, rng: random.Random) -> str:
        rows = [rng.randrange(len(self.posters)) for _ in range(rng.randint(1, 4))]
        branches = rng.choice(self.branches)
        query = {} if branches is None else {"branches": branches}
        answer = session.post(self.url + PREDICT, params=query, files=self._files(rows), timeout=PATIENCE_S)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
        entries = answer.json()["posters"]
        assert [entry["name"] for entry in entries] == [f"{row}.jpg" for row in rows], "other names"
        for row, entry in zip(rows, entries, strict=True):
            expected = self.expected[branches, row]
            assert entry["scores"].keys() == expected.keys(), entry["error"]
            off = max(abs(entry["scores"][genre] - score) for genre, score in expected.items())
            reads = "ocr" in (branches or self.all_branches)
            name = "with ocr" if reads else "without ocr"
            self.difference[name] = max(self.difference[name], off)
            assert off < (READING_TOLERANCE if reads else TOLERANCE), (
                f"a score of poster {row} through {branches} is off by {off}"
            )
        return "200"

    def _good_page(self, session: requests.Session, rng: random.Random) -> str:
        """As a browser does it: upload, ask, fetch."""
        rows = [rng.randrange(len(self.posters)) for _ in range(rng.randint(1, 4))]
        answer = session.post(f"{self.url}{UPLOAD}", files=self._files(rows), timeout=PATIENCE_S)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
        words = answer.json()
        self.uploaded += words
        visitor = f"{rng.randrange(2**48):x}"
        data = [[{"path": word, "meta": {"_type": "gradio.FileData"}} for word in words], list(self.all_branches)]
        body = {"fn_index": 0, "session_hash": visitor, "data": data}
        answer = session.post(f"{self.url}{JOIN}", json=body, timeout=PATIENCE_S)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:300]}"
        with session.get(f"{self.url}{DATA}?session_hash={visitor}", stream=True, timeout=PATIENCE_S) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix(b"data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    html = message["output"]["data"][0]
                    assert message["success"], message
                    assert html.count('class="mm-card"') == len(rows), html[:300]
                    for row in rows:
                        surest = max(self.expected[None, row].values())
                        assert f"{surest:.2f}" in html, f"{surest:.2f} is not on the page: {html[:300]}"
                    return "200"
        raise AssertionError("the page gave no answer")

    def _files(self, rows: Sequence[int]) -> Files:
        return [("posters", (f"{row}.jpg", self.posters[row])) for row in rows]

    def _remember_memory(self) -> None:
        self.memory = self._metric("resident_bytes")

    def _metric(self, name: str) -> float:
        text = requests.get(f"{self.url}/metrics", timeout=PATIENCE_S).text
        found = re.search(rf"^mmposter_{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"there is no mmposter_{name} in /metrics"
        return float(found[1])


def wait_until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Look every half second.

    Raises:
        TimeoutError: it has not become true.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)


if __name__ == "__main__":
    main()
