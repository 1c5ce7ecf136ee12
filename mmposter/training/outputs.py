"""What a finished run shows: plots, and a model card in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from mmposter.branches import declared
from mmposter.data.dataset import Dataset
from mmposter.evaluation import Evaluation
from mmposter.evaluation.gains import Gain
from mmposter.evaluation.thresholds import TELLING
from mmposter.files.atomic import write_json, write_text
from mmposter.report.balance import FIGURE, genre_balance
from mmposter.report.evaluation_text import to_markdown
from mmposter.report.gains_text import gains_markdown
from mmposter.report.plots import plot_average_precision, plot_genre_balance, plot_training_curves
from mmposter.report.plots.style import save_png
from mmposter.runs.run import START, VALIDATION, Run
from mmposter.training.checkpoint import TrainingProgress

PLOTS, CARD = "plots", "README.md"


def write_plots(run: Run, progress: TrainingProgress, validation: Evaluation, dataset: Dataset) -> None:
    """Training curves and average precision by genre, as PNG files in the run folder.

    Where the run was trained on crops, also the genres before and after balancing.
    """
    if dataset.crops is not None:
        save_png(plot_genre_balance(genre_balance(dataset)), run.folder / FIGURE)
    history = progress.history
    if validation.n < TELLING:  # no epoch is the best of so few posters
        history = [{k: row[k] for k in row if k == "val_loss" or not k.startswith("val_")} for row in history]
    save_png(plot_training_curves(history), run.folder / PLOTS / "training.png")
    if validation.n >= TELLING:
        save_png(plot_average_precision(validation), run.folder / PLOTS / "average_precision.png")


def _films(run: Run) -> str:
    films = run.facts.get("films")
    return f" and the titles of {films:,} films without a poster" if films else ""


def _started(run: Run, gains: Sequence[Gain]) -> list[str]:
    """Paragraphs on the model that a run went on from; none where it began anew."""
    start = run.facts.get(START)
    if start is None:
        return []
    said = (
        f"It went on from the branches and the head of `{start['name']}` (weights `{start['weights'][:12]}`), and "
        "counts the posters of that model as seen."
    )
    if start["val_seen"]:
        said += (
            f" It had learnt of {start['val_seen']:,} of the {run.facts['val_posters']:,} validation posters, so their "
            "numbers say little of new ones."
        )
    return ["## What it was started from", said, *([gains_markdown(gains)] if gains else [])]


def write_card(run: Run, validation: Evaluation, gains: Sequence[Gain] = ()) -> None:
    """The model card (README.md) and the validation metrics (validation.json) of a run.

    Args:
        run: with its facts.
        validation: its metrics.
        gains: against the model that it went on from.
    """
    write_json(run.folder / VALIDATION, validation.to_json())
    facts, config = run.facts, run.config
    few = validation.n < TELLING
    kept = "last" if few else config.train.keep
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    paragraphs = [
        f"# {run.folder.resolve().name}",
        f"Genres of movie posters ({len(run.vocabulary)}: {', '.join(run.vocabulary.genres)}), made with mmposter.",
        "## What it looks at",
        "\n".join(f"- `{name}`: {declared(name).describe(config)}" for name in config.branches),
        f"{_joined(run)}; {facts['parameters']:,} parameters in all; regime `{config.regime}`, seed {config.seed}, "
        f"loss `{config.loss.name}`.",
        "## How it was made",
        f"Trained on {facts['train_posters']:,} posters of `{facts['data']}`{_films(run)}, watched on "
        f"{facts['val_posters']:,} others; kept is epoch {facts['best_epoch'] + 1} of {facts['epochs']}, the {kept} "
        f"one; {facts['seconds']:.0f} s. {_decided(run)} Test posters were not looked at.",
        f"Libraries: {versions}. The whole configuration is in `model.json`.",
        *_started(run, gains),
        "## Validation",
        "Training was watched on these posters, so the numbers may flatter; those to quote come from "
        "`mmposter evaluate RUN DATA`.",
        f"{validation.n} posters are too few to tell how good it is; no number is shown."
        if few
        else to_markdown(validation).removesuffix("\n"),
        "![training](plots/training.png)",
        *([] if few else ["![average precision by genre](plots/average_precision.png)"]),
        *([f"![genres before and after balancing]({FIGURE})"] if (run.folder / FIGURE).is_file() else []),
        *_use(run),
    ]
    write_text(run.folder / CARD, "\n\n".join(paragraphs) + "\n")


def _use(run: Run) -> list[str]:
    """Paragraphs on how the model is used; a control is not to be."""
    config = run.config
    controls = [f"`shuffled={','.join(config.shuffled)}`"] if config.shuffled else []
    found = [declared(name).control(config) for name in config.branches]
    controls += [f"`{control[0]}`" for control in found if control is not None]
    if controls:
        return [
            "## A control",
            f"Trained with {' and '.join(controls)}: it shows what a branch is worth, is measured with `mmposter "
            "evaluate`, and is no model for use.",
        ]
    return [
        "## Use",
        "    mmposter predict poster.jpg --model FOLDER",
        "The folder holds the learnt weights and, in the features regime, the frozen picture tower. The object "
        "detector, the text reader and the text encoder are files of their owners: mmposter finds or downloads them, "
        "and refuses others than those this model was trained behind.",
    ]


def _joined(run: Run) -> str:
    """What stands above the branches, or above the one network."""
    cnn = run.config.cnn
    if cnn.classifier == "own":
        return f"Classified by the network's own layers, the last of them made for {len(run.vocabulary)} genres"
    if cnn.classifier == "dense":
        widths = ", ".join(map(str, [*cnn.hidden, len(run.vocabulary)]))
        return f"Classified by dense layers of {widths} on the flattened map"
    return f"Joined by the `{run.config.fusion.head}` head"


def _decided(run: Run) -> str:
    """How scores become genres."""
    thresholds = run.config.evaluation.thresholds
    if thresholds == "tuned":
        return "Thresholds were tuned on the latter."
    return "The surest genre is the answer." if thresholds == "top1" else f"A genre is decided from {thresholds:g} on."
