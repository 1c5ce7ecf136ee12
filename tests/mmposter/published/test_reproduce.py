"""`mmposter reproduce` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset
from mmposter.errors import UserError
from mmposter.evaluation.metrics import METRICS
from mmposter.published.reproduce import reproduce, wish
from mmposter.published.result import Result, find_results
from mmposter.published.systems import find_published
from mmposter.published.table import COLUMNS, group_results, list_rows, to_markdown
from mmposter.published.task import task_dataset

QUICK = ("train.epochs=1", "train.batch_size=20", "evaluation.bootstrap=100", "crops.target=8", "cnn.size=[64,64]")


def run(*arguments):
    result = CliRunner().invoke(app, ["reproduce", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def sets(*more):
    return [part for text in (*QUICK, *more) for part in ("--set", text)]


def test_list_shows_every_row():
    shown = json.loads(run("--list", "--json").stdout)
    assert [row["name"] for row in shown] == [row[0] for row in list_rows()]
    assert next(row for row in shown if row["name"] == "p4/vgg16")["published"] == "any hit@3 0.775"


def test_leak_stands_in_one_table(posters, tmp_path):
    arguments = ["p1/cnn6", posters.folder, "--variant", "both", "--out", tmp_path, "--offline"]
    run(*arguments, *sets("crops.target=30"))
    leaky, clean = sorted(find_results(tmp_path), key=lambda result: result.variant or "")
    assert (leaky.variant, clean.variant) == ("as_published", "clean")
    assert leaky.data["leak_share"] > 0.5
    assert clean.data["leak_share"] == 0
    assert leaky.whole is None  # its whole test posters were trained on, crop by crop
    assert clean.whole is not None
    for result in (leaky, clean):
        assert (tmp_path / result.run / "plots" / "genres.png").is_file()
        assert "](plots/genres.png)" in (tmp_path / result.run / "README.md").read_text()
    table = (tmp_path / "published.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("|") and "R-precision" in line]
    assert [line.split("|")[2].strip() for line in rows] == ["as_published", "clean", "clean, whole posters"]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]
    by_column = {column: [row[place] for row in cells] for place, column in enumerate(COLUMNS)}
    assert by_column["published"] == ["0.041", "0.041", "–"]
    assert by_column["verdict"][0] == "LEAKS"
    assert "LEAKS" not in by_column["verdict"][1:]
    assert "no match with a published number is claimed" in table
    assert "changed from the recipe: " in table
    assert "P1: DenseNet on 20 genres" in (tmp_path / "published.html").read_text()


def test_finished_networks_stay_and_others_join_them(posters, tmp_path):
    variant = ("--variant", "clean")
    first = run("p7/feedforward", posters.folder, "--out", tmp_path, "--offline", *variant, *sets())
    kept = (tmp_path / "p7/feedforward/clean/run/best.safetensors").stat().st_mtime_ns
    again = run("p7/feedforward", posters.folder, "--out", tmp_path, "--offline", *variant, *sets())
    assert (tmp_path / "p7/feedforward/clean/run/best.safetensors").stat().st_mtime_ns == kept
    assert first.stdout == again.stdout
    run("p4/cnn4", posters.folder, "--out", tmp_path, "--offline", *sets("cnn.size=[96,80]"))
    assert [result.name for result in find_results(tmp_path)] == ["p4/cnn4", "p7/feedforward"]
    with pytest.raises(UserError, match=r"trained otherwise:\n  train.epochs: 1 there, 2 now"):
        reproduce(
            wish(find_published("p7/feedforward"), "clean", [*QUICK, "train.epochs=2"]),
            "raw25",
            posters,
            tmp_path,
            published="p7/feedforward",
            device="cpu",
            offline=True,
            quiet=True,
        )


def test_an_epoch_is_chosen_on_the_test_posters_as_published_and_measured_on_the_same(posters, tmp_path):
    arguments = ["p7/feedforward", posters.folder, "--variant", "both", "--out", tmp_path, "--offline"]
    run(*arguments, *sets())
    flattered, clean = sorted(find_results(tmp_path), key=lambda result: result.variant or "")
    task = task_dataset(posters, "raw25", tmp_path / "data")
    train, val, test = (len(task.split(side)) for side in ("train", "val", "test"))
    assert flattered.data["rows"] == {"train": train + val, "val": test, "test": test}
    assert clean.data["rows"] == {"train": train, "val": val, "test": test}
    watched = Dataset.load(tmp_path / "data" / "raw25-watched-on-test")
    assert set(watched.split("val").table["id"]) == set(task.split("test").table["id"])
    assert len(watched.split("test")) == 0
    assert not (tmp_path / clean.run / "plots" / "genres.png").exists()  # nothing was balanced
    for result in (flattered, clean):  # on the test posters of the data, whoever watched them
        saved = json.loads((tmp_path / result.run / "evaluation" / "test" / "evaluation.json").read_text())
        assert saved["n"] == test
    table = (tmp_path / "published.md").read_text()
    assert "p7/feedforward, as_published: no validation posters; the best epoch is read off the test posters" in table


def test_missing_weights_of_one_do_not_cost_the_others(posters, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"1 of 2 networks were left out:\np4/vgg16: vgg16-.* is not on this machine"):
        run("p4", posters.folder, "--out", tmp_path / "out", "--offline", *sets("cnn.size=[96,80]"))
    assert [result.name for result in find_results(tmp_path / "out")] == ["p4/cnn4"]


def test_ours_stand_beside_them(posters, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "branches: [cnn]\ncnn: {backbone: mobilenet_v3_small, init: none, size: [64, 48]}\n"
        "train: {epochs: 1}\nevaluation: {bootstrap: 100}\n"
    )
    arguments = ["p7/feedforward", posters.folder, "--ours", recipe, "--out", tmp_path / "out", "--offline", *sets()]
    run(*arguments)
    assert "| ours: small (cnn) |" in (tmp_path / "out" / "published.md").read_text()
    (group,) = group_results(find_results(tmp_path / "out"))
    assert [result.name for result in group.results] == ["p7/feedforward", "ours/small-raw25"]
    # The derived data have no store of their own: features are those of the data they were made from.
    assert not (tmp_path / "out" / "data" / "raw25" / "features").exists()
    assert list((posters.folder / "features").glob("cnn-*"))


def test_a_number_without_a_constant_is_never_shown(tmp_path):
    metrics = {m.name: {"value": 0.5, "ci95": [0.4, 0.6], "constant": 0.45, "verdict": "better"} for m in METRICS}
    result = Result(
        name="p3/cnn3",
        label="P3 custom CNN",
        variant="clean",
        metrics=metrics,
        whole=None,
        titles={m.name: m.title for m in METRICS},
        changed={},
        config={},
        data={"name": "d", "vocabulary": "top5", "genres": 5, "rows": {"train": 1, "val": 1, "test": 1}, "crops": False}
        | {"leak_share": 0.0},
        run="x",
        epochs=1,
        seconds=1.0,
        device="cpu",
        commit=None,
    )
    (group,) = group_results([result, replace(result, name="ours/x", variant=None)])
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in group.rows()]
    assert [row["constant here"] for row in rows] == ["0.450"] * len(rows)
    f1 = next(row for row in rows if row["metric"].startswith("overall F1"))
    assert (f1["published"], f1["constant there"]) == ("0.385", "0.577")
    assert f1["here (95 % interval)"] == "0.500 (0.400–0.600)"
    assert "| custom CNN, 3 convolutions | clean |" in to_markdown([group])


def test_nothing_to_reproduce_is_told():
    with pytest.raises(UserError, match="takes a NAME and a DATA folder"):
        CliRunner().invoke(app, ["reproduce", "p1"], catch_exceptions=False)


def test_another_network_in_its_place_is_told_in_the_table(posters, tmp_path):
    arguments = ["p7/feedforward", posters.folder, "--out", tmp_path, "--offline", *sets("cnn.backbone=cnn3")]
    run(*arguments)
    assert "| feed-forward network on raw pixels, but with cnn3 |" in (tmp_path / "published.md").read_text()
    # How many processes read posters changes no result.
    assert run(*arguments, "--set", "train.workers=1").stdout
