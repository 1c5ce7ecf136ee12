"""Keys, schedule, random views and arrays on disk, each on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fusion.distillation import GENRES
from mmposter.data import row_arrays as rows_module
from mmposter.data.row_arrays import RowArrays
from mmposter.distillation import views as views_module
from mmposter.distillation.config import DistillationConfig, Phase, load_distillation_config
from mmposter.distillation.schedule import Schedule
from mmposter.distillation.views import PosterMaps, Views
from mmposter.errors import UserError


def test_options_and_overrides_meet_in_one_configuration():
    config = load_distillation_config(
        ["mixup=0", "phases=[{size: [64, 48], posters: 10, scale: [0.5, 1]}]"],
        student="resnet18",
        teachers="a, b",
        init=None,
    )
    assert (config.student, config.teachers, config.init, config.mixup) == ("resnet18", ("a", "b"), "none", 0.0)
    assert config.phases == (Phase(size=(64, 48), posters=10, scale=(0.5, 1.0)),)
    assert DistillationConfig.model_validate(config.model_dump(mode="json")) == config


def test_the_default_is_the_recipe_of_the_shipped_tower():
    config = DistillationConfig()
    assert [(phase.posters, phase.size, phase.scale) for phase in config.phases] == [
        (40_000, (96, 64), (0.2, 1.0)),
        (110_000, (128, 96), (0.15, 0.8)),
        (90_000, (192, 128), (0.25, 1.0)),
    ]
    schedule = Schedule(config.phases, 10_000, config.warmup, config.decay, config.held_norms)
    rates = {step.shown: step.rate for step in map(schedule.at, range(schedule.total))}
    assert [rate for shown, rate in rates.items() if 200 * 32 <= shown <= 110_000] == [0.002] * 3238
    assert all(rate < 0.002 for shown, rate in rates.items() if shown > 110_032)
    assert min(rates.values()) == rates[max(rates)] == pytest.approx(0.005 * 0.002)


def test_all_mistakes_stand_in_one_error():
    with pytest.raises(UserError) as caught:
        load_distillation_config(["mixup=2", "phase=1", "phases=[{sise: [64, 48], scale: [1, 0.5]}]"], teachers="a,a")
    lines = str(caught.value).splitlines()
    assert lines[0] == "the configuration does not fit:"
    text = "\n".join(lines[1:])
    assert "mixup: Input should be less than or equal to 1; got 2" in text
    assert "phase: unknown key (did you mean phases?); allowed there: student, init, teachers" in text
    assert "phases.0.sise: unknown key (did you mean size?); allowed there: size, posters, scale, batch_size" in text
    assert "phases.0.scale: the smallest part comes first; got [1.0, 0.5]" in text
    assert "teachers: each name is allowed once; got a,a" in text
    assert len(lines) == 6
    with pytest.raises(UserError, match="phases: one phase or more is needed; got none"):
        load_distillation_config(["phases=[]"])


def test_the_schedule_by_hand():
    phases = [
        Phase(size=(32, 32), posters=10, batch_size=4, learning_rate=1.0),  # 3 steps, 12 pictures
        Phase(size=(64, 32), posters=8, batch_size=2, learning_rate=0.5, scale=(0.5, 1.0)),  # 4 steps, 8 pictures
    ]
    schedule = Schedule(phases, posters=100, warmup=2, decay=0.5, held=0.25)
    assert (schedule.total, schedule.pictures) == (7, 20)
    steps = [schedule.at(number) for number in range(7)]
    assert [step.phase for step in steps] == [0, 0, 0, 1, 1, 1, 1]
    assert [step.scale for step in steps] == [(0.2, 1.0)] * 3 + [(0.5, 1.0)] * 4
    assert [step.shown for step in steps] == [0, 4, 8, 12, 14, 16, 18]
    assert [step.last for step in steps] == [False, False, True, False, False, False, True]
    assert [step.held for step in steps] == [False] * 5 + [True] * 2  # from the 15th picture of 20 on
    # The rate falls from the 10th picture of 20 on.
    fall = [0.5 * (1 + math.cos(math.pi * way)) for way in (0.2, 0.4, 0.6, 0.8)]
    assert [step.rate for step in steps] == pytest.approx([0.5, 1.0, 1.0, *(0.5 * value for value in fall)])
    with pytest.raises(ValueError, match="step must be from 0 to 6, got 7"):
        schedule.at(7)
    assert Schedule(phases, posters=3, warmup=1, decay=0.0, held=0.0).at(0).batch == 3
    assert {Schedule(phases, posters=9, warmup=1, decay=0.0, held=0.0).at(step).rate for step in range(7)} == {1.0, 0.5}


def ramps(config: DistillationConfig, genres=None) -> Views:
    """Posters whose pixels, and whose teachers' maps, say how far to the right (or down) they lie."""
    right = np.broadcast_to((np.arange(48) + 0.5) / 48, (64, 48))
    down = np.broadcast_to(((np.arange(64) + 0.5) / 64)[:, None], (64, 48))
    pixels = np.round(np.stack([right, down, np.zeros((64, 48))], axis=2) * 255).astype(np.uint8)
    places = F.avg_pool2d(torch.from_numpy(np.stack([right, down])), 4).numpy().astype(np.float16)
    posters = PosterMaps(
        np.repeat(pixels[None], 6, axis=0), {"t/s": np.repeat(places[None], 6, axis=0)}, np.arange(5), np.array([5])
    )
    return Views(posters, config, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), genres=genres)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_targets_are_of_the_same_part_as_the_picture(monkeypatch, mixup):
    """However it is cropped, stretched, flipped and mixed, the map goes with the picture."""
    monkeypatch.setattr(views_module, "recoloured", lambda images, draws: images)
    views = ramps(DistillationConfig(mixup=mixup))
    seen = []
    for step in range(20):
        images, targets = views.random(step, 4, (32, 24), {"t/s": (8, 6)}, (0.3, 1.0))
        assert images.shape == (4, 3, 32, 24)
        pooled = F.avg_pool2d(images[:, :2], 4)
        torch.testing.assert_close(pooled, targets["t/s"], atol=0.06, rtol=0)  # the coarse map ends before the edge
        seen.append(targets["t/s"])
    slopes = torch.cat(seen)[:, 0, :, -1] - torch.cat(seen)[:, 0, :, 0]
    assert (slopes < 0).any() == (slopes > 0).any() == True  # noqa: E712 (both directions were seen)
    whole, targets = views.whole(np.array([5]), (64, 48), {"t/s": (8, 6)})
    torch.testing.assert_close(targets["t/s"][0], F.avg_pool2d(whole[0, :2], 8), atol=0.003, rtol=0)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_soft_genres_are_of_the_crop_and_mixed_with_it(mixup):
    views = ramps(DistillationConfig(mixup=mixup), genres=lambda maps, rows: maps["t/s"].mean((2, 3)))
    _, targets = views.random(0, 4, (32, 24), {"t/s": (8, 6)}, (0.3, 0.5))
    torch.testing.assert_close(targets[GENRES], targets["t/s"].mean((2, 3)))
    assert len(targets[GENRES].unique()) == 8
    _, targets = views.whole(np.array([5]), (64, 48), {"t/s": (8, 6)})
    torch.testing.assert_close(targets[GENRES], torch.tensor([[0.5, 0.5]]), atol=1e-3, rtol=0)


def test_pictures_for_batch_norms_are_posters_as_they_are():
    views = ramps(DistillationConfig(mixup=1.0))
    pictures = views.plain(3, 4, (32, 24))
    assert torch.equal(pictures, views.plain(3, 4, (32, 24)))
    assert not torch.equal(pictures, views.plain(4, 4, (32, 24)))
    # A crop of a ramp is a steeper one's part: it rises by its width to the right, and nowhere down; no third colour.
    rise = (pictures[:, 0, :, -1] - pictures[:, 0, :, 0]).mean(1) * 24 / 23
    fall = (pictures[:, 1, -1] - pictures[:, 1, 0]).mean(1) * 32 / 31
    assert ((rise * fall > 0.28) & (rise * fall < 1.01)).all()
    assert float(pictures[:, 2].abs().max()) == 0


def test_a_batch_is_a_function_of_seed_and_step():
    views = ramps(DistillationConfig())
    asked = (4, (32, 24), {"t/s": (8, 6)}, (0.2, 1.0))
    one, again, other = (views.random(step, *asked)[0] for step in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, ramps(DistillationConfig(seed=1)).random(3, *asked)[0])


def test_arrays_go_on_where_they_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_KEEP_EVERY_S", 0.0)
    asked: list[int] = []

    def compute(part: range, stop: int = 10**6) -> dict[str, np.ndarray]:
        if part.start >= stop:
            raise KeyboardInterrupt
        asked.extend(part)
        numbers = np.array(part)
        return {"square": np.stack([numbers**2, -(numbers**2)], axis=1), "odd": numbers % 2 == 1}

    arrays = {"square": ((2,), np.dtype(np.int32)), "odd": ((), np.dtype(bool))}
    with pytest.raises(KeyboardInterrupt):
        RowArrays(tmp_path, "numbers", arrays, 10).fill(lambda part: compute(part, 6), 3, title="", quiet=True)
    assert not RowArrays(tmp_path, "numbers", arrays, 10).filled
    again = RowArrays(tmp_path, "numbers", arrays, 10)
    again.fill(compute, 3, title="", quiet=True)
    again.fill(compute, 3, title="", quiet=True)
    assert again.filled
    assert asked == list(range(10))
    assert again.load("square").tolist() == [[n * n, -n * n] for n in range(10)]
    assert again.load("odd").tolist() == [False, True] * 5
