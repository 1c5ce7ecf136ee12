"""The model and the benchmark that are in the repository: they fit each other, and into what they may take."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import mmposter.shipped
from mmposter import PosterClassifier
from mmposter.data.dataset import MANIFEST, read_manifest
from mmposter.packs.archive import Archive
from mmposter.runs.run import Run
from mmposter.runs.seen import SeenPosters
from mmposter.shipped import POSTERS, shipped_model

FOLDER = Path(mmposter.shipped.__file__).parent
PACK = FOLDER / "benchmark.mmpack"
MB = 1e6


def test_they_take_no_more_than_they_may():
    assert sum(path.stat().st_size for path in shipped_model(POSTERS).iterdir()) < 24 * MB
    assert PACK.stat().st_size < 32 * MB


def test_the_benchmark_was_seen_through_the_network_that_is_shipped():
    run, pack = Run.load(shipped_model(POSTERS)), Archive(PACK)
    assert pack.facts.posters == 5626
    for branch in ("cnn", "style"):
        assert pack.facts.extractors[branch].fingerprint == run.fingerprints[branch]
    subsets = run.subsets()
    assert subsets is not None
    assert set(run.config.branches) == {"cnn", "style", "yolo", "ocr"}
    assert len(subsets.subsets) == 15
    assert len(subsets.spared) == 8  # those with words


def test_the_model_knows_the_posters_of_the_benchmark_that_it_was_trained_on():
    seen = SeenPosters.load(shipped_model(POSTERS))
    assert seen is not None
    table = read_manifest(Archive(PACK).members()[MANIFEST]).to_pandas()
    trained = (table["split"] != "test").to_numpy()
    assert seen.among(table).tolist() == trained.tolist()
    by_picture = table.assign(sha256="0" * 64)  # the same posters, saved again
    assert seen.among(by_picture).tolist() == trained.tolist()


def test_it_predicts_posters_of_made_up_films(tmp_path, monkeypatch):
    scripts = Path(__file__).parents[3] / "scripts"
    monkeypatch.syspath_prepend(str(scripts))
    monkeypatch.setattr(sys, "argv", ["draw_posters.py", str(tmp_path), "--count", "2"])
    runpy.run_path(str(scripts / "draw_posters.py"), run_name="__main__")
    posters = sorted(tmp_path.glob("*.jpg"))
    classifier = PosterClassifier.load(branches=["cnn", "style"], device="cpu", offline=True)
    found = classifier.predict(posters)
    assert [prediction.error for prediction in found] == [None, None]
    assert all(prediction.genres and len(prediction.scores) == 20 for prediction in found)
    # An animated film and a comedy, in colours that shout it: no war.
    for prediction in found:
        assert prediction.scores["War"] < 0.05 < prediction.scores["Comedy"]
    alone = classifier.predict(posters[1])[0]
    assert alone.scores == pytest.approx(found[1].scores, abs=1e-5)
