"""The widths of the frozen parts, which a model above them is built by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmposter.files.strict_json import mapping, shown, texts, whole

_WIDEST = 65_536
"""Channels of a frozen network, or classes of a detector; a run that says more is damaged."""


@dataclass(frozen=True)
class Sizes:
    """Widths that come from the frozen parts, not from the configuration; 0 where a branch is off."""

    num_features: int = 0  # channels of the backbone's final map
    style_channels: int = 0  # channels of the tapped stage
    gram_size: int = 0  # side of the Gram matrix
    tap_is_last: bool = True  # whether the tapped stage is the last one
    class_names: tuple[str, ...] = ()  # the object detector's classes
    embedding_dim: int = 0  # width of the text encoder
    # Of branches from outside, by name, what their extractors say beside the records.
    further: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        found = asdict(self)
        if not self.further:
            del found["further"]  # as runs have it that know our branches alone
        return found

    @classmethod
    def from_json(cls, values: Any) -> Sizes:
        """The inverse of `to_json`.

        Raises:
            ValueError: a width that no network has, or other keys.
        """
        known = mapping(values, "sizes")
        keys = [name for name in cls.__dataclass_fields__ if name != "further"]
        if set(known) - {"further"} != set(keys):
            raise ValueError(f"sizes must have the keys {', '.join(keys)}, got {shown(known)}")
        further = mapping(known.get("further", {}), "sizes.further")
        if not isinstance(known["tap_is_last"], bool):
            raise ValueError(f"tap_is_last must be true or false, got {shown(known['tap_is_last'])}")
        names = texts(known["class_names"], "class_names")
        if len(names) > _WIDEST:
            raise ValueError(f"class_names may be {_WIDEST} at most, got {len(names)}")
        widths = ("num_features", "style_channels", "gram_size", "embedding_dim")
        return cls(
            **{name: whole(known[name], name, most=_WIDEST) for name in widths},
            tap_is_last=known["tap_is_last"],
            class_names=names,
            further={name: mapping(said, f"sizes.further.{name}") for name, said in further.items()},
        )
