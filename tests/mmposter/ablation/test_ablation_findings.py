"""What the findings say of worlds whose truth is known, and that they never say more than the p-values carry."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmposter.evaluation.ablation import HEADLINES, AblationResult
from mmposter.evaluation.seeds import Estimate
from mmposter.report.ablation import findings
from mmposter.report.ablation.numbers import carried, p_value, seeds_in_words, signed, size_in_words, verdict

LEAD = HEADLINES[0]
CLAIM = re.compile(
    r"\b(falls|rises|adds|costs|takes AP|higher|lower|better than cnn|better by|worse by|do better|that need)\b"
)


def sentence(result: AblationResult, start: str) -> str:
    (found,) = [text for text in findings(result) if text.startswith(start)]
    return found


def claims(result: AblationResult) -> list[str]:
    return [text for text in findings(result) if CLAIM.search(text)]


def adjusted(result: AblationResult, p: float | None) -> AblationResult:
    """The same result with this Holm's p-value everywhere."""

    def changed(found):
        metrics, by_genre = (
            {name: replace(one, adjusted=p) for name, one in some.items()} for some in (found.metrics, found.by_genre)
        )
        return replace(found, metrics=metrics, by_genre=by_genre)

    cells = tuple(replace(cell, comparisons=tuple(map(changed, cell.comparisons))) for cell in result.cells)
    return replace(result, cells=cells, contributions=tuple(map(changed, result.contributions)))


def test_the_branch_that_carries_all_of_a_genre_is_named(small):
    # Horror is worth .07 + .2 with cnn and .07 without; Drama's loss of .1 counts, War's signal is not cnn's.
    text = sentence(small, "Genres that need cnn")
    assert text == (
        "Genres that need cnn: trained anew without cnn, AP falls for Horror by .200 (.180 to .220); "
        "Drama by .100 (.080 to .120)."
    )
    assert sentence(small, "No signal shown without cnn").endswith(
        "not told apart from the best constant answer's for Horror, .070 (.031 to .109) against .070."
    )
    assert "War by .100 (.080 to .120)" in sentence(small, "Genres that need ocr")
    assert "War" in sentence(small, "No signal shown without ocr")
    assert "Horror" not in sentence(small, "No signal shown without ocr")


def test_the_branch_that_carries_nothing_is_named(small):
    assert sentence(small, "No help shown from style") == (
        "No help shown from style (trained anew), in mAP or in any genre: mAP without it minus the full model's is "
        "+.000 (-.006 to +.006)."
    )
    assert not [
        text for text in findings(small) if text.startswith(("No help shown from cnn", "No help shown from ocr"))
    ]
    assert not [text for text in findings(small) if text.startswith("Genres that need style")]


def test_each_branch_gets_its_cost_and_its_share(small):
    # Without cnn: (.2 + 0 + .1) / 3 genres with posters; the world is additive, so that is its Shapley value as well.
    assert sentence(small, "cnn: ") == (
        "cnn: trained anew without cnn, mAP falls by .100 (.094 to .106); averaged over all subsets of the others "
        "(trained anew), it adds .100 (.094 to .106) mAP."
    )
    assert "mAP is not told apart from the full model's, +.000 (-.006 to +.006)" in sentence(small, "style: ")
    assert "no mAP is shown to be added, +.000 (" in sentence(small, "style: ")


def test_the_full_model_stands_beside_the_constant(small):
    # Prevalences .07, .04 and .5; effects .2, .1 and .15.
    assert findings(small)[0] == (
        "The full model (cnn, style, ocr) has mAP .353 (.336 to .371): better than the best constant answer's "
        ".203, by .150 (.132 to .168)."
    )

    def said(value, ci95):
        over = replace(small.full.over_constant[LEAD], value=value, ci95=ci95)
        full = replace(small.full, over_constant={**small.full.over_constant, LEAD: over})
        return findings(replace(small, cells=(full, *small.cells[1:])))[0].split(": ")[1]

    # The value's own interval, .336 to .371, decides nothing.
    assert said(0.15, (-0.01, 0.3)) == "not told apart from the best constant answer's .203, +.150 (-.010 to +.300)."
    assert said(-0.1, (-0.2, -0.05)) == "worse than the best constant answer's .203, by .100 (.050 to .200)."
    assert said(0.15, None) == "too few posters for an interval; the best constant answer has .203."


def test_the_smallest_subset_that_does_as_well(small):
    text = sentence(small, "The smallest subsets that are not told apart")
    assert text.endswith("holds zero: cnn, ocr, +.000 (-.006 to +.006).")


def test_a_subset_whose_interval_lies_below_is_not_called_as_good(small):
    # No p-value carries a difference, yet only what has an interval around zero may pass for as good.
    found = [text for text in findings(adjusted(small, 0.5)) if text.startswith("The smallest subsets")]
    assert found == [sentence(small, "The smallest subsets")]


def test_a_subset_that_beats_the_full_model(truth, all_subsets):
    world = truth(effects={"cnn": (0.2,), "yolo": (-0.05,)}, genres=("Drama",), support=(300,))
    all_subsets(world)
    found = findings(world.result(contributions=("retrain",)))
    assert "Fewer branches do better: cnn has mAP higher than the full model by .050 (.044 to .056)." in found
    assert any(text.startswith("Genres that do better when yolo is left out") for text in found)
    assert any("it costs .050 (.044 to .056) mAP" in text for text in found)


def test_controls_speak_of_both_comparisons(rich):
    shuffled = sentence(rich, "Control “ocr of another poster”")
    assert "mAP lower than that of the full model by .044 (.039 to .050)" in shuffled
    assert "not told apart from that of the model without ocr, " in shuffled
    # A branch alone is compared with itself unchanged; that it is worse than the full model is no finding.
    alone = sentence(rich, "Control “ocr alone, words of the title masked”")
    assert alone.endswith("mAP lower than that of ocr (the same branch unchanged) by .012 (.006 to .018).")


def test_axes_name_the_base_and_every_value(rich):
    assert sentence(rich, "`fusion.head`") == (
        "`fusion.head`, against the base, head = sum: head = concat is not told apart (mAP -.001 (-.007 to +.005)); "
        "head = gated is worse by .013 (.007 to .019) mAP; head = attention is worse by .022 (.016 to .028) mAP."
    )
    assert "gate = srm is better by .014" in sentence(rich, "`style.gate`")


def test_an_axis_of_names_is_called_by_its_section(truth):
    world = truth(effects={"cnn": (0.2,)}, genres=("Drama",), support=(300,))
    world.add("cnn", "cnn", "loss.name", ("cnn",))
    world.add("loss.name=asl", "loss = asl", "loss.name", ("cnn",), shift=-0.05, changes={"loss.name": "asl"})
    result = world.result()
    result.provenance.config["loss"] = {"name": "bce"}
    assert sentence(result, "`loss.name`") == (
        "`loss.name`, against the base, loss = bce: loss = asl is worse by .050 (.044 to .056) mAP."
    )


def test_adding_a_branch_and_masking(rich):
    assert sentence(rich, "Adding one branch, “cnn, ocr”").endswith(
        "higher than that of cnn alone by .044 (.039 to .050)."
    )
    # Once only: a masked control looks at all branches, and is no subset.
    masked = sentence(rich, "Masking gives a lower mAP")
    assert "cnn, style, yolo, ocr" not in masked
    assert masked.endswith("; and 8 more.")
    assert masked.index("cnn, yolo, ocr by .045") < masked.index("cnn, yolo by .039")


def test_p_is_named_where_it_decides_against_the_interval(small):
    found = adjusted(small, 0.0612)
    assert "mAP is not told apart from the full model's, -.100 (-.106 to -.094), p .061 by Holm" in sentence(
        found, "cnn: "
    )


@pytest.mark.parametrize("p", [None, 0.05, 0.3, 1.0])
def test_without_a_small_p_nothing_is_claimed(small, rich, p):
    for result in (small, rich):
        assert claims(result)
        assert claims(adjusted(result, p)) == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.floats(-0.3, 0.3),
    below=st.floats(0, 0.2),
    above=st.floats(0, 0.2),
    p=st.one_of(st.none(), st.floats(0, 0.049), st.floats(0, 1)),
)
def test_a_claim_is_made_if_and_only_if_p_and_interval_carry_it(small, value, below, above, p):
    ends = (value - below, value + above)
    changed = []
    for cell in small.cells:
        items = []
        for item in cell.comparisons:
            estimate = Estimate(value, ends, 0.01, p, p)
            items.append(
                replace(
                    item,
                    metrics=dict.fromkeys(item.metrics, estimate),
                    by_genre=dict.fromkeys(item.by_genre, estimate),
                )
            )
        changed.append(replace(cell, comparisons=tuple(items)))
    result = replace(small, cells=tuple(changed), contributions=())
    said = " ".join(claims(result))
    small_p = p is not None and p < 0.05
    assert bool(said) == (small_p and (ends[0] > 0 or ends[1] < 0))
    assert ("falls" in said) == (small_p and ends[1] < 0)
    assert ("rises" in said) == (small_p and ends[0] > 0)


def test_every_sentence_has_a_number_and_an_interval(small, rich):
    for text in (*findings(small), *findings(rich)):
        assert re.search(r"[+-]?\.\d{3} \([+-]?\.\d{3} to [+-]?\.\d{3}\)", text), text


def test_half_a_result_gives_half_the_findings(small, truth):
    assert findings(replace(small, cells=(), contributions=())) == []
    only = findings(replace(small, cells=small.cells[:1], contributions=()))
    assert len(only) == 1
    # Without the reference nothing can be compared, and nothing breaks.
    assert findings(replace(small, cells=small.cells[1:], contributions=())) == []


def test_carried_wants_p_interval_and_value_on_one_side():
    up = Estimate(0.02, (0.01, 0.03), 0.005, 0.001)
    assert carried(replace(up, adjusted=0.049)) == 1
    assert carried(replace(up, adjusted=0.05)) == 0
    assert carried(replace(up, adjusted=None)) == 0
    assert carried(replace(up, adjusted=float("nan"))) == 0
    assert carried(Estimate(-0.02, (-0.03, -0.01), 0.005, adjusted=0.01)) == -1
    assert carried(Estimate(0.02, (-0.01, 0.05), 0.01, adjusted=0.01)) == 0
    assert carried(Estimate(-0.02, (-0.05, 0.01), 0.01, adjusted=0.01)) == 0
    assert (
        carried(Estimate(-0.001, (0.001, 0.03), 0.005, adjusted=0.01)) == 0
    )  # the correction for bias changed the side
    assert carried(Estimate(0.02, None, float("nan"), adjusted=0.01)) == 0
    assert carried(Estimate(0.0, (0.0, 0.0), 0.0, adjusted=0.0)) == 0
    assert carried(Estimate(0.1, (0.1, 0.1), 0.0, adjusted=0.0)) == 1
    assert [verdict(replace(up, adjusted=p)) for p in (0.01, 0.2)] == ["better", "not told apart"]


def test_numbers_are_written_without_the_leading_zero():
    assert [signed(value) for value in (0.0124, -0.004, -0.0001, 0.0, float("nan"))] == [
        "+.012",
        "-.004",
        "-.000",
        "+.000",
        "–",
    ]
    assert size_in_words(Estimate(-0.02, (-0.03, -0.01), 0.1)) == ".020 (.010 to .030)"
    assert [p_value(p) for p in (None, 0.0004, 0.0123, 0.0496, 0.05, 1.0)] == [
        "–",
        "< .001",
        ".012",
        "< .05",
        ".050",
        "1.000",
    ]
    assert [seeds_in_words(s) for s in ((), (3,), (0, 1), (0, 1, 2), (0, 2, 5))] == [
        "no seed", "1 seed (3)", "2 seeds (0, 1)", "3 seeds (0-2)", "3 seeds (0, 2, 5)",
    ]  # fmt: skip
