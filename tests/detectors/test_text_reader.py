from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from detectors import TextReader, reader_files

ENGLISH = ("craft_mlt_25k.pth", "english_g2.pth")


class FakeReader:
    """Gives the boxes and lines that a test has put into `horizontal`, `free` and `lines`."""

    horizontal: list = []  # noqa: RUF012
    free: list = []  # noqa: RUF012
    lines: list = []  # noqa: RUF012
    seen: dict = {}  # noqa: RUF012

    def __init__(self, languages, **options):
        self.seen.update(languages=languages, **options)

    def detect(self, image, reformat):
        assert reformat is False
        self.seen["image"] = image
        return [self.horizontal], [self.free]

    def recognize(self, grey, horizontal, free, reformat):
        assert reformat is False
        self.seen.update(grey=grey, horizontal=horizontal, free=free)
        return self.lines


@pytest.fixture
def fake(monkeypatch):
    for name, value in (("horizontal", [[0, 10, 0, 5]]), ("free", []), ("lines", []), ("seen", {})):
        monkeypatch.setattr(FakeReader, name, value)
    module, config = ModuleType("easyocr"), ModuleType("easyocr.config")
    module.Reader, module.config = FakeReader, config
    monkeypatch.setitem(sys.modules, "easyocr", module)
    monkeypatch.setitem(sys.modules, "easyocr.config", config)
    return FakeReader


@pytest.fixture
def folder(tmp_path):
    for name in ENGLISH:
        (tmp_path / name).touch()
    return tmp_path


def quad(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def test_lines_are_in_0_to_1_of_a_poster_that_is_no_square(fake, folder):
    fake.lines[:] = [(quad(10, 20, 50, 40), "THE END", 0.8), (quad(0, 150, 100, 200), "soon", np.float64(0.3))]
    lines = TextReader(folder)([np.zeros((200, 100, 3), np.uint8)])[0]
    assert lines.quads[0] == pytest.approx(np.array(quad(0.1, 0.1, 0.5, 0.2)))
    assert lines.quads[1] == pytest.approx(np.array(quad(0.0, 0.75, 1.0, 1.0)))
    assert lines.texts == ("THE END", "soon")
    assert lines.confidences == pytest.approx([0.8, 0.3])


def test_the_detector_sees_rgb_and_the_recogniser_luma(fake, folder):
    red = np.zeros((60, 40, 3), np.uint8)
    red[..., 0] = 255
    TextReader(folder)([red])
    assert np.array_equal(fake.seen["image"], red)
    assert fake.seen["grey"].shape == (60, 40)
    assert (fake.seen["grey"] == 76).all()  # 0.299 of 255; BGR taken for RGB would be 29
    assert fake.seen["horizontal"] == [[0, 10, 0, 5]]


def test_easyocr_may_not_download_and_reads_from_the_folder(fake, folder):
    TextReader(folder, device="cuda:1")
    assert fake.seen["download_enabled"] is False
    assert fake.seen["model_storage_directory"] == str(folder)
    assert (fake.seen["languages"], fake.seen["gpu"]) == (["en"], "cuda:1")
    TextReader(folder)
    assert fake.seen["gpu"] is False


def test_blank_and_doubtful_lines_are_left_out(fake, folder):
    fake.lines[:] = [(quad(0, 0, 9, 9), "sure", 0.9), (quad(0, 0, 9, 9), "  ", 0.9), (quad(0, 0, 9, 9), "not", 0.4)]
    poster = np.zeros((50, 50, 3), np.uint8)
    assert TextReader(folder)([poster])[0].texts == ("sure", "not")
    assert TextReader(folder, min_confidence=0.5)([poster])[0].texts == ("sure",)
    assert len(TextReader(folder, min_confidence=0.95)([poster])[0]) == 0


def test_a_poster_without_text_is_not_recognised(fake, folder):
    fake.horizontal[:] = []
    assert len(TextReader(folder)([np.zeros((50, 50, 3), np.uint8)])[0]) == 0
    assert "grey" not in fake.seen


def test_corners_outside_the_poster_are_cut(fake, folder):
    fake.lines[:] = [([[-4, -2], [60, 3], [61, 20], [-3, 15]], "tilted", 1.2)]
    lines = TextReader(folder)([np.zeros((40, 50, 3), np.uint8)])[0]
    assert lines.quads[0] == pytest.approx(np.array([[0, 0], [1, 3 / 40], [1, 0.5], [0, 15 / 40]]))
    assert lines.confidences.tolist() == [1.0]


def test_order_of_posters_is_kept(fake, folder, monkeypatch):
    monkeypatch.setattr(
        FakeReader, "recognize", lambda self, grey, h, f, reformat: [(quad(0, 0, 9, 9), str(len(grey)), 1.0)]
    )
    posters = [np.zeros((height, 40, 3), np.uint8) for height in (50, 70, 60)]
    assert [lines.texts for lines in TextReader(folder)(posters)] == [("50",), ("70",), ("60",)]
    assert TextReader(folder)([]) == []


def test_missing_files_are_named(fake, folder):
    (folder / "english_g2.pth").unlink()
    with pytest.raises(ValueError, match=r"folder must hold english_g2\.pth; got "):
        TextReader(folder)


def test_without_easyocr(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "easyocr", None)
    with pytest.raises(ValueError, match="pip install easyocr"):
        TextReader(folder)


def test_english_needs_no_easyocr(monkeypatch):
    monkeypatch.setitem(sys.modules, "easyocr", None)
    assert reader_files(["en"]) == ENGLISH


@pytest.mark.parametrize(
    ("languages", "recogniser"),
    [
        (("fr",), "latin_g2.pth"),
        (("en", "de"), "latin_g2.pth"),
        (("ru", "en"), "cyrillic_g2.pth"),
        (("ja",), "japanese_g2.pth"),
        (("ch_tra", "en"), "chinese.pth"),
        (("hi",), "devanagari.pth"),
        (("th",), "thai.pth"),
    ],
)
def test_other_languages_by_easyocrs_own_choice(languages, recogniser):
    pytest.importorskip("easyocr")
    assert reader_files(languages) == ("craft_mlt_25k.pth", recogniser)


def test_every_language_has_a_recogniser_or_is_refused():
    """easyocr 1.7.2 lists three languages that it brings no characters for."""
    config = pytest.importorskip("easyocr.config")
    refused = {}
    for language in config.all_lang_list:
        try:
            assert reader_files((language,))[1].endswith(".pth")
        except ValueError as error:
            refused[language] = str(error)
    assert len(refused) < 5
    assert all("languages must be readable by easyocr; got" in message for message in refused.values())


@pytest.mark.parametrize("languages", [(), ("klingon",), ("en", "klingon")])
def test_unknown_languages(languages):
    pytest.importorskip("easyocr")
    with pytest.raises(ValueError, match=r"languages must be among \['abq', .*; got \["):
        reader_files(languages)


def test_languages_of_two_scripts():
    pytest.importorskip("easyocr")
    with pytest.raises(ValueError, match="Japanese is only compatible with English"):
        reader_files(("ja", "ru"))


@pytest.mark.slow
def test_damaged_weights(folder):
    pytest.importorskip("easyocr")
    with pytest.raises(ValueError, match=r"folder must hold easyocr's own, undamaged files; got .*MD5"):
        TextReader(folder)


@pytest.mark.shared
@pytest.mark.slow
def test_readtext_itself_on_real_posters(shared_ccu):
    """The same detector and recogniser by the library's own way from a file to its lines.

    Boxes must be equal. Of a JPEG, `readtext` reads the letters off the file's own luma, which decoded RGB does not
    hold any more (it differs by up to 20 of 255 at strong colours), so a doubtful line may be spelt another way; the
    recogniser is therefore compared on the same grey picture.
    """
    easyocr = pytest.importorskip("easyocr")
    models = Path(pytest.importorskip("easyocr_en_models").__file__).parent / "models"
    import cv2

    paths = sorted((shared_ccu / "Movie_Poster_Dataset" / "1985").glob("*.jpg"))[:3]
    posters = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    own = easyocr.Reader(["en"], gpu=False, model_storage_directory=str(models), download_enabled=False, verbose=False)
    read = TextReader(models)(posters)
    sure = 0
    for path, poster, lines in zip(paths, posters, read, strict=True):
        wanted = [line for line in own.readtext(str(path)) if line[1].strip()]
        size = np.array([poster.shape[1], poster.shape[0]])
        corners = np.clip(np.array([line[0] for line in wanted]) / size, 0, 1)
        assert lines.quads == pytest.approx(corners, abs=1e-6), path.name
        for text, (_, spelt, confidence) in zip(lines.texts, wanted, strict=True):
            sure += confidence > 0.6
            assert text == spelt or confidence <= 0.6, path.name
        horizontal, free = own.detect(poster, reformat=False)
        same_grey = own.recognize(cv2.cvtColor(poster, cv2.COLOR_RGB2GRAY), horizontal[0], free[0], reformat=False)
        assert lines.texts == tuple(text for _, text, _ in same_grey if text.strip()), path.name
        assert lines.confidences == pytest.approx([score for _, text, score in same_grey if text.strip()], abs=1e-5)
    assert sure > 1
