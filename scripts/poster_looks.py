"""What the drawn posters look like: for each genre its colours, shapes, lettering and words (see draw_posters.py)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
WIDTH, HEIGHT = 600, 900  # drawn at twice the final size, which smooths the edges


@dataclass(frozen=True)
class Palette:
    """Colours of one poster: the backdrop's gradient, the shapes and the title."""

    top: Colour
    bottom: Colour
    shapes: tuple[Colour, ...]
    title: Colour


@dataclass
class Canvas:
    """A poster being drawn."""

    image: Image.Image
    palette: Palette
    rng: random.Random

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    def colour(self) -> Colour:
        return self.rng.choice(self.palette.shapes)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def glow(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A soft disc of light."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=150)
        self.image.paste(fill, (0, 0), mask.filter(ImageFilter.GaussianBlur(radius / 3)))


# ---- shapes: each draws one motif somewhere in the middle band, where the picture of a poster is ----


def drips(c: Canvas) -> None:
    red = c.colour()
    x = 0.0
    while x < WIDTH:
        width = c.rng.uniform(16, 44)
        length = c.rng.uniform(30, 260) * c.rng.random() + 40
        c.pen.rectangle((x, 0, x + width, length), fill=red)
        c.disc(x + width / 2, length, width / 2, red)
        x += width * c.rng.uniform(0.7, 1.6)


def dead_tree(c: Canvas) -> None:
    def branch(x: float, y: float, angle: float, length: float, width: int) -> None:
        x2, y2 = x + math.cos(angle) * length, y - math.sin(angle) * length
        c.pen.line((x, y, x2, y2), fill=(6, 5, 8), width=width)
        if width > 2:
            for _ in range(c.rng.choice((2, 2, 3))):
                branch(
                    x2, y2, angle + c.rng.uniform(-0.9, 0.9), length * c.rng.uniform(0.6, 0.85), max(1, width * 3 // 5)
                )

    c.glow(c.rng.uniform(150, 450), c.rng.uniform(250, 400), c.rng.uniform(70, 130), (214, 208, 170))
    branch(c.rng.uniform(120, 480), 800, math.pi / 2 + c.rng.uniform(-0.2, 0.2), c.rng.uniform(130, 190), 26)


def eyes(c: Canvas) -> None:
    for _ in range(c.rng.randint(1, 4)):
        x, y, size = c.rng.uniform(100, 430), c.rng.uniform(250, 620), c.rng.uniform(12, 34)
        for side in (0, size * 3.2):
            c.pen.ellipse((x + side - size, y - size * 0.5, x + side + size, y + size * 0.5), fill=(236, 220, 120))
            c.pen.ellipse(
                (x + side - size * 0.16, y - size * 0.5, x + side + size * 0.16, y + size * 0.5), fill=(10, 0, 0)
            )


def house(c: Canvas) -> None:
    x, width = c.rng.uniform(120, 260), c.rng.uniform(200, 290)
    top = c.rng.uniform(430, 520)
    dark = (9, 7, 12)
    c.pen.polygon([(x - 30, top), (x + width / 2, top - c.rng.uniform(110, 190)), (x + width + 30, top)], fill=dark)
    c.pen.rectangle((x, top, x + width, 800), fill=dark)
    for row in range(2):
        for column in range(3):
            if c.rng.random() < 0.5:
                left, upper = x + 24 + column * width / 3, top + 30 + row * 110
                c.pen.rectangle((left, upper, left + 34, upper + 58), fill=(205, 150, 50))
    c.pen.polygon([(0, 800), (WIDTH / 2, 740), (WIDTH, 790), (WIDTH, HEIGHT), (0, HEIGHT)], fill=dark)


def stars(c: Canvas) -> None:
    for _ in range(c.rng.randint(120, 320)):
        light = c.rng.randint(120, 255)
        c.disc(c.rng.uniform(0, WIDTH), c.rng.uniform(0, HEIGHT), c.rng.uniform(0.7, 2.6), (light, light, 255))


def planet(c: Canvas) -> None:
    stars(c)
    x, y, radius = c.rng.uniform(130, 470), c.rng.uniform(300, 600), c.rng.uniform(80, 200)
    ground = c.colour()
    c.glow(x, y, radius * 1.25, ground)
    body = Image.new("L", c.image.size, 0)
    ImageDraw.Draw(body).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    skin = Image.new("RGB", c.image.size, ground)
    pen = ImageDraw.Draw(skin)
    for _ in range(c.rng.randint(3, 7)):  # bands of cloud
        at = c.rng.uniform(y - radius, y + radius)
        pen.ellipse((x - radius, at, x + radius, at + c.rng.uniform(12, 40)), fill=tuple(v * 3 // 4 for v in ground))
    shift = radius * c.rng.uniform(0.3, 0.8)
    night = Image.new("L", c.image.size, 0)
    ImageDraw.Draw(night).ellipse((x - radius + shift, y - radius, x + radius + shift, y + radius), fill=190)
    skin.paste((4, 6, 18), (0, 0), night.filter(ImageFilter.GaussianBlur(24)))
    c.image.paste(skin, (0, 0), body)
    if c.rng.random() < 0.5:
        c.pen.arc(
            (x - radius * 1.7, y - radius * 0.4, x + radius * 1.7, y + radius * 0.4), -20, 200, (230, 225, 200), 9
        )


def rocket(c: Canvas) -> None:
    stars(c)
    x, y, size = c.rng.uniform(180, 420), c.rng.uniform(330, 480), c.rng.uniform(40, 70)
    c.glow(x, y + size * 4, size * 1.4, (255, 170, 60))
    hull = c.colour()
    c.pen.ellipse((x - size, y - size * 2.4, x + size, y + size * 2.6), fill=(224, 228, 236))
    c.pen.polygon([(x - size, y + size), (x - size * 2, y + size * 3), (x - size * 0.4, y + size * 2.2)], fill=hull)
    c.pen.polygon([(x + size, y + size), (x + size * 2, y + size * 3), (x + size * 0.4, y + size * 2.2)], fill=hull)
    c.disc(x, y - size * 0.6, size * 0.45, hull)
    c.pen.polygon(
        [(x - size / 2, y + size * 2.6), (x, y + size * 5), (x + size / 2, y + size * 2.6)], fill=(255, 190, 70)
    )


def grid(c: Canvas) -> None:
    stars(c)
    horizon, line = c.rng.uniform(520, 640), c.colour()
    c.glow(c.rng.uniform(200, 400), horizon, c.rng.uniform(100, 170), c.colour())
    c.pen.rectangle((0, horizon, WIDTH, HEIGHT), fill=(8, 8, 26))
    for step in range(-14, 15):
        c.pen.line((WIDTH / 2 + step * 22, horizon, WIDTH / 2 + step * 130, HEIGHT), fill=line, width=2)
    for step in range(1, 10):
        y = horizon + (HEIGHT - horizon) * (step / 9) ** 2
        c.pen.line((0, y, WIDTH, y), fill=line, width=2)


def heart(c: Canvas, x: float, y: float, size: float, fill: Colour) -> None:
    outline = []
    for step in range(60):
        t = step / 60 * 2 * math.pi
        across = 16 * math.sin(t) ** 3
        up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        outline.append((x + across * size / 16, y - up * size / 16))
    c.pen.polygon(outline, fill=fill)


def hearts(c: Canvas) -> None:
    for _ in range(c.rng.randint(5, 16)):
        heart(c, c.rng.uniform(30, 570), c.rng.uniform(200, 760), c.rng.uniform(10, 40), c.colour())
    if c.rng.random() < 0.6:
        heart(c, c.rng.uniform(200, 400), c.rng.uniform(380, 560), c.rng.uniform(100, 190), c.colour())


def couple(c: Canvas) -> None:
    c.glow(WIDTH / 2 + c.rng.uniform(-90, 90), c.rng.uniform(380, 520), c.rng.uniform(130, 210), (255, 226, 170))
    gap, base = c.rng.uniform(58, 95), c.rng.uniform(500, 560)
    for side in (-1, 1):
        x, tall = WIDTH / 2 + side * gap, c.rng.uniform(0, 50)
        dark = (72 + c.rng.randint(0, 30), 28, 44)
        c.disc(x - side * 12, base - tall, 52, dark)
        c.pen.rounded_rectangle((x - 78, base + 44 - tall, x + 78, HEIGHT), 60, fill=dark)
    heart(c, WIDTH / 2, base - 130, c.rng.uniform(18, 34), c.colour())


def rose(c: Canvas) -> None:
    x, y, size = c.rng.uniform(220, 380), c.rng.uniform(340, 440), c.rng.uniform(70, 115)
    c.pen.line((x, y, x + c.rng.uniform(-60, 60), 800), fill=(60, 96, 58), width=12)
    c.pen.ellipse((x + 10, 590, x + 120, 640), fill=(70, 112, 66))
    red = c.colour()
    for step in range(22):  # petals along a spiral, each darker than the one behind
        angle, away = step * 2.4, size * (1 - step / 22)
        shade = tuple(max(0, v - step * 5) for v in red)
        c.disc(x + math.cos(angle) * away, y + math.sin(angle) * away * 0.8, size * 0.62 * (1 - step / 30), shade)


def hills(c: Canvas) -> None:
    for layer in range(3):
        y = 560 + layer * 75
        points = [(0.0, float(HEIGHT))]
        for x in range(0, WIDTH + 60, 60):
            points.append((float(x), y + c.rng.uniform(-38, 38)))
        shade = tuple(max(0, v - layer * 22) for v in c.palette.shapes[0])
        c.pen.polygon([*points, (float(WIDTH), float(HEIGHT))], fill=shade)


def smoke(c: Canvas) -> None:
    cloud = Image.new("L", c.image.size, 0)
    pen = ImageDraw.Draw(cloud)
    x, y = c.rng.uniform(100, 500), 640.0
    while y > 150:
        radius = c.rng.uniform(40, 60) + (640 - y) * 0.18
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=c.rng.randint(90, 190))
        x, y = x + c.rng.uniform(-34, 40), y - radius * 0.6
    c.image.paste((52, 46, 40), (0, 0), cloud.filter(ImageFilter.GaussianBlur(16)))


def planes(c: Canvas) -> None:
    smoke(c)
    hills(c)
    for _ in range(c.rng.randint(2, 6)):
        x, y, size = c.rng.uniform(60, 500), c.rng.uniform(210, 500), c.rng.uniform(16, 44)
        dark = (34, 32, 26)
        c.pen.ellipse((x - size * 1.6, y - size * 0.22, x + size * 1.6, y + size * 0.22), fill=dark)
        c.pen.polygon([(x - size * 0.3, y), (x + size * 0.5, y - size * 1.5), (x + size * 0.7, y)], fill=dark)
        c.pen.polygon([(x - size * 0.3, y), (x + size * 0.5, y + size * 1.5), (x + size * 0.7, y)], fill=dark)
        c.pen.polygon([(x + size, y), (x + size * 1.7, y - size * 0.6), (x + size * 1.6, y)], fill=dark)


def soldiers(c: Canvas) -> None:
    smoke(c)
    hills(c)
    for index in range(c.rng.randint(3, 6)):
        x, y, size = 60 + index * c.rng.uniform(90, 110), c.rng.uniform(590, 640), c.rng.uniform(26, 36)
        dark = (28, 27, 20)
        c.pen.pieslice((x - size, y - size * 1.1, x + size, y + size * 0.7), 180, 360, fill=dark)  # helmet
        c.disc(x, y, size * 0.68, dark)
        c.pen.rounded_rectangle((x - size, y + size * 0.6, x + size, y + size * 5), 14, fill=dark)
        c.pen.line((x + size, y + size * 2.4, x + size * 1.9, y - size * 2.2), fill=dark, width=7)


def medal(c: Canvas) -> None:
    hills(c)
    x, y, size = c.rng.uniform(200, 400), c.rng.uniform(370, 480), c.rng.uniform(80, 150)
    star = [
        (
            x + math.sin(k * math.pi / 5) * (size if k % 2 == 0 else size * 0.42),
            y - math.cos(k * math.pi / 5) * (size if k % 2 == 0 else size * 0.42),
        )
        for k in range(10)
    ]
    c.pen.rectangle((x - 26, y - size - 120, x + 26, y - size + 20), fill=c.colour())
    c.pen.polygon(star, fill=(176, 148, 78), outline=(70, 56, 26), width=6)


def creatures(c: Canvas) -> None:
    for _ in range(c.rng.randint(1, 4)):
        x, y, size = c.rng.uniform(120, 480), c.rng.uniform(360, 660), c.rng.uniform(50, 125)
        skin = c.colour()
        for ear in (-1, 1):
            c.pen.ellipse(
                (x + ear * size * 0.7 - size / 4, y - size * 1.4, x + ear * size * 0.7 + size / 4, y), fill=skin
            )
        c.pen.ellipse((x - size, y - size, x + size, y + size * 1.25), fill=skin)
        for side in (-1, 1):
            eye = x + side * size * 0.38
            c.disc(eye, y - size * 0.25, size * 0.3, (255, 255, 255))
            c.disc(eye + size * 0.06, y - size * 0.2, size * 0.14, (20, 20, 30))
        c.pen.chord((x - size * 0.5, y - size * 0.1, x + size * 0.5, y + size * 0.75), 10, 170, fill=(120, 20, 50))


def meadow(c: Canvas) -> None:
    c.pen.ellipse((-200, 620, 520, 1200), fill=(104, 206, 74))
    c.pen.ellipse((180, 660, 900, 1200), fill=(72, 184, 88))
    c.disc(c.rng.uniform(80, 520), c.rng.uniform(220, 300), c.rng.uniform(45, 80), (255, 226, 60))
    for _ in range(c.rng.randint(2, 5)):
        x, y = c.rng.uniform(60, 540), c.rng.uniform(220, 430)
        for puff in range(4):
            c.disc(x + puff * 32 - 48, y + c.rng.uniform(-12, 12), c.rng.uniform(24, 40), (255, 255, 255))
    creatures(c)


def balloons(c: Canvas) -> None:
    for _ in range(c.rng.randint(4, 10)):
        x, y, size = c.rng.uniform(50, 550), c.rng.uniform(240, 640), c.rng.uniform(26, 62)
        c.pen.line((x, y + size, x + c.rng.uniform(-30, 30), y + size * 4), fill=(90, 90, 110), width=3)
        c.pen.ellipse((x - size, y - size * 1.2, x + size, y + size * 1.2), fill=c.colour())
        c.pen.ellipse((x - size * 0.5, y - size * 0.8, x - size * 0.1, y - size * 0.3), fill=(255, 255, 255))
    creatures(c)


def sunburst(c: Canvas) -> None:
    x, y, fill = c.rng.uniform(200, 400), c.rng.uniform(380, 560), c.colour()
    count, turn = c.rng.randint(9, 18), c.rng.random()
    for ray in range(count):
        start = (ray + turn) * 360 / count
        c.pen.pieslice((x - 1100, y - 1100, x + 1100, y + 1100), start, start + 180 / count, fill=fill)


def funny_face(c: Canvas) -> None:
    if c.rng.random() < 0.6:
        sunburst(c)
    x, y, size = c.rng.uniform(210, 390), c.rng.uniform(450, 580), c.rng.uniform(100, 165)
    c.disc(x, y, size, c.rng.choice([(246, 205, 170), (196, 140, 100), (120, 80, 56)]))
    for side in (-1, 1):
        eye = x + side * size * 0.42
        c.disc(eye, y - size * 0.2, size * 0.32, (20, 20, 20))  # thick glasses
        c.disc(eye, y - size * 0.2, size * 0.25, (250, 250, 250))
        c.disc(eye + c.rng.uniform(-8, 8), y - size * 0.2, size * 0.09, (20, 20, 20))
        c.pen.ellipse(
            (x + side * size * 0.3 - 36, y + size * 0.2, x + side * size * 0.3 + 36, y + size * 0.42), (40, 24, 16)
        )
    c.pen.chord((x - size * 0.5, y + size * 0.1, x + size * 0.5, y + size * 0.85), 5, 175, fill=(255, 255, 255))


def pie(c: Canvas) -> None:
    sunburst(c)
    x, y = c.rng.uniform(200, 400), c.rng.uniform(430, 560)
    c.disc(x, y, 150, (222, 170, 96))
    for _ in range(26):  # the splash
        angle, away = c.rng.uniform(0, 2 * math.pi), c.rng.uniform(60, 210)
        c.disc(x + math.cos(angle) * away, y + math.sin(angle) * away, c.rng.uniform(12, 44), (255, 250, 238))
    c.disc(x, y - 30, 30, (214, 30, 46))


def spots(c: Canvas) -> None:
    for _ in range(c.rng.randint(20, 50)):
        c.disc(c.rng.uniform(0, WIDTH), c.rng.uniform(0, HEIGHT), c.rng.uniform(8, 34), c.colour())
    funny_face(c)


# ---- genres: colours, shapes, lettering, words ----


@dataclass(frozen=True)
class Look:
    """All that makes a genre's posters its own."""

    palettes: tuple[Palette, ...]
    motifs: tuple[Callable[[Canvas], None], ...]
    jitter: float  # how far letters are turned and shifted
    spread: float  # extra space between letters, in parts of the size
    bold: int  # stroke width at the drawn size
    first: tuple[str, ...]
    second: tuple[str, ...]
    taglines: tuple[str, ...]


LOOKS = {
    "Animation": Look(
        (
            Palette((90, 200, 250), (190, 240, 255), ((255, 120, 60), (160, 90, 220), (60, 200, 120)), (255, 240, 70)),
            Palette((255, 170, 210), (255, 240, 190), ((80, 180, 255), (255, 150, 40), (120, 210, 80)), (120, 50, 190)),
            Palette((130, 235, 190), (245, 255, 200), ((255, 90, 120), (90, 120, 250), (255, 190, 40)), (240, 70, 90)),
        ),
        (creatures, meadow, balloons),
        0.55,
        0.04,
        4,
        ("Pip and the", "The Little", "Wobbly", "My Friend the", "Tilly's", "The Flying"),
        ("Dragon", "Penguin", "Rainbow", "Robot Duck", "Magic Kite", "Sandwich Fox", "Moon Bunny"),
        (
            "Small paws, big adventure",
            "This summer, dream in colour",
            "Friends come in every shape",
            "Fun for the whole family",
            "Hold on to your tail",
        ),
    ),
    "Comedy": Look(
        (
            Palette((255, 222, 40), (255, 240, 130), ((255, 200, 0), (250, 150, 30)), (215, 25, 30)),
            Palette((255, 255, 250), (255, 246, 214), ((255, 214, 60), (90, 190, 230)), (20, 20, 20)),
            Palette((255, 190, 50), (255, 226, 120), ((255, 232, 150), (240, 90, 60)), (30, 60, 160)),
        ),
        (funny_face, pie, spots, sunburst),
        0.12,
        0.06,
        7,
        ("My Cousin's", "The Worst", "Two", "Honk If You", "Meet the", "Please Feed the"),
        ("Wedding Cake", "Neighbours", "Roommates", "Plumbers", "Holiday Ever", "Babysitters", "Vacation"),
        (
            "What could possibly go wrong?",
            "He had one job",
            "The family you cannot return",
            "Laugh now, explain later",
            "A party nobody planned",
        ),
    ),
    "Horror": Look(
        (
            Palette((4, 2, 4), (58, 6, 10), ((150, 8, 14), (110, 4, 10), (176, 20, 20)), (190, 16, 22)),
            Palette((6, 12, 12), (24, 44, 36), ((126, 10, 14), (150, 20, 20)), (214, 206, 180)),
            Palette((12, 10, 24), (38, 30, 52), ((140, 8, 20), (96, 6, 20)), (200, 24, 30)),
        ),
        (drips, dead_tree, eyes, house),
        0.4,
        0.03,
        2,
        ("The Cellar of", "Night of the", "Blood", "It Came From the", "The Screaming", "Cursed"),
        ("Crows", "Shadows", "Graveyard", "Harvest", "Dead Nurse", "Hollow", "Skull Lake"),
        (
            "Do not look behind you",
            "Evil never sleeps",
            "They buried it alive",
            "Pray for the morning",
            "Every scream has an echo",
        ),
    ),
    "Romance": Look(
        (
            Palette((255, 206, 190), (255, 236, 214), ((222, 60, 90), (240, 120, 140), (200, 40, 70)), (170, 24, 60)),
            Palette((250, 150, 110), (255, 214, 160), ((200, 40, 60), (255, 240, 230)), (255, 250, 240)),
            Palette((236, 190, 214), (250, 226, 232), ((190, 40, 100), (230, 110, 150)), (120, 20, 70)),
        ),
        (hearts, couple, rose),
        0.0,
        0.02,
        1,
        ("Letters to", "One Summer in", "The Heart of", "Loving", "Always", "A Kiss for"),
        ("Eleanor", "Verona Street", "My Darling", "Rosalind", "September", "the Florist", "Tomorrow"),
        (
            "Love finds its own way home",
            "Some hearts wait forever",
            "They only had one summer",
            "Fall in love again",
            "She said yes to the wrong man",
        ),
    ),
    "Sci-Fi": Look(
        (
            Palette((4, 6, 24), (22, 34, 84), ((70, 160, 220), (200, 110, 70), (120, 90, 200)), (190, 236, 255)),
            Palette((16, 4, 36), (70, 20, 90), ((60, 220, 220), (220, 70, 180)), (120, 250, 240)),
            Palette((2, 14, 18), (10, 62, 70), ((120, 200, 120), (80, 170, 190)), (235, 245, 250)),
        ),
        (planet, rocket, grid),
        0.0,
        0.28,
        1,
        ("Orbit", "Beyond", "Signal From", "The Last", "Colony", "Android"),
        ("Nine", "Andromeda", "Titan", "Starship", "Gravity Zero", "Horizon", "Machine"),
        (
            "The future is not alone",
            "Humanity has one launch left",
            "First contact was a warning",
            "In the year 2391 we return",
            "The stars are answering",
        ),
    ),
    "War": Look(
        (
            Palette((150, 134, 104), (196, 178, 140), ((104, 94, 66), (120, 40, 30)), (240, 230, 200)),
            Palette((96, 92, 78), (160, 146, 116), ((84, 84, 58), (110, 50, 34)), (34, 28, 20)),
            Palette((190, 150, 96), (220, 190, 136), ((126, 100, 62), (90, 40, 26)), (70, 20, 14)),
        ),
        (planes, soldiers, medal),
        0.0,
        0.08,
        5,
        ("Battle for", "The Long", "Brothers of", "Company", "Siege of", "No Retreat From"),
        ("Hill 204", "the Front", "Iron Bridge", "the Regiment", "Fort Harlan", "the Trenches", "Delta"),
        (
            "They fought for the man beside them",
            "Honour has a price",
            "One bridge. One night. No way back",
            "Not every soldier comes home",
            "The order was to hold",
        ),
    ),
}
PAIRS = (
    ("Animation", "Comedy"),
    ("Animation", "Sci-Fi"),
    ("Comedy", "Romance"),
    ("Comedy", "Horror"),
    ("Horror", "Sci-Fi"),
    ("Romance", "War"),
    ("Sci-Fi", "War"),
)
