from __future__ import annotations

import pandas as pd
import pytest
import torch

from mmposter.data.dataset import Dataset
from mmposter.errors import UserError
from mmposter.features.extractors import BranchExtractors
from mmposter.features.store import ExtractorStore, Failure
from mmposter.features.table import FeatureTable, dataset_posters, extract_dataset, load_features


@pytest.fixture
def dataset(tmp_path, make_posters):
    posters = make_posters(7)
    table = pd.DataFrame(
        {
            "id": [poster.id for poster in posters],
            "path": [poster.path.name for poster in posters],
            "sha256": [poster.sha256 for poster in posters],
        }
    )
    return Dataset(tmp_path / "data", posters[0].path.parent, table, None, {})


@pytest.fixture
def branches(colours, lightness):
    source = colours()
    follower = lightness(source)
    return {
        "cnn": BranchExtractors("cnn", (source,), source),
        "ocr": BranchExtractors("ocr", (source, follower), follower),
    }


def test_posters_of_a_data_set(dataset):
    posters = dataset_posters(dataset)
    assert [poster.id for poster in posters] == list(dataset.table["id"])
    assert all(poster.path.is_file() for poster in posters)


def test_rows_are_in_the_manifests_order(dataset, branches):
    extract_dataset(dataset, branches, quiet=True)
    found = load_features(dataset, branches)
    assert found.usable.all()
    assert torch.allclose(found.tensors["colours.mean"].mean(dim=1), found.tensors["lightness.value"])
    assert found.metadata == {"cnn": {"class_names": ["red", "green", "blue"]}, "ocr": {}}
    reordered = Dataset(dataset.folder, dataset.root, dataset.table.iloc[::-1].reset_index(drop=True), None, {})
    again = load_features(reordered, branches)
    assert torch.equal(again.tensors["colours.mean"].flip(0), found.tensors["colours.mean"])


def test_a_source_that_two_branches_share_is_computed_once(dataset, branches):
    reports = extract_dataset(dataset, branches, quiet=True)
    assert [(report.name, report.computed, report.present) for report in reports] == [
        ("colours", 7, 0),
        ("colours", 0, 7),
        ("lightness", 7, 0),
    ]


def test_missing_records_name_the_next_command(dataset, branches, small_parts):
    with pytest.raises(UserError, match="no colours record of 7 of 7 posters") as caught:
        load_features(dataset, branches)
    assert f"mmposter extract {dataset.folder} --branches cnn" in str(caught.value)
    extract_dataset(dataset, {"cnn": branches["cnn"]}, shard=(0, 2), quiet=True)
    with pytest.raises(UserError, match="no colours record of 3 of 7 posters"):
        load_features(dataset, branches)
    extract_dataset(dataset, {"cnn": branches["cnn"]}, quiet=True)
    with pytest.raises(UserError, match=r"no lightness record of 7 of 7 posters.*\n.*--branches ocr"):
        load_features(dataset, branches)


def test_a_poster_that_failed_is_unusable_or_counts_as_empty(dataset, branches):
    """`colours` has no stand-in for a picture; `lightness` has one."""
    lost = dataset.table["sha256"][2]
    for name in ("cnn", "ocr"):
        feature = branches[name].feature
        store = ExtractorStore(dataset.features_folder, feature.name, feature.fingerprint())
        store.write({lost: Failure("truncated", "cut off")})
    extract_dataset(dataset, branches, quiet=True)
    only_text = load_features(dataset, {"ocr": branches["ocr"]})
    assert only_text.usable.all()
    assert only_text.tensors["lightness.value"][2] == 0
    assert (only_text.tensors["lightness.value"][[0, 1, 3]] > 0).all()
    both = load_features(dataset, branches)
    assert both.usable.tolist() == [True, True, False, True, True, True, True]
    assert both.tensors["colours.mean"][2].tolist() == [0, 0, 0]
    assert (both.tensors["colours.mean"][[0, 1, 3]] > 0).all()


def test_a_data_set_without_one_good_poster(dataset, branches):
    feature = branches["cnn"].feature
    store = ExtractorStore(dataset.features_folder, feature.name, feature.fingerprint())
    store.write({sha: Failure("empty", "no bytes") for sha in dataset.table["sha256"]})
    with pytest.raises(UserError, match="not one poster of this data set could be read"):
        load_features(dataset, {"cnn": branches["cnn"]})


def test_sizes_come_from_what_the_extractors_say():
    metadata = {
        "cnn": {"num_features": 12},
        "style": {"channels": 9, "gram_size": 4, "tap_is_last": False},
        "yolo": {"class_names": ["person"]},
        "ocr": {"embedding_dim": 16},
    }
    sizes = FeatureTable({}, None, metadata).sizes()
    assert (sizes.num_features, sizes.style_channels, sizes.gram_size) == (12, 9, 4)
    assert (sizes.tap_is_last, sizes.class_names, sizes.embedding_dim) == (False, ("person",), 16)
    assert FeatureTable({}, None, {"yolo": {"class_names": []}}).sizes().num_features == 0
