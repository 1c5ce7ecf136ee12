"""Fixtures that several test folders use."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

# How long an example takes says how busy the machine is, and nothing of our code.
hypothesis_settings.register_profile("any machine", deadline=None)
hypothesis_settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[2] / "shared"


class Drawing:
    """Whether figures are drawn: in tests with the marker `figures` alone, for a training draws longer than it trains.

    Elsewhere a figure is made as ever, with all its lines and letters, but what is saved is an empty picture of its
    size.
    """

    wanted = False

    @staticmethod
    def blank(figure: Any, target: Any, *, format: str = "png", metadata: Any = None, **settings: Any) -> None:
        """Stands in for `Figure.savefig`."""
        width, height = (int(side * figure.dpi) for side in figure.get_size_inches())
        if format == "svg":
            target.write(f'<svg viewBox="0 0 {width} {height}">\n</svg>\n')
        else:
            said = PngInfo()
            for key, value in (metadata or {}).items():
                said.add_text(key, value)
            Image.new("L", (width, height), 255).save(target, format=format, pnginfo=said)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    Drawing.wanted = item.get_closest_marker("figures") is not None


@pytest.fixture(scope="session", autouse=True)
def draw_where_wanted() -> Iterator[None]:
    from mmposter.report.plots.figure import ShownFigure

    with pytest.MonkeyPatch.context() as patch:
        drawn = ShownFigure.savefig

        def save(figure: ShownFigure, target: Any, **settings: Any) -> None:
            (drawn if Drawing.wanted else Drawing.blank)(figure, target, **settings)

        patch.setattr(ShownFigure, "savefig", save)
        yield


@pytest.fixture(scope="session", autouse=True)
def work_in_this_process() -> Iterator[None]:
    """``--workers auto`` is this process: another one takes seconds to load torch, and nobody's cores are idle.

    Tests of several processes ask for a number of them, or say how many `auto` is.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmposter.engines.choice.automatic_workers", lambda device: 1)
        yield


@pytest.fixture(scope="session")
def shared_ccu() -> Path:
    """The folder of real posters beside the checkout; tests that need it are skipped where it is not."""
    folder = SHARED / "data" / "ccu"
    if not folder.is_dir():
        pytest.skip("the real posters (../shared/data/ccu) are not here")
    return folder


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """The shared folder with reference outputs and development weights."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


def drawn_poster(seed: int = 0, width: int = 60, height: int = 90) -> Image.Image:
    """A poster-like picture: coloured sky and ground, a figure, two dark bars where a title would be."""
    rng = np.random.default_rng(seed)
    sky, ground, figure = (tuple(int(value) for value in rng.integers(40, 256, 3)) for _ in range(3))
    image = Image.new("RGB", (width, height), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 2 // 3, width, height), fill=ground)
    left = int(rng.integers(0, width // 2))
    draw.ellipse((left, height // 4, left + width // 3, height * 3 // 4), fill=figure)
    draw.rectangle((width // 8, height // 12, width * 7 // 8, height // 8), fill=(20, 20, 20))
    draw.rectangle((width // 4, height // 6, width * 3 // 4, height // 5), fill=(20, 20, 20))
    return image


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels of RGB and holds none of them."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def make_drawn() -> Callable[..., Image.Image]:
    return drawn_poster


@pytest.fixture
def make_png_header() -> Callable[[int, int], bytes]:
    return png_header


@pytest.fixture
def poster_files(tmp_path: Path) -> Callable[[int], list[Path]]:
    """Write N different drawn posters as PNG files."""

    def make(count: int, folder: str = "posters") -> list[Path]:
        paths = [tmp_path / folder / f"{number:03d}.png" for number in range(count)]
        (tmp_path / folder).mkdir(exist_ok=True)
        for number, path in enumerate(paths):
            drawn_poster(number, 40, 48 + number % 3).save(path)
        return paths

    return make


@pytest.fixture
def mixed_folder(tmp_path: Path) -> tuple[Path, dict[str, str | None]]:
    """What users really have: odd pictures, files that are none, and two good posters.

    Returns:
        the folder, and for each file name the reason of its `BadImageError`, None where it must load.
    """
    folder = tmp_path / "mixed"
    folder.mkdir()
    poster = drawn_poster(7)
    drawn_poster(1, 200, 300).save(folder / "good.jpg", quality=95)
    drawn_poster(2, 200, 300).save(folder / "good.png")
    (folder / "truncated.jpg").write_bytes((folder / "good.jpg").read_bytes()[:2000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("<html>404 Not Found</html>\n" * 20, encoding="utf-8")
    poster.resize((1, 1)).save(folder / "one_pixel.png")
    poster.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    palette = poster.quantize(16)
    palette.save(folder / "palette.png", transparency=palette.getpixel((0, 0)))
    frames = [poster.quantize(16), Image.new("P", poster.size)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:], duration=100)
    gradient = np.tile(np.linspace(0, 65535, 60).astype(np.uint16), (90, 1))
    Image.fromarray(gradient).save(folder / "deep.png")
    (folder / "bomb.png").write_bytes(png_header(20_000, 20_000))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    poster.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    rgba = poster.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.tile(np.array([0, 255], np.uint8).repeat(30), (90, 1))))
    rgba.save(folder / "half_transparent.png")
    reasons = {
        "truncated.jpg": "truncated",
        "empty.jpg": "empty",
        "text.jpg": "not_an_image",
        "one_pixel.png": "too_small",
        "bomb.png": "too_large",
    }
    return folder, {path.name: reasons.get(path.name) for path in sorted(folder.iterdir())}
