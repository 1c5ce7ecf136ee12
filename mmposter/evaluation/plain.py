"""Results as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def plain_values(value: Any) -> Any:
    """`value` as JSON has it: mappings, lists and numbers; a dataclass is a mapping, what is not finite is None.

    >>> plain_values({"support": (3, 1), "share": np.array([0.5, np.nan])})
    {'support': [3, 1], 'share': [0.5, None]}
    """
    if is_dataclass(value):
        return {item.name: plain_values(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain_values(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
