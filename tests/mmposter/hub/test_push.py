"""`mmposter push`: what is sent, what is not, and that what was sent comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mmposter import PosterClassifier, push_run
from mmposter.cli import app
from mmposter.errors import UserError
from mmposter.evaluation.scored import file_hash
from mmposter.runs.run import Run
from mmposter.shipped import find_run

SENT = {"model.json", "best.safetensors", "tower.safetensors", "seen.parquet", "README.md"}


def with_config(run: Path, branch: str, **changes: str) -> None:
    values = json.loads((run / "model.json").read_text())
    values["config"][branch] |= changes
    (run / "model.json").write_text(json.dumps(values))


def metadata(page: str) -> dict:
    return yaml.safe_load(page.split("---\n")[1])


def test_a_run_goes_there_and_comes_back(hub, trained):
    done = push_run(trained.run, "films/genres", licence="cc-by-4.0")
    sent = hub.repositories["films/genres"].commits[done.model.commit]
    assert set(sent) == SENT | {".gitattributes"}
    assert done.url == f"{hub.url}/films/genres/commit/{done.model.commit}"
    for name in ("best.safetensors", "tower.safetensors", "seen.parquet"):
        assert sent[name] == (trained.run / name).read_bytes()
    folder = find_run(str(done.model))
    assert folder.name == done.model.commit
    assert Run.load(folder).config == Run.load(trained.run).config
    picture = trained.world.dataset.root / trained.world.dataset.table["path"][3]
    scores = [
        PosterClassifier.load(one, device="cpu", offline=True, branches=["cnn"]).predict(picture)[0].scores
        for one in (trained.run, folder)
    ]
    assert scores[0] == scores[1]


def test_the_card_says_what_the_hub_and_a_person_want_to_know(hub, trained):
    page = push_run(trained.run, "films/genres", licence="mit", dry_run=True).card
    known = metadata(page)
    assert known["license"] == "mit"
    assert known["library_name"] == "mmposter"
    assert known["pipeline_tag"] == "image-classification"
    assert "movie-posters" in known["tags"]
    (result,) = known["model-index"][0]["results"]
    assert result["dataset"]["split"] == "validation"
    values = json.loads((trained.run / "validation.json").read_text())["metrics"]
    told = {one["name"]: one["value"] for one in result["metrics"]}
    assert told["mAP"] == round(values["mean_average_precision"]["value"], 4)
    assert "mmposter predict poster.jpg --model hf://films/genres" in page
    assert "the numbers may flatter" in page
    assert "Bright, Crowded, Wordy, Rare" in page


def test_the_card_takes_the_test_posters_where_they_were_measured(hub, trained):
    source = {"weights": file_hash(trained.run / "best.safetensors"), "branches": ["cnn", "yolo"], "data": "the films"}
    row = {"value": 0.25, "ci95": [0.2, 0.3], "constant": 0.1}
    names = ("mean_average_precision", "macro_f1", "r_precision", "expected_calibration_error")
    values = {"split": "test", "n": 1234, "metrics": dict.fromkeys(names, row), "provenance": source}
    file = trained.run / "evaluation" / "test" / "evaluation.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(values))
    page = push_run(trained.run, "films/genres", dry_run=True).card
    (result,) = metadata(page)["model-index"][0]["results"]
    assert result["dataset"] == {"name": "the films", "type": "the films", "split": "test"}
    assert "1,234 test posters of `the films`. Posters that the training has not seen." in page
    assert "| mAP | 0.250 | 0.200 to 0.300 | 0.100 |" in page
    file.write_text(json.dumps(values | {"provenance": source | {"weights": "of another training"}}))
    assert "val posters" in push_run(trained.run, "films/genres", dry_run=True).card


def test_the_command_sends_to_a_private_branch_and_prints_the_address(hub, trained):
    first = CliRunner().invoke(app, ["push", str(trained.run), "films/genres", "--private"])
    assert first.exit_code == 0, first.output
    repository = hub.repositories["films/genres"]
    assert repository.private
    main = repository.branches["main"]
    assert first.stdout.strip() == f"hf://films/genres@{main}"
    assert "the card names no license" in first.output
    (trained.run / "seen.parquet").unlink()
    command = ["push", str(trained.run), "films/genres", "--revision", "v2", "--license", "mit"]
    second = CliRunner().invoke(app, command)
    assert second.exit_code == 0, second.output
    assert repository.branches["main"] == main
    # What an earlier push left, and this run does not have, is gone from the branch.
    assert set(repository.commits[repository.branches["v2"]]) == SENT - {"seen.parquet"} | {".gitattributes"}
    assert repository.summaries == ["A model of mmposter (cnn, yolo)"] * 2


def test_a_dry_run_asks_nobody(hub, trained):
    done = CliRunner().invoke(app, ["push", str(trained.run), "films/genres", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert hub.asked == []
    assert metadata(done.stdout)["license"] == "unknown"
    assert "would be sent to films/genres: best.safetensors (" in done.output


def test_the_shipped_model_can_be_sent_with_its_own_card(hub):
    page = push_run("posters", "films/genres", dry_run=True).card
    known = metadata(page)
    assert known["license"] == "mit"
    names = [one["name"] for one in known["model-index"][0]["results"][0]["metrics"]]
    assert "mAP" in names
    assert "mmposter predict poster.jpg --model hf://films/genres" in page


def test_paths_of_this_machine_stay_here(hub, trained):
    with_config(trained.run, "yolo", model="/srv/me/weights/yolo11n.pt")
    with_config(trained.run, "cnn", init="/srv/me/towers/mine.safetensors")
    done = push_run(trained.run, "films/genres")
    sent = hub.repositories["films/genres"].commits[done.model.commit]
    assert not [name for name, content in sent.items() if b"/srv/me" in content]
    assert json.loads(sent["model.json"])["config"]["yolo"]["model"] == "yolo11n.pt"
    assert done.notes == (
        "cnn.init is written as mine.safetensors, without its folder",
        "yolo.model is written as yolo11n.pt, without its folder",
    )


@pytest.mark.parametrize(
    ("branch", "changes", "message"),
    [
        ("yolo", {"model": "/srv/me/best.pt"}, "a detector of your own, yolo.model=/srv/me/best.pt.*\nTrain a run"),
        ("yolo", {"model": "weights/best.pt"}, "a detector of your own"),
        ("cnn", {"backbone": "hf//srv/me/vit"}, "cnn.backbone=hf//srv/me/vit"),
    ],
)
def test_what_nobody_else_has_is_refused(hub, trained, branch, changes, message):
    with_config(trained.run, branch, **changes)
    with pytest.raises(UserError, match=message):
        push_run(trained.run, "films/genres")
    assert hub.asked == []


def test_an_encoder_of_ones_own_is_refused(hub, trained, monkeypatch):
    values = json.loads((trained.run / "model.json").read_text())
    values["config"]["branches"] = ["cnn", "yolo", "ocr"]
    values["config"]["ocr"]["encoder"] = "/srv/me/encoder"
    (trained.run / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"a text encoder of your own, ocr\.encoder=/srv/me/encoder"):
        push_run(trained.run, "films/genres")


def test_a_control_and_an_unfinished_run_are_refused(hub, trained):
    values = json.loads((trained.run / "model.json").read_text())
    (trained.run / "model.json").write_text(json.dumps(values | {"thresholds": None}))
    with pytest.raises(UserError, match="has not ended"):
        push_run(trained.run, "films/genres")
    values["config"]["shuffled"] = ["yolo"]
    (trained.run / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"is a control \(trained with shuffled=yolo\)"):
        push_run(trained.run, "films/genres")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("repository", "options", "message"),
    [
        ("genres", {}, "a model of the Hugging Face hub is"),
        ("films/genres", {"licence": "All rights\nreserved"}, "--license takes an identifier of the hub"),
    ],
)
def test_bad_names_are_refused(hub, trained, repository, options, message):
    with pytest.raises(UserError, match=message):
        push_run(trained.run, repository, **options)


def test_a_stranger_may_not_write(hub, trained, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    hub.of("films/genres").commit({})
    with pytest.raises(UserError, match="hf auth login"):
        push_run(trained.run, "films/genres")
    assert set(hub.repositories["films/genres"].branches) == {"main"}


def test_without_a_network_it_says_so(hub, trained, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="a push needs the network, and HF_HUB_OFFLINE forbids it"):
        push_run(trained.run, "films/genres")
