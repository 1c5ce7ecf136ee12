"""The keys of a distillation, with their defaults and their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mmposter.config import ConfigSection, Name, Rate, Share, Side, check_values, given, in_order, read_values


class Phase(ConfigSection):
    """A part of the training at one size of picture."""

    size: tuple[Side, Side] = (192, 128)
    """Height and width in pixels of the random crops that the student sees."""
    posters: int = Field(90_000, ge=1, le=10**9)
    """How many crops are shown, those of earlier phases not counted."""
    scale: tuple[Share, Share] = (0.2, 1.0)
    """The smallest and the largest part of a poster that a crop shows."""
    batch_size: int = Field(32, ge=2, le=1_000_000)
    learning_rate: Rate = 2e-3

    @field_validator("scale")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        return in_order(value)


class DistillationConfig(ConfigSection):
    """Everything that decides a distillation."""

    student: Name = "densenet121"
    """The network that learns: any backbone that ends in a map of places."""
    init: Name = "none"
    """``none`` (random weights), a file of a network distilled before, or another value of ``cnn.init``."""
    teachers: tuple[Name, ...] = Field(("efficientnet_lite0", "efficientnet_lite1"), min_length=1, max_length=32)
    """Backbones with published weights."""
    seed: int = Field(0, ge=0, le=2**63 - 1)
    teacher_size: tuple[Side, Side] = (320, 224)
    """Height and width in pixels at which the teachers see whole posters, and from which crops are cut."""
    strides: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field((8, 16, 32), max_length=32)
    """Pixels between the places of the maps that are predicted, beside the last one."""
    phases: tuple[Phase, ...] = (
        Phase(size=(96, 64), posters=40_000, scale=(0.2, 1.0)),
        Phase(size=(128, 96), posters=110_000, scale=(0.15, 0.8)),
        Phase(size=(192, 128), posters=90_000, scale=(0.25, 1.0)),
    )
    """Small pictures first: they cost a quarter, and much is learnt there."""
    mixup: float = Field(0.3, ge=0, le=1)
    """Chance that a batch is mixed with itself in another order, pictures and targets alike."""
    temperature: float = Field(2.0, gt=0, le=1e6)
    """Of the classifiers' scores."""
    logits_weight: float = Field(0.5, ge=0, le=1e6)
    """Of the divergence of those scores, beside squared errors of maps that weigh 1 each."""
    genre_weight: float = Field(6.0, ge=0, le=1e6)
    """Of soft genres, where the data have genres; 0: none is looked at."""
    genre_folds: int = Field(5, ge=2, le=100)
    """Into how many parts the training posters are dealt; the genres of one are answered by a head that learnt the
    others."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """``muon``: of the student's convolutions; all other weights are moved by AdamW, at the same rate."""
    weight_decay: float = Field(0.02, ge=0, le=1e6)
    """Of matrices and convolutions."""
    warmup: int = Field(200, ge=1, le=10**9)
    """Steps in which the rate rises."""
    decay: float = Field(13 / 24, ge=0, le=1)
    """The share of all posters, at the end, over which the rate falls to 0 along a cosine: 130,000 of 240,000."""
    clip_norm: float = Field(5.0, gt=0, le=1e12)
    """The largest norm of a gradient."""
    average: float = Field(0.999, ge=0, lt=1)
    """What a step leaves of the averaged weights, which are the result; less in the first steps."""
    held_norms: float = Field(0.15, ge=0, le=1)
    """The share of all posters, at the end, through which batch norms hold their statistics, as they do in use."""
    val_posters: int = Field(256, ge=1, le=10**9)
    """At most so many validation posters are watched."""
    report_steps: int = Field(500, ge=1, le=10**9)
    """Steps between two rows of metrics.csv."""

    @field_validator("teachers", mode="before")
    @classmethod
    def _teachers(cls, value: Any) -> Any:
        """Take ``a,b`` as a list."""
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("phases")
    @classmethod
    def _at_least_one(cls, value: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if not value:  # not by min_length, which would also complain of a list whose one phase is wrong
            raise ValueError("one phase or more is needed; got none")
        return value

    @field_validator("teachers")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"each name is allowed once; got {','.join(value)}")
        return value


def load_distillation_config(overrides: Sequence[str] = (), **direct: Any) -> DistillationConfig:
    """Build the configuration: defaults, then ``key=value`` overrides, then `direct` values.

    Args:
        overrides: values are read as YAML, such as ``phases=[{size: [96, 64], posters: 40000}]``.
        direct: values of dedicated options, such as ``teachers="a,b"``; None values are ignored.

    Raises:
        UserError: one message that lists every unknown key and every bad value.
    """
    return check_values(DistillationConfig, read_values(None, overrides) | given(direct))
