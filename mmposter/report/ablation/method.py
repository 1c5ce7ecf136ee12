"""How the numbers of an ablation come about, in ten plain sentences."""

from __future__ import annotations

from mmposter.evaluation.ablation import HEADLINES, AblationResult
from mmposter.report.ablation.numbers import seeds_in_words
from mmposter.report.ablation.sections import TITLES


def method(result: AblationResult) -> list[str]:
    """What a reader must know to read the tables and figures right."""
    source = result.provenance
    one_seed = len(source.seeds) < 2
    luck = (
        "of the posters alone: with one seed the luck of training cannot be known, and every interval is too narrow "
        "by it"
        if one_seed
        else "of the posters and of training: the spread over half-samples of the posters and the spread over seeds"
    )
    return [
        f"A model is trained with {seeds_in_words(source.seeds)}; a number is the mean over them, on the same "
        f"{source.posters} posters of the split “{source.split}”.",
        f"The headline metrics are {', '.join(TITLES[metric] for metric in HEADLINES)}; the first leads, and figures "
        "show it.",
        f"A 95 % interval holds the luck {luck} ({source.bootstrap} half-samples).",
        "It is corrected for the bias that average precision has on few posters, so it need not be centred on the "
        "value.",
        "A difference is paired: both models are measured on the same posters, seed by seed, so what makes a poster "
        "easy or hard for both falls out, and two models may differ clearly although their own intervals overlap.",
        "p-values are adjusted by Holm's method over all comparisons of a section and mode, so that the chance of any "
        "false claim in it stays at 5 %; a difference is claimed only where the adjusted p is below .05 and the "
        "interval lies on one side of zero.",
        "Not told apart is not the same as equal: the interval says how large a difference may still be there.",
        "Trained anew asks what a model without the branch would reach; masked asks what the trained model loses "
        "when the branch is taken away, and says more about the model than about the data.",
        "The best constant answer is the one ranking or set for all posters that does best on the training posters, "
        "by metric; a genre's average precision under it is the genre's share of the posters.",
        "Not in the intervals: this is one split of one data set, with settings that were chosen by people; other "
        "posters, another split or another configuration may answer differently.",
    ]
