"""The typed configuration: every key that a recipe or ``--set`` may name, with its default and its meaning.

YAML and ``--set a.b=c`` only override these defaults; an unknown key or a bad value is one error that lists all of
them. No other part of mmposter reads YAML, and classes take plain arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from mmposter.branches import (
    BranchDeclaration,
    branch_names,
    declarations,
    declared,
    each_from_outside,
    on_images,
    own_names,
    usual_names,
)
from mmposter.branches.cnn import NAME as CNN
from mmposter.branches.cnn import CnnConfig
from mmposter.branches.named import HEADS, LOSSES, Options, Registered
from mmposter.branches.ocr import Mask, OcrConfig
from mmposter.branches.photo import PhotoConfig
from mmposter.branches.settings import FROM_OUTSIDE, ConfigSection, Name, Rate, Share, Side, Slots, Width, in_order
from mmposter.branches.style import StyleConfig
from mmposter.branches.yolo import YoloConfig
from mmposter.engines.trackers import Trackers, with_trackers
from mmposter.errors import UserError
from mmposter.files.recipes import recipe, recipe_names
from mmposter.files.strict_json import shorten, shown
from mmposter.files.strict_yaml import parse_yaml, require_own_keys
from mmposter.files.validation import problems_of
from mmposter.suggest import did_you_mean

BRANCHES: tuple[str, ...] = usual_names()
"""Our usual branches in the order in which the fusion joins them; `branch_names` has all, those from outside too."""

Regime = Literal["features", "finetune"]
SchemaT = TypeVar("SchemaT", bound=BaseModel)

__all__ = [
    "BRANCHES",
    "CnnConfig",
    "Config",
    "ConfigSection",
    "LossConfig",
    "Mask",
    "Name",
    "OcrConfig",
    "PhotoConfig",
    "Rate",
    "Regime",
    "Share",
    "Side",
    "Slots",
    "StyleConfig",
    "Width",
    "YoloConfig",
    "check_values",
    "flat_config",
    "given",
    "in_order",
    "load_config",
    "parse_branches",
    "parse_config",
    "read_values",
    "recipe_names",
]

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


class FusionConfig(ConfigSection):
    """The learned head over the branches."""

    head: Annotated[str, HEADS] = HEADS.usual
    """``sum``, ``concat``, ``gated``, ``attention``, or one from outside"""
    options: Options = Field(default_factory=dict)
    """Of the head, such as ``--set fusion.options.hidden=128``"""
    branch_dropout: float = Field(0.1, ge=0, lt=1)
    """Chance, in training, that a poster goes without a branch: makes every subset usable at test time."""

    @field_validator("options")
    @classmethod
    def _of_the_head(cls, value: Options, info: ValidationInfo) -> Options:
        return HEADS.checked(info.data["head"], value) if "head" in info.data else value


class LossConfig(ConfigSection):
    """What is minimised; the mean over posters and genres."""

    name: Annotated[str, LOSSES] = LOSSES.usual
    """``bce``, ``weighted_bce``, ``ranked_bce``, ``focal``, ``asl``, or one from outside. ``cross_entropy``: one genre
    a poster, softmax. ``double_sigmoid_bce``: a published fault, to be measured."""
    options: Options = Field(default_factory=dict)
    """Of the loss, such as ``--set loss.options.gamma=1``"""

    @field_validator("options")
    @classmethod
    def _of_the_loss(cls, value: Options, info: ValidationInfo) -> Options:
        return LOSSES.checked(info.data["name"], value) if "name" in info.data else value


class TrainConfig(ConfigSection):
    """How the weights are found."""

    epochs: int | None = Field(None, ge=1, le=1_000_000)
    """Passes over the training posters. None: 16, and of few posters as many as `min_steps` takes, where `patience`
    grows in proportion."""
    min_steps: int = Field(400, ge=1, le=1_000_000_000)
    """Without `epochs`: the fewest steps of the optimiser."""
    batch_size: int = Field(64, ge=1, le=1_000_000)
    """Posters a step; of all processes together, where several train (`docs/scale.md`)."""
    learning_rate: Rate = 5e-4
    backbone_learning_rate: Rate = 1e-4
    """finetune: the tower's own, lower rate"""
    lr: dict[str, Rate] = Field(default_factory=dict)
    """A branch's own rate in place of `learning_rate`, such as ``--set train.lr.yolo=0.002``; of ``cnn`` and ``style``
    that of the layers above the tower"""
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    momentum: float = Field(0.0, ge=0, lt=1)
    """sgd, rmsprop"""
    weight_decay: float = Field(0.05, ge=0, le=1e6)
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: to 0 along a cosine, or as it is."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """The share of all steps in which the rate rises from 0."""
    clip_norm: float | None = Field(1.0, gt=0, le=1e12)
    """The largest norm of a gradient; None clips nothing."""
    patience: int = Field(10, ge=1, le=1_000_000)
    """Epochs without a better validation mAP before training stops."""
    keep: Literal["best", "last"] = "best"
    """The weights of the epoch with the best validation mAP, or those of the last epoch (then nothing stops early)."""
    augment: bool = True
    """finetune: random crop, flip and colour"""
    crop: tuple[Share, Share] = (0.6, 1.0)
    """augment: the smallest and the largest part of a poster that is shown"""
    sizes: tuple[tuple[Side, Side], ...] = Field((), max_length=16)
    """augment: heights and widths of pictures in pixels, of which each step draws one; none: ``cnn.size`` alone"""
    average: float = Field(0.0, ge=0, lt=1)
    """What a step leaves of the averaged weights, such as 0.999 (less in the first steps): these are validated and
    kept. 0: no average is made."""
    workers: int = Field(0, ge=0, le=1024)
    """finetune: processes that decode posters"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    trackers: Trackers = ()
    """Also send each epoch's metrics to ``tensorboard``, ``wandb`` or ``mlflow`` (extras of the same names)"""

    @field_validator("crop")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        return in_order(value)

    @field_validator("lr")
    @classmethod
    def _of_branches(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := [name for name in value if name not in branch_names()]:
            raise ValueError(
                f"allowed are {', '.join(branch_names())}; got {shorten(','.join(unknown))}. {FROM_OUTSIDE}"
            )
        return value


class EvaluationConfig(ConfigSection):
    """How probabilities become genres, and how sure the numbers are."""

    thresholds: Annotated[float, Field(ge=0, le=1)] | Literal["tuned", "top1"] = "tuned"
    """``tuned`` on the validation posters, one a genre; a number for all genres; ``top1``: the surest genre alone."""
    shrinkage: float = Field(20.0, ge=0, le=1e9)
    """Positives at which a genre's own threshold weighs as much as the global one."""
    empty: Literal["allow", "top1"] = "top1"
    """What a poster gets when no genre passes its threshold."""
    bootstrap: int = Field(1000, ge=100, le=1_000_000)


class Config(ConfigSection):
    """Everything that decides a training run."""

    branches: tuple[str, ...] = BRANCHES
    regime: Regime = "features"
    seed: int = Field(0, ge=0, le=2**63 - 1)
    shuffled: tuple[str, ...] = ()
    """A control: branches whose cached records are dealt to other posters of the same split."""
    cnn: CnnConfig = CnnConfig()
    style: StyleConfig = StyleConfig()
    yolo: YoloConfig = YoloConfig()
    ocr: OcrConfig = OcrConfig()
    photo: PhotoConfig = PhotoConfig()
    fusion: FusionConfig = FusionConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def single_label(self) -> bool:
        """Whether a poster has one genre, and the scores of all genres sum to 1."""
        from fusion import loss_class

        return loss_class(self.loss.name).single_label

    @model_validator(mode="before")
    @classmethod
    def _earlier_keys(cls, values: Any) -> Any:
        return with_options(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _one_answer_is_given(self) -> Self:
        if self.evaluation.thresholds == "top1" and self.evaluation.empty != "top1":
            raise ValueError("evaluation.thresholds=top1 is allowed with evaluation.empty=top1; got allow")
        return self

    @model_validator(mode="after")
    def _branches_agree(self) -> Self:
        for declaration in declarations().values():
            declaration.check(self)
        return self

    @model_serializer(mode="wrap")
    def _without_strange_sections(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A branch from outside leaves nothing in a run that goes without it: that is of use without its file.

        Nor does one of ours that is not usual: runs of versions that do not know it stay equal to those of now."""
        found: dict[str, Any] = plain(self)
        if rates := found.get("train", {}).get("lr"):
            kept = {name: rate for name, rate in rates.items() if name in (*BRANCHES, *self.branches)}
            found["train"] = {**found["train"], "lr": kept}
        return {key: value for key, value in found.items() if key in _OWN_KEYS or key in self.branches}

    def section(self, branch: str) -> ConfigSection:
        """The keys of a branch, ours or one from outside.

        Raises:
            UserError: there is no such branch.
        """
        declaration = declared(branch)
        section = self.__dict__.get(branch)
        return section if isinstance(section, ConfigSection) else declaration.section()

    def with_network(self, **changes: Any) -> Self:
        """The same configuration with other values of `cnn`, which says of which image network all are behind."""
        return self.model_copy(update={CNN: self.cnn.model_copy(update=changes)})

    @field_validator("branches", mode="before")
    @classmethod
    def _branches(cls, value: Any) -> Any:
        """Take ``cnn,yolo`` as a list, and bring it into the one order."""
        return _ordered(value)

    @field_validator("shuffled", mode="before")
    @classmethod
    def _shuffled(cls, value: Any) -> Any:
        """As `branches`, but may be empty."""
        return _ordered(value, or_none=True)

    @field_validator("shuffled")
    @classmethod
    def _can_be_shuffled(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        branches, regime = info.data.get("branches", BRANCHES), info.data.get("regime")
        if not set(value) <= set(branches):
            raise ValueError(f"allowed are the branches that are on ({','.join(branches)}); got {','.join(value)}")
        if regime == "finetune" and on_images(value):
            through = on_images(branch_names())
            cached = [name for name in branch_names() if name not in through]
            raise ValueError(
                f"allowed with regime finetune are {listed(cached)}, as {listed(through)} have no cached records "
                f"there; got {','.join(value)}"
            )
        return value


# Before any branch from outside adds its section, and without those of ours that are not usual.
_OWN_KEYS = frozenset(Config.model_fields) - (set(own_names()) - set(BRANCHES))


def _add_section(declaration: BranchDeclaration) -> None:
    """Give the configuration the section of a branch from outside."""
    section = declaration.section
    Config.__pydantic_fields__[declaration.name] = FieldInfo.from_annotated_attribute(section, section())
    Config.model_rebuild(force=True)


def _drop_section(name: str) -> None:
    """Take the section of a branch from outside away with it: other processes could not read it."""
    del Config.__pydantic_fields__[name]
    Config.model_rebuild(force=True)


each_from_outside(_add_section, _drop_section)


def parse_branches(text: str) -> tuple[str, ...]:
    """``yolo,cnn`` to names in the one order.

    Raises:
        UserError: for an unknown name or none at all.
    """
    try:
        return _ordered(text)
    except ValueError as error:
        raise UserError(f"--branches: {error}") from error


def _ordered(value: Any, *, or_none: bool = False) -> tuple[str, ...]:
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"a list or a text such as cnn,yolo is wanted; got {shown(value)}")
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)
    names = [name for name in names if name]
    unknown = [name for name in names if name not in branch_names()]
    if unknown or not (names or or_none):
        least = "" if or_none else ", at least one of them"
        got = shorten(",".join(map(str, names))) or "none"
        meant = did_you_mean(str(unknown[0]), branch_names()) if unknown else ""
        raise ValueError(f"allowed are {', '.join(branch_names())}{least}; got {got}{meant}")
    return tuple(name for name in branch_names() if name in names)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def load_config(source: str | Path | None = None, overrides: Sequence[str] = (), **direct: Any) -> Config:
    """Build the configuration: defaults, then a recipe, then ``a.b=c`` overrides, then `direct` top-level values.

    Args:
        source: the name of a built-in recipe (see `recipe_names`), the path of a YAML file, or None.
        overrides: strings ``section.key=value``; values are read as YAML.
        direct: top-level keys from dedicated options, such as ``branches="cnn,yolo"``; None values are ignored.

    Raises:
        UserError: one message that lists every unknown key and every bad value.
    """
    return parse_config(read_values(source, overrides) | given(direct))


def read_values(source: str | Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain values of a recipe, with ``a.b=c`` overrides on them; not checked yet.

    Args:
        source: as in `load_config`.
        overrides: as there.

    Raises:
        UserError: they cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    bad = [text for text in overrides if not _OVERRIDE.match(text)]
    if bad:
        raise UserError(f"--set takes section.key=value; got {', '.join(map(repr, bad))}")
    try:
        merged = with_options(recipe(source) if source is not None else {})
        for text in overrides:
            key, _, value = text.partition("=")
            _put(merged, key.split("."), parse_yaml(value))
            merged = with_options(merged)  # each in turn: the last one wins, in whichever way it is said
        require_own_keys(merged)
        resolved = OmegaConf.to_container(OmegaConf.create(merged), resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        what = source or "given by --set"
        raise UserError(f"the configuration {what} cannot be read: {shorten(str(error))}") from error
    assert isinstance(resolved, dict)  # as the recipe is one
    return {str(key): value for key, value in resolved.items()}


def _put(values: dict[Any, Any], path: Sequence[str], value: Any) -> None:
    """Set one key; a mapping is laid over the one that is there."""
    for name in path[:-1]:
        if not isinstance(values.get(name), dict):
            values[name] = {}
        values = values[name]
    last = path[-1]
    if isinstance(value, dict) and isinstance(values.get(last), dict):
        for key, inner in value.items():
            _put(values[last], [key], inner)
    else:
        values[last] = value


def given(direct: Mapping[str, Any]) -> dict[str, Any]:
    """What dedicated options say; None is an option that was not used."""
    return {key: value for key, value in direct.items() if value is not None}


def parse_config(values: Any) -> Config:
    """Check plain values against the schema of a training (UserError: as `check_values`)."""
    return check_values(Config, values)


def spared_config(config: Config) -> Config | None:
    """The configuration with which all branches go without the files that they can spare; None where they need all."""
    found = {name: changes for name in config.branches if (changes := declared(name).spared(config)) is not None}
    sections = {name: config.section(name).model_copy(update=dict(changes)) for name, changes in found.items()}
    return config.model_copy(update=sections) if sections else None


def parse_stored(values: Any) -> Config:
    """The configuration of a run, of this version or an earlier one (UserError: as `parse_config`)."""
    if isinstance(values, dict):
        for key, value in earlier_values().items():
            section, name = key.split(".")
            said = values.get(section, {})
            values = {**values, section: {name: value, **said} if isinstance(said, dict) else said}
    return parse_config(values)


def earlier_values() -> dict[str, Any]:
    """What a whole configuration means that is older than a key, by dotted key; see `BranchDeclaration.earlier`."""
    return {key: value for one in map(declared, own_names()) for key, value in one.earlier.items()}


def check_values(schema: type[SchemaT], values: Any) -> SchemaT:
    """Check plain values against a schema.

    Raises:
        UserError: listing ``key: reason`` for everything that is wrong.
    """
    declarations()  # those from outside add their sections
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(["the configuration does not fit:", *problems_of(error, schema)])) from error


def flat_config(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted key, such as ``fusion.head``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flat_config(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def with_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration, of this version or an earlier one, with what were keys once where it belongs now."""
    return with_trackers(LOSSES.moved(HEADS.moved(values)))


def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration by dotted key; an option that its head or loss does not have is at its default."""
    return HEADS.usual_options() | LOSSES.usual_options() | earlier_values() | flat_config(with_options(values))


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The dotted keys that two whole configurations in plain values do not share, with both values."""
    old, new = comparable(there), comparable(here)
    pairs = {key: (old.get(key), new.get(key)) for key in {**old, **new}}
    # As JSON, in which a list and a tuple of the same values are the same.
    return {key: pair for key, pair in pairs.items() if json.dumps(pair[0]) != json.dumps(pair[1])}


def choices(key: str) -> tuple[str, ...]:
    """The values that a key of a section takes, dotted: those of its schema, or the names of a registry."""
    declarations()  # with them come the names from outside
    section, name = key.split(".")
    field = type(getattr(Config(), section)).model_fields[name]
    registries = (found for found in field.metadata if isinstance(found, Registered))
    return next((registry.names() for registry in registries), get_args(field.annotation))
