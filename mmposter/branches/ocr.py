"""The branch `ocr`: the words on a poster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from mmposter.branches.base import BranchDeclaration
from mmposter.branches.settings import ConfigSection, Name, Slots, Width
from mmposter.files.paths import folder_here, is_a_path, last_part

if TYPE_CHECKING:
    from fusion import Branch
    from mmposter.config import Config
    from mmposter.data.dataset import Dataset
    from mmposter.explain.parts import Parts
    from mmposter.features.extractors import BranchExtractors, Making, Phrases
    from mmposter.features.pins import Pins
    from mmposter.features.ragged import Features
    from mmposter.features.sizes import Sizes
    from mmposter.features.store import Record
    from mmposter.pretrained.resolver import WeightSource

NAME = "ocr"
USUAL_READER = "ppocr"
"""What reads where nothing says otherwise."""
_NOT_LOOKED_AT = {"easyocr": ("ocr.split", "ocr.enlarge"), "ppocr": ("ocr.languages",)}
Mask = Literal["none", "title", "names", "both"]


def _listed(value: Any) -> Any:
    """``ja`` and ``ja,en`` as they stand behind ``--set ocr.languages=`` are lists, too."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class OcrConfig(ConfigSection):
    """The words on the poster."""

    languages: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], BeforeValidator(_listed)] = Field(
        ("en",), min_length=1, max_length=100
    )
    """Codes of languages. With easyocr one, or several that one of its models joins (``ja`` and ``en``)."""
    reader: Literal["auto", "ppocr", "easyocr"] = "auto"
    """``ppocr`` (Latin letters, Chinese and Japanese, all at once), or ``easyocr`` for other scripts. ``auto``: that of
    the pack, or of what is resumed, else ppocr."""
    reading: Literal["exact", "default", "fast", "careful", "turned"] = "default"
    """How carefully to read: ``careful`` with some gain. With easyocr also ``fast`` with some loss, ``turned`` with
    words that run up or down the poster, and ``exact`` as its own `readtext` does."""
    enlarge: Literal["auto"] | Annotated[int, Field(ge=0, le=960)] = "auto"
    """ppocr only: a poster whose longer side has fewer pixels is read at 1.75 times its size; 0: none is. ``auto``: as
    in the pack, or in what is resumed, else 400, with ``reading=careful`` 800."""
    split: bool = True
    """ppocr only: take words apart that were read as one, by a list of English words."""
    min_confidence: float = Field(0.0, ge=0, le=1)
    """Lines that the reader trusts less are not passed on to the text encoder."""
    encoder: Name = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence encoder for transformers, or a CLIP or SigLIP 2, whose text side is taken: a name that the resolver
    finds, or a folder."""
    mask: Mask = "none"
    """A control: take the words of the poster's own ``title``, of its actors' ``names``, or of ``both``, out of what
    was read."""
    max_lines: Slots = 40
    encoding: Literal["lines", "document", "embedded", "ngrams", "joined"] = "joined"
    """What the head sees: the encoder's embedding of every ``lines``, of the whole ``document``, of both
    (``embedded``), character ``ngrams`` of the whole, for which no encoder is needed, or all of them ``joined``."""
    buckets: int = Field(2**15, ge=2**8, le=2**20)
    """Numbers that n-grams are hashed to."""
    titles: float = Field(1.0, ge=0, le=1e6)
    """What a film without a poster (``prepare --titles``) counts in training, beside a poster; only n-grams learn of
    them."""
    dim: Width = 64
    dropout: float = Field(0.3, ge=0, lt=1)

    def settled(self, before: Mapping[str, Any] | None = None) -> OcrConfig:
        """The same settings with what ``auto`` means: as in a pack, or in what goes on, else the usual.

        Args:
            before: the settings of that pack, or of what goes on, by dotted key; None: there is no such thing.

        Raises:
            UserError: for settings that the reader does not have.
        """
        from detectors import PPOCR_LANGUAGES, PPOCR_READINGS
        from mmposter.errors import UserError

        before = before or {}
        known = before.get("ocr.reader")
        known = known if known in ("ppocr", "easyocr") else USUAL_READER
        reader = known if self.reader == "auto" else self.reader
        if reader == "ppocr" and self.reading not in PPOCR_READINGS:
            raise UserError(
                f"ocr.reading={self.reading} is easyocr's own; with ocr.reader=ppocr allowed are "
                f"{', '.join(PPOCR_READINGS)}.\nType --set ocr.reading=default, or --set ocr.reader=easyocr"
            )
        if reader == "ppocr" and (other := [name for name in self.languages if name not in PPOCR_LANGUAGES]):
            raise UserError(
                f"ocr.reader=ppocr does not read {', '.join(other)}; it reads {', '.join(PPOCR_LANGUAGES)}.\n"
                "Type --set ocr.reader=easyocr for other languages"
            )
        return self.model_copy(update={"reader": reader, "enlarge": self._enlarge(reader, before)})

    def _enlarge(self, reader: str, before: Mapping[str, Any]) -> int:
        from detectors import PPOCR_READINGS

        if self.enlarge != "auto":
            return self.enlarge
        if reader != "ppocr":
            return 0  # it means nothing there
        known = before.get("ocr.enlarge") if before.get("ocr.reader") == reader else None
        return known if isinstance(known, int) else PPOCR_READINGS[self.reading].enlarge


class OcrDeclaration(BranchDeclaration):
    """Words."""

    name = NAME
    meaning = "words"
    colour = "#009E73"
    section = OcrConfig
    libraries = ("transformers",)
    weights_may_differ = True
    weighted = (NAME, "text")
    record_keys = (
        "ocr.reader",
        "ocr.languages",
        "ocr.reading",
        "ocr.enlarge",
        "ocr.split",
        "ocr.min_confidence",
        "ocr.encoder",
    )
    earlier: ClassVar[Mapping[str, Any]] = {
        "ocr.reader": "easyocr",
        "ocr.enlarge": 0,
        "ocr.split": True,
        "ocr.encoding": "embedded",
        "ocr.buckets": 2**15,
    }
    model_names: ClassVar[Mapping[str, int]] = {"ocr.encoder": 2}
    widths: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ocr.document": ("embedding_dim",),
        "ocr.embeddings": ("embedding_dim",),
    }
    items_title = "words"
    nothing_found = ("text", "read")
    axes = ("ocr.encoding",)
    quoted = True
    controls: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "ocr.mask": {"title": "title words masked", "names": "actors' names masked", "both": "title and names masked"}
    }

    def describe(self, config: Config) -> str:
        ocr = config.ocr
        reader = f"easyocr ({', '.join(ocr.languages)})" if ocr.reader == "easyocr" else "PP-OCR (rapidocr)"
        encoder, ngrams = f"embedded by {ocr.encoder}", "as character n-grams"
        how = {"ngrams": ngrams, "joined": f"{encoder} and {ngrams}"}.get(ocr.encoding, encoder)
        return f"words, read by {reader}, {how}"

    def control(self, config: Config) -> tuple[str, str] | None:
        mask = config.ocr.mask
        if mask == "none":
            return None
        words = {"title": "title", "names": "actors' names", "both": "title and actors' names"}[mask]
        return (
            f"ocr.mask={mask}",
            f"without the words of each poster's {words} (ocr.mask={mask}), and a new poster has no metadata",
        )

    def unpackable(self, config: Config) -> str | None:
        if config.ocr.encoding == "ngrams":
            return "a pack holds what the text encoder makes of the words, too. Use --set ocr.encoding=joined"
        if config.ocr.mask == "none":
            return None
        return "a pack holds all words that were read; whoever takes it masks them. Use --set ocr.mask=none"

    def imports(self, config: Config) -> tuple[str, ...]:
        readers = ("easyocr",) if config.ocr.settled().reader == "easyocr" else ("rapidocr", "onnxruntime")
        return readers if config.ocr.encoding == "ngrams" else (*readers, *self.libraries)

    def spared(self, config: Config) -> Mapping[str, Any] | None:
        return {"encoding": "ngrams"} if config.ocr.encoding == "joined" else None

    def sources(self, config: Config) -> Iterator[tuple[str, WeightSource]]:
        from mmposter.pretrained import catalogue

        if (reader := config.ocr.reader) != "easyocr":
            yield "reader", catalogue.ppocr()
        if reader != "ppocr":
            what = "reader" if reader == "easyocr" else "reader, with ocr.reader=easyocr"
            yield what, catalogue.easyocr(reading_files(config.ocr))
        if config.ocr.encoding != "ngrams":
            yield "text encoder", catalogue.text_encoder(config.ocr.encoder)

    def for_others(self, config: Config) -> Mapping[str, Any]:
        encoder = config.ocr.encoder
        if config.ocr.encoding != "ngrams" and (is_a_path(encoder) or folder_here(encoder) is not None):
            raise ValueError(
                f"the branch ocr stands behind a text encoder of your own, ocr.encoder={encoder}, which nobody else "
                "has.\nTrain a run behind a published one (--set ocr.encoder=sentence-transformers/all-MiniLM-L6-v2), "
                "or without it (--branches)"
            )
        return {"encoder": last_part(encoder)} if is_a_path(encoder) else {}

    def phrases(self, dataset: Dataset, config: Config) -> Mapping[str, Phrases] | None:
        from mmposter.features.extractors import phrases_to_mask

        return phrases_to_mask(dataset, config.ocr.mask)

    def extractors(self, config: Config, making: Making) -> BranchExtractors:
        from mmposter.errors import UserError
        from mmposter.features.extractors import (
            BranchExtractors,
            LinesExtractor,
            MaskedExtractor,
            OcrExtractor,
            PpocrExtractor,
            TextExtractor,
        )

        pins, device, offline = making.pins, making.device, making.offline
        ocr = config.ocr.settled()  # as every door does before; a direct call may not have
        make = OcrExtractor if ocr.reader == "easyocr" else PpocrExtractor
        reader = make(ocr, device=device, offline=offline, pinned=pins.fingerprints[NAME] if pins else None)
        encoder = (pins.weights("text"), pins.embedding_dim) if pins else None
        lines: LinesExtractor | MaskedExtractor = reader
        if ocr.mask != "none":
            if making.phrases is None:
                raise UserError(
                    f"ocr.mask={ocr.mask} needs the metadata of a prepared data set, and these posters come without; "
                    "use --set ocr.mask=none"
                )
            lines = MaskedExtractor(ocr, reader, making.phrases)
        steps = (reader,) if lines is reader else (reader, lines)
        if ocr.encoding == "ngrams":
            return BranchExtractors(self.name, steps, lines)
        text = TextExtractor(ocr, lines, device=device, offline=offline, pinned=encoder)
        return BranchExtractors(self.name, (*steps, text), text, also=(lines,) if ocr.encoding == "joined" else ())

    def sizes(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"embedding_dim": metadata.get("embedding_dim", 0)}

    def module(self, config: Config, sizes: Sizes) -> Branch:
        from fusion import TextBranch

        ocr = config.ocr
        return TextBranch(
            sizes.embedding_dim, dim=ocr.dim, dropout=ocr.dropout, encoding=ocr.encoding, buckets=ocr.buckets
        )

    def titles(self, titles: Sequence[str], config: Config) -> tuple[Features, float] | None:
        from mmposter.features.extractors.ngrams import ngram_table

        ocr = config.ocr
        if ocr.encoding not in ("ngrams", "joined") or ocr.titles == 0:
            return None
        return ngram_table(titles, ocr.buckets), ocr.titles

    def same_records(self, key: str, asked: Any, config: Config, pins: Pins) -> bool | None:
        from mmposter.files.paths import folder_here
        from mmposter.pretrained import catalogue, resolver

        if key in _NOT_LOOKED_AT.get(config.ocr.reader, ()):
            return True  # the reader does not look at it
        if key != "ocr.encoder" or (folder := folder_here(asked)) is None:
            return None
        files = [folder / name for name in catalogue.text_encoder(asked).files]
        return all(file.is_file() for file in files) and resolver.digest(files) == pins.weights("text")

    def parts(self, extractors: BranchExtractors, record: Record, config: Config, sizes: Sizes) -> Parts | None:
        from mmposter.explain.parts import Lines

        return Lines(extractors, record, config.ocr.min_confidence)


def reading_files(config: OcrConfig) -> tuple[str, ...]:
    """The names of the weight files that read the configured languages.

    Raises:
        UserError: a language that easyocr does not know, or several that none of its models joins.
    """
    from detectors import reader_files
    from mmposter.errors import UserError

    try:
        return reader_files(config.languages)
    except ValueError as error:
        raise UserError(
            f"ocr.{error}\nType for example: --set ocr.languages=de, or --set 'ocr.languages=[ja,en]'"
        ) from error


BRANCH = OcrDeclaration()
