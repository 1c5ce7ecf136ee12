"""The resize in an exported graph is that of training, to the last bit."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from fusion.backbones import RESIZES
from mmposter.export.resize import ExactResize, NativeResize, filter_weights
from mmposter.export.symbols import OPSET, quiet_tracing
from mmposter.images.transforms import PosterTransform

ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
SIZES = [(32, 32), (48, 33), (40, 257), (301, 45), (268, 182), (641, 449), (96, 64), (96, 70), (70, 64), (192, 128)]


def poster(height: int, width: int, kind: str = "noise") -> np.ndarray:
    rng = np.random.default_rng(height * width)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "edges":  # where a cubic overshoots, and 8 bits cut off
        return np.where(rng.random((height, width, 3)) < 0.5, 0, 255).astype(np.uint8)
    return np.full((height, width, 3), 200, np.uint8)


def resized(resize: torch.nn.Module, picture: np.ndarray) -> np.ndarray:
    return resize(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].numpy()


def as_trained(picture: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    """What `PosterTransform` makes of it, back in 0-255."""
    return np.rint(PosterTransform(*ONE, size, name)(picture).numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("kind", ["noise", "edges", "flat"])
def test_both_resizes_are_that_of_training(shape, kind, name):
    picture, size = poster(*shape, kind), (96, 64)
    wanted = as_trained(picture, size, name)
    np.testing.assert_array_equal(resized(ExactResize(size, name), picture), wanted)
    np.testing.assert_array_equal(resized(NativeResize(size, name), picture), wanted)


@pytest.mark.parametrize("name", RESIZES)
def test_onnxruntime_computes_the_same_bits_in_one_session(name):
    """A weight in single precision, as the exporter likes to make them, moves one pixel in a thousand."""
    runtime = pytest.importorskip("onnxruntime")
    size, written = (96, 64), io.BytesIO()
    example = torch.zeros(1, 3, 61, 43, dtype=torch.uint8)
    with quiet_tracing():
        torch.onnx.export(
            ExactResize(size, name),
            (example,),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            dynamic_axes={"image": {2: "height", 3: "width"}},
        )
    session = runtime.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])
    for shape in SIZES:
        picture = poster(*shape)
        found = session.run(None, {"image": picture.transpose(2, 0, 1)[None]})[0][0]
        np.testing.assert_array_equal(found, as_trained(picture, size, name))


def test_weights_by_hand():
    """2 pixels to 1: each counts half; 1 to 1 is itself; each column of a wider one is about its unit."""
    weights, unit = filter_weights(2, 1, "bicubic")
    assert weights.flatten().tolist() == [unit / 2, unit / 2]
    weights, unit = filter_weights(3, 3, "bicubic")
    assert torch.equal(weights, (torch.eye(3) * unit).int())
    weights, unit = filter_weights(100, 30, "bicubic")
    assert weights.shape == (100, 30)
    assert weights.max() < 2**15 <= 2 * weights.max()
    assert (weights.sum(dim=0) - unit).abs().max() <= 14  # as many weights as are rounded
