"""What the sections of the configuration are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Side = Annotated[int, Field(ge=32, le=8192)]
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Of a layer. Its bound, as those of all sizes and counts here, is far above what is of use: a file that asks for more
asks for a machine's whole memory, or its time."""

Slots = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
"""Of a picture's area."""
Name = Annotated[str, Field(max_length=4096)]


FROM_OUTSIDE = "One from outside comes with its file: mmposter --plugin FILE COMMAND"
"""What to type where a name is not known."""


class ConfigSection(BaseModel):
    """A mapping of keys in a configuration: no key but these, and no value without a check."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def in_order(parts: tuple[float, float]) -> tuple[float, float]:
    """A smallest and a largest part of a picture (ValueError: the other way round)."""
    if parts[0] > parts[1]:
        raise ValueError(f"the smallest part comes first; got {list(parts)}")
    return parts
