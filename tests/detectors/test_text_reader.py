"""The reader with networks that compute what one can check by hand, and against easyocr's own loop."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("easyocr")

from easyocr.utils import CTCLabelConverter

from detectors import READINGS, Reading, TextReader, line_recognition, text
from detectors.line_detection import FoundLines, LineDetector, fold_batch_norms
from detectors.line_recognition import Crop, LineRecogniser, cut_lines
from detectors.precision import computes_in_bf16, resolve_precision

WHITE = 255


class WhiteIsText(nn.Module):
    """In CRAFT's place: both score maps are 1 where the picture is white; keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.shapes: list[tuple[int, ...]] = []

    def __deepcopy__(self, memo):
        return self

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        white = (images[:, :1] > 2.0).to(images.dtype) * self.scale  # white is 2.2 after normalisation
        scores = nn.functional.max_pool2d(white, 2)
        return torch.cat([scores, scores], dim=1).permute(0, 2, 3, 1), None


class Brightness(nn.Module):
    """In the CRNN's place: every 8 columns are a letter, "b" where they are bright, "a" where dark, blank between."""

    def __init__(self):
        super().__init__()
        self.FeatureExtraction = nn.AvgPool2d((32, 8))
        self.AdaptiveAvgPool = nn.AdaptiveAvgPool2d((None, 1))
        self.SequenceModeling = nn.Identity()
        self.Prediction = nn.Linear(1, 3)
        with torch.no_grad():
            self.Prediction.weight.copy_(torch.tensor([[0.0], [-9.0], [9.0]]))
            self.Prediction.bias.copy_(torch.tensor([3.0, 0.0, 0.0]))


def reader(**changes):
    """An easyocr.Reader as far as we use one."""
    values = {
        "detector": WhiteIsText(),
        "recognizer": Brightness(),
        "converter": CTCLabelConverter("ab"),
        "character": "ab",
        "lang_char": "ab",
        "model_lang": "english",
    }
    return SimpleNamespace(**values | changes)


@pytest.fixture
def models(monkeypatch):
    fake = reader()
    monkeypatch.setattr(text, "load_easyocr", lambda folder, languages, quantize: fake)
    return fake


def black(height, width, *bars, level=0):
    """A black poster with white bars (left, top, right, bottom)."""
    poster = np.full((height, width, 3), level, np.uint8)
    for left, top, right, bottom in bars:
        poster[top:bottom, left:right] = WHITE
    return poster


def light(height, width, *bars):
    """The same on a ground that is bright, but no text: the crop around a bar is bright all over."""
    return black(height, width, *bars, level=235)


def detector(network=None, **options):
    settings = {"device": "cpu", "dtype": torch.float32, "scale": 1.0, "max_side": 2560, "stride": 16}
    return LineDetector(network or WhiteIsText(), **settings | options)


@pytest.mark.parametrize("options", [{}, {"scale": 0.5}, {"scale": 1.5}, {"max_side": 160}, {"dtype": torch.bfloat16}])
def test_lines_lie_where_they_are_whatever_the_canvas(options):
    bars = (40, 40, 200, 64), (80, 200, 160, 216)
    (found,) = detector(**options)([black(320, 240, *bars)])
    assert found.free == []
    assert len(found.horizontal) == 2
    for bar, (left, right, top, bottom) in zip(bars, found.horizontal, strict=True):
        # CRAFT's boxes are wider than its scores, by design: up to a third of a line's height here.
        assert np.abs(np.array([left, top, right, bottom]) - bar).max() <= 12


def test_the_canvas_is_the_scaled_poster_padded_to_whole_strides():
    network = WhiteIsText()
    detector(network)([black(444, 300)])
    detector(network, stride=32)([black(444, 300)])
    detector(network, scale=0.5)([black(444, 300)])
    detector(network, max_side=640)([black(3000, 2000)])
    assert network.shapes == [(1, 3, 448, 304), (1, 3, 448, 320), (1, 3, 224, 160), (1, 3, 640, 432)]


def test_a_poster_is_looked_at_alone_on_a_cpu_and_order_is_kept():
    network = WhiteIsText()
    posters = [black(200, 150, (20, 20 * n, 120, 20 * n + 12)) for n in (1, 5, 3)]
    posters.insert(1, black(320, 240, (20, 290, 200, 310)))
    found = detector(network)(posters)
    assert [shape[0] for shape in network.shapes] == [1, 1, 1, 1]
    assert [round(lines.horizontal[0][2] / 20) for lines in found] == [1, 14, 5, 3]
    assert detector(network)([]) == []


def test_posters_of_equal_canvas_go_together_where_that_pays():
    network = WhiteIsText()
    looker = detector(network)
    looker._batch_size = 2
    posters = [black(200, 150, (20, 20 * n, 120, 20 * n + 12)) for n in (1, 5, 3)]
    found = looker([*posters[:1], black(320, 240), *posters[1:]])
    assert sorted(shape[0] for shape in network.shapes) == [1, 1, 2]
    assert [round(lines.horizontal[0][2] / 20) for lines in found if lines.horizontal] == [1, 5, 3]


def test_specks_are_no_lines():
    (found,) = detector()([black(200, 150, (20, 20, 26, 26), (20, 100, 130, 116))])
    assert len(found.horizontal) == 1


def test_folded_batch_norms_compute_the_same():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 4, 1)))
    network[1].running_mean.uniform_(-1, 1)
    network[1].running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 9, 9)
    wanted = network.eval()(images)
    folded = fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert torch.allclose(folded(images), wanted, atol=1e-6)


def recogniser(fake=None, **options):
    settings = {"device": "cpu", "dtype": torch.float32, "as_easyocr": False, "second_look": True, "turned": False}
    return LineRecogniser(fake or reader(), **settings | options)


def stripes(pattern, *, level=WHITE):
    """A crop that spells `pattern`: 16 columns a letter, "a" dark, "b" bright, a grey that is blank between."""
    columns = [{"a": 0, "b": level, "_": 128}[letter] for letter in "_".join(pattern)]
    image = np.repeat(np.array(columns, np.uint8), 16)[None].repeat(64, axis=0)
    return Crop(None, image, -(-image.shape[1] // 64) * 64)


@pytest.mark.parametrize("as_easyocr", [False, True])
def test_crops_of_many_widths_are_read_in_their_order(as_easyocr):
    words = ["ab", "bbbb", "a", "abbaabba", "ba", "b", "aabb"] * 6  # more than one batch of a width
    read = recogniser(as_easyocr=as_easyocr)([stripes(word) for word in words])
    # The last column is repeated to the padded width: CTC takes repeats of a letter for one.
    assert [spelt for spelt, _ in read] == words
    assert all(0.9 < confidence <= 1 for _, confidence in read)
    assert recogniser()([]) == []


def test_neighbours_do_not_change_a_line():
    crops = [stripes(word) for word in ("abab", "bbaa", "abba")]
    together = recogniser()(crops)
    alone = [recogniser()([crop])[0] for crop in crops]
    assert [spelt for spelt, _ in together] == [spelt for spelt, _ in alone]
    assert [c for _, c in together] == pytest.approx([c for _, c in alone], abs=1e-6)


def test_the_confidence_is_easyocrs():
    """The product of the letters' probabilities to the power 2 / sqrt(their number)."""
    ((spelt, confidence),) = recogniser()([stripes("b")])
    # One crop of 16 columns padded to 64: 8 steps of white, which is 1 after normalisation.
    step = np.exp(9) / (np.exp(3) + np.exp(-9) + np.exp(9))
    assert spelt == "b"
    assert confidence == pytest.approx((step**8) ** (2 / np.sqrt(8)), rel=1e-5)


def test_a_doubtful_line_is_looked_at_again_with_more_contrast():
    fake = reader()
    with torch.no_grad():
        fake.recognizer.Prediction.bias.zero_()  # so that faint differences are letters, with little confidence
        fake.recognizer.Prediction.weight.mul_(0.05)
    image = np.full((64, 128), 128, np.uint8)
    image[:, 64:] = 140
    image[:, :64] = 116
    faint = Crop(None, image, 128)
    (first,) = recogniser(fake, second_look=False)([faint])
    (second,) = recogniser(fake)([faint])
    # easyocr's contrast: (x - 116 + 25) * 200 / (140 - 116), cut at 255, makes 208 and 255 of 116 and 140.
    assert (first[0], second[0]) == ("ab", "b")
    assert first[1] < 0.1
    assert second[1] > first[1]


def test_letters_of_other_languages_are_never_read():
    ((spelt, _),) = recogniser(reader(lang_char="a"))([stripes("bab")])
    assert spelt == "a"


def test_right_to_left_scripts_are_turned():
    crops = [stripes("abb")]
    arabic = "\u0627\u0628"
    fake = reader(converter=CTCLabelConverter(arabic), character=arabic, lang_char=arabic, model_lang="arabic")
    ((turned, _),) = recogniser(fake)(crops)
    assert turned == "\u0628\u0628\u0627"


def test_crops_are_64_pixels_high_and_padded_to_whole_heights():
    grey = np.arange(200 * 150, dtype=np.uint32).reshape(200, 150).astype(np.uint8)
    tilted = [[20.0, 100.0], [100.0, 120.0], [96.0, 136.0], [16.0, 116.0]]
    crops = cut_lines(grey, FoundLines([[10, 110, 20, 40], [10, 30, 60, 160]], [tilted]))
    assert [crop.image.shape for crop in crops[:2]] == [(64, 320), (320, 64)]
    assert [crop.width for crop in crops] == [320, 320, 384]
    assert crops[0].quad == [[10, 20], [110, 20], [110, 40], [10, 40]]
    assert crops[2].quad == tilted


def test_lines_are_in_0_to_1_of_a_poster_that_is_no_square(models, tmp_path):
    poster = light(400, 200, (20, 40, 180, 60))
    (lines,) = TextReader(tmp_path, reading=Reading(precision="fp32"))([poster])
    assert lines.texts == ("b",)
    assert lines.quads[0] == pytest.approx(np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.15], [0.1, 0.15]]), abs=0.05)
    assert lines.confidences == pytest.approx([1.0], abs=0.2)


def test_letters_are_read_off_the_luma_that_is_given(models, tmp_path):
    poster = light(400, 200, (20, 40, 180, 60))
    look = TextReader(tmp_path, reading=Reading(precision="fp32"))
    dark = np.zeros((400, 200), np.uint8)
    assert [lines.texts for lines in look([poster, poster], [None, dark])] == [("b",), ("a",)]


def test_a_tall_line_is_read_to_either_side_where_that_is_asked_for(models, tmp_path):
    image = np.full((320, 64), 128, np.uint8)
    image[:140], image[180:] = 255, 0
    upwards = Crop([], np.ascontiguousarray(image), 320)
    wide = Crop([], np.ascontiguousarray(image.T), 320)
    texts = {
        name: [text for text, _ in TextReader(tmp_path, reading=READINGS[name])._recogniser([upwards, wide])]
        for name in ("default", "turned")
    }
    assert texts["default"][1] == texts["turned"][1] == "ba"
    assert len(texts["default"][0]) < 2
    assert texts["turned"][0] in ("ab", "ba")


def test_blank_lines_are_left_out(models, tmp_path):
    poster = light(400, 200, (20, 40, 180, 60))
    assert len(TextReader(tmp_path)([poster])[0]) == 1
    grey = np.full((400, 200), 128, np.uint8)  # all blanks
    assert len(TextReader(tmp_path)([poster], [grey])[0]) == 0


def test_a_poster_without_text_among_others(models, tmp_path):
    posters = [light(200, 150, (20, 40, 120, 60)), light(200, 150), light(200, 150, (20, 100, 120, 120))]
    assert [lines.texts for lines in TextReader(tmp_path)(posters)] == [("b",), (), ("b",)]
    assert TextReader(tmp_path)([]) == []


def test_the_letters_are_read_off_luma_and_not_off_a_swapped_channel(models, tmp_path, monkeypatch):
    greys = []
    monkeypatch.setattr(line_recognition, "cut_lines", lambda grey, found: greys.append(grey) or [])
    red = np.zeros((60, 40, 3), np.uint8)
    red[..., 0] = 255
    TextReader(tmp_path)([red])
    assert (greys[0] == 76).all()  # 0.299 of 255; blue taken for red would be 29


def test_exact_is_easyocrs_own_arithmetic_on_a_cpu_only(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(text, "load_easyocr", lambda folder, languages, quantize: asked.append(quantize) or reader())
    for name in ("exact", "default", "fast", "careful"):
        TextReader(tmp_path, reading=READINGS[name])
    assert asked == [True, False, False, False]
    assert READINGS["exact"].precision == "fp32"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": 0.0}, "scale must lie in 0.1-4; got 0.0"),
        ({"max_side": 10}, "max_side must be 32 or more; got 10"),
    ],
)
def test_bad_readings(values, message):
    with pytest.raises(ValueError, match=message):
        Reading(**values)


def test_auto_is_bf16_only_where_the_device_has_it(monkeypatch):
    for question in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, question, lambda: False, raising=False)
    assert not computes_in_bf16("cpu")
    assert resolve_precision("auto", "cpu") == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert resolve_precision("auto", "cpu") == torch.bfloat16
    assert resolve_precision("fp32", "cpu") == torch.float32
    assert resolve_precision("bf16", "cpu") == torch.bfloat16
    assert resolve_precision("auto", "mps") == torch.float32
    with pytest.raises(ValueError, match="precision must be auto, fp32 or bf16; got 'int8'"):
        resolve_precision("int8", "cpu")


def test_a_torch_that_does_not_know_its_cpu_computes_in_fp32(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.cpu", SimpleNamespace())
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())
    assert not computes_in_bf16("cpu")


@pytest.mark.shared
@pytest.mark.slow
def test_exact_is_readtext_itself_on_real_posters(shared_ccu):
    """Boxes, text and confidence of the library's own way from a file to its lines."""
    import cv2
    import easyocr

    folder = Path(pytest.importorskip("easyocr_en_models").__file__).parent / "models"
    paths = sorted((shared_ccu / "Movie_Poster_Dataset" / "1985").glob("*.jpg"))[:6]
    posters = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    lumas = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    own = easyocr.Reader(["en"], gpu=False, model_storage_directory=str(folder), download_enabled=False, verbose=False)
    read = TextReader(folder, reading=READINGS["exact"])(posters, lumas)
    for path, poster, lines in zip(paths, posters, read, strict=True):
        wanted = [line for line in own.readtext(str(path)) if line[1].strip()]
        size = np.array([poster.shape[1], poster.shape[0]])
        corners = np.clip(np.array([line[0] for line in wanted]) / size, 0, 1)
        assert lines.quads == pytest.approx(corners, abs=1e-6), path.name
        assert lines.texts == tuple(line[1] for line in wanted), path.name
        assert lines.confidences == pytest.approx([line[2] for line in wanted], abs=1e-5), path.name
    assert sum(map(len, read)) > 20


@pytest.mark.gpu
@pytest.mark.shared
def test_a_gpu_reads_the_same_sure_lines(shared_ccu):
    import cv2

    if not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    folder = Path(pytest.importorskip("easyocr_en_models").__file__).parent / "models"
    paths = sorted((shared_ccu / "Movie_Poster_Dataset" / "1985").glob("*.jpg"))[:20]
    posters = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    reading = Reading(precision="fp32")
    here, there = (TextReader(folder, device=device, reading=reading)(posters) for device in ("cpu", "cuda"))
    sure = [
        (mine.texts[index], other.texts)
        for mine, other in zip(here, there, strict=True)
        for index in range(len(mine))
        if mine.confidences[index] > 0.6
    ]
    assert len(sure) > 10
    assert sum(spelt in others for spelt, others in sure) >= 0.95 * len(sure)
