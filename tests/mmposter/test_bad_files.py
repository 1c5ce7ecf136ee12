"""A folder as users really have it, through prepare, extract and predict: nothing stops, every bad file is named."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mmposter import PosterClassifier, prepare
from mmposter.data import Dataset
from mmposter.features.extract import StoredPoster, extract
from mmposter.features.extractors import build_extractors
from mmposter.features.store import ExtractorStore
from mmposter.features.table import dataset_posters
from mmposter.images.listing import list_posters
from mmposter.images.picture import decode_picture
from mmposter.training.train import train


@pytest.fixture
def cnn(world):
    return build_extractors(world.config(), ["cnn"], device="cpu", offline=True)["cnn"].feature


def test_prepare_names_each_and_keeps_the_others(mixed_folder, tmp_path):
    folder, reasons = mixed_folder
    report = prepare(folder, tmp_path / "prepared", format="folder", quiet=True)
    good = {name for name, reason in reasons.items() if reason is None}
    kept = set(Dataset.load(tmp_path / "prepared").table["path"])
    # Pictures that are the same to the byte are kept once; none here are.
    assert kept == good
    dropped = (tmp_path / "prepared" / "dropped.csv").read_text()
    for name, reason in reasons.items():
        if reason is not None:
            assert any(name in line and reason in line for line in dropped.splitlines()), name
    assert sum(report.dropped.values()) == len(reasons) - len(good)


def test_extract_names_each_and_is_right_for_the_others(mixed_folder, tmp_path, cnn):
    folder, reasons = mixed_folder
    files = {name: folder / name for name in reasons}
    posters = [StoredPoster(name, path, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in files.items()]
    (report,) = extract(posters, [cnn], tmp_path / "store", quiet=True)
    bad = {name: reason for name, reason in reasons.items() if reason is not None}
    assert {name: failure.reason for name, failure in report.failed.items()} == bad
    assert report.computed == len(posters) - len(bad)
    store = ExtractorStore(tmp_path / "store", cnn.name, cnn.fingerprint())
    for poster, record in zip(posters, store.read([p.sha256 for p in posters]), strict=True):
        if poster.id in bad:
            assert record is None
        else:
            alone = cnn([cnn.preparation(decode_picture(poster.path))])[0]
            np.testing.assert_allclose(record["pooled"], alone["pooled"], atol=1e-5)
    again = extract(posters, [cnn], tmp_path / "store", quiet=True)[0]
    assert again.computed == 0
    assert again.failed.keys() == bad.keys()


def test_a_file_that_went_bad_after_prepare_is_named(mixed_folder, tmp_path, cnn):
    folder, _ = mixed_folder
    prepare(folder, tmp_path / "prepared", format="folder", quiet=True)
    (folder / "good.jpg").write_bytes(b"gone")
    (folder / "good.png").unlink()
    (report,) = extract(dataset_posters(Dataset.load(tmp_path / "prepared")), [cnn], tmp_path / "store", quiet=True)
    assert sorted(failure.reason for failure in report.failed.values()) == ["changed", "missing"]


def test_predict_names_each_and_is_right_for_the_others(mixed_folder, world, tmp_path):
    folder, reasons = mixed_folder
    config = world.config("train.epochs=1", branches="cnn,style")
    train(config, world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    classifier = PosterClassifier.load(tmp_path / "run", device="cpu", offline=True)
    paths = list_posters([str(folder)], [])
    predictions = classifier.predict(paths)
    assert [p.path for p in predictions] == paths
    assert len(paths) == len(reasons)
    for prediction in predictions:
        reason = reasons[prediction.path.rsplit("/", 1)[1]]
        if reason is not None:
            assert prediction.error.startswith(reason)
        else:
            assert prediction.error is None
            alone = classifier.predict(prediction.path)[0]
            assert prediction.scores == pytest.approx(alone.scores, abs=1e-5)
