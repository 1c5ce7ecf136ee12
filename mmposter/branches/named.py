"""Keys that name an entry of a registry of `fusion`, and the options of that entry.

Our own names stand here too, with the defaults and bounds of the application: `fusion` loads torch, and a configuration
must stay quick. Whatever is not ours is asked there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from mmposter.branches.settings import FROM_OUTSIDE, ConfigSection, Width
from mmposter.files.strict_json import shown
from mmposter.suggest import did_you_mean

Options = dict[str, Any]


class _Schema(ConfigSection):
    """Base of what options are checked by; a plugin may name any type."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())


@dataclass(frozen=True, eq=False)
class Registered:
    """The names of a registry, as the type of a key: ``head: Annotated[str, HEADS]``.

    Attributes:
        kind: of the entries, as the functions of `fusion` are called (``head``: `fusion.head_names`).
        own: our names, each with those of its options that the application has a default for.
        section: of the configuration, in which options once were keys themselves; empty: there were none.
    """

    kind: str
    own: Mapping[str, tuple[Parameter, ...]]
    section: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def names(self) -> tuple[str, ...]:
        """All names: ours, then those from outside that are loaded."""
        return *self.own, *(name for name in self._ask("names") if name not in self.own)

    def checked(self, name: str, given: Mapping[str, Any]) -> Options:
        """The options of the entry called `name`: those given, and the application's defaults.

        One that belongs to another entry waits for it: an ablation compares several with the same options.

        Raises:
            ValueError: no entry has such an option.
            ValidationError: a value does not fit.
        """
        mine = {option.name: option for option in self.own.get(name, ())}
        known = mine | {key: self._option(name, key) for key in given if key not in mine}
        fields: dict[str, Any] = {key: (_annotation(option), option.default) for key, option in known.items()}
        values = create_model("Options", __base__=_Schema, **fields).model_validate(given)
        has = mine if name in self.own else {option.name for option in self._options(name)}
        waiting = {key for key in known if key not in has and key in self._defaults}
        idle = {key for key in waiting if getattr(values, key) == self._defaults[key]}
        return {key: getattr(values, key) for key in known if key not in idle}

    def moved(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A whole configuration in which the options of this section stand in its ``options``.

        In earlier versions they were keys of the section, for whichever entry had them; such a key is still read.
        """
        section = values.get(self.section)
        if not isinstance(section, Mapping) or not self._defaults.keys() & section.keys():
            return dict(values)
        options = section.get("options", {})
        if not isinstance(options, Mapping):
            return dict(values)
        kept, options = {key: value for key, value in section.items() if key not in self._defaults}, dict(options)
        mine = {option.name for option in self.own.get(str(kept.get("head", kept.get("name", self.usual))), ())}
        for key, default in self._defaults.items():
            if key in section:
                options[key] = section[key]
                if key not in mine and section[key] == default:
                    del options[key]
        return {**values, self.section: {**kept, "options": options}}

    @property
    def usual(self) -> str:
        """The name that stands where none is given."""
        return next(iter(self.own))

    def usual_options(self) -> dict[str, Any]:
        """The application's defaults of all options, by dotted key."""
        return {f"{self.section}.options.{key}": default for key, default in self._defaults.items()}

    @property
    def _defaults(self) -> dict[str, Any]:
        return {option.name: option.default for options in self.own.values() for option in options}

    def _known(self, name: str) -> str:
        if name not in self.own and name not in self.names():
            meant = did_you_mean(name, self.names())
            raise ValueError(f"allowed are {', '.join(self.names())}; got {shown(name)}{meant}. {FROM_OUTSIDE}")
        return name

    def _option(self, name: str, key: str) -> Parameter:
        """An option that a user may set: of the entry itself, or of another one."""
        found = {option.name: option for options in self.own.values() for option in options}
        if name in self.own and key in found:
            return found[key]
        for other in (name, *self.names()):
            for option in self._options(other):
                if option.name == key:
                    return option
        names = [option.name for option in self._options(name)]
        allowed, meant = ", ".join(names) or "none", did_you_mean(key, names)
        raise ValueError(f"allowed with the {self.kind} {name}: {allowed}; got {shown(key)}{meant}")

    def _options(self, name: str) -> Iterable[Parameter]:
        """Those with a default; the others are the model's, or follow from the labels."""
        return (option for option in self._ask("options", name).values() if option.default is not option.empty)

    def _ask(self, what: str, *args: str) -> Any:
        import fusion

        return getattr(fusion, f"{self.kind}_{what}")(*args)


def _annotation(option: Parameter) -> Any:
    return Any if option.annotation is option.empty else option.annotation


def _option(name: str, annotation: Any, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_FOCUS = Annotated[float, Field(ge=0, le=1e6)]
_MARGIN = Annotated[float, Field(ge=0, lt=1)]
_HIDDEN, _DROPOUT = _option("hidden", Width, 256), _option("dropout", _MARGIN, 0.5)

HEADS = Registered(
    "head",
    {
        "sum": (_DROPOUT,),
        "concat": (_HIDDEN, _DROPOUT),
        "gated": (_HIDDEN, _DROPOUT),
        "attention": (_HIDDEN, _DROPOUT),
    },
    section="fusion",
)
LOSSES = Registered(
    "loss",
    {
        "bce": (),
        "weighted_bce": (_option("max_pos_weight", Annotated[float, Field(gt=0, le=1e9)], 20.0),),
        "ranked_bce": (_option("weight", _FOCUS, 0.3),),
        "focal": (_option("gamma", _FOCUS, 2.0),),
        "asl": (
            _option("gamma_neg", _FOCUS, 2.0),
            _option("gamma_pos", _FOCUS, 0.0),
            _option("clip", _MARGIN, 0.05),
        ),
        "cross_entropy": (),
        "double_sigmoid_bce": (),
    },
    section="loss",
)
GATES = Registered("gate", {"gram": (), "se": (), "srm": ()})
