"""What a download may do, and how far it goes."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from mmposter.errors import UserError


@dataclass(frozen=True)
class DownloadOptions:
    """Manners and limits of a download. The defaults suit a public server.

    Raises:
        UserError: values that mean nothing; all problems at once.
    """

    mirror: str | None = None  # server that is asked in place of the links' own hosts
    offline: bool = False  # ask nobody
    retry_dead: bool = False  # ask links again that were found dead before
    connections: int = 4  # at most, to one host at a time
    timeout: float = 20.0  # seconds to connect, and between two pieces of an answer
    attempts: int = 4  # of a link whose host is busy, slow or unreachable
    backoff: float = 0.5  # seconds before the second attempt; doubles each time, with jitter of half and half more
    longest_wait: float = 60.0  # seconds; a longer Retry-After is cut to it
    hopeless: int = 20  # failures of a host in a row after which its other links are left alone
    max_bytes: int = 20 * 2**20  # of one picture

    def __post_init__(self) -> None:
        problems = []
        if self.connections < 1:
            problems.append(f"--connections must be 1 or more, got {self.connections}")
        if not self.timeout > 0:
            problems.append(f"--timeout must be more than 0 seconds, got {self.timeout:g}")
        if self.mirror is not None and split_link(self.mirror) is None:
            problems.append(f"--mirror must be an address such as http://127.0.0.1:8000, got {self.mirror!r}")
        if self.mirror is not None and self.offline:
            problems.append("--mirror asks a server and --offline asks none: give one of them")
        if problems:
            raise UserError("\n".join(problems) + "\nSee mmposter prepare --help for the defaults.")

    def address(self, url: str) -> str:
        """Where `url` is asked: itself, or its path and query at the mirror."""
        if self.mirror is None:
            return url
        there, mirror = urlsplit(url), urlsplit(self.mirror)
        return urlunsplit((mirror.scheme, mirror.netloc, mirror.path.rstrip("/") + there.path, there.query, ""))


def split_link(url: str) -> SplitResult | None:
    """The parts of a link that may be asked, or None: http and https with a host, and nothing else.

    >>> split_link("file:///etc/passwd") is None
    True
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


def host_of(url: str) -> str:
    """The host that a link's request goes to, with its port where it names one."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
