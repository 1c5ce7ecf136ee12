"""How numbers are written, in sentences, tables, figures and files: three decimals, and a dash for what is undefined.

Where nothing but shares is shown, as in the report of an ablation, the zero before the point is left out: ``.321``.
"""

from __future__ import annotations

import math
import re

Ends = tuple[float, float] | None
"""An interval; None where there is none."""

LEVEL = 0.05
DASH = "–"


def number(value: float | None, *, zero: bool = True) -> str:
    """``0.321``, or ``.321`` without its zero.

    >>> number(0.3214), number(0.3214, zero=False), number(1, zero=False), number(None)
    ('0.321', '.321', '1.000', '–')
    """
    return _written(value, "", zero)


def signed(value: float | None, *, zero: bool = True) -> str:
    """A difference: ``+0.012``; one that rounds to zero keeps its side: ``-0.000``.

    >>> signed(0.0121), signed(-0.0001, zero=False)
    ('+0.012', '-.000')
    """
    return _written(value, "+", zero)


def interval(ends: Ends, between: str = " to ", *, sign: bool = False, zero: bool = True) -> str:
    """``0.283 to 0.321``, with signs for a difference; a dash where there is none.

    >>> interval((0.283, 0.321), "–"), interval((-0.1, 0.2), sign=True, zero=False)
    ('0.283–0.321', '-.100 to +.200')
    """
    if ends is None:
        return DASH
    return between.join(_written(end, "+" if sign else "", zero) for end in ends)


def with_interval(
    value: float | None, ends: Ends, between: str = " to ", *, sign: bool = False, zero: bool = True
) -> str:
    """``0.321 (0.283 to 0.340)``, without the brackets where there is no interval.

    >>> with_interval(0.321, (0.283, 0.34)), with_interval(0.012, None, sign=True)
    ('0.321 (0.283 to 0.340)', '+0.012')
    """
    written = _written(value, "+" if sign else "", zero)
    if ends is None or written == DASH:
        return written
    return f"{written} ({interval(ends, between, sign=sign, zero=zero)})"


def p_value(p: float | None, *, zero: bool = True) -> str:
    """``0.012``, ``<0.001``; never rounded over the level of 0.05.

    >>> p_value(0.0123), p_value(0.0004), p_value(0.0496), p_value(0.0496, zero=False), p_value(None)
    ('0.012', '<0.001', '<0.05', '< .05', '–')
    """
    if p is None or math.isnan(p):
        return DASH
    below = "<0" if zero else "< "
    if p < 0.001:
        return f"{below}.001"
    if p < LEVEL <= round(p, 3):
        return f"{below}.05"
    return number(p, zero=zero)


def percent(share: float) -> str:
    """``12.3 %``.

    >>> percent(0.1234)
    '12.3 %'
    """
    return f"{share * 100:.1f} %"


def exact(value: float | None) -> str:
    """All digits, for programs; empty where it is undefined.

    >>> exact(0.1), exact(None)
    ('0.1', '')
    """
    return "" if value is None or math.isnan(value) else repr(float(value))


def _written(value: float | None, sign: str, zero: bool) -> str:
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:{sign}.3f}"
    return text if zero else re.sub(r"^([+-]?)0\.", r"\1.", text)
