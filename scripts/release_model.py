"""Make the model that travels with the package out of a finished, calibrated run.

    python scripts/release_model.py RUN DATA OUT --evaluation RUN/evaluation/test/evaluation.json \\
        [--on-pack EVALUATION.json] [--how FILE.md]

OUT is a run folder like any other, and smaller: matrices and kernels in half precision, no plots, no checkpoints. The
rounding may move no probability of a validation poster by 1e-3, and all files together may take 24 MB. The model card
is written from measured numbers alone: subsets.json (`mmposter calibrate RUN DATA`) and the evaluation on test posters
(`mmposter evaluate RUN DATA`, after calibrating).

Rounding a tower gives it another identity, so features behind it are computed anew. A tower that is rounded first

    python scripts/release_model.py --round-tower TOWER.safetensors OUT.safetensors --backbone densenet121

and only then used (`--init OUT.safetensors`) keeps its identity here, and all that was computed behind it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from model_card import card
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmposter.data import Dataset
from mmposter.errors import UserError
from mmposter.evaluation.scored import file_hash
from mmposter.features.extractors import build_extractors
from mmposter.features.tower import TowerWeights
from mmposter.files.atomic import atomic_path, write_text
from mmposter.measurement.evaluate import score_split
from mmposter.runs.decisions import SUBSETS
from mmposter.runs.run import MODEL, OTHER_WEIGHTS, TOWER, WEIGHTS, Run
from mmposter.runs.seen import SeenPosters
from mmposter.shipped import POSTERS
from mmposter.training.inputs import load_inputs
from mmposter.training.train import fingerprints

LARGEST_CHANGE = 1e-3
LARGEST_MB = 24.0
CARD = "README.md"


def release(
    run: Run,
    dataset: Dataset,
    out: Path,
    evaluation: Mapping[str, Any],
    how: str = "",
    on_pack: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write the released run to `out`, whole or not at all.

    Args:
        run: finished, of the features regime, and calibrated.
        dataset: the one it was trained on; its validation posters are looked at again.
        out: a new folder.
        evaluation: of the run on test posters with all branches, as ``evaluation.json`` holds it.
        how: Markdown for the card: the commands that made the run, and what else was done.
        on_pack: as `evaluation`, on the pack that travels with mmposter, whose rounded features give other numbers.

    Returns:
        megabytes by file, and under ``change`` the largest change of a probability.

    Raises:
        UserError: the run cannot be released, with what to type; or the result is too large, or too different.
    """
    if out.exists():
        raise UserError(f"{out} is there already; give another folder, or remove it")
    _check(run, evaluation)
    staging = out.with_name(f".{out.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        found = _write(run, dataset, staging)
        sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(staging.iterdir())}
        megabytes = sum(sizes.values())
        text = card(Run.load(staging), evaluation, how, name=out.name, megabytes=megabytes, on_pack=on_pack)
        write_text(staging / CARD, text)
        sizes[CARD] = (staging / CARD).stat().st_size / 1e6
        if sum(sizes.values()) > LARGEST_MB:
            listed = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
            raise UserError(f"the model may take {LARGEST_MB:.0f} MB and takes {sum(sizes.values()):.1f} ({listed})")
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {**sizes, "change": found}


def _check(run: Run, evaluation: Mapping[str, Any]) -> None:
    if run.config.regime != "features" or not (run.folder / TOWER).is_file():
        raise UserError(f"{run.folder} must be a run of the features regime with its {TOWER}")
    if run.subsets() is None:
        raise UserError(f"{run.folder} has no {SUBSETS}; type: mmposter calibrate {run.folder} DATA")
    if Path(run.config.ocr.encoder).is_dir():
        raise UserError(
            f"{run.folder} was trained with a text encoder in a folder of this machine; train with its name"
        )
    source = evaluation["provenance"]
    now = {
        "weights": file_hash(run.folder / WEIGHTS),
        "branches": list(run.config.branches),
        "split": "test",
        "decision": run.decision().digest,
    }
    differ = [key for key, value in now.items() if source.get(key) != value]
    if differ:
        raise UserError(
            f"the evaluation is not of {run.folder} as it is now, with all branches, on test ({', '.join(differ)} "
            f"differ); type: mmposter evaluate {run.folder} DATA"
        )


def save_half(weights: TowerWeights, path: Path) -> None:
    """Write a tower rounded to half precision: half the size, and an identity of its own.

    Rounding what is rounded already changes nothing, nor does it change the identity.
    """
    weights.save_state(path, half_state(weights.build().state_dict()), "half")


def half_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with matrices and kernels in half precision.

    What has one dimension, or none, stays as it is: running variances of batch norm may be too large or too small.

    Raises:
        UserError: a weight is too large for half precision.
    """
    rounded = {
        key: value.half() if value.is_floating_point() and value.ndim > 1 else value for key, value in state.items()
    }
    if lost := [key for key, value in rounded.items() if state[key].isfinite().all() and not value.isfinite().all()]:
        raise UserError(
            f"{', '.join(lost[:3])}: too large for half precision (65504 at most); keep the weights in fp32"
        )
    return rounded


def _write(run: Run, dataset: Dataset, folder: Path) -> float:
    """The files of the run in `folder`, but for its card; the largest change of a probability."""
    config = run.serving_config()
    save_half(TowerWeights.find(config.cnn, offline=True), folder / TOWER)
    with atomic_path(folder / WEIGHTS) as temporary:  # which also gives it the rights of other files
        save_file(half_state(load_file(run.folder / WEIGHTS)), temporary)
    cnn = config.cnn.model_copy(update={"init": POSTERS})
    yolo = config.yolo.model_copy(update={"model": Path(config.yolo.model).name})
    small = replace(run, folder=folder, config=config.model_copy(update={"cnn": cnn, "yolo": yolo}))
    serving = small.serving_config()
    seen = [name for name in ("cnn", "style") if name in config.branches]
    towers = fingerprints(build_extractors(serving, seen, offline=True), TowerWeights.find(serving.cnn))
    allowed = [name for name in ("yolo", "ocr") if name in config.branches]
    small = replace(small, fingerprints={**run.fingerprints, **towers}, facts={**run.facts, OTHER_WEIGHTS: allowed})
    small.save()
    seen = SeenPosters.load(run.folder)
    if seen is not None:
        seen.save(folder)
    subsets = run.subsets()
    assert subsets is not None  # checked before
    replace(subsets, weights=file_hash(folder / WEIGHTS)).save(folder)
    released = Run.load(folder)
    # The detector is named now, and may lie on this machine where only its path finds it.
    here = replace(released, config=released.config.model_copy(update={"yolo": config.yolo}))
    change = float(np.abs(_validation(run, dataset) - _validation(here, dataset)).max())
    if not change < LARGEST_CHANGE:
        raise UserError(
            f"half precision moves a probability by {change:.4f}, allowed is less than {LARGEST_CHANGE}; round the "
            "tower first (--round-tower) and train the head behind it"
        )
    return change


def _validation(run: Run, dataset: Dataset) -> np.ndarray:
    val = dataset.split("val")
    inputs = load_inputs(run.serving_config(), val, device="cpu", offline=True, behind=run)
    probs, _, _ = score_split(run, val, inputs, inputs.rows("val"), device="cpu")
    return run.decision().apply(probs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder; a tower file with --round-tower")
    parser.add_argument("paths", type=Path, nargs="+", metavar="DATA OUT", help="with --round-tower OUT alone")
    parser.add_argument("--evaluation", type=Path, help="default RUN/evaluation/test/evaluation.json")
    parser.add_argument("--on-pack", type=Path, help="evaluation.json of the run on the benchmark pack")
    parser.add_argument("--how", type=Path, help="Markdown for the card: how the run was made")
    parser.add_argument("--root", type=Path, help="where the posters lie now")
    parser.add_argument("--round-tower", action="store_true")
    parser.add_argument("--backbone", default="densenet121", help="of the tower file")
    asked = parser.parse_args()
    try:
        if asked.round_tower:
            save_half(TowerWeights(asked.backbone, asked.run), asked.paths[-1])
            print(f"{asked.paths[-1]}: {asked.paths[-1].stat().st_size / 1e6:.1f} MB")
            return
        if len(asked.paths) != 2:
            parser.error("RUN, DATA and OUT are wanted")
        data, out = asked.paths
        file = asked.evaluation or asked.run / "evaluation" / "test" / "evaluation.json"
        if not file.is_file():
            raise UserError(f"there is no {file}; type: mmposter evaluate {asked.run} {data}")
        evaluation = json.loads(file.read_text(encoding="utf-8"))
        how = "" if asked.how is None else asked.how.read_text(encoding="utf-8")
        on_pack = None if asked.on_pack is None else json.loads(asked.on_pack.read_text(encoding="utf-8"))
        found = release(Run.load(asked.run), Dataset.load(data, asked.root), out, evaluation, how, on_pack)
    except UserError as error:
        sys.exit(f"error: {error}")
    change = found.pop("change")
    print("\n".join(f"{name:24} {size:6.2f} MB" for name, size in found.items()))
    print(f"{'together':24} {sum(found.values()):6.2f} MB; largest change of a probability {change:.1e}; {out / MODEL}")


if __name__ == "__main__":
    main()
