"""The model card of a run on the hub: metadata that the hub reads, and a page that a person reads.

The numbers are those that were measured before: by `mmposter evaluate RUN DATA`, else by `mmposter calibrate`, else
those of the validation posters, which flatter and are marked so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmposter.branches import declared
from mmposter.document.markdown import markdown_table
from mmposter.document.numbers import DASH, interval, number
from mmposter.evaluation import get_metric
from mmposter.evaluation.scored import file_hash
from mmposter.files.strict_json import mapping, read_json, read_text, sound, text, whole
from mmposter.hub.address import HUB
from mmposter.runs.decisions import ERROR, MEASURED
from mmposter.runs.run import VALIDATION, WEIGHTS, Run
from mmposter.shell import command_line
from mmposter.shipped import is_shipped

EVALUATION = "evaluation/test/evaluation.json"
TASK = "image-classification"
TAGS = ("mmposter", "movie-posters", "movie-genres", "multi-label-classification")
# How the hub calls what it knows of our metrics.
_IDS = {"mean_average_precision": "mean_average_precision", "macro_f1": "f1", "r_precision": "r_precision"}
_IDS |= {ERROR: "expected_calibration_error"}


@dataclass(frozen=True)
class Measured:
    """What is known of how good a run is."""

    data: str  # name of the data
    split: str  # ``test``, ``val`` or ``train``
    count: int  # posters
    # By name of a metric: its value, its 95 % interval, and the value of the best constant answer; None: not known.
    metrics: Mapping[str, tuple[float, tuple[float, float] | None, float | None]]


def measured(run: Run) -> Measured | None:
    """The best numbers that a run folder has; None where it has none.

    Raises:
        UserError: a file of them is damaged.
    """
    return _evaluated(run) or _calibrated(run) or _watched(run)


def card(run: Run, repository: str, licence: str) -> str:
    """The card as Markdown, with its metadata before it.

    Args:
        run: a finished run.
        repository: ``ORG/NAME``.
        licence: its identifier on the hub, such as ``mit``.

    Raises:
        UserError: a file that holds its numbers is damaged.
    """
    known = measured(run)
    head = f"---\n{_metadata(run, repository, licence, known)}---\n"
    if is_shipped(run.folder):  # it came with a card of its own, which says more
        page = read_text(run.folder / "README.md").replace("--model posters", f"--model {HUB}{repository}")
        return f"{head}\n{page}"
    return f"{head}\n" + "\n\n".join(_page(run, repository, licence, known)) + "\n"


def _metadata(run: Run, repository: str, licence: str, known: Measured | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = (
        []
        if known is None
        else [
            EvalResult(
                task_type=TASK,
                task_name="Movie genres from posters (multi-label)",
                dataset_type=known.data,
                dataset_name=known.data,
                dataset_split="validation" if known.split == "val" else known.split,
                metric_type=_IDS[name],
                metric_name=get_metric(name).title,
                metric_value=round(value, 4),
            )
            for name, (value, _, _) in known.metrics.items()
        ]
    )
    data = ModelCardData(
        license=licence,
        library_name="mmposter",
        pipeline_tag=TASK,
        tags=list(TAGS),
        model_name=repository.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    return f"{data.to_yaml()}\n"


def _page(run: Run, repository: str, licence: str, known: Measured | None) -> list[str]:
    facts, config, genres = run.facts, run.config, run.vocabulary.genres
    versions = ", ".join(
        f"{name} {version}" for name, version in mapping(facts.get("versions", {}), "versions").items()
    )
    return [
        f"# {repository.rpartition('/')[2]}",
        f"Genres of a movie from its poster: a probability for each of {len(genres)} genres ({', '.join(genres)}), and "
        "those above their thresholds. Made with mmposter.",
        "## Use",
        "    pip install mmposter",
        "    " + command_line("mmposter", "predict", "poster.jpg", "--model", f"{HUB}{repository}"),
        "In Python:",
        "    import mmposter\n\n"
        f'    model = mmposter.from_pretrained("{repository}")\n'
        '    print(model.predict("poster.jpg"))',
        "The files here are safetensors, JSON and Parquet; nothing in them runs. The object detector, the text reader "
        "and the text encoder are files of their owners: mmposter finds or downloads them, and refuses others than "
        "those that this model was trained behind.",
        "## What it looks at",
        "\n".join(f"- `{name}`: {declared(name).describe(config)}" for name in config.branches),
        "## Training",
        f"{_count(facts, 'train_posters')} posters of `{facts.get('data', 'unknown data')}` to train on, "
        f"{_count(facts, 'val_posters')} to choose the epoch and the thresholds. Regime `{config.regime}`, loss "
        f"`{config.loss.name}`, seed {config.seed}. The whole configuration is in `model.json`."
        + (f" Libraries: {versions}." if versions else ""),
        "## Results",
        *_results(known),
        "## Limits",
        "A poster is an advertisement: it does not always show what kind of film it is for. Genres that were rare in "
        "training are found less often. Nothing the model says is about a person, and it must not be used for that.",
        "## License",
        f"The weights: `{licence}`. They were trained on posters that belong to the owners of the films; no poster is "
        "in these files." + (_SEEN if (run.folder / "seen.parquet").is_file() else ""),
    ]


_SEEN = (
    " `seen.parquet` holds hashes of the posters of the training, so that a measurement elsewhere can leave these "
    "posters out; the pictures cannot be made from them."
)


def _results(known: Measured | None) -> list[str]:
    if known is None:
        return ["Not measured yet."]
    rows = [
        [
            get_metric(name).title,
            number(value),
            DASH if ends is None else interval(ends),
            DASH if constant is None else number(constant),
        ]
        for name, (value, ends, constant) in known.metrics.items()
    ]
    said = (
        "These are validation posters, on which the training was watched: the numbers may flatter."
        if known.split == "val"
        else "Posters that the training has not seen."
    )
    return [
        f"{known.count:,} {known.split} posters of `{known.data}`. {said} Constant: the best single answer for all "
        "posters.",
        markdown_table(["metric", "value", "95 % interval", "constant"], rows, align="lrrr"),
    ]


def _evaluated(run: Run) -> Measured | None:
    """What `mmposter evaluate` said of the run's present weights and all its branches."""
    file = run.folder / EVALUATION
    if not file.is_file():
        return None
    with sound(file, f"evaluate again: {command_line('mmposter', 'evaluate', run.folder, 'DATA')}"):
        values = mapping(read_json(file), "an evaluation")
        source = mapping(values["provenance"], "provenance")
        if source["weights"] != file_hash(run.folder / WEIGHTS) or list(source["branches"]) != list(
            run.config.branches
        ):
            return None
        return _of(values, text(source["data"], "data"))


def _calibrated(run: Run) -> Measured | None:
    """What `mmposter calibrate` measured with all branches."""
    found = run.subsets()
    if found is None:
        return None
    subset = found.of(run.config.branches)
    errors = {ERROR: subset.error_after}
    metrics = {
        name: (one.value, one.ci95, found.constant.get(name))
        for name, one in {**{name: subset.metrics[name] for name in MEASURED}, **errors}.items()
        if math.isfinite(one.value)
    }
    return Measured(found.measured.data, found.measured.split, found.measured.count, metrics)


def _watched(run: Run) -> Measured | None:
    """What the training said of its validation posters."""
    file = run.folder / VALIDATION
    if not file.is_file():
        return None
    with sound(file, "get the run folder again"):
        return _of(mapping(read_json(file), "an evaluation"), str(run.facts.get("data", "unknown data")))


def _of(values: Mapping[str, Any], data: str) -> Measured:
    metrics = {}
    for name in (*MEASURED, ERROR):
        row = mapping(mapping(values["metrics"], "metrics")[name], name)
        if row["value"] is not None:
            metrics[name] = (float(row["value"]), _ends(row["ci95"]), row["constant"])
    return Measured(data, text(values["split"], "split"), whole(values["n"], "n"), metrics)


def _ends(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def _count(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"
