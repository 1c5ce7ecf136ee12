"""How often `mmposter prepare` finds a poster that was changed, and how often it takes two posters for one picture.

    python benchmarks/duplicates.py POSTERS [--count 200] [--seed 0] [--all]

POSTERS is a folder of pictures. `--count` of them, drawn by the seed, are each changed in
each way and saved again as JPEG. False merges are counted in all pairs of the drawn posters; with `--all` in all pairs
of the folder, by name, with the time that a poster takes. The numbers of `mmposter.data.likeness` were chosen on
another draw (``--seed 5``).
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageDraw

from mmposter.data.duplicates import DUPLICATE_DISTANCE
from mmposter.data.inspection import inspect_file
from mmposter.data.likeness import alike_pairs, same_picture, sketch
from mmposter.images.listing import image_files
from mmposter.images.reading import load_image

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def new_title(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """12 to 25 % at the top or at the bottom become a plain block with three lines of another colour."""
    image, (width, height) = image.copy(), image.size
    deep = height * random.uniform(0.12, 0.25)
    top = 0 if random.random() < 0.4 else height - deep
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, top, width, top + deep], fill=_colour(random))
    ink = _colour(random)
    for line in range(3):
        left, right = width * random.uniform(0.05, 0.3), width * random.uniform(0.6, 0.95)
        y = top + deep * (line + 0.5) / 3.5
        pen.rectangle([left, y, right, y + deep / 8], fill=ink)
    return image


def cut_evenly(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """5 % off each edge."""
    return _crop(image, np.full(4, 0.05))


def cut_anyhow(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """0 to 5 % off each edge."""
    return _crop(image, random.uniform(0, 0.05, 4))


def border(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A border of 2 to 6 % of the width, black, white or of any colour."""
    thick = round(image.width * random.uniform(0.02, 0.06))
    colour = [(0, 0, 0), (255, 255, 255), _colour(random)][random.integers(3)]
    return _on(image, thick, thick, colour)


def bars(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Black or white bars of 3 to 12 % above and below."""
    colour = (0, 0, 0) if random.random() < 0.5 else (255, 255, 255)
    return _on(image, 0, round(image.height * random.uniform(0.03, 0.12)), colour)


def mirrored(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Left is right."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def mirrored_and_cut(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """3 % off each edge, and left is right."""
    return mirrored(_crop(image, np.full(4, 0.03)), random)


CHANGES: tuple[Change, ...] = (new_title, cut_evenly, cut_anyhow, border, bars, mirrored, mirrored_and_cut)


def _colour(random: np.random.Generator) -> tuple[int, ...]:
    return tuple(random.integers(0, 256, 3).tolist())


def _crop(image: Image.Image, shares: np.ndarray) -> Image.Image:
    left, top, right, bottom = shares * (image.size * 2)
    return image.crop((round(left), round(top), round(image.width - right), round(image.height - bottom)))


def _on(image: Image.Image, beside: int, above: int, colour: tuple[int, ...]) -> Image.Image:
    page = Image.new("RGB", (image.width + 2 * beside, image.height + 2 * above), colour)
    page.paste(image, (beside, above))
    return page


def saved_again(image: Image.Image) -> Image.Image:
    """As JPEG."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return load_image(data.getvalue())


def pairs_of_one_picture(sketches: np.ndarray) -> set[tuple[int, int]]:
    """Positions of the sketches N x 96 x 64 that `prepare` takes for one picture."""
    found = (p for p in alike_pairs(sketches) if same_picture(sketches[p.one], sketches[p.other], p))
    return {(min(pair.one, pair.other), max(pair.one, pair.other)) for pair in found}


def by_hash(one: Image.Image, other: Image.Image) -> bool:
    """Whether the perceptual hash alone says so."""
    return bool(imagehash.phash(one) - imagehash.phash(other) <= DUPLICATE_DISTANCE)


def rates(posters: Sequence[Image.Image], seed: int) -> dict[str, tuple[float, float]]:
    """By change: the share that the perceptual hash finds, and that the hash and the picture find together."""
    random, found = np.random.default_rng(seed), {}
    for change in CHANGES:
        hits = []
        for poster in posters:
            other = saved_again(change(poster, random))
            known = by_hash(poster, other)
            hits.append((known, known or bool(pairs_of_one_picture(np.stack([sketch(poster), sketch(other)])))))
        by_the_hash, by_both = np.mean(hits, axis=0)
        found[change.__name__] = (float(by_the_hash), float(by_both))
    return found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posters", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--all", action="store_true", help="name the pairs of one picture in the whole folder")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    files = list(image_files(asked.posters))
    if not files:
        parser.error(f"{asked.posters} holds no pictures")
    drawn = np.random.default_rng(asked.seed).permutation(len(files))[: asked.count]
    posters = [load_image(files[at]) for at in drawn]
    print(f"{len(posters)} posters; share found by the hash alone, and with the picture")
    for name, (hashed, both) in rates(posters, asked.seed).items():
        print(f"{name:18} {hashed:6.1%} {both:6.1%}")
    merged = pairs_of_one_picture(np.stack([sketch(poster) for poster in posters]))
    print(f"{len(merged)} of {len(list(combinations(posters, 2))):,} pairs of these taken for one picture")
    if asked.all:
        files = [file for file in files if inspect_file(file).reason is None]
        sketches = np.stack([sketch(load_image(file)) for file in files])
        start = time.perf_counter()
        merged = pairs_of_one_picture(sketches)
        took = 1000 * (time.perf_counter() - start) / len(files)
        print(f"{len(merged)} pairs in {len(files):,} posters, {took:.1f} ms a poster:")
        print("\n".join(f"  {files[one].name} {files[other].name}" for one, other in sorted(merged)))


if __name__ == "__main__":
    main()
