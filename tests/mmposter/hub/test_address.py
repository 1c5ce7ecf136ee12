"""What is the name of a model of the hub, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmposter.errors import UserError
from mmposter.hub import HubModel, parse_address, snapshot_of
from mmposter.shipped import find_run, is_borrowed, run_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf://films/genres", HubModel("films/genres")),
        ("films/genres", HubModel("films/genres")),
        ("hf://films/genres@v1.2", HubModel("films/genres", "v1.2")),
        ("hf://films/genres@refs/pr/3", HubModel("films/genres", "refs/pr/3")),
        (f"hf://my_films.org/g-1@{COMMIT}", HubModel("my_films.org/g-1", COMMIT)),
    ],
)
def test_an_address_is_read(text, found):
    assert parse_address(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "hf://", "hf://films", "hf://films/genres/more", "hf:///genres", "hf://films/../genres", "hf://films/a..b",
        "hf://films/a--b", "hf://films/-a", "hf://films/a b", "hf://films/genres@", "hf://films/genres@../../x",
        "hf://films/genres@a//b", "hf://films/genres@-x", "hf://films/genres@a\n", "hf://fil\x00ms/genres",
        "hf://films/" + "a" * 200, "hf://films/genres@/etc", "hf://films/genres@a/../b",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_form(text):
    with pytest.raises(UserError, match="hf://ORG/NAME@REVISION with a branch, a tag or a commit"):
        parse_address(text)


def test_a_revision_is_given_once():
    assert parse_address("films/genres", "v1").revision == "v1"
    with pytest.raises(UserError, match="give a revision twice"):
        parse_address("films/genres@v1", "v2")


def test_only_a_whole_commit_is_one():
    assert HubModel("a/b", COMMIT).commit == COMMIT
    assert HubModel("a/b", "0123456").commit is None
    assert HubModel("films/genres", COMMIT).name == "genres@0123456789ab"


def test_a_folder_of_the_cache_knows_its_model(tmp_path):
    folder = tmp_path / "models--films--genres" / "snapshots" / COMMIT
    assert snapshot_of(folder) == HubModel("films/genres", COMMIT)
    assert run_name(folder) == "genres@0123456789ab"
    assert is_borrowed(folder)
    for other in ("runs/genres", f"models--films--genres/blobs/{COMMIT}", f"datasets--a--b/snapshots/{COMMIT}"):
        assert snapshot_of(tmp_path / other) is None
        assert not is_borrowed(tmp_path / other)


def test_a_path_is_no_address(tmp_path):
    assert find_run(Path("films/genres")) == Path("films/genres")
    assert find_run("films/genres") == Path("films/genres")
