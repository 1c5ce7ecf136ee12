"""`mmposter distill`: from posters, with or without genres, to an image network of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusion import Backbone, ChannelStatistics, DistillationLoss, Distiller, HintLoss, SoftGenreLoss
from mmposter.config import CnnConfig, differences
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
from mmposter.features.tower import TowerInput, TowerWeights
from mmposter.files.atomic import write_json
from mmposter.files.formats import require_format
from mmposter.files.strict_json import mapping, read_json, shown, sound
from mmposter.outputs import claim, remove_folder
from mmposter.outputs.kinds import DISTILLATION, TEACHERS
from mmposter.progress import console
from mmposter.runs.provenance import package_version, source_commit
from mmposter.runs.run import TOWER

INFO = "distillation.json"
FORMAT = 1
_STATISTICS_POSTERS = 600  # enough for the mean and deviation of a channel, and 0.2 GB for the widest map
_LIBRARIES = ("torch", "torchvision", "mmposter")


@dataclass(frozen=True)
class Distillation:
    """A finished distillation.

    Attributes:
        folder: holds `tower.safetensors`, `distillation.json`, `metrics.csv`, and a card.
        config: as resolved.
        facts: data, versions and numbers for the card.
        history: the rows of `metrics.csv`.
    """

    folder: Path
    config: DistillationConfig
    facts: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]

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
        config: student, teachers, and how.
        dataset: posters; where they have genres, those of train and val are looked at, see ``genre_weight``.
        out: folder of the result.
        device: auto, cpu, cuda or mps.
        resume: go on where the distillation in `out` stopped.
        overwrite: replace the one in `out`.
        keep_maps: leave the teachers' maps in `out`.
        offline: never touch the network.
        quiet: show no progress.

    Raises:
        UserError: unknown networks, missing weights, too few posters, an `out` that holds another distillation, or
            that another process is writing.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    dataset.require_pictures("mmposter distill")
    device = resolve_device(device)
    weights, student = _student(config, offline=offline)
    teachers = [Teacher.find(name, student, config, offline=offline) for name in config.teachers]
    facts = _facts(dataset, weights, teachers)
    with claim(out, DISTILLATION, go_on=resume, overwrite=overwrite) as there:
        if there and (done := _finished(out, config, facts)) is not None:
            _tidy(out, keep_maps=keep_maps)
            return done
        if resume and not there:
            console.print(f"nothing to resume in {out}: starting anew", highlight=False, soft_wrap=True)
        return _distill(
            config,
            dataset,
            out,
            weights,
            student,
            teachers,
            facts,
            device=device,
            resume=resume,
            keep_maps=keep_maps,
            quiet=quiet,
        )


def _distill(
    config: DistillationConfig,
    dataset: Dataset,
    out: Path,
    weights: TowerWeights,
    student: Backbone,
    teachers: Sequence[Teacher],
    facts: dict[str, Any],
    *,
    device: str,
    resume: bool,
    keep_maps: bool,
    quiet: bool,
) -> Distillation:
    """The work itself, in a folder that is ours; arguments as in `distill`."""
    write_json(out / INFO, _info(config, facts, history=()))
    if not quiet:
        _announce(teachers, config.student)
    posters = poster_maps(dataset, teachers, config, out / FOLDER, device=device, quiet=quiet)
    genres = _genres(config, teachers, posters, device=device, out=out, quiet=quiet)
    loop = _loop(config, weights, student, teachers, posters, genres, device=device, out=out)
    if resume:
        loop.resume()
    progress = loop.run(quiet=quiet)
    loop.finish()
    facts |= {
        "train_posters": len(posters.train),
        "val_posters": len(posters.val),
        "unreadable": list(posters.unreadable),
        "genres": None if genres is None else _genre_facts(dataset, genres),
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "steps": progress.step,
        "pictures": loop.schedule.pictures,
        "seconds": round(progress.seconds, 1),
        "device": device,
        "validation": loop.validate(),
        "constant": loop.validate(constant=True),
    }
    # Its batch norms were measured at this size, so whoever uses it without another `cnn.size` gets this one.
    replace(weights, size=loop.size).save_trained(out / TOWER, loop.average.student)
    result = Distillation(out, config, facts, progress.history)
    write_card(out, config, facts, progress.history)
    write_json(out / INFO, _info(config, facts, progress.history))  # with its history it is finished
    _tidy(out, keep_maps=keep_maps)
    return result


def _student(config: DistillationConfig, *, offline: bool) -> tuple[TowerWeights, Backbone]:
    try:
        weights = TowerWeights.find(
            CnnConfig(backbone=config.student, init=config.init), seed=config.seed, offline=offline
        )
    except UserError as error:
        raise UserError(f"--student: {str(error).removeprefix('cnn.')}") from error
    return weights, weights.build()


def _genres(
    config: DistillationConfig,
    teachers: Sequence[Teacher],
    posters: PosterMaps,
    *,
    device: str,
    out: Path,
    quiet: bool,
) -> SoftGenres | None:
    """The head whose answers are soft genres; None where the data have none, or none are wanted."""
    if posters.labels is None:
        return None
    final = [hint.name for teacher in teachers for hint in teacher.hints if hint.final]
    return SoftGenres.of(posters, final, config.seed, out, device=device, quiet=quiet)


def _genre_facts(dataset: Dataset, genres: SoftGenres) -> dict[str, Any]:
    return {"names": list(dataset.vocabulary.genres), "validation_map": float(genres.validation_map)}


def _loop(
    config: DistillationConfig,
    weights: TowerWeights,
    student: Backbone,
    teachers: Sequence[Teacher],
    posters: PosterMaps,
    genres: SoftGenres | None,
    *,
    device: str,
    out: Path,
) -> DistillationLoop:
    looks = TowerInput.of(CnnConfig(backbone=config.student), weights.architecture)
    torch.manual_seed(config.seed)
    hints = [hint for teacher in teachers for hint in teacher.hints]
    return DistillationLoop(
        Distiller(student, hints, 0 if genres is None else len(genres.prior)),
        _loss(config, teachers, posters, genres),
        Views(posters, config, looks.mean, looks.std, device, genres),
        Schedule(config.phases, len(posters.train), config.warmup, config.decay, config.held_norms),
        config,
        device=device,
        out=out,
    )


def _loss(
    config: DistillationConfig, teachers: Sequence[Teacher], posters: PosterMaps, genres: SoftGenres | None
) -> DistillationLoss:
    """Standardised by some of the training posters' maps."""
    count = min(len(posters.train), _STATISTICS_POSTERS)
    rows = np.sort(np.random.default_rng(config.seed).choice(posters.train, count, replace=False))
    parts = {}
    for teacher in teachers:
        for hint in teacher.hints:
            parts[hint.name] = HintLoss(
                ChannelStatistics.of(torch.from_numpy(posters.maps[hint.name][rows])),
                final=hint.final,
                classifier=teacher.classifier if hint.final else None,
                temperature=config.temperature,
                logits_weight=config.logits_weight,
            )
    return DistillationLoss(parts, None if genres is None else SoftGenreLoss(genres.prior, config.genre_weight))


def _announce(teachers: Sequence[Teacher], student: str) -> None:
    for teacher in teachers:
        meets = ", ".join(f"{hint.student_stage} -> {hint.teacher_stage}" for hint in teacher.hints)
        scores = "" if teacher.classifier else "; its classifier is no single linear layer, so its scores are left out"
        console.print(f"{student} learns from {teacher.name}: {meets}{scores}", highlight=False, soft_wrap=True)


def _facts(dataset: Dataset, weights: TowerWeights, teachers: Sequence[Teacher]) -> dict[str, Any]:
    return {
        "data": dataset.folder.resolve().name,
        "manifest": dataset.info["manifest_sha256"],
        "student": weights.identity(),
        "teachers": [
            {
                "name": teacher.name,
                "identity": teacher.weights.identity(),
                "stages": {hint.teacher_stage: hint.student_stage for hint in teacher.hints},
                "scores": teacher.classifier is not None,
            }
            for teacher in teachers
        ],
        "versions": {name: package_version(name) for name in _LIBRARIES},
        "commit": source_commit(),
    }


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
    pairs = differences(there["config"], config.model_dump(mode="json"))
    different = [f"  {key}: {old!r} there, {new!r} now" for key, (old, new) in pairs.items()]
    if different:
        raise UserError(
            f"{out} was started with another configuration:\n" + "\n".join(different) + "\n"
            "Give the same one to resume, or another --out"
        )
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
