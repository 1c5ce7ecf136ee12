"""What a finished distillation shows: a card in plain words, and a plot of its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmposter.distillation.config import DistillationConfig
from mmposter.document.markdown import markdown_table
from mmposter.files.atomic import write_text
from mmposter.report.plots.style import BLUE, GREY, ORANGE, figure_style, new_figure, save_png
from mmposter.runs.run import TOWER
from mmposter.shell import command_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CARD, CURVES = "README.md", Path("plots") / "curves.png"

_TERMS = {
    "map": "map, squared error",
    "pooled": "average of the map, squared error",
    "logits": "scores, divergence",
    "soft": "answers of the head, divergence",
}
_OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}


def write_card(
    folder: Path, config: DistillationConfig, facts: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> None:
    """Write README.md and its plot into `folder`.

    Args:
        facts: as in `mmposter.distillation.distill.Distillation`.
        history: rows, one or more.
    """
    save_png(plot_curves(history), folder / CURVES)
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    unreadable = f" Left out as unreadable: {', '.join(facts['unreadable'])}." if facts["unreadable"] else ""
    height, width = config.phases[-1].size
    lines = [
        f"# {folder.resolve().name}",
        "",
        f"{config.student} ({facts['parameters']:,} parameters) that has learnt to see in posters what pretrained "
        f"networks see{'' if facts['genres'] else '; no genre was looked at'}. Made with `mmposter distill`.",
        "",
        "## How it was made",
        "",
        f"It began with {_beginning(config)} and was shown {facts['pictures']:,} random crops of "
        f"{facts['train_posters']:,} training posters of `{facts['data']}`, in {facts['steps']:,} steps of "
        f"{_OPTIMIZERS[config.optimizer]} and {facts['seconds']:.0f} s on {facts['device']}. Through the last "
        f"{config.held_norms:.0%} batch norms held their statistics. Test posters were not opened.{unreadable}",
        "",
        _phases(config),
        "",
        "Teachers, and from which stage of the network which of theirs is predicted:",
        "",
        *(_teacher(teacher) for teacher in facts["teachers"]),
        "",
        *_genres(config, facts),
        f"Libraries: {versions}. The whole configuration is in `distillation.json`, all curves in `metrics.csv`.",
        "",
        "## How well it sees",
        "",
        f"On {facts['val_posters']:,} validation posters at {height} x {width}, with averaged weights (0 is what the "
        "teacher sees; `constant` is the teachers' mean, which needs no poster):",
        "",
        _validation(facts),
        "",
        f"![curves]({CURVES.as_posix()})",
        "",
        "## Use",
        "",
        "    "
        + command_line(
            "mmposter", "train", "DATA", "--init", f"FOLDER/{TOWER}", "--set", f"cnn.backbone={config.student}"
        ),
        "",
        f"The file says the size it was made for, {height} x {width}: posters are read at it.",
    ]
    write_text(folder / CARD, "\n".join(lines) + "\n")


def plot_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """The loss by pictures shown, the rate in a strip below, a line where another size begins; of one row or more."""
    shown = [row["posters"] for row in history]
    with figure_style():
        figure = new_figure(4.6)
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1.2])
        marks = {"markersize": 4.5, "markevery": max(1, len(shown) // 12), "linewidth": 1.8}
        loss.plot(shown, [row["train_loss"] for row in history], "s-", color=ORANGE, label="training", **marks)
        loss.plot(shown, [row["val_loss"] for row in history], "o-", color=BLUE, label="validation", **marks)
        loss.set_ylabel("loss")
        rate.plot(shown, [row["learning_rate"] for row in history], color=GREY, linewidth=1.6)
        rate.set_ylim(bottom=0)
        rate.set_ylabel("learning\nrate")
        rate.set_xlabel("crops shown")
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        sizes = [(row["height"], row["width"]) for row in history]
        for index, size in enumerate(sizes):
            begins = index == 0 or size != sizes[index - 1]
            here = shown[index - 1] if index else 0
            if begins:
                loss.annotate(
                    "{} x {}".format(*size), (here, 1), xycoords=("data", "axes fraction"), xytext=(4, -12),
                    textcoords="offset points", color=GREY,
                )  # fmt: skip
            if begins and index:
                for axes in (loss, rate):
                    axes.axvline(here, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        for axes in (loss, rate):
            axes.grid(axis="y")
            axes.set_xlim(0, shown[-1])
        rate.xaxis.set_major_formatter("{x:,.0f}")
        loss.legend(loc="upper right")
        loss.set_title("Distillation: training on mixed crops, validation on whole posters")
    return figure


def _beginning(config: DistillationConfig) -> str:
    known = {"none": f"random weights (seed {config.seed})", "imagenet": "its published weights"}
    return known.get(config.init, f"the weights `{Path(config.init).name}`")


def _teacher(teacher: Mapping[str, Any]) -> str:
    meets = ", ".join(f"{mine} -> {theirs}" for theirs, mine in teacher["stages"].items())
    scores = "" if teacher["scores"] else "; its classifier is no single linear layer, so its scores were not used"
    return f"- `{teacher['name']}`: {meets}{scores}"


def _phases(config: DistillationConfig) -> str:
    rows = [
        [
            str(number),
            "{} x {}".format(*phase.size),
            f"{phase.posters:,}",
            "{:g}-{:g}".format(*phase.scale),
            str(phase.batch_size),
            f"{phase.learning_rate:g}",
        ]
        for number, phase in enumerate(config.phases, start=1)
    ]
    header = ["phase", "height x width", "crops", "part of the poster", "batch", "rate"]
    return markdown_table(header, rows, "rrrrrr")


def _genres(config: DistillationConfig, facts: Mapping[str, Any]) -> list[str]:
    genres = facts["genres"]
    if not genres:
        return []
    return [
        f"Genres of the training posters were used: heads on the teachers' features learnt them "
        f"({len(genres['names'])} genres), and what they say of a crop is predicted, too, with weight "
        f"{config.genre_weight:g}. For each of {genres['folds']} parts of the training posters, those of one group in "
        f"one part, a head learnt the others: no answer is of a head that had seen that poster's genres (mAP "
        f"{genres['train_map']:.3f} on the training posters, {genres['validation_map']:.3f} on the validation posters, "
        "whose genres chose the best epochs). The heads are not part of the network.",
        "",
    ]


def _validation(facts: Mapping[str, Any]) -> str:
    rows = []
    for key, value in facts["validation"].items():
        hint, _, term = key.rpartition("/")
        rows.append([hint, _TERMS[term], f"{value:.3f}", f"{facts['constant'][key]:.3f}"])
    total = [f"{sum(facts[name].values()):.3f}" for name in ("validation", "constant")]
    return markdown_table(["stage", "what", "error", "constant"], [*rows, ["together", "", *total]], "llrr")
