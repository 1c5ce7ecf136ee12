"""Image tower and fusion together: both regimes, re-weighting, and what is not run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fusion import (
    Backbone,
    FusionModel,
    ImageTower,
    PosterModel,
    StageStatistics,
    build_branch,
    build_head,
    parameter_groups,
)

CHANNELS, LAST, REDUCED = 6, 10, 4


def small_backbone() -> Backbone:
    return Backbone(
        "small",
        {
            "one": nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=2), nn.BatchNorm2d(CHANNELS), nn.ReLU()),
            "two": nn.Sequential(nn.Conv2d(CHANNELS, LAST, 3, stride=2), nn.BatchNorm2d(LAST), nn.ReLU()),
        },
    )


def poster_model(stage="two", names=("cnn", "style"), reweight=True, branch_dropout=0.0, **style) -> PosterModel:
    channels = {"one": CHANNELS, "two": LAST}[stage]
    tower = ImageTower(small_backbone(), stage, StageStatistics(channels, REDUCED))
    options = {
        "cnn": {"num_features": LAST, "dim": 8},
        "style": {"channels": channels, "reduced": REDUCED, "dim": 5} | style,
    }
    parts = nn.ModuleDict({name: build_branch(name, **options[name]) for name in names})
    head = build_head("concat", dims=[parts[name].output_dim for name in names], num_genres=3, dropout=0.0)
    return PosterModel(FusionModel(parts, head, branch_dropout), tower, reweight)


@pytest.fixture
def images():
    return torch.randn(5, 3, 24, 16)


def cached(model: PosterModel, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the application's extraction stores: the tower run without a gate."""
    with torch.no_grad():
        return model.tower(images)


def test_tower_entries_by_hand(images):
    model = poster_model("one").eval()
    entries = model.tower(images)
    x = model.tower.backbone.stages["one"](images)
    assert set(entries) == {"cnn.pooled", "style.gram", "style.mean", "style.std"}
    torch.testing.assert_close(entries["style.mean"], x.mean(dim=(2, 3)))
    assert entries["style.gram"].shape == (5, REDUCED, REDUCED)
    torch.testing.assert_close(entries["cnn.pooled"], model.tower.backbone.stages["two"](x).mean(dim=(2, 3)))


def test_gate_multiplies_the_map_before_the_later_stages(images):
    model = poster_model("one").eval()
    backbone = model.tower.backbone
    s = torch.rand(5, CHANNELS)
    got = model.tower(images, gate=lambda stats: s)
    x = backbone.stages["one"](images) * s[:, :, None, None]
    torch.testing.assert_close(got["cnn.pooled"], backbone.stages["two"](x).mean(dim=(2, 3)))
    torch.testing.assert_close(got["style.mean"], model.tower(images)["style.mean"])  # of the map before the gate


@pytest.mark.parametrize("reweight", [True, False])
@pytest.mark.parametrize("only", [None, ["cnn"], ["style"]])
def test_images_and_cache_agree_at_the_last_stage(images, reweight, only):
    model = poster_model("two", reweight=reweight).eval()
    expected = model({"image": images}, only=only)
    from_cache = model(cached(model, images), only=only)
    torch.testing.assert_close(from_cache, expected, atol=1e-5, rtol=1e-5)


def test_images_and_cache_agree_without_reweighting_at_any_stage(images):
    model = poster_model("one", reweight=False).eval()
    torch.testing.assert_close(model(cached(model, images)), model({"image": images}), atol=1e-5, rtol=1e-5)


def test_a_model_without_tower_takes_the_cache_alike(images):
    model = poster_model("two").eval()
    bare = PosterModel(model.fusion, None, reweight_cnn=True, tap_is_last=True).eval()
    torch.testing.assert_close(bare(cached(model, images)), model({"image": images}), atol=1e-5, rtol=1e-5)


def test_reweighting_is_the_gates_and_does_change_the_answer(images):
    model = poster_model("two").eval()
    entries = cached(model, images)
    seen = []
    model.fusion.branch("cnn").register_forward_pre_hook(lambda _, args: seen.append(args[0]["cnn.pooled"]))
    model(entries)
    torch.testing.assert_close(seen[0], entries["cnn.pooled"] * model.fusion.branch("style").weights(entries))
    model.reweight_cnn = False
    model(entries)
    torch.testing.assert_close(seen[1], entries["cnn.pooled"])


@pytest.mark.parametrize("path", ["image", "cache"])
def test_no_reweighting_where_style_is_dropped(images, path):
    """In training: the posters that lost their style, and only they, bring the plain features."""
    torch.manual_seed(1)
    model = poster_model("two", branch_dropout=0.6).train()
    model.tower.backbone.set_trainable("frozen")
    many = images.repeat(12, 1, 1, 1) + 0.1 * torch.randn(60, 3, 24, 16)
    entries = cached(model, many)
    seen, keeps = [], []
    model.fusion.branch("cnn").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.fusion.head.register_forward_pre_hook(lambda _, args: keeps.append(args[1]))
    model({"image": many} if path == "image" else entries)
    keep_cnn, keep_style = keeps[0].T
    assert (keep_cnn | keep_style).all()
    assert 0 < keep_style.sum() < 60
    pooled, weights = seen[0]["cnn.pooled"], seen[0]["style.weights"]
    torch.testing.assert_close(pooled[~keep_style], entries["cnn.pooled"][~keep_style], atol=1e-5, rtol=1e-5)
    expected = (entries["cnn.pooled"] * weights)[keep_style]
    torch.testing.assert_close(pooled[keep_style], expected, atol=1e-5, rtol=1e-5)


def test_masking_style_masks_its_weights_too(images):
    model = poster_model("two").eval()
    entries = cached(model, images)
    only_cnn = model(entries, only=["cnn"])
    other = entries | {key: torch.rand_like(v) for key, v in entries.items() if key.startswith("style")}
    torch.testing.assert_close(model(other, only=["cnn"]), only_cnn)
    assert (model(other) - model(entries)).abs().max() > 1e-5


@pytest.mark.parametrize("path", ["image", "cache"])
def test_the_gates_norm_sees_each_batch_once(images, path):
    model = poster_model("two").train()
    entries = cached(model.eval(), images)
    model.train()
    model({"image": images} if path == "image" else entries)
    assert int(model.gate.norm.num_batches_tracked) == 1


def test_without_cnn_the_network_stops_at_the_tap(images):
    model = poster_model("one", names=("style",)).eval()
    ran = []
    for name, stage in model.tower.backbone.stages.items():
        stage.register_forward_hook(lambda *_, name=name: ran.append(name))
    model({"image": images})
    assert ran == ["one"]
    both = poster_model("one").eval()
    for name, stage in both.tower.backbone.stages.items():
        stage.register_forward_hook(lambda *_, name=name: ran.append(name))
    both({"image": images}, only=["style"])
    assert ran == ["one", "one"]
    both({"image": images})
    assert ran == ["one", "one", "one", "two"]


def test_without_style_no_statistics_are_taken(images):
    model = poster_model("two").eval()
    ran = []
    model.tower.statistics.register_forward_hook(lambda *_: ran.append(1))
    model({"image": images}, only=["cnn"])
    assert ran == []
    model({"image": images})
    assert ran == [1]


def test_images_that_nobody_looks_at_are_left_alone(images, make_fusion, make_batch):
    model = PosterModel(make_fusion(("yolo",))).eval()
    inputs = make_batch(posters=5)
    torch.testing.assert_close(model(inputs | {"image": images}), model(inputs))


@pytest.mark.parametrize("stage", ["one", "two"])
def test_everything_learns_from_images(images, stage):
    model = poster_model(stage, descriptor="both").train()
    (model({"image": images}) * torch.randn(5, 3)).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert set(without) <= {"fusion.head.absent.0", "fusion.head.absent.1"}  # nobody is absent here
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_state_dict_names_each_tensor_once_and_reloads(images):
    model = poster_model("two").eval()
    names = list(model.state_dict())
    assert {name.split(".")[0] for name in names} == {"fusion", "tower"}
    other = poster_model("two").eval()
    assert not torch.equal(other({"image": images}), model({"image": images}))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other({"image": images}), model({"image": images}))


def test_parameter_groups_give_the_tower_its_own_rate():
    model = poster_model("two")
    model.tower.backbone.set_trainable("two")
    groups = parameter_groups(model, 0.1, lr=1e-3, tower_lr=1e-5)
    listed = [(id(p), group["lr"]) for group in groups for p in group["params"]]
    rates = dict(listed)
    assert len(rates) == len(listed)
    for name, parameter in model.named_parameters():
        if name.startswith("tower.backbone.stages.one."):
            assert id(parameter) not in rates
        else:
            assert rates[id(parameter)] == (1e-5 if name.startswith("tower.") else 1e-3)
    torch.optim.AdamW(groups)


def test_parameter_groups_give_a_branch_its_own_rate():
    model = poster_model("two")
    for whole, prefix in ((model, "fusion."), (model.fusion, "")):
        groups = parameter_groups(whole, 0.1, lr=1e-3, tower_lr=1e-5, branch_lr={"style": 0.5, "yolo": 7.0})
        rates = {id(p): group["lr"] for group in groups for p in group["params"]}
        assert len(rates) == len(list(whole.parameters()))
        for name, parameter in whole.named_parameters():
            own = {f"{prefix}branches.style": 0.5, "tower": 1e-5}
            expected = next((rate for start, rate in own.items() if name.startswith(f"{start}.")), 1e-3)
            assert rates[id(parameter)] == expected, name


def test_reweighting_without_both_branches_is_off(images):
    model = poster_model("two", names=("cnn",)).eval()
    assert not model.reweight_cnn
    torch.testing.assert_close(model({"image": images}), model(cached(model, images)))


def test_errors_at_construction():
    fusion = poster_model("two").fusion
    with pytest.raises(ValueError, match="tap_is_last must be True where reweight_cnn is on without a tower"):
        PosterModel(fusion, None, reweight_cnn=True)
    with pytest.raises(
        ValueError,
        match=r"the tower makes \(cnn.pooled of width 10\), got style.gram of width 4",
    ):
        PosterModel(fusion, ImageTower(small_backbone()))
    with pytest.raises(ValueError, match=r"style.mean of width 6.*, got style.mean of width 10"):
        PosterModel(fusion, ImageTower(small_backbone(), "one", StageStatistics(CHANNELS, REDUCED)))
    with pytest.raises(ValueError, match=r"tap_is_last must agree with the tower \(True\), got False"):
        PosterModel(fusion, poster_model("two").tower, tap_is_last=False)
    with pytest.raises(
        ValueError, match="must have the 10 channels of the last stage where tap_is_last is True, got 6"
    ):
        PosterModel(poster_model("one").fusion, None, reweight_cnn=True, tap_is_last=True)
    gateless = poster_model("two", reweight=False, gate=None, descriptor="gram").fusion
    with pytest.raises(ValueError, match=r"one branch must have a channel gate where reweight_cnn is on, got \[\]"):
        PosterModel(gateless, None, reweight_cnn=True, tap_is_last=True)
    wide = nn.ModuleDict({"cnn": build_branch("cnn", num_features=9, dim=8)})
    wrong = FusionModel(wide, build_head("sum", dims=[8], num_genres=2))
    with pytest.raises(ValueError, match=r"branch 'cnn' must read .*, got cnn.pooled of width 9"):
        PosterModel(wrong, ImageTower(small_backbone()))


def test_errors_at_run_time(images):
    model = poster_model("one").eval()
    with pytest.raises(
        ValueError, match="inputs must hold 'image' where reweight_cnn is on and the tap is not the last"
    ):
        model(cached(model, images))
    bare = PosterModel(model.fusion, None, reweight_cnn=False)
    with pytest.raises(ValueError, match="tower must be given where the batch holds 'image', got None"):
        bare({"image": images})


def test_tower_errors(images):
    with pytest.raises(ValueError, match=r"stage must be one of \['one', 'two'\], got 'three'"):
        ImageTower(small_backbone(), "three")
    with pytest.raises(ValueError, match="made for the 10 channels of stage 'two', got 6"):
        ImageTower(small_backbone(), "two", StageStatistics(CHANNELS))
    with pytest.raises(ValueError, match="statistics must be given to the tower"):
        ImageTower(small_backbone())(images)


def test_half_precision_images(images):
    model = poster_model("one").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model({"image": images})
    logits.float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
