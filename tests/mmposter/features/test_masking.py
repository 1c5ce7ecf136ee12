"""The words of a poster's own title or actors leave the text, and nothing else does."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmposter.config import OcrConfig, load_config
from mmposter.data import Dataset
from mmposter.errors import UserError
from mmposter.features.extract import StoredPoster, extract
from mmposter.features.extractors import MaskedExtractor, RecordExtractor, build_extractors, phrases_to_mask
from mmposter.features.extractors.lines import decode_lines, encode_lines
from mmposter.features.extractors.masking import mask_words
from mmposter.features.store import ExtractorStore, Failure, fingerprint_digest
from mmposter.features.table import dataset_extractors

# --- which words ---


@pytest.mark.parametrize(
    ("title", "line", "left"),
    [
        ("The Godfather", "THE GODFATHER", ""),
        ("The Godfather", "the GodFather, Part II", "Part II"),
        # letters that easyocr took for others, lost or added: up to one in three
        ("The Godfather", "Ggdfather rises", "rises"),
        ("The Godfather", "GQDFAIHEP", ""),
        ("The Godfather", "GQDFAIHFP", "GQDFAIHFP"),
        ("Halloween", "ALLOWEEN", ""),
        ("Alien", "ALIENS", ""),
        ("Alien", "Alibis", "Alibis"),
        ("Evita", '"Evital"', ""),
        # four letters may have one error, three none
        ("Jaws", "JAVS", ""),
        ("Jaws", "JAVE", "JAVE"),
        ("Big", "BAG BIG BIGI PIG", "BAG BIGI PIG"),
        # stop words of the title are its words; others are not
        ("Out of Africa", "out of love on a farm", "love on a farm"),
        # joined and cut
        ("The Godfather", "THEGODFATHER", ""),
        ("The Godfather", "GOD FATHER", ""),
        ("Born to Be a Star", "BORN TOBEASAR tonight", "tonight"),
        ("Ronin", "R 0 N I N", ""),
        ("Spider-Man", "SPIDERMAN", ""),
        ("Spider-Man", "SPIDER-MAN 2", "2"),
        ("Spider-Man", "the MAN", "the"),
        ("Forever Strong", "see www.ForeverStrongMovie.com now", "see now"),
        ("Art", "see the party start", "see the party start"),
        # case, accents, punctuation
        ("Amélie", "AMELIE!", ""),
        ("Ocean's Eleven", "OCEANS ELEVEN", ""),
        ("L.A. Confidential", "a night in LA", "a night in"),
        ("Straße", "STRASSE", ""),
        ("Ran 乱", "乱 by Kurosawa", "by Kurosawa"),
        # the best match first: a neighbour is no part of the title
        ("Godfather", "a godfather", "a"),
        # nothing to mask
        ("The Godfather", "in cinemas", "in cinemas"),
        ("The Godfather", "", ""),
        ("", "in cinemas", "in cinemas"),
        ("?!", "what ?!", "what ?!"),
    ],
)
def test_words_of_a_title(title, line, left):
    assert mask_words([line], [title]) == [left]


def test_names_are_masked_as_wholes_and_in_parts():
    lines = ["AL PACINO", "MARL0N BRAND0", "ALPACINO", "Pacino's best", "ROBERT DUVALL", "all is al dente"]
    names = ["Al Pacino", "Marlon Brando"]
    assert mask_words(lines, names) == ["", "", "", "best", "ROBERT DUVALL", "all is dente"]


def test_a_line_that_keeps_its_words_keeps_its_blanks_too():
    assert mask_words(["IN  CINEMAS ", " ... "], ["The Godfather"]) == ["IN  CINEMAS ", " ... "]


words = st.lists(st.text("abcdeé'-", min_size=1, max_size=9), max_size=5).map(" ".join)


@given(line=words, title=words)
def test_what_is_left_is_part_of_the_line_and_never_a_word_of_the_title(line, title):
    (left,) = mask_words([line], [title])
    rest = iter(line.split())
    assert all(word in rest for word in left.split())  # in the same order
    assert not set(left.split()) & {word for word in title.split() if word.isalnum()}
    assert mask_words([line], [line]) in ([""], [line] if not any(map(str.isalnum, line)) else [""])


# --- records ---


def record(*texts: str) -> dict[str, Any]:
    count = len(texts)
    return {
        "quads": np.arange(count * 8, dtype=np.float32).reshape(count, 4, 2),
        "confidences": np.linspace(0.9, 0.1, count).astype(np.float32),
        "text": encode_lines(texts),
    }


def test_boxes_and_confidences_stay_and_empty_lines_go(reader):
    extractor = MaskedExtractor(OcrConfig(mask="title"), reader, {"a": ("Jaws",), "b": (), "c": ("Jaws",)})
    read = record("JAWS", "don't go into JAWS water", "", "...", "jaws !")
    masked, whole, nothing = extractor([("a", read), ("b", read), ("c", record())])
    assert decode_lines(masked["text"], len(masked["confidences"])) == ["don't go into water", "", "..."]
    np.testing.assert_array_equal(masked["quads"], read["quads"][[1, 2, 3]])
    np.testing.assert_array_equal(masked["confidences"], read["confidences"][[1, 2, 3]])
    for key in read:
        np.testing.assert_array_equal(whole[key], read[key])
    assert {key: array.shape for key, array in nothing.items()} == {
        "quads": (0, 4, 2),
        "confidences": (0,),
        "text": (0,),
    }
    assert nothing["quads"].dtype == np.float32


def test_other_titles_are_other_records_of_the_same_extractor(reader):
    def made(mask: Any = "title", **titles: str) -> MaskedExtractor:
        return MaskedExtractor(OcrConfig(mask=mask), reader, {sha: (title,) for sha, title in titles.items()})

    first = made(a="Jaws", b="Alien")
    assert first.fingerprint() == made(b="Alien", a="Jaws").fingerprint()
    others = [made(a="Jaws", b="Aliens"), made(a="Jaws"), made("names", a="Jaws", b="Alien")]
    digests = {fingerprint_digest(e.name, e.fingerprint()) for e in (first, *others)}
    assert len(digests) == 4
    assert [e.identity() == first.identity() for e in others] == [True, True, False]
    assert pickle.loads(pickle.dumps(first))([("a", record("JAWS", "bite"))])[0]["confidences"] == pytest.approx(0.1)


# --- what to mask ---


def data(tmp_path, **columns: Any) -> Dataset:
    values = {"id": list("abc"), "path": list("abc"), "sha256": ["sa", "sb", "sc"], **columns}
    table = pd.DataFrame(values, dtype=object)  # a missing title is None, as in a loaded data set
    return Dataset(tmp_path, tmp_path, table, None, {})


def test_phrases_come_from_the_metadata(tmp_path):
    films = data(tmp_path, title=["Jaws", None, "Alien"], actors=[["Roy Scheider"], [], ["John Hurt", "Ian Holm"]])
    assert phrases_to_mask(films, "none") == {}
    assert phrases_to_mask(films, "title") == {"sa": ("Jaws",), "sb": (), "sc": ("Alien",)}
    assert phrases_to_mask(films, "names") == {"sa": ("Roy Scheider",), "sb": (), "sc": ("Ian Holm", "John Hurt")}
    both = {"sa": ("Jaws", "Roy Scheider"), "sb": (), "sc": ("Alien", "Ian Holm", "John Hurt")}
    assert phrases_to_mask(films, "both") == both


def test_one_picture_of_two_films_loses_the_words_of_both(tmp_path):
    films = data(tmp_path, title=["Jaws", "Jaws 2", "Alien"], actors=[[]] * 3)
    films.table["sha256"] = ["sa", "sa", "sc"]
    assert phrases_to_mask(films, "title")["sa"] == ("Jaws", "Jaws 2")


@pytest.mark.parametrize(("mask", "column"), [("title", "title"), ("names", "actors"), ("both", "title or actors")])
def test_data_without_metadata_are_refused(tmp_path, mask, column):
    films = data(tmp_path, title=[None] * 3, actors=[[]] * 3)
    with pytest.raises(UserError, match=rf"ocr.mask={mask} .* has no {column} of any poster(.|\n)*ocr.mask=none"):
        phrases_to_mask(films, mask)


def test_only_the_text_branch_asks_for_metadata(world):
    config = world.config("ocr.mask=names")  # nobody acts in these films
    assert list(dataset_extractors(world.dataset, config, ["yolo"], offline=True)) == ["yolo"]
    with pytest.raises(UserError, match="has no actors of any poster"):
        dataset_extractors(world.dataset, config, ["ocr"], offline=True)


def test_without_metadata_no_masked_extractor_is_built(world):
    with pytest.raises(UserError, match=r"ocr\.mask=title needs the metadata of a prepared data set"):
        build_extractors(world.config("ocr.mask=title"), ["ocr"], offline=True)


# --- in the store ---


def test_a_store_without_masking_stays_valid(world):
    """Pinned: what was extracted before masking was there must be found. If the reader's or the encoder's own version
    or settings change, the new digests belong here."""
    steps = build_extractors(load_config(None, ["ocr.reader=easyocr"]), ["ocr"], offline=True)["ocr"].steps
    digests = {step.name: fingerprint_digest(step.name, step.fingerprint())[:12] for step in steps}
    assert digests == {"ocr": "d0796a21845d", "text": "8f2e203b878c"}
    assert steps[1].identity() == steps[1].fingerprint()


def test_each_branch_step_of_a_masked_configuration(world):
    plain = dataset_extractors(world.dataset, world.config(), ["ocr"], offline=True)["ocr"]
    masked = dataset_extractors(world.dataset, world.config("ocr.mask=title"), ["ocr"], offline=True)["ocr"]
    assert [step.name for step in masked.steps] == ["ocr", "ocr_masked", "text"]
    assert masked.feature.fingerprint()["source"] == masked.steps[1].fingerprint()
    assert masked.feature.fingerprint() != plain.feature.fingerprint()
    assert masked.feature.identity() != plain.feature.identity()


WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"]


class Count(RecordExtractor):
    """How many lines its source has of a poster."""

    name = "count"

    def __init__(self, source: MaskedExtractor) -> None:
        self.source = source

    def fingerprint(self) -> dict[str, Any]:
        return {"source": self.source.fingerprint()}

    def start(self) -> None:
        pass

    def __call__(self, batch: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"lines": np.array([len(record["confidences"])])} for record in batch]


@pytest.fixture
def films(tmp_path, reader):
    """Ten posters without a file, on each of which all ten titles were read; and what masks them."""
    posters = [StoredPoster(word, tmp_path / "nowhere", f"{number:064}") for number, word in enumerate(WORDS)]
    ExtractorStore(tmp_path / "store", reader.name, reader.fingerprint()).write(
        {poster.sha256: record(*WORDS) for poster in posters}
    )
    return posters, MaskedExtractor(
        OcrConfig(mask="title"), reader, {poster.sha256: (poster.id,) for poster in posters}
    )


def stored(root: Path, extractor: RecordExtractor, posters: Sequence[StoredPoster]) -> list[Any]:
    return ExtractorStore(root, extractor.name, extractor.fingerprint()).read([poster.sha256 for poster in posters])


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_each_poster_loses_its_own_title_and_no_picture_is_opened(tmp_path, reader, films, small_parts, workers):
    posters, masked = films
    reports = extract(posters, [reader, masked], tmp_path / "store", workers=workers, threads=1, quiet=True)
    assert [(report.computed, report.present, report.failed) for report in reports] == [(0, 10, {}), (10, 0, {})]
    for word, found in zip(WORDS, stored(tmp_path / "store", masked, posters), strict=True):
        assert decode_lines(found["text"], len(found["confidences"])) == [other for other in WORDS if other != word]


def test_what_follows_reads_the_masked_lines_in_the_same_run_and_later(tmp_path, reader, films, small_parts):
    posters, masked = films
    steps = [reader, masked, Count(masked)]
    extract(posters[:5], steps[:2], tmp_path / "store", quiet=True)
    extract(posters, steps, tmp_path / "store", quiet=True)
    assert [found["lines"].tolist() for found in stored(tmp_path / "store", steps[2], posters)] == [[9]] * 10


def test_a_poster_that_was_not_read_is_not_masked_either(tmp_path, reader, films):
    posters, masked = films
    broken = [StoredPoster("broken", tmp_path / "nowhere", "b" * 64), *posters]
    store = ExtractorStore(tmp_path / "store", reader.name, reader.fingerprint())
    store.write({"b" * 64: Failure("truncated", "cut off")})
    masked = MaskedExtractor(OcrConfig(mask="title"), reader, {poster.sha256: () for poster in broken})
    reports = extract(broken, [reader, masked, Count(masked)], tmp_path / "store", quiet=True)
    assert [report.reasons() for report in reports] == [{"truncated": 1}] * 3
    assert [report.computed for report in reports] == [0, 10, 10]
