"""Colours as sRGB, the one colour space of all that looks at posters: a file's own colour profile is followed."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# A printer's profile has 0.5-4 MB.
MAX_PROFILE = 8_000_000
_SMALL = 100_000  # no profile of sRGB is larger
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Profiles of sRGB itself differ by this from one another, of 255: their pixels stay as they are.
_SAME = 3


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB by its own profile; without one, or with one that is damaged or fits other modes, as it is.

    A profile that says sRGB in other words changes nothing. Transparency stays.
    """
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not 0 < len(data) <= MAX_PROFILE:
        return image
    mode = _space(image)
    try:
        if len(data) <= _SMALL and _is_srgb(data, mode):
            return image
        transform = _transform(data, mode)
        if transform is None:
            return image
        alpha = None
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = image.getchannel("A")
        result = ImageCms.applyTransform(image.convert(mode), transform) or image
    except MemoryError:
        raise
    except Exception:  # of a damaged profile: littlecms has own words for each place
        return image
    if alpha is not None:
        result.putalpha(alpha)
    return result


def _transform(data: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None where it is one of pictures in another mode."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    if _SPACES.get(profile.profile.xcolor_space.strip()) != mode:
        return None
    return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")


def _space(image: Image.Image) -> str:
    """The mode without transparency and palette."""
    if image.mode in ("1", "L", "LA", "La"):
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


@lru_cache(maxsize=32)
def _is_srgb(data: bytes, mode: str) -> bool:
    """Whether a profile leaves colours as they are, or nothing can be done with it; kept, as most files have the same
    few."""
    transform = _transform(data, mode)
    if transform is None or mode == "CMYK":
        return transform is None
    steps = np.linspace(0, 255, 256 if mode == "L" else 9).astype(np.uint8)
    pixels = steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    before = Image.fromarray(pixels)
    after = np.asarray(ImageCms.applyTransform(before, transform)).astype(int)
    return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= _SAME)
