from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmposter.errors import BadImageError
from mmposter.images.listing import image_files
from mmposter.images.reading import load_image

WHITE = (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def reason(source, **options) -> str:
    with pytest.raises(BadImageError) as caught:
        load_image(source, **options)
    return caught.value.reason


def test_every_file_of_a_mixed_folder_loads_or_has_its_reason(mixed_folder):
    folder, expected = mixed_folder
    for name, wanted in expected.items():
        if wanted is not None:
            assert reason(folder / name) == wanted, name
            continue
        image = load_image(folder / name)
        assert (image.mode, min(image.size) >= 32) == ("RGB", True), name
        assert np.asarray(image).std() > 5, f"{name} lost its picture"
    assert {"truncated", "empty", "not_an_image", "too_small", "too_large", None} == set(expected.values())


def test_lossless_pixels_come_out_as_they_are(make_drawn):
    poster = make_drawn(3)
    for source in (poster, encoded(poster), np.asarray(poster), encoded(poster, "BMP"), encoded(poster, "TIFF")):
        assert np.array_equal(np.asarray(load_image(source)), np.asarray(poster))


def test_a_path_may_be_text(make_drawn, tmp_path):
    make_drawn(3).save(tmp_path / "p.png")
    assert np.array_equal(np.asarray(load_image(str(tmp_path / "p.png"))), np.asarray(make_drawn(3)))


def test_cmyk_is_converted_to_the_same_colours(mixed_folder, make_drawn):
    loaded = np.asarray(load_image(mixed_folder[0] / "cmyk.jpg")).astype(int)
    assert np.abs(loaded - np.asarray(make_drawn(7))).mean() < 6


def test_a_transparent_palette_entry_becomes_white(mixed_folder):
    path = mixed_folder[0] / "palette.png"
    stored = Image.open(path)
    hole = np.asarray(stored) == stored.info["transparency"]
    pixels = np.asarray(load_image(path))
    assert hole.any()
    assert not hole.all()
    assert (pixels[hole] == 255).all()
    assert not (pixels[~hole] == 255).all(axis=1).any()


def test_transparency_is_laid_over_white_in_proportion():
    rgba = Image.new("RGBA", (40, 40), (200, 0, 100, 0))
    rgba.paste((200, 0, 100, 255), (0, 0, 40, 20))
    rgba.putpixel((0, 39), (200, 0, 100, 51))  # a fifth of the colour, four fifths of white
    loaded = load_image(encoded(rgba))
    assert loaded.getpixel((5, 5)) == (200, 0, 100)
    assert loaded.getpixel((5, 35)) == WHITE
    assert loaded.getpixel((0, 39)) == pytest.approx((244, 204, 224), abs=1)


def test_grey_with_alpha_is_laid_over_white():
    image = Image.new("LA", (40, 40), (10, 0))
    assert load_image(encoded(image)).getpixel((0, 0)) == WHITE


def test_the_first_frame_of_an_animation_counts(mixed_folder, make_drawn):
    loaded = np.asarray(load_image(mixed_folder[0] / "animated.gif")).astype(int)
    assert np.abs(loaded - np.asarray(make_drawn(7))).mean() < 10


def test_sixteen_bit_grey_is_scaled_not_clipped(mixed_folder):
    row = np.asarray(load_image(mixed_folder[0] / "deep.png"))[45]
    assert np.array_equal(row[:, 0], np.rint(np.linspace(0, 65535, 60).astype(np.uint16) / 257).astype(np.uint8))
    assert (row == row[:, :1]).all()


def test_floating_point_tiff_is_scaled_and_survives_nan():
    values = np.tile(np.linspace(0, 4, 40, dtype=np.float32), (40, 1))
    values[0] = np.nan
    pixels = np.asarray(load_image(encoded(Image.fromarray(values), "TIFF")))
    assert (pixels[0] == 0).all()
    assert pixels[1, 0, 0] == 0
    assert pixels[1, -1, 0] == 255
    assert (np.diff(pixels[1, :, 0].astype(int)) > 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow_turns_it(make_drawn, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(make_drawn(2), exif=exif)
    assert np.array_equal(
        np.asarray(load_image(data)), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    )


def test_a_turned_photo_stands_upright(mixed_folder, make_drawn):
    assert np.array_equal(np.asarray(load_image(mixed_folder[0] / "turned.png")), np.asarray(make_drawn(7)))


def test_a_damaged_exif_block_does_not_cost_the_picture(make_drawn):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(make_drawn(2), "JPEG", exif=exif)
    broken = data.replace(b"Exif\x00\x00MM\x00*", b"Exif\x00\x00MM\x00?").replace(
        b"Exif\x00\x00II*\x00", b"Exif\x00\x00II?\x00"
    )
    assert broken != data
    assert load_image(broken).size == (60, 90)


@pytest.mark.parametrize("side", [20_000, 10_001])
def test_a_bomb_is_refused_by_its_header(make_png_header, side):
    start = time.perf_counter()
    assert reason(make_png_header(side, side)) == "too_large"
    assert time.perf_counter() - start < 0.5


def test_a_large_scan_within_the_limit_gives_no_warning(make_png_header, recwarn):
    # 95 million pixels: Pillow alone would warn of a bomb. No pixels follow, so it is cut off, not too large.
    assert reason(make_png_header(9_500, 10_000)) == "truncated"
    assert not recwarn.list


def test_limits_are_arguments(make_drawn):
    assert reason(make_drawn(0, 60, 90), min_side=61) == "too_small"
    assert reason(make_drawn(0, 60, 90), max_pixels=60 * 90 - 1) == "too_large"
    assert load_image(make_drawn(0, 60, 90), min_side=60, max_pixels=60 * 90).size == (60, 90)


def test_float_arrays_are_in_0_to_1():
    array = np.zeros((40, 50, 3))
    array[:, 25:] = (1.0, 0.5, 1.04)  # a bicubic resize overshoots
    image = load_image(array)
    assert image.size == (50, 40)
    assert image.getpixel((0, 0)) == (0, 0, 0)
    assert image.getpixel((49, 0)) == (255, 128, 255)


def test_grey_and_rgba_arrays():
    assert load_image(np.full((40, 40), 7, np.uint8)).getpixel((3, 3)) == (7, 7, 7)
    assert load_image(np.zeros((40, 40, 4), np.uint8)).getpixel((3, 3)) == WHITE


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((40, 40, 2), np.uint8),
        np.zeros((2, 40, 40, 3), np.uint8),
        np.zeros(40, np.uint8),
        np.zeros((40, 40, 3), np.int64),
        np.zeros((40, 40, 3), bool),
        np.full((40, 40, 3), 255.0),
        np.full((40, 40, 3), np.nan),
        np.full((40, 40), np.inf),
    ],
)
def test_arrays_that_are_no_pictures(array):
    assert reason(array) == "bad_array"


def test_an_array_without_pixels_is_too_small():
    assert reason(np.zeros((0, 0, 3), np.uint8)) == "too_small"


def test_a_cut_file_given_as_an_open_image_is_truncated(make_drawn):
    noisy = Image.effect_noise((200, 200), 80).convert("RGB")
    assert reason(Image.open(io.BytesIO(encoded(noisy, "JPEG")[:6000]))) == "truncated"


def test_reasons_of_paths(tmp_path):
    assert reason(tmp_path / "none.jpg") == "missing"
    assert reason(tmp_path) == "unreadable"
    assert reason("a\0b.jpg") == "unreadable"
    assert reason("x" * 5000) == "unreadable"


def test_empty_bytes():
    assert reason(b"") == "empty"


def test_a_postscript_program_is_not_run(make_drawn, monkeypatch):
    """Pillow hands EPS to Ghostscript; a stranger's upload must not get there, whatever it is called."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was called"))
    assert reason(encoded(make_drawn(1), "EPS")) == "not_an_image"


def test_an_opener_that_someone_replaced_does_not_stop_a_batch(monkeypatch):
    """ultralytics puts its own function in the place of `PIL.Image.open`; it raises ImportError on a text file."""

    def replaced(*arguments, **options):
        raise ModuleNotFoundError("No module named 'pi_heif'")

    monkeypatch.setattr(Image, "open", replaced)
    assert reason(b"hello") == "not_an_image"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_damaged_files_never_raise_anything_else(make_drawn, kind):
    """Many damaged files of each format: loaded or refused, never a third way out."""
    from PIL import features

    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "AVIF") else {}
    good = encoded(make_drawn(5, 40, 48), kind, **options)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        data = np.frombuffer(good, np.uint8).copy()
        places = rng.integers(0, rng.choice([min(300, len(data)), len(data)]), rng.choice([1, 3, 20]))
        data[places] = rng.integers(0, 256, len(places))
        cut = len(data) if rng.random() < 0.8 else int(rng.integers(1, len(data)))
        try:
            outcomes.add(load_image(data[:cut].tobytes()).mode)
        except BadImageError as error:
            outcomes.add(error.reason)
    assert "truncated" in outcomes
    assert outcomes <= {"RGB", "truncated", "not_an_image", "too_large", "too_small"}


def test_image_files_are_sorted_and_hidden_ones_left_out(tmp_path):
    for name in ("b.JPG", "a/z.png", "a/notes.txt", ".hidden.jpg", "a/._z.png", "c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)] == ["a/z.png", "b.JPG", "c.webp"]
