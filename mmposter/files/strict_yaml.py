"""YAML as it may come from a stranger: bounded, and resolving nothing but its own keys.

A few lines of YAML can stand for gigabytes, by aliases of aliases, and omegaconf's resolvers read the environment. Text
is looked through here before any value is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import DEPTH, read_text, require_plain, shorten

LIMIT = MEGABYTE
"""Bytes of a YAML file; ours have a few kilobytes."""

_EXPANDED = 4 * MEGABYTE  # letters and nodes, where every alias is written out
_REFERENCES = 100
_OWN_KEY = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
# As omegaconf has it: 1e-3 is a number, which plain YAML takes for a text; a date stays a text.
_FLOAT = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_FLOAT_TAG, _DATE_TAG, _MERGE_TAG = (f"tag:yaml.org,2002:{name}" for name in ("float", "timestamp", "merge"))


def read_yaml(path: str | Path) -> str:
    """The text of a YAML file (UserError: as `mmposter.files.strict_json.read_text`)."""
    return read_text(path, limit=LIMIT, mend="give a YAML file such as `mmposter config` prints")


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text; references such as ``${seed}`` stay as they are written.

    Raises:
        ValueError: it is no YAML, gives a key twice, or asks for more than an honest file does.
    """
    from yaml import YAMLError, load

    try:
        _require_bounded(text)
        values = load(text, Loader=_loader())
        require_plain(values)
    except (YAMLError, RecursionError, TypeError) as error:
        raise ValueError(shorten(str(error)) or type(error).__name__) from error
    return values


def require_own_keys(values: Mapping[str, Any]) -> None:
    """Refuse references to anything but keys of the same values, each with a value of its own.

    Raises:
        ValueError: a resolver, such as ``${oc.env:HOME}``; a key that itself refers to others; too many references.
    """
    count = 0
    for where, text in _texts(values, ""):
        names = _OWN_KEY.findall(text)
        count += len(names)
        if len(names) != text.count("${") or "\\$" in text:
            raise ValueError(
                f"{where} is {shorten(text)!r}; a recipe may refer to its own keys alone, such as ${{seed}}. Write the "
                "value itself, or give it with --set"
            )
        for name in names:
            # What is referred to is written out once, not again and again: doubled thirty times, it is a gigabyte.
            if any(True for _ in _texts(_found(values, name), "")):
                raise ValueError(f"{where} refers to {name}, which refers to other keys itself; write the value")
    if count > _REFERENCES:
        raise ValueError(f"it refers to its own keys {count} times; {_REFERENCES} are allowed")


def _texts(values: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text that refers to something, with its key."""
    if isinstance(values, str):
        if "${" in values:
            yield where, values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from _texts(key, f"the key {shorten(str(key))}")
            yield from _texts(value, f"{where}.{key}" if where else str(key))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value, where)


def _found(values: Any, name: str) -> Any:
    for part in name.split("."):
        if isinstance(values, list):
            values = values[int(part)] if part.isdigit() and int(part) < len(values) else None
        else:
            values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _require_bounded(text: str) -> None:
    """Count what the text stands for, by the parser's events: no value is made of it yet."""
    import yaml

    if len(text) > LIMIT:
        raise ValueError(f"it has more than {LIMIT / MEGABYTE:g} MB")
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of all that is begun, the document first
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        size, anchor = 0, None
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            if len(open_) > DEPTH:
                raise ValueError(f"more than {DEPTH} lists and mappings lie in each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor is None or event.anchor not in sizes:
                raise ValueError(f"the alias *{shorten(str(event.anchor))} is of nothing that ends before it")
            size = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1 + len(event.value)
        if anchor is not None:
            sizes[anchor] = size
        begun, so_far = open_[-1]
        open_[-1] = begun, so_far + size
        if so_far + size > _EXPANDED:
            raise ValueError("its aliases stand for more than any recipe holds")


@cache
def _loader() -> Any:
    import yaml

    class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """YAML's safe loader; numbers as omegaconf reads them, and no key twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.tag != _MERGE_TAG and isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise yaml.YAMLError(f"the key {shorten(key.value)} is there twice")
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in known if tag not in (_FLOAT_TAG, _DATE_TAG)]
        for first, known in PlainLoader.yaml_implicit_resolvers.items()
    }
    PlainLoader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789."))
    return PlainLoader
