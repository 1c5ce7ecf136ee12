"""Text from outside, such as a file's name, a title or a genre, as text that can only be read.

A name may hold what steers a terminal (colours, the clipboard, the title of the window), what turns the direction of
the letters behind it, a line feed that forges a line of ours, or half a character that cannot be written as UTF-8.
Shown are the codes of such characters, as Python and JSON write them: ``\\x1b``, ``\\u202e``, ``\\n``.
"""

from __future__ import annotations

import html
import re

# C0 and C1 without tab and line feed, line separators, what turns the direction of text, halves of characters.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = {"\t": "\\t", "\n": "\\n"}
_SHORT = {"\r": "\\r"}


def visible(text: str) -> str:
    """One line, also of a text with line feeds and tabs: for a name inside a line or a cell.

    >>> print(visible("a" + chr(27) + "[2Jb" + chr(10) + "c"))
    a\\x1b[2Jb\\nc
    """
    return re.sub(r"[\t\n]", lambda found: _BREAKS[found[0]], visible_lines(text))


def visible_lines(text: str) -> str:
    """The same for a text whose own line feeds and tabs are meant."""
    return _STEERING.sub(lambda found: _SHORT.get(found[0]) or _code(found[0], "\\x"), text)


def visible_json(text: str) -> str:
    """JSON that means the same and has none of these characters as they are; its indentation stays."""
    return _STEERING.sub(lambda found: _code(found[0], "\\u00"), text)


def visible_html(text: str) -> str:
    """The same for HTML, between tags or in an attribute's quotation marks."""
    return html.escape(visible_lines(text))


def _code(character: str, short: str) -> str:
    number = ord(character)
    return f"{short}{number:02x}" if number < 0x100 else f"\\u{number:04x}"
