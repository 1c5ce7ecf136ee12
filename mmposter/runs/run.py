"""A run folder: all that is needed to evaluate a trained model, or to use it on another machine."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusion.backbones import Undrawn, list_backbones, of_library, to_be_loaded
from mmposter.branches import branch_names, declared, frozen_branches
from mmposter.branches.named import GATES, HEADS, LOSSES
from mmposter.config import Config, flat_config, parse_stored, spared_config
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.evaluation.scored import file_hash
from mmposter.features.architecture import Architecture
from mmposter.features.sizes import Sizes
from mmposter.features.tower import EARLIER_RESIZE, TowerInput, TowerWeights, require_fitting, require_resize
from mmposter.files.atomic import write_json
from mmposter.files.formats import require_format
from mmposter.files.paths import file_here
from mmposter.files.plain import MEGABYTE
from mmposter.files.strict_json import mapping, number, read_json, shorten, shown, sound, texts
from mmposter.files.tensors import load_tensors, require_shapes
from mmposter.pretrained.trust import is_trusted
from mmposter.runs.building import build_image_classifier, build_model, build_tower
from mmposter.runs.decisions import Decision, Subsets, base_rates, unseen_answer
from mmposter.shell import command_line
from mmposter.shipped import BENCHMARK, find_run, is_borrowed, is_shipped, run_name, shipped_models
from mmposter.suggest import did_you_mean

if TYPE_CHECKING:
    from fusion import ImageClassifier, PosterModel
    from mmposter.evaluation.promise import Evidence
    from mmposter.evaluation.unseen import Unseen
    from mmposter.features.extractors import BranchExtractors

FORMAT = 1
MODEL, WEIGHTS, TOWER, VALIDATION = "model.json", "best.safetensors", "tower.safetensors", "validation.json"

BASE_RATES = "base_rates"
"""The fact that holds the share of the training posters that have each genre, in the order of the genres."""

OTHER_WEIGHTS = "other_weights_allowed"
"""The fact that names branches whose files need not be the very ones that the run was trained behind."""

START = "start"
"""The fact that names the model that the run went on from, with the digest of its weights, and what was gained."""

_LARGEST = 16 * MEGABYTE  # of model.json: of ours, that is a few kilobytes
_MEND = "get the run folder again, or train again with --overwrite"


@dataclass(frozen=True)
class Run:
    """What a run folder says about its model.

    Attributes:
        folder: where it lies.
        config: as resolved.
        vocabulary: the genres in the order of the logits.
        sizes: widths of the frozen parts.
        fingerprints: identity of each frozen extractor that the model was trained behind, by branch.
        thresholds: one probability a genre, tuned on validation; None until training has ended.
        facts: data, versions and numbers for the model card.
        spare: whether it is used without the files that its branches can go without, see `sparing`; not saved.
    """

    folder: Path
    config: Config
    vocabulary: Vocabulary
    sizes: Sizes
    fingerprints: Mapping[str, Any]
    thresholds: NDArray[np.float64] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    spare: bool = False

    def __repr__(self) -> str:
        """In one line: the folder, and what the model looks through."""
        return f"<Run {self.folder}: {', '.join(self.config.branches)}; {len(self.vocabulary)} genres>"

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from mmposter.document import CodeBlock, DetailsBlock, render_fragment

        facts = {
            "folder": str(self.folder),
            "branches": ", ".join(self.config.branches),
            "genres": ", ".join(self.vocabulary.genres),
            "training": "not finished" if self.thresholds is None else "finished",
        }
        config = json.dumps(self.config.model_dump(mode="json"), indent=2, ensure_ascii=False)
        return render_fragment(
            f"Run {self.folder.name}", [DetailsBlock("Configuration", [CodeBlock(config)])], facts=facts
        )

    def save(self) -> None:
        """Write `model.json` atomically."""
        thresholds = None if self.thresholds is None else [float(value) for value in self.thresholds]
        write_json(
            self.folder / MODEL,
            {
                "format": FORMAT,
                "config": self.config.model_dump(mode="json"),
                "vocabulary": self.vocabulary.to_json(),
                "sizes": self.sizes.to_json(),
                "fingerprints": dict(self.fingerprints),
                "thresholds": thresholds,
                "facts": dict(self.facts),
            },
        )

    @classmethod
    def load(cls, folder: str | Path, *, finished: bool = True) -> Run:
        """Read a run folder.

        Args:
            folder: what `mmposter train` wrote; as a text also ``posters``, the shipped model, or a link (see
                `mmposter.shipped.find_run`).
            finished: refuse one whose training has not ended.

        Raises:
            UserError: if it is no run folder, was written by a newer mmposter, or is not finished.
        """
        folder = find_run(folder)
        path = folder / MODEL
        if folder.parts[:1] == ("hf:",):  # a path that was made of an address
            getting = command_line("hf", "download", "/".join(folder.parts[1:]), "--local-dir", "FOLDER")
            raise UserError(
                "a run folder is needed here, and a model of the hub lies in a cache, which nobody writes into.\n"
                f"Get its files first: {getting}"
            )
        if file_here(path) is None:
            meant = did_you_mean(str(folder), shipped_models())
            training = command_line("mmposter", "train", "DATA", "--out", folder)
            raise UserError(f"{folder} is no run folder (it has no {MODEL}){meant}; make one with: {training}")
        values = read_json(path, limit=_LARGEST, mend=_MEND)
        with sound(path, _MEND):
            known = mapping(values, MODEL)
            require_format(path, known["format"], FORMAT)
            vocabulary = Vocabulary.from_json(known["vocabulary"], where=str(path))
            _require_plugins(folder, known["config"])
            try:
                config = parse_stored(known["config"])
            except UserError as error:
                raise UserError(f"{path} cannot be used: {error}\n{_MEND}") from error
            run = cls(
                folder=folder,
                config=config,
                vocabulary=vocabulary,
                sizes=Sizes.from_json(known["sizes"]),
                fingerprints=_fingerprints(known["fingerprints"]),
                thresholds=_thresholds(known["thresholds"], len(vocabulary)),
                facts=mapping(known["facts"], "facts"),
            )
            texts(run.facts.get(OTHER_WEIGHTS, ()), OTHER_WEIGHTS)
            mapping(run.facts.get(START, {}), START)
            if BASE_RATES in run.facts:
                base_rates(run.facts[BASE_RATES], len(vocabulary))
            _ = run.architecture, run.resize  # made of the file's values, too
        if finished and (run.thresholds is None or not (folder / WEIGHTS).is_file()):
            training = command_line("mmposter", "train", "DATA", "--out", folder, "--resume")
            raise UserError(f"the training in {folder} has not ended; go on with: {training}")
        return run

    def load_model(self) -> PosterModel | ImageClassifier:
        """The trained model in evaluation mode, on the CPU.

        Raises:
            UserError: if the weights are damaged or belong to another model.
        """
        from safetensors import SafetensorError

        file = self.folder / WEIGHTS
        self._require_fitting(file)
        with sound(self.folder / MODEL, _MEND), to_be_loaded(self.config.cnn.backbone):
            model = self._untrained()
        try:
            model.load_state_dict(load_tensors(file))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"{file} does not hold this model's weights: {shorten(str(error))}") from error
        if any(value.is_floating_point() and value.isnan().any() for value in model.state_dict().values()):
            raise UserError(f"{file} holds weights that are no numbers; {_MEND}")
        return model.eval()

    def _require_fitting(self, file: Path) -> None:
        """Compare what the run says with the header of its weights, before a model of that size is made."""
        import torch

        name, learns = self.config.cnn.backbone, self._learns_images
        if learns and of_library(name):
            require_fitting(name, self.architecture, file)
            return
        with sound(self.folder / MODEL, _MEND), torch.random.fork_rng(devices=[]), Undrawn(), torch.device("meta"):
            wanted = {key: tuple(value.shape) for key, value in self._untrained().state_dict().items()}
        require_shapes(file, wanted, "this model's weights")

    @property
    def _learns_images(self) -> bool:
        """Whether the image network is a part of the model, and not in front of it."""
        return len(frozen_branches(self.config.branches, self.config.regime)) < len(self.config.branches)

    def _untrained(self) -> PosterModel | ImageClassifier:
        """The model before its training: the checkpoint holds the trained weights."""
        config, genres = self.config, len(self.vocabulary)
        if not self._learns_images:
            return build_model(config, self.sizes, genres)
        size = self.tower_input().size
        backbone = replace(self._unweighted, size=size).build()
        if config.cnn.classifier != "fusion":
            return build_image_classifier(config, backbone, size, genres)
        return build_model(config, self.sizes, genres, build_tower(config, backbone))

    @property
    def architecture(self) -> Architecture | None:
        """Of the run's ``timm/`` or ``hf/`` network, as it was found when training began; None for others."""
        known = mapping(self.fingerprints.get("tower", {}), "tower").get("architecture")
        return None if known is None else Architecture.from_json(known)

    @property
    def resize(self) -> str:
        """The filter that posters were resized by for the run's image network."""
        with sound(self.folder / MODEL, _MEND):
            tower = mapping(self.fingerprints.get("tower", {}), "tower")
            return require_resize(tower.get("resize", EARLIER_RESIZE))

    @property
    def _unweighted(self) -> TowerWeights:
        """The run's image network without its weights."""
        return TowerWeights(self.config.cnn.backbone, None, architecture=self.architecture, resize=self.resize)

    def tower_input(self) -> TowerInput:
        """How posters are fed to the image network, without asking anyone but this folder.

        Raises:
            UserError: it names a network that nobody knows.
        """
        with sound(self.folder / MODEL, _MEND):
            return TowerInput.of(self.config.cnn, self._unweighted)

    def subsets(self) -> Subsets | None:
        """What `mmposter calibrate` fitted and measured; None where it was not run.

        Raises:
            UserError: if the file is damaged, or of other weights than the run has now.
        """
        found = Subsets.load(self.folder, self.config.branches, self.vocabulary.genres)
        if found is not None and found.weights != file_hash(self.folder / WEIGHTS):
            anew = command_line("mmposter", "calibrate", self.folder, "DATA")
            raise UserError(f"{self.folder} was trained again since it was calibrated; type: {anew}")
        return found

    def decision(self, only: Collection[str] | None = None) -> Decision:
        """How the model's probabilities are shown, and become genres.

        Args:
            only: the branches that it looks through, all others are masked; None: all.

        Raises:
            UserError: as `subsets`.
        """
        assert self.thresholds is not None  # Run.load has refused an unfinished run
        fitted = self.subsets()
        if fitted is None:
            return Decision(self.thresholds, unseen=self._unseen())
        names = tuple(name for name in self.config.branches if only is None or name in only)
        decision = fitted.of(names, spare=self.spare).decision
        if decision.unseen is None:
            return replace(decision, unseen=self._unseen())
        return replace(decision, unseen=unseen_answer(self.config, decision.unseen.probs))

    def evidence(self, only: Collection[str] | None = None) -> Evidence:
        """What the validation posters say of which precision can be promised (see `mmposter.evaluation.promise`).

        Args:
            only: as for `decision`: what is promised of some branches does not hold for others.

        Raises:
            UserError: as `subsets`, or the run keeps none, with what to type.
        """
        fitted = self.subsets()
        names = tuple(name for name in self.config.branches if only is None or name in only)
        found = None if fitted is None else fitted.of(names, spare=self.spare).evidence
        if found is not None:
            return found
        if self.config.single_label:
            raise UserError(
                f"no precision can be promised of {self.folder}: it gives each poster one genre, and such a run cannot "
                "be calibrated. Train one with another loss, such as bce"
            )
        folder, data, copy = str(self.folder), "DATA", ""
        if is_borrowed(self.folder):  # by the package, or by a cache, where files are links
            own = is_shipped(self.folder)
            folder, data = f"{run_name(self.folder)}-calibrated", BENCHMARK if own else data
            copy = f"{command_line('cp', '-r' if own else '-rL', self.folder, folder)}\n  "
        raise UserError(
            f"no precision can be promised of {self.folder}: it does not keep what its validation posters say of that. "
            f"Type:\n  {copy}{command_line('mmposter', 'calibrate', folder, data)}"
        )

    def _unseen(self) -> Unseen | None:
        """The answer where nothing was seen: the base rates of the training, or as an earlier run knew them."""
        shares, genres = self.facts.get(BASE_RATES), len(self.vocabulary)
        if shares is None and (validation := self.folder / VALIDATION).is_file():
            with sound(validation, _MEND):
                of_genre = mapping(read_json(validation, limit=_LARGEST, mend=_MEND)["by_genre"], "by_genre")
                shares = [of_genre[genre]["prevalence"] for genre in self.vocabulary.genres]
        if shares is None:
            return None
        with sound(self.folder / MODEL, _MEND):
            return unseen_answer(self.config, base_rates(shares, genres))

    @property
    def other_weights_allowed(self) -> tuple[str, ...]:
        """Branches whose frozen models may come from other files of the same kind (`posters`, which comes without).

        A run says this of itself, so it counts for what travels with the package alone, or where the person trusts it.
        """
        return tuple(
            name
            for name in self.facts.get(OTHER_WEIGHTS, ())
            if name in self.config.branches and declared(name).weights_may_differ
        )

    def require_same_extractors(self, extractors: Mapping[str, BranchExtractors]) -> None:
        """Refuse frozen models other than those the run was trained behind: its scores would mean nothing.

        Of the branches in `other_weights_allowed` the settings must agree, not the files.

        Raises:
            UserError: naming the branch, and both identities.
        """
        may_differ = self.other_weights_allowed if is_shipped(self.folder) or is_trusted() else ()
        for name, branch in extractors.items():
            then, now = self.fingerprints.get(name), branch.feature.identity()
            if self.spare and then is not None and declared(name).spared(self.config) is not None:
                then = mapping(then, f"the identity of {name}").get("source")
            if name in may_differ and then is not None:
                then, now = _without_weights(then), _without_weights(now)
            if now != then:
                asks = ". It says that others will do: if you know who made it, type the same command with --trust"
                raise UserError(
                    f"the {name} branch of {self.folder} was trained behind other weights or settings than those found "
                    f"here:\n  then: {shown(then)}\n  now:  {shown(now)}\n"
                    "Give it the same files, or leave the branch out with --branches"
                    + (asks if name in self.other_weights_allowed and name not in may_differ else "")
                )

    def require_same_sizes(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse other files whose records the model cannot read: an object detector that names other things, or a text
        encoder of another width. Where no other files are allowed, their identity has said all.

        Args:
            metadata: what extractors say beside their records, by branch.

        Raises:
            UserError: naming the branch.
        """
        for name in self.other_weights_allowed:
            if name not in metadata:
                continue
            known = metadata[name]
            same = tuple(known.get("class_names", self.sizes.class_names)) == self.sizes.class_names
            if not same or known.get("embedding_dim", self.sizes.embedding_dim) != self.sizes.embedding_dim:
                raise UserError(
                    f"the files found for the {name} branch of {self.folder} are of another kind than those it was "
                    "trained behind (other classes, or another width of its vectors).\n"
                    "Give it the same files, or leave the branch out with --branches"
                )

    def serving_config(self) -> Config:
        """The configuration with the frozen tower's weights taken from the run folder, wherever that lies now.

        It names the filter that the run was trained behind, whatever the tower's records say today.
        """
        tower, config = self.folder / TOWER, self.config.with_network(resize=self.resize)
        if self.spare:
            config = spared_config(config) or config
        return config.with_network(init=str(tower)) if tower.is_file() else config

    def sparing(self) -> Run:
        """The same run for use without the files that its branches can go without: it says what is left says."""
        return replace(self, spare=True)

    def with_tower(
        self, model: PosterModel | ImageClassifier, *, offline: bool = True
    ) -> PosterModel | ImageClassifier:
        """The model with the image network that it was trained on or behind; one that has it is returned as it is.

        Raises:
            UserError: the files of the network are missing or damaged.
        """
        from fusion import PosterModel

        if not isinstance(model, PosterModel) or model.tower is not None:
            return model
        config = self.serving_config()
        weights = TowerWeights.find(config.cnn, seed=config.seed, offline=offline)
        return PosterModel(model.fusion, build_tower(config, weights.build()), model.reweight_cnn).eval()


def _require_plugins(folder: Path, config: Any) -> None:
    """Refuse a run of things from outside that are not loaded; it cannot say itself which file brings them."""
    flat = flat_config(config) if isinstance(config, dict) else {}
    named = flat.get("branches")
    wanted = [("branch", name, branch_names()) for name in (named if isinstance(named, list) else ())]
    keys = (("fusion.head", HEADS), ("loss.name", LOSSES), ("style.gate", GATES))
    wanted += [(registry.kind, flat.get(key), registry.names()) for key, registry in keys]
    network = flat.get("cnn.backbone")
    if isinstance(network, str) and not of_library(network):
        wanted.append(("image network", network, tuple(list_backbones())))
    for kind, name, known in wanted:
        if isinstance(name, str) and name not in known:
            raise UserError(
                f"{folder} has the {kind} {shown(name)}, which is none of mmposter's ({', '.join(known)}).\nName the "
                "file that brings it, if you know who made it: mmposter --plugin FILE COMMAND ..."
            )


def _fingerprints(values: Any) -> Mapping[str, Any]:
    return {
        name: mapping(identity, f"the fingerprint of {name}")
        for name, identity in mapping(values, "fingerprints").items()
    }


def _thresholds(values: Any, genres: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != genres:
        raise ValueError(f"thresholds must be {genres} numbers, one a genre; got {shown(values)}")
    return np.array([number(value, "a threshold") for value in values], np.float64)


def _without_weights(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An extractor's identity without the digests of its files."""
    return {
        key: _without_weights(value) if isinstance(value, Mapping) else value
        for key, value in identity.items()
        if key != "weights"
    }
