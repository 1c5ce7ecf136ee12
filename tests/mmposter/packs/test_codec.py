"""What a pack's numbers lose, and that they lose no more than was asked for."""

from __future__ import annotations

import lzma

import numpy as np
import pytest

from mmposter.packs.codec import NARROW_TOLERANCE, WIDE, decode, encode, relative_error

RNG = np.random.default_rng(0)
FULL = RNG.normal(size=(300, 40)) * np.geomspace(1, 0.05, 40) + RNG.normal(size=40)
LOW_RANK = RNG.normal(size=(300, 3)) @ RNG.normal(size=(3, 200)) + 5
WITH_CONSTANTS = np.concatenate([FULL, np.full((300, 5), 7.25)], axis=1)
MORE_COLUMNS = RNG.normal(size=(12, 90))


def there_and_back(values, tolerance=0.01):
    coded = encode(values, tolerance)
    back = decode(coded.header, coded.body)
    assert back.shape == values.shape
    assert back.dtype == values.dtype
    if coded.header["code"] != "transform":
        assert coded.error == pytest.approx(relative_error(values, back), abs=1e-9)
    return coded, back


@pytest.mark.parametrize("tolerance", [0.1, 0.01, 0.0001])
@pytest.mark.parametrize("values", [FULL, LOW_RANK, WITH_CONSTANTS, MORE_COLUMNS], ids=["full", "low", "flat", "wide"])
def test_the_loss_is_within_the_tolerance_and_not_far_below(values, tolerance):
    coded, back = there_and_back(values.astype(np.float32), tolerance)
    # By hand, beside the codec's own sum: the mean over the columns that move.
    moves = values.std(axis=0) > 1e-6
    lost = np.square(values.astype(np.float32) - back).mean(axis=0)[moves] / values.var(axis=0)[moves]
    assert lost.mean() == pytest.approx(coded.error, rel=0.02)
    assert 0.9 * tolerance < coded.error <= tolerance


def test_more_loss_takes_fewer_bytes():
    sizes = [len(encode(FULL.astype(np.float32), tolerance).body) for tolerance in (0.001, 0.01, 0.1)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_what_goes_together_is_kept_once():
    coded, _ = there_and_back(LOW_RANK.astype(np.float32))
    assert coded.header["components"] == 3
    assert len(coded.body) < LOW_RANK.astype(np.float32).nbytes / 40


def test_a_constant_is_nothing_like_another():
    """Two fields of one shape are compared, to be kept once; of a constant there is no share that could be lost."""
    ones = np.ones((3, 2), np.float32)
    assert relative_error(ones, ones) == 0.0
    assert relative_error(ones, ones + 1) == float("inf")


def test_a_constant_column_is_exact():
    _, back = there_and_back(WITH_CONSTANTS.astype(np.float32))
    assert np.allclose(back[:, 40:], 7.25, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("shape", [(WIDE,), (4,), (), (4, 2)])
def test_no_rows_and_one_row_come_back_as_they_are(rows, shape):
    values = RNG.normal(size=(rows, *shape)).astype(np.float32)
    coded, back = there_and_back(values)
    assert coded.error == 0
    assert np.array_equal(back, values)


def test_what_was_never_negative_stays_so():
    values = np.maximum(RNG.normal(size=(200, 30)), 0).astype(np.float32)
    values[:, 7] -= 1
    coded, back = there_and_back(values, 0.2)
    assert coded.error > 0.1
    assert (np.delete(back, 7, axis=1) >= 0).all()
    assert (back[:, 7] < 0).any()


def test_a_column_of_small_numbers_is_kept_as_well_as_one_of_large_ones():
    values = RNG.normal(size=(400, 30)) * np.where(np.arange(30) < 15, 1.0, 0.05)
    _, back = there_and_back(values.astype(np.float32), 0.05)
    lost = np.square(values - back).mean(axis=0) / values.var(axis=0)
    assert lost.max() < 0.1
    # A mean over all columns alike would have let these go.
    assert np.square(values[:, 15:]).sum() / np.square(values).sum() < 0.05


def test_rows_of_length_one_keep_it():
    values = RNG.normal(size=(200, 30)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    _, back = there_and_back(values, 0.1)
    assert np.allclose(np.linalg.norm(back, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_a_narrow_field_keeps_every_column(spread):
    values = RNG.random((500, 4)).astype(np.float32) * np.array([1, 1, spread, 1], np.float32) + 3
    coded, back = there_and_back(values)
    assert coded.header["code"] == "scalar"
    for column in range(4):
        assert relative_error(values[:, column : column + 1], back[:, column : column + 1]) <= NARROW_TOLERANCE


def test_falling_scores_stay_in_order():
    values = np.sort(RNG.random(400))[::-1].astype(np.float32)
    _, back = there_and_back(values)
    assert (np.diff(back) <= 0).all()


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 79, 3, 0]),
        np.array([-3, 70_000, 2]),
        np.zeros((0, 3), np.int64),
        np.frombuffer("Blade Runner\nДва".encode(), np.uint8),
    ],
    ids=["labels", "large", "none", "text"],
)
def test_whole_numbers_lose_nothing(values):
    coded, back = there_and_back(values)
    assert coded.error == 0
    assert np.array_equal(back, values)


def test_equal_arrays_give_equal_bytes():
    assert encode(FULL.astype(np.float32), 0.01) == encode(FULL.astype(np.float32).copy(), 0.01)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        encode(np.array([[1.0, np.nan]], np.float32), 0.01)


def test_bytes_that_end_too_early_are_refused():
    coded = encode(FULL.astype(np.float32), 0.01)
    short = lzma.compress(lzma.decompress(coded.body)[:-9])
    with pytest.raises(ValueError, match="buffer"):
        decode(coded.header, short)
