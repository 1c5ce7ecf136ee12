"""What is wrong with values that do not fit their schema, in words for people."""

from __future__ import annotations

import re
from typing import get_args

from pydantic import BaseModel, ValidationError

from mmposter.files.strict_json import shorten, shown
from mmposter.suggest import did_you_mean

_MOST_PROBLEMS = 20
_QUOTED = re.compile(r"'([^']*)'")  # as pydantic lists the values of a Literal


def problems_of(error: ValidationError, schema: type[BaseModel]) -> list[str]:
    """A line ``  key: reason`` for everything that is wrong, the nearest known name with it; of many the first."""
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_context=False):
        if len(lines) == _MOST_PROBLEMS:
            lines.append(f"  ... and {error.error_count() - len(lines)} more")
            break
        key = shorten(".".join(str(part) for part in problem["loc"])) or "together"
        if problem["type"] == "extra_forbidden":
            siblings = _siblings(problem["loc"], schema)
            meant = did_you_mean(str(problem["loc"][-1]), siblings)
            lines.append(f"  {key}: unknown key{meant}; allowed there: {', '.join(siblings)}")
        else:
            reason = problem["msg"].removeprefix("Value error, ")
            got = f"; got {shown(problem['input'])}" if "got" not in reason else ""
            if problem["type"] == "literal_error" and isinstance(problem["input"], str):
                got += did_you_mean(problem["input"], _QUOTED.findall(reason))
            lines.append(f"  {key}: {reason}{got}")
    return lines


def _siblings(location: tuple[int | str, ...], schema: type[BaseModel]) -> list[str]:
    """The keys that are allowed where this one stands."""
    for part in location[:-1]:
        if isinstance(part, int):  # a place in a list of sections, whose schema is that of the list's elements
            continue
        field = schema.model_fields.get(part)
        inner = None if field is None else next(iter(get_args(field.annotation)), field.annotation)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        schema = inner
    return list(schema.model_fields)
