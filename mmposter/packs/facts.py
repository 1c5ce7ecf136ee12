"""What ``pack.json`` says, checked before anything else of a pack is read.

Whoever gives a pack away chooses every name and size in it. Names become names of folders, and sizes memory, so the
first may hold no sign that leads elsewhere, and the second are added up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from mmposter.errors import UserError
from mmposter.files.strict_json import shown
from mmposter.files.strict_values import StrictValues, few

FREE, RATIO = 32 * 2**20, 100
"""A pack may unpack to `FREE` bytes and `RATIO` times its own size; the benchmark takes 25 times."""

_PACK_NAME = re.compile(r"\w[\w.-]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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


def _check_part(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("an extractor or a field has letters, digits, dashes and underscores, 64 at most")
    return name


def _check_failed(failed: dict[str, Any]) -> dict[str, Any]:
    for sha, reason in failed.items():
        if not _SHA256.fullmatch(sha) or not isinstance(reason, str):
            raise ValueError(f"{shown(sha)} is no SHA-256, or has no reason")
    return failed


# The types that arrays may have; nothing that holds objects.
_Type: TypeAlias = Literal["|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8"]
_Shape = Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(min_length=1, max_length=4), BeforeValidator(few)]
_Planes = Annotated[int, Field(ge=1, le=4)]  # bytes of a rounded number
_Numbers = Annotated[list[float], BeforeValidator(few)]
_Part = Annotated[str, AfterValidator(_check_part)]  # the name of an extractor or a field: of a folder, or a member


class _Header(StrictValues):
    """An array of n rows and k columns, and how it is kept (see `mmposter.packs.codec`)."""

    shape: _Shape  # n x ...
    dtype: _Type

    @property
    def rows(self) -> int:
        """n."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """k, the numbers in a row."""
        return math.prod(self.shape[1:])

    @property
    def bytes(self) -> int:
        """Of the array."""
        return self.rows * self.width * np.dtype(self.dtype).itemsize


class Exact(_Header):
    """Every number as it is."""

    code: Literal["exact"]
    stored: _Type  # the type that the bytes have

    @property
    def packed(self) -> int:
        """Bytes from which the array is made, behind the entropy coder."""
        return self.rows * self.width * np.dtype(self.stored).itemsize


class Scalar(_Header):
    """Each column rounded by itself."""

    code: Literal["scalar"]
    low: _Numbers  # k, what the columns begin at
    step: _Numbers  # k, of the rounding
    planes: _Planes

    @property
    def packed(self) -> int:
        """As of `Exact`."""
        return self.planes * self.rows * self.width

    @model_validator(mode="after")
    def _of_all_columns(self) -> Scalar:
        if not len(self.low) == len(self.step) == self.width:
            raise ValueError(f"low and step must have {self.width} numbers")
        return self


class Transform(_Header):
    """Principal components of the columns, rounded with one step."""

    code: Literal["transform"]
    columns: int  # k
    step: Annotated[float, Field(gt=0)]
    planes: Annotated[list[_Planes], Field(min_length=2, max_length=2), BeforeValidator(few)]  # of scores and vectors
    components: Annotated[int, Field(ge=0)]  # k at most
    unit: bool  # rows have length 1

    @property
    def packed(self) -> int:
        """As of `Exact`."""
        scores, vectors = self.planes
        fixed = 8 * self.columns + (self.columns + 7) // 8
        return fixed + self.components * (4 + vectors * self.columns + scores * self.rows)

    @model_validator(mode="after")
    def _of_its_shape(self) -> Transform:
        if self.columns != self.width or self.components > self.width:
            raise ValueError(f"it has {self.columns} columns, {self.components} components and {self.width} in a row")
        return self


Header: TypeAlias = Exact | Scalar | Transform
_Told = Annotated[Header, Field(discriminator="code")]
HEADER: TypeAdapter[Header] = TypeAdapter(_Told)


class FieldFacts(StrictValues):
    """One field of the records."""

    counts: _Told | None = None  # of the numbers of rows that each poster has; None where each has one
    values: _Told | None = None  # of the rows; None where they are those of another field
    same_as: str | None = None  # the path of that field, ``extractor/field``

    @model_validator(mode="after")
    def _one_of_both(self) -> FieldFacts:
        if (self.values is None) == (self.same_as is None):
            raise ValueError("a field has values, or names the field that it is the same as")
        return self


class ExtractorFacts(StrictValues):
    """The records of one extractor."""

    fingerprint: dict[str, Any]  # see `mmposter.features.store`
    metadata: dict[str, Any]  # what is said beside the records
    failed: Annotated[dict[str, Any], AfterValidator(_check_failed)]  # why posters have none, by the picture's hash
    fields: Annotated[dict[_Part, FieldFacts], BeforeValidator(few)]


class DatasetFacts(StrictValues):
    """Keys of dataset.json."""

    vocabulary: str
    options: dict[str, Any] = Field(default_factory=dict)
    counts: Any = None


class Facts(StrictValues):
    """What a pack is, and what is in it.

    Raises:
        UserError: the name of the pack is none.
    """

    name: Annotated[str, AfterValidator(check_name)]
    posters: Annotated[int, Field(ge=0)]  # rows of its manifest
    note: str  # on its use
    dataset: DatasetFacts
    pins: dict[str, Any]  # see `mmposter.features.pins`
    extractors: Annotated[dict[_Part, ExtractorFacts], BeforeValidator(few)]

    def fields(self) -> Iterator[tuple[str, FieldFacts]]:
        """Those of all extractors, by their path ``extractor/field``."""
        for name, extractor in self.extractors.items():
            for field, facts in extractor.fields.items():
                yield f"{name}/{field}", facts

    def headers(self) -> dict[str, Header]:
        """Of all arrays, by their path in the pack."""
        found: dict[str, Header] = {}
        for path, field in self.fields():
            if field.counts is not None:
                found[f"{path}.counts"] = field.counts
            if field.values is not None:
                found[path] = field.values
        return found

    def require_size(self, pack: int) -> None:
        """Refuse a pack of so many bytes that unpacks to more than such a pack may have (ValueError: it does)."""
        size, limit = sum(header.bytes + header.packed for header in self.headers().values()), FREE + RATIO * pack
        if size > limit:
            mib = 2**20
            raise ValueError(f"it unpacks to {size // mib:,} MiB; a pack of its size may have {limit // mib:,} MiB")

    def require_rows(self, hashes: Collection[str], posters: int) -> None:
        """Refuse records of other posters than the rows of the manifest, whose pictures have these hashes.

        Raises:
            ValueError: their numbers differ, or there is a failure of another picture.
        """
        if posters != self.posters:
            raise ValueError(f"it is said to have {self.posters:,} posters, and its manifest has {posters:,}")
        for extractor in self.extractors.values():
            if not extractor.failed.keys() <= set(hashes):
                raise ValueError("a picture failed that is not in the manifest")
        headers = self.headers()
        for path, field in self.fields():
            good = len(hashes) - len(self.extractors[path.partition("/")[0]].failed)
            values = headers.get(field.same_as or path)
            if values is None or (field.same_as or "").endswith(".counts"):
                raise ValueError(f"{path} is the same as {shown(field.same_as)}, which is not there")
            if field.counts is None:
                if values.rows != good:
                    raise ValueError(f"{path} has {values.rows:,} rows of {good:,} posters")
            elif field.counts.shape != [good] or np.dtype(field.counts.dtype).kind not in "iu":
                raise ValueError(f"{path} has counts of other posters than the {good:,} of the manifest")
