"""The most wrong posters as pictures in the report: only where asked for, small, from the disk, whatever they are."""

from __future__ import annotations

import base64
import io
import re
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from mmposter.cli import app
from mmposter.data import Dataset
from mmposter.data.vocabulary import Vocabulary
from mmposter.document.blocks import PicturesBlock, Thumbnail
from mmposter.document.markdown import block_markdown
from mmposter.document.page import render_page
from mmposter.evaluation import METRICS, evaluate
from mmposter.evaluation.examination import Examination, examine
from mmposter.evaluation.hardest import TOP
from mmposter.evaluation.scored import ScoredPosters, Source
from mmposter.evaluation.thresholds import apply_thresholds
from mmposter.report.evaluation import evaluation_document, write_evaluation
from mmposter.report.thumbnails import SIZE, hardest_thumbnails
from mmposter.training.train import train

GENRES = ("Drama", "War")
COUNT = 30


def measured() -> Examination:
    """Thirty posters; the first is right, all others are wrong, the later ones the more."""
    target = np.zeros((COUNT, 2), bool)
    target[:, 0] = True
    probs = np.stack([np.linspace(0.9, 0.01, COUNT), np.full(COUNT, 0.1)], axis=1).astype(np.float32)
    probs[1:, 1] = 0.8
    limits = np.array([0.5, 0.5])
    source = Source(
        run="run",
        weights="ab" * 32,
        branches=("cnn",),
        config={"seed": 0, "branches": ["cnn"], "fusion": {"head": "concat"}, "regime": "features"},
        data="posters",
        manifest="cd" * 32,
        split="test",
        empty="allow",
        constant={metric.name: 0.1 for metric in METRICS},
        version="0.1",
        commit=None,
    )
    ids, groups = tuple(f"tt{i:02}" for i in range(COUNT)), np.array([f"g{i}" for i in range(COUNT)], dtype=object)
    posters = ScoredPosters(ids, groups, GENRES, target, probs, apply_thresholds(probs, limits), limits, source)
    result = evaluate(target, probs, limits, GENRES, train_target=target, split="test", n_boot=20, groups=groups)
    return examine(posters, result)


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """The posters on the disk, in two sizes; one file is missing, one is damaged."""
    root = tmp_path / "posters"
    root.mkdir()
    rows = []
    for i in range(COUNT):
        name, size = f"tt{i:02}", (600, 900) if i % 2 else (40, 50)
        Image.new("RGB", size, (i * 8, 0, 0)).save(root / f"{name}.png")
        rows.append({"id": name, "path": f"{name}.png", "genres": ["Drama"], "split": "test"})
    (root / "tt29.png").unlink()
    (root / "tt28.png").write_bytes(b"no picture")
    return Dataset(tmp_path, root, pd.DataFrame(rows), Vocabulary("two", GENRES), {"manifest_sha256": "0" * 64})


def sources(page: str) -> list[str]:
    return re.findall(r'<img alt="" src="([^"]*)">', page)


def test_pictures_are_small_bounded_and_those_of_the_most_wrong(dataset, tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise AssertionError("a report asks no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = measured()
    pictures = hardest_thumbnails(found, dataset)
    assert set(pictures) == {poster.id for poster in found.hardest} - {"tt28", "tt29"}
    assert len(pictures) == TOP - 2
    page = write_evaluation(found, tmp_path / "out", pictures).read_text(encoding="utf-8")
    assert "Pictures of 18 of the 20 misclassified posters among them; the files of the others" in page
    assert "img-src data:" in page
    assert not re.search(r"(https?:)?//\w", re.sub(r"base64,[^\"]*", "", page))
    shown = sources(page)
    assert shown == [pictures[poster.id] for poster in found.hardest if poster.id in pictures]
    for source in shown:
        kind, _, data = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
        assert width <= SIZE[0]
        assert height <= SIZE[1]
        assert len(data) < 20_000
    assert "<b>tt27</b> is Drama; decided War" in page


def test_without_the_option_no_poster_leaves_its_folder(tmp_path):
    page = write_evaluation(measured(), tmp_path / "out").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "img-src" not in page
    assert "Posters belong to their owners" in page


def test_posters_that_are_not_here(dataset, tmp_path):
    found = measured()
    for away in (replace(dataset, root=tmp_path / "moved"), replace(dataset, info={"pictures": False})):
        assert hardest_thumbnails(found, away) == {}
    page = write_evaluation(found, tmp_path / "out", {}).read_text(encoding="utf-8")
    assert "<img" not in page
    assert "Pictures of 0 of the 20 misclassified posters among them" in page


def test_a_crop_is_shown_as_the_crop(dataset):
    dataset.table["crop"] = [[0, 0, 30, 30]] * COUNT
    uri = hardest_thumbnails(measured(), dataset)["tt27"]
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (30, 30)


def test_names_are_shown_and_not_read_as_html():
    block = PicturesBlock([Thumbnail("data:image/jpeg;base64,AA==", "<b>", "is A; decided B")])
    assert block_markdown(block) == "- <b>: is A; decided B"
    found = measured()
    first = replace(found.hardest[0], id='"><script>')

    document = evaluation_document(replace(found, hardest=(first,)), {first.id: "data:image/jpeg;base64,AA=="})
    page = render_page(document.title, document.lead, document.facts, document.sections)
    assert "<script>" not in page
    assert "&#34;&gt;&lt;script&gt;" in page


def test_the_command_embeds_them(world, tmp_path):
    train(world.config("train.epochs=1"), world.dataset, tmp_path / "run", device="cpu", offline=True, quiet=True)
    pages = {}
    for option in ([], ["--thumbnails"]):
        arguments = ["evaluate", str(tmp_path / "run"), str(world.dataset.folder), "--offline", "--device", "cpu"]
        result = CliRunner().invoke(app, [*arguments, "--calibration", "none", *option], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        page = Path(tmp_path / "run" / "evaluation" / "test" / "report.html").read_text(encoding="utf-8")
        pages[bool(option)] = len(sources(page))
    assert pages[False] == 0
    assert 0 < pages[True] <= TOP
