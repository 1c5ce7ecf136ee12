"""Format `parquet`: shards that hold the pictures themselves, as data sets lie on Hugging Face.

https://huggingface.co/docs/datasets/image_dataset

An ``Image`` column is a struct of the file's bytes and its former path. Genres are names, or numbers whose names (those
of a ``ClassLabel``) stand in the schema under the key ``huggingface``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mmposter.data.sources.base import SAFE_ID, PosterRow, SourceRows, register_source, year_of
from mmposter.data.sources.cells import cell_names
from mmposter.data.sources.imagefolder import GENRES, METADATA, SPLIT_NAMES, text_of
from mmposter.errors import UserError
from mmposter.files.strict_json import parse_json
from mmposter.visible import visible

if TYPE_CHECKING:
    import pyarrow as pa

PICTURES = ("image", "poster", "picture", "img")
_OTHERS = ("id", "title", "year", "split", "actors")
_MOST_NESTED = 4
_SIDE = re.compile(r"([A-Za-z]+)(?![A-Za-z])")


def looks_like_parquet(source: Path) -> str:
    """A Parquet file, or a folder with some in it or in its folder `data`."""
    if source.is_file():
        return "its ending" if source.suffix == ".parquet" else ""
    shards = (path for folder in (source, source / "data") for path in sorted(folder.glob("*.parquet")))
    first = next((path for path in shards if path.name not in METADATA), None)
    return "" if first is None else f"the file {first.relative_to(source).as_posix()}"


@register_source("parquet", looks_like_parquet)
def read_shards(source: Path) -> SourceRows:
    """Parquet shards of Hugging Face that hold the pictures: a file, or a folder of them; columns image and genres.

    The pictures are written into the folder of ``--posters``, as ``<id>.jpg`` whatever they are. The genres' column is
    the first that is there of genres, genre, labels, label: a list, text, or the numbers of a ClassLabel. The columns
    id, title, year, split and actors are read if they are there. Without an id it is the name of the picture's file,
    where these are all different, or the shard's name and the row's number. A shard called ``train-...``,
    ``validation-...`` or ``test-...``, or in a folder so called, gives the split, unless a column does.

    Raises:
        UserError: no shard, one that is damaged or unpacks to too much, or has no pictures or genres.
    """
    root = source.resolve() if source.is_dir() else source.resolve().parent
    shards = _shards(source)
    if not shards:
        raise UserError(f"there is no Parquet file in {source}.\nGive a shard (.parquet) or the folder of the shards.")
    found = SourceRows(root=root)
    names: list[tuple[str | None, str]] = []  # the file's name, and the shard's name with the row's number
    for shard in shards:
        for row, name, place in _rows(shard, root):
            found.rows.append(row)
            names.append((name, place))
    stems = Counter(name for name, _ in names)
    told = all(name is not None and stems[name] == 1 and SAFE_ID.fullmatch(name) for name, _ in names)
    for index, (name, place) in enumerate(names):
        row = found.rows[index]
        row_id = row.id or (name if told and name is not None else place)
        problem = row.problem or (None if SAFE_ID.fullmatch(row_id) else f"the id {row_id!r} cannot be a file's name")
        found.rows[index] = replace(row, id=row_id, problem=problem)
    found.unpack = partial(_unpack, shards, [row.id if row.problem is None else "" for row in found.rows])
    return found


def _shards(source: Path) -> list[Path]:
    if source.is_file():
        return [source.resolve()]
    root = source.resolve()
    paths = sorted(path for path in root.rglob("*.parquet") if path.is_file() and path.name not in METADATA)
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]


def _rows(shard: Path, root: Path) -> Iterator[tuple[PosterRow, str | None, str]]:
    """Each row without its picture, the name of the picture's file, and the row's place."""
    schema = _schema(shard)
    picture, genres = _column(shard, schema, PICTURES, "pictures"), _column(shard, schema, GENRES, "genres")
    classes = _class_names(shard, schema, genres)
    by_name = {name.casefold(): name for name in schema.names}
    wanted = {name: by_name[name] for name in _OTHERS if name in by_name}
    paths = [f"{picture}.path"] if _has_path(schema, picture) else []
    where = shard.relative_to(root).with_suffix("").as_posix().replace("/", "-")
    side = _side(shard, root)
    number = 0
    for batch in _batches(shard, [genres, *wanted.values(), *paths], 1024):
        for record in batch.to_pylist():
            number += 1
            cells = {name: record.get(column) for name, column in wanted.items()}
            labels, problem = _genres(record.get(genres), classes, f"{shard.name} row {number}")
            row = PosterRow(
                id=text_of(cells.get("id")) or "",
                path=None,
                title=text_of(cells.get("title")),
                year=year_of(cells.get("year")),
                genres=labels,
                actors=cell_names(cells.get("actors")),
                split=text_of(cells.get("split")) or side,
                problem=problem,
                absence=f"{shard.name} row {number} holds no picture",
            )
            path = text_of((record.get(picture) or {}).get("path")) if paths else None
            yield row, PurePosixPath(path.replace("\\", "/")).stem if path else None, f"{where}-{number:06d}"


def _unpack(shards: Sequence[Path], ids: Sequence[str], folder: Path) -> None:
    """Write the pictures of all rows with an id, the first of each; a file that is there with its content stays."""
    from mmposter.files.atomic import atomic_path
    from mmposter.images.reading import MAX_FILE_BYTES  # with numpy and Pillow, which no help should wait for

    names = iter(ids)
    done = {""}
    for shard in shards:
        column = _column(shard, _schema(shard), PICTURES, "pictures")
        for batch in _batches(shard, [column], 16):
            for cell in batch[column].to_pylist():
                name = next(names)
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                if not data or name in done or len(data) > MAX_FILE_BYTES:
                    continue
                done.add(name)
                target = folder / f"{name}.jpg"
                if not (target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data):
                    with atomic_path(target) as temporary:
                        temporary.write_bytes(data)


def _genres(value: Any, classes: Sequence[str], place: str) -> tuple[tuple[str, ...], str | None]:
    """The genres of a cell, or why there are none; -1 is Hugging Face's word for a label that is not told."""
    if not classes:
        return cell_names(value), None
    numbers = [number for number in (value if isinstance(value, list) else [value]) if number not in (None, -1)]
    odd = [number for number in numbers if not (isinstance(number, int) and 0 <= number < len(classes))]
    if odd:
        return (), f"{place} has the label {odd[0]!r}; there are {len(classes)}, from 0"
    return tuple(dict.fromkeys(classes[number] for number in numbers)), None


def _class_names(shard: Path, schema: pa.Schema, column: str) -> Sequence[str]:
    """The names of a column's numbers; () where it holds names itself.

    Raises:
        UserError: numbers without names.
    """
    import pyarrow as pa

    kind = schema.field(column).type
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if not pa.types.is_integer(kind):
        return ()
    said = (schema.metadata or {}).get(b"huggingface", b"{}")
    feature: Any = parse_json(said, f"{shard.name}: huggingface", mend="mend the schema's metadata")
    for key in ("info", "features", column):
        feature = feature.get(key) if isinstance(feature, dict) else None
    for _ in range(_MOST_NESTED):
        if isinstance(feature, list) and feature:
            feature = feature[0]
        elif isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"the column {column} of {shard} holds numbers, and nothing says which genres they are.\n"
            "Needed are names, or a ClassLabel, as the library datasets writes it."
        )
    return names


def _column(shard: Path, schema: pa.Schema, known: Sequence[str], what: str) -> str:
    names: dict[str, str] = {name.casefold(): name for name in reversed(schema.names)}
    for name in known:
        if name in names and (what != "pictures" or _is_picture(schema.field(names[name]).type)):
            return names[name]
    columns = ", ".join(visible(f"{field.name} ({field.type})")[:80] for field in list(schema)[:20])
    raise UserError(
        f"{shard} has no column of {what} ({', '.join(known)}); its columns: {columns or 'none'}.\n"
        "Pictures are bytes, or a struct of bytes and path as the library datasets writes them. For a table that names "
        "files: --format csv or imagefolder."
    )


def _is_picture(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_picture(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_path(schema: pa.Schema, picture: str) -> bool:
    import pyarrow as pa

    kind = schema.field(picture).type
    return bool(pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def _side(shard: Path, root: Path) -> str | None:
    for part in (shard.name, *reversed(shard.relative_to(root).parts[:-1])):
        if (found := _SIDE.match(part)) and found[1].casefold() in SPLIT_NAMES:
            return found[1]
    return None


def _schema(shard: Path) -> pa.Schema:
    from mmposter.files.strict_parquet import parquet_schema

    try:
        return parquet_schema(shard)
    except (OSError, ValueError) as error:
        raise _unreadable(shard, error) from error


def _batches(shard: Path, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    from mmposter.files.strict_parquet import parquet_batches  # with pyarrow, which no help should wait for

    try:
        yield from parquet_batches(shard, columns, rows)
    except (OSError, ValueError) as error:
        raise _unreadable(shard, error) from error


def _unreadable(shard: Path, error: Exception) -> UserError:
    return UserError(f"{shard} cannot be read as Parquet ({visible(str(error))}).\nMend it or take it away.")
