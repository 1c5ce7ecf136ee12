"""Colours as sRGB, the one colour space of all that looks at posters: a file's own colour profile is followed."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

# A printer's profile has 0.5-4 MB.
MAX_PROFILE = 8_000_000
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
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = _SPACES.get(profile.profile.xcolor_space.strip(), "")
        if mode != _space(image):
            return image
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        if _changes_nothing(transform, mode):
            return image
        transparent = image.has_transparency_data
        rgba = image.convert("RGBA") if transparent else None
        result = ImageCms.applyTransform((rgba or image).convert(mode), transform)
    except MemoryError:
        raise
    except Exception:  # of a damaged profile: littlecms has own words for each place
        return image
    if rgba is not None:
        result.putalpha(rgba.getchannel("A"))
    return result


def _space(image: Image.Image) -> str:
    """The mode without transparency and palette."""
    if image.mode in ("1", "L", "LA", "La"):
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 256 if mode == "L" else 9).astype(np.uint8)
    pixels = steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    before = Image.fromarray(pixels)
    after = np.asarray(ImageCms.applyTransform(before, transform)).astype(int)
    return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= _SAME)
