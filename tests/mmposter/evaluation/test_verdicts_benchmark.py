"""benchmarks/verdicts.py runs, and its models are what it says of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "verdicts.py"


@pytest.fixture(scope="module")
def verdicts():
    spec = importlib.util.spec_from_file_location("verdicts", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["verdicts"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["verdicts"]


def test_it_prints_both_tables(verdicts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["verdicts", "--sets", "2", "--posters", "40", "--n-boot", "4", "--size", "500"])
    verdicts.main()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "2 sets of 40 posters, 4 half-samples"
    named = [line.split(" | ")[0].strip("| ") for line in out if line.startswith("|")]
    assert named[:6] == ["called better, %", "---", "mAP", "macro F1", "R-precision", "accuracy"]
    assert named[6] == "truth held, %"
    assert len(named) == 6 + 2 + 14


def test_a_model_that_is_as_good_has_the_value_of_the_constant(verdicts):
    world = verdicts.World(one=False)
    train, _ = world.draw(np.random.default_rng(1), 500, 0, 1)
    metric = verdicts.HEADLINES[2]
    signal = verdicts.as_good(metric, world, train, 4000)
    assert 0.2 < signal < 1
    target, _ = world.draw(np.random.default_rng(7), 4000, 0, 1)
    constant = verdicts.ConstantPredictor.fit(train, metric).score(target)
    assert verdicts.true_value(metric, world, signal, 1, 4000) == pytest.approx(constant, abs=0.005)
    assert verdicts.as_good(verdicts.HEADLINES[0], world, train, 4000) == 0  # mAP: a blind model is


@pytest.mark.slow
def test_chance_is_seldom_called_better(verdicts):
    """60 sets: at most 3 (2.5 % would be 1.5)."""
    world = verdicts.World(one=True)
    train, _ = world.draw(np.random.default_rng(1), 500, 0, 1)
    metric = verdicts.HEADLINES[3]
    signal = verdicts.as_good(metric, world, train, 20_000)
    found = list(verdicts.evaluations(world, train, signal, 1.0, sets=60, posters=100, n_boot=40))
    better = sum(one.verdict("accuracy") == "better" for one in found)
    assert better <= 3
