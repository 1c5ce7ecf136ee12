"""Many pictures from their links: several at a time, few from one host, nothing twice."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmposter.data.downloading.fetch import HOPS, Answer, Fetcher
from mmposter.data.downloading.ledger import Ledger
from mmposter.data.downloading.options import DownloadOptions, host_of, split_link
from mmposter.data.downloading.schedule import DownloadJob, HostSchedule
from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.outputs import one_writer
from mmposter.progress import progress, warn

_THREADS = 32
_LAST_WORDS_S = 1.0  # how long an interrupted run waits for the answers that are on their way


@dataclass(frozen=True)
class Outcome:
    """Why a picture did not come; `saved` has no reason."""

    reason: str = ""
    message: str = ""

    @property
    def saved(self) -> bool:
        """Whether it came."""
        return not self.reason


def download(
    links: Mapping[Path, str], folder: Path, options: DownloadOptions, *, quiet: bool = False
) -> dict[Path, Outcome]:
    """Download each link to its file; a link that several files share is asked once.

    A file appears whole and checked (it decodes to its end) or not at all. What was saved, and which links are dead for
    good, stands in `folder` the moment it is known, so that after any stop the same call goes on where it was.

    Args:
        links: file -> address. Files that are there should not be among them: they would be downloaded again.
        folder: holds the ledger; made if it is not there.

    Raises:
        UserError: the folder cannot be written, or another process downloads into it.
    """
    if options.offline:
        known = Ledger(folder).dead
        offline = Outcome("not_asked", "it was not asked for: --offline")
        return {
            path: Outcome(*known[url]) if (url := options.address(link)) in known else offline
            for path, link in links.items()
        }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_writer(folder):
            return _Run(folder, options).all(links, quiet=quiet)
    except OSError as error:
        raise UserError(
            f"the posters' folder {folder} cannot be written ({error.strerror or error}).\n"
            "Mend that, or give another one: --posters FOLDER. What was downloaded stays."
        ) from error


class _Run:
    def __init__(self, folder: Path, options: DownloadOptions) -> None:
        self._options = options
        self._ledger = Ledger(folder)
        self._fetch = Fetcher(options)
        self._schedule = HostSchedule(options.connections, options.hopeless)
        self._results: queue.SimpleQueue[tuple[DownloadJob, Outcome] | BaseException] = queue.SimpleQueue()

    def all(self, links: Mapping[Path, str], *, quiet: bool) -> dict[Path, Outcome]:
        outcomes: dict[Path, Outcome] = {}
        jobs: dict[str, DownloadJob] = {}
        for path, link in links.items():
            address = self._options.address(link)
            if not self._options.retry_dead and address in self._ledger.dead:
                outcomes[path] = Outcome(*self._ledger.dead[address])
            elif split_link(address) is None:
                outcomes[path] = Outcome("bad_link", f"{link[:200]!r} is no link of http or https")
            else:
                suspect = address in self._ledger.later
                jobs.setdefault(address, DownloadJob(address, address, [], suspect)).targets.append(path)
        # Last those that failed before: where their host is down, the others show it sooner.
        for job in sorted(jobs.values(), key=lambda job: job.suspect):
            self._schedule.add(job)
        hosts = {host_of(address) for address in jobs}
        count = min(_THREADS, len(jobs), self._options.connections * len(hosts))
        # Daemons: after Ctrl-C nobody waits for a server's time-out. A file that is half written has another name.
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            with progress("downloading posters", len(jobs), quiet=quiet) as ticker:
                dead = 0
                for _ in jobs:
                    result = self._results.get()
                    if isinstance(result, BaseException):
                        raise result
                    job, outcome = result
                    outcomes |= dict.fromkeys(job.targets, outcome)
                    dead += not outcome.saved
                    ticker.advance(note=f"({dead} failed)" if dead else "")
        except BaseException:
            self._schedule.stop()
            for thread in threads:
                thread.join(_LAST_WORDS_S / len(threads))
            raise
        self._tell(outcomes, quiet)
        return outcomes

    def _work(self) -> None:
        try:
            while (job := self._schedule.take()) is not None:
                self._settle(job, self._fetch(job.url))
        except BaseException as error:  # such as a full disk: the main thread raises it
            self._results.put(error)

    def _settle(self, job: DownloadJob, answer: Answer) -> None:
        """Go on with a job after an answer: save it, put it back, or give it up."""
        if answer.blames_host:
            # At a run's end, and in a second run, there are mostly links left that fail by themselves: another attempt
            # says nothing new of the host, and what failed in an earlier run only if nobody answers.
            counts = job.attempts == 0 and (answer.unanswered or not job.suspect)
            for orphan in self._schedule.failed(job, answer.message, answer.wait, counts=counts):
                self._give_up(orphan)
        else:
            self._schedule.answered(job, works=answer.kind != "again")
        if answer.kind == "again":
            job.attempts += 1
            if job.attempts >= self._options.attempts:
                message = f"{answer.message}, {job.attempts} times"
                self._finish(job, "later", Outcome(answer.reason, message))
                return
            wait = self._options.backoff * 2 ** (job.attempts - 1) * random.uniform(0.5, 1.5)
            if not self._schedule.put_back(job, max(wait, answer.wait)):
                self._give_up(job)
        elif answer.kind == "moved":
            job.hops += 1
            job.url = answer.target
            if job.hops > HOPS:
                self._finish(job, "dead", Outcome("redirect_loop", f"it is redirected more than {HOPS} times"))
            elif not self._schedule.put_back(job):
                self._give_up(job)
        elif answer.kind == "picture":
            for path in job.targets:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(answer.data)
            self._finish(job, "saved", Outcome())
        else:
            self._finish(job, "dead", Outcome(answer.reason, answer.message))

    def _give_up(self, job: DownloadJob) -> None:
        # The ledger says nothing: the link itself was not at fault, and the next run asks it.
        self._results.put((job, Outcome("host_given_up", f"not asked: {self._schedule.given_up(job)}")))
        self._schedule.finished()

    def _finish(self, job: DownloadJob, status: str, outcome: Outcome) -> None:
        files = [path.name for path in job.targets]
        self._ledger.record(job.link, status, reason=outcome.reason, message=outcome.message, files=files)
        self._results.put((job, outcome))
        self._schedule.finished()

    @staticmethod
    def _tell(outcomes: Mapping[Path, Outcome], quiet: bool) -> None:
        """One line for each host that was given up: with it, many posters are missing for one reason."""
        if quiet:
            return
        messages = [outcome.message for outcome in outcomes.values() if outcome.reason == "host_given_up"]
        for message in dict.fromkeys(messages):
            warn(f"{messages.count(message)} posters were {message}. The same command asks for them again.")
