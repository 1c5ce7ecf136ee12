"""What a stranger's file should hold, as a model of pydantic: types as they are written, no NaN, one plain message."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mmposter.files.strict_json import shown

Values = TypeVar("Values", bound="StrictValues")

_MOST = 1000


class StrictValues(BaseModel):
    """The base of such models. Keys that a later version may add are passed over."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


def fitting(schema: type[Values], value: Any) -> Values:
    """The model of plain values (ValueError: naming the first place that does not fit, and what stands there)."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, why = ".".join(map(str, first["loc"])) or "it", first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {why}, got {shown(first['input'])}") from None


def few(value: Any) -> Any:
    """A list or an object of a thousand values at most: pydantic would note the fault of each of a million."""
    if isinstance(value, list | dict) and len(value) > _MOST:
        raise ValueError(f"more than {_MOST} values are there")
    return value
