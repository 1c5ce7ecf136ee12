"""Which picture files are read: the formats that Pillow may decode for us, and the suffixes that their files have.

Pillow is imported on use: the help of the command line comes by here, and should not wait for it.
"""

from __future__ import annotations

from functools import cache

# No other decoder is tried, whatever a file is called: for EPS, Pillow would run Ghostscript on a stranger's program.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# A camera's file of several pictures begins as a JPEG does, and its first one is read as such.
_AS_JPEG = "MPO"


@cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded; AVIF with Pillow 11.3 and later."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def picture_suffixes() -> tuple[str, ...]:
    """The suffixes under which a folder's files are taken for pictures: lower case, with the dot, sorted."""
    from PIL import Image

    formats = {*readable_formats(), _AS_JPEG}
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in formats))
