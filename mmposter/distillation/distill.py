"""`mmposter distill`: from posters, with or without genres, to an image network of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusion import Backbone, ChannelStatistics, DistillationLoss, Distiller, Hint, HintLoss, SoftGenreLoss
from mmposter.config import CnnConfig
from mmposter.data.dataset import Dataset
from mmposter.distillation.card import write_card
from mmposter.distillation.config import DistillationConfig
from mmposter.distillation.genres import FILE as GENRE_HEAD
from mmposter.distillation.genres import SoftGenres
from mmposter.distillation.loop import STATE, DistillationLoop
from mmposter.distillation.schedule import Schedule
from mmposter.distillation.teachers import FOLDER, Teacher, poster_maps
from mmposter.distillation.views import PosterMaps, Views
from mmposter.engines.device import resolve_device
from mmposter.errors import UserError
from mmposter.features.settled import settled_init
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.files.atomic import write_json
from mmposter.files.formats import require_format
from mmposter.files.strict_json import mapping, read_json, shown, sound
from mmposter.outputs import claim, remove_folder
from mmposter.outputs.kinds import DISTILLATION, TEACHERS
from mmposter.progress import say
from mmposter.runs.provenance import package_version, source_commit
from mmposter.runs.run import TOWER
from mmposter.runs.seen import TRAIN, VAL, SeenPosters, seen_through
from mmposter.training.checkpoint import require_same_config

INFO = "distillation.json"
FORMAT = 1
_STATISTICS_POSTERS = 600  # enough for the mean and deviation of a channel, and 0.2 GB for the widest map
_LIBRARIES = ("torch", "torchvision", "mmposter")


@dataclass(frozen=True)
class Distillation:
    """A finished distillation."""

    folder: Path  # holds `tower.safetensors`, `distillation.json`, `metrics.csv`, and a card
    config: DistillationConfig  # as resolved
    facts: Mapping[str, Any]  # data, versions and numbers for the card
    history: Sequence[Mapping[str, Any]]  # the rows of `metrics.csv`

    @property
    def tower(self) -> Path:
        """The network's file, for ``cnn.init`` and `mmposter train --init`."""
        return self.folder / TOWER


def distill(
    config: DistillationConfig,
    dataset: Dataset,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    keep_maps: bool = False,
    offline: bool = False,
    quiet: bool = False,
) -> Distillation:
    """Train a student on the ``train`` posters, watch it on ``val`` ones, never open those of ``test``.

    Args:
        dataset: posters; where they have genres, those of train and val are looked at, see ``genre_weight``.
        device: auto, cpu, cuda or mps.
        resume: go on where the distillation in `out` stopped.
        keep_maps: leave the teachers' maps in `out`.

    Raises:
        UserError: unknown networks, missing weights, too few posters, an `out` that holds another distillation, or
            that another process is writing.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    dataset.require_pictures("mmposter distill")
    device = resolve_device(device)
    weights, student = _student(config, offline=offline)
    teachers = [Teacher.find(name, student, config, offline=offline) for name in config.teachers]
    work = _Distilling(config, dataset, out, weights, student, teachers, device, quiet)
    facts = work.facts()
    with claim(out, DISTILLATION, go_on=resume, overwrite=overwrite) as there:
        result = _finished(out, config, facts) if there else None
        if result is None:
            if resume and not there:
                say(f"nothing to resume in {out}: starting anew")
            result = work.run(facts, resume=resume)
        _tidy(out, keep_maps=keep_maps)
        return result


@dataclass(frozen=True)
class _Distilling:
    """What learns from whom, and where; the work itself is `run`."""

    config: DistillationConfig
    dataset: Dataset
    out: Path
    weights: TowerWeights
    student: Backbone
    teachers: Sequence[Teacher]
    device: str
    quiet: bool

    def run(self, facts: dict[str, Any], *, resume: bool) -> Distillation:
        """Train in the folder, which is ours by now."""
        config, out = self.config, self.out
        write_json(out / INFO, _info(config, facts, history=()))
        if not self.quiet:
            _announce(self.teachers, config.student)
        maps = poster_maps(
            self.dataset,
            self.teachers,
            config,
            out / FOLDER,
            device=self.device,
            resize=self.weights.filter,
            quiet=self.quiet,
        )
        genres = None
        if maps.labels is not None:
            final = [hint.name for hint in self._hints() if hint.final]
            genres = SoftGenres.of(
                maps, final, config.genre_folds, config.seed, out, device=self.device, quiet=self.quiet
            )
        loop = self._loop(maps, genres)
        if resume:
            loop.resume()
        progress = loop.run(quiet=self.quiet)
        loop.finish()
        facts |= {
            "train_posters": len(maps.train),
            "val_posters": len(maps.val),
            "unreadable": list(maps.unreadable),
            "genres": None,
            "parameters": sum(parameter.numel() for parameter in self.student.parameters()),
            "steps": progress.step,
            "pictures": loop.schedule.pictures,
            "seconds": round(progress.seconds, 1),
            "device": self.device,
            "validation": loop.validate(),
            "constant": loop.validate(constant=True),
        }
        if genres is not None:
            names = list(self.dataset.vocabulary.genres)
            facts["genres"] = {
                "names": names,
                "folds": len(genres.heads),
                "validation_map": float(genres.validation_map),
                "train_map": float(genres.train_map),
            }
        # Its batch norms were measured at this size, so whoever uses it without another `cnn.size` gets this one.
        replace(self.weights, size=loop.size).save_trained(out / TOWER, loop.average.student)
        self._seen().save(out)
        write_card(out, config, facts, progress.history)
        write_json(out / INFO, _info(config, facts, progress.history))  # with its history it is finished
        return Distillation(out, config, facts, progress.history)

    def _seen(self) -> SeenPosters:
        """The posters that were learnt from or watched, and those that the student had seen before."""
        table = self.dataset.table
        seen = seen_through(self.weights, self.config.init)
        for split in (VAL, TRAIN):
            seen = SeenPosters.of(table[table["split"] == split], split).with_more(seen)
        return seen

    def facts(self) -> dict[str, Any]:
        """What is known before the training."""
        return {
            "data": self.dataset.folder.resolve().name,
            "manifest": self.dataset.info["manifest_sha256"],
            "student": self.weights.identity(),
            "teachers": [
                {
                    "name": teacher.name,
                    "identity": teacher.weights.identity(),
                    "stages": {hint.teacher_stage: hint.student_stage for hint in teacher.hints},
                    "scores": teacher.classifier is not None,
                }
                for teacher in self.teachers
            ],
            "versions": {name: package_version(name) for name in _LIBRARIES},
            "commit": source_commit(),
        }

    def _hints(self) -> list[Hint]:
        return [hint for teacher in self.teachers for hint in teacher.hints]

    def _loop(self, maps: PosterMaps, genres: SoftGenres | None) -> DistillationLoop:
        config = self.config
        looks = TowerInput.of(CnnConfig(backbone=config.student), self.weights)
        torch.manual_seed(config.seed)
        return DistillationLoop(
            Distiller(self.student, self._hints(), 0 if genres is None else len(genres.prior)),
            self._loss(maps, genres),
            Views(maps, config, looks.mean, looks.std, self.device, genres),
            Schedule(config.phases, len(maps.train), config.warmup, config.decay, config.held_norms),
            config,
            device=self.device,
            out=self.out,
        )

    def _loss(self, maps: PosterMaps, genres: SoftGenres | None) -> DistillationLoss:
        """Standardised by some of the training posters' maps."""
        config = self.config
        count = min(len(maps.train), _STATISTICS_POSTERS)
        rows = np.sort(np.random.default_rng(config.seed).choice(maps.train, count, replace=False))
        parts = {
            hint.name: HintLoss(
                ChannelStatistics.of(torch.from_numpy(maps.maps[hint.name][rows])),
                final=hint.final,
                classifier=teacher.classifier if hint.final else None,
                temperature=config.temperature,
                logits_weight=config.logits_weight,
            )
            for teacher in self.teachers
            for hint in teacher.hints
        }
        return DistillationLoss(parts, None if genres is None else SoftGenreLoss(genres.prior, config.genre_weight))


def _student(config: DistillationConfig, *, offline: bool) -> tuple[TowerWeights, Backbone]:
    try:
        wanted = CnnConfig(backbone=config.student, init=settled_init(config.student, config.init))
        weights = TowerWeights.find(wanted, seed=config.seed, offline=offline)
    except UserError as error:
        raise UserError(f"--student: {str(error).removeprefix('cnn.')}") from error
    return weights, weights.build()


def _announce(teachers: Sequence[Teacher], student: str) -> None:
    for teacher in teachers:
        meets = ", ".join(f"{hint.student_stage} -> {hint.teacher_stage}" for hint in teacher.hints)
        scores = "" if teacher.classifier else "; its classifier is no single linear layer, so its scores are left out"
        say(f"{student} learns from {teacher.name}: {meets}{scores}")


def _info(config: DistillationConfig, facts: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "facts": dict(facts),
        "history": [dict(row) for row in history],
    }


def _finished(out: Path, config: DistillationConfig, facts: Mapping[str, Any]) -> Distillation | None:
    """The result that is there; None where it is not finished.

    Raises:
        UserError: it is of another configuration, other data or other files.
    """
    there = _read(out / INFO)
    _require_same(out, there, config, facts)
    return Distillation(out, config, there["facts"], there["history"]) if there["history"] else None


def _require_same(out: Path, there: Mapping[str, Any], config: DistillationConfig, facts: Mapping[str, Any]) -> None:
    if "genre_folds" not in there["config"]:
        raise UserError(
            f"{out} was made by an earlier version of mmposter, whose genre answers came from a head that had learnt "
            "the genres of the same posters.\nDistil anew: the same command with --overwrite in place of --resume, or "
            "with another --out"
        )
    require_same_config(out, there["config"], config.model_dump(mode="json"))
    for key, what in (("manifest", "another state of the data"), ("teachers", "teachers with other weights")):
        if there["facts"].get(key) != facts[key]:
            raise UserError(f"{out} was started on {what}; give another --out")
    if there["facts"].get("student") != facts["student"]:
        raise UserError(f"{out} was started from another file of the student; give another --out")


def _read(path: Path) -> dict[str, Any]:
    mend = "replace the folder with --overwrite"
    values = read_json(path, mend=mend)
    with sound(path, mend):
        known = mapping(values, INFO)
        require_format(path, known["format"], FORMAT)
        for name in ("config", "facts"):
            mapping(known[name], name)
        if not isinstance(known["history"], list):
            raise ValueError(f"history must be a list, got {shown(known['history'])}")
    return dict(known)


def _tidy(out: Path, *, keep_maps: bool) -> None:
    for name in (STATE, GENRE_HEAD):
        (out / name).unlink(missing_ok=True)
    if not keep_maps and (out / FOLDER).is_dir():
        remove_folder(out / FOLDER, TEACHERS)
