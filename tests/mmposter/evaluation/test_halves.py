"""Half-samples in blocks give the numbers that all at once gave, in memory that does not grow with their number."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mmposter.evaluation import halves, weighted
from mmposter.evaluation.bootstrap import values_and_halves
from mmposter.evaluation.constant import ConstantPredictor, constants_and_halves
from mmposter.evaluation.halves import blocks, half_samples
from mmposter.evaluation.metrics import METRICS, compute_metrics

N_BOOT = 30


# As they were before: all half-samples at once, as float64, one column a replicate. ----------------------------------


def drawn_at_once(n: int, n_boot: int, seed: int, groups: np.ndarray | None) -> np.ndarray:
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1
    rng = np.random.default_rng(seed)
    chosen = np.zeros((n_boot, units), dtype=bool)
    for row in range(0, n_boot, 2):
        chosen[row, rng.permutation(units)[: units // 2]] = True
    chosen[1::2] = ~chosen[0::2][: n_boot // 2]
    return chosen[:, unit]


def ranked(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and AUROC of one genre on each row of `weights` (R x N)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order]) != 0) + 1, len(order))
    ordered = weights.T[order].astype(np.float64)
    everyone = np.vstack([np.zeros(len(weights)), np.cumsum(ordered, axis=0)])
    hits = np.vstack([np.zeros(len(weights)), np.cumsum(ordered * positive[order][:, None], axis=0)])
    starts = np.append(0, ends[:-1])
    gained, until = hits[ends] - hits[starts], hits[ends]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(until / everyone[ends])
        average = (gained * precision).sum(axis=0) / until[-1]
        negatives = everyone[-1] - until[-1]
        below = negatives - (everyone[starts] - hits[starts] + everyone[ends] - until) / 2
        area = (gained * below).sum(axis=0) / (until[-1] * negatives)
    return average, area


def expected_halves(target: np.ndarray, probs: np.ndarray, decisions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each row of all posters and of the half-samples: the metrics, then each genre's average precision."""
    rows = np.vstack([np.ones((1, len(target)), dtype=bool), weights])
    both = [ranked(target[:, g], probs[:, g], rows) for g in range(target.shape[1])]
    average, area = (np.stack(part, axis=1) for part in zip(*both, strict=True))
    found = []
    for row, half in enumerate(rows):
        values = compute_metrics(target[half], probs[half], decisions[half])
        values["mean_average_precision"] = np.nanmean(average[row])
        values["macro_auroc"] = np.nanmean(area[row])
        found.append([*values.values(), *average[row]])
    return np.array(found)


def posters(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Targets, probabilities and groups: with what each of the names says."""
    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(90, 6))
    target = hidden + rng.normal(size=hidden.shape) > np.linspace(0, 2, 6)
    probs = 1 / (1 + np.exp(1 - hidden))
    target[~target.any(axis=1), 0] = True
    groups = None
    if name == "ties":
        probs = probs.round(1)
    if name == "groups":
        groups = np.array([f"g{number}" for number in rng.integers(0, 60, len(target))], dtype=object)
    if name == "no positives":
        target[:, 3] = False
        target[:, 4] = np.arange(len(target)) == 7
        target[:, 0] |= ~target.any(axis=1)
    if name == "masked":  # nothing was seen of most posters: they all got the base rates
        probs[20:] = target.mean(axis=0)
    return target, probs, groups


@pytest.mark.parametrize("name", ["plain", "ties", "groups", "no positives", "masked"])
def test_numbers_are_those_of_all_half_samples_at_once(name, monkeypatch):
    target, probs, groups = posters(name)
    decisions, weights = probs >= 0.4, half_samples(len(target), N_BOOT, 3, groups)
    array = drawn_at_once(len(target), N_BOOT, 3, groups)
    assert np.array_equal(weights[:], array)
    assert np.array_equal(np.array(list(weights)), array)
    assert weights.shape == array.shape
    expected = expected_halves(target, probs, decisions, array)
    found = []
    for limit in (halves.BLOCK_WEIGHTS, 1):  # all rows in one block, and four at a time
        monkeypatch.setattr(halves, "BLOCK_WEIGHTS", limit)
        found.append(values_and_halves(target, probs, decisions, METRICS, weights, genres=True))
        values, rows = found[-1]
        assert values == pytest.approx(expected[0], abs=1e-12, nan_ok=True)
        # Columns of average precision are moved by their bias, one number each.
        moved = [0, *range(len(METRICS), rows.shape[1])]
        rows, want = rows.copy(), expected[1:].copy()
        for column in moved:
            rows[:, column] -= np.nanmean(rows[:, column]) if not np.isnan(rows[:, column]).all() else 0
            want[:, column] -= np.nanmean(want[:, column]) if not np.isnan(want[:, column]).all() else 0
        assert rows == pytest.approx(want, abs=1e-9, nan_ok=True)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-12, nan_ok=True)
    assert found[0][1] == pytest.approx(
        values_and_halves(target, probs, decisions, METRICS, array, genres=True)[1], abs=1e-12, nan_ok=True
    )


def test_an_answer_that_ties_all_posters_is_its_prevalence():
    target, _, groups = posters("groups")
    weights = half_samples(len(target), N_BOOT, 3, groups)
    constants = [ConstantPredictor.fit(target, metric) for metric in METRICS[:3]]
    values, _ = constants_and_halves(constants, target, weights)
    assert values[3:] == pytest.approx(target.mean(axis=0))
    tied = weighted.average_precision_by_genre(target, np.full(target.shape, 0.5))
    shares = np.array([target[half].mean(axis=0) for half in weights])
    assert tied(weights[:]) == pytest.approx(np.where(shares > 0, shares, np.nan), nan_ok=True)
    assert weighted.macro_auroc(target, np.full(target.shape, 0.5))(weights[:]) == pytest.approx(np.full(N_BOOT, 0.5))


def test_weights_may_be_any_numbers():
    target, probs, _ = posters("ties")
    counts = np.random.default_rng(0).integers(0, 4, len(target))
    copies = np.repeat(np.arange(len(target)), counts)
    for statistic in (weighted.average_precision_by_genre, weighted.macro_auroc):
        once = statistic(target[copies], probs[copies])(np.ones((1, len(copies)), dtype=bool))
        assert statistic(target, probs)(counts[None].astype(np.float64)) == pytest.approx(once)


def test_blocks_hold_every_row_once_and_never_part_four(monkeypatch):
    weights = half_samples(9, 30, seed=1)
    monkeypatch.setattr(halves, "BLOCK_WEIGHTS", 100)
    some = list(blocks(weights))
    assert [len(block) for block in some] == [8, 8, 8, 6]
    assert np.array_equal(np.concatenate(some), weights[:])
    assert [len(block) for block in blocks(weights, 12)] == [8, 4]
    assert (weights[3:20:5] == weights[:][3:20:5]).all()
    assert weights[-1:].shape == (1, 9)


def test_memory_does_not_grow_with_the_number_of_half_samples(monkeypatch):
    monkeypatch.setattr(halves, "BLOCK_WEIGHTS", 80_000)
    rng = np.random.default_rng(0)
    target, probs = rng.random((10_000, 2)) < 0.3, rng.random((10_000, 2))
    target[:, 0] |= ~target.any(axis=1)
    most = []
    for n_boot in (40, 240):
        tracemalloc.start()
        values_and_halves(target, probs, target, METRICS, half_samples(len(target), n_boot, 0), genres=True)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    bits = 200 * len(target) / 16  # one for two half-samples of a poster
    assert most[1] - most[0] < 2 * bits
