"""Results as tables."""

from __future__ import annotations

import numpy as np

from mmposter.evaluation import evaluate


def test_an_evaluation_has_a_row_for_each_genre():
    rng = np.random.default_rng(0)
    target = rng.random((40, 3)) < (0.5, 0.4, 0.0)
    genres = ["War", "Drama", "Rare"]
    found = evaluate(target, rng.random((40, 3)), [0.5] * 3, genres, train_target=target, split="test", n_boot=10)
    frame = found.to_frame().set_index("genre")
    assert list(frame.index) == genres
    assert frame.loc["War", "average_precision"] == found.by_genre["War"].average_precision
    assert (frame.loc["War", "low"], frame.loc["War", "high"]) == (found.by_genre["War"].ci95 or (1, 0))
    assert frame["support"].tolist() == target.sum(axis=0).tolist()
    assert frame.loc["Rare", ["low", "high", "average_precision"]].isna().all()
