"""What is shown at which step, and at which rate: a function of the step alone, so that a stopped training goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmposter.distillation.config import Phase

_LEAST = 0.005  # of the rate: a step at 0 would be a step for nothing


@dataclass(frozen=True)
class Step:
    """One step of the training."""

    phase: int  # its number, from 0
    size: tuple[int, int]  # height and width of the pictures in pixels
    scale: tuple[float, float]  # the smallest and the largest part of a poster that a picture shows
    batch: int  # pictures
    shown: int  # pictures of all steps before
    rate: float  # learning rate
    last: bool  # whether the phase ends with it
    held: bool  # whether batch norms hold their statistics


class Schedule:
    """All steps of a training: the rate rises, stays, and falls to (nearly) 0 along a cosine.

    Args:
        posters: how many there are to train on; no batch is larger.
        warmup: steps in which the rate rises.
        decay: the share of all pictures over which it falls.
        held: the share of all pictures, at the end, through which batch norms hold their statistics.
    """

    def __init__(self, phases: Sequence[Phase], posters: int, warmup: int, decay: float, held: float) -> None:
        self.phases, self.warmup = tuple(phases), warmup
        self._batches = [min(phase.batch_size, posters) for phase in phases]
        self._steps = [math.ceil(phase.posters / size) for phase, size in zip(phases, self._batches, strict=True)]
        self.total = sum(self._steps)
        self.pictures = sum(count * size for count, size in zip(self._steps, self._batches, strict=True))
        self._falls_from, self._held_from = self.pictures * (1 - decay), self.pictures * (1 - held)

    def at(self, step: int) -> Step:
        """The step of this number, from 0 (ValueError: there is none)."""
        if not 0 <= step < self.total:
            raise ValueError(f"step must be from 0 to {self.total - 1}, got {step}")
        shown = 0
        number, inside = 0, step
        while inside >= self._steps[number]:
            inside -= self._steps[number]
            shown += self._steps[number] * self._batches[number]
            number += 1
        phase, batch = self.phases[number], self._batches[number]
        shown += inside * batch
        rate = phase.learning_rate * min(1.0, (step + 1) / self.warmup) * self._fall(shown)
        last, held = inside + 1 == self._steps[number], shown >= self._held_from
        return Step(number, phase.size, phase.scale, batch, shown, rate, last, held)

    def _fall(self, shown: int) -> float:
        if shown <= self._falls_from:
            return 1.0
        way = (shown - self._falls_from) / (self.pictures - self._falls_from)
        return max(_LEAST, 0.5 * (1 + math.cos(math.pi * way)))
