from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmposter.errors import BadImageError
from mmposter.images.picture import Picture, decode_picture


def colours(seed=0, size=(60, 40)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8)).resize(size[::-1])


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_luma_is_what_opencv_reads_of_the_file():
    cv2 = pytest.importorskip("cv2")
    data = encoded(colours(), "JPEG", quality=60)
    picture = decode_picture(data)
    assert np.array_equal(picture.luma(), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
    assert not np.array_equal(picture.luma(), cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY))


def test_a_path_and_its_bytes_are_one_picture(tmp_path):
    data = encoded(colours(), "JPEG")
    path = tmp_path / "poster.jpg"
    path.write_bytes(data)
    for source in (path, str(path), data):
        picture = decode_picture(source)
        assert np.array_equal(picture.pixels, np.asarray(Image.open(path)))
        assert picture.file == data


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_only_jpeg_has_a_luma_of_its_own(kind):
    assert decode_picture(encoded(colours(), kind)).luma() is None


def test_a_jpeg_that_has_to_be_turned_has_none():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_picture(encoded(colours(), "JPEG", exif=exif)).luma() is None
    exif[0x0112] = 1
    assert decode_picture(encoded(colours(), "JPEG", exif=exif)).luma() is not None


def test_a_jpeg_of_four_inks_has_none():
    assert decode_picture(encoded(colours().convert("CMYK"), "JPEG")).luma() is None


def test_a_picture_that_was_given_has_none():
    image = colours()
    assert decode_picture(image).luma() is None
    assert decode_picture(np.asarray(image)).luma() is None
    assert Picture(np.asarray(image)).luma() is None


@pytest.mark.parametrize(("source", "reason"), [(b"", "empty"), (b"no picture", "not_an_image"), ("gone", "missing")])
def test_what_is_no_picture(tmp_path, source, reason):
    with pytest.raises(BadImageError) as caught:
        decode_picture(tmp_path / source if isinstance(source, str) else source)
    assert caught.value.reason == reason
