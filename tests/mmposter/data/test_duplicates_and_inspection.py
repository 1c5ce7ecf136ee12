from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmposter.data import near_hashes
from mmposter.data.duplicates import DUPLICATE_DISTANCE, hash_pairs, name_groups
from mmposter.data.inspection import inspect_file, inspect_posters
from mmposter.data.near_hashes import near_pairs


def group_near_duplicates(ids, hashes, distance):
    return name_groups(ids, hash_pairs(hashes, distance))


def test_groups_by_hand():
    # 0b1 - 0b111 - 0b11111 is a chain in steps of two; the last is far from all.
    hashes = np.array([0b1, 0b111, 0b11111, 2**64 - 1], dtype=np.uint64)
    assert group_near_duplicates(["c", "b", "d", "a"], hashes, 2) == ["b", "b", "b", "a"]
    assert group_near_duplicates(["c", "b", "d", "a"], hashes, 1) == ["c", "b", "d", "a"]
    assert group_near_duplicates([], np.array([], dtype=np.uint64), 2) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 2**10), max_size=24), st.integers(0, 8))
def test_groups_are_the_connected_components(values, distance):
    hashes = np.array(values, dtype=np.uint64)
    ids = [f"p{index:02d}" for index in range(len(values))]
    expected = list(range(len(values)))  # label propagation, a slow second opinion
    for _ in values:
        for i, left in enumerate(values):
            for j, right in enumerate(values):
                if (left ^ right).bit_count() <= distance:
                    expected[i] = expected[j] = min(expected[i], expected[j])
    assert group_near_duplicates(ids, hashes, distance) == [ids[index] for index in expected]


def test_pairs_do_not_depend_on_the_block_size(monkeypatch):
    hashes = np.random.default_rng(0).integers(0, 2**12, 300, dtype=np.uint64)
    whole = np.concatenate(list(near_pairs(hashes, 2)))
    monkeypatch.setattr(near_hashes, "_BLOCK", 7)
    parts = np.concatenate(list(near_pairs(hashes, 2)))
    assert {tuple(pair) for pair in whole.tolist()} == {tuple(pair) for pair in parts.tolist()}
    assert len(parts) == len(whole) > 0
    assert (parts[:, 0] < parts[:, 1]).all()


@pytest.mark.parametrize("distance", [0, 3, 6, 9])
def test_pairs_that_are_looked_up_are_all_pairs(monkeypatch, distance):
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 160, dtype=np.uint64)
    hashes[100:] &= np.uint64(0x00FF0000000F0001)  # as dark posters: most quarters are the same
    for number in range(40):  # each of these differs in 0 to 12 bits from the one before
        flipped = sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 13), replace=False))
        hashes[number + 1] = hashes[number] ^ np.uint64(flipped)
    compared = [{tuple(p) for found in near_pairs(hashes, distance, o) for p in found.tolist()} for o in (None, hashes)]
    for name, value in (("FEW_PAIRS", 0), ("_LOOK_UP", 0), ("CANDIDATES", 50)):
        monkeypatch.setattr(near_hashes, name, value)
    monkeypatch.setattr(near_hashes, "_compared", None)
    for others, expected in zip((None, hashes), compared, strict=True):
        found = [tuple(pair) for pairs in near_pairs(hashes, distance, others) for pair in pairs.tolist()]
        assert len(found) == len(set(found)), "each once"
        assert set(found) == expected
    assert len(compared[0]) > 3


def test_hashes_that_are_hard_to_tell_apart_are_compared_instead(monkeypatch):
    monkeypatch.setattr(near_hashes, "FEW_PAIRS", 0)
    monkeypatch.setattr(near_hashes, "_looked_up", None)  # three quarters of all are the same
    hashes = np.arange(0, 4096, 16, dtype=np.uint64)
    assert sum(len(pairs) for pairs in near_pairs(hashes, 1)) == 256 * 8 // 2
    assert len(list(near_pairs(np.zeros(0, np.uint64), 6))) == 0


def test_inspection_of_a_good_file(make_poster, tmp_path):
    path = make_poster(tmp_path / "a.jpg", 1, size=(48, 64))
    seen = inspect_file(path)
    assert seen.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (seen.width, seen.height, seen.reason) == (48, 64, None)


def test_size_is_that_of_the_upright_picture(make_poster, tmp_path):
    path = make_poster(tmp_path / "a.jpg", 1, size=(48, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.open(path).save(tmp_path / "b.jpg", exif=exif)
    seen = inspect_file(tmp_path / "b.jpg")
    assert (seen.width, seen.height) == (64, 48)


def test_hash_survives_saving_again_and_tells_pictures_apart(make_poster, tmp_path):
    first = inspect_file(make_poster(tmp_path / "a.jpg", 1, size=(120, 160)))
    again = inspect_file(make_poster(tmp_path / "b.jpg", 1, size=(90, 130), quality=40))
    other = inspect_file(make_poster(tmp_path / "c.jpg", 2, size=(120, 160)))
    assert (first.phash ^ again.phash).bit_count() <= DUPLICATE_DISTANCE
    assert (first.phash ^ other.phash).bit_count() > 3 * DUPLICATE_DISTANCE


def _bad_files(make_poster, folder):
    good = make_poster(folder / "good.jpg", 1).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(good[: len(good) * 2 // 3])
    (folder / "not_an_image.jpg").write_bytes(b"<html>404</html>" * 20)
    make_poster(folder / "too_small.jpg", 1, size=(20, 40))
    return ["empty", "truncated", "not_an_image", "too_small", "missing"]


def test_every_bad_file_has_its_reason(make_poster, tmp_path):
    reasons = _bad_files(make_poster, tmp_path)
    for reason in reasons:
        assert inspect_file(tmp_path / f"{reason}.jpg").reason == reason
    assert inspect_file(tmp_path).reason == "unreadable"  # a folder


def test_table_is_parted_into_good_and_bad(make_poster, tmp_path):
    reasons = _bad_files(make_poster, tmp_path)
    names = [reasons[0], "good", *reasons[1:]]
    table = pd.DataFrame({"id": names, "path": [str(tmp_path / f"{name}.jpg") for name in names]})
    kept, dropped = inspect_posters(table, workers=2, quiet=True)
    assert list(kept["id"]) == ["good"]
    assert kept["phash"].dtype == np.uint64
    assert kept["sketch"][0].shape == (96, 64)
    assert list(dropped["id"]) == list(dropped["reason"]) == reasons
    assert dropped["message"].str.len().min() > 5


@pytest.mark.parametrize(("min_side", "kept"), [(48, 1), (49, 0)])
def test_min_side_is_a_bound_that_may_be_met(make_poster, tmp_path, min_side, kept):
    table = pd.DataFrame({"id": ["a"], "path": [str(make_poster(tmp_path / "a.jpg", 1, size=(48, 64)))]})
    assert len(inspect_posters(table, min_side=min_side, quiet=True)[0]) == kept
