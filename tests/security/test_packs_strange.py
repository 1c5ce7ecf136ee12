"""Packs from strangers: one opens as what it says, inside the cache and in little memory, or is refused in words."""

from __future__ import annotations

import copy
import io
import json
import lzma
import random
import resource
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmposter.data.dataset import Dataset, manifest_table
from mmposter.errors import UserError
from mmposter.features.pins import Pins
from mmposter.features.store import ExtractorStore
from mmposter.packs.archive import write_archive
from mmposter.packs.codec import decode, encode
from mmposter.packs.read import open_pack

POSTERS, FAILED = 12, 5
MEMORY = 90 * 2**20
"""More than the limit of a small pack (32 MiB) and of its manifest, and far less than what the bombs below hold."""
PRINT = {"backbone": "densenet121", "size": [8, 8], "version": 1, "weights": "abc"}


def sha(number: int) -> str:
    return f"{number:064x}"


def small_pack() -> dict[str, bytes]:
    """Members of a pack of 12 posters: pooled features of 11 of them, and ragged boxes of all."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"film{n:02}",
            "path": f"film{n:02}.jpg",
            "title": None,
            "year": 2000,
            "genres": ["Drama"],
            "raw_genres": ["Drama"],
            "actors": [],
            "split": ("train", "val", "test")[n % 3],
            "group": f"film{n:02}",
            "sha256": sha(n),
            "width": 40,
            "height": 60,
        }
        for n in range(POSTERS)
    ]
    stream = io.BytesIO()
    pq.write_table(manifest_table(pd.DataFrame(rows)), stream, compression="zstd")
    pooled = encode(rng.normal(size=(POSTERS - 1, 24)).astype(np.float32), 0.05)
    counts = np.arange(POSTERS) % 4
    boxes, many = encode(rng.random((int(counts.sum()), 4)).astype(np.float32), 0.05), encode(counts, 0.0)
    facts = {
        "kind": "mmposter-pack",
        "format": 1,
        "name": "small",
        "note": "drawn",
        "posters": POSTERS,
        "dataset": {"vocabulary": "one", "options": {}, "counts": {"kept": POSTERS}},
        "pins": {"pack": "small", "settings": {}, "fingerprints": {}, "embedding_dim": 0},
        "extractors": {
            "cnn": {
                "fingerprint": PRINT,
                "metadata": {"num_features": 24},
                "failed": {sha(FAILED): "truncated"},
                "fields": {"pooled": {"counts": None, "values": pooled.header, "error": pooled.error}},
            },
            "yolo": {
                "fingerprint": PRINT,
                "metadata": {"class_names": ["person"]},
                "failed": {},
                "fields": {"boxes": {"counts": many.header, "values": boxes.header, "error": boxes.error}},
            },
        },
    }
    return {
        "pack.json": json.dumps(facts).encode(),
        "manifest.parquet": stream.getvalue(),
        "vocabulary.json": json.dumps({"name": "one", "genres": ["Drama"], "mapping": {}}).encode(),
        "cnn/pooled.xz": pooled.body,
        "yolo/boxes.counts.xz": many.body,
        "yolo/boxes.xz": boxes.body,
    }


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    return small_pack()


class Place:
    """Where packs are written and opened; all else below `folder` must stay as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "in" / "x.mmpack"
        (folder / "in").mkdir()
        (folder / "mine").mkdir()
        (folder / "mine" / "keep.txt").write_text("mine")

    def write(self, members: dict[str, bytes], facts: dict[str, Any] | None = None) -> Path:
        if facts is not None:
            members = {**members, "pack.json": json.dumps(facts).encode()}
        write_archive(self.file, members)
        return self.file

    def outside(self) -> set[str]:
        cache = self.folder / "cache"
        return {str(path) for path in self.folder.rglob("*") if path != cache and cache not in path.parents}

    def opened(self) -> list[str]:
        cache = self.folder / "cache" / "mmposter" / "packs"
        return [path.name for path in cache.iterdir()] if cache.is_dir() else []


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Place(tmp_path)


def facts_of(members: dict[str, bytes]) -> dict[str, Any]:
    return json.loads(members["pack.json"])


def refused(place: Place, match: str = "is no pack of mmposter, or is damaged") -> str:
    """Open, and see that it is refused in little memory and leaves nothing."""
    before = place.outside()
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=match) as caught:
            open_pack(place.file)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert place.outside() == before
    assert place.opened() == []
    return str(caught.value)


def read_all(folder: Path) -> dict[str, list[Any]]:
    dataset = Dataset.load(folder)
    Pins.of(dataset)
    found = {}
    for name, fingerprint in (("cnn", PRINT), ("yolo", PRINT)):
        store = ExtractorStore(dataset.features_folder, name, fingerprint)
        found[name] = store.read(list(dataset.table["sha256"]))
    return found


def test_the_small_pack_opens_with_its_numbers(place, members):
    found = read_all(open_pack(place.write(members)))
    assert [record is None for record in found["cnn"]] == [n == FAILED for n in range(POSTERS)]
    assert [len(record["boxes"]) for record in found["yolo"]] == [n % 4 for n in range(POSTERS)]
    facts = facts_of(members)["extractors"]["cnn"]["fields"]["pooled"]
    pooled = decode(facts["values"], members["cnn/pooled.xz"])
    assert found["cnn"][POSTERS - 1]["pooled"].tolist() == pooled[-1:].tolist()


NAMES = ["../../mine/new", "/mine", "a/b", "..", ".", "", "a\0b", "x" * 65, "cnn\\b", "con ", "a.b", "name\n"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
@pytest.mark.parametrize("of", ["extractor", "field"])
def test_a_name_leads_nowhere(place, members, name, of):
    facts = facts_of(members)
    if of == "extractor":
        facts["extractors"][name] = facts["extractors"].pop("cnn")
        renamed = {path.replace("cnn/", f"{name}/"): content for path, content in members.items()}
    else:
        fields = facts["extractors"]["cnn"]["fields"]
        fields[name] = fields.pop("pooled")
        renamed = {path.replace("/pooled", f"/{name}"): content for path, content in members.items()}
    place.write(renamed, facts)
    assert "letters, digits, dashes and underscores" in refused(place)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "x" * 101, "a\n"], ids=repr)
def test_the_name_of_a_pack_leads_nowhere(place, members, name):
    place.write(members, {**facts_of(members), "name": name})
    refused(place, "the name of a pack has letters")


def test_a_pack_says_nothing_of_other_folders(place, members):
    facts = facts_of(members)
    elsewhere = str(place.folder / "mine")
    facts["dataset"] |= {"root": elsewhere, "pictures": True, "features": elsewhere, "kind": "x"}
    dataset = Dataset.load(place.write(members, facts))
    assert not dataset.has_pictures
    assert dataset.root == dataset.folder
    assert dataset.features_folder == dataset.folder / "features"


@pytest.mark.parametrize("init", ["/etc/passwd", "../x.safetensors", "~/x", "a\\b", "..", "C:x"])
def test_a_pack_names_no_file_of_this_machine(place, members, init):
    facts = facts_of(members)
    facts["pins"]["settings"]["cnn.init"] = init
    with pytest.raises(UserError, match="must be a name and no path"):
        Pins.of(Dataset.load(place.write(members, facts)))


def test_a_body_that_unpacks_to_more_than_its_header_says_is_cut_short(place, members):
    bomb = lzma.compress(bytes(120 * 2**20), preset=0)
    place.write({**members, "cnn/pooled.xz": bomb})
    assert "it unpacks to more than the" in refused(place)


def test_a_body_that_needs_a_huge_dictionary_is_refused(place, members):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**29}]
    place.write({**members, "cnn/pooled.xz": lzma.compress(b"x", filters=filters)})
    assert "emory" in refused(place)


def test_a_shape_that_fills_the_memory_is_refused(place, members):
    facts = facts_of(members)
    header = {"code": "exact", "shape": [POSTERS - 1, 2**26], "dtype": "<f8", "stored": "|u1"}
    facts["extractors"]["cnn"]["fields"]["pooled"]["values"] = header
    place.write(members, facts)
    assert "a pack of its size may have 32 MiB" in refused(place)


def test_a_manifest_that_unpacks_to_too_much_is_refused(place, members):
    table = pq.read_table(io.BytesIO(members["manifest.parquet"]))
    text = pa.array(["x" * 8_000_000] * POSTERS)
    stream = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index("title"), "title", text), stream, compression="zstd")
    place.write({**members, "manifest.parquet": stream.getvalue()})
    assert "it unpacks to" in refused(place)


def test_members_are_stored_once_and_as_they_are(place, members):
    with zipfile.ZipFile(place.file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "is not stored as it is" in refused(place)
    place.write(members)
    with zipfile.ZipFile(place.file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("manifest.parquet", b"another")
    assert "a member is there twice" in refused(place)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"kind": "mmposter-pack", "format": 1e400}',
        '{"kind": "mmposter-pack", "format": NaN}',
        '{"kind": "mmposter-pack", "format": "1"}',
        '{"kind": "mmposter-pack", "format": -1}',
        "[]",
        "null",
        "",
        " " * (9 * 2**20),
        "\ud800",
    ],
    ids=lambda text: text[:40].strip() or str(len(text)),
)
def test_facts_that_are_none_are_refused(place, members, text):
    place.write({**members, "pack.json": text.encode("utf-8", "surrogatepass")})
    refused(place, "damaged")


def changed(members: dict[str, bytes], keys: str, value: Any) -> dict[str, Any]:
    facts = facts_of(members)
    *path, last = keys.split("/")
    at = facts
    for key in path:
        at = at[key]
    at[last] = value
    return facts


POOLED, BOXES = "extractors/cnn/fields/pooled/values", "extractors/yolo/fields/boxes"


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (f"{POOLED}/dtype", "|O"),
        (f"{POOLED}/dtype", "V8"),
        (f"{POOLED}/dtype", ["<f4"]),
        (f"{POOLED}/shape", [POSTERS, 24]),
        (f"{POOLED}/shape", [POSTERS - 1, -24]),
        (f"{POOLED}/shape", [True, 24]),
        (f"{POOLED}/components", 25),
        (f"{POOLED}/planes", [9, 1]),
        (f"{POOLED}/planes", [0, 1]),
        (f"{POOLED}/step", 0),
        (f"{POOLED}/step", 1e308),
        (f"{POOLED}/code", "pickle"),
        (f"{BOXES}/values/low", [1e308, 0, 0, 0]),
        (f"{BOXES}/values/step", [1, 2]),
        (f"{BOXES}/counts", None),
        (f"{BOXES}/counts/dtype", "<f4"),
        ("extractors/cnn/fields/pooled", {"counts": None, "same_as": "yolo/nothing"}),
        ("extractors/cnn/fields/pooled", {"counts": None, "same_as": "yolo/boxes.counts"}),
        ("extractors/cnn/failed", {sha(99): "of another picture"}),
        ("extractors/cnn/failed", {"../x": "truncated"}),
        ("posters", POSTERS + 1),
        ("posters", 10**12),
        ("dataset", None),
        ("extractors", []),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(place, members, keys, value):
    place.write(members, changed(members, keys, value))
    refused(place)


def test_counts_below_nothing_are_refused(place, members):
    counts = np.arange(POSTERS) % 4
    counts[1], counts[2] = counts[1] + 3, -1
    many = encode(counts, 0.0)
    facts = changed(members, f"{BOXES}/counts", many.header)
    place.write({**members, "yolo/boxes.counts.xz": many.body}, facts)
    assert "counts of others" in refused(place)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where all values of a JSON text lie, the lists and objects among them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [leaf for key, part in inner for leaf in leaves(part, (*path, key))]


ODD = [
    None,
    True,
    -1,
    0,
    1,
    2**40,
    10**30,
    1.5,
    1e300,
    "",
    "../x",
    "x" * 2000,
    [],
    {},
    [[]],
    {"a": None},
    "\0",
    [1] * 9,
]


def test_whatever_a_stranger_writes_it_opens_or_is_refused(place, members):
    """Facts with one other value each, and members and files with some other bytes."""
    rng = random.Random(15)
    facts = facts_of(members)
    spots = leaves(facts)
    before, opened = place.outside() | {str(place.file)}, 0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(150):
        broken, said = dict(members), copy.deepcopy(facts)
        if number % 2:
            *path, last = rng.choice(spots)
            at = said
            for key in path:
                at = at[key]
            at[last] = rng.choice(ODD)
            broken["pack.json"] = json.dumps(said).encode()
        else:
            name = rng.choice(list(members))
            broken[name] = noise(members[name], rng)
        place.write(broken)
        if number % 4 == 0:
            place.file.write_bytes(noise(place.file.read_bytes(), rng))
        try:
            read_all(open_pack(place.file))
            opened += 1
        except UserError:
            pass
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < 2 * MEMORY
    assert 10 < opened < 120
    assert place.outside() == before
    assert {path.name for path in (place.folder / "cache").iterdir()} == {"mmposter"}


def noise(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, a part gone, or a part twice."""
    data = bytearray(content)
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice([1, 1, 4, 60]))
    match rng.randrange(3):
        case 0:
            data[start:stop] = rng.randbytes(stop - start)
        case 1:
            del data[start:stop]
        case _:
            data[start:start] = data[start:stop]
    return bytes(data)
