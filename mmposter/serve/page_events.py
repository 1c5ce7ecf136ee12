"""What a browser asks of the page, checked before gradio sees it: one shape each, and no path at all.

gradio takes a file as an object with a path or an address, which it opens or loads. Ours is the word of an upload: that
alone is handed on, as text, in which gradio looks for no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from mmposter.serve.errors import RequestError
from mmposter.serve.settings import ServeSettings
from mmposter.serve.uploads import WORD

if TYPE_CHECKING:
    from gradio import Blocks

FILES, BRANCHES, WHICH, GENRE = "posters", "branches", "which", "genre"
"""Names of the parts of the page that an event may send (`elem_id`)."""

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_BRANCHES, _LONGEST = 32, 200


class Events:
    """The events of a page, and what each may be sent.

    Args:
        blocks: the page.
        settings: the limits.
    """

    def __init__(self, blocks: Blocks, settings: ServeSettings) -> None:
        self._inputs = {number: [part.elem_id for part in event.inputs] for number, event in blocks.fns.items()}
        self._settings = settings
        self._checks: Mapping[str, Callable[[Any], Any]] = {
            FILES: self._files,
            BRANCHES: _branches,
            WHICH: _which,
            GENRE: _genre,
        }

    def asked(self, body: bytes) -> tuple[str, dict[str, Any]]:
        """The session and the checked content of a request for an event.

        Args:
            body: as it came, not too large.

        Raises:
            RequestError: 400, it is none of the page's own.
        """
        given = object_of(body)
        session, number, data = session_of(given), given.get("fn_index"), given.get("data")
        names = self._inputs.get(number) if type(number) is int else None
        if names is None or not isinstance(data, list) or len(data) != len(names):
            raise bad_event()
        values = [self._checks[name](value) for name, value in zip(names, data, strict=True)]
        trigger = given.get("trigger_id")
        return session, {
            "session_hash": session,
            "fn_index": number,
            "data": values,
            "trigger_id": trigger if type(trigger) is int else None,
            "event_data": None,
        }

    def _files(self, value: Any) -> list[str] | None:
        if value is None:
            return None
        # One more than may be: the page itself says then that they are too many.
        if not isinstance(value, list) or len(value) > self._settings.max_posters + 1:
            raise bad_event()
        return [_word(file) for file in value]


def object_of(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestError: 400.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad_event() from error
    if not isinstance(given, dict):
        raise bad_event()
    return given


def session_of(given: Mapping[str, Any]) -> str:
    """The word under which a visitor's page gets its answers.

    Raises:
        RequestError: 400.
    """
    session = given.get("session_hash")
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise bad_event()
    return session


def bad_event() -> RequestError:
    """Something that our page does not send."""
    return RequestError(
        400, "bad_event", "the page sends nothing like this; programs have the REST interface, documented at /docs"
    )


def _word(file: Any) -> str:
    """Of an upload; one that is no longer here is the page's to explain."""
    word = file.get("path") if isinstance(file, dict) else None
    if not isinstance(word, str) or not WORD.fullmatch(word):
        raise bad_event()
    return word


def _branches(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST_BRANCHES or not all(map(_is_short, value)):
        raise bad_event()
    return value


def _which(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise bad_event()
    return value


def _genre(value: Any) -> str | None:
    if value is None or _is_short(value):
        return value
    raise bad_event()


def _is_short(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= _LONGEST
