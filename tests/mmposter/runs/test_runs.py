from __future__ import annotations

import json

import pytest

from mmposter.config import load_config
from mmposter.errors import UserError
from mmposter.runs.listing import list_runs


@pytest.fixture
def make_run(tmp_path):
    def make(name: str, scores, *, finished: bool = True, overrides=(), folder=tmp_path / "runs"):
        run = folder / name
        run.mkdir(parents=True)
        config = load_config(None, overrides).model_dump(mode="json")
        values = {"format": 1, "config": config, "thresholds": [0.5] if finished else None}
        (run / "model.json").write_text(json.dumps(values))
        if scores is not None:
            (run / "metrics.jsonl").write_text("".join(json.dumps({"val_map": score}) + "\n" for score in scores))
        return run

    return make


def test_finished_and_stopped_runs_the_best_first(tmp_path, make_run):
    make_run("b", [0.2, 0.4, 0.3])
    make_run("deep/a", [0.5], finished=False)
    make_run("new", None, finished=False)
    found = list_runs(tmp_path / "runs")
    assert [(run.name, run.state, run.epochs, run.val_map) for run in found] == [
        ("deep/a", "stopped", 1, 0.5),
        ("b", "finished", 3, 0.4),
        ("new", "stopped", 0, None),
    ]


def test_only_what_differs_is_listed(tmp_path, make_run):
    make_run("a", [0.1], overrides=["fusion.head=gated", "branches=cnn,yolo", "train.epochs=3"])
    make_run("b", [0.2], overrides=["branches=ocr", "train.epochs=3", "ocr.languages=[en,fr]"])
    first, second = list_runs(tmp_path / "runs")
    assert (first.branches, second.branches) == (("ocr",), ("cnn", "yolo"))
    assert first.differences == {"fusion.head": "sum", "ocr.languages": ["en", "fr"]}
    assert second.differences == {"fusion.head": "gated", "ocr.languages": ["en"]}
    assert json.loads(json.dumps(first.to_json()))["branches"] == ["ocr"]


@pytest.mark.parametrize(
    "model", ["", "{", "[]", "3", "{}", '{"config": 3}', '{"config": {}}', '{"config": {"branches": 1, "regime": "x"}}']
)
def test_a_damaged_model_file_does_not_hide_the_other_runs(tmp_path, make_run, model):
    make_run("good", [0.2])
    (make_run("bad", [0.9]) / "model.json").write_text(model)
    assert [(run.name, run.state) for run in list_runs(tmp_path / "runs")] == [("good", "finished"), ("bad", "damaged")]


@pytest.mark.parametrize(
    "metrics", ['{"val_map": 0.1}\n{"val', '{"epoch": 1}\n', "[]\n", '{"val_map": null}\n', "\0\0\n"]
)
def test_a_damaged_history_does_not_hide_the_other_runs(tmp_path, make_run, metrics):
    make_run("good", [0.2])
    (make_run("bad", None) / "metrics.jsonl").write_text(metrics)
    assert [(run.name, run.state) for run in list_runs(tmp_path / "runs")] == [("good", "finished"), ("bad", "damaged")]


def test_a_run_folder_itself_may_be_given(make_run, monkeypatch):
    run = make_run("only", [0.2])
    assert [found.name for found in list_runs(run)] == ["only"]
    monkeypatch.chdir(run)
    assert [found.name for found in list_runs(run.relative_to(run))] == ["only"]


def test_nothing_to_list(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*mmposter train"):
        list_runs(tmp_path / "none")
    with pytest.raises(UserError, match=r"no run folder .*model\.json"):
        list_runs(tmp_path)
