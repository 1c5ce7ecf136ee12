"""Several sources as one data set: each split as alone, and nothing of a measured film among what teaches."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset, prepare, write_dataset
from mmposter.data.dataset import read_manifest
from mmposter.data.downloading import DownloadOptions
from mmposter.data.duplicates import group_posters, imdb_id, plain_title, title_year
from mmposter.data.joining import join_sources
from mmposter.data.preparation import Prepared
from mmposter.data.several import ask_sources, common_root, source_names
from mmposter.data.splitting import assign_splits
from mmposter.errors import UserError

HEADER = "image,id,title,year,genres"
GENRES = ("Drama", "Comedy", "Drama|Romance", "Horror")


def run(sources, out, *, format="csv", **options) -> Dataset:
    prepare(sources, out, format=format, quiet=True, workers=2, **options)
    return Dataset.load(out)


def sides(dataset: Dataset, source: str | None = None) -> dict[str, str]:
    table = dataset.table if source is None else dataset.table[dataset.table["source"] == source]
    return dict(zip(table["id"], table["split"], strict=True))


def year_of(year) -> int | None:
    return None if pd.isna(year) else int(year)


def leaks(dataset: Dataset, *, distance: int = 6) -> list[tuple[str, str]]:
    """Pairs of a measured and a training poster of two sources that are of one film or one picture; and of a film's
    name that teaches and is measured."""
    table = dataset.table
    teaching, measured = (table[table["split"].isin(names)] for names in (["train"], ["val", "test"]))
    found = []
    for one in measured.itertuples():
        for other in teaching[teaching["source"] != one.source].itertuples():
            same = imdb_id(one.id) is not None and imdb_id(one.id) == imdb_id(other.id)
            named = title_year(one.title, year_of(one.year))
            same |= named is not None and named == title_year(other.title, year_of(other.year))
            if same or one.sha256 == other.sha256 or (int(one.phash) ^ int(other.phash)).bit_count() <= distance:
                found.append((one.id, other.id))
    names = {plain_title(title) for title in measured["title"] if title}
    if dataset.titles is not None:
        found += [(title, "titles") for title in dataset.titles.titles if plain_title(title) in names]
    return found


@pytest.fixture
def first(make_csv) -> Path:
    """24 films with numbers."""
    names = [f"tt{number:07}" for number in range(1, 25)]
    rows = [f"{name}.jpg,{name},Film {n},{1990 + n},{GENRES[n % 4]}" for n, name in enumerate(names, 1)]
    return make_csv([HEADER, *rows], {f"{name}.jpg": n for n, name in enumerate(names, 1)}, "first")


@pytest.fixture
def second(make_csv, make_poster, first: Path) -> Path:
    """The films of `first` again, in four ways, and 30 of its own."""
    rows, seeds = [], {}
    for n in range(1, 25):
        if n % 4 == 0:  # the same number, another picture
            rows.append(f"a{n}.jpg,tt{n:07},,,Drama")
            seeds[f"a{n}.jpg"] = 500 + n
        elif n % 4 == 1:  # title and year
            rows.append(f"b{n}.jpg,tt{9000 + n:07},FILM {n},{1990 + n},Drama")
            seeds[f"b{n}.jpg"] = 500 + n
        elif n % 4 == 2:  # the same bytes
            rows.append(f"c{n}.jpg,c{n},,,Drama")
            seeds[f"c{n}.jpg"] = n
        else:  # saved anew
            rows.append(f"d{n}.jpg,d{n},,,Drama")
    rows += [f"e{n}.jpg,tt{8000 + n:07},Own {n},1970,{GENRES[n % 4]}" for n in range(30)]
    seeds |= {f"e{n}.jpg": 1000 + n for n in range(30)}
    table = make_csv([HEADER, *rows], seeds, "second")
    for n in range(3, 25, 4):
        make_poster(table.parent / f"d{n}.jpg", n, quality=60)
    return table.rename(table.parent / "more.csv")


RATIOS = [(0.5, 0.25, 0.25), (0.7, 0.1, 0.2)]


def test_each_keeps_its_split_and_nothing_of_a_measured_film_teaches(first, second, tmp_path):
    titles = tmp_path / "titles.csv"
    named = [*(f"Film {n}" for n in range(1, 25)), *(f"Own {n}" for n in range(30)), "Another"]
    titles.write_text("title,genres\n" + "".join(f"{name},Drama\n" for name in named), encoding="utf-8")
    joined = run([first, second], tmp_path / "data", ratios=RATIOS, titles=titles)
    alone = [run(source, tmp_path / source.stem, ratios=RATIOS[k]) for k, source in enumerate((first, second))]
    assert sides(joined, "posters") == sides(alone[0])
    own = {name: side for name, side in sides(alone[1]).items() if name.startswith("tt0008")}
    assert own.items() <= sides(joined, "more").items()
    assert not leaks(joined)
    assert joined.titles is not None
    assert "Another" in joined.titles.titles
    assert joined.table["id"].is_unique
    # Every poster of the second source that the first has is kept on that side, taught, or dropped by name.
    counts = joined.info["counts"]["sources"]
    table = joined.table[joined.table["source"] == "more"]
    assert counts["more"]["kept"] == len(table)
    assert counts["more"]["posters found"] == 54
    reasons = {name: count for name, count in counts["more"].items() if name.startswith("dropped: ")}
    assert len(table) + sum(reasons.values()) == 54
    assert set(reasons) == {"dropped: measured_elsewhere", "dropped: duplicate_id", "dropped: same_file"}
    measured = {name for name, side in sides(joined, "posters").items() if side != "train"}
    kept_on_a_side = table[table["group"].isin(measured)]
    assert set(kept_on_a_side["split"]) <= {"val", "test"}
    groups = joined.table.groupby("group")["split"].nunique()
    assert (groups == 1).all()


def test_what_is_told_of_it(first, second, tmp_path):
    joined = run([first, second], tmp_path / "data", ratios=RATIOS)
    dropped = pd.read_csv(tmp_path / "data" / "dropped.csv")
    assert list(dropped.columns) == ["id", "path", "reason", "message", "source"]
    assert set(dropped["source"]) == {"more"}
    assert len(dropped) + len(joined) == 24 + 54
    assert all((joined.root / path).is_file() for path in [*dropped["path"], *joined.table["path"]])
    text = (tmp_path / "data" / "report.md").read_text()
    assert "## Sources" in text
    assert "|  | posters | more |" in text
    assert "measured_elsewhere" in text
    moved = pd.read_csv(tmp_path / "data" / "issues.csv").query("kind == 'moved_to_train'")
    assert joined.info["counts"]["issues"].get("moved_to_train", 0) == len(moved)
    assert {sides(joined)[name] for name in moved["id"]} <= {"train"}


def test_a_notebook_shows_the_sources(first, second, tmp_path):
    report = prepare([first, second], tmp_path / "data", format="csv", quiet=True)
    assert "By source" in report._repr_html_()
    assert "By source" not in prepare(first, tmp_path / "one", format="csv", quiet=True)._repr_html_()


def test_the_same_command_gives_the_same_bytes_and_another_order_is_refused(first, second, tmp_path):
    out = tmp_path / "data"
    run([first, second], out, ratios=RATIOS)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    run([first, second], out, ratios=RATIOS)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(UserError, match="other options: sources"):
        run([second, first], out, ratios=RATIOS)
    with pytest.raises(UserError, match="other options"):
        run(first, out, ratios=RATIOS[0])


def test_one_source_in_a_list_is_that_source(first, tmp_path):
    one, listed = (
        run(first, tmp_path / "one"),
        run([first], tmp_path / "listed", format=["csv"], ratios=[(0.7, 0.1, 0.2)]),
    )
    for path in one.folder.iterdir():
        assert path.read_bytes() == (listed.folder / path.name).read_bytes(), path.name
    assert one.sources is None
    assert "source" not in one.table
    assert "sources" not in one.info["counts"]


def test_the_sources_of_posters_are_named(first, second, tmp_path):
    joined = run([first, second], tmp_path / "data", ratios=RATIOS)
    assert Counter(joined.sources) == Counter(joined.table["source"])
    assert set(joined.sources) == {"posters", "more"}
    assert set(joined.split("test").sources) <= {"posters", "more"}
    table = read_manifest((tmp_path / "data" / "manifest.parquet").read_bytes())
    assert "source" in table.column_names


def test_a_manifest_in_which_some_posters_have_no_source_is_refused(first, second, tmp_path):
    joined = run([first, second], tmp_path / "data", ratios=RATIOS)
    table = joined.table.copy()
    table.loc[3, "source"] = None
    write_dataset(tmp_path / "data", table, joined.vocabulary, {"root": str(joined.root)})
    with pytest.raises(UserError, match="a poster has no source"):
        Dataset.load(tmp_path / "data")


def test_a_source_for_training_alone(first, second, tmp_path):
    joined = run([first, second], tmp_path / "data", ratios=[(0.5, 0.25, 0.25), (1, 0, 0)])
    assert set(sides(joined, "more").values()) == {"train"}
    assert not leaks(joined)


def test_an_id_of_another_film_gets_its_sources_name(make_csv, tmp_path):
    one = make_csv(["image,genres", *(f"{n}.jpg,Drama" for n in range(4))], {f"{n}.jpg": n for n in range(4)}, "one")
    two = make_csv(
        ["image,genres", *(f"{n}.jpg,Drama" for n in range(4))], {f"{n}.jpg": 9 + n for n in range(4)}, "two"
    )
    joined = run([one, two], tmp_path / "data")
    assert sorted(joined.table["id"]) == sorted(
        [*(f"{n}.jpg" for n in range(4)), *(f"posters-2/{n}.jpg" for n in range(4))]
    )
    assert joined.info["counts"]["issues"] == {"taken_id": 4}
    assert {joined.image_path(row).parent.name for row in range(8)} == {"one", "two"}


def test_sources_without_genres_join_and_others_do_not_join_them(make_poster, first, tmp_path):
    for n in range(3):
        make_poster(tmp_path / "left" / f"{n}.jpg", n)
        make_poster(tmp_path / "right" / f"{n}.jpg", n + 2)  # one picture is in both
    joined = run([tmp_path / "left", tmp_path / "right"], tmp_path / "data", format="folder")
    assert len(joined) == 5
    assert joined.info["counts"]["dropped"] == {"same_file": 1}
    with pytest.raises(UserError, match="all have genres, or none has; without are: left"):
        run([first, tmp_path / "left"], tmp_path / "mixed", format=["csv", "folder"])


def test_links_of_each_source_lie_in_a_folder_of_its_own(poster_server, make_csv, tmp_path):
    lines = ["imdbId,Title,Genre,Poster"]
    paths = []
    for name, first_id in (("left", 1), ("right", 101)):
        rows = [f"{first_id + n},Film {name} {n} (1990),Drama,{poster_server.url}/good-{name}{n}.jpg" for n in range(4)]
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("\n".join([*lines, *rows]) + "\n", encoding="utf-8")
    options = DownloadOptions(mirror=poster_server.url)
    joined = run(paths, tmp_path / "data", format="kaggle", download=options)
    assert len(joined) == 8
    assert joined.info["counts"]["links"] == {"there": 8}
    folders = {joined.image_path(row).parent for row in range(8)}
    assert folders == {(tmp_path / "data" / "posters" / name).resolve() for name in ("left", "right")}
    assert not any(Path(path).is_absolute() for path in joined.table["path"])


def test_wrong_numbers_of_options_are_one_error(first, second, tmp_path):
    with pytest.raises(UserError) as caught:
        ask_sources([first, second], ["csv"] * 3, [(0.7, 0.1, 0.2)] * 3)
    message = str(caught.value)
    assert "--format is given 3 times for 2 sources; --ratios is given 3 times for 2 sources" in message
    assert "once for all, or once for each" in message
    with pytest.raises(UserError, match="given twice"):
        ask_sources([first, first.parent / "." / first.name], "csv", (0.7, 0.1, 0.2))
    with pytest.raises(UserError, match="no source is given"):
        ask_sources([], "csv", (0.7, 0.1, 0.2))
    with pytest.raises(UserError, match="sum 1"):
        ask_sources([first, second], "csv", [(0.7, 0.1, 0.2), (0.7, 0.7, 0.2)])


def test_sources_without_a_common_folder_are_told_what_to_do(tmp_path):
    with pytest.raises(UserError, match="below one folder"):
        common_root([Path("/one/posters"), Path("/two/posters")])
    assert common_root([tmp_path / "one", tmp_path / "two" / "deep"]) == tmp_path


def test_an_error_says_which_source_it_is_of(first, make_csv, tmp_path):
    odd = make_csv(["image,genres", "x.jpg,Xyzzy"], {"x.jpg": 1}, "odd")
    with pytest.raises(UserError, match="source posters-2: 1 of 1 posters"):
        run([first, odd], tmp_path / "data")
    with pytest.raises(UserError, match="source posters-2: no poster is left of 1"):
        run([first, odd], tmp_path / "data", allow_unknown=True)


def test_sources_of_no_common_folder_are_refused_before_a_download(first, tmp_path, monkeypatch):
    links = tmp_path / "links.csv"
    links.write_text("imdbId,Title,Genre,Poster\n1,One (1990),Drama,https://images.example/1.jpg\n", encoding="utf-8")

    def never(*_, **__):
        raise AssertionError("it was asked")

    monkeypatch.setattr("mmposter.data.downloading.place.download", never)
    with pytest.raises(UserError, match="downloaded posters go there with --posters"):
        run([first, links], tmp_path / "data", format=["csv", "kaggle"], posters=Path("/nowhere"))


def test_names_are_short_and_different_and_no_films(tmp_path):
    paths = [tmp_path / name for name in ("a/posters.csv", "b/Posters.csv", "my films.csv", "tt0111161.csv", "...")]
    assert source_names(paths) == ["posters", "Posters-2", "my-films", "source", "source-2"]


def test_the_command_takes_formats_and_ratios_for_each(first, second, tmp_path):
    arguments = ["prepare", str(first), str(second), "--format", "csv", "--out", str(tmp_path / "data")]
    arguments += ["--ratios", "0.5", "0.25", "0.25", "--ratios=1", "0", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "by source" in result.stderr
    info = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert info["options"]["ratios"] == [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]
    assert info["options"]["format"] == ["csv", "csv"]
    for wrong in (["--ratios", "0.5", "half", "0.25"], ["--ratios", "1"]):
        result = CliRunner().invoke(app, ["prepare", str(first), "-f", "csv", "-o", str(tmp_path / "x"), *wrong])
        assert isinstance(result.exception, UserError)
        assert "--ratios 0.7 0.1 0.2" in str(result.exception)


@pytest.mark.parametrize("seed", range(8))
def test_no_chain_of_films_and_pictures_leaks(seed, tmp_path):
    """Three sources that share ids, titles and pictures by accident, so that posters bridge films of two sides."""
    draw = random.Random(seed)
    noise = np.random.default_rng(seed)
    pictures = noise.integers(0, 2**63, 40, dtype=np.uint64)
    parts, alone = {}, {}
    for place, source in enumerate(("one", "two", "three")):
        count = 30
        table = pd.DataFrame(
            {
                "id": draw.sample([f"tt{n:07}" if n % 2 else f"{n}.jpg" for n in range(90)], count),
                "title": pd.Series(
                    [f"T{draw.randrange(60)}" if draw.random() < 0.7 else None for _ in range(count)], dtype=object
                ),
                "year": pd.array([1999] * count, dtype="Int64"),
                "phash": draw.sample(list(pictures), count),
                "sketch": list(noise.integers(0, 256, (count, 96, 64), dtype=np.uint8)),
                "split": pd.Series([None] * count, dtype=object),
                "path": [str(tmp_path / source / f"{n}.jpg") for n in range(count)],
            }
        )
        table["sha256"] = [f"{int(value) ^ draw.randrange(2):064x}" for value in table["phash"]]
        table["group"], items, _ = group_posters(table, 6)
        labels = noise.integers(0, 2, (count, 4)).astype(np.float32)
        table, _ = assign_splits(table, labels, (0.5, 0.2, 0.3), seed + place, items)
        alone[source] = dict(zip(table["id"], table["split"], strict=True))
        nothing = pd.DataFrame(columns=["id", "path", "reason", "message"])
        parts[source] = Prepared(tmp_path / source, {}, table, nothing, [], [], None, None, {}, count, 0)
    result = join_sources(parts, 6)
    dataset = Dataset(tmp_path, result.root, result.table, None, {})
    assert not leaks(dataset)
    assert sides(dataset, "one") == alone["one"]
    assert result.table["id"].is_unique
    assert len(result.table) + len(result.dropped) == result.posters_found == 90
    assert result.dropped["reason"].isin(["measured_elsewhere", "duplicate_id", "same_file"]).all()
    assert list(result.table["group"]) == group_posters(result.table, 6)[0]
    # What an earlier source does not have stays as it is alone.
    for source in ("two", "three"):
        moved = {issue.id for issue in result.issues if issue.kind == "moved_to_train"}
        for name, side in sides(dataset, source).items():
            assert name in moved or side == alone[source][name.rpartition("/")[2]]


def test_real_posters(shared_ccu, tmp_path):
    """Real posters twice: as published, and some of them in a table, saved anew under names of no film."""
    from PIL import Image

    source, other = tmp_path / "ccu", tmp_path / "other"
    year = "1981"
    shutil.copytree(shared_ccu / "Movie_Poster_Dataset" / year, source / "Movie_Poster_Dataset" / year)
    (source / "Movie_Poster_Metadata" / "groundtruth").mkdir(parents=True)
    shutil.copy(
        shared_ccu / "Movie_Poster_Metadata" / "groundtruth" / f"{year}.txt",
        source / "Movie_Poster_Metadata" / "groundtruth",
    )
    other.mkdir()
    lines = ["image,genres"]
    for number, path in enumerate(sorted((source / "Movie_Poster_Dataset" / year).iterdir())[:40]):
        with Image.open(path) as picture:
            picture.convert("RGB").resize((150, 220)).save(other / f"{number}.jpg", quality=70)
        lines.append(f"{number}.jpg,Drama")
    (other / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    joined = run([source, other / "table.csv"], tmp_path / "data", format=["ccu", "csv"], ratios=RATIOS)
    assert sides(joined, "ccu") == sides(run(source, tmp_path / "alone", format="ccu", ratios=RATIOS[0]))
    assert not leaks(joined)
    assert (joined.table.groupby("group")["split"].nunique() == 1).all()
    # Nearly all are found by their pictures.
    sizes = joined.table["group"].value_counts()
    assert (sizes[joined.table.loc[joined.table["source"] == "table", "group"]] == 1).sum() <= 2
