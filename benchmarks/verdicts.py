"""How often chance is called better than the constant answer, and how often an interval holds the truth.

    python benchmarks/verdicts.py [--sets 400] [--posters 300]

Simulated posters have 20 genres about as skewed as real ones. Three kinds of models:

- ``blind``: random scores around the base rates. Of mAP that is exactly as good as the constant, of the others worse.
- ``as good``: its signal is such that its metric equals the constant's on all posters there are; a model of its own
  for each metric, of mAP the blind one. Here chance has most to say.
- ``seeing``: knows part of the cause of each genre; whether its intervals hold the truth.

"Better" is a verdict of `mmposter.evaluation.evaluate`: the 95 % interval of the paired difference to the constant lies
above 0, so chance should be called so in 2.5 % of the sets at most. "own interval" is the rule of earlier versions:
the model's own interval lies above the constant's value.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmposter.document.markdown import markdown_table
from mmposter.evaluation import METRICS, ConstantPredictor, Evaluation, Metric, evaluate
from mmposter.evaluation.arrays import BoolArray, FloatArray
from mmposter.evaluation.single_label import SINGLE_LABEL_METRICS

PREVALENCE = np.array([0.5, 0.38, 0.22, 0.2, 0.18, 0.15, 0.13, 0.12, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.045, 0.04,
                       0.035, 0.03, 0.02, 0.015])  # fmt: skip
BASE = 1.25 * np.log(PREVALENCE / (1 - PREVALENCE))
THRESHOLDS = np.clip(PREVALENCE * 1.2, 0.08, 0.4)
HEADLINES = (*(metric for metric in METRICS if metric.headline), SINGLE_LABEL_METRICS[0])
"""Those of several genres a poster, and accuracy. Of macro precision no model is as good as the constant and no better:
blind ones are better. Macro recall is accuracy with other weights."""


@dataclass(frozen=True)
class World:
    """Where posters come from: `one` genre each, or several."""

    one: bool

    def draw(self, rng: np.random.Generator, n: int, signal: float, noise: float) -> tuple[BoolArray, FloatArray]:
        """Target and probabilities of some `n` posters with a genre, seen with so much signal and noise."""
        cause = rng.normal(size=(n, len(PREVALENCE)))
        seen = BASE + signal * cause + noise * rng.normal(size=cause.shape)
        logits = BASE + 1.3 * cause
        if self.one:
            surest = (logits + rng.gumbel(size=cause.shape)).argmax(axis=1)
            return np.eye(len(PREVALENCE), dtype=np.bool_)[surest], 1 / (1 + np.exp(-seen))
        target = rng.random(cause.shape) < 1 / (1 + np.exp(-logits))
        keep = target.any(axis=1)
        return target[keep], 1 / (1 + np.exp(-seen[keep]))


def true_value(metric: Metric, world: World, signal: float, noise: float, size: int) -> float:
    """The metric on so many posters that chance is small."""
    target, probs = world.draw(np.random.default_rng(7), size, signal, noise)
    return metric.value(target, probs >= THRESHOLDS if metric.kind == "decision" else probs)


def as_good(metric: Metric, world: World, train: BoolArray, size: int) -> float:
    """The signal with which a model has the constant's value; 0 if a blind one has it."""
    constant = ConstantPredictor.fit(train, metric)
    target, _ = world.draw(np.random.default_rng(7), size, 0, 1)
    goal, low, high = constant.score(target), 0.0, 3.0
    if true_value(metric, world, 0, 1, size) >= goal - 1e-3:
        return 0.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if true_value(metric, world, middle, 1, size) < goal else (low, middle)
    return (low + high) / 2


def evaluations(
    world: World, train: BoolArray, signal: float, noise: float, *, sets: int, posters: int, n_boot: int
) -> Iterator[Evaluation]:
    """One a simulated set."""
    genres = [f"genre {g}" for g in range(len(PREVALENCE))]
    for number in range(sets):
        target, probs = world.draw(np.random.default_rng([posters, number]), posters, signal, noise)
        yield evaluate(
            target, probs, THRESHOLDS, genres, train_target=train, split="test", n_boot=n_boot, seed=number,
            empty="allow",
        )  # fmt: skip


def false_better(sets: int, posters: int, n_boot: int, size: int) -> list[list[str]]:
    """A row a headline metric: name, then of both kinds of models the share of "better" by either rule, in percent."""
    rows = []
    for one in (False, True):
        world, metrics = World(one), [metric for metric in HEADLINES if metric.single_label == one]
        train, _ = world.draw(np.random.default_rng(1), 500, 0, 1)
        signals = {metric.name: as_good(metric, world, train, size) for metric in metrics}
        shares: dict[float, dict[str, list[str]]] = {}
        for signal in {0.0, *signals.values()}:
            found = list(evaluations(world, train, signal, 1.0, sets=sets, posters=posters, n_boot=n_boot))
            shares[signal] = {metric.name: _shares(metric, found) for metric in metrics}
        rows += [
            [metric.title, *shares[0.0][metric.name], *shares[signals[metric.name]][metric.name]] for metric in metrics
        ]
    return rows


def _shares(metric: Metric, found: list[Evaluation]) -> list[str]:
    better = sum(one.verdict(metric.name) == "better" for one in found)
    own = 0
    for one in found:
        result = one.metrics[metric.name]
        own += result.ci95 is not None and result.value > result.constant < result.ci95[0]
    return [f"{100 * count / len(found):.1f}" for count in (better, own)]


def coverage(sets: int, posters: int, n_boot: int, size: int) -> list[list[str]]:
    """A row a metric: name, share of intervals that hold the truth, the same of differences, values outside theirs."""
    world, signal, noise = World(one=False), 0.83, 0.62
    train, _ = world.draw(np.random.default_rng(1), 500, 0, 1)
    target, _ = world.draw(np.random.default_rng(7), size, 0, 1)
    truth = {metric.name: true_value(metric, world, signal, noise, size) for metric in METRICS}
    apart = {m.name: truth[m.name] - ConstantPredictor.fit(train, m).score(target) for m in METRICS}
    held, held_apart, outside = ({metric.name: 0 for metric in METRICS} for _ in range(3))
    for found in evaluations(world, train, signal, noise, sets=sets, posters=posters, n_boot=n_boot):
        for name, result in found.metrics.items():
            ends, ends_apart = result.ci95, result.difference.ci95
            held[name] += ends is not None and ends[0] <= truth[name] <= ends[1]
            held_apart[name] += ends_apart is not None and ends_apart[0] <= apart[name] <= ends_apart[1]
            outside[name] += ends is not None and not ends[0] <= result.value <= ends[1]
    return [
        [metric.title, f"{100 * held[metric.name] / sets:.1f}", f"{100 * held_apart[metric.name] / sets:.1f}",
         str(outside[metric.name])]
        for metric in METRICS
    ]  # fmt: skip


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=400, help="simulated data sets")
    parser.add_argument("--posters", type=int, default=300, help="in each, some without a genre")
    parser.add_argument("--n-boot", type=int, default=100, help="half-samples")
    parser.add_argument("--size", type=int, default=60_000, help="posters behind what is called the truth")
    parser.add_argument("--no-coverage", action="store_true", help="the first table alone")
    asked = parser.parse_args()
    settings = asked.sets, asked.posters, asked.n_boot, asked.size
    header = ["called better, %", "blind", "blind, own interval", "as good", "as good, own interval"]
    print(f"{asked.sets} sets of {asked.posters} posters, {asked.n_boot} half-samples\n", flush=True)
    print(markdown_table(header, false_better(*settings), align="lrrrr"), flush=True)
    if not asked.no_coverage:
        header = ["truth held, %", "interval", "difference to the constant", "values outside their own"]
        print("\n" + markdown_table(header, coverage(*settings), align="lrrr"))


if __name__ == "__main__":
    main()
