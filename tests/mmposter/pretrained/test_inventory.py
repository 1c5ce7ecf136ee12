"""`mmposter weights` and `mmposter doctor`: what is here, and what to type for what is not."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from detectors import PPOCR_FILES
from mmposter.cli import app
from mmposter.pretrained import catalogue
from mmposter.pretrained.inventory import list_weights
from mmposter.pretrained.resolver import ENVIRONMENT, locate, resolve
from mmposter.readiness import states as readiness
from mmposter.readiness.doctor import diagnose


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without caches and without packages that carry weights, and a build without a model."""
    monkeypatch.setattr(catalogue, "_CACHE", tmp_path / "cache")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path / "easyocr"))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine"))
    monkeypatch.setattr("mmposter.pretrained.resolver._inside_package", lambda module, inside: tmp_path / module)
    monkeypatch.setattr("mmposter.shipped._folder", lambda: tmp_path / "package")
    return tmp_path


@pytest.fixture
def rapidocr(nowhere):
    """The package, whose wheel carries the networks of the usual reader."""
    (nowhere / "rapidocr").mkdir()
    for name in PPOCR_FILES:
        (nowhere / "rapidocr" / name).touch()


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_file_says_where_it_is_or_how_to_get_it(nowhere):
    assert not any(entry.folder for entry in list_weights())
    by_name = {entry.source.name: entry for entry in list_weights()}
    assert by_name["easyocr models"].how == "pip install 'mmposter[offline]' or by itself on first use"
    assert by_name["yolo11n.pt"].how == "comes by itself on first use"
    assert by_name["yolo11n.pt"].source.licence == "AGPL-3.0"
    lite = by_name["efficientnet-lite0-57934424.pth"]
    assert (lite.how, lite.megabytes) == ("pip install 'mmposter[lite]'", None)
    resnet = next(entry for entry in list_weights() if entry.used_by.startswith("resnet50"))
    assert resnet.used_by == "resnet50, se_resnet50, srm_resnet50, gram_resnet50"
    assert 90 < resnet.megabytes < 110
    assert all(entry.how for entry in by_name.values())


def test_a_file_that_is_here_is_measured(nowhere):
    folder = nowhere / "mine"
    folder.mkdir()
    (folder / "yolo11n.pt").write_bytes(b"x" * 2_000_000)
    entry = next(entry for entry in list_weights() if entry.source.name == "yolo11n.pt")
    assert (entry.place, entry.folder, entry.megabytes) == (ENVIRONMENT, folder, 2.0)
    assert locate(entry.source) == (ENVIRONMENT, folder)
    assert resolve(entry.source, offline=True) == folder


def test_the_commands_print_what_a_program_can_read(nowhere):
    shown = json.loads(run("weights", "--json"))
    assert {"name", "used_by", "here", "how", "megabytes", "licence"} <= set(shown[0])
    assert "yolo11n.pt" in run("weights")
    found = json.loads(run("doctor", "--json"))
    assert [branch["branch"] for branch in found["branches"]["lite"]] == ["cnn", "style", "yolo", "ocr", "photo"]
    assert found["devices"][-1].startswith("cpu")
    text = run("doctor")
    assert "--workers auto" in text
    assert "branches, --config lite" in text


def test_the_doctor_says_what_to_type(nowhere, rapidocr, monkeypatch):
    states = {branch.branch: branch for branch in diagnose().branches["lite"]}
    assert (states["cnn"].state, states["cnn"].message) == ("missing", "pip install 'mmposter[lite]'")
    assert states["yolo"].state == "downloads"
    assert states["ocr"].message.endswith("at first use; without a network: pip install 'mmposter[offline]'")
    there = readiness.find_spec
    monkeypatch.setattr(readiness, "find_spec", lambda name: None if name == "ultralytics" else there(name))
    assert {b.branch: b.message for b in diagnose().branches["default"]}["yolo"] == "pip install ultralytics"


def test_a_branch_is_ready_when_its_files_are_here(nowhere, rapidocr):
    folder = nowhere / "mine"
    folder.mkdir()
    for name in ("yolo11n.pt", "densenet121-a639ec97.pth"):
        (folder / name).write_bytes(b"x")
    states = {branch.branch: branch.state for branch in diagnose().branches["default"]}
    assert states == {"cnn": "ready", "style": "ready", "yolo": "ready", "ocr": "downloads", "photo": "missing"}
