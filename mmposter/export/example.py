"""Programs that use an exported file, and nothing of mmposter: written beside it, with ``NAME`` as its name."""

from __future__ import annotations

OPENING = '"""Genres of posters by '
"""How every example begins."""

_INTRODUCTION = f'''{OPENING}NAME. Usage: python NAME.example.py POSTER..."""

# Needs PACKAGES. The graph resizes for itself: give it all pixels of a picture, 8 bits a channel, RGB.
# Not done here as mmposter does it: grey of more than 8 bits (refused), colour profiles (taken for sRGB), damaged EXIF
# data and a JPEG without its end marker (an error).
'''

_PICTURE = """    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode[0] in "IF":  # Pillow would cut it off at 255: another picture, and other genres
        print(path, "it has more than 8 bits a channel; save it with 8", sep=": ", file=sys.stderr)
        continue
    if picture.has_transparency_data:  # over white
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
"""

_GENRES = """    order = np.argsort(-probabilities, kind="stable")
    chosen = [i for i in order if probabilities[i] >= facts["thresholds"][i]]
    if not chosen and facts["empty"] == "top1":
        chosen = order[:1]
    print(path, ", ".join(f"{facts['genres'][i]} ({probabilities[i]:.3f})" for i in chosen), sep=": ")
"""

ONNX_EXAMPLE = (
    _INTRODUCTION.replace("PACKAGES", "numpy, pillow and onnxruntime")
    + """import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(Path(__file__).with_name("NAME"), providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
facts |= {key: json.loads(facts[key]) for key in ("genres", "thresholds")}
for path in sys.argv[1:]:
"""
    + _PICTURE
    + """    probabilities = session.run(["probabilities"], {"image": np.asarray(picture.convert("RGB"))[None]})[0][0]
"""
    + _GENRES
)

TORCHSCRIPT_EXAMPLE = (
    _INTRODUCTION.replace("PACKAGES", "numpy, pillow and torch")
    + """import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

extra = {"mmposter.json": ""}
model = torch.jit.load(Path(__file__).with_name("NAME"), map_location="cpu", _extra_files=extra)
facts = json.loads(extra["mmposter.json"])
for path in sys.argv[1:]:
"""
    + _PICTURE
    + """    with torch.inference_mode():
        probabilities = model(torch.from_numpy(np.array(picture.convert("RGB")))[None])[0][0].numpy()
"""
    + _GENRES
)
