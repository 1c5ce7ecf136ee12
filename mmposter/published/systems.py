"""What is known of each published system: its numbers, its faults, what had to be assumed.

A system is a folder of ``configs/published``. Each network is an ordinary recipe in it (``mmposter train DATA --config
published/p4/cnn4`` works), and ``system.yaml`` has the facts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmposter.config import Config, flat_config, load_config
from mmposter.data.crops import CropOrder
from mmposter.errors import UserError
from mmposter.suggest import did_you_mean

Variant = Literal["as_published", "clean"]
VARIANTS: tuple[Variant, ...] = ("as_published", "clean")
FOLDER, FACTS = "published", "system.yaml"


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Crops(_Facts):
    """Balancing by crops (P1)."""

    target: int = Field(ge=1)
    """posters and crops that each genre is brought to"""
    size: int = Field(ge=1)
    """side of a crop in pixels"""


class Deviation(_Facts):
    """What one variant changes."""

    note: str
    order: CropOrder | None = None
    """whether crops are made before or after the split"""
    watch: Literal["test"] | None = None
    """the posters on which the epoch is chosen: the test posters, those of validation being trained on; None: the
    validation posters"""
    config: Mapping[str, Any] = {}


class Network(_Facts):
    """One row of a paper's table."""

    title: str
    published: Mapping[str, float] = {}
    """metric name: value, as printed in the paper"""
    training: Mapping[str, float] = {}
    """the same on the paper's training posters"""
    note: str | None = None
    variants: Mapping[Variant, Deviation] = {}


class System(_Facts):
    """One paper."""

    title: str
    data: str
    vocabulary: str
    metrics: tuple[str, ...]
    """those that the paper reports, first of all"""
    constant: Mapping[str, float] = {}
    """what the best constant answer scores on the paper's own test posters, as far as an audit found out"""
    crops: Crops | None = None
    differs: tuple[str, ...]
    assumed: tuple[str, ...]
    variants: Mapping[Variant, Deviation] = {}
    models: Mapping[str, Network]


@dataclass(frozen=True)
class Published:
    """One network of one system."""

    name: str  # as on the command line, such as `p1/densenet121`
    system: System  # the paper
    network: Network  # its row

    @property
    def label(self) -> str:
        """P1 and the network, for tables."""
        return f"{self.name.split('/')[0].upper()} {self.network.title}"

    @property
    def has_variants(self) -> bool:
        """Whether a fault was found, so that the two variants differ."""
        return bool(self.system.variants or self.network.variants)

    def deviations(self, variant: Variant) -> list[Deviation]:
        """What a variant changes, the system's own first."""
        found = (self.system.variants.get(variant), self.network.variants.get(variant))
        return [deviation for deviation in found if deviation is not None]

    def order(self, variant: Variant) -> CropOrder | None:
        """When crops are made; None where the system makes none."""
        orders = [deviation.order for deviation in self.deviations(variant) if deviation.order]
        return orders[-1] if orders else None

    def watches_test(self, variant: Variant) -> bool:
        """Whether the epoch is chosen on the test posters, a fault."""
        return any(deviation.watch == "test" for deviation in self.deviations(variant))

    def config(self, variant: Variant, overrides: Sequence[str] = (), **direct: Any) -> Config:
        """The configuration of a variant; the user's own ``section.key=value`` come last (UserError: bad ones)."""
        changes: dict[str, Any] = {}
        for deviation in self.deviations(variant):
            changes |= flat_config(deviation.config)
        texts = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        return load_config(f"{FOLDER}/{self.name}", [*texts, *overrides], **direct)


@cache
def systems() -> Mapping[str, System]:
    """All systems by folder name, in order."""
    from yaml import safe_load

    found = {}
    for folder in sorted(resources.files("mmposter.configs").joinpath(FOLDER).iterdir(), key=lambda item: item.name):
        if folder.is_dir() and folder.joinpath(FACTS).is_file():
            try:
                found[folder.name] = System.model_validate(safe_load(folder.joinpath(FACTS).read_text("utf-8")))
            except ValidationError as error:  # a fault of ours, told with its place
                raise RuntimeError(f"{FOLDER}/{folder.name}/{FACTS} does not fit: {error}") from error
    return found


def published_names() -> list[str]:
    """Every network of every system, such as ``p1/densenet121``."""
    return [f"{folder}/{model}" for folder, system in systems().items() for model in system.models]


def find_published(name: str) -> Published:
    """The network called `name` (UserError: there is none)."""
    folder, _, model = name.partition("/")
    if name not in published_names():
        raise _unknown(name)
    return Published(name, systems()[folder], systems()[folder].models[model])


def parse_names(text: str) -> list[Published]:
    """``p1``, ``p4/cnn4,p7`` or ``all`` as networks, each once, in the order given.

    Raises:
        UserError: for a name that is neither a network nor a system.
    """
    names: list[str] = []
    for part in (part.strip().lower() for part in text.split(",")):
        if not part:
            continue
        of_system = [name for name in published_names() if part == "all" or name.startswith(f"{part}/")]
        if not of_system and part not in published_names():
            raise _unknown(part)
        names += of_system or [part]
    if not names:
        raise _unknown(text)
    return [find_published(name) for name in dict.fromkeys(names)]


def parse_variants(text: str) -> tuple[Variant, ...]:
    """``as_published``, ``clean`` or ``both`` (UserError: for anything else)."""
    chosen = tuple(variant for variant in VARIANTS if text in (variant, "both"))
    if chosen:
        return chosen
    raise UserError(
        f"--variant takes as_published, clean or both; got {text!r}{did_you_mean(text, (*VARIANTS, 'both'))}"
    )


def _unknown(name: str) -> UserError:
    lines = [f"  {folder} ({system.title}): {', '.join(system.models)}" for folder, system in systems().items()]
    meant = did_you_mean(name, (*systems(), *published_names()))
    return UserError(
        f"there is no published system {name!r}{meant}. Known are\n" + "\n".join(lines) + "\n"
        "Type a system (p1), a network (p1/densenet121), several parted by commas, or all."
    )
