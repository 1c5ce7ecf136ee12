"""What lines of text say: easyocr's CRNN over the crops of many posters at once.

Source: B. Shi, X. Bai, C. Yao, "An End-to-End Trainable Neural Network for Image-based Sequence Recognition",
TPAMI 2017, arXiv 1507.05717; crops, padding, second look and confidence are easyocr's.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from detectors.line_detection import FoundLines

_HEIGHT = 64  # pixels of every crop
_TALL = 2  # height to width from which a line may be one that runs up or down; a letter I is as tall
_DOUBT, _CONTRAST = 0.1, 0.5  # a line surer than the first is not looked at again with the second's contrast


@dataclass(frozen=True)
class Crop:
    """One line cut out of a poster."""

    quad: Any  # its corners (x, y) in pixels of the poster
    # h x w, uint8, grey, scaled to 64 pixels in height (for a line of upright letters: in width).
    image: NDArray[np.uint8]
    width: int  # pixels to which the network's input is padded, a multiple of 64


def cut_lines(grey: NDArray[np.uint8], found: FoundLines) -> list[Crop]:
    """The crops of a poster's lines, horizontal ones first; `grey` is its luma, H x W."""
    from easyocr.utils import get_image_list

    crops = []
    for horizontal, free in [([box], []) for box in found.horizontal] + [([], [quad]) for quad in found.free]:
        # One by one: easyocr pads all lines of a call to the width of the longest.
        images, width = get_image_list(horizontal, free, grey, model_height=_HEIGHT)
        crops += [Crop(quad, image, int(width)) for quad, image in images]
    return crops


class LineRecogniser:
    """A CRNN over crops, those of equal width together: each is padded as easyocr pads it when it reads it alone.

    Args:
        reader: an ``easyocr.Reader`` (network, characters, decoder); a copy of its network is used.
        device: a torch device name.
        dtype: in which the convolutions run; what follows them is small and runs as it was loaded.
        as_easyocr: keep to the arithmetic of easyocr's loop: the convolutions in its memory layout, and what follows
            them line by line, because an 8-bit LSTM's scales are those of the whole batch. Both matter: rounding in
            the last bit of a float moves a number in 8 bits, and with it the text of one line in twenty.
        second_look: read doubtful lines once more with more contrast, and keep the surer text.
        turned: read tall lines turned by a quarter to either side, too, and keep the text with the most sure letters.
    """

    def __init__(
        self, reader: Any, *, device: str, dtype: torch.dtype, as_easyocr: bool, second_look: bool, turned: bool
    ) -> None:
        self._network = copy.deepcopy(reader.recognizer).eval().to(device)
        self._layout = torch.contiguous_format if as_easyocr else torch.channels_last
        self._network.FeatureExtraction.to(dtype=dtype).to(memory_format=self._layout)
        self._converter = reader.converter
        self._mirrored = reader.model_lang == "arabic"
        unwanted = set(reader.character) - set(reader.lang_char)
        self._ignored = [index + 1 for index, letter in enumerate(reader.character) if letter in unwanted]
        self._device, self._dtype, self._as_easyocr = device, dtype, as_easyocr
        self._second_look, self._turned = second_look, turned
        self._batch_size = 16 if torch.device(device).type == "cpu" else 128

    def __call__(self, crops: Sequence[Crop]) -> list[tuple[str, float]]:
        """Text and confidence in 0-1 of each crop, in order."""
        results = self._read(crops, contrast=0.0)
        if self._second_look:
            doubtful = [index for index, (_, confidence) in enumerate(results) if confidence < _DOUBT]
            again = self._read([crops[index] for index in doubtful], contrast=_CONTRAST)
            for index, result in zip(doubtful, again, strict=True):
                if result[1] >= results[index][1]:
                    results[index] = result
        if self._turned:
            tall = [index for index, crop in enumerate(crops) if crop.image.shape[0] >= _TALL * crop.image.shape[1]]
            for quarters in (1, 3):
                turned = [replace(crops[index], image=np.rot90(crops[index].image, quarters)) for index in tall]
                for index, result in zip(tall, self._read(turned, contrast=0.0), strict=True):
                    results[index] = max(results[index], result, key=_sure_letters)
        if self._mirrored:
            from easyocr.easyocr import get_display  # python-bidi's, as easyocr uses it

            results = [(get_display(text), confidence) for text, confidence in results]
        return results

    def _read(self, crops: Sequence[Crop], contrast: float) -> list[tuple[str, float]]:
        from easyocr.recognition import AlignCollate

        widths: dict[int, list[int]] = defaultdict(list)
        for index, crop in enumerate(crops):
            widths[crop.width].append(index)
        results: dict[int, tuple[str, float]] = {}
        for width, indices in sorted(widths.items()):
            to_tensor = AlignCollate(_HEIGHT, width, keep_ratio_with_pad=True, adjust_contrast=contrast)
            for start in range(0, len(indices), self._batch_size):
                batch = indices[start : start + self._batch_size]
                images = to_tensor([Image.fromarray(crops[index].image) for index in batch])
                results |= zip(batch, self._decode(self._probabilities(images)), strict=True)
        return [results[index] for index in range(len(crops))]

    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """B x 1 x 64 x W to B x T x letters (the first is CTC's blank)."""
        network = self._network
        with torch.inference_mode():
            images = images.to(device=self._device, dtype=self._dtype, memory_format=self._layout)
            features = network.FeatureExtraction(images).float()  # B x C x 3 x T
            features = network.AdaptiveAvgPool(features.permute(0, 3, 1, 2)).squeeze(3)
            parts = features.split(1) if self._as_easyocr else (features,)
            logits = [network.Prediction(network.SequenceModeling(part).contiguous()) for part in parts]
            probabilities = torch.cat(logits).softmax(dim=2)
            if self._ignored:
                probabilities[:, :, self._ignored] = 0.0
                probabilities /= probabilities.sum(dim=2, keepdim=True)
        return probabilities

    def _decode(self, probabilities: torch.Tensor) -> list[tuple[str, float]]:
        from easyocr.recognition import custom_mean

        best, letters = (values.cpu().numpy() for values in probabilities.max(dim=2))
        texts = self._converter.decode_greedy(letters.reshape(-1), [letters.shape[1]] * len(letters))
        sure = [row[index != 0] for row, index in zip(best, letters, strict=True)]
        confidences = [float(custom_mean(values)) if len(values) else 0.0 for values in sure]
        return list(zip(texts, confidences, strict=True))


def _sure_letters(result: tuple[str, float]) -> float:
    """How many of a text's letters the reader is sure of, up to four: a word has more than a tall letter that it may be
    taken for."""
    text, confidence = result
    return confidence * min(len(text), 4)
