"""Grey pictures of more than 8 bits, brought to 8: what their white is, and what to do where nobody says so."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mmposter.errors import BadImageError

# TIFF's tags; see https://www.awaresystems.be/imaging/tiff/tifftags.html
_BITS, _PHOTOMETRIC, _FORMAT, _MAXIMA = 258, 262, 339, (341, 281)
_WHITE_IS_ZERO, _SIGNED = 0, 2
# Depths of cameras and scanners, which are often kept in a wider integer: 12 bits in 16.
_DEPTHS = (8, 10, 12, 14, 16, 24)


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits; `Image.convert` would clip it at 255."""
    return image.mode.startswith(("I", "F"))


def grey_of_8_bits(image: Image.Image) -> Image.Image:
    """A deep grey picture in mode L; what is no number, and what is below 0, is black.

    White is what the file names as its largest value. A TIFF that names none is white at the end of the smallest usual
    depth (8, 10, 12, 14, 16, 24 or 32 bits) that holds all its integers, as scanners keep 12 bits in 16; integers of
    any other file at 65535. Floating point is white at 1, or at its largest value where that lies above.
    """
    values = np.asarray(image)
    if _tag(image, _FORMAT) != _SIGNED and values.dtype == np.int32 and image.format == "TIFF":
        values = values.view(np.uint32)  # Pillow knows the signed ones alone
    numbers = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    top = _white(image, float(numbers.max(initial=0.0)))
    shares = np.clip(numbers / top, 0, 1)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares
    grey = Image.fromarray(np.rint(shares * 255).astype(np.uint8))
    if profile := image.info.get("icc_profile"):
        grey.info["icc_profile"] = profile
    return grey


def check_depth(image: Image.Image) -> None:
    """Refuse colours of 12 bits in 16: Pillow keeps the upper 8 bits, of which 4 are empty.

    Raises:
        BadImageError: that is so.
    """
    bits = _tag(image, _BITS)
    if bits != 16 or image.mode not in ("RGB", "RGBA", "RGBX", "CMYK"):
        return
    extrema = [high for _, high in image.convert("RGB").getextrema()]  # type: ignore[misc]  # a pair a channel
    if 0 < max(extrema) < 16:
        raise BadImageError(
            "too_dark",
            "its colours of 16 bits all lie below 4096, so they have 12 bits or fewer; save it with 8 bits a channel",
        )


def _white(image: Image.Image, largest: float) -> float:
    """The value that is white."""
    said = next((top for tag in _MAXIMA if (top := _tag(image, tag)) is not None), None)
    if isinstance(said, int | float) and 0 < largest <= said:
        return float(said)
    if image.mode.startswith("F"):
        return max(largest, 1.0)
    if image.format != "TIFF":  # a PNG is always scaled to its 16 bits
        return 65535.0 if largest <= 65535 else 2.0**31 - 1
    bits = int(_tag(image, _BITS) or 16)
    depths = [depth for depth in _DEPTHS if depth < bits] if bits >= 16 else []
    depths.append(bits - 1 if _tag(image, _FORMAT) == _SIGNED else bits)
    return float(2 ** next((depth for depth in depths if largest < 2**depth), bits) - 1)


def _tag(image: Image.Image, number: int) -> int | float | None:
    """A TIFF's tag, of several values the first; None where there is none."""
    value = getattr(image, "tag_v2", {}).get(number)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int | float) else None
