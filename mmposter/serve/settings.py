"""The limits of a server."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000
_PART_HEADERS = 4096  # bytes of a multipart body for each poster, beside its own
_HELD_MB = 512
_EVENT_BYTES = 16_384


@dataclass(frozen=True)
class ServeSettings:
    """What a client may ask for, and how much is held at a time."""

    max_posters: int = 16  # of one request
    max_mb: float = 10.0  # size of one poster's file in megabytes (10^6 bytes)
    queue: int = 64  # requests that are read, wait or are computed at a time; one more is refused
    threads: int | None = None  # CPU threads of the model; None: as many as the libraries take

    @property
    def max_poster_bytes(self) -> int:
        """Size of one poster's file."""
        return int(self.max_mb * MEGABYTE)

    @property
    def max_body_bytes(self) -> int:
        """Size of a request's body; one that says that it is longer is not read."""
        return self.max_posters * self.max_poster_bytes + self.max_other_bytes

    @property
    def max_other_bytes(self) -> int:
        """Bytes of a body that are of no poster: boundaries, headers, and what is there for no good reason."""
        return self.max_posters * _PART_HEADERS

    @property
    def max_held_bytes(self) -> int:
        """Bytes of all bodies that are held at a time: a queue full of the largest requests would fill the memory.

        Also of all posters that the page keeps on disk; beyond them the oldest are let go.
        """
        return max(_HELD_MB * MEGABYTE, self.max_body_bytes)

    @property
    def max_event_bytes(self) -> int:
        """Size of what the page sends beside posters: which are shown, and what is asked about them."""
        return _EVENT_BYTES + self.max_other_bytes
