"""The posters of a training: what is decoded once shows what is decoded anew, and views can be made again."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmposter.config import TrainConfig
from mmposter.features.tower import TowerInput
from mmposter.training.pictures import RandomViews, ReadPosters, training_pictures, whole_pictures

LOOKS = TowerInput((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), (48, 32))


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "nearest"])
def test_decoded_once_is_to_the_last_bit_what_is_read_anew(world, tmp_path, resize):
    looks = TowerInput(LOOKS.mean, LOOKS.std, LOOKS.size, resize)
    rows = [5, 3, 11]
    anew = ReadPosters(world.dataset, looks).batch(rows, 0)
    mapped = whole_pictures(world.dataset, rows, looks, tmp_path, "val", quiet=True)
    for epoch in (0, 1):
        good, images = mapped.batch(rows, epoch)
        assert good == anew[0] == rows
        assert torch.equal(images, anew[1])
    assert torch.equal(mapped.batch([11], 0)[1], anew[1][2:])
    assert not mapped.pixels.flags.writeable


def test_another_process_maps_the_same_file(world, tmp_path):
    mapped = whole_pictures(world.dataset, range(60), LOOKS, tmp_path, "val", quiet=True)
    sent = pickle.dumps(mapped)
    assert len(sent) < 60 * 48 * 32 * 3 / 10
    assert torch.equal(pickle.loads(sent).batch([3, 7], 0)[1], mapped.batch([3, 7], 0)[1])


def test_posters_are_decoded_once_also_when_a_training_goes_on(world, tmp_path, monkeypatch):
    whole_pictures(world.dataset, [0, 1], LOOKS, tmp_path, "val", quiet=True)
    monkeypatch.setattr("mmposter.data.pixels.load_image", lambda path: pytest.fail(f"{path} was decoded again"))
    assert len(whole_pictures(world.dataset, [0, 1], LOOKS, tmp_path, "val", quiet=True).usable) == 2


def test_a_poster_that_cannot_be_decoded_is_named_and_left_out(world, tmp_path, capsys):
    world.dataset.image_path(3).write_bytes(b"no picture")
    mapped = whole_pictures(world.dataset, [5, 3, 11], LOOKS, tmp_path, "val", quiet=True)
    assert "left out: film003" in capsys.readouterr().err
    for pictures in (mapped, ReadPosters(world.dataset, LOOKS)):
        good, images = pictures.batch([5, 3, 11], 0)
        assert good == [5, 11]
        assert len(images) == 2
        assert pictures.batch([3], 0)[0] == []


def test_views_are_a_function_of_seed_epoch_and_row(world, tmp_path):
    def view(rows, epoch=0, seed=0):
        settings = TrainConfig(crop=(0.3, 0.9))
        pictures = training_pictures(world.dataset, range(9), LOOKS, settings, seed, tmp_path, quiet=True)
        return pictures.batch(rows, epoch)[1]

    torch.manual_seed(1)
    first = view([1, 2])
    torch.manual_seed(2)
    assert torch.equal(view([4, 2, 1])[[2, 1]], first)
    for other in (view([1, 2], epoch=1), view([1, 2], seed=1)):
        assert not torch.equal(other, first)
    expected = torch.random.get_rng_state()
    view([1, 2])
    assert torch.equal(torch.random.get_rng_state(), expected)


def test_views_show_parts_on_both_sides_and_mirrored():
    ramp = np.zeros((64, 48, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 200, 48).astype(np.uint8)
    pixels = torch.from_numpy(np.repeat(ramp[None], 200, axis=0))
    seen = RandomViews([(32, 24)], (0.3, 0.5), seed=0)(pixels, range(200), 0)[:, 0]
    rising = seen[:, :, -1].mean(1) > seen[:, :, 0].mean(1)
    assert 70 < int(rising.sum()) < 130
    middle = seen.mean((1, 2))
    assert middle.min() < 75
    assert middle.max() > 125


def test_a_batch_has_one_of_the_sizes():
    pixels, views = torch.zeros(1, 64, 48, 3, dtype=torch.uint8), RandomViews([(32, 24), (48, 32)], (0.5, 1.0), seed=0)
    sizes = {tuple(views(pixels, [row], 0).shape[2:]) for row in range(20)}
    assert sizes == {(32, 24), (48, 32)}


def test_the_smallest_part_is_not_blown_up(world, tmp_path):
    pictures = training_pictures(
        world.dataset, [0], LOOKS, TrainConfig(crop=(0.25, 1.0), sizes=((32, 64), (64, 32))), 0, tmp_path, quiet=True
    )
    assert pictures.pixels.shape[1:3] == (128, 128)


def _cropped(tmp_path, crops):
    pixels = np.random.default_rng(0).integers(0, 256, (72, 48, 3), dtype=np.uint8)
    upright, turned = tmp_path / "upright.png", tmp_path / "turned.png"
    Image.fromarray(pixels).save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    Image.fromarray(np.rot90(pixels)).save(turned, exif=exif)
    return pixels, SimpleNamespace(crops=crops, image_path=[upright, turned, upright].__getitem__)


def test_a_crop_is_the_pictures_own_slice_and_none_is_the_whole(tmp_path):
    pixels, dataset = _cropped(tmp_path, [(3, 10, 43, 60), (3, 10, 43, 60), (0, 0, 40, 50)])
    looks = TowerInput((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (50, 40))
    good, images = ReadPosters(dataset, looks).batch([0, 1, 2], 0)
    assert good == [0, 1, 2]
    shown = torch.round(images * 255).permute(0, 2, 3, 1).numpy()
    for row in (0, 1):
        np.testing.assert_array_equal(shown[row], pixels[10:60, 3:43])
    np.testing.assert_array_equal(shown[2], pixels[:50, :40])
    whole = SimpleNamespace(crops=None, image_path=dataset.image_path)
    looks = TowerInput(looks.mean, looks.std, (72, 48))
    np.testing.assert_array_equal(
        torch.round(ReadPosters(whole, looks).batch([1], 0)[1][0] * 255).permute(1, 2, 0).numpy(), pixels
    )


@pytest.mark.parametrize("crop", [(10, 0, 49, 40), (0, 40, 40, 73), (-1, 0, 39, 40), (0, -1, 40, 39), (9, 0, 9, 40)])
def test_a_crop_that_the_picture_does_not_hold_is_left_out(tmp_path, crop):
    _, dataset = _cropped(tmp_path, [crop, (0, 0, 40, 40), (0, 0, 40, 40)])
    good, images = ReadPosters(dataset, LOOKS).batch([0, 1], 0)
    assert good == [1]
    assert len(images) == 1
