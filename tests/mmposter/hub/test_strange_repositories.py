"""A repository of the hub may be a stranger's: nothing but our files is touched, and of these none that is too much."""

from __future__ import annotations

import json

import pytest

from mmposter.errors import UserError
from mmposter.runs.run import Run
from mmposter.shipped import find_run

PICKLE = b"cos\nsystem\n(S'touch pwned'\ntR."


def with_files(on_hub, **changes: bytes | None) -> str:
    """Another repository with other files; its address."""
    files = dict(on_hub.repository.commits[on_hub.commit])
    for name, content in changes.items():
        if content is None:
            del files[name]
        else:
            files[name] = content
    on_hub.hub.of("films/strange").commit(files)
    return "hf://films/strange"


def downloads(on_hub) -> list[str]:
    return [line for line in on_hub.hub.asked if line.startswith("GET /films")]


def test_pickles_and_programs_beside_the_model_are_never_asked_for(on_hub):
    strange = {"pytorch_model.bin": PICKLE, "detector.pt": PICKLE, "setup.py": b"boom", "sub/model.json": b"{}"}
    folder = find_run(with_files(on_hub, **strange))
    assert not {path.name for path in folder.rglob("*")} & {"pytorch_model.bin", "detector.pt", "setup.py", "sub"}
    assert not [line for line in on_hub.hub.asked if any(name in line for name in strange if name != "sub/model.json")]
    Run.load(folder).load_model()


def test_paths_that_lead_out_of_the_folder_are_passed_over(on_hub, tmp_path):
    on_hub.hub.more = [
        {"type": "file", "path": "../../../evil.json", "size": 3, "oid": "0" * 40},
        {"type": "file", "path": "/etc/evil.json", "size": 3, "oid": "0" * 40},
        {"type": "directory", "path": "subsets.json", "oid": "0" * 40},
    ]
    folder = find_run("hf://films/genres")
    assert not list(tmp_path.rglob("evil*"))
    assert not (folder / "subsets.json").exists()


@pytest.mark.parametrize("name", ["model.json", "best.safetensors"])
def test_what_is_no_model_of_ours_is_refused_before_anything_is_fetched(on_hub, name):
    address = with_files(on_hub, **{name: None})
    with pytest.raises(UserError, match=rf"is no model of mmposter: it has no {name}"):
        find_run(address)
    assert downloads(on_hub) == []


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("best.safetensors", 10**15, r"its best\.safetensors has 1,000,000,000,000,000 bytes, and such a file has at"),
        ("model.json", 17_000_000, r"its model\.json has 17,000,000 bytes"),
        ("seen.parquet", -1, r"its seen\.parquet has -1 bytes"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_fetched(on_hub, name, size, message):
    on_hub.hub.stated[name] = size
    with pytest.raises(UserError, match=message):
        find_run("hf://films/genres")
    assert downloads(on_hub) == []


def test_files_that_are_too_large_together_are_refused(on_hub):
    on_hub.hub.stated.update({"best.safetensors": 3 * 10**9, "tower.safetensors": 3 * 10**9})
    with pytest.raises(
        UserError, match=r"bytes together, allowed are 4,000,000,000\.\nIf you know who made it, get its"
    ):
        find_run("hf://films/genres")
    assert downloads(on_hub) == []


def test_weights_that_changed_on_the_way_are_refused_and_not_kept(on_hub):
    good = (on_hub.run / "best.safetensors").read_bytes()
    on_hub.hub.broken["best.safetensors"] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(UserError, match=r"best\.safetensors was damaged on its way from the hub \(its checksum"):
        find_run("hf://films/genres")
    on_hub.hub.broken.clear()
    assert (find_run("hf://films/genres") / "best.safetensors").read_bytes() == good


def test_a_damaged_model_is_one_message(on_hub):
    folder = find_run(with_files(on_hub, **{"model.json": json.dumps({"format": 1, "config": []}).encode()}))
    with pytest.raises(UserError, match=r"model\.json is damaged"):
        Run.load(folder)
