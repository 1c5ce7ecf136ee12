from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from detectors import Detections, TextLines
from fusion import ImageTower, StageStatistics, backbone_spec, gram_matrix
from mmposter.branches import declared
from mmposter.config import CnnConfig, OcrConfig, StyleConfig, YoloConfig, load_config
from mmposter.errors import UserError
from mmposter.features.extractors import (
    CnnExtractor,
    OcrExtractor,
    StyleExtractor,
    TextExtractor,
    YoloExtractor,
    build_extractors,
    objects,
    ocr,
)
from mmposter.features.extractors.base import pad, slot_mask
from mmposter.features.extractors.lines import decode_lines, encode_lines
from mmposter.features.tower import SharedTower, TowerWeights
from mmposter.images.picture import Picture
from mmposter.images.transforms import PosterTransform

CNN = CnnConfig(backbone="mobilenet_v3_small", init="none", size=(96, 64))
STYLE = StyleConfig(stage="stage3", reduced=5)


@pytest.fixture(scope="module")
def tower():
    return TowerWeights.find(CNN, seed=3)


@pytest.fixture
def posters(make_drawn):
    return [np.asarray(make_drawn(seed, 60, 80 + 10 * seed)) for seed in range(3)]


def shared(weights, config=CNN):
    return SharedTower(config, weights, device="cpu")


def run_on(extractor, posters):
    return extractor([extractor.preparation(Picture(poster)) for poster in posters])


def images(posters):
    spec = backbone_spec(CNN.backbone)
    transform = PosterTransform(spec.mean, spec.std, CNN.size, spec.resize)
    return torch.stack([transform(poster) for poster in posters])


# --- the picture ---


def test_cnn_gives_what_the_tower_gives(tower, posters):
    extractor = CnnExtractor(shared(tower))
    extractor.start()
    records = run_on(extractor, posters)
    with torch.inference_mode():
        expected = ImageTower(tower.build())(images(posters), style=False)["cnn.pooled"]
    assert torch.allclose(extractor.collate(records)["cnn.pooled"], expected, atol=1e-6)
    assert expected.shape == (3, extractor.metadata()["num_features"])
    assert [record["pooled"].shape for record in records] == [(1, 576)] * 3
    assert extractor.empty() is None


@pytest.mark.parametrize("reduced", [5, None, 10_000])
def test_style_gives_what_the_tower_gives(tower, posters, reduced):
    extractor = StyleExtractor(shared(tower), STYLE.model_copy(update={"reduced": reduced}))
    extractor.start()
    backbone = tower.build()
    channels = backbone.stage_channels["stage3"]
    statistics = StageStatistics(channels, None if reduced is None else min(reduced, channels), "hw").eval()
    with torch.inference_mode():
        expected = ImageTower(backbone, "stage3", statistics)(images(posters), pooled=False)
    found = extractor.collate(run_on(extractor, posters))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name
    side = statistics.gram_size
    assert extractor.metadata() == {"channels": channels, "gram_size": side, "tap_is_last": False}


def test_the_unpacked_gram_is_the_gram_matrix_of_the_reduced_map(tower, posters):
    extractor = StyleExtractor(shared(tower), STYLE.model_copy(update={"normaliser": "chw"}))
    extractor.start()
    records = run_on(extractor, posters)
    assert [record["gram"].shape for record in records] == [(1, 15)] * 3  # 5 * 6 / 2 of 25 numbers
    with torch.inference_mode():
        stage = tower.build().forward_stages(images(posters), stop="stage3")
        reduced = StageStatistics(stage.shape[1], 5).reduction(stage)
        expected = gram_matrix(reduced, "chw")
    gram = extractor.collate(records)["style.gram"]
    assert torch.allclose(gram, expected, atol=1e-6)
    assert torch.equal(gram, gram.transpose(1, 2))


def test_the_last_stage_is_the_default_and_others_must_exist(tower):
    last = StyleExtractor(shared(tower), StyleConfig())
    last.start()
    assert last.metadata() == {"channels": 576, "gram_size": 64, "tap_is_last": True}
    with pytest.raises(UserError, match=r"style\.stage must be one of stage1, .*stage5; got 'block4'"):
        StyleExtractor(shared(tower), StyleConfig(stage="block4")).start()


def test_what_decides_the_record_is_in_the_fingerprint(tower):
    cnn = CnnExtractor(shared(tower)).fingerprint()
    tower_itself = {"backbone": "mobilenet_v3_small", "weights": "random-3", "resize": "bilinear"}
    assert cnn == {"version": 1, **tower_itself, "size": [96, 64]}
    style = StyleExtractor(shared(tower), STYLE).fingerprint()
    assert style == {**cnn, "stage": "stage3", "reduced": 5, "normaliser": "hw"}
    other = TowerWeights.find(CNN, seed=4)
    assert CnnExtractor(shared(other)).fingerprint() != cnn
    bigger = CNN.model_copy(update={"size": None})
    assert CnnExtractor(shared(tower, bigger)).fingerprint()["size"] == [320, 224]


# --- the tower's weights ---


def state(tower):
    return tower.build().state_dict()


def test_random_weights_depend_on_their_seed_alone(tower):
    torch.manual_seed(1)
    first = state(tower)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = state(tower)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = state(TowerWeights(CNN.backbone, None, 4))
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_saved_weights_are_the_same_and_keep_their_identity(tower, tmp_path):
    tower.save(tmp_path / "tower.safetensors")
    saved = TowerWeights.find(CNN.model_copy(update={"init": str(tmp_path / "tower.safetensors")}))
    expected = {"backbone": "mobilenet_v3_small", "weights": "random-3", "resize": "bilinear"}
    assert saved.identity() == tower.identity() == expected
    first, second = state(tower), state(saved)
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    saved.save(tmp_path / "again.safetensors")
    assert TowerWeights(CNN.backbone, tmp_path / "again.safetensors").identity() == tower.identity()


def test_a_state_dict_of_the_original_library(tmp_path):
    from torchvision.models import mobilenet_v3_small

    torch.manual_seed(5)
    torch.save(mobilenet_v3_small().state_dict(), tmp_path / "own.pth")
    weights = TowerWeights.find(CNN.model_copy(update={"init": str(tmp_path / "own.pth")}))
    assert len(weights.identity()["weights"]) == 64
    assert not weights.build().training
    weights.save(tmp_path / "tower.safetensors")
    assert TowerWeights(CNN.backbone, tmp_path / "tower.safetensors").identity() == weights.identity()


class _Trap:
    def __reduce__(self):
        return (sys.exit, (99,))


@pytest.mark.parametrize("name", ["noise.pth", "empty.pth", "list.pth", "trap.pth", "other.pth", "noise.safetensors"])
def test_files_that_hold_no_weights(tmp_path, name):
    import pickle

    path = tmp_path / name
    if name == "list.pth":
        torch.save([1, 2], path)
    elif name == "other.pth":
        torch.save({"layer.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes({"noise": b"not weights", "empty": b"", "trap": pickle.dumps(_Trap(), protocol=2)}[path.stem])
    with pytest.raises(UserError, match=str(path)) as caught:
        TowerWeights(CNN.backbone, path).build()
    assert "weights_only" not in str(caught.value)  # torch's advice would run what the file says
    if path.suffix == ".safetensors":
        with pytest.raises(UserError, match="cannot be read as safetensors"):
            TowerWeights(CNN.backbone, path).identity()


def test_unknown_backbones_and_files():
    with pytest.raises(UserError, match=r"cnn\.backbone must be one of \["):
        TowerWeights.find(CNN.model_copy(update={"backbone": "resnet19"}))
    with pytest.raises(UserError, match=r"cnn\.init must be auto, .* or an existing file; got 'none\.pth'"):
        TowerWeights.find(CNN.model_copy(update={"init": "none.pth"}))


# --- objects ---


class FakeDetector:
    class_names = ("person", "dog")

    def __init__(self, weights, **options):
        self.options = options

    def __call__(self, batch):
        return [self.found(len(poster) % 3) for poster in batch]

    @staticmethod
    def found(count):
        boxes = np.linspace(0, 1, count * 4, dtype=np.float32).reshape(count, 4)
        return Detections(
            boxes, np.linspace(0.9, 0.5, count, dtype=np.float32), np.arange(count) % 2, ("person", "dog")
        )


@pytest.fixture
def yolo(tmp_path, monkeypatch):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    monkeypatch.setattr(objects, "YoloDetector", FakeDetector)
    config = YoloConfig(model=str(tmp_path / "mine.pt"), max_boxes=2, confidence=0.2)
    return YoloExtractor(config, device="cpu", offline=True)


def test_objects_are_padded_and_cut_by_falling_confidence(yolo):
    yolo.start()
    records = yolo([np.zeros((height, 50, 3), np.uint8) for height in (50, 48, 49)])
    assert [len(record["scores"]) for record in records] == [2, 0, 1]
    five = FakeDetector.found(5)
    records.append({"boxes": five.boxes, "scores": five.scores, "labels": five.labels})
    batch = yolo.collate([*records, yolo.empty()])
    assert batch["yolo.mask"].tolist() == [[True, True], [False, False], [True, False], [True, True], [False, False]]
    assert batch["yolo.scores"][3].tolist() == pytest.approx([0.9, 0.8])
    assert torch.equal(batch["yolo.boxes"][3], torch.from_numpy(five.boxes[:2]))
    assert batch["yolo.labels"].dtype == torch.int64
    assert batch["yolo.boxes"].shape == (5, 2, 4)
    assert not batch["yolo.boxes"][1].any()
    assert yolo.metadata() == {"class_names": ["person", "dog"]}


def test_the_objects_fingerprint_is_what_the_detector_is_given(yolo, tmp_path):
    import hashlib

    once = hashlib.sha256(hashlib.sha256(b"weights").digest()).hexdigest()
    assert yolo.fingerprint() == {"version": 1, "weights": once, "size": 448, "confidence": 0.2}
    yolo.start()
    assert yolo._model.options == {"size": 448, "confidence": 0.2, "device": "cpu", "offline": True}


def test_a_detector_that_cannot_be_built_is_the_users_to_mend(yolo, monkeypatch):
    def refuse(*arguments, **options):
        raise ValueError("the yolo detector needs ultralytics; run: pip install ultralytics")

    monkeypatch.setattr(objects, "YoloDetector", refuse)
    with pytest.raises(UserError, match=r"the yolo branch cannot be used: .*pip install ultralytics"):
        yolo.start()


# --- words ---


@pytest.mark.parametrize("texts", [(), ("",), ("one",), ("", ""), ("Amélie", "", "日本 語"), ("a\nb", " c\t\u2028d ")])
def test_lines_go_through_bytes(texts):
    array = encode_lines(texts)
    assert array.dtype == np.uint8
    assert decode_lines(array, len(texts)) == [" ".join(text.split()) for text in texts]


def test_the_reader_keeps_what_was_read(reader, monkeypatch):
    quads = np.linspace(0, 1, 16, dtype=np.float32).reshape(2, 4, 2)
    found = [TextLines(quads, ("The", "End"), np.array([0.9, 0.2], np.float32)), TextLines.empty()]
    monkeypatch.setattr(ocr, "TextReader", lambda folder, **options: lambda posters, lumas: found)
    reader.start()
    first, second = reader([(None, None)] * 2)
    assert np.array_equal(first["quads"], quads)
    assert decode_lines(first["text"], 2) == ["The", "End"]
    assert (second["quads"].shape, second["text"].shape, second["confidences"].shape) == ((0, 4, 2), (0,), (0,))
    assert reader.fingerprint()["languages"] == ["en"]


@pytest.mark.parametrize("text", ["ja", "[ja]", "ja,", "'ja'"])
def test_one_language_may_be_a_word(text):
    assert load_config(None, [f"ocr.languages={text}"]).ocr.languages == ("ja",)
    assert load_config(None, ["ocr.languages=ja, en"]).ocr.languages == ("ja", "en")


def test_the_users_mistakes_with_the_reader(reader, monkeypatch):
    with pytest.raises(UserError, match=r"ocr\.languages must be among"):
        OcrExtractor(OcrConfig(languages=("klingon",)), device="cpu", offline=True)
    for languages in (("ja", "ru"), ("de", "ru"), ("th", "ko")):
        config = load_config(None, [f"ocr.languages=[{','.join(languages)}]"])
        with pytest.raises(UserError, match=r"(?s)ocr\.languages must be some that one.*got \[.*--set ocr\.languages="):
            list(declared("ocr").sources(config))

    def refuse(*arguments, **options):
        raise ValueError("the text reader needs easyocr; run: pip install easyocr")

    monkeypatch.setattr(ocr, "TextReader", refuse)
    with pytest.raises(UserError, match=r"the ocr branch cannot be used: .*pip install easyocr"):
        reader.start()


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "end", "is", "near", "a", "film", "by", "nobody"]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A sentence encoder of two layers with a vocabulary of twelve words, as files like the real one's."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **named).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=160,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def text(encoder_folder, reader):
    return text_extractor(encoder_folder, reader)


def text_extractor(folder, reader, reading="exact"):  # exact: in fp32, on any CPU
    config = OcrConfig(encoder=str(folder), max_lines=4, min_confidence=0.3, reading=reading)
    extractor = TextExtractor(config, reader, device="cpu", offline=True)
    extractor.start()
    return extractor


def line(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def read(*lines):
    """A record of the reader: (text, confidence, left, top, right, bottom) a line."""
    return {
        "quads": np.array([line(*entry[2:]) for entry in lines], np.float32).reshape(-1, 4, 2),
        "confidences": np.array([entry[1] for entry in lines], np.float32),
        "text": encode_lines([entry[0] for entry in lines]),
    }


def embed(folder, text):
    """A second opinion: the mean over tokens, by hand, one text at a time."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    tokens = [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.split()), 3]
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([tokens])).last_hidden_state[0].mean(dim=0)
    return (hidden / hidden.norm()).numpy()


def test_a_row_for_the_whole_text_in_reading_order_and_one_for_each_line(text, encoder_folder):
    record = read(
        ("is near", 0.5, 0.1, 0.6, 0.9, 0.7),
        ("end", 0.9, 0.5, 0.1, 0.9, 0.2),
        ("the", 0.7, 0.1, 0.1, 0.4, 0.2),
    )
    (found,) = text([record])
    lines = ["the end is near", "is near", "end", "the"]
    assert found["embeddings"] == pytest.approx(np.stack([embed(encoder_folder, item) for item in lines]), abs=1e-5)
    centre_width_confidence = [
        [0.5, 0.4, 0.8, 0.6, 0.7],
        [0.5, 0.65, 0.8, 0.1, 0.5],
        [0.7, 0.15, 0.4, 0.1, 0.9],
        [0.25, 0.15, 0.3, 0.1, 0.7],
    ]
    assert found["geometry"] == pytest.approx(np.array(centre_width_confidence), abs=1e-6)


@pytest.mark.parametrize("jitter", [-0.01, 0.0, 0.01])
def test_words_side_by_side_are_read_from_left_to_right(text, encoder_folder, jitter):
    """A pixel up or down, as in every scan, must not turn a line around, nor join it to the next."""
    record = read(
        ("end", 0.9, 0.5, 0.1 + jitter, 0.9, 0.2 + jitter),
        ("near", 0.9, 0.6, 0.35 + jitter, 0.9, 0.4 + jitter),
        ("the", 0.7, 0.1, 0.1, 0.4, 0.2),
        ("is", 0.7, 0.1, 0.35, 0.4, 0.4),
        ("a", 0.7, 0.0, 0.22, 0.1, 0.32),
    )
    (found,) = text([record])
    assert found["embeddings"][0] == pytest.approx(embed(encoder_folder, "the end a is near"), abs=1e-5)


def test_doubtful_lines_are_left_out_of_everything(text, encoder_folder):
    record = read(("the end", 0.8, 0.1, 0.1, 0.4, 0.2), ("nobody", 0.29, 0.0, 0.9, 1.0, 1.0))
    (found,) = text([record])
    assert found["embeddings"] == pytest.approx(np.stack([embed(encoder_folder, "the end")] * 2), abs=1e-5)
    assert found["geometry"][0] == pytest.approx([0.25, 0.15, 0.3, 0.1, 0.8])


def test_posters_without_text_have_no_rows(text):
    nothing, doubt, something = text([read(), read(("film", 0.1, 0, 0, 1, 1)), read(("film", 0.9, 0, 0, 1, 1))])
    for record in (nothing, doubt, text.empty()):
        assert (record["embeddings"].shape, record["geometry"].shape) == ((0, 16), (0, 5))
        assert record["embeddings"].dtype == record["geometry"].dtype == np.float32
    assert len(something["embeddings"]) == 2
    assert text([read()])[0]["embeddings"].shape == (0, 16)


def test_embeddings_have_length_one_also_of_blank_and_unknown_text(text):
    records = text(
        [read(("", 0.9, 0, 0, 1, 1)), read(("xyzzy 日本", 0.9, 0, 0, 1, 1)), read(("a " * 400, 0.9, 0, 0, 1, 1))]
    )
    for record in records:
        assert np.linalg.norm(record["embeddings"], axis=1) == pytest.approx(1.0, abs=1e-5)


def test_neighbours_and_padding_do_not_change_an_embedding(text):
    short = read(("the end", 0.9, 0, 0, 1, 1))
    long = [read((" ".join(WORDS[4:] * 8), 0.9, 0, 0, 1, 1)) for _ in range(70)]  # more than one encoder batch
    alone = text([short])[0]["embeddings"]
    assert text([*long, short])[-1]["embeddings"] == pytest.approx(alone, abs=1e-5)
    assert text([short, *long])[0]["embeddings"] == pytest.approx(alone, abs=1e-5)


def test_capitals_make_no_difference(text):
    lower, upper = text([read(("the end", 0.9, 0, 0, 1, 1)), read(("THE END", 0.9, 0, 0, 1, 1))])
    assert upper["embeddings"] == pytest.approx(lower["embeddings"], abs=1e-6)


def test_lines_are_padded_to_the_configured_number(text):
    many = read(*((word, 0.9, 0, index / 10, 1, index / 10 + 0.1) for index, word in enumerate(WORDS[4:10])))
    batch = text.collate([*text([many, read(("end", 0.9, 0, 0, 1, 1))]), text.empty()])
    assert batch["ocr.embeddings"].shape == (3, 4, 16)
    assert batch["ocr.geometry"].shape == (3, 4, 5)
    assert batch["ocr.mask"].sum(dim=1).tolist() == [4, 2, 0]
    assert not batch["ocr.embeddings"][~batch["ocr.mask"]].any()
    assert text.metadata() == {"embedding_dim": 16} == {"embedding_dim": text.embedding_dim}


def test_the_text_depends_on_what_was_read_and_how(text, reader, encoder_folder):
    assert text.fingerprint()["source"] == reader.fingerprint()
    for change in ({"min_confidence": 0.2}, {"reading": "default"}):
        other = OcrConfig(**{"encoder": str(encoder_folder), "min_confidence": 0.3, "reading": "exact"} | change)
        assert TextExtractor(other, reader, device="cpu", offline=True).fingerprint() != text.fingerprint()
    json.dumps(text.fingerprint())


def test_half_precision_says_the_same(text, encoder_folder, reader, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    record = read(("the end is near", 0.9, 0.1, 0.1, 0.9, 0.2), ("soon", 0.9, 0.1, 0.5, 0.9, 0.6))
    ((exact,), (fast,)) = text([record]), text_extractor(encoder_folder, reader, "default")([record])
    assert fast["embeddings"].dtype == np.float32
    assert not np.array_equal(fast["embeddings"], exact["embeddings"])
    assert (fast["embeddings"] * exact["embeddings"]).sum(axis=1) == pytest.approx(1, abs=1e-3)


# --- all of them ---


def test_each_branch_names_its_steps(reader, encoder_folder, tmp_path):
    (tmp_path / "mine.pt").touch()
    sets = ["cnn.backbone=mobilenet_v3_small", "cnn.init=none", f"yolo.model={tmp_path / 'mine.pt'}"]
    config = load_config(None, [*sets, f"ocr.encoder={encoder_folder}"])
    built = build_extractors(config, offline=True)
    assert {name: [step.name for step in branch.steps] for name, branch in built.items()} == {
        "cnn": ["cnn"],
        "style": ["style"],
        "yolo": ["yolo"],
        "ocr": ["ocr", "text"],
    }
    assert all(branch.feature is branch.steps[-1] for branch in built.values())
    assert list(build_extractors(config, ["style"])) == ["style"]


def test_pad_and_mask():
    padded = pad([np.ones((1, 2), np.int64), np.zeros((0, 2), np.int64), np.full((4, 2), 7)], 3)
    assert padded.tolist() == [[[1, 1], [0, 0], [0, 0]], [[0, 0]] * 3, [[7, 7]] * 3]
    assert slot_mask([1, 0, 4], 3).tolist() == [[True, False, False], [False] * 3, [True] * 3]
