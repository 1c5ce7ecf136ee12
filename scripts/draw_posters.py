"""Draw made-up film posters with their table, so that mmposter can be tried without a poster of anybody.

    python scripts/draw_posters.py OUT [--count 120] [--seed 0]

writes OUT/*.jpg and OUT/posters.csv, which ``mmposter prepare OUT/posters.csv --format csv --out DATA`` reads. Films,
people and words are invented; the only font is the one inside Pillow. Each genre has colours, shapes, lettering and
words of its own; a second genre lends its shapes and its tagline, and some posters wear the colours of another genre,
so that a model can learn something but not everything. Poster i of a seed is the same for every --count.
"""

from __future__ import annotations

import argparse
import csv
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from poster_looks import HEIGHT, LOOKS, PAIRS, WIDTH, Canvas, Colour, Look, Palette

FINAL_WIDTH = 300
DISGUISED = 0.15  # share of posters in the colours of another genre
PAIRED = 0.35  # share of films with a second genre


GIVEN_NAMES = ("Mira", "Tobin", "Elsa", "Quentin", "Ines", "Rufus", "Dalia", "Oskar", "Petra", "Hugo", "Wanda", "Ilya")
FAMILY_NAMES = ("Varga", "Halloway", "Brandt", "Okoro", "Lindqvist", "Marsh", "Tanaka", "Pell", "Quist", "Rowntree")


@dataclass(frozen=True)
class Film:
    """One invented film."""

    id: str
    title: str
    tagline: str
    people: tuple[str, ...]
    year: int
    genres: tuple[str, ...]


def invent_film(index: int, rng: random.Random) -> Film:
    """Genres go round, so that each has its share at every count; the rest is drawn."""
    first = list(LOOKS)[index % len(LOOKS)]
    genres: tuple[str, ...] = (first,)
    if rng.random() < PAIRED:
        pair = rng.choice([pair for pair in PAIRS if first in pair])
        genres = (first, pair[0] if pair[1] == first else pair[1])
    look = LOOKS[first]
    people = tuple(f"{rng.choice(GIVEN_NAMES)} {rng.choice(FAMILY_NAMES)}" for _ in range(4))
    return Film(
        id=f"drawn-{index:04d}",
        title=f"{rng.choice(look.first)} {rng.choice(look.second)}",
        tagline=rng.choice(LOOKS[genres[-1]].taglines),
        people=people,
        year=rng.randint(1980, 2015),
        genres=genres,
    )


def draw_poster(film: Film, rng: random.Random) -> Image.Image:
    """The poster of a film, RGB, about 300 x 450."""
    look = LOOKS[film.genres[0]]
    colours = rng.choice(list(LOOKS)) if rng.random() < DISGUISED else film.genres[0]
    palette = rng.choice(LOOKS[colours].palettes)
    canvas = Canvas(_gradient(palette), palette, rng)
    for genre in reversed(film.genres):  # the first genre stands in front
        rng.choice(LOOKS[genre].motifs)(canvas)
    _grain(canvas, rng.uniform(0.03, 0.14))
    _write_title(canvas, film.title.upper() if rng.random() < 0.7 else film.title, look, on_top=rng.random() < 0.6)
    _write_line(canvas, film.tagline, rng.uniform(20, 30), rng.uniform(27, 32))
    _write_line(canvas, f"{film.people[0].upper()}     {film.people[1].upper()}", 800, 24)
    _write_line(canvas, f"directed by {film.people[2]}   music {film.people[3]}   {film.year}", 848, 19)
    height = rng.randint(430, 462)
    return canvas.image.resize((FINAL_WIDTH + rng.randint(-8, 8), height), Image.Resampling.LANCZOS)


def _gradient(palette: Palette) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    return Image.composite(Image.new("RGB", ramp.size, palette.bottom), Image.new("RGB", ramp.size, palette.top), ramp)


def _grain(c: Canvas, amount: float) -> None:
    """Film grain, coarse enough to survive the final resize. (`Image.effect_noise` cannot be seeded.)"""
    small = (WIDTH // 2, HEIGHT // 2)
    noise = Image.frombytes("L", small, c.rng.randbytes(small[0] * small[1])).resize(c.image.size)
    c.image.paste(Image.blend(c.image, noise.convert("RGB"), amount))


def _ink(c: Canvas, box: tuple[int, int, int, int], wanted: Colour, contrast: int) -> tuple[Colour, Colour]:
    """A text colour and its outline that can be read on what is there."""
    mean = c.image.crop(box).convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(mean, (int, float))
    light = 0.3 * wanted[0] + 0.59 * wanted[1] + 0.11 * wanted[2]
    ink = wanted if abs(light - mean) > contrast else ((250, 246, 236) if mean < 128 else (24, 18, 18))
    bright = sum(ink) > 330
    return ink, ((16, 12, 14) if bright else (252, 248, 240))


def _write_title(c: Canvas, title: str, look: Look, *, on_top: bool) -> None:
    lines = _wrap(title)
    size = min(112.0, min(540 / max(_width(line, 100, look.spread), 1) * 100 for line in lines))
    step = size * 1.12
    top = 70 if on_top else 780 - step * len(lines)
    ink, outline = _ink(c, (30, int(top), WIDTH - 30, int(top + step * len(lines))), c.palette.title, 50)
    for row, line in enumerate(lines):
        x = (WIDTH - _width(line, size, look.spread)) / 2
        for letter in line:
            _letter(c, letter, (x, top + row * step), size, look, ink, outline)
            x += _width(letter, size, look.spread)


def _letter(
    c: Canvas, letter: str, at: tuple[float, float], size: float, look: Look, ink: Colour, outline: Colour
) -> None:
    font, side = ImageFont.load_default(size), int(size * 1.7)
    masks = []
    bold = round(look.bold * size / 100)
    for stroke in (bold + 3, bold):
        mask = Image.new("L", (side, side), 0)
        ImageDraw.Draw(mask).text((size * 0.35, size * 0.25), letter, 255, font, stroke_width=stroke)
        masks.append(mask)
    turn = c.rng.uniform(-30, 30) * look.jitter
    place = (int(at[0] - size * 0.35), int(at[1] - size * 0.25 + c.rng.uniform(-0.2, 0.2) * look.jitter * size))
    if look.jitter > 0.5:
        ink = c.rng.choice((ink, *c.palette.shapes))  # every letter its own colour
    for mask, colour in zip(masks, (outline, ink), strict=True):
        c.image.paste(colour, place, mask.rotate(turn, Image.Resampling.BICUBIC))


def _write_line(c: Canvas, text: str, y: float, size: float) -> None:
    size = min(size, 560 / _width(text, 100, 0) * 100)
    ink, outline = _ink(c, (20, int(y), WIDTH - 20, int(y + size)), c.palette.title, 110)
    x = (WIDTH - _width(text, size, 0)) / 2
    c.pen.text((x, y), text, ink, ImageFont.load_default(size), stroke_width=1, stroke_fill=outline)


def _width(text: str, size: float, spread: float) -> float:
    return float(ImageFont.load_default(size).getlength(text)) + spread * size * len(text)


def _wrap(title: str) -> list[str]:
    """Two lines, as even as the words allow; one for a short title."""
    words = title.split()
    if len(title) <= 9 or len(words) == 1:
        return [title]
    cuts = [(" ".join(words[:k]), " ".join(words[k:])) for k in range(1, len(words))]
    return list(min(cuts, key=lambda cut: max(map(len, cut))))


def draw_posters(out: Path, count: int, seed: int) -> Path:
    """Write `count` posters and their table to `out`; returns the table's path."""
    out.mkdir(parents=True, exist_ok=True)
    table = out / "posters.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "genres", "id", "title", "year"])
        for index in range(count):
            rng = random.Random(f"{seed}/{index}")
            film = invent_film(index, rng)
            draw_poster(film, rng).save(out / f"{film.id}.jpg", quality=rng.randint(80, 92))
            writer.writerow([f"{film.id}.jpg", "|".join(film.genres), film.id, film.title, film.year])
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw made-up film posters and their table.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--count", type=int, default=120, help="how many posters (default 120)")
    parser.add_argument("--seed", type=int, default=0, help="other seed, other posters (default 0)")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error(f"--count must be 1 or more; got {arguments.count}")
    print(draw_posters(arguments.out, arguments.count, arguments.seed))


if __name__ == "__main__":
    main()
