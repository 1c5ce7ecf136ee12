"""Tags of ours in the text of an NFO file: put in and taken out, and nothing else changed.

A genre is written as ``<tag>mmposter: Horror</tag>``, a line each, before the end of the film. Kodi, Jellyfin and Emby
read `<tag>`; `<genre>` belongs to people and scrapers, and the prefix says whose a tag is. It is ASCII, so it is the
same in every encoding.

The text is edited as text, because no XML library gives back the blanks, quotes and line ends that it has read. What
comes out is then parsed again, and compared with what went in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from mmposter.data.media.nfo import MOVIE, NfoError, take_apart

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PREFIX = "mmposter: "
"""What a tag of ours begins with."""

# In well-formed XML without a DTD nothing else can hold what looks like a tag and is none.
_TOKENS = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    rf"|(?P<ours><tag>{PREFIX}[^<]*</tag>)|(?P<end></{MOVIE}\s*>)",
    re.DOTALL,
)
_END_OF_ELEMENT = "\0"  # which no XML can hold
_LINE_END = re.compile(r"\r\n|\n|\r")


def with_tags(text: str, genres: Sequence[str]) -> str:
    """The text with these genres as our tags, in place of those of before; without genres, with none of ours.

    Args:
        text: of an NFO file of a film.

    Raises:
        NfoError: it is no such file, it has no place for tags, or more than our tags would change.
    """
    before = take_apart(text)
    bare = _without_ours(before.head)
    head = _inserted(bare, genres) if genres else bare
    after = head + before.rest
    _require_only_ours(before.root, after, genres, bare + before.rest)
    return after


def _without_ours(head: str) -> str:
    """Without our tags; where a line holds one and nothing else, without the line."""
    kept, place = [], 0
    for token in _TOKENS.finditer(head):
        if token["ours"] is None:
            continue
        start, end = token.span()
        line = _line_start(head, start)
        after = _LINE_END.match(head, end)
        if line and after is not None and not head[line:start].strip(" \t"):
            start, end = line, after.end()
        kept.append(head[place:start])
        place = end
    return "".join([*kept, head[place:]])


def _inserted(head: str, genres: Sequence[str]) -> str:
    """With a tag for each genre before the end of the film: lines where that stands in a line of its own."""
    end = None
    for token in _TOKENS.finditer(head):
        end = token.start("end") if token["end"] is not None else end
    if end is None:
        raise NfoError(f"it has no </{MOVIE}> before which tags could stand")
    tags = [f"<tag>{_ascii(PREFIX + genre)}</tag>" for genre in genres]
    line = _line_start(head, end)
    if not line or head[line:end].strip(" \t"):
        return head[:end] + "".join(tags) + head[end:]
    line_end = "\r\n" if head[:line].endswith("\r\n") else head[line - 1]
    indent = _indent(head[:line]) or head[line:end] + "  "
    return head[:line] + "".join(f"{indent}{tag}{line_end}" for tag in tags) + head[line:]


def _line_start(text: str, place: int) -> int:
    return max(text.rfind("\n", 0, place), text.rfind("\r", 0, place)) + 1


def _indent(above: str) -> str:
    """The blanks before the last element of the film, whose end is the last line that is not empty."""
    last = above.rstrip()
    found = re.match(r"[ \t]*", last[_line_start(last, len(last)) :])
    return "" if found is None else found[0]


def _ascii(text: str) -> str:
    return escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _require_only_ours(before: Element, after: str, genres: Sequence[str], bare: str) -> None:
    """Refuse a change of anything else: of the text without our tags, or of an element as a parser sees it."""
    parts = take_apart(after)
    same_text = _without_ours(parts.head) + parts.rest == bare
    same_elements = list(_elements(before)) == list(_elements(parts.root))
    ours = [(element.text or "").removeprefix(PREFIX) for element in parts.root if _is_ours(element)]
    if not (same_text and same_elements and ours == list(genres)):
        raise NfoError("it cannot be changed without touching more than our tags")


def _is_ours(element: Element) -> bool:
    return element.tag == "tag" and not len(element) and (element.text or "").startswith(PREFIX)


def _elements(root: Element) -> Iterator[Any]:
    """All that a parser sees, in its order, as if our tags were not there; several blanks count as one."""
    text: list[str] = []
    stack: list[Element | str] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, str) and item != _END_OF_ELEMENT:
            text.append(item)
            continue
        yield " ".join("".join(text).split())
        text.clear()
        if isinstance(item, str):
            yield item
            continue
        yield item.tag, dict(item.attrib)
        stack.append(_END_OF_ELEMENT)
        for child in reversed(item):
            stack.append(child.tail or "")
            if not (item is root and _is_ours(child)):
                stack.append(child)
        stack.append(item.text or "")
