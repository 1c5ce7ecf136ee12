"""The one door from a result to how a notebook shows it: results know nothing of reports, and must not."""

from __future__ import annotations

from functools import singledispatch
from importlib import import_module

_SHOWERS = "mmposter.report.notebook"


class Shown:
    """A result that a notebook shows as its report does.

    The functions that show results stand on a higher floor than the results, so they are loaded by name, when a
    notebook first asks. Who adds a result that is `Shown` registers a function of it there.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        """One ``<div>``, see `mmposter.document.render_fragment`."""
        import_module(_SHOWERS)
        return fragment(self)


@singledispatch
def fragment(result: object) -> str:
    """The HTML that a notebook shows of a result.

    Raises:
        TypeError: nobody said how a result of this class is shown.
    """
    raise TypeError(f"{_SHOWERS} must register how a {type(result).__name__} is shown")
