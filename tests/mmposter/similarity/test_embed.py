"""The fused representation: a product of two is their cosine, with a term for each branch."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmposter import UserError


def test_a_picture_is_near_to_itself_and_a_bad_one_costs_nobody(made, pictures, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    paths = [made.dataset.image_path(0), tmp_path / "text.jpg", made.dataset.image_path(1), made.dataset.image_path(0)]
    found = pictures.embed(paths, out=tmp_path / "vectors.parquet")
    assert found.dtype == np.float32
    assert found.shape == (4, max(place.stop for place in pictures.parts.values()))
    assert np.isnan(found[1]).all()
    good = found[[0, 2, 3]]
    np.testing.assert_allclose(np.linalg.norm(good, axis=1), 1, atol=1e-6)
    assert good[0] @ good[2] == pytest.approx(1, abs=1e-6)
    assert good[0] @ good[1] < 0.9999
    assert good[:, pictures.parts["cnn"]].any()
    assert not good[:, pictures.parts["yolo"]].any(), "what is not looked through adds nothing"
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table["path"].to_pylist() == [str(path) for path in paths]
    assert table["error"].to_pylist()[1].startswith("not_an_image")
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), found)
    places = json.loads(table.schema.metadata[b"mmposter.branches"])
    assert {name: slice(*place) for name, place in places.items()} == pictures.parts
    pictures.embed(paths[0], out=tmp_path / "one.npy")
    np.testing.assert_allclose(np.load(tmp_path / "one.npy", allow_pickle=False), found[:1], atol=1e-6)


def test_branches_that_are_not_looked_through_are_refused(made, pictures):
    with pytest.raises(UserError, match="branches must be one or more of cnn; got 'yolo'"):
        pictures.embed(made.dataset.image_path(2), branches=["yolo"])


def test_another_ending_is_refused_before_anything_is_looked_at(pictures, tmp_path):
    with pytest.raises(UserError, match=r"out must end in \.npy or \.parquet"):
        pictures.embed(tmp_path / "nowhere.jpg", out=tmp_path / "vectors.csv")
