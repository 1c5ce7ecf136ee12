"""One way to turn whatever a user calls a poster into 8-bit RGB, or to say why it is none."""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mmposter.errors import BadImageError
from mmposter.images.colour import to_srgb
from mmposter.images.deep import check_depth, grey_of_8_bits, is_deep
from mmposter.images.formats import readable_formats
from mmposter.images.jpeg_end import with_end
from mmposter.objects import is_object, read_object

ImageInput: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.generic]"

Crop: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of an upright picture, in pixels; column `right` and row `bottom` lie outside."""


# A print-size scan at 300 dpi has about 90 million pixels; past that a file is a mistake or a decompression bomb.
MAX_PIXELS = 100_000_000
MIN_SIDE = 32

# A print-size scan as an uncompressed TIFF of 16 bits a channel has about 600 MB; a larger file is no poster.
MAX_FILE_BYTES = 1_000_000_000

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(source: ImageInput, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a poster to an RGB `PIL.Image`: upright, first frame, in sRGB, transparency over white.

    Args:
        source: a path, as a text also a link into an object store (``s3://``), the bytes of an image file, a PIL image,
            or an array H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA); arrays are uint8 in 0-255 or floating point
            in 0-1 (what a resize overshoots is cut).
        min_side: the shorter side that is still a poster, in pixels.
        max_pixels: width x height above which nothing is decoded.

    Raises:
        BadImageError: with a `reason` for the report, for anything that is no usable picture.
    """
    data = None
    if isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Image.Image):
        image = source
    else:
        data = source if isinstance(source, bytes) else read_poster(source)
        image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        raise BadImageError("too_large", f"{width}x{height} pixels; at most {max_pixels:,} are decoded")
    if min(width, height) < min_side:
        raise BadImageError("too_small", f"{width}x{height} pixels; the shorter side must have {min_side} or more")
    try:
        return _to_rgb(image)
    except (MemoryError, BadImageError):
        raise
    except Exception as error:
        # A JPEG without its end marker is a picture where all its pixels are there, and browsers show it.
        if data is not None and (whole := with_end(data, lambda jpeg: _loaded(_open(jpeg)))) is not None:
            return _to_rgb(_open(whole))
        # Pillow reads the header first and the pixels here. Each codec has its own words for "cut off": OSError,
        # ValueError, SyntaxError, and of a damaged AVIF RuntimeError. None of them may stop the other posters.
        raise BadImageError("truncated", f"the picture cannot be decoded to its end ({error})") from error


def crop_image(image: Image.Image, crop: Crop) -> Image.Image:
    """A part of a picture (BadImageError: it does not hold all of it; Pillow would fill up with black)."""
    left, top, right, bottom = crop
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise BadImageError("too_small", f"{image.width}x{image.height} pixels, which do not hold the crop {crop}")
    return image.crop(crop)


def read_poster(place: str | Path) -> bytes:
    """The bytes of a poster: of a file, or of the object that a text names (see `mmposter.objects`).

    Raises:
        BadImageError: it is missing, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    return read_object(place, MAX_FILE_BYTES) if is_object(place) else read_file(Path(place))


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file. A pipe or a device would block, or never end.

    Raises:
        BadImageError: where it is missing, unreadable, no regular file, or too large.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise BadImageError("unreadable", "it is a folder, a pipe or a device, not a file")
            if facts.st_size > max_bytes:
                raise BadImageError(
                    "too_large", f"{facts.st_size / 1e6:,.1f} MB; at most {max_bytes / 1e6:,.1f} MB are read"
                )
            with open(handle, "rb", closefd=False) as file:
                return file.read(facts.st_size)  # no more, should the file grow meanwhile
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise BadImageError("missing", "there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        why = error.strerror if isinstance(error, OSError) else error
        raise BadImageError("unreadable", f"the file cannot be read ({why})") from error


def _open(data: bytes) -> Image.Image:
    if not data:
        raise BadImageError("empty", "the file is empty")
    try:
        with warnings.catch_warnings():
            # Our own limit stands in load_image; Pillow's warning would only repeat it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=readable_formats())
    except Image.DecompressionBombError as error:  # Pillow's own limit lies above ours
        raise BadImageError("too_large", f"more pixels than the {MAX_PIXELS:,} that are decoded") from error
    except UnidentifiedImageError:
        raise BadImageError("not_an_image", f"the content is none of {', '.join(readable_formats())}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadImageError("truncated", f"the picture's header is damaged ({error})") from error
    except MemoryError:
        raise
    except Exception as error:
        # What a codec raises of a header that it does not understand; and ultralytics, where someone imported it before
        # us, has replaced Pillow's `open` by one that wants another package for every file that is no picture.
        raise BadImageError("not_an_image", f"the content cannot be read as a picture ({error})") from error


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise BadImageError(
            "bad_array",
            f"an array must be H x W, H x W x 3 or H x W x 4; this one is {' x '.join(map(str, array.shape))}",
        )
    if np.issubdtype(array.dtype, np.floating):
        # A poster in 0-255 as floats would come out white. 2: no resize overshoots 1 by so much.
        if not np.isfinite(array).all() or array.max(initial=0) > 2:
            raise BadImageError("bad_array", "a floating point array must be finite and in 0-1; divide 0-255 by 255")
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise BadImageError("bad_array", f"an array must be uint8 (0-255) or floating point (0-1), not {array.dtype}")
    return Image.fromarray(array)


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    check_depth(image)
    image = to_srgb(grey_of_8_bits(image) if is_deep(image) else image)
    image = image if turn is None else image.transpose(turn)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        # White, as a page or a wall behind a poster is; black would read as a dark genre.
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def is_upright(image: Image.Image) -> bool:
    """Whether a picture's EXIF data leave it as it is."""
    return _orientation(image) not in _UPRIGHT


def _orientation(image: Image.Image) -> int:
    try:
        orientation: int = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # of a damaged EXIF block: the picture itself may be whole
        return 1
    return orientation
