"""What a training of a grid is known by: its settings that differ from the defaults.

A key that comes into the schema later has its default in every grid that was finished before, so it changes no
identity; a default that changes later changes that of no finished training, whose own value is in its files.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mmposter.config import Config, comparable, earlier_values

Settings = dict[str, Any]


def differing_settings(config: Config) -> Settings:
    """The branches, and by dotted key all values that are not the default; without the seed, as a grid has several.

    Of a key that is younger than some grids, what those mean is no difference, and the default of today is one; of a
    branch that is off, such a key is none.
    """
    values = comparable(config.model_dump(mode="json"))
    usual = comparable(Config(branches=config.branches).model_dump(mode="json"))
    earlier = earlier_values()
    off = [key for key in earlier if key.split(".")[0] not in config.branches]
    usual |= {key: value for key, value in earlier.items() if key not in off}
    return {
        key: value
        for key, value in values.items()
        if key == "branches" or (key != "seed" and key not in off and (key not in usual or value != usual[key]))
    }


def identity(config: Config) -> str:
    """64 hex digits: equal for configurations of which only the seed differs."""
    return hashlib.sha256(json.dumps(differing_settings(config), sort_keys=True).encode()).hexdigest()
