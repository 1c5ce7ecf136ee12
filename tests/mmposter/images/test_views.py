"""Random views of posters: parts and colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmposter.images.views import BOX_DRAWS, COLOUR_DRAWS, boxes, cut, recoloured


def test_boxes_lie_inside_and_have_the_area_that_was_drawn():
    found = boxes(np.random.default_rng(0).random((BOX_DRAWS, 2000)), (0.2, 0.8)).numpy()
    width, height = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert (width * height).min() == pytest.approx(0.2, abs=0.01)
    assert (width * height).max() == pytest.approx(0.8, abs=0.01)
    free = np.maximum(width, height) < 0.999
    assert np.abs(np.log(width / height))[free].max() < 0.3 + 1e-4


def test_colours_stay_colours():
    grey = torch.full((5, 3, 4, 4), 100.0)
    changed = recoloured(grey, np.random.default_rng(0).random((COLOUR_DRAWS, 5)))
    # A flat grey picture has neither contrast nor saturation; its brightness changes by at most a factor e^0.2.
    assert (changed - changed[:, :1, :1, :1]).abs().max() < 1e-3
    factors = changed[:, 0, 0, 0] / 100
    assert len(set(factors.tolist())) == 5
    assert math.exp(-0.2) <= factors.min() < factors.max() <= math.exp(0.2)
    assert recoloured(torch.rand(5, 3, 4, 4) * 400, np.random.default_rng(0).random((COLOUR_DRAWS, 5))).max() <= 255


def test_colours_by_the_steps_that_are_named():
    """Brightness, then contrast, then saturation, one after another."""
    images, draws = torch.rand(4, 3, 6, 5) * 120 + 60, np.random.default_rng(0).random((COLOUR_DRAWS, 4))
    factors = torch.from_numpy(np.exp((2 * draws - 1) * np.array([[0.2], [0.2], [0.25]]))).float()[
        ..., None, None, None
    ]
    expected = images * factors[0]
    for factor, dims in ((factors[1], (1, 2, 3)), (factors[2], (1,))):
        grey = expected.mean(dims, keepdim=True)
        expected = (expected - grey) * factor + grey
    torch.testing.assert_close(recoloured(images, draws), expected.clamp(0, 255), atol=1e-3, rtol=1e-5)


def test_a_part_is_cut_where_its_box_is_and_resized():
    pixels = torch.zeros(2, 40, 20, 3, dtype=torch.uint8)
    pixels[0, 10:20, 5:15, 0] = 200
    pixels[1, :, :, 2] = torch.arange(40, dtype=torch.uint8)[:, None] * 5
    parts = torch.tensor([[0.25, 0.25, 0.75, 0.5], [0.0, 0.5, 1.0, 1.0]])
    made = cut(pixels, parts, (8, 4))
    assert made.shape == (2, 3, 8, 4)
    assert made.dtype == torch.uint8
    assert (made[0, 0] == 200).all()
    assert not made[0, 1:].any()
    rows = made[1, 2, :, 0].tolist()
    assert rows == sorted(rows)
    assert 98 <= rows[0] < rows[-1] <= 197
    assert cut(pixels, torch.tensor([[0.5, 0.5, 0.5, 0.5]] * 2), (4, 4)).shape == (2, 3, 4, 4)
