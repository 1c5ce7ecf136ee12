"""The prepared folder: written by `mmposter prepare`, read by everything after it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from mmposter.data.opening import find_folder
from mmposter.data.splitting import NO_SPLIT, SPLITS
from mmposter.data.titles import TITLES, Titles, read_titles, write_titles
from mmposter.data.vocabulary import Vocabulary
from mmposter.document import TableBlock, render_fragment
from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path, write_json
from mmposter.files.hashes import keys_of, sha256_keys
from mmposter.files.strict_json import damaged, read_json, shown, sound
from mmposter.files.strict_parquet import read_parquet
from mmposter.files.strict_values import StrictValues, fitting
from mmposter.images.links import poster_place
from mmposter.images.reading import Crop
from mmposter.objects import is_object
from mmposter.shell import command_line
from mmposter.suggest import did_you_mean

MANIFEST, INFO, VOCABULARY, FEATURES = "manifest.parquet", "dataset.json", "vocabulary.json", "features"
KIND, SCHEMA = "mmposter-dataset", 1
_LISTS = ("genres", "raw_genres", "actors")
_ODD_PATH = r"\.\.|\\|\x00|^$"
"""What a path must have to lead out of a folder, or to be none."""
_BETWEEN = "\0"  # the genres of a list; in no name
_FEW = {"split", "source"}
"""Columns with few values, of which one object each is enough."""
_COMPACT = {kind: pd.ArrowDtype(kind) for kind in (pa.string(), pa.list_(pa.string()))}
"""Texts and lists stay as Arrow has them: an object for each takes five times as much memory."""
_OPTIONAL = {"phash": pa.uint64(), "crop": pa.list_(pa.int32()), "source": pa.string()}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Posters, their genres and their sides. Load one with `Dataset.load`; N posters, G genres.

    The table has one row a poster, sorted by id, with the columns id, path (relative to `root`), title, year, genres
    (names of the vocabulary), raw_genres (as the source has them), actors, split (train, val, test or none), group
    (smallest id of its film and its near-duplicates), sha256, width and height (pixels, upright), and phash (64-bit
    perceptual hash; not in data of earlier times). A missing title is None, a missing year `pandas.NA`. Where several
    sources were prepared together, there is a column source, the short name of each poster's own.

    Rows may also be crops of posters (see `mmposter.data.crops`): then there is a column crop (left, top, right, bottom
    in pixels of the upright poster, or None for the whole of it), ids are ``POSTER#k``, and several rows have one path.
    """

    folder: Path
    root: Path
    table: pd.DataFrame = field(repr=False)
    genre_vocabulary: Vocabulary | None = field(repr=False)
    info: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path, root: str | Path | None = None) -> Dataset:
        """Read a prepared folder, or a pack, which is made one first.

        Args:
            folder: the DATA of `mmposter prepare SOURCE --out DATA`, the file of a pack, or as a text ``benchmark``,
                the pack that travels with mmposter.
            root: where the posters lie now, if the source was moved; default: where they were.

        Raises:
            UserError: `folder` is no prepared folder and no pack, or its files do not belong together.
        """
        given, folder = folder, find_folder(folder)
        if root is not None and folder != Path(given):
            raise UserError(f"{given} is a pack, which has no pictures; leave out --root")
        info = read_info(folder)
        if info is None:
            making = command_line("mmposter", "prepare", "SOURCE", "--out", folder)
            raise UserError(
                f"{folder} is no prepared data folder (it has no {MANIFEST} with a {INFO} of mmposter).\n"
                f"Make one: {making}"
            )
        manifest = folder / MANIFEST
        data = _bytes(manifest)
        if hashlib.sha256(data).hexdigest() != info["manifest_sha256"]:
            raise UserError(
                f"{manifest} is not the manifest that {INFO} describes: it was changed, or preparing it was "
                f"interrupted; {_again(folder)}"
            )
        try:
            rows = read_manifest(data)
        except ValueError as error:
            raise damaged(manifest, error, _again(folder)) from error
        table = rows.to_pandas(types_mapper=_COMPACT.get)
        table["title"] = table["title"].astype(object).where(table["title"].notna(), None)
        table["year"] = table["year"].astype("Int32")
        for column in _FEW & set(table):
            table[column] = rows[column].to_pandas()
        if "crop" in table:
            table["crop"] = pd.Series(
                [None if box is None else [int(n) for n in box] for box in table["crop"]], dtype=object
            )
        vocabulary = None if info["vocabulary"] is None else read_vocabulary(folder)
        return cls(folder, Path(root if root is not None else info["root"]), table, vocabulary, info)

    def __len__(self) -> int:
        return len(self.table)

    def _repr_html_(self) -> str:
        """How a notebook shows it: rows by split, and of each genre."""
        sides = [side for side in (*SPLITS, NO_SPLIT) if (self.table["split"] == side).any()]
        what = "crops of posters" if self.crops is not None else "posters"
        rows = [_counts(what, self.table["split"], sides)]
        if self.genre_vocabulary is not None:
            # A poster has a genre once, so it is counted once.
            pairs = self.table[["genres", "split"]].explode("genres")
            rows += [_counts(g, pairs["split"][pairs["genres"] == g], sides) for g in self.genre_vocabulary.genres]
        blocks = [TableBlock("", ["", "all", *sides], rows, emphasis={(0, None): "strong"})]
        facts = {"folder": str(self.folder)}
        facts["pictures"] = str(self.root) if self.has_pictures else "none: features alone"
        facts["vocabulary"] = "none" if self.genre_vocabulary is None else self.genre_vocabulary.name
        return render_fragment(f"Dataset {self.folder.name}: {len(self)} {what}", blocks, facts=facts)

    @property
    def features_folder(self) -> Path:
        """Where the features of the posters are kept: beside the manifest, or with the data these were made from.

        Raises:
            UserError: dataset.json names a folder that lies beside no prepared data; nothing is written there.
        """
        if "features" not in self.info:
            return self.folder / FEATURES
        elsewhere = Path(self.info["features"])
        if elsewhere.name != FEATURES or read_info(elsewhere.parent) is None:
            raise UserError(
                f"{self.folder / INFO} says that the features are in {elsewhere}, which is no folder {FEATURES} of "
                f"prepared data.\nMake {self.folder} again with the command that made it, beside the data as they are "
                "now"
            )
        return elsewhere

    @property
    def has_pictures(self) -> bool:
        """Whether there are posters to look at; a pack has their features alone."""
        return bool(self.info.get("pictures", True))

    @property
    def pack(self) -> str | None:
        """The name of the pack that these data are, whose features are rounded; None for any other data."""
        name = self.info.get("pack", {}).get("name")
        return None if name is None else str(name)

    def require_pictures(self, what: str) -> None:
        """Refuse data without posters for something that looks at them.

        Args:
            what: that needs them, for the message.

        Raises:
            UserError: there are none.
        """
        if not self.has_pictures:
            raise UserError(
                f"{what} looks at the posters themselves, and {self.folder.name} is a pack: features without pictures."
                "\nGive it a folder of posters: mmposter prepare SOURCE --out DATA"
            )

    @property
    def has_labels(self) -> bool:
        """Whether the source had genres."""
        return self.genre_vocabulary is not None

    @property
    def vocabulary(self) -> Vocabulary:
        """Genres and their order.

        Raises:
            UserError: the data were prepared from a folder without labels.
        """
        if self.genre_vocabulary is None:
            raise UserError(
                f"{self.folder} has no genres: it was prepared from pictures alone.\n"
                "It can be used to extract and to predict. To train or evaluate, prepare a table with genres: "
                "mmposter prepare posters.csv --out DATA --format csv"
            )
        return self.genre_vocabulary

    @property
    def crops(self) -> list[Crop | None] | None:
        """The part of its poster that each row shows, None for the whole of it; no list where no row is a crop."""
        if "crop" not in self.table or not self.table["crop"].notna().any():
            return None
        return [None if box is None else (box[0], box[1], box[2], box[3]) for box in self.table["crop"]]

    @property
    def sources(self) -> list[str] | None:
        """The name of each row's source; None where all posters are of one."""
        return list(self.table["source"]) if "source" in self.table else None

    def labels(self) -> NDArray[np.float32]:
        """Multi-hot matrix N x G, one row a row of `table`.

        Raises:
            UserError: the data have no labels.
        """
        # A million posters have some thousand different lists of genres: each of these is looked up once.
        lists = pa.array(self.table["genres"], pa.list_(pa.string()))
        texts = pc.binary_join(lists, _BETWEEN).dictionary_encode()
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        kinds = self.vocabulary.encode_all(
            [text.split(_BETWEEN) if text else [] for text in texts.dictionary.to_pylist()]
        )
        labels: NDArray[np.float32] = kinds[texts.indices.to_numpy(zero_copy_only=False)]
        return labels

    @cached_property
    def split_codes(self) -> NDArray[np.int8]:
        """The split of each poster as a number, in the alphabetical order of the names that there are: N."""
        names, indices = self._splits()
        codes: NDArray[np.int8] = np.argsort(np.argsort(names)).astype(np.int8)[indices]
        return codes

    def split_names(self) -> NDArray[np.object_]:
        """The split of each poster: N, of each name one object."""
        names, indices = self._splits()
        found: NDArray[np.object_] = np.array(names, object)[indices]
        return found

    def _splits(self) -> tuple[list[str], NDArray[np.int32]]:
        """The names of splits that there are, and of each poster the number of its own."""
        coded = pa.array(self.table["split"], pa.string()).dictionary_encode()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)

    @property
    def hashes(self) -> NDArray[np.bytes_]:
        """SHA-256 of each poster's file, 64 hex digits as bytes: N; made anew each time."""
        return keys_of(pa.array(self.table["sha256"], pa.string()))

    @cached_property
    def pictures_digest(self) -> str:
        """SHA-256 over the posters' hashes in their order: the same pictures, row by row."""
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    @cached_property
    def titles(self) -> Titles | None:
        """Films without a poster that teach the words, see `mmposter.data.titles`; None where there are none.

        Raises:
            UserError: they are damaged, or not those that dataset.json describes.
        """
        said = self.info.get("titles")
        if said is None:
            return None
        file = self.folder / TITLES
        data = _bytes(file)
        with sound(file, _again(self.folder)):
            if hashlib.sha256(data).hexdigest() != said["sha256"]:
                raise ValueError(f"it is not the file that {INFO} describes")
            return read_titles(data)

    def split(self, name: str) -> Dataset:
        """The posters of one side as a data set of their own: ``train``, ``val``, ``test``; ``all`` gives every poster.

        Raises:
            UserError: another name.
        """
        if name == "all":
            return self
        if name not in SPLITS:
            meant = did_you_mean(name, (*SPLITS, "all"))
            raise UserError(f"split must be one of {', '.join(SPLITS)} or all, got {name!r}{meant}.")
        return replace(self, table=self.table[self.table["split"] == name].reset_index(drop=True))

    def with_vocabulary(self, vocabulary: Vocabulary) -> tuple[Dataset, list[str]]:
        """The same posters under another vocabulary, led anew from their raw genres; split and groups stay.

        Returns:
            The data set without the posters that have no genre of `vocabulary`, and the ids of those posters.

        Raises:
            UserError: the data have no labels.
        """
        _ = self.vocabulary  # refuses data without labels
        mapped = [vocabulary.map(raw)[0] for raw in self.table["raw_genres"]]
        has_genre = [bool(genres) for genres in mapped]
        table = self.table.copy()
        table["genres"] = mapped
        without = [row_id for row_id, kept in zip(table["id"], has_genre, strict=True) if not kept]
        return replace(self, table=table[has_genre].reset_index(drop=True), genre_vocabulary=vocabulary), without

    def image_path(self, row: int | Mapping[str, Any] | pd.Series[Any]) -> Path | str:
        """Where the poster of a row lies; all crops of a poster lie in one file. A text is a link into an object store.

        Args:
            row: position in `table`, or the row itself (anything with ``row["path"]``).

        Raises:
            UserError: the folder of the posters is not there, or there are none.
        """
        self.require_pictures("this")
        path = str(self.table["path"].iloc[row] if isinstance(row, int) else row["path"])
        if not is_object(path) and not self.root.is_dir():
            raise UserError(
                f"the posters of {self.folder} were in {self.root}, which is not there.\n"
                "Say where they are now: --root FOLDER"
            )
        return poster_place(path, self.root)  # an absolute path (csv with images elsewhere) stays as it is


def write_dataset(
    folder: Path,
    table: pd.DataFrame,
    vocabulary: Vocabulary | None,
    info: Mapping[str, Any],
    titles: Titles | None = None,
) -> None:
    """Write what `Dataset.load` reads.

    Args:
        table: the columns of `Dataset.table`, with or without crop; sorted by id here.
        vocabulary: None for posters without labels.
        info: further keys of dataset.json; must hold ``root``.
        titles: films without a poster; None: there are none.
    """
    write_titles(folder, titles)
    with atomic_path(folder / MANIFEST) as temporary:
        pq.write_table(manifest_table(table), temporary, compression="zstd")
    if vocabulary is not None:
        write_json(folder / VOCABULARY, vocabulary.to_json())
    else:
        (folder / VOCABULARY).unlink(missing_ok=True)
    # Last, with the manifest's checksum: a folder that was left half written is refused at load.
    facts = {
        "kind": KIND,
        "schema": SCHEMA,
        **info,
        "vocabulary": None if vocabulary is None else vocabulary.name,
        "manifest_sha256": hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
    }
    if titles is not None:
        digest = hashlib.sha256((folder / TITLES).read_bytes()).hexdigest()
        facts["titles"] = {"films": len(titles), "sha256": digest}
    write_json(folder / INFO, facts)


def manifest_table(table: pd.DataFrame) -> pa.Table:
    """The manifest with its fixed column types, sorted by id; equal rows give equal bytes on disk."""
    schema = _schema([name for name in _OPTIONAL if name in table])  # no crop in a data set of whole posters
    ordered = table.sort_values("id", kind="stable")
    return pa.Table.from_pandas(ordered, schema, preserve_index=False).replace_schema_metadata(None)


def read_manifest(source: bytes) -> pa.Table:
    """The rows of a manifest, from its bytes.

    Raises:
        ValueError: it is no Parquet or unpacks to too much, lacks a column, or has a row that cannot be a poster: no
            id, split, group or hash, an id that is there twice, or a path that leads out of the posters' folder.
    """
    table = read_parquet(source, _schema(_OPTIONAL), optional=_OPTIONAL)
    for column in ("id", "path", "genres", "raw_genres", "actors", "split", "group", "sha256", "width", "height"):
        if table[column].null_count:
            raise ValueError(f"a poster has no {column}")
    ids = table["id"]
    if pc.count_distinct(ids).as_py() != len(ids):
        raise ValueError("an id is there twice")
    if odd := set(table["split"].unique().to_pylist()) - {*SPLITS, NO_SPLIT}:
        raise ValueError(f"a split is one of {', '.join((*SPLITS, NO_SPLIT))}, got {shown(sorted(odd)[0])}")
    sha256_keys(table["sha256"])
    for column in _LISTS:
        if pc.list_flatten(table[column]).null_count:
            raise ValueError(f"one of the {column} is missing")
    for path in table["path"].filter(pc.match_substring_regex(table["path"], _ODD_PATH)).to_pylist():
        require_below(path)
    if (unknown := table["phash"].null_count) == len(table):
        table = table.drop(["phash"])
    elif unknown:
        raise ValueError("a poster has no phash")
    if (unknown := table["source"].null_count) == len(table):
        table = table.drop(["source"])
    elif unknown:
        raise ValueError("a poster has no source")
    if table["crop"].null_count == len(table):
        return table.drop(["crop"])
    boxes = table["crop"].drop_null()
    if pc.any(pc.not_equal(pc.list_value_length(boxes), 4)).as_py() or pc.list_flatten(boxes).null_count:
        raise ValueError("a crop is left, top, right and bottom")
    return table


def require_below(path: str) -> None:
    """Refuse the path of a poster that leads out of the folder of posters.

    An absolute path is what it says: a table may have its pictures elsewhere.

    Raises:
        ValueError: it climbs out, is empty, or holds a zero byte.
    """
    inside = os.path.normpath(path.replace("\\", "/"))
    if not path or "\0" in path or inside == ".." or inside.startswith("../"):
        raise ValueError(f"the path {shown(path)} leads out of the folder of the posters")


def _schema(optional: Collection[str]) -> pa.Schema:
    """The columns of a manifest, with these of the optional ones."""
    words, names, pixels = pa.string(), pa.list_(pa.string()), pa.int32()
    types = {"id": words, "path": words, "title": words, "year": pixels, "genres": names, "raw_genres": names}
    types |= {"actors": names, "split": words, "group": words, "sha256": words, "width": pixels, "height": pixels}
    return pa.schema({**types, **{name: _OPTIONAL[name] for name in optional}})


def read_info(folder: Path) -> dict[str, Any] | None:
    """dataset.json of a prepared folder, or None where `folder` is none.

    Raises:
        UserError: it was written by another version of the format.
    """
    if not (folder / INFO).is_file() or not (folder / MANIFEST).is_file():
        return None
    info = read_json(folder / INFO, mend=_again(folder))
    if not isinstance(info, dict) or info.get("kind") != KIND:
        return None
    if info.get("schema") != SCHEMA:
        raise UserError(
            f"{folder / INFO} has schema {info.get('schema')!r}; this version of mmposter reads {SCHEMA}; "
            f"{_again(folder)}"
        )
    with sound(folder / INFO, _again(folder)):
        fitting(_Info, info)
    return info


class _Info(StrictValues):
    """The keys of dataset.json that something is made of."""

    root: str
    manifest_sha256: str
    vocabulary: str | None
    features: str = ""
    pictures: bool = True
    options: dict[str, Any] = Field(default_factory=dict)
    derived_from: dict[str, Any] = Field(default_factory=dict)
    pack: dict[str, Any] = Field(default_factory=dict)
    titles: dict[str, Any] | None = None
    pins: dict[str, Any] = Field(default_factory=dict)


def read_vocabulary(folder: Path) -> Vocabulary:
    """vocabulary.json of a prepared folder (UserError: it is not there or cannot be read)."""
    return Vocabulary.from_json(read_json(folder / VOCABULARY, mend=_again(folder)), where=str(folder / VOCABULARY))


def _counts(name: str, splits: pd.Series[Any], sides: Sequence[str]) -> list[str]:
    """A row for people: a name, how many there are, and on each side."""
    return [name, str(len(splits)), *(str(int((splits == side).sum())) for side in sides)]


def _again(folder: Path) -> str:
    """What to do about prepared data that are damaged."""
    return f"prepare the data again: {command_line('mmposter', 'prepare', 'SOURCE', '--out', folder, '--overwrite')}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); {_again(path.parent)}") from error


def relative_path(path: str, root: Path) -> str:
    """`path` below `root` with forward slashes, or unchanged where it lies elsewhere, as in an object store."""
    if is_object(path):
        return path
    pure = PurePath(path)
    return pure.relative_to(root).as_posix() if pure.is_relative_to(root) else pure.as_posix()
