"""What ``pack.json`` says, checked before anything else of a pack is read.

Whoever gives a pack away chooses every name and size in it. Names become names of folders, and sizes memory, so the
first may hold no sign that leads elsewhere, and the second are added up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmposter.errors import UserError
from mmposter.files.strict_json import mapping, shown, text, whole
from mmposter.packs.header import Header

FREE, RATIO = 32 * 2**20, 100
"""A pack may unpack to `FREE` bytes and `RATIO` times its own size; the benchmark takes 25 times."""

_PACK_NAME = re.compile(r"\w[\w.-]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Field:
    """One field of the records."""

    path: str  # `extractor/field`, by which the arrays of a pack are called
    counts: Header | None  # of the numbers of rows that each poster has; None where each has one
    values: Header | None  # of the rows; None where they are those of another field
    same_as: str | None  # the path of that field


@dataclass(frozen=True)
class PackedExtractor:
    """The records of one extractor."""

    fingerprint: Mapping[str, Any]  # see `mmposter.features.store`
    metadata: Mapping[str, Any]  # what is said beside the records
    failed: Mapping[str, str]  # why posters have none, by the hash of the picture
    fields: Mapping[str, Field]  # by name


@dataclass(frozen=True)
class Facts:
    """What a pack is, and what is in it."""

    name: str  # of the pack
    posters: int  # how many rows its manifest has
    note: str  # on its use
    dataset: Mapping[str, Any]  # the keys `vocabulary`, `options` and `counts` of dataset.json
    pins: Mapping[str, Any]  # see `mmposter.features.pins`
    extractors: Mapping[str, PackedExtractor]  # by name

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Facts:
        """Read the JSON.

        Raises:
            UserError: the name of the pack is none.
            ValueError: another value is none, or a name would lead out of the folder that it is meant for.
        """
        name = check_name(text(said.get("name"), "name"))
        dataset = mapping(said.get("dataset"), "dataset")
        vocabulary = text(dataset.get("vocabulary"), "dataset.vocabulary")
        options, counts = mapping(dataset.get("options", {}), "dataset.options"), dataset.get("counts")
        return cls(
            name,
            whole(said.get("posters"), "posters"),
            text(said.get("note"), "note"),
            {"vocabulary": vocabulary, "options": dict(options), "counts": counts},
            mapping(said.get("pins"), "pins"),
            {known: _extractor(known, value) for known, value in mapping(said.get("extractors"), "extractors").items()},
        )

    def fields(self) -> Iterator[Field]:
        """Those of all extractors."""
        for extractor in self.extractors.values():
            yield from extractor.fields.values()

    def headers(self) -> dict[str, Header]:
        """Of all arrays, by their path in the pack."""
        found: dict[str, Header] = {}
        for field in self.fields():
            if field.counts is not None:
                found[f"{field.path}.counts"] = field.counts
            if field.values is not None:
                found[field.path] = field.values
        return found

    def require_size(self, pack: int) -> None:
        """Refuse a pack of so many bytes that unpacks to more than such a pack may have.

        Raises:
            ValueError: it does.
        """
        size, limit = sum(header.bytes + header.packed for header in self.headers().values()), FREE + RATIO * pack
        if size > limit:
            mib = 2**20
            raise ValueError(f"it unpacks to {size // mib:,} MiB; a pack of its size may have {limit // mib:,} MiB")

    def require_rows(self, hashes: Mapping[str, Any] | frozenset[str], posters: int) -> None:
        """Refuse records of other posters than those of the manifest.

        Args:
            hashes: of the pictures in the manifest.

        Raises:
            ValueError: their numbers differ, or there is a failure of another picture.
        """
        if posters != self.posters:
            raise ValueError(f"it is said to have {self.posters:,} posters, and its manifest has {posters:,}")
        for extractor in self.extractors.values():
            if not extractor.failed.keys() <= set(hashes):
                raise ValueError("a picture failed that is not in the manifest")
            good = len(hashes) - len(extractor.failed)
            for field in extractor.fields.values():
                self._require_rows(field, good)

    def _require_rows(self, field: Field, good: int) -> None:
        values = field.values
        if field.same_as is not None:
            values = self.headers().get(field.same_as)
            if values is None or field.same_as.endswith(".counts"):
                raise ValueError(f"{field.path} is the same as {shown(field.same_as)}, which is not there")
        assert values is not None  # one of both is there
        if field.counts is None:
            if values.rows != good:
                raise ValueError(f"{field.path} has {values.rows:,} rows of {good:,} posters")
        elif field.counts.shape != (good,) or field.counts.dtype.kind not in "iu":
            raise ValueError(f"{field.path} has counts of other posters than the {good:,} of the manifest")


def check_name(name: str) -> str:
    """The name of a pack, which becomes part of a folder's.

    Raises:
        UserError: other signs than letters, digits, dot, dash and underscore, or more than 100.
    """
    if not _PACK_NAME.fullmatch(name):
        raise UserError(
            f"the name of a pack has letters, digits, dots, dashes and underscores, 100 at most; got {shown(name)}"
        )
    return name


def check_part(name: str) -> str:
    """The name of an extractor or a field, which becomes part of a folder's or of a member's.

    Raises:
        ValueError: other signs than letters, digits, dash and underscore, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"an extractor or a field has letters, digits, dashes and underscores; got {shown(name)}")
    return name


def _extractor(name: str, said: Any) -> PackedExtractor:
    check_part(name)
    said = mapping(said, name)
    failed = mapping(said.get("failed"), f"{name}.failed")
    for sha, reason in failed.items():
        if not _SHA256.fullmatch(sha):
            raise ValueError(f"{name}.failed has the picture {shown(sha)}, which is no SHA-256")
        text(reason, f"{name}.failed")
    fields = mapping(said.get("fields"), f"{name}.fields")
    return PackedExtractor(
        mapping(said.get("fingerprint"), f"{name}.fingerprint"),
        mapping(said.get("metadata"), f"{name}.metadata"),
        failed,
        {field: _field(f"{name}/{check_part(field)}", header) for field, header in fields.items()},
    )


def _field(path: str, said: Any) -> Field:
    said = mapping(said, path)
    counts = said.get("counts")
    same_as = None if "values" in said else text(said.get("same_as"), f"{path}: same_as")
    return Field(
        path,
        None if counts is None else Header.of(counts),
        Header.of(said["values"]) if "values" in said else None,
        same_as,
    )
