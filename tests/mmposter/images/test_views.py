"""Random views of posters: parts and colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmposter.images.views import BOX_DRAWS, COLOUR_DRAWS, boxes, recoloured


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
