"""A model of the hub: what is asked for, what is refused, what the cache gives without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmposter import PosterClassifier, from_pretrained
from mmposter.cli import app
from mmposter.errors import UserError
from mmposter.runs.run import Run
from mmposter.shipped import find_run, find_tower
from mmposter.training.start import Start

FILES = {"model.json", "best.safetensors", "tower.safetensors", "seen.parquet", "README.md"}


def said(capfd) -> str:
    return " ".join(capfd.readouterr().err.split())


def poster(world) -> str:
    return str(world.dataset.root / world.dataset.table["path"][0])


def test_a_model_is_downloaded_once_and_its_commit_is_said(on_hub, capfd):
    folder = find_run("hf://films/genres")
    assert {path.name for path in folder.iterdir()} == FILES
    assert folder.name == on_hub.commit
    text = said(capfd)
    assert f"downloading films/genres, commit {on_hub.commit[:12]}" in text
    assert f"hf://films/genres is commit {on_hub.commit}; to get the same one again: hf://films/genres@" in text
    assert Run.load(folder).vocabulary == Run.load(on_hub.run).vocabulary
    on_hub.hub.asked.clear()
    assert find_run("hf://films/genres") == folder
    assert not [line for line in on_hub.hub.asked if line.startswith("GET /films")]  # nothing is fetched twice
    assert "downloading" not in said(capfd)


def test_it_predicts_as_the_run_does(on_hub, capfd):
    here = PosterClassifier.load(on_hub.run, device="cpu", offline=True, branches=["cnn"])
    there = from_pretrained("films/genres", revision=on_hub.commit, device="cpu", branches=["cnn"])
    picture = poster(on_hub.world)
    assert there.predict(picture)[0].scores == here.predict(picture)[0].scores
    assert repr(there) == f"<PosterClassifier genres@{on_hub.commit[:12]}: cnn; on cpu>"
    assert "is commit" not in said(capfd)  # it was named


def test_a_whole_commit_is_asked_for_once(on_hub):
    folder = find_run(f"hf://films/genres@{on_hub.commit}")
    on_hub.hub.asked.clear()
    assert find_run(f"hf://films/genres@{on_hub.commit}") == folder
    assert on_hub.hub.asked == []


def test_a_branch_is_its_newest_commit(on_hub):
    first = find_run("hf://films/genres")
    files = dict(on_hub.repository.commits[on_hub.commit], **{"README.md": b"# New\n"})
    newer = on_hub.repository.commit(files)
    on_hub.repository.branches["old"] = on_hub.commit
    assert find_run("hf://films/genres").name == newer
    assert find_run("hf://films/genres@old") == first


def test_offline_the_cache_serves_or_says_what_to_do(on_hub, capfd):
    with pytest.raises(UserError, match=r"is not on this machine.*\nType the same command once without --offline"):
        find_run("hf://films/genres", offline=True)
    assert on_hub.hub.asked == []
    folder = find_run("hf://films/genres")
    on_hub.hub.asked.clear()
    assert find_run("hf://films/genres", offline=True) == folder
    assert on_hub.hub.asked == []
    assert f"is commit {on_hub.commit}" in said(capfd)


def test_the_offline_option_of_a_command_reaches_the_hub(on_hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # which the option changes, and the test puts back
    for name in ("TRANSFORMERS_OFFLINE", "YOLO_OFFLINE"):
        monkeypatch.setenv(name, "0")
    command = ["predict", poster(on_hub.world), "--model", "hf://films/genres", "--offline"]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, UserError)
    assert "hf://films/genres is not on this machine" in str(done.exception)
    assert on_hub.hub.asked == []


def test_a_hub_that_does_not_answer_leaves_what_was_downloaded(on_hub, capfd):
    on_hub.hub.down = True
    with pytest.raises(UserError, match=r"the Hugging Face hub \(http://127.* could not be used for films/genres"):
        find_run("hf://films/genres")
    on_hub.hub.down = False
    folder = find_run("hf://films/genres")
    on_hub.hub.down = True
    assert find_run("hf://films/genres") == folder
    assert "does not answer: taking hf://films/genres as it was downloaded before" in said(capfd)


def test_commands_take_an_address(on_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["predict", poster(on_hub.world), "--model", "hf://films/genres", "--branches", "cnn", "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["scores"]) == {"Bright", "Crowded", "Wordy", "Rare"}
    data = str(on_hub.world.dataset.folder)
    done = CliRunner().invoke(app, ["evaluate", "hf://films/genres", data, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    # Nobody writes into the cache, and the numbers say which state they are of.
    place = Path("runs") / f"genres@{on_hub.commit[:12]}" / "evaluation" / "test"
    known = json.loads((place / "evaluation.json").read_text())
    assert known["provenance"]["run"] == f"genres@{on_hub.commit[:12]}"
    assert {path.name for path in find_run("hf://films/genres").iterdir()} == FILES


def test_a_training_starts_from_it_and_says_so(on_hub):
    start = Start.load("hf://films/genres")
    assert start.name == f"genres@{on_hub.commit[:12]}"
    assert start.facts()["hub"] == f"hf://films/genres@{on_hub.commit}"
    assert Path(start.config().cnn.init) == find_tower("hf://films/genres")
    assert start.trained_on(on_hub.world.dataset.table) == Start.load(on_hub.run).trained_on(on_hub.world.dataset.table)


def test_init_takes_its_image_network(on_hub):
    from mmposter.cli.options import overrides

    (line,) = overrides(None, "hf://films/genres")
    assert json.loads(line.removeprefix("cnn.init=")) == str(find_tower("hf://films/genres"))
    files = dict(on_hub.repository.commits[on_hub.commit])
    del files["tower.safetensors"]
    on_hub.repository.commit(files)
    with pytest.raises(UserError, match=r"hf://films/genres has no tower\.safetensors"):
        overrides(None, "hf://films/genres")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "hf://films/nothing",
            "has no model films/nothing that you may see.*\nCheck the name; if it is private, log in",
        ),
        ("hf://films/genres@v9", "films/genres has no branch, tag or commit 'v9'"),
    ],
)
def test_what_is_not_there_is_said(on_hub, address, message):
    with pytest.raises(UserError, match=message):
        find_run(address)


def test_a_private_model_needs_a_login(on_hub, monkeypatch):
    on_hub.repository.private = True
    assert find_run("hf://films/genres").name == on_hub.commit
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    other = on_hub.hub.of("films/other")
    other.private = True
    other.commit(on_hub.repository.commits[on_hub.commit])
    with pytest.raises(UserError, match="hf auth login"):
        find_run("hf://films/other")


def test_a_run_is_loaded_by_its_address_and_not_written_to(on_hub):
    assert Run.load("hf://films/genres").config == Run.load(on_hub.run).config
    done = CliRunner().invoke(app, ["calibrate", "hf://films/genres", str(on_hub.world.dataset.folder)])
    assert isinstance(done.exception, UserError)
    assert "Get its files first: hf download films/genres --local-dir FOLDER" in str(done.exception)


def test_from_pretrained_takes_folders_too(on_hub, monkeypatch):
    assert from_pretrained(on_hub.run, device="cpu", offline=True, branches=["cnn"]).run.folder == on_hub.run
    monkeypatch.chdir(on_hub.run.parent.parent)
    on_hub.hub.asked.clear()
    found = from_pretrained("mine/genres", device="cpu", offline=True, branches=["cnn"])  # a folder of that name
    assert found.run.folder == Path("mine/genres")
    assert on_hub.hub.asked == []
    with pytest.raises(
        UserError, match="no run folder mine/typo here, and as a model of the hub: the Hugging Face hub has"
    ):
        from_pretrained("mine/typo")
    with pytest.raises(UserError, match=r"revision='v1' is for a model of the hub \(ORG/NAME\); 'posters' is none"):
        from_pretrained("posters", revision="v1")
