"""One reader of cells with several names, in every format."""

from __future__ import annotations

import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmposter.data.sources import read_source
from mmposter.data.sources.cells import cell_names

# Names as people write them: apostrophes, quotes, blanks inside, brackets, letters of all kinds, no separator of texts.
NAME = st.text("ab Zéß漢'\"[](){}-\\/&", min_size=1, max_size=9).map(str.strip).filter(bool)
NAMES = st.lists(NAME, min_size=1, max_size=5, unique=True).map(tuple)

LISTS = {
    "python list": lambda names: repr(list(names)),
    "python tuple": repr,
    "json": json.dumps,
    "json, letters as they are": lambda names: json.dumps(names, ensure_ascii=False, indent=1),
    "python objects": lambda names: repr([{"id": place, "name": name} for place, name in enumerate(names)]),
    "json objects": lambda names: json.dumps([{"id": place, "name": name} for place, name in enumerate(names)]),
    "names by id": lambda names: json.dumps({f"/m/{place}": name for place, name in enumerate(names)}),
    "an object with a list": lambda names: json.dumps({"genres": names}),
    "numpy text": lambda names: str(np.array(names, dtype=object)),
    "numpy array": lambda names: repr(np.array(names, dtype=object)),
}


@pytest.mark.parametrize("kind", LISTS)
@settings(max_examples=40, deadline=None)
@given(names=NAMES)
def test_lists_however_they_are_written(kind, names):
    assert cell_names(f" {LISTS[kind](names)}\n") == names


@settings(max_examples=40, deadline=None)
@given(names=NAMES)
def test_values_of_json_and_parquet(names):
    assert cell_names(list(names)) == cell_names([{"id": 1, "name": name} for name in names]) == names
    assert cell_names({"genres": [{"Name": name} for name in names]}) == names


@settings(max_examples=20, deadline=None)
@given(names=NAMES)
def test_sets_have_one_order(names):
    for written in (repr(set(names)), repr(frozenset(names))):
        assert cell_names(written) == tuple(sorted(names))


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.text("abc 'é-/&", min_size=1).map(lambda text: text.strip(" '")).filter(bool), unique=True),
    separator=st.sampled_from(["|", ";", ",", ", ", " | ", " ;"]),
)
def test_texts_parted_by_a_sign(names, separator):
    assert cell_names(separator.join(names)) == tuple(names)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("Drama, War", ("Drama", "War")),
        ("['Drama' 'War']", ("Drama", "War")),
        ("['Drama'\n 'War' \"Children's\"]", ("Drama", "War", "Children's")),
        ("[{'id': 18, 'name': 'Drama'}]", ("Drama",)),
        ('["Drama", null, "War"]', ("Drama", "War")),
        ("['Drama', None, nan]", ("Drama", "None", "nan")),  # no list of Python: what looks odd is seen
        ("['Drama', 'War'", ("Drama", "War")),  # a bracket got lost
        ("[Drama, War]", ("Drama", "War")),
        ("{Drama,\"Film Noir\"}", ("Drama", "Film Noir")),  # a database's array
        ("'Drama', 'War'", ("Drama", "War")),
        ("'Weird Al' Yankovic, Kevin McCarthy", ("'Weird Al' Yankovic", "Kevin McCarthy")),
        ("['Drama', 'Drama', ' War ']", ("Drama", "War")),
        ("(no genres listed)", ("no genres listed",)),
        ("[18, 35]", ("18", "35")),
        ("[[['Drama']], [{'name': ['War']}]]", ("Drama", "War")),
        ("[[[[[[['Drama']]]]]]]", ("Drama",)),  # deeper than any list
        ('{"id": 18}', ("id: 18",)),  # seen, and not taken for a poster without a genre
        ("[]", ()),
        ("{}", ()),
        ("", ()),
        (" | ;", ()),
        (None, ()),
        (float("nan"), ()),
        ([None, float("nan"), {"id": 3}, True], ()),
    ],
)  # fmt: skip
def test_cells_as_they_are_in_the_wild(cell, names):
    assert cell_names(cell) == names


@pytest.mark.parametrize(
    "cell",
    [
        "[" * 60_000,
        "[" * 4_900,
        "[" + "-" * 9_900 + "1]",
        "[" + "1+" * 4_900 + "1]",
        "[1" + "()" * 4_900 + "]",
        "[" + "[1]" * 3_000 + "]",
        "[" + "'" * 9_999,
        "['" + "\\" * 9_990,
        "[" + "\\'" * 4_990,
        "[" + "\\'" * 60_000,
        "array(" * 15_000,
        '{"name":' * 1_000 + "1" + "}" * 1_000,
        "[9**9**9**9]",
        "[" + "9" * 9_000 + "]",
        "['a' for a in range(9**9)]",
    ],
)
def test_hostile_cells_cost_no_more_than_their_length(cell):
    start = time.process_time()
    assert isinstance(cell_names(cell), tuple)
    assert time.process_time() - start < 1


def test_nothing_of_a_cell_is_executed(tmp_path):
    made = tmp_path / "made"
    assert cell_names(f"[__import__('pathlib').Path('{made}').touch()]")
    assert cell_names(f"array([open('{made}', 'w')], dtype=object)")
    assert not made.exists()


ALL = {"python": "['Drama', 'War']", "objects": "[{'id': 18, 'name': 'Drama'}, {'id': 1, 'name': 'War'}]",
       "numpy": "['Drama' 'War']", "text": "Drama, War"}  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("format", ["csv", "kaggle", "imagefolder", "onehot", "ccu"])
def test_every_format_that_has_texts_reads_them(format, kind, tmp_path, ccu):
    cell = ALL[kind]
    quoted = '"' + cell.replace('"', '""') + '"'
    source = tmp_path / "set" / ("metadata.csv" if format == "imagefolder" else "posters.csv")
    source.parent.mkdir()
    lines = {
        "csv": ["image,genres", f"1.jpg,{quoted}"],
        "kaggle": ["imdbId,Genre,Poster", f"7,{quoted},https://images.example/1.jpg"],
        "imagefolder": ["file_name,genres", f"1.jpg,{quoted}"],
        "onehot": ["Id,Genre,Drama,War,Sport", f"1,{quoted},1,1,0"],
        "ccu": [],
    }[format]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if format == "ccu":
        ccu.record("tt1", cell)
    place = {"imagefolder": source.parent, "ccu": ccu.root}.get(format, source)
    found = read_source(place, format)
    assert [row.genres for row in found.rows] == [("Drama", "War")]
    assert not found.issues  # of onehot: the list says what the columns say


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("value", [["Drama", "War"], [{"id": 18, "name": "Drama"}, {"id": 1, "name": "War"}]])
def test_values_of_an_imagefolder(kind, value, tmp_path):
    row = {"file_name": "1.jpg", "genres": value}
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "metadata.parquet")
    else:
        (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    assert [row.genres for row in read_source(tmp_path, "imagefolder").rows] == [("Drama", "War")]


def test_objects_of_mmimdb(tmp_path):
    (tmp_path / "1.json").write_text(json.dumps({"genres": [{"name": "Drama"}, "War"]}))
    assert [row.genres for row in read_source(tmp_path, "mmimdb").rows] == [("Drama", "War")]
