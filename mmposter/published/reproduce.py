"""`mmposter reproduce`: a published network, trained and measured on anyone's posters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmposter.config import Config, differences, load_config
from mmposter.data.crops import leak_share
from mmposter.data.dataset import Dataset
from mmposter.engines.device import resolve_device
from mmposter.errors import DivergedError, UserError
from mmposter.evaluation import METRICS, SINGLE_LABEL_METRICS, Evaluation
from mmposter.features.settled import settle
from mmposter.files.atomic import write_json
from mmposter.measurement.evaluate import evaluate_run, examine_run
from mmposter.outputs import claim
from mmposter.outputs.kinds import PUBLISHED_RESULT
from mmposter.progress import say
from mmposter.published.result import RESULT, Result
from mmposter.published.systems import Published, Variant, find_published
from mmposter.published.task import cropped_dataset, task_dataset, without_validation
from mmposter.report.evaluation import evaluation_folder, write_evaluation
from mmposter.runs.provenance import source_commit
from mmposter.runs.run import Run
from mmposter.training.train import train

CROPS_TARGET = "crops.target="
_NO_MATTER = ("train.workers", "train.trackers", "yolo.model")
"""Keys that say how, or where from, and leave the result as it is."""


@dataclass(frozen=True)
class NetworkWish:
    """What to train."""

    name: str  # the row's, such as `p1/densenet121` or `ours/lite`
    label: str  # for tables
    variant: Variant | None  # of a published network; None where no fault is known, so that there is nothing to vary
    config: Config  # all of it
    recipe: Config  # the configuration before the user's own changes
    target: int | None = None  # posters and crops that each genre is brought to; None without crops
    recipe_target: int | None = None  # what the paper has for it

    def changed(self) -> dict[str, list[Any]]:
        """Keys where the user departs from the recipe: [the recipe's, the user's]."""
        pairs = differences(self.recipe.model_dump(mode="json"), self.config.model_dump(mode="json"))
        changed = {key: list(pair) for key, pair in pairs.items() if key not in _NO_MATTER}
        if self.target != self.recipe_target:
            changed["crops.target"] = [self.recipe_target, self.target]
        return changed

    def folder(self, out: Path) -> Path:
        """Where its run and result are kept."""
        return out / self.name / (self.variant or "clean")


def wish(published: Published, variant: Variant, overrides: Sequence[str] = (), init: str | None = None) -> NetworkWish:
    """A published network with the user's changes.

    Args:
        overrides: ``section.key=value`` and ``crops.target=N``.
        init: as ``cnn.init``, in place of the recipe's; networks without published weights stay random under
            ``imagenet`` and ``auto``.

    Raises:
        UserError: bad overrides.
    """
    crops = published.system.crops
    recipe_target = None if crops is None else crops.target
    target, rest = _crops_target(overrides, recipe_target)
    recipe = settle(published.config(variant))
    # The paper's own small networks have no weights of ImageNet to begin with.
    if init is not None and not (init in ("imagenet", "auto") and recipe.cnn.init == "none"):
        rest = [f"cnn.init={json.dumps(init)}", *rest]
    return NetworkWish(
        name=published.name,
        label=published.label,
        variant=variant if published.has_variants else None,
        config=settle(published.config(variant, rest)),
        recipe=recipe,
        target=target,
        recipe_target=recipe_target,
    )


def our_wish(source: str, vocabulary: str) -> NetworkWish:
    """A recipe of ours, by its name or its YAML file, beside published networks (UserError: none, or a bad one)."""
    config = settle(load_config(source))
    name = Path(source).stem
    return NetworkWish(
        f"ours/{name}-{vocabulary}", f"ours: {name} ({', '.join(config.branches)})", None, config, config
    )


def reproduce(
    asked: NetworkWish,
    vocabulary: str,
    dataset: Dataset,
    out: Path,
    *,
    published: str | None = None,
    limit: int | None = None,
    device: str = "auto",
    offline: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Result:
    """Train and measure one network; a finished one is only read, a stopped one goes on.

    Args:
        asked: what to train, from `wish`.
        out: holds ``NAME/VARIANT/run``, and the derived data in ``data/``.
        published: the network's name, for the crops of its system; None for ours.
        limit: take only about so many of the posters, see `task_dataset`.

    Raises:
        UserError: as `train` and `evaluate_run`, and where `out` holds this network trained otherwise, or another
            process is training it there.
        OSError: `out` cannot be written, see `mmposter.files.disk`.
    """
    posters = data = task_dataset(dataset, vocabulary, out / "data", limit)
    if asked.target is not None and published is not None:
        data = cropped_dataset(posters, find_published(published), asked.variant or "clean", out / "data", asked.target)
    watches_test = published is not None and find_published(published).watches_test(asked.variant or "clean")
    trained_on = without_validation(data, out / "data") if watches_test else data
    folder = asked.folder(out)
    with claim(folder, PUBLISHED_RESULT, go_on=True):
        known = Result.load(folder / RESULT)
        if known is not None and not overwrite:
            _require_same(known, asked, trained_on, folder)
            return known
        if not quiet:
            say(f"{asked.label}" + (f", {asked.variant}" if asked.variant else ""))
        run = folder / "run"
        history, diverged = _train(
            asked.config, trained_on, run, overwrite=overwrite, device=device, offline=offline, quiet=quiet
        )
        measured, whole = (None, None) if diverged else _measure(run, data, posters, device, offline)
        known = Result(
            name=asked.name,
            label=asked.label,
            variant=asked.variant,
            metrics=_metrics(measured) or {},
            whole=_metrics(whole),
            titles=dict(_TITLES),
            changed=asked.changed(),
            config=asked.config.model_dump(mode="json"),
            data=_facts(trained_on, data),
            run=str(run.relative_to(out)),
            # By epoch, so that a training that was stopped and resumed is counted whole.
            epochs=len(history),
            seconds=round(sum(float(row["seconds"]) for row in history), 1),
            device=_device_name(device),
            commit=source_commit(),
            diverged=diverged,
        )
        write_json(folder / RESULT, known.to_json())
        return known


_TITLES = {metric.name: metric.title for metric in (*SINGLE_LABEL_METRICS, *METRICS)}


def _train(
    config: Config, data: Dataset, run: Path, *, overwrite: bool, **how: Any
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """The epochs that were trained, by row; and why the training diverged, where it did."""
    resume = not overwrite and run.exists()
    try:
        trained = train(config, data, run, resume=resume, overwrite=overwrite, workers="auto", **how)
    except DivergedError as error:
        # A result, too: with the published settings these posters give nothing.
        return [], str(error).splitlines()[0]
    return trained.progress.history, None


def _measure(
    run: Path, data: Dataset, posters: Dataset, device: str, offline: bool
) -> tuple[Evaluation, Evaluation | None]:
    """On the test rows, with a report; and on whole posters, where the rows are crops of others than training had."""
    loaded = Run.load(run)
    found = examine_run(
        loaded, data, split="test", device=device, offline=offline, workers="auto", include_trained=True
    )  # a published leak is measured as it is
    write_evaluation(found, evaluation_folder(run, "test"))
    if data is posters or leak_share(data.table):
        return found.evaluation, None
    return found.evaluation, evaluate_run(loaded, posters, device=device, offline=offline, include_trained=True)


def _crops_target(overrides: Sequence[str], default: int | None) -> tuple[int | None, list[str]]:
    target, rest = default, []
    for text in overrides:
        if not text.startswith(CROPS_TARGET):
            rest.append(text)
        elif default is not None:  # asked of several systems at once, of which one makes crops
            number = text.removeprefix(CROPS_TARGET)
            if not number.isdigit() or int(number) < 1:
                raise UserError(f"crops.target takes a number from 1; got {number!r}")
            target = int(number)
    return target, rest


def _require_same(known: Result, asked: NetworkWish, data: Dataset, folder: Path) -> None:
    """Refuse to show a result of another training as if it were the one that is asked for."""
    pairs = differences(known.config, asked.config.model_dump(mode="json"))
    differ = [f"  {key}: {then!r} there, {now!r} now" for key, (then, now) in pairs.items() if key not in _NO_MATTER]
    if known.data["manifest"] != data.info["manifest_sha256"]:
        differ.append(f"  posters: {known.data['name']} in another state there")
    if differ:
        raise UserError(
            f"{folder} holds {asked.label} trained otherwise:\n" + "\n".join(differ) + "\n"
            "Give another --out, or train it anew with --overwrite"
        )


def _metrics(evaluation: Evaluation | None) -> dict[str, dict[str, Any]] | None:
    if evaluation is None:
        return None
    return {
        name: {
            "value": result.value,
            "ci95": None if result.ci95 is None else list(result.ci95),
            "constant": result.constant,
            "difference": None if result.difference.ci95 is None else list(result.difference.ci95),
            "verdict": evaluation.verdict(name),
        }
        for name, result in evaluation.metrics.items()
    }


def _facts(data: Dataset, measured: Dataset) -> dict[str, Any]:
    """Of what was trained on, and of the test rows of `measured`, mostly the same."""
    sides = {**data.table["split"].value_counts(), "test": (measured.table["split"] == "test").sum()}
    return {
        "name": data.folder.resolve().name,
        "manifest": data.info["manifest_sha256"],
        "vocabulary": data.vocabulary.name,
        "genres": len(data.vocabulary),
        "rows": {side: int(sides.get(side, 0)) for side in ("train", "val", "test")},
        "crops": data.crops is not None,
        "leak_share": leak_share(measured.table),
    }


def _device_name(device: str) -> str:
    resolved = resolve_device(device)
    return torch.cuda.get_device_name() if resolved == "cuda" else resolved
