"""The people on a poster as numbers: how many, how large, where.

Letters: B posters, N detections.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 3  # persons whose areas are told one by one
GRID = 3  # cells along each side of the poster
PERSON_NUMBERS = 24


def person_geometry(boxes: Tensor, scores: Tensor, persons: Tensor) -> Tensor:
    """Numbers of the boxes that show a person; zeros where none does.

    How many: log(1 + n); whether one, two, or more; the sum and the largest of the scores. How large, in shares of the
    poster: the three largest areas, the sum of all (at most 2), their mean; height and width of the largest person.
    Where: the centre of the largest person (x, y), and of each cell of a grid of 3 x 3, row by row, the share that one
    person covers most.

    Args:
        boxes: B x N x 4, xyxy in 0-1.
        scores: B x N.
        persons: B x N bool, which boxes count; what the others hold is not looked at.

    Returns:
        B x 24.
    """
    boxes, scores = boxes.masked_fill(~persons.unsqueeze(2), 0), scores.masked_fill(~persons, 0)
    boxes, scores = F.pad(boxes, (0, 0, 0, LARGEST)), F.pad(scores, (0, LARGEST))  # so that N is never too small
    size = boxes[..., 2:] - boxes[..., :2]
    areas = size.prod(dim=2)
    count = persons.sum(dim=1).to(scores.dtype)
    total = areas.sum(dim=1)
    top, order = areas.topk(LARGEST, dim=1)
    largest = boxes[torch.arange(len(boxes), device=boxes.device), order[:, 0]]  # B x 4
    number = [count.log1p(), count == 1, count == 2, count >= 3, scores.sum(dim=1), scores.amax(dim=1)]
    extent = [total.clamp(max=2), total / count.clamp(min=1)]
    numbers = torch.stack([value.to(scores.dtype) for value in (*number, *extent)], dim=1)
    height_and_width = (largest[:, 2:] - largest[:, :2]).flip(1)
    centre = (largest[:, :2] + largest[:, 2:]) / 2
    return torch.cat([numbers, top, height_and_width, centre, _cells(boxes)], dim=1)


def _cells(boxes: Tensor) -> Tensor:
    """Of each cell of the grid the share that one box covers most: B x N x 4 -> B x 9, row by row."""
    starts = torch.arange(GRID, device=boxes.device, dtype=boxes.dtype) / GRID
    low = boxes[..., :2].unsqueeze(3).clamp(min=starts)  # B x N x (x, y) x 3
    high = boxes[..., 2:].unsqueeze(3).clamp(max=starts + 1 / GRID)
    covered = (high - low).clamp(min=0) * GRID
    return (covered[:, :, 1].unsqueeze(3) * covered[:, :, 0].unsqueeze(2)).amax(dim=1).flatten(1)
