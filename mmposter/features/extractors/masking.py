"""Lines of text without the words of a poster's title, or of its actors' names: the honest control of `ocr`.

A control shows what the words are worth beyond those that merely name the film; it is no model for use, as nobody can
mask the title of a poster that he does not know.

easyocr reads stylised letters with errors ("Ggdfather"), so equality misses much of a title. A word is masked where it
is like a title's word: after case, accents and punctuation are taken away, one letter in three may be wrong, lost or
added (Levenshtein distance). Words of up to three letters must be the same, as the next best word is another one
("of", "on"), and stop words of the title are words of the title. What easyocr cuts or joins counts too: several words
side by side are compared, joined, with every stretch of the title, joined ("THEGODFATHER", "GOD FATHER",
"R O N I N"), and a longer word that holds a stretch of six letters or more ("foreverstrongmovie") goes as a whole.

Measured on 5626 real posters of 1980-2015 (`ocr.reading=default`), beside the same rule without any error and without
what lies inside a longer word ("exact"). A stranger's is the title, or the names, of another poster drawn at random:
what it masks is a false alarm, or a stop word that both titles have.

    share of                                            own title   stranger's   own names   stranger's
    words of the title (names) that were found, exact      46.2 %        2.4 %       9.5 %        0.1 %
      (3 letters or more)                 this rule        64.6 %        2.9 %      15.4 %        0.5 %
    words that were read and are masked,  exact            10.5 %        0.7 %       6.5 %        0.1 %
                                          this rule        14.3 %        0.8 %      10.8 %        0.4 %

Most of the others were never read. The lines of 120 posters, read through: who knows the title recognises some 206 of
its 291 words in them; exact masks 120 of these, this rule 180. The rest is damaged ("OSATAEMLADET": Osama bin Laden).
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from mmposter.config import Mask, OcrConfig
from mmposter.errors import UserError
from mmposter.features.extractors.base import RecordExtractor
from mmposter.features.extractors.lines import decode_lines, encode_lines
from mmposter.features.extractors.ngrams import NgramFeature
from mmposter.features.extractors.ocr import LinesExtractor
from mmposter.features.store import Record

if TYPE_CHECKING:
    from mmposter.data.dataset import Dataset

Phrases: TypeAlias = tuple[str, ...]
"""What is masked on one poster: its title, or the names of its actors, as the metadata have them."""

# Looser, and other words than the title's are masked too: see the figures above.
_LETTERS_AN_ERROR = 3
_FUZZY_FROM = 4
_INSIDE_FROM = 6

_GAPS = re.compile(r"[\s\-\u2010-\u2015/:;&+_|]+")


class MaskedExtractor(RecordExtractor, NgramFeature):
    """The records of the reader of text without masked words; a line of which no word is left goes with its box.

    Args:
        config: with the mask, which says what `phrases` are: titles, names of actors, or both.
        source: the reader.
        phrases: of every poster that it will see, by the sha256 of the picture.
    """

    name = "ocr_masked"
    keyed: ClassVar[bool] = True

    def __init__(self, config: OcrConfig, source: LinesExtractor, phrases: Mapping[str, Phrases]) -> None:
        super().__init__(config)
        self.source, self._mask, self._phrases = source, config.mask, phrases
        self._device = source.device  # the first extractor's is where an engine's workers compute

    def fingerprint(self) -> dict[str, Any]:
        return {**self._settings, "phrases": self._digest, "source": self.source.fingerprint()}

    def identity(self) -> dict[str, Any]:
        return {**self._settings, "source": self.source.identity()}

    def start(self) -> None:
        pass

    def __call__(self, batch: Sequence[tuple[str, Record]]) -> list[Record]:
        return [_masked(record, self._phrases[sha]) for sha, record in batch]

    @property
    def _settings(self) -> dict[str, Any]:
        return {"version": 1, "mask": self._mask}

    @cached_property
    def _digest(self) -> str:
        """Other titles are other records, so that they have a store of their own."""
        return hashlib.sha256(json.dumps(sorted(self._phrases.items())).encode()).hexdigest()


def phrases_to_mask(dataset: Dataset, mask: Mask) -> dict[str, Phrases]:
    """What `mask` takes out of the posters of `dataset`, by the sha256 of the picture; a poster may have nothing.

    Raises:
        UserError: if no poster of the data set has a title, or actors.
    """
    if mask == "none":
        return {}
    found: dict[str, list[str]] = {}
    for sha, title, actors in zip(*(dataset.table[name] for name in ("sha256", "title", "actors")), strict=True):
        titles, names = [title] if title and mask != "names" else [], actors if mask != "title" else []
        phrases = [*titles, *names]
        found.setdefault(sha, []).extend(phrases)  # one picture may be listed under two films
    if not any(found.values()):
        column = {"title": "title", "names": "actors", "both": "title or actors"}[mask]
        raise UserError(
            f"ocr.mask={mask} takes the words of each poster's {column} out of what was read, and {dataset.folder} has "
            f"no {column} of any poster.\nPrepare it from a source that has them (csv: a column {column}), or use "
            "--set ocr.mask=none"
        )
    return {sha: tuple(sorted(set(phrases))) for sha, phrases in found.items()}


def mask_words(lines: Iterable[str], phrases: Iterable[str]) -> list[str]:
    """Lines without the words that are like words of `phrases`; one of which no word is left becomes empty.

    >>> mask_words(["THE Ggdfather", "an offer he can't refuse", "MARLON BRANDO"], ["The Godfather"])
    ['', "an offer he can't refuse", 'MARLON BRANDO']
    """
    stretches = _stretches(phrases)
    kept: list[str] = []
    for line in lines:
        words = line.split()
        masked = _masked_places([_letters(word) for word in words], stretches)
        rest = [word for place, word in enumerate(words) if place not in masked]
        blank = masked and not any(_letters(word) for word in rest)
        kept.append("" if blank else " ".join(rest) if masked else line)
    return kept


def _masked(record: Record, phrases: Phrases) -> Record:
    lines = decode_lines(record["text"], len(record["confidences"]))
    masked = mask_words(lines, phrases)
    # A line that was blank before says nothing of the title, and stays.
    kept = [place for place, (before, after) in enumerate(zip(lines, masked, strict=True)) if after or not before]
    return {
        "quads": record["quads"][kept],
        "confidences": record["confidences"][kept],
        "text": encode_lines([masked[place] for place in kept]),
    }


def _letters(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text.casefold()) if sign.isalnum())


def _stretches(phrases: Iterable[str]) -> list[str]:
    """Every run of neighbouring words of a phrase, joined, the longest first."""
    found: set[str] = set()
    for phrase in phrases:
        words = [letters for word in _GAPS.split(phrase) if (letters := _letters(word))]
        found |= {
            "".join(words[start:stop]) for start in range(len(words)) for stop in range(start + 1, len(words) + 1)
        }
    return sorted(found, key=lambda stretch: (-len(stretch), stretch))


def _masked_places(words: Sequence[str], stretches: Sequence[str]) -> set[int]:
    """Places of the words of one line that are to be masked."""
    alike = sorted(found for stretch in stretches for found in _like(words, stretch))
    masked: set[int] = set()
    for _, _, start, stop in alike:
        # The best first: of "a godfather" the last word is like the title, and both are, joined; the "a" stays.
        if masked.isdisjoint(range(start, stop)):
            masked |= set(range(start, stop))
    inside = [stretch for stretch in stretches if len(stretch) >= _INSIDE_FROM]
    return masked | {place for place, word in enumerate(words) if any(stretch in word for stretch in inside)}


def _like(words: Sequence[str], stretch: str) -> Iterator[tuple[float, int, int, int]]:
    """Runs of neighbouring words that are, joined, like `stretch`: (share of errors, -letters, start, stop)."""
    errors = len(stretch) // _LETTERS_AN_ERROR if len(stretch) >= _FUZZY_FROM else 0
    for start in range(len(words)):
        joined = ""
        for stop in range(start + 1, len(words) + 1):
            joined += words[stop - 1]
            if len(joined) > len(stretch) + errors:
                break
            # A run neither begins nor ends in what has no letter.
            if words[start] and words[stop - 1] and (distance := _distance(joined, stretch, errors)) <= errors:
                yield distance / len(stretch), -len(stretch), start, stop


def _distance(one: str, other: str, limit: int) -> int:
    """Levenshtein distance of two texts; anything above `limit` where it is greater than that."""
    if one == other or abs(len(one) - len(other)) > limit or not limit:
        return 0 if one == other else limit + 1
    row = list(range(len(other) + 1))
    for number, sign in enumerate(one, 1):
        before, row = row, [number]
        for place, mark in enumerate(other, 1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (sign != mark)))
        if min(row) > limit:
            return limit + 1
    return row[-1]
