"""Which reader of words a configuration means, and what an older one meant."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmposter.ablation.identity import identity
from mmposter.config import Config, OcrConfig, comparable, load_config, parse_stored
from mmposter.errors import UserError
from mmposter.features.extractors import OcrExtractor, PpocrExtractor, build_extractors
from mmposter.features.pins import Pins
from mmposter.features.settled import settle


def packed(**settings):
    return SimpleNamespace(init=None, settings=settings)


def test_a_pack_keeps_the_reader_that_it_was_made_with():
    assert settle(Config(branches=("ocr",)), packed(**{"ocr.reader": "ppocr"})).ocr.reader == "ppocr"
    assert settle(Config(branches=("ocr",)), packed(**{"ocr.reader": "easyocr"})).ocr.reader == "easyocr"
    asked = load_config(None, ["ocr.reader=ppocr"], branches="ocr")
    assert settle(asked, packed(**{"ocr.reader": "easyocr"})).ocr.reader == "ppocr"  # and is refused there


def test_what_was_made_before_there_was_a_choice_was_read_by_easyocr():
    values = Config().model_dump(mode="json")
    del values["ocr"]["reader"], values["ocr"]["split"]
    assert parse_stored(values).ocr.reader == "easyocr"
    assert comparable(values)["ocr.reader"] == "easyocr"
    here = {"ocr": {"weights": "a"}, "text": {"weights": "b"}}
    settings = {"ocr.languages": ["en"], "ocr.reading": "default", "ocr.min_confidence": 0.0, "ocr.encoder": "x"}
    pins = Pins.from_json({"pack": "old", "settings": settings, "fingerprints": here, "embedding_dim": 8})
    assert pins.settings["ocr.reader"] == "easyocr"


def test_a_grid_of_that_time_knows_its_cells_again():
    easyocr, ppocr = (Config(ocr=OcrConfig(reader=name)) for name in ("easyocr", "ppocr"))
    values = easyocr.model_dump(mode="json")
    del values["ocr"]["reader"], values["ocr"]["split"]
    assert identity(easyocr) == identity(parse_stored(values)) != identity(ppocr)
    wordless = settle(Config(branches=("cnn",)))
    assert wordless.ocr.reader == "easyocr"  # as all that time said


def test_a_grid_tells_the_usual_encoding_from_that_of_before_there_was_a_choice():
    joined, embedded = (Config(branches=("ocr",), ocr=OcrConfig(encoding=name)) for name in ("joined", "embedded"))
    values = embedded.model_dump(mode="json")
    del values["ocr"]["encoding"], values["ocr"]["buckets"]
    assert identity(joined) != identity(embedded) == identity(parse_stored(values))
    wordless = Config(branches=("cnn",)).model_dump(mode="json")
    del wordless["ocr"]["encoding"], wordless["ocr"]["buckets"]
    assert identity(parse_stored(wordless)) == identity(Config(branches=("cnn",)))


@pytest.mark.parametrize("reading", ["exact", "fast"])
def test_readings_that_ppocr_does_not_have_are_refused_by_name(reading):
    with pytest.raises(UserError, match="allowed are default, careful") as told:
        settle(load_config(None, ["ocr.reader=ppocr", f"ocr.reading={reading}"]))
    assert "--set ocr.reader=easyocr" in str(told.value)


def test_languages_that_ppocr_does_not_read_are_refused():
    with pytest.raises(UserError, match=r"does not read ru;.*\n.*--set ocr.reader=easyocr"):
        settle(load_config(None, ["ocr.reader=ppocr", "ocr.languages=[ru,en]"]))
    assert settle(load_config(None, ["ocr.reader=ppocr", "ocr.languages=[fr,ja]"])).ocr.reader == "ppocr"


def test_the_records_of_ppocr_are_known_by_reader_package_weights_and_splitting():
    reader = PpocrExtractor(OcrConfig(reader="ppocr"), device="cpu", offline=True)
    known = reader.fingerprint()
    assert known["reader"] == "ppocr"
    assert known["package"].startswith("rapidocr ")
    assert len(known["weights"]) == 64
    assert known["split"].startswith("wordninja ")
    for changes in ({"split": False}, {"reading": "careful"}):
        other = PpocrExtractor(OcrConfig(reader="ppocr", **changes), device="cpu", offline=True)
        assert other.fingerprint() != known
        assert other.identity() != reader.identity()
    languages = PpocrExtractor(OcrConfig(reader="ppocr", languages=("fr",)), device="cpu", offline=True)
    assert languages.fingerprint() == known  # it reads all at once


def test_a_pack_of_ppocr_is_read_with_another_version_of_the_package():
    known = PpocrExtractor(OcrConfig(reader="ppocr"), device="cpu", offline=True).fingerprint()
    older = {**known, "package": "rapidocr 3.0.0", "split": "wordninja 1.0.0"}
    pinned = PpocrExtractor(OcrConfig(reader="ppocr"), device="cpu", offline=True, pinned=older)
    assert pinned.fingerprint() == older
    same = PpocrExtractor(OcrConfig(reader="ppocr"), device="cpu", offline=True)
    assert pinned.identity() == same.identity()  # a trained model goes on


def test_the_setting_chooses_the_extractor(world):
    for name, wanted in (("easyocr", OcrExtractor), ("ppocr", PpocrExtractor)):
        config = world.config(f"ocr.reader={name}", branches="ocr")
        reader, text = build_extractors(config, offline=True)["ocr"].steps
        assert type(reader) is wanted
        assert text.fingerprint()["source"] == reader.fingerprint()


def test_what_is_resumed_reads_on_as_it_began():
    values = Config().model_dump(mode="json")
    for reader in ("ppocr", "easyocr"):
        values["ocr"]["reader"] = reader
        assert settle(Config(), begun=values).ocr.reader == reader
    del values["ocr"]["reader"]
    assert settle(Config(), begun=values).ocr.reader == "easyocr"


def test_posters_are_enlarged_as_they_were_where_something_goes_on():
    fresh = settle(Config(branches=("ocr",)))
    assert fresh.ocr.enlarge == 400
    assert settle(load_config(None, ["ocr.reader=easyocr"])).ocr.enlarge == 0
    assert settle(load_config(None, ["ocr.reading=careful"], branches="ocr")).ocr.enlarge == 800
    assert settle(load_config(None, ["ocr.enlarge=600"])).ocr.enlarge == 600
    assert settle(Config(branches=("cnn",))).ocr.enlarge == 0
    values = fresh.model_dump(mode="json")
    assert settle(Config(), begun=values).ocr.enlarge == 400
    del values["ocr"]["enlarge"]  # a run of the time when there was no such key
    assert parse_stored(values).ocr.enlarge == 0
    assert settle(Config(), begun=values).ocr.enlarge == 0
    assert settle(Config(), packed(**{"ocr.reader": "ppocr", "ocr.enlarge": 0})).ocr.enlarge == 0
    assert settle(Config(), packed(**{"cnn.init": "posters"})).ocr.enlarge == 400  # of a pack without words
    assert identity(fresh) != identity(parse_stored(values))


def test_records_of_enlarged_posters_are_others():
    kinds = [
        PpocrExtractor(OcrConfig(reader="ppocr", enlarge=enlarge), device="cpu", offline=True)
        for enlarge in (0, 400, "auto")
    ]
    plain, enlarged, usual = (kind.fingerprint() for kind in kinds)
    assert "enlarge" not in plain["reading"]  # as in stores of before there was a choice
    assert enlarged["reading"]["enlarge"] == 400
    assert usual == enlarged != plain
