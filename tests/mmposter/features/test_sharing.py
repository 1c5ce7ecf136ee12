"""What several extractors share is computed once, and nobody's records change by it."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from fusion import backbone_spec
from mmposter.config import CnnConfig, StyleConfig, load_config
from mmposter.features import work
from mmposter.features.extract import extract
from mmposter.features.extractors import CnnExtractor, FeatureExtractor, StyleExtractor, build_extractors
from mmposter.features.index import Failure
from mmposter.features.loading import Loader, PosterWish
from mmposter.features.store import ExtractorStore
from mmposter.features.tower import SharedTower, TowerInput, TowerWeights
from mmposter.images.picture import Picture
from mmposter.images.transforms import PosterTransform


def tower_of(backbone, init="none"):
    config = CnnConfig(backbone=backbone, init=str(init), size=(64, 64))
    return SharedTower(config, TowerWeights.find(config, seed=1), device="cpu")


@pytest.fixture
def pictures(make_drawn):
    return [np.asarray(make_drawn(seed, 60, 70 + 10 * seed)) for seed in range(3)]


def assert_bitwise(first, second):
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        assert all(one[key].tobytes() == other[key].tobytes() for key in one)


# --- one pass through the backbone ---


@pytest.mark.parametrize("backbone", ["densenet121", "resnet18", "alexnet", "mobilenet_v3_small", "efficientnet_lite0"])
def test_both_say_to_the_last_bit_what_each_says_alone(pictures, tmp_path, backbone):
    """Also where the stage behind the tapped one begins with an activation that works in place."""
    stages, file = tower_of(backbone), tmp_path / "tower.safetensors"
    stages.start()
    TowerWeights(backbone, None, seed=1, size=(64, 64)).save(file)  # to load a network is quicker than to draw one
    for stage in stages.backbone.stage_names[-3:]:
        style = StyleConfig(stage=stage, reduced=5)
        alone = {
            "cnn": CnnExtractor(tower_of(backbone, file)),
            "style": StyleExtractor(tower_of(backbone, file), style),
        }
        tower = tower_of(backbone, file)
        both = {"cnn": CnnExtractor(tower), "style": StyleExtractor(tower, style)}
        batch = [both["cnn"].preparation(Picture(picture)) for picture in pictures]
        for extractor in (*alone.values(), *both.values()):
            extractor.start()
        single = {name: extractor(batch) for name, extractor in alone.items()}
        for order in (("cnn", "style"), ("style", "cnn")):
            fresh = [tensor.clone() for tensor in batch]  # another batch, of which nothing is remembered
            together = {name: both[name](fresh) for name in order}
            for name in order:
                assert_bitwise(together[name], single[name])


def test_a_stage_that_writes_into_its_input_spoils_no_remembered_map(pictures):
    tower = tower_of("mobilenet_v3_small")
    cnn, style = CnnExtractor(tower), StyleExtractor(tower, StyleConfig(stage="stage3", reduced=5))
    cnn.start()
    style.start()
    batch = [cnn.preparation(Picture(picture)) for picture in pictures]
    first = [*cnn(batch), *style(batch)]
    tower.backbone.stages["stage4"].register_forward_pre_hook(lambda _, inputs: inputs[0].mul_(0))
    spoilt = cnn([tensor.clone() for tensor in batch])
    again = style([tensor.clone() for tensor in batch])
    assert not np.array_equal(spoilt[0]["pooled"], first[0]["pooled"])  # the hook works
    assert_bitwise(again, first[3:])
    batch = [tensor.clone() for tensor in batch]
    cnn(batch)
    assert_bitwise(style(batch), first[3:])
    batch = [tensor.clone() for tensor in batch]
    style(batch)
    cnn(batch)
    assert_bitwise(style(batch), first[3:])


def test_a_poster_goes_through_the_backbone_once(pictures):
    tower = tower_of("mobilenet_v3_small")
    cnn, style = CnnExtractor(tower), StyleExtractor(tower, StyleConfig(stage="stage3", reduced=5))
    cnn.start()
    style.start()
    ran = Counter()
    for name, stage in tower.backbone.stages.items():
        stage.register_forward_hook(lambda _, inputs, __, name=name: ran.update([name] * len(inputs[0])))
    batch = [cnn.preparation(Picture(picture)) for picture in pictures]
    cnn(batch)
    style(batch)
    assert set(ran) == set(tower.backbone.stage_names)
    assert set(ran.values()) == {3}
    equal = [tensor.clone() for tensor in batch]
    style(equal)  # not the same tensors: another batch, and only as far as the stage
    assert ran["stage3"] == 6
    assert ran["stage4"] == 3
    cnn(batch[:2])
    assert ran["stage4"] == 5


def test_the_extractors_of_a_configuration_share_a_tower_also_after_pickling():
    config = load_config(None, ["cnn.backbone=mobilenet_v3_small", "cnn.init=none", "cnn.size=[64,64]"])
    branches = build_extractors(config, ["cnn", "style"], offline=True)
    for pair in (branches, pickle.loads(pickle.dumps(branches)), copy.deepcopy(branches)):
        cnn, style = (pair[name].feature for name in ("cnn", "style"))
        assert cnn._tower is style._tower
        assert cnn.preparation == style.preparation
        assert hash(cnn.preparation) == hash(style.preparation)
    other = config.model_copy(update={"cnn": config.cnn.model_copy(update={"size": (96, 64)})})
    assert build_extractors(other, ["cnn"], offline=True)["cnn"].feature.preparation != cnn.preparation


def test_the_preparation_is_the_backbones_own_transform(pictures):
    spec = backbone_spec("resnet18")
    config = CnnConfig(backbone="resnet18", init="none")
    found = TowerInput.of(config, TowerWeights.find(config))(Picture(pictures[0]))
    assert torch.equal(found, PosterTransform(spec.mean, spec.std, spec.input_size, spec.resize)(pictures[0]))
    assert found.shape == (3, *spec.input_size)


# --- one decode a poster, one run of each preparation ---


class Prepared(FeatureExtractor):
    """Wants posters as `prepare` makes them, and keeps what it got."""

    def __init__(self, name, prepare):
        self.name, self._prepare, self.got = name, prepare, []

    def fingerprint(self):
        return {}

    @property
    def preparation(self):
        return self._prepare

    def start(self):
        pass

    def __call__(self, batch):
        self.got += list(batch)
        return [{"value": np.zeros(1)} for _ in batch]

    def empty(self):
        return None

    def collate(self, records):
        return {}


def rows(picture):
    return len(picture.pixels)


def test_a_poster_is_decoded_once_and_prepared_once_for_all(tmp_path, make_posters, monkeypatch):
    posters = make_posters(40)
    decoded, made = Counter(), Counter()
    original = work._decode
    monkeypatch.setattr(work, "_decode", lambda poster: decoded.update([poster.id]) or original(poster))

    def flat(poster):
        made["flat"] += 1
        return poster.pixels.ravel()

    def mean(poster):
        made["mean"] += 1
        return poster.pixels.mean()

    first, second, third = Prepared("a", flat), Prepared("b", flat), Prepared("c", mean)
    extract(posters, [first, second, third], tmp_path / "store", quiet=True)
    assert set(decoded.values()) == {1}
    assert len(decoded) == 40
    assert made == {"flat": 40, "mean": 40}
    assert all(one is other for one, other in zip(first.got, second.got, strict=True))
    assert [got.ndim for got in third.got] == [0] * 40


def test_a_poster_that_cannot_be_prepared_fails_where_it_is_wanted_so(tmp_path, make_posters):
    def picky(poster):
        if poster.pixels.shape[0] == 49:
            raise ValueError("49 is a bad number")
        return poster

    first, second = Prepared("a", picky), Prepared("b", lambda poster: poster)
    reports = extract(make_posters(6), [first, second], tmp_path / "store", quiet=True)
    why = Failure("extractor_error", "ValueError: 49 is a bad number")
    assert reports[0].failed == {"001": why, "004": why}
    assert (reports[0].computed, reports[1].computed) == (4, 6)


def test_what_is_in_the_store_is_neither_decoded_nor_prepared(tmp_path, make_posters, monkeypatch):
    posters = make_posters(5)
    extract(posters[:3], [Prepared("a", rows)], tmp_path / "store", quiet=True)
    decoded = []
    original = work._decode
    monkeypatch.setattr(work, "_decode", lambda poster: decoded.append(poster.id) or original(poster))
    late = Prepared("a", rows)
    extract(posters, [late], tmp_path / "store", quiet=True)
    assert sorted(decoded) == ["003", "004"]


def test_records_of_an_earlier_run_are_read_and_no_picture_is(
    tmp_path, make_posters, colours, lightness, monkeypatch, small_parts
):
    posters, source = make_posters(10), colours()
    extract(posters, [source], tmp_path / "store", quiet=True)
    monkeypatch.setattr(work, "_decode", lambda poster: pytest.fail("a picture was read"))
    follower = lightness(source)
    reports = extract(posters, [source, follower], tmp_path / "store", quiet=True)
    assert [(report.computed, report.failed) for report in reports] == [(0, {}), (10, {})]
    records = ExtractorStore(tmp_path / "store", "colours", source.fingerprint()).read([p.sha256 for p in posters])
    values = ExtractorStore(tmp_path / "store", "lightness", follower.fingerprint()).read([p.sha256 for p in posters])
    assert [v["value"][0] for v in values] == pytest.approx([r["mean"].mean() for r in records])


def test_a_picture_without_wishes_is_not_decoded():
    loader = Loader(1)
    (future,) = loader.load([PosterWish("nothing", ())], lambda item: pytest.fail("decoded"))
    assert future.result() == {}
    loader.close()
