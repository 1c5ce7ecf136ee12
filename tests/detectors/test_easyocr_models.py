from __future__ import annotations

import sys

import pytest

from detectors import TextReader, reader_files
from detectors.easyocr_models import load_easyocr

ENGLISH = ("craft_mlt_25k.pth", "english_g2.pth")


@pytest.fixture
def folder(tmp_path):
    for name in ENGLISH:
        (tmp_path / name).touch()
    return tmp_path


def test_missing_files_are_named(folder):
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
    with pytest.raises(ValueError, match=r"such as \[ja,en\]; got \['ja', 'ru'\]"):
        reader_files(("ja", "ru"))


@pytest.mark.slow
def test_damaged_weights(folder):
    pytest.importorskip("easyocr")
    with pytest.raises(ValueError, match=r"folder must hold easyocr's own, undamaged files; got .*MD5"):
        TextReader(folder)


def test_easyocr_loads_on_the_cpu_downloads_nothing_and_keeps_its_lstm(folder, monkeypatch):
    seen = {}

    class Reader:
        def __init__(self, languages, **options):
            seen.update(languages=languages, **options)

    easyocr = pytest.importorskip("easyocr")
    monkeypatch.setattr(easyocr, "Reader", Reader)
    load_easyocr(folder, ("en",), quantize=False)
    assert seen["download_enabled"] is False
    assert (seen["languages"], seen["model_storage_directory"]) == (["en"], str(folder))
    assert (seen["gpu"], seen["quantize"]) == (False, False)
