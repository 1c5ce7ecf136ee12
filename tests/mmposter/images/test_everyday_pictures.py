"""Pictures as scanners, cameras and half downloads leave them: colour profiles, deep grey, a lost end marker."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from mmposter.errors import BadImageError
from mmposter.images.colour import MAX_PROFILE
from mmposter.images.picture import decode_picture
from mmposter.images.reading import load_image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged: an exact, and very visible, other colour space."""
    return srgb_profile().replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


# --- colour profiles


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_followed(make_drawn, kind):
    poster = make_drawn(3)
    red, green, blue = poster.split()
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.merge("RGB", (green, red, blue)), kind, icc_profile=swapped_profile(), **options)
    off = np.abs(np.asarray(load_image(data)).astype(int) - np.asarray(poster))
    assert off.max() <= 2
    assert np.array_equal(decode_picture(data).pixels, np.asarray(load_image(data)))


def test_a_profile_of_srgb_itself_and_none_leave_every_pixel(make_drawn):
    poster = make_drawn(3)
    for profile in (srgb_profile(), None):
        assert np.array_equal(np.asarray(load_image(encoded(poster, icc_profile=profile))), np.asarray(poster))


@pytest.mark.parametrize(
    "profile",
    [b"no profile", swapped_profile()[:200], b"\0" * 4000, swapped_profile() + b"\0" * MAX_PROFILE],
    ids=["words", "cut", "zeros", "too large"],
)
def test_a_broken_profile_is_left_alone(make_drawn, profile):
    data = encoded(make_drawn(3), "TIFF", icc_profile=profile)
    assert np.array_equal(np.asarray(load_image(data)), np.asarray(make_drawn(3)))


def test_damaged_profiles_never_raise(make_drawn):
    rng = np.random.default_rng(0)
    for _ in range(60):
        profile = np.frombuffer(swapped_profile(), np.uint8).copy()
        places = rng.integers(0, len(profile), rng.choice([1, 5, 50]))
        profile[places] = rng.integers(0, 256, len(places))
        assert load_image(encoded(make_drawn(3), "TIFF", icc_profile=profile.tobytes())).mode == "RGB"


def test_a_profile_of_another_kind_of_picture_is_left_alone(make_drawn):
    grey = make_drawn(3).convert("L")
    assert np.array_equal(
        np.asarray(load_image(encoded(grey, icc_profile=swapped_profile()))), np.asarray(grey.convert("RGB"))
    )


def test_transparency_is_kept_by_a_profile():
    image = Image.new("RGBA", (40, 40), (0, 200, 100, 0))
    image.paste((0, 200, 100, 255), (0, 0, 40, 20))
    loaded = load_image(encoded(image, icc_profile=swapped_profile()))
    assert loaded.getpixel((5, 5)) == pytest.approx((200, 0, 100), abs=2)
    assert loaded.getpixel((5, 35)) == (255, 255, 255)


# --- more than 8 bits


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """A grey TIFF of one strip, with the tags that Pillow does not write."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    body = np.ascontiguousarray(values).tobytes()
    entries = {256: width, 257: height, 258: values.dtype.itemsize * 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    entries |= {279: len(body), 339: kind, **{int(name[1:]): value for name, value in tags.items()}}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    directory = struct.pack("<H", len(entries)) + table + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + directory


RAMP = np.tile(np.arange(64) / 63, (40, 1))  # 40 x 64, from black to white
WANTED = np.rint(RAMP * 255)


@pytest.mark.parametrize(
    ("dtype", "white"),
    [
        ("<u2", 65535),
        ("<u2", 4095),
        ("<u2", 1023),
        ("<u4", 2**32 - 1),
        ("<u4", 65535),
        ("<u4", 255),
        ("<i4", 2**31 - 1),
        ("<f4", 1.0),
        ("<f4", 255.0),
    ],
)
def test_grey_of_any_depth_reaches_from_black_to_white(dtype, white):
    pixels = np.asarray(load_image(tiff((RAMP * white).astype(dtype)))).astype(int)
    assert np.abs(pixels - WANTED[..., None]).max() <= 1


def test_a_dark_picture_stays_dark_where_the_file_says_what_white_is():
    half = (RAMP * 2047).astype("<u2")
    assert np.asarray(load_image(tiff(half, t281=4095))).max() in (127, 128)
    assert np.asarray(load_image(tiff((RAMP * 0.5).astype("<f4")))).max() in (127, 128)
    assert np.asarray(load_image(encoded(Image.fromarray((RAMP * 2047).astype(np.uint16))))).max() == 8  # a PNG


def test_white_may_be_zero():
    pixels = np.asarray(load_image(tiff((RAMP * 65535).astype("<u2"), t262=0))).astype(int)
    assert np.abs(pixels - (255 - WANTED[..., None])).max() <= 1


def test_colours_of_12_bits_in_16_are_refused_not_black():
    with pytest.raises(BadImageError, match="8 bits a channel") as found:
        load_image(rgb16(np.dstack([(RAMP * 4095).astype("<u2")] * 3)))
    assert found.value.reason == "too_dark"
    assert np.asarray(load_image(rgb16(np.dstack([(RAMP * 65535).astype("<u2")] * 3)))).max() == 255


def rgb16(values: np.ndarray) -> bytes:
    height, width, _ = values.shape
    body = np.ascontiguousarray(values).tobytes()
    bits = 8 + len(body)
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 4, 1, 1), (262, 4, 1, 2)]
    entries += [(273, 4, 1, 8), (277, 4, 1, 3), (278, 4, 1, height), (279, 4, 1, len(body))]
    directory = (
        struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0" * 4
    )
    return struct.pack("<2sHI", b"II", 42, bits + 6) + body + struct.pack("<3H", 16, 16, 16) + directory


# --- the end of a JPEG


def noisy(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    return Image.fromarray(blocks).convert(mode)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("RGB", {"progressive": True, "restart_marker_rows": 1}),
    ],
    ids=str,
)
def test_a_jpeg_is_whole_without_its_end_and_refused_where_a_pixel_is_lost(mode, options):
    data = encoded(noisy(mode), "JPEG", quality=50, **options)
    whole = np.asarray(load_image(data))
    for lost in (1, 2):
        assert np.array_equal(np.asarray(load_image(data[:-lost])), whole)
        assert np.array_equal(decode_picture(data[:-lost]).pixels, whole)
    refused = 0
    for size in range(len(data) - 3, len(data) // 4, -1):
        try:
            # The last scan of a progressive file may have nothing to say about these flat blocks.
            assert np.array_equal(np.asarray(load_image(data[:size])), whole)
        except BadImageError as error:
            refused += error.reason == "truncated"
    assert refused > len(data) // 2


def test_the_luma_of_a_jpeg_without_its_end():
    data = encoded(noisy("RGB"), "JPEG")
    whole, cut = decode_picture(data).luma(), decode_picture(data[:-2]).luma()
    assert whole is not None
    assert cut is not None
    assert np.array_equal(cut, whole)
