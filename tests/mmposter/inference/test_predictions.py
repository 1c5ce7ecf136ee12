from __future__ import annotations

import contextlib
import csv
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from mmposter.errors import UserError
from mmposter.inference.classifier import Prediction
from mmposter.inference.predictions import PredictionFile

ONE = Prediction("a.jpg", ["Drama"], {"Drama": 0.75, "War": 0.25})
TWO = Prediction("Amélie, 2001.jpg", ["War", "Drama"], {"Drama": 0.5, "War": 0.6}, saw_nothing=["yolo", "ocr"])
BAD = Prediction("c.jpg", error="truncated: cut off")


def stopped(path, predictions) -> None:
    file = PredictionFile(path).__enter__()
    for prediction in predictions:
        file.write(prediction)
    file.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_json_lines(tmp_path):
    path = tmp_path / "new" / "out.jsonl"
    with PredictionFile(path) as file:
        for prediction in (ONE, TWO, BAD):
            file.write(prediction)
        assert not path.exists()
    assert lines(path) == [prediction.to_json() for prediction in (ONE, TWO, BAD)]
    assert "Amélie" in path.read_text(encoding="utf-8")
    assert (file.count, file.failed) == (3, [BAD])
    assert [entry.name for entry in path.parent.iterdir()] == ["out.jsonl"]


def test_csv(tmp_path):
    path = tmp_path / "out.csv"
    with PredictionFile(path) as file:
        for prediction in (BAD, ONE, TWO):
            file.write(prediction)
    with path.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["path", "genres", "error", "saw_nothing", "Drama", "War"],
            ["c.jpg", "", "truncated: cut off", "", "", ""],
            ["a.jpg", "Drama", "", "", "0.75", "0.25"],
            ["Amélie, 2001.jpg", "War|Drama", "", "yolo|ocr", "0.5", "0.6"],
        ]


def test_parquet(tmp_path):
    path = tmp_path / "out.parquet"
    with PredictionFile(path) as file:
        for prediction in (BAD, ONE, TWO):
            file.write(prediction)
        assert not path.exists()
    table = pq.read_table(path)
    assert table.to_pylist()[1:] == [
        {"path": "a.jpg", "genres": ["Drama"], "error": None, "saw_nothing": [], "Drama": 0.75, "War": 0.25},
        {
            "path": "Amélie, 2001.jpg",
            "genres": ["War", "Drama"],
            "error": None,
            "saw_nothing": ["yolo", "ocr"],
            "Drama": 0.5,
            "War": 0.6,
        },
    ]
    bad = {"path": "c.jpg", "genres": [], "error": "truncated: cut off", "saw_nothing": [], "Drama": None, "War": None}
    assert table.to_pylist()[0] == bad
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.parquet"]


def test_parquet_is_written_in_parts_and_of_no_or_bad_posters_too(tmp_path, monkeypatch):
    monkeypatch.setattr("mmposter.inference.tables._TOGETHER", 2)
    for name, predictions in (("some", [ONE, TWO, BAD, ONE, TWO]), ("bad", [BAD]), ("none", [])):
        with PredictionFile(tmp_path / f"{name}.parquet") as file:
            for prediction in predictions:
                file.write(prediction)
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert table["path"].to_pylist() == [one.path for one in predictions]
        assert ("Drama" in table.column_names) == (name == "some")


def test_csv_of_failures_alone(tmp_path):
    with PredictionFile(tmp_path / "out.csv") as file:
        file.write(BAD)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "path,genres,error,saw_nothing",
        "c.jpg,,truncated: cut off,",
    ]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_stopped_run_goes_on(tmp_path, ending):
    path, whole = tmp_path / f"out.{ending}", tmp_path / f"whole.{ending}"
    stopped(path, [ONE, BAD])
    assert not path.exists()
    with PredictionFile(path) as file:
        assert (file.done, file.count, file.failed) == ({"a.jpg", "c.jpg"}, 2, [BAD])
        file.write(TWO)
    with PredictionFile(whole) as file:
        for prediction in (ONE, BAD, TWO):
            file.write(prediction)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_reviews_are_ranked_also_where_a_stop_came_between(tmp_path, ending):
    path, whole = tmp_path / f"out.{ending}", tmp_path / f"whole.{ending}"
    gains = [("review", 1.5), ("accept", 9.0), ("review", 2.5), ("review", 1.5)]
    all_ = [replace(ONE, path=f"{n}.jpg", verdict=verdict, gain=gain) for n, (verdict, gain) in enumerate(gains)]
    stopped(path, all_[:2])
    for name, predictions in ((path, [*all_[2:], BAD]), (whole, [*all_, BAD])):
        with PredictionFile(name) as file:
            for prediction in predictions:
                file.write(prediction)
    assert path.read_bytes() == whole.read_bytes()
    if ending == "jsonl":
        assert [line["review"] for line in lines(path)] == [2, None, 1, 3, None]
        assert "verdict" not in lines(path)[-1]
        return
    if ending == "parquet":
        table = pq.read_table(path)
        assert table.column_names[:7] == ["path", "genres", "verdict", "review", "gain", "error", "saw_nothing"]
        assert table["review"].to_pylist() == [2, None, 1, 3, None]
        assert table["gain"].to_pylist() == [1.5, 9.0, 2.5, 1.5, None]
        return
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["path", "genres", "verdict", "review", "gain", "error", "saw_nothing", "Drama", "War"]
    assert [row[2:5] for row in rows[1:]] == [
        ["review", "2", "1.5"],
        ["accept", "", "9.0"],
        ["review", "1", "2.5"],
        ["review", "3", "1.5"],
        ["", "", ""],
    ]


def test_wherever_the_last_line_was_cut_the_rest_is_whole(tmp_path):
    """Also within a letter of two bytes, and just before the newline, where the line reads like a whole one."""
    path, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    stopped(path, [ONE, TWO])
    data = partial.read_bytes()
    first = data.index(b"\n") + 1
    for cut in range(first, len(data)):
        partial.write_bytes(data[:cut])
        with PredictionFile(path) as file:
            assert file.done == {"a.jpg"}
            file.write(TWO)
        assert lines(path) == [ONE.to_json(), TWO.to_json()], cut
        path.unlink()


@pytest.mark.parametrize("junk", [b"null\n", b"7\n", b'{"other": 1}\n', b"\xff\xfe\n", b"\x00" * 50 + b"\n"])
def test_a_damaged_line_is_dropped(tmp_path, junk):
    path = tmp_path / "out.jsonl"
    stopped(path, [ONE])
    with (tmp_path / "out.jsonl.partial").open("ab") as stream:
        stream.write(junk)
    with PredictionFile(path) as file:
        assert file.done == {"a.jpg"}
    assert lines(path) == [ONE.to_json()]


@pytest.mark.parametrize("name", ["a\u2028b.jpg", "a\x85b.jpg", "a\nb.jpg", 'a"b.jpg', "a\udcffb.jpg"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_names_that_linux_allows(tmp_path, name, ending):
    """Line separators inside a name, and bytes that are no UTF-8 (Python shows them as lone surrogates)."""
    path = tmp_path / f"out.{ending}"
    odd = Prediction(name, ["Drama"], {"Drama": 1.0})
    stopped(path, [odd])
    with PredictionFile(path) as file:
        assert file.done == {name}
        file.write(ONE)
    if ending == "jsonl":
        assert [line["path"] for line in lines(path)] == [name, "a.jpg"]
    elif ending == "parquet":
        assert pq.read_table(path)["path"].to_pylist() == [name.replace("\udcff", "\\udcff"), "a.jpg"]
    else:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        assert [row[0] for row in rows[1:]] == [name.replace("\udcff", "\\udcff"), "a.jpg"]


def test_a_finished_file_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "out.jsonl"
    with PredictionFile(path) as file:
        file.write(ONE)
    with pytest.raises(UserError, match=r"there already.*--overwrite"):
        PredictionFile(path)
    with PredictionFile(path, overwrite=True) as file:
        assert file.done == set()
        file.write(TWO)
    assert lines(path) == [TWO.to_json()]


def test_overwrite_forgets_an_unfinished_file(tmp_path):
    path = tmp_path / "out.jsonl"
    stopped(path, [ONE])
    assert PredictionFile(path, overwrite=True).done == set()


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--out must end in \.jsonl, \.csv or \.parquet"):
        PredictionFile(tmp_path / "out.txt")


def test_a_file_begun_with_another_model_is_not_gone_on_with(tmp_path):
    path = tmp_path / "out.jsonl"
    with contextlib.suppress(KeyboardInterrupt), PredictionFile(path, made_with="first") as file:
        file.write(ONE)
        raise KeyboardInterrupt
    assert PredictionFile(path, made_with="first").count == 1
    with pytest.raises(UserError, match="begun with another model"):
        PredictionFile(path, made_with="second")
    with PredictionFile(path, made_with="second", overwrite=True) as file:
        assert file.count == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.jsonl"]


def test_a_long_unfinished_file_is_not_held_in_memory(tmp_path):
    """A million predictions of twenty genres each would be gigabytes; of earlier ones only the paths are kept."""
    import tracemalloc

    path, scores = tmp_path / "out.jsonl", {f"genre {number}": number / 30 for number in range(30)}
    with PredictionFile(path) as file:
        for number in range(3000):
            file.write(Prediction(f"{number}.jpg", ["genre 1"], scores))
        file.write(BAD)
    (tmp_path / "out.jsonl").rename(tmp_path / "out.jsonl.partial")
    tracemalloc.start()
    file = PredictionFile(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(file.done), file.count, file.failed) == (3001, 3001, [BAD])
    assert peak < (tmp_path / "out.jsonl.partial").stat().st_size / 2


def test_usual_lines_are_counted_without_being_taken_apart(tmp_path):
    """And every other line is: with an error, a verdict, or a path that JSON writes otherwise."""
    path = tmp_path / "out.jsonl"
    names = ["a.jpg", "é 日本.jpg", 'a"b.jpg', "c\\d.jpg", "a, b}.jpg", "gone.jpg"]
    with contextlib.suppress(KeyboardInterrupt), PredictionFile(path) as file:
        for name in names[:-1]:
            file.write(Prediction(name, ["Drama"], {"Drama": 0.5}))
        file.write(Prediction(names[-1], [], {}, "no_such_file: it is not there"))
        raise KeyboardInterrupt
    again = PredictionFile(path)
    assert again.done == set(names)
    assert again.count == 6
    assert [prediction.path for prediction in again.failed] == ["gone.jpg"]
    kinds = [prediction is None for _, prediction, _ in again._read()]
    assert kinds == [True, True, False, False, True, False]
