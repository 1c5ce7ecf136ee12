"""Shapley weights: a game by hand, and the four properties that define the value."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmposter.evaluation.seeds import estimate_difference
from mmposter.evaluation.shapley import shapley_weights

Game = dict[frozenset[str], float]


def shares(game: Game, branches: str) -> dict[str, float]:
    return {
        branch: sum(weight * game[subset] for subset, weight in weights.items())
        for branch, weights in shapley_weights(list(branches)).items()
    }


def subsets(branches: str) -> list[frozenset[str]]:
    return [frozenset(some) for size in range(len(branches) + 1) for some in combinations(branches, size)]


def games(branches: str) -> st.SearchStrategy[Game]:
    values = st.floats(-1, 1)
    return st.lists(values, min_size=2 ** len(branches), max_size=2 ** len(branches)).map(
        lambda chosen: dict(zip(subsets(branches), chosen, strict=True))
    )


def test_three_players_by_hand():
    # Gains over the six orders: a 12, 12, 18, 30, 24, 30 / b 18, 36, 12, 12, 36, 30 / c 30, 12, 30, 18, 0, 0.
    values = {"": 0, "a": 12, "b": 12, "c": 0, "ab": 30, "ac": 24, "bc": 30, "abc": 60}
    game = {frozenset(name): float(value) for name, value in values.items()}
    orders = {
        branch: np.mean(
            [
                game[frozenset(order[: order.index(branch) + 1])] - game[frozenset(order[: order.index(branch)])]
                for order in permutations("abc")
            ]
        )
        for branch in "abc"
    }
    assert shares(game, "abc") == pytest.approx(orders)
    assert shares(game, "abc") == pytest.approx({"a": 21, "b": 24, "c": 15})


def test_gloves():
    # The glove game: a and b own a left glove, c a right one, a pair is worth 1. Known value 1/6, 1/6, 2/3.
    game = {subset: float("c" in subset and len(subset) > 1) for subset in subsets("abc")}
    assert shares(game, "abc") == pytest.approx({"a": 1 / 6, "b": 1 / 6, "c": 2 / 3})


@given(games("abcd"))
def test_efficiency_nothing_is_lost(game):
    assert sum(shares(game, "abcd").values()) == pytest.approx(game[frozenset("abcd")] - game[frozenset()])


@given(games("abcd"))
def test_symmetry_the_names_do_not_matter(game):
    turned = dict(zip("abcd", "bcda", strict=True))
    renamed = {frozenset(turned[branch] for branch in subset): value for subset, value in game.items()}
    before, after = shares(game, "abcd"), shares(renamed, "abcd")
    assert {turned[branch]: share for branch, share in before.items()} == pytest.approx(after)


@given(games("abc"), st.floats(-1, 1))
def test_dummy_gets_what_it_always_adds(game, gain):
    wider = {subset: game[subset - {"d"}] + gain * ("d" in subset) for subset in subsets("abcd")}
    assert shares(wider, "abcd") == pytest.approx({**shares(game, "abc"), "d": gain})


@given(games("abc"), games("abc"))
def test_additivity(first, second):
    both = {subset: first[subset] + second[subset] for subset in first}
    one, other = shares(first, "abc"), shares(second, "abc")
    assert shares(both, "abc") == pytest.approx({branch: one[branch] + other[branch] for branch in "abc"})


def test_all_subsets_in_order_and_weights_that_cancel():
    weights = shapley_weights(list("abcde"))
    for branch, of in weights.items():
        assert list(of) == subsets("abcde")
        assert sum(of.values()) == pytest.approx(0)
        assert sum(weight for subset, weight in of.items() if branch in subset) == pytest.approx(1)
    assert shapley_weights(["only"]) == {"only": {frozenset(): -1.0, frozenset(["only"]): 1.0}}
    assert shapley_weights([]) == {}


def test_a_name_twice_is_named():
    with pytest.raises(ValueError, match=r"branches must be different names, got \['ocr', 'ocr'\]"):
        shapley_weights(["ocr", "ocr"])


def test_a_contribution_has_an_interval():
    """Three seeds, 50 halves of every subset: each branch adds what it adds, and a useless one does not show."""
    rng = np.random.default_rng(0)
    gain = {"cnn": 0.2, "ocr": 0.1, "none": 0.0}
    cells = {
        subset: (
            0.1 + sum(gain[b] for b in subset) + 0.002 * rng.normal(size=3),
            0.1 + sum(gain[b] for b in subset) + 0.01 * rng.normal(size=(3, 50)),
        )
        for subset in shapley_weights(list(gain))["cnn"]
    }
    for branch, weights in shapley_weights(list(gain)).items():
        values = sum(weight * cells[subset][0] for subset, weight in weights.items())
        halves = sum(weight * cells[subset][1] for subset, weight in weights.items())
        found = estimate_difference(values, halves, 1000)
        low, high = found.ci95 or (math.nan, math.nan)
        assert low < gain[branch] < high
        assert found.value == pytest.approx(gain[branch], abs=0.004)
        assert ((found.p_value or 0) < 0.05) == (branch != "none")
