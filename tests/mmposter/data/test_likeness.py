"""Posters of one picture or of one film, whose perceptual hashes say nothing of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from mmposter.data import likeness, prepare
from mmposter.data.duplicates import DUPLICATE_DISTANCE, film, group_posters
from mmposter.data.inspection import inspect_posters
from mmposter.data.likeness import HEIGHT, WIDTH, alike_pairs, same_picture, sketch


def draw(seed: int) -> Image.Image:
    """Light and dark in large, and shapes in small, as a poster has."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (5, 4, 3), np.uint8)).resize((200, 300), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(90):
        x, y, size = random.uniform(0, 200), random.uniform(0, 300), random.uniform(4, 18)
        pen.ellipse([x, y, x + size, y + size], fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


def new_title(image: Image.Image) -> Image.Image:
    image = image.copy()
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 240, 200, 300], fill="dimgrey")
    pen.rectangle([30, 255, 170, 285], fill="silver")
    return image


def framed(image: Image.Image, colour: str = "black") -> Image.Image:
    frame = Image.new("RGB", (220, 320), colour)
    frame.paste(image, (10, 10))
    return frame


CHANGES = {
    "title": new_title,
    "cut": lambda image: image.crop((10, 15, 190, 285)),
    "black frame": framed,
    "white frame": lambda image: framed(image, "white"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def alike(one: Image.Image, other: Image.Image) -> bool:
    sketches = np.stack([sketch(one), sketch(other)])
    return any(same_picture(sketches[pair.one], sketches[pair.other], pair) for pair in alike_pairs(sketches))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_poster_is_the_same_picture(change):
    found = [alike(draw(seed), CHANGES[change](draw(seed))) for seed in range(10)]
    assert sum(found) >= 9


def test_other_posters_are_not_even_in_one_frame():
    plain = np.stack([sketch(draw(seed)) for seed in range(20)])
    in_frames = np.stack([sketch(framed(draw(seed), "white")) for seed in range(20)])
    for sketches in (plain, in_frames):
        assert not [p for p in alike_pairs(sketches) if same_picture(sketches[p.one], sketches[p.other], p)]


def test_empty_posters_are_never_pairs():
    flat = np.stack([np.full((HEIGHT, WIDTH), level, np.uint8) for level in (0, 7, 200)])
    assert not [p for p in alike_pairs(flat) if same_picture(flat[p.one], flat[p.other], p)]
    assert list(alike_pairs(flat[:0])) == []


def test_pairs_do_not_depend_on_the_block_size(monkeypatch):
    posters = [draw(seed) for seed in range(6)] + [CHANGES["cut"](draw(2)), CHANGES["mirrored"](draw(4))]
    sketches = np.stack([sketch(poster) for poster in posters])
    whole = {pair[:2] for pair in alike_pairs(sketches)}
    monkeypatch.setattr(likeness, "_BLOCK", 3)
    assert {pair[:2] for pair in alike_pairs(sketches)} == whole >= {(2, 6), (4, 7)}


@pytest.mark.parametrize(
    ("poster", "title", "year", "name"),
    [
        ("tt0111161", "Anything", 1994, "tt0111161"),
        ("posters/TT0111161_fr.jpg", None, None, "tt0111161"),
        ("a", "Amélie", 2001, "amelie 2001"),
        ("b", "  AMELIE! ", 2001, "amelie 2001"),
        ("c", "Amelie (2001)", None, "amelie 2001"),
        ("d", "Amelie", None, None),  # a remake would be the same film
        ("butt12", None, 2001, None),
        ("e", "?!", 2001, None),
    ],
)
def test_films(poster, title, year, name):
    assert film(poster, title, year) == name


def test_groups_say_what_the_picture_alone_showed(tmp_path):
    posters = {"a": draw(1), "b": CHANGES["mirrored"](draw(1)), "c": draw(2), "d": draw(3), "e": draw(4)}
    for name, poster in posters.items():
        poster.save(tmp_path / f"{name}.png")
    table = pd.DataFrame({"id": list(posters), "path": [str(tmp_path / f"{name}.png") for name in posters]})
    table["title"] = pd.Series([None, None, "Heat", "heat", "Heat"], dtype=object)
    table["year"] = pd.Series([None, None, 1995, 1995, 1996], dtype="Int64")
    table, _ = inspect_posters(table, quiet=True)
    groups, items, issues = group_posters(table, DUPLICATE_DISTANCE)
    assert groups == ["a", "a", "c", "c", "e"]
    assert items == ["a", "b", "c", "c", "e"]
    assert [(issue.kind, issue.id, issue.message) for issue in issues] == [
        ("same_picture", "b", "shows the picture of a")
    ]


def test_prepare_keeps_films_together_and_leaves_a_given_split_alone(tmp_path):
    """Six films with three posters each; then the same with sides that part them."""
    rows = []
    for number in range(18):
        draw(100 + number).save(tmp_path / f"{number:02}.png")
        rows.append({"image": f"{number:02}.png", "genres": "Drama", "title": f"Film {number // 3}", "year": 2000})
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "free.csv", index=False)
    report = prepare(tmp_path / "free.csv", tmp_path / "free", format="csv", quiet=True)
    manifest = pd.read_parquet(tmp_path / "free" / "manifest.parquet")
    assert report.near_duplicate_groups == 6
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    given = ["train", "train", "test"] * 6
    table.assign(split=given).to_csv(tmp_path / "given.csv", index=False)
    report = prepare(tmp_path / "given.csv", tmp_path / "given", format="csv", quiet=True)
    assert pd.read_parquet(tmp_path / "given" / "manifest.parquet")["split"].tolist() == given
    assert report.issues == {"parted_group": 18}
    assert "it was left as it is" in (tmp_path / "given" / "report.md").read_text()


def test_joined_sources_share_pictures_that_their_hashes_do_not_show(tmp_path):
    """Of twelve posters each comes mirrored in a second source, and two of the first are one picture, too."""
    for source, change in (("one", None), ("two", CHANGES["mirrored"])):
        (tmp_path / source).mkdir()
        rows = []
        for number in range(12):
            poster = draw(200 + number) if change is None else change(draw(200 + number))
            poster.save(tmp_path / source / f"{source}{number:02}.png")
            rows.append({"image": f"{source}{number:02}.png", "genres": "Drama" if number % 2 else "Comedy"})
        if change is None:
            new_title(draw(200)).save(tmp_path / source / "one99.png")
            rows.append({"image": "one99.png", "genres": "Drama"})
        pd.DataFrame(rows).to_csv(tmp_path / source / f"{source}.csv", index=False)
    sources = [tmp_path / name / f"{name}.csv" for name in ("one", "two")]
    prepare(sources, tmp_path / "data", format="csv", ratios=[(0.5, 0.2, 0.3), (1, 0, 0)], quiet=True)
    table = pd.read_parquet(tmp_path / "data" / "manifest.parquet").set_index("id")
    dropped = pd.read_csv(tmp_path / "data" / "dropped.csv").set_index("id")
    issues = pd.read_csv(tmp_path / "data" / "issues.csv")
    assert set(dropped["reason"]) == {"measured_elsewhere"}
    for number in range(12):
        taught = table["split"][f"one{number:02}.png"] == "train"
        assert (f"two{number:02}.png" in table.index) == taught
        assert taught or f"two{number:02}.png" in dropped.index
    assert table["group"]["one00.png"] == table["group"]["one99.png"]
    assert (issues["kind"] == "same_picture").sum() == 13
