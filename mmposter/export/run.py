"""From a run folder to a file that holds its image network, its head and its decision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion import backbone_spec
from fusion.backbones import HF
from mmposter.branches import branch_names, on_images
from mmposter.engines.libraries import require_packages
from mmposter.errors import UserError
from mmposter.evaluation.scored import file_hash
from mmposter.export.check import TOLERANCE, check_pictures, largest_difference
from mmposter.export.example import OPENING
from mmposter.export.formats import FORMATS, ExportFormat
from mmposter.export.graph import PosterGraph
from mmposter.files.atomic import atomic_path, write_text
from mmposter.inference.classifier import GenrePredictor
from mmposter.measurement.evaluate import check_branches
from mmposter.outputs import claim_file, refuse_file
from mmposter.runs.provenance import package_version
from mmposter.runs.run import WEIGHTS, Run
from mmposter.shell import command_line
from mmposter.shipped import POSTERS, find_run, run_name
from mmposter.suggest import did_you_mean


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked."""

    path: Path  # of the file
    example: Path  # of the program beside it
    branches: tuple[str, ...]  # that the file looks through
    difference: float  # the largest one of a probability to the run's own, over `pictures` made-up pictures
    pictures: int  # how many
    megabytes: float  # size of the file (10^6 bytes)
    masked: tuple[str, ...] = ()  # branches of the run that the file goes without
    cost: str | None = None  # what that costs, in words; None where nothing is masked


def export_run(
    run: str | Path = POSTERS,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    branches: Sequence[str] | None = None,
    overwrite: bool = False,
    offline: bool = False,
) -> Exported:
    """Write a run as one file that takes pixels and gives the probabilities that `mmposter predict` shows.

    The file holds the resize, the image network, the head and what `mmposter calibrate` fitted; beside it stands a
    program that runs it without mmposter. It is checked against the run first, and is not there if it differs.

    Args:
        run: what `mmposter train` wrote, or the name of a model that travels with the package.
        to: one of `FORMATS`.
        out: the file; None: the run's name in the current folder.
        branches: among ``cnn`` and ``style``; None: those of them that the run has. All others are masked.
        overwrite: replace files that are there.
        offline: never touch the network.

    Raises:
        UserError: for an unknown format, a run or branches without pixels, a control, a file that is there, a missing
            package, a network that the exporter cannot write, a file that differs from the run by 1e-4 or more, or one
            that another process is writing.
        OSError: the file cannot be written.
    """
    if to not in FORMATS:
        raise UserError(f"--to takes {' or '.join(FORMATS)}; got {to!r}{did_you_mean(to, FORMATS)}")
    form = FORMATS[to]
    require_packages(form.packages, "export", "export")
    loaded = Run.load(find_run(run, offline=offline))
    names = _branches(loaded, branches)
    path = _target(loaded, form, out)
    example = path.with_name(f"{path.name}.example.py")
    with claim_file(path, overwrite=overwrite):
        _refuse_example(example, overwrite=overwrite)
        # What the file is compared with: the whole way of `mmposter predict`. It also refuses controls.
        classifier = GenrePredictor.load(loaded.folder, branches=names, device="cpu", offline=offline)
        graph = _graph(loaded, form, names, offline=offline)
        pictures = check_pictures(loaded.tower_input().size)
        with atomic_path(path) as temporary:
            difference = _write(form, graph, temporary, classifier, pictures)
        write_text(example, form.example.replace("NAME", path.name))
    masked = tuple(name for name in loaded.config.branches if name not in names)
    return Exported(
        path,
        example,
        names,
        difference,
        len(pictures),
        path.stat().st_size / 1e6,
        masked,
        _cost(loaded, names) if masked else None,
    )


def _graph(run: Run, form: ExportFormat, branches: tuple[str, ...], *, offline: bool) -> PosterGraph:
    seen = run.tower_input()
    model = run.with_tower(run.load_model(), offline=offline)
    single, decision = run.config.single_label, run.decision(branches)
    resize = form.resize(seen.size, seen.resize)
    return PosterGraph(resize, model, seen, branches=branches, single_label=single, decision=decision).eval()


def _refuse_example(file: Path, *, overwrite: bool) -> None:
    """Nobody has named this file: what is there is replaced only if it is of an earlier export."""
    refuse_file(file, overwrite=overwrite)
    if os.path.lexists(file):
        with file.open("rb") as stream:
            if not stream.read(len(OPENING)).startswith(OPENING.encode()):
                raise UserError(f"{file} is no example of mmposter export; move it, or give another --out")


def _write(
    form: ExportFormat, graph: PosterGraph, path: Path, classifier: GenrePredictor, pictures: Sequence[Any]
) -> float:
    """Write and check a file; the largest difference."""
    run = classifier.run
    try:
        form.write(graph, _facts(run, graph.branches), path)
        runner = form.open(path)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        # Exporter and runtime raise whatever their parts raise, in pages of text; the first sentence says what it was.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise UserError(
            f"{run.config.cnn.backbone} cannot be written as {form.name}: {reason}\n"
            f"Other formats: {', '.join(name for name in FORMATS if name != form.name)}; other networks: cnn.backbone"
        ) from error
    difference, worst = largest_difference(runner, classifier, pictures)
    if not difference < TOLERANCE:
        height, width, _ = worst.shape
        raise UserError(
            f"the {form.name} file differs from {run.folder} by {difference:.2g} in a probability (a picture of "
            f"{height} x {width} pixels); less than {TOLERANCE:g} is allowed, so nothing was written. Try another "
            "format with --to, or another version of torch and onnxruntime"
        )
    return difference


def _branches(run: Run, asked: Sequence[str] | None) -> tuple[str, ...]:
    check_branches(run, asked)
    possible = on_images(run.config.branches)
    if not possible:
        raise UserError(
            f"{run.folder} looks through {','.join(run.config.branches)}, and an exported file sees pixels alone; it "
            f"takes a run with {' or '.join(on_images(branch_names()))}"
        )
    if asked is None:
        return possible
    others = [name for name in asked if name not in possible]
    if others or not asked:
        raise UserError(
            f"--branches takes {' or '.join(possible)} of this run, as an exported file sees pixels alone; got "
            f"{','.join(others) or 'none'}"
        )
    return tuple(name for name in possible if name in asked)


def _target(run: Run, form: ExportFormat, out: str | Path | None) -> Path:
    if out is None:
        return Path(f"{run_name(run.folder)}{form.suffix}")
    path = Path(out)
    if path.suffix != form.suffix:
        raise UserError(f"--out must end in {form.suffix} with --to {form.name}; got {path}")
    return path


def _facts(run: Run, branches: Sequence[str]) -> dict[str, Any]:
    decision = run.decision(branches)
    return {
        "genres": list(run.vocabulary.genres),
        "thresholds": [float(value) for value in decision.thresholds],
        "empty": run.config.evaluation.empty,
        "single_label": run.config.single_label,
        "branches": list(branches),
        "input": "image: uint8, 1 x height x width x 3, RGB, 0-255; any height and width",
        "output": "probabilities, 1 x genres, float32, to be compared with thresholds; logits: before any calibration",
        "run": run_name(run.folder),
        "weights_sha256": file_hash(run.folder / WEIGHTS),
        "calibration": decision.digest or "",
        "mmposter": package_version(),
        "licence": _licence(run),
    }


def _licence(run: Run) -> str:
    name, init = run.config.cnn.backbone, run.config.cnn.init
    if init == "imagenet":
        own = "see its model card" if name.startswith(HF) else backbone_spec(name).licence
        return f"the image network began with the published weights of {name}: {own}"
    began = {"none": "random weights", POSTERS: f"those of the model {POSTERS} of mmposter, see there"}
    return f"the image network ({name}) began with {began.get(init, 'a file of weights')}"


def _cost(run: Run, branches: tuple[str, ...]) -> str:
    known = run.subsets()
    if known is None:
        measure = command_line("mmposter", "calibrate", run.folder, "DATA")
        return f"what that costs was not measured ({measure} does)"
    return known.in_place_of(run.config.branches, branches)
