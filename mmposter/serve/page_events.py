"""What a browser asks of the page, checked before gradio sees it: one shape each, and no path at all.

gradio takes a file as an object with a path or an address, which it opens or loads. Ours is the word of an upload: that
alone is handed on, as text, in which gradio looks for no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mmposter.serve.errors import RequestError
from mmposter.serve.settings import ServeSettings
from mmposter.serve.uploads import WORD

if TYPE_CHECKING:
    from gradio import Blocks

FILES, BRANCHES, WHICH, GENRE = "posters", "branches", "which", "genre"
"""Names of the parts of the page that an event may send (`elem_id`)."""

_STRICT = ConfigDict(strict=True)  # nothing is turned into another type; fields that are not named are left out
_Short = Annotated[str, Field(max_length=200)]


class Visitor(BaseModel):
    """Whoever fetches answers: `session_hash` is the word under which a page gets its own."""

    model_config = _STRICT
    session_hash: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]


class Leaving(BaseModel):
    """What a page says when it gives something up."""

    model_config = _STRICT
    session_hash: str | None = None
    event_id: str | None = None
    fn_index: int | None = None


class _Event(Visitor):
    fn_index: int
    data: list[Any]
    trigger_id: int | None = None
    event_data: None = None


class _File(BaseModel):
    """The word of an upload; one that is no longer here is the page's to explain."""

    model_config = _STRICT
    path: Annotated[str, Field(pattern=f"^{WORD.pattern}$")]


_KINDS: Mapping[str, TypeAdapter[Any]] = {
    FILES: TypeAdapter(list[_File] | None, config=_STRICT),
    BRANCHES: TypeAdapter(Annotated[list[_Short], Field(max_length=32)], config=_STRICT),
    WHICH: TypeAdapter(int | None, config=_STRICT),
    GENRE: TypeAdapter(_Short | None, config=_STRICT),
}

Model = TypeVar("Model", bound=BaseModel)


class Events:
    """The events of a page, and what each may be sent."""

    def __init__(self, blocks: Blocks, settings: ServeSettings) -> None:
        self._inputs = {number: [part.elem_id for part in event.inputs] for number, event in blocks.fns.items()}
        self._most_files = settings.max_posters + 1  # the page itself says that one more than may be are too many

    def asked(self, body: bytes) -> tuple[str, dict[str, Any]]:
        """The session and the checked content of a request for an event.

        Args:
            body: as it came, not too large.

        Raises:
            RequestError: 400, it is none of the page's own.
        """
        event = checked(_Event, body)
        names = self._inputs.get(event.fn_index)
        if names is None or len(event.data) != len(names):
            raise _bad_event()
        event.data = [self._value(name, value) for name, value in zip(names, event.data, strict=True)]
        return event.session_hash, event.model_dump()

    def _value(self, name: str, given: Any) -> Any:
        try:
            value = _KINDS[name].validate_python(given)
        except ValidationError as error:
            raise _bad_event() from error
        if name != FILES or value is None:
            return value
        if len(value) > self._most_files:
            raise _bad_event()
        return [file.path for file in value]


def checked(kind: type[Model], given: bytes | Mapping[str, Any]) -> Model:
    """What a browser sent, as JSON or as fields.

    Raises:
        RequestError: 400, it is nothing of that kind.
    """
    try:
        return kind.model_validate_json(given) if isinstance(given, bytes) else kind.model_validate(dict(given))
    except ValidationError as error:
        raise _bad_event() from error


def _bad_event() -> RequestError:
    message = "the page sends nothing like this; programs have the REST interface, documented at /docs"
    return RequestError(400, "bad_event", message)
