"""Frozen models of which only the identity is here: those that the features of a pack were made with.

A record is found by the fingerprint of its extractor, and that holds a digest of the model's weights. Where records
travel without the models, the digests travel too, and stand in for files that nobody has to have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposter.branches import declarations, declared, on_images
from mmposter.config import CnnConfig, Config, flat_config
from mmposter.errors import UserError
from mmposter.features.architecture import Architecture
from mmposter.features.tower import EARLIER_RESIZE, TowerInput, TowerWeights, require_resize
from mmposter.files.paths import file_here, folder_here
from mmposter.files.strict_json import mapping, shown, sound, text, whole
from mmposter.shell import command_line

if TYPE_CHECKING:
    from fusion import Backbone
    from mmposter.data.dataset import Dataset
    from mmposter.features.extractors.base import BranchExtractors

_NO_FILES = ("imagenet", "posters", "none")
_WIDEST = 65_536
_TOWER_IDENTITY = ("backbone", "weights", "architecture", "resize")


@dataclass(frozen=True)
class PinnedTower(TowerWeights):
    """A backbone whose weights are not here."""

    known: Mapping[str, Any] = field(default_factory=dict, hash=False)  # its identity

    def identity(self) -> dict[str, Any]:
        return dict(self.known)

    def build(self) -> Backbone:
        raise UserError(f"the weights of {self.backbone} are not here: a pack holds features, not the network")


@dataclass(frozen=True)
class Pins:
    """What a pack says of the models behind its records."""

    pack: str  # its name
    settings: Mapping[str, Any]  # the configuration keys that decide the records, with their values
    fingerprints: Mapping[str, Mapping[str, Any]]  # of its extractors, by name
    embedding_dim: int = 0  # the width of the text encoder; 0 without the branch ocr

    @classmethod
    def of(cls, dataset: Dataset) -> Pins | None:
        """Those of a data set that comes from a pack; None for any other.

        Raises:
            UserError: they are damaged, or name a file of this machine, which no pack does.
        """
        known = dataset.info.get("pins")
        if known is None:
            return None
        with sound(f"the pack {dataset.folder.name}", "get it again"):
            return cls.from_json(known)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Pins:
        """What `to_json` gave, from whoever made the pack.

        Raises:
            ValueError: other keys or types; a model that is named by a path; an extractor without what tells it from
                others.
        """
        known = declarations().values()
        settings = dict(mapping(said.get("settings"), "pins.settings"))
        if "cnn.backbone" in settings:  # packs from before there was a choice do not say it
            require_resize(settings.setdefault("cnn.resize", EARLIER_RESIZE))
        fingerprints = mapping(said.get("fingerprints"), "pins.fingerprints")
        # Of keys that a pack is older than, it means what was done then.
        here = {one.name for one in known if one.feature_extractor in fingerprints}
        meant = {
            key: one.earlier[key] for one in known if one.name in here for key in one.record_keys if key in one.earlier
        }
        settings = {**meant, **settings}
        if unknown := sorted(set(settings) - {"seed", *(key for branch in known for key in branch.record_keys)}):
            raise ValueError(f"pins.settings has the key {shown(unknown[0])}, of no branch that is loaded")
        for key, parts in _model_names().items():
            # `tower` looks for the file of that name; a path would open any file of whoever opens the pack.
            if key in settings and not _is_name(text(settings[key], key), parts=parts):
                raise ValueError(f"{key} must be a name and no path, got {shown(settings[key])}")
        weightless = {branch.feature_extractor for branch in known if not branch.weighted}
        for name, fingerprint in fingerprints.items():
            digest = mapping(fingerprint, f"the fingerprint of {name}").get("weights")
            if name not in weightless:
                text(digest, f"the weights of {name}")
        for branch in known:
            if branch.name in here and (lacking := [key for key in branch.record_keys if key not in settings]):
                raise ValueError(f"pins.settings lacks {lacking[0]}")
        width = whole(said.get("embedding_dim", 0), "pins.embedding_dim", most=_WIDEST)
        return cls(text(said.get("pack"), "pins.pack"), settings, dict(fingerprints), width)

    @classmethod
    def from_extractors(cls, pack: str, config: Config, branches: Mapping[str, BranchExtractors], width: int) -> Pins:
        """Those of the extractors that a pack is made of, without any path of this machine.

        Args:
            pack: its name.
            config: behind the extractors.
            branches: the extractors.
            width: of the text encoder, or 0.
        """
        flat = flat_config(config.model_dump(mode="json"))
        settings = {key: flat[key] for name in branches for key in declared(name).record_keys}
        for key in _model_names():
            if key in settings and (file_here(settings[key]) or folder_here(settings[key])):
                settings[key] = Path(settings[key]).name
        if settings.get("cnn.init") == "none":
            settings["seed"] = config.seed
        fingerprints = {step.name: step.fingerprint() for branch in branches.values() for step in branch.steps}
        if "cnn.resize" in settings:
            settings["cnn.resize"] = _tower_fingerprint(fingerprints).get("resize", EARLIER_RESIZE)
        return cls(pack, settings, fingerprints, width)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def weights(self, extractor: str) -> str:
        """The digest of an extractor's weights."""
        return str(self.fingerprints[extractor]["weights"])

    @property
    def init(self) -> str | None:
        """The ``cnn.init`` behind the records; None where they need no image network."""
        return self.settings.get("cnn.init")

    def tower(self, config: Config) -> TowerWeights:
        """The image network: its file where it is here, else its identity alone."""
        packed = self.settings["cnn.init"]  # of a file, the name is there, and is no word of the person's
        for init in dict.fromkeys((config.cnn.init, *([packed] if packed in _NO_FILES else []))):
            if (found := self._tower_here(config, init)) is not None:
                return found
        known = self._tower_identity
        said = known.get("architecture")
        architecture = None if said is None else Architecture.from_json(said)
        resize = self.settings["cnn.resize"]
        return PinnedTower(
            config.cnn.backbone, None, architecture=architecture, size=config.cnn.size, resize=resize, known=known
        )

    def network(self, extractor: str, asked: CnnConfig) -> tuple[CnnConfig, TowerWeights]:
        """The image network of an extractor that has one to itself, by its identity, and how it is looked through.

        Args:
            extractor: its name.
            asked: as the configuration has it.
        """
        known = self.fingerprints[extractor]
        identity = {key: known[key] for key in _TOWER_IDENTITY if key in known}
        said, resize = known.get("architecture"), require_resize(known.get("resize", EARLIER_RESIZE))
        architecture = None if said is None else Architecture.from_json(said)
        with sound(f"the pack {self.pack}", "get it again"):
            height, width = (whole(side, "a side", least=1, most=_WIDEST) for side in known["size"])
        network = asked.model_copy(update={"size": (height, width)})
        weights = PinnedTower(
            network.backbone, None, architecture=architecture, size=network.size, resize=resize, known=identity
        )
        return network, weights

    def same_size(self, extractor: str, asked: CnnConfig) -> bool:
        """Whether such a network looks at pictures of the size that the records were made from."""
        network, weights = self.network(extractor, asked)
        return TowerInput.of(network.model_copy(update={"size": asked.size}), weights).size == network.size

    def require(self, config: Config, branches: Sequence[str]) -> None:
        """Refuse branches and settings that the pack has no records of.

        Raises:
            UserError: naming every key that differs.
        """
        here = [name for name, one in declarations().items() if one.feature_extractor in self.fingerprints]
        if missing := [name for name in branches if name not in here]:
            left = ",".join(name for name in branches if name in here) or ",".join(here)
            raise UserError(
                f"{self.pack} has no features of {', '.join(missing)}, and no pictures to make them from; it has "
                f"{', '.join(here)}.\nType {command_line('--branches', left)}"
            )
        asked = flat_config(config.model_dump(mode="json"))
        keys = dict.fromkeys(key for name in branches for key in declared(name).record_keys)
        if "cnn.init" in keys and config.cnn.init == self.settings.get("cnn.init") == "none":
            keys["seed"] = None  # of the random weights
        if different := [key for key in keys if not self._same(key, asked[key], config)]:
            lines = [
                f"  {key}: {_text(self.settings[key])} in the pack, {_text(asked[key])} asked" for key in different
            ]
            words: list[str] = []
            for key in different:
                words += ["--set", f"{key}={'auto' if key == 'cnn.init' else _text(self.settings[key])}"]
            raise UserError(
                f"{self.pack} holds features of other settings, and no pictures to make new ones from:\n"
                + "\n".join(lines)
                + f"\nFor those of the pack: {command_line(*words)}\n"
                "Other settings need posters: mmposter prepare SOURCE --out DATA. A finished run is measured on the "
                "pack that it was trained on"
            )

    def require_same(self, branches: Iterable[BranchExtractors]) -> None:
        """Refuse extractors that would look for other records, as those of another version of mmposter do.

        Raises:
            UserError: naming the extractor.
        """
        for step in (step for branch in branches for step in branch.steps):
            if step.name in self.fingerprints and step.fingerprint() != self.fingerprints[step.name]:
                if step.name == "text" and "mask" in step.fingerprint()["source"]:
                    continue  # made from the pack's own lines, and kept beside them
                raise UserError(
                    f"{self.pack} was made by another version of mmposter, whose {step.name} features differ from "
                    "those of this one. Take the pack of this version, or prepare posters of your own"
                )

    @property
    def _tower_identity(self) -> dict[str, Any]:
        known = self._tower_known
        return {key: known[key] for key in _TOWER_IDENTITY if key in known}

    @property
    def _tower_known(self) -> Mapping[str, Any]:
        """The fingerprint of an extractor that looks through the image network."""
        return _tower_fingerprint(self.fingerprints)

    def _tower_here(self, config: Config, init: str) -> TowerWeights | None:
        """The tower that ``cnn.init`` names, where it is here and is the pack's own."""
        cnn = config.cnn.model_copy(update={"init": init, "resize": self.settings["cnn.resize"]})
        try:
            found = TowerWeights.find(cnn, seed=config.seed, offline=True)
        except UserError:  # not on this machine
            return None
        return found if found.identity() == self._tower_identity else None

    def same_network(self, key: str, asked: Any, config: Config) -> bool | None:
        """Whether a key of the image network with another value means the pack's network; None: where it is equal."""
        if key == "cnn.init":
            return asked == self.settings[key] or self._tower_here(config, asked) is not None
        if key == "cnn.resize":
            return asked in ("backbone", self.settings[key])
        if key == "cnn.size" and config.cnn.backbone == self.settings["cnn.backbone"]:
            return bool(list(TowerInput.of(config.cnn, self.tower(config)).size) == self._tower_known["size"])
        return None

    def _same(self, key: str, asked: Any, config: Config) -> bool:
        """Whether the records are the same with this value as with the pack's."""
        for declaration in declarations().values():
            if (
                key in declaration.record_keys
                and (same := declaration.same_records(key, asked, config, self)) is not None
            ):
                return same
        return bool(asked == self.settings[key])


def _tower_fingerprint(fingerprints: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(fingerprints[name] for name in on_images(declarations()) if name in fingerprints)


def _model_names() -> dict[str, int]:
    """The keys that name a model, and of how many parts the name may be."""
    return {key: parts for one in declarations().values() for key, parts in one.model_names.items()}


def _is_name(value: str, *, parts: int) -> bool:
    """Whether `value` names a model and no file elsewhere; an encoder of the hub is called ``owner/model``."""
    names = value.split("/")
    odd = any(name in ("", ".", "..") or set("\\:\0") & set(name) for name in names)
    return len(names) <= parts and not odd and not value.startswith("~")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
