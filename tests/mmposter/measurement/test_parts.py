"""A run on a data set of several sources: trained, packed, and measured on each source beside the whole."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset, write_dataset
from mmposter.errors import UserError
from mmposter.evaluation import evaluate
from mmposter.measurement.evaluate import examine_run
from mmposter.packs.write import write_pack
from mmposter.report.evaluation import evaluation_document
from mmposter.report.evaluation_text import parts_tables
from mmposter.runs.run import Run
from mmposter.training.train import train


@pytest.fixture
def joined(world) -> Dataset:
    """The posters of the world as of two sources, one in three of the second."""
    dataset = world.dataset
    table = dataset.table.assign(source=["more" if row % 3 == 0 else "ccu" for row in range(len(dataset))])
    info = {"root": str(dataset.root), "options": {"sources": ["more", "ccu"]}}
    write_dataset(dataset.folder, table, dataset.vocabulary, info)
    return Dataset.load(dataset.folder)


def trained(world, dataset: Dataset, out) -> Run:
    config = world.config("train.epochs=1", branches="yolo,ocr")
    return train(config, dataset, out, device="cpu", offline=True, quiet=True).run


def test_each_source_is_measured_beside_its_constant(world, joined, tmp_path):
    run = trained(world, joined, tmp_path / "run")
    found = examine_run(run, joined, device="cpu", offline=True)
    test = joined.split("test")
    assert [part.name for part in found.parts] == ["more", "ccu"]
    assert [part.posters for part in found.parts] == [test.sources.count("more"), test.sources.count("ccu")]
    members = [dict(zip(test.table["id"], test.sources, strict=True))[name] == "ccu" for name in found.scored.ids]
    alone = evaluate(
        found.scored.target[members],
        found.scored.probs[members],
        found.scored.thresholds,
        found.scored.genres,
        train_target=joined.split("train").labels(),
        split="test",
        n_boot=run.config.evaluation.bootstrap,
        groups=found.scored.groups[members],
        decisions=found.scored.decisions[members],
    )
    ours = found.parts[1].evaluation
    assert ours is not None
    assert ours.metrics["mean_average_precision"].constant == alone.metrics["mean_average_precision"].constant
    assert ours.to_json()["metrics"] == alone.to_json()["metrics"]
    (table,) = parts_tables(found)
    assert [row[:3] for row in table.rows[::3]] == [[p.name, str(p.posters), "mAP"] for p in found.parts]
    assert "parts" in [section.id for section in evaluation_document(found).sections]


def test_the_command_tells_parts_and_a_pack_keeps_the_sources(world, joined, tmp_path):
    run = trained(world, joined, tmp_path / "run")
    runner, common = CliRunner(), ["--offline", "--device", "cpu", "--calibration", "none"]
    arguments = ["evaluate", str(run.folder), str(joined.folder), "-v"]
    said = runner.invoke(app, [*arguments, *common], catch_exceptions=False)
    assert "By source" in said.stdout
    assert "compare each with its constant" in " ".join(said.stdout.split())
    pack = write_pack(joined, world.config(branches="yolo,ocr"), tmp_path / "joined.mmpack", offline=True, quiet=True)
    assert Dataset.load(pack.file).sources == joined.sources
    arguments = ["evaluate", str(run.folder), str(pack.file), "--by", "source", "--by", "period", "--json", *common]
    parts = json.loads(runner.invoke(app, arguments, catch_exceptions=False).stdout)["parts"]
    assert list(parts) == ["source", "period"]
    assert set(parts["source"]) == {"more", "ccu"}
    whole = parts["period"]["1980 to 2015"]
    assert whole["posters"] == len(joined.split("test"))
    assert set(whole["metrics"]["macro_f1"]) == {"value", "ci95", "constant", "difference"}


def test_data_of_one_source_have_no_parts_but_those_asked_for(world, tmp_path):
    run = trained(world, world.dataset, tmp_path / "run")
    plain = examine_run(run, world.dataset, device="cpu", offline=True)
    assert plain.parts == ()
    assert "parts" not in plain.to_json()
    assert [part.name for part in examine_run(run, world.dataset, device="cpu", offline=True, by=["decade"]).parts] == [
        "2000s"
    ]
    with pytest.raises(UserError, match="--by source"):
        examine_run(run, world.dataset, device="cpu", offline=True, by=["source"])


def test_data_without_training_posters_are_refused_before_they_are_looked_at(world, joined, tmp_path):
    run = trained(world, joined, tmp_path / "run")
    table = joined.table[joined.table["split"] != "train"].reset_index(drop=True)
    write_dataset(tmp_path / "rest", table, joined.vocabulary, {"root": str(joined.root)})
    with pytest.raises(UserError, match=r"(?s)has no training posters: the constant .* --ratios 0\.1 0 0\.9"):
        examine_run(run, Dataset.load(tmp_path / "rest"), device="cpu", offline=True)
