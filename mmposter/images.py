"""One way to turn whatever a user calls a poster into 8-bit RGB, or to say why it is none."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmposter.errors import BadImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ImageInput: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.generic]"

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})

# A print-size scan at 300 dpi has about 90 million pixels; past that a file is a mistake or a decompression bomb.
MAX_PIXELS = 100_000_000
MIN_SIDE = 32


def load_image(source: ImageInput, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a poster to an RGB `PIL.Image`, upright, first frame, transparency over white.

    Args:
        source: a path, the bytes of an image file, a PIL image, or an array H x W (grey), H x W x 3 (RGB) or
            H x W x 4 (RGBA); arrays are uint8 in 0-255 or floating point in 0-1.
        min_side: the shorter side that is still a poster, in pixels.
        max_pixels: width x height above which nothing is decoded.

    Raises:
        BadImageError: with a `reason` for the report, for anything that is no usable picture.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Image.Image):
        image = source
    elif isinstance(source, bytes):
        image = _open(source)
    else:
        image = _open(_read(Path(source)))
    width, height = image.size
    if width * height > max_pixels:
        raise BadImageError("too_large", f"{width}x{height} pixels; at most {max_pixels:,} are decoded")
    if min(width, height) < min_side:
        raise BadImageError("too_small", f"{width}x{height} pixels; the shorter side must have {min_side} or more")
    try:
        return _to_rgb(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow reads the header first and the pixels here; libjpeg and zlib each have their own words for "cut off".
        raise BadImageError("truncated", f"the picture cannot be decoded to its end ({error})") from error


def image_files(folder: Path) -> list[Path]:
    """All files below `folder` that are named like pictures, sorted, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadImageError("missing", "there is no such file") from None
    except OSError as error:
        raise BadImageError("unreadable", f"the file cannot be read ({error.strerror})") from error
    if not data:
        raise BadImageError("empty", "the file is empty")
    return data


def _open(data: bytes) -> Image.Image:
    if not data:
        raise BadImageError("empty", "the file is empty")
    try:
        with warnings.catch_warnings():
            # Our own limit stands in load_image; Pillow's warning would only repeat it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise BadImageError("too_large", f"{error}") from error
    except UnidentifiedImageError:
        raise BadImageError("not_an_image", "the content is no picture that Pillow knows") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadImageError("truncated", f"the picture's header is damaged ({error})") from error


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise BadImageError(
            "bad_array",
            f"an array must be H x W, H x W x 3 or H x W x 4; this one is {' x '.join(map(str, array.shape))}",
        )
    if np.issubdtype(array.dtype, np.floating):
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise BadImageError("bad_array", f"an array must be uint8 (0-255) or floating point (0-1), not {array.dtype}")
    return Image.fromarray(array)


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    image = upright if upright is not None else image
    if image.mode.startswith(("I", "F")):
        return _scale_deep(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        # White, as a page or a wall behind a poster is; black would read as a dark genre.
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    """Bring 16- and 32-bit grey to 8 bits. `convert("L")` would clip everything above 255 to white."""
    values = np.asarray(image).astype(np.float64)
    top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=0.0)), 1e-12)
    grey = np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
