"""PP-OCR over drawn posters, with the weights that the wheel of rapidocr carries."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

rapidocr = pytest.importorskip("rapidocr")

from rapidocr.utils.download_file import DownloadFile  # noqa: E402

from detectors import PPOCR_FILES, PPOCR_READINGS, PpocrReader, PpocrReading  # noqa: E402

FOLDER = Path(rapidocr.__file__).parent / "models"


def draw(text: str, size: tuple[int, int] = (400, 300), turned: int = 0) -> np.ndarray:
    picture = Image.new("RGB", size, (20, 30, 60))
    ImageDraw.Draw(picture).text((20, 100), text, fill="white", font=ImageFont.load_default(34))
    return np.asarray(picture.rotate(turned, expand=True))


@pytest.fixture(scope="module")
def reader() -> PpocrReader:
    return PpocrReader(FOLDER)


def test_a_line_is_read_where_it_stands(reader, capfd):
    (lines,) = reader([draw("RISING SUN")])
    assert lines.texts == ("RISING SUN",)
    assert lines.confidences[0] > 0.9
    left, top = lines.quads[0].min(axis=0)
    right, bottom = lines.quads[0].max(axis=0)
    assert left < 0.1
    assert 0.4 < right < 0.7
    assert 0.3 < top < 0.4
    assert 0.42 < bottom < 0.55
    assert capfd.readouterr() == ("", "")


def test_a_poster_says_the_same_alone_and_among_others(reader):
    posters = [draw("RISING SUN"), np.zeros((90, 60, 3), np.uint8), draw("THE LONG WAY HOME", (640, 480))]
    alone = [reader([poster])[0] for poster in posters]
    for together in (reader(posters), PpocrReader(FOLDER, workers=3)(posters)):
        for one, other in zip(alone, together, strict=True):
            assert one.texts == other.texts
            assert np.array_equal(one.quads, other.quads)
            assert np.array_equal(one.confidences, other.confidences)
    assert [len(lines) for lines in alone] == [1, 0, 1]
    assert reader([]) == []


def test_words_read_as_one_are_split_where_asked(reader):
    poster = draw("MANTROUBLE")
    assert reader([poster])[0].texts == ("MAN TROUBLE",)
    assert PpocrReader(FOLDER, split=False)([poster])[0].texts == ("MANTROUBLE",)


def test_careful_reads_lines_that_run_up_and_down():
    careful = PpocrReader(FOLDER, reading=PPOCR_READINGS["careful"])
    found = careful([draw("RISING SUN", turned=turned) for turned in (0, 90, 270)])
    assert [lines.texts for lines in found] == [("RISING SUN",)] * 3


def test_small_posters_are_enlarged_before_they_are_read(monkeypatch):
    seen: list[tuple[int, int]] = []

    def sizes(reading: PpocrReading, *posters: tuple[int, int]) -> list[tuple[int, int]]:
        reader = PpocrReader(FOLDER, reading=reading)
        monkeypatch.setattr(reader, "_model", lambda poster: seen.append(poster.shape[:2]))
        seen.clear()
        reader([np.zeros((*size, 3), np.uint8) for size in posters])
        return seen.copy()

    posters = (268, 182), (399, 300), (400, 300), (900, 600), (100, 60)
    assert sizes(PpocrReading(), *posters) == [(469, 318), (698, 525), (400, 300), (900, 600), (175, 105)]
    assert sizes(PpocrReading(enlarge=0), *posters) == list(posters)


def test_small_print_is_read_where_a_poster_is_enlarged():
    small = Image.fromarray(draw("THE LONG WAY HOME", (640, 480))).resize((100, 75), Image.Resampling.LANCZOS)
    found = {enlarge: PpocrReader(FOLDER, reading=PpocrReading(enlarge=enlarge)) for enlarge in (0, 400)}
    lines = {enlarge: reader([np.asarray(small)])[0] for enlarge, reader in found.items()}
    assert lines[400].texts == ("THE LONG WAY HOME",) != lines[0].texts
    assert np.abs(lines[400].quads - lines[0].quads).max() < 0.1  # the same place on the poster


@pytest.mark.parametrize("size", [(1, 1), (2, 90), (8, 320), (4000, 110), (12, 12)])
def test_odd_sizes_have_no_lines_and_take_no_time(reader, size):
    assert len(reader([np.full((*size, 3), 200, np.uint8)])[0]) == 0


def test_nothing_is_downloaded_and_the_log_stays_silent(monkeypatch, caplog):
    monkeypatch.setattr(DownloadFile, "run", lambda *_: pytest.fail("rapidocr asked for a download"))
    with caplog.at_level(logging.DEBUG):
        PpocrReader(FOLDER, reading=PPOCR_READINGS["careful"])([draw("RISING SUN")])
    assert not [record for record in caplog.records if record.name == "RapidOCR"]


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="must hold PP-OCRv6"):
        PpocrReader(tmp_path)
    for name in PPOCR_FILES:
        (tmp_path / name).write_bytes(b"no network")
    with pytest.raises(ValueError, match="undamaged"):
        PpocrReader(tmp_path)


@pytest.mark.parametrize(
    "values", [{"max_side": 0}, {"max_side": 4000}, {"min_confidence": 2.0}, {"enlarge": -1}, {"enlarge": 961}]
)
def test_readings_out_of_bounds_are_refused(values):
    with pytest.raises(ValueError, match="must lie in"):
        PpocrReading(**values)
