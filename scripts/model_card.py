"""The model card of a released run (Mitchell et al. 2019, arXiv 1810.03993), from measured numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmposter.branches import declared
from mmposter.document.markdown import markdown_table
from mmposter.evaluation import Difference, get_metric
from mmposter.runs.decisions import ERROR, MEASURED, Subsets
from mmposter.runs.run import Run


def card(
    run: Run,
    evaluation: Mapping[str, Any],
    how: str,
    *,
    name: str,
    megabytes: float,
    on_pack: Mapping[str, Any] | None = None,
) -> str:
    """The card as Markdown.

    Args:
        run: as released, with its subsets.json.
        evaluation: on test posters with all branches, as ``evaluation.json`` holds it.
        how: Markdown: the commands that made the run.
        name: of the model.
        megabytes: of its files.
        on_pack: the evaluation on the pack that travels with mmposter, which is the one that a reader can repeat.
    """
    subsets = run.subsets()
    assert subsets is not None  # the release has checked it
    parts = [f"# {name}", *_what(run, name, megabytes), *_data(run, subsets), *_made(run, subsets, how)]
    parts += [
        *_results(evaluation),
        *_on_pack(on_pack, name),
        *_by_branches(run, subsets),
        *_limits(evaluation),
        *_licence(run),
    ]
    return "\n\n".join(parts) + "\n"


def unseen_genres(evaluation: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Genres whose average precision is not surely above the constant's, and those with too few posters to tell."""
    rows = [(genre, row["difference"]["ci95"]) for genre, row in evaluation["by_genre"].items()]
    unknown = [genre for genre, ends in rows if ends is None]
    return [genre for genre, ends in rows if ends is not None and ends[0] <= 0], unknown


def _what(run: Run, name: str, megabytes: float) -> list[str]:
    sees = [f"- `{branch}`: {declared(branch).describe(run.config)}" for branch in run.config.branches]
    return [
        f"Genres of a movie from its poster: a probability for each of {len(run.vocabulary)} ("
        f"{', '.join(run.vocabulary.genres)}), and those above their thresholds. {megabytes:.1f} MB, half precision.",
        "It looks at",
        "\n".join(sees),
        "The image network of the first two is in this folder. The files behind the others belong to their owners: "
        "without them the model looks through what is left, and says so.",
        f"    mmposter predict poster.jpg --model {name}",
        "Meant for sorting and searching collections of posters, for teaching, and as a baseline and starting point "
        "(`--init posters`) for other models. Not meant for decisions about people, and not for saying what a film is "
        "about: a poster is an advertisement.",
    ]


def _data(run: Run, subsets: Subsets) -> list[str]:
    facts, measured = run.facts, subsets.measured
    return [
        "## Data",
        f"`{facts['data']}`: posters of films with their genres of IMDb. Near-duplicates stay on one "
        f"side of the split. {facts['train_posters']:,} posters to train on{_films(facts)}, {facts['val_posters']:,} "
        f"to stop, to scale the probabilities and to tune thresholds, {measured.count:,} to measure "
        f"({measured.split}), which nothing else has seen. The posters themselves are not in this package.",
    ]


def _films(facts: Mapping[str, Any]) -> str:
    return f" (and the titles of {facts['films']:,} other films, for the words)" if facts.get("films") else ""


def _made(run: Run, subsets: Subsets, how: str) -> list[str]:
    facts = run.facts
    versions = ", ".join(f"{library} {number}" for library, number in facts["versions"].items())
    return [
        "## How it was made",
        *([how.strip()] if how.strip() else []),
        f"The head: {facts['parameters']:,} parameters, `{run.config.fusion.head}`, loss `{run.config.loss.name}`, "
        f"seed {run.config.seed}, epoch {facts['best_epoch'] + 1} of {facts['epochs']} by validation mAP. Then, for "
        "every set of branches, one slope of the logits, one offset a genre and thresholds, fitted on "
        f"{subsets.fitted.count:,} posters ({subsets.fitted.split}): `mmposter calibrate RUN DATA`. Rounded to half "
        "precision by `scripts/release_model.py RUN DATA OUT`.",
        f"Libraries: {versions}. The whole configuration is in `model.json`.",
    ]


def _results(evaluation: Mapping[str, Any]) -> list[str]:
    rows = []
    for name in (*MEASURED, ERROR):
        row = evaluation["metrics"][name]
        apart = _range(row["difference"]["ci95"], "+")
        numbers = [_number(row["value"]), _range(row["ci95"]), _number(row["constant"]), apart]
        rows.append([get_metric(name).title, *numbers])
    by_support = sorted(evaluation["by_genre"].items(), key=lambda item: -item[1]["support"])
    genres = [
        [
            genre,
            str(row["support"]),
            _number(row["average_precision"]),
            _range(row["ci95"]),
            _number(row["prevalence"]),
            _number(row["precision"]),
            _number(row["recall"]),
        ]
        for genre, row in by_support
    ]
    return [
        "## Results",
        f"All branches, {evaluation['n']:,} {evaluation['split']} posters. Constant: the best single answer for all "
        "posters, chosen on the training posters for that metric; of a genre's AP that is its prevalence. 95 % "
        f"intervals over {evaluation['bootstrap']['unit']}; the difference to the constant is paired by poster.",
        markdown_table(["metric", "value", "95 % interval", "constant", "minus the constant"], rows, align="lrrrr"),
        markdown_table(
            ["genre", "posters", "AP", "95 % interval", "constant", "precision", "recall"], genres, align="lrrrrrr"
        ),
    ]


def _on_pack(evaluation: Mapping[str, Any] | None, name: str) -> list[str]:
    if evaluation is None:
        return []
    said = []
    for metric in MEASURED:
        row = evaluation["metrics"][metric]
        said.append(
            f"{get_metric(metric).title} {_number(row['value'])} ({_range(row['ci95'])}; minus the constant "
            f"{_range(row['difference']['ci95'], '+')})"
        )
    return [
        f"These numbers are of the posters' own features. `mmposter evaluate {name}` measures the {evaluation['n']:,} "
        f"test posters of the benchmark pack, which keeps them rounded, and says {', '.join(said)}."
    ]


def _by_branches(run: Run, subsets: Subsets) -> list[str]:
    sets = [(",".join(names), subset) for names, subset in subsets.subsets.items()]
    sets += [(f"{','.join(names)}, without the encoder", subset) for names, subset in subsets.spared.items()]
    rows = [
        [
            label,
            *(_measured(subset.metrics[name]) for name in MEASURED),
            "" if subset.difference is None else _measured(subset.difference[MEASURED[0]], "+"),
            f"{subset.error_before.value:.3f} to {subset.error_after.value:.3f}",
        ]
        for label, subset in sets
    ]
    constant = [_number(subsets.constant[name]) for name in MEASURED]
    rows.append(["constant", *constant, "", _number(subsets.constant[ERROR])])
    return [
        "### By what it looks at",
        f"The other branches are masked, {subsets.measured.count:,} {subsets.measured.split} posters. The difference "
        "in mAP to all branches is paired by poster. Calibration error: before and after the scaling.",
        markdown_table(
            ["branches", *(get_metric(name).title for name in MEASURED), "mAP to all", "calibration error"],
            rows,
            align="lrrrrr",
        ),
    ]


def _limits(evaluation: Mapping[str, Any]) -> list[str]:
    unseen, unknown = unseen_genres(evaluation)
    points = [
        "Genres it cannot see (AP minus the constant's, paired by poster, reaches zero with its interval): "
        f"{', '.join(unseen) or 'none'}.",
        *([f"Genres with too few test posters to tell: {', '.join(unknown)}."] if unknown else []),
        "Posters after 2015 were not measured; fashions in posters change.",
        "Words are split, and understood, in English. Other languages help little, other scripts hardly at all.",
        "Most films are from the US and in English: posters of other countries look different, and it will be wrong "
        "more often there.",
        "Genres are IMDb's, which are many a film and not always to be seen on its poster.",
        "Real titles help: the words on a poster can name a film, not its kind. `ocr.mask=title` measures how much.",
        "It sees people as shapes and objects. Nothing it says is about a person, and it must not be used for that.",
    ]
    return ["## Limits", "\n".join(f"- {point}" for point in points)]


def _licence(run: Run) -> list[str]:
    others = [branch for branch in run.config.branches if branch in ("yolo", "ocr")]
    text = (
        "These weights are under the MIT licence, as mmposter is. They were trained on posters that belong to the "
        "owners of the films; no poster is in them or beside them."
    )
    if "yolo" in others:
        text += " The object detector behind `yolo` is not here: its weights and library are under AGPL-3.0."
    if "ocr" in others:
        text += " Nor are the reader of words and the text encoder behind `ocr` (Apache-2.0)."
    return ["## Licence", text]


def _measured(found: Difference, sign: str = "") -> str:
    ends = "" if found.ci95 is None else f" ({_range(found.ci95, sign)})"
    return f"{found.value:{sign}.3f}{ends}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _range(ends: Sequence[float] | None, sign: str = "") -> str:
    return "–" if ends is None else f"{ends[0]:{sign}.3f} to {ends[1]:{sign}.3f}"
