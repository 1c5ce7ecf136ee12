"""What goes wrong, in the one shape in which clients are told: a status, a code for programs, a text for people."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi.responses import JSONResponse

logger = logging.getLogger("mmposter.serve")


class RequestError(Exception):
    """Ends a request with an answer that says why.

    Args:
        status: of HTTP, from 400.
        code: a short word that stays the same.
        message: what was wrong.
        allowed: what would have been right; None where that is no question.
        retry_after: seconds after which the same request may do.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        allowed: Any = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.allowed = status, code, message, allowed
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    def response(self) -> JSONResponse:
        """The answer to the client."""
        content = {"error": {"code": self.code, "message": self.message, "allowed": self.allowed}}
        return JSONResponse(content, self.status, headers=self.headers)


def wrong_method(path: str, method: str, allowed: Sequence[str]) -> RequestError:
    """Status 405, with the methods that a path takes."""
    error = RequestError(405, "wrong_method", f"{path} does not take {method}", allowed=list(allowed))
    error.headers["Allow"] = ", ".join(allowed)
    return error


def stopping() -> RequestError:
    """Status 503: the server takes nothing more."""
    return RequestError(503, "stopping", "the server is stopping", retry_after=10)


def logged(error: BaseException, while_doing: str) -> str:
    """Write an unexpected error with its traceback into the log of the server, and nowhere else.

    Returns:
        the id under which it stands there; a client gets this alone.
    """
    number = uuid.uuid4().hex[:12]
    logger.error("%s failed; id %s", while_doing, number, exc_info=error)
    return number


def unexpected(error: BaseException, while_doing: str) -> RequestError:
    """An error that is ours: status 500, and the id of its place in the log."""
    number = logged(error, while_doing)
    return RequestError(500, "internal_error", f"the server failed; its log has the cause under the id {number}")
