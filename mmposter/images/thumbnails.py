"""Small pictures inside a page: the text of an ``src`` attribute, so that the page asks nobody for anything."""

from __future__ import annotations

import base64
import io

from PIL import Image

from mmposter.images.reading import Crop, ImageInput, crop_image, load_image


def thumbnail_uri(source: ImageInput, size: tuple[int, int], crop: Crop | None = None) -> str:
    """A poster, or a part of it, as a JPEG of at most `size` (width and height in pixels).

    Raises:
        BadImageError: it cannot be decoded, or does not hold the crop.
    """
    picture = load_image(source)
    if crop is not None:
        picture = crop_image(picture, crop)
    picture.thumbnail(size)
    return data_uri(picture)


def data_uri(image: Image.Image, kind: str = "JPEG") -> str:
    """A picture for the attribute ``src``."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
