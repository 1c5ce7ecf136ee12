"""Every way to name posters: paths, folders, patterns, links, and what comes of them as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from mmposter import PosterClassifier, UserError
from mmposter.cli import main


@pytest.fixture
def run(make_run):
    return make_run("cnn.backbone=pixels", "cnn.size=[48,32]", branches="cnn")


@pytest.fixture
def classifier(run):
    return PosterClassifier.load(run, device="cpu")


def command(monkeypatch, *words: object) -> object:
    monkeypatch.setattr(sys, "argv", ["mmposter", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0


def test_folders_patterns_and_iterables(classifier, poster_files, tmp_path, monkeypatch):
    paths = [str(path) for path in poster_files(3)]
    folder = tmp_path / "posters"
    (folder / "notes.txt").write_text("no picture")
    for given in (folder, str(folder), str(folder / "*.png"), folder / "*.png", iter(paths), pd.Series(paths)):
        assert [one.path for one in classifier.predict(given)] == paths
    (one,) = classifier.predict(paths[0])
    assert one.path == paths[0]
    for column in ("image", "path"):
        assert [one.path for one in classifier.predict(pd.DataFrame({"title": "x", column: paths}))] == paths
    with pytest.raises(UserError, match="needs a column image or path; it has title"):
        classifier.predict(pd.DataFrame({"title": paths}))
    mixed = classifier.predict([paths[1], folder, paths[1], "nowhere/*.jpg", "a\0/*.jpg"])
    assert [one.path for one in mixed] == [paths[1], *paths, paths[1], "nowhere/*.jpg", "a\0/*.jpg"]
    assert [one.error is None for one in mixed] == [True] * 5 + [False] * 2
    (tmp_path / "empty").mkdir()
    (empty,) = classifier.predict(tmp_path / "empty")
    assert empty.error == "unreadable: it is a folder, a pipe or a device, not a file"
    monkeypatch.chdir(folder)
    assert [one.path for one in classifier.explain("00*.png", genres=["Drama"])] == ["000.png", "001.png", "002.png"]
    assert classifier.embed(folder).shape[0] == 3


def test_a_genre_that_is_nearly_right_is_proposed(classifier, poster_files):
    with pytest.raises(UserError, match=r"got 'Horor' \(did you mean Horror\?\)"):
        classifier.explain(poster_files(1), genres=["Horor"])


def test_a_file_that_looks_like_a_pattern_is_that_file(classifier, poster_files, tmp_path):
    (path,) = poster_files(1)
    odd = path.rename(path.with_name("a[1].png"))
    (one,) = classifier.predict([odd])
    assert (one.path, one.error) == (str(odd), None)


def test_predictions_are_a_list_and_a_table(classifier, poster_files, tmp_path):
    paths = poster_files(2)
    found = classifier.predict([*paths, tmp_path / "none.jpg"], top_k=1)
    assert isinstance(found, list)
    frame = found.to_frame()
    assert list(frame.columns) == ["path", "genres", *classifier.genres, "verdict", "error"]
    assert list(frame["path"]) == [*map(str, paths), str(tmp_path / "none.jpg")]
    assert list(frame["genres"]) == [one.genres for one in found]
    first = found[0]
    assert frame.loc[0, list(classifier.genres)].to_dict() == first.scores
    assert frame[list(classifier.genres)].dtypes.eq("float64").all()
    assert frame.loc[2, list(classifier.genres)].isna().all()
    assert frame["error"].isna().tolist() == [True, True, False]
    assert classifier.predict([]).to_frame().empty


def test_links_are_read_with_their_names_among_others(classifier, poster_server, poster_files, tmp_path):
    good, gone = f"{poster_server.url}/good-1.jpg?w=300", f"{poster_server.url}/404-1.jpg"
    file = tmp_path / "same.jpg"
    file.write_bytes(poster_server.picture("/good-1.jpg?w=300"))
    found = classifier.predict([file, good, gone, "ftp://example.org/a.jpg"])
    assert [one.path for one in found] == [str(file), good, gone, "ftp://example.org/a.jpg"]
    assert found[1].scores == pytest.approx(found[0].scores)
    assert found[2].error == "http_404: the server answered 404 Not Found"
    assert found[3].error == "bad_link: 'ftp://example.org/a.jpg' is no link of http or https"
    (alone,) = classifier.predict(good)
    assert alone.scores == pytest.approx(found[0].scores)
    (why,) = classifier.explain(good, genres=["Drama"])
    assert (why.path, why.error) == (good, None)


def test_offline_refuses_links_and_asks_nobody(run, poster_server, poster_files):
    classifier = PosterClassifier.load(run, device="cpu", offline=True)
    (path,) = poster_files(1)
    found = classifier.predict([f"{poster_server.url}/good-1.jpg", path])
    assert [one.error for one in found] == ["not_asked: it was not asked for: --offline", None]
    assert poster_server.log == []


def test_commands_take_links(run, poster_server, poster_files, tmp_path, monkeypatch, capsys):
    good, gone = f"{poster_server.url}/good-1.jpg", f"{poster_server.url}/404-1.jpg"
    folder = poster_files(2)[0].parent
    out = tmp_path / "genres.parquet"
    assert command(monkeypatch, "predict", good, gone, folder, "--model", run, "--device", "cpu", "--out", out) == 0
    table = pd.read_parquet(out)
    assert list(table["path"]) == [good, gone, *sorted(map(str, folder.iterdir()))]
    assert list(table.columns[:4]) == ["path", "genres", "error", "saw_nothing"]
    assert table["error"].notna().tolist() == [False, True, False, False]
    said = capsys.readouterr().err
    assert "3 of 4 posters without a fault" in said
    assert f"{gone}: http_404" in said
    assert command(monkeypatch, "explain", good, "--model", run, "--device", "cpu", "--out", tmp_path / "why") == 0
    assert json.loads((tmp_path / "why" / "good-1.json").read_text())["path"] == good
    assert (
        command(monkeypatch, "rank", good, *folder.iterdir(), "--as", "Drama", "--model", run, "--device", "cpu") == 0
    )
    assert "3 of 3 posters ranked" in capsys.readouterr().err
    asked = len(poster_server.log)
    assert command(monkeypatch, "predict", good, "--model", run, "--device", "cpu", "--offline") == 1
    assert "it was not asked for: --offline" in capsys.readouterr().err
    assert len(poster_server.log) == asked


def test_links_may_stand_in_a_list_on_standard_input(run, poster_server, poster_files, monkeypatch, capsys):
    import io

    good = f"{poster_server.url}/good-1.jpg"
    path: Path = poster_files(1)[0]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{good}\n\n{path}\n"))
    assert command(monkeypatch, "predict", "-", "--model", run, "--device", "cpu") == 0
    assert [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()] == [good, str(path)]
