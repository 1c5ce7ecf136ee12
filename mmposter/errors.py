"""The error that a person may cause, and how the command line ends on it."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: shown as one message, never as a traceback; exit code 2.

    The message says what was wrong, what is allowed and what to type next, in that order.
    """


class DivergedError(UserError):
    """A training whose numbers have left those that a computer can hold; the settings ask for too much."""


class BadImageError(Exception):
    """One poster that cannot be used. It never stops a batch: it is skipped, counted and named.

    `reason` is a short machine-readable word (``empty``, ``truncated``, ``not_an_image``, ``too_small``, ``too_large``,
    ``too_dark``, ``missing``, ``unreadable``, ``bad_array``); the message is for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
