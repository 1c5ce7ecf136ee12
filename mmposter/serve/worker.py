"""The one thread that owns the model, and the jobs that wait for it."""

from __future__ import annotations

import io
import threading
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from PIL import Image

from mmposter.images.formats import readable_formats
from mmposter.images.reading import MAX_PIXELS
from mmposter.serve.errors import logged, stopping
from mmposter.serve.multipart import UploadedPoster
from mmposter.serve.work import Work

if TYPE_CHECKING:
    from mmposter.explain.classifier import PosterClassifier

State = Literal["loading", "ready", "stopped"]

_LONGEST_WAIT_S = 120  # that a client is told to stay away
_FIRST_GUESS_S = 1.0  # a poster, before the first was timed


class ServeJob:
    """Posters of one request.

    Attributes:
        posters: to work on.
        work: what is to be done with each.
        future: one result a poster, in order; or the error that ended the job. Never in the state "running", so that
            it can be cancelled at any time.
        begun: how many posters went to the model; only the worker's thread changes it.
    """

    def __init__(self, posters: Sequence[UploadedPoster], work: Work) -> None:
        self.posters, self.work = tuple(posters), work
        self.future: Future[list[Any]] = Future()
        self.begun = 0
        self._results: dict[int, Any] = {}

    def put(self, index: int, result: Any) -> None:
        """The result of one poster; the last one ends the job."""
        self._results[index] = result
        if len(self._results) == len(self.posters):
            self.end([self._results[number] for number in range(len(self.posters))])

    def end(self, result: list[Any] | BaseException) -> None:
        """Give the answer, unless there is one already, or nobody waits for one."""
        with suppress(InvalidStateError):
            if isinstance(result, BaseException):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)


_Batch = list[tuple[ServeJob, int]]


class Worker:
    """Computes jobs one batch after another, the oldest first, in a thread of its own.

    Models are not safe in several threads: only this one touches the classifier. Posters of several jobs that ask for
    the same go through the model together; nobody waits for company.

    Args:
        classifier: whose frozen models are not loaded yet; the thread does that before its first job.
        threads: CPU threads of the model; None: as many as the libraries take.

    Attributes:
        ended: done when the thread has ended; holds the error if the models cannot be loaded.
    """

    def __init__(self, classifier: PosterClassifier, threads: int | None = None) -> None:
        self._classifier, self._threads = classifier, threads
        self._changed = threading.Condition()
        self._waiting: deque[ServeJob] = deque()
        self._unfinished: WeakSet[ServeJob] = WeakSet()  # and finished ones that somebody still looks at
        self._ready = self._closed = False
        self._in_work = 0
        self._seconds = _FIRST_GUESS_S  # a poster
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.ended: Future[None] = Future()

    def start(self) -> None:
        """Begin to load the models."""
        self._thread.start()

    @property
    def state(self) -> State:
        """Whether jobs are computed."""
        return "stopped" if self._closed else "ready" if self._ready else "loading"

    @property
    def waiting(self) -> int:
        """Posters that have not begun."""
        with self._changed:
            return sum(len(job.posters) - job.begun for job in self._waiting)

    def seconds_left(self) -> int:
        """About how long all that is here will take, between 1 second and two minutes."""
        return max(1, min(_LONGEST_WAIT_S, round(self._seconds * (self.waiting + self._in_work))))

    def submit(self, posters: Sequence[UploadedPoster], work: Work) -> ServeJob:
        """Put posters at the end of the queue.

        Raises:
            RequestError: 503, the server is stopping.
        """
        job = ServeJob(posters, work)
        with self._changed:
            if self._closed:
                raise stopping()
            self._waiting.append(job)
            self._unfinished.add(job)
            self._changed.notify()
        return job

    def drop(self, job: ServeJob) -> None:
        """Nobody waits for a job any more: what has not begun never will, and its posters are let go."""
        job.future.cancel()
        with self._changed, suppress(ValueError):
            self._waiting.remove(job)

    def close(self) -> None:
        """Take no more jobs, and tell all that have no answer that the server is stopping."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
            left = list(self._unfinished)
        for job in left:
            job.end(stopping())

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            # A blank poster: every model is loaded, and has run once, before the server says that it is ready.
            self._classifier.predict(Image.new("RGB", (64, 96), "grey"), threads=self._threads)
            self._ready = True
            while batch := self._next():
                begun = perf_counter()
                self._in_work = len(batch)
                self._compute(batch)
                self._seconds += 0.2 * ((perf_counter() - begun) / len(batch) - self._seconds)
                self._in_work = 0
                del batch  # its posters would be held until the next ones come
        except BaseException as raised:
            error = raised
            if self._ready:
                logged(raised, "the model's thread")
        self.close()
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    def _next(self) -> _Batch:
        """Posters of the oldest job, and of others that ask for the same; none when the worker was closed."""
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return []
                jobs = list(self._waiting)
            batch = _take(jobs)
            with self._changed:
                self._waiting = deque(job for job in self._waiting if job.begun < len(job.posters))
            if batch:
                return batch

    def _compute(self, batch: _Batch) -> None:
        """Work on a batch; an error that one job brings with it is not the others'."""
        jobs = dict.fromkeys(job for job, _ in batch)
        try:
            results = batch[0][0].work(self._classifier, [job.posters[index].data for job, index in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results of {len(batch)} posters")
        except Exception as error:
            if len(jobs) == 1:
                batch[0][0].end(error)
                return
            for alone in jobs:
                self._compute([(job, index) for job, index in batch if job is alone])
            return
        for (job, index), result in zip(batch, results, strict=True):
            job.put(index, result)


def _take(jobs: Sequence[ServeJob]) -> _Batch:
    """A batch of posters for which the same is asked, up to the pixels of one poster of the largest size.

    Decoded posters lie in memory beside each other: 32 of the largest would take ten gigabytes.
    """
    batch: _Batch = []
    pixels = 0
    work: Work | None = None
    for job in jobs:
        if job.future.done():  # dropped, or failed on an earlier part
            job.begun = len(job.posters)
        if work is not None and job.work != work:
            continue
        while job.begun < len(job.posters):
            work = job.work
            if len(batch) == work.batch:
                return batch
            pixels += _pixels(job.posters[job.begun].data)
            if batch and pixels > MAX_PIXELS:
                return batch
            batch.append((job, job.begun))
            job.begun += 1
    return batch


def _pixels(data: bytes) -> int:
    """Width times height as a file's header promises; the most there may be where it cannot be read."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=readable_formats()) as image:
            return min(image.width * image.height, MAX_PIXELS)
    return MAX_PIXELS
