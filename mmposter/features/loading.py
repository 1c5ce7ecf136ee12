"""Posters read ahead in a few threads: decoded once each, and prepared once for all who want the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mmposter.features.extractors.base import Preparation
from mmposter.features.index import Failure
from mmposter.images.picture import Picture

Item = TypeVar("Item")
Decoded = Picture | Failure
Prepared = dict[Preparation, Any] | Failure
"""What each preparation made of one poster (a `Failure` where it raised); or why the poster could not be decoded."""

_MAX_THREADS = 8


@dataclass(frozen=True)
class PosterWish(Generic[Item]):
    """One poster, and what is to be made of it."""

    item: Item
    preparations: tuple[Preparation, ...]


class Loader:
    """A few threads that decode and prepare; more than eight are of no use."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(min(threads, _MAX_THREADS), thread_name_prefix="decode")

    def load(self, wishes: Iterable[PosterWish[Item]], decode: Callable[[Item], Decoded]) -> list[Future[Prepared]]:
        """Begin; `decode` is called in the threads."""
        return [self._pool.submit(_prepare, wish, decode) for wish in wishes]

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something else in these threads, such as reading records."""
        return self._pool.submit(work)

    def close(self) -> None:
        """Forget what has not begun, and wait for the rest."""
        self._pool.shutdown(cancel_futures=True)


def prepared(posters: Sequence[Prepared], preparation: Preparation) -> list[Any]:
    """Of each poster what `preparation` made of it, or its failure."""
    return [poster if isinstance(poster, Failure) else poster[preparation] for poster in posters]


def raised(error: Exception) -> Failure:
    """The failure of a poster on which a model or its preparation raised."""
    return Failure("extractor_error", f"{type(error).__name__}: {error}")


def _prepare(wish: PosterWish[Item], decode: Callable[[Item], Decoded]) -> Prepared:
    if not wish.preparations:
        return {}
    poster = decode(wish.item)
    if isinstance(poster, Failure):
        return poster
    made: dict[Preparation, Any] = {}
    for preparation in wish.preparations:
        try:
            made[preparation] = preparation(poster)
        except Exception as error:
            made[preparation] = raised(error)
    return made
