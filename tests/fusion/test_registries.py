"""What a plugin may rely on: everything is found by its name, and nothing in fusion knows the names beforehand."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch
from torch import nn

import fusion
from fusion import (
    Backbone,
    BackboneSpec,
    Branch,
    ChannelGate,
    FusionModel,
    Head,
    ImageTower,
    Loss,
    PosterModel,
    StageStatistics,
    backbone_spec,
    build_backbone,
    build_branch,
    build_gate,
    build_head,
    build_loss,
    gate_options,
    head_names,
    head_options,
    list_backbones,
    loss_names,
    loss_options,
    register_backbone,
    register_branch,
    register_gate,
    register_head,
    register_library,
    register_loss,
)
from fusion.backbones import catalogue
from fusion.base import _BRANCHES
from fusion.gates import _GATES
from fusion.heads import _HEADS
from fusion.losses import _LOSSES

ROOT = Path(fusion.__file__).parent
REGISTRIES = (_BRANCHES, _GATES, _HEADS, _LOSSES, catalogue._BACKBONES, catalogue._LIBRARIES)
CHANNELS, REDUCED = 6, 4


@pytest.fixture(autouse=True)
def _names_are_taken_back(monkeypatch):
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def backbone(name: str = "small") -> Backbone:
    return Backbone(name, {"all": nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=2), nn.ReLU())})


class Brightness(Branch):
    """From outside of our packages: reads the pooled features under a name that fusion has never heard of."""

    def __init__(self, width: int, dim: int = 3) -> None:
        super().__init__(dim)
        self.width = width
        self.layer = nn.Linear(width, dim)

    def tower_inputs(self):
        return {"cnn.pooled": self.width}

    def forward(self, inputs):
        return self.layer(inputs["cnn.pooled"]), self.present(inputs)


def model(reweight: bool, style: bool = True) -> PosterModel:
    register_branch("brightness")(Brightness)
    parts = nn.ModuleDict({"brightness": build_branch("brightness", width=CHANNELS)})
    if style:  # under another name than ours
        parts["texture"] = build_branch("style", channels=CHANNELS, reduced=REDUCED, dim=5)
    head = build_head("sum", dims=[part.output_dim for part in parts.values()], num_genres=2)
    tower = ImageTower(backbone(), None, StageStatistics(CHANNELS, REDUCED))
    return PosterModel(FusionModel(parts, head), tower, reweight).eval()


@pytest.mark.parametrize("reweight", [False, True])
@pytest.mark.parametrize("only", [None, ["brightness"], ["texture"]])
def test_an_unknown_branch_works_from_images_and_from_the_cache(reweight, only):
    network, images = model(reweight), torch.randn(5, 3, 20, 12)
    with torch.no_grad():
        cached = network.tower(images)
        torch.testing.assert_close(network(cached, only), network({"image": images}, only), atol=1e-5, rtol=1e-5)


def test_an_unknown_branch_is_reweighted_by_the_gate_and_only_where_it_is_asked_for():
    network, images = model(True), torch.randn(5, 3, 20, 12)
    read = []
    network.fusion.branch("brightness").register_forward_pre_hook(lambda _, args: read.append(args[0]["cnn.pooled"]))
    with torch.no_grad():
        entries = network.tower(images)
        network(entries)
        network(entries, only=["brightness"])
        weights = network.fusion.branch("texture").weights(entries)
    torch.testing.assert_close(read[0], entries["cnn.pooled"] * weights)
    torch.testing.assert_close(read[1], entries["cnn.pooled"])


def test_a_lone_branch_from_outside_has_nothing_to_be_reweighted_with():
    assert not model(True, style=False).reweight_cnn


def test_two_gates_for_one_network_are_refused():
    parts = nn.ModuleDict(
        {name: build_branch("style", channels=CHANNELS, reduced=REDUCED, dim=5) for name in ("one", "two")}
    )
    parts["seen"] = Brightness(CHANNELS)
    fused = FusionModel(parts, build_head("sum", dims=[5, 5, 3], num_genres=2))
    with pytest.raises(ValueError, match=r"one branch must have a channel gate .*, got \['one', 'two'\]"):
        PosterModel(fused, ImageTower(backbone(), None, StageStatistics(CHANNELS, REDUCED)), reweight_cnn=True)


def test_head_loss_and_gate_from_outside():
    @register_head("first")
    class FirstHead(Head):
        def __init__(self, dims, num_genres: int, scale: float = 2.0) -> None:
            super().__init__(dims, num_genres)

    @register_loss("hinge")
    class HingeLoss(Loss):
        def __init__(self, margin: float, hard: bool = False) -> None:
            super().__init__()
            self.margin = margin

        @classmethod
        def options_from_labels(cls, labels):
            return {"margin": float(labels.mean())}

    @register_gate("open")
    class OpenGate(ChannelGate):
        pass

    assert "first" in head_names()
    assert "hinge" in loss_names()
    scale, hard = head_options("first")["scale"], loss_options("hinge")["hard"]
    assert (scale.annotation, scale.default, hard.annotation, hard.default) == (float, 2.0, bool, False)
    assert [name for name, option in gate_options("open").items() if option.default is option.empty] == [
        "channels",
        "reduced",
    ]
    assert isinstance(build_head("first", dims=[3], num_genres=2, scale=1.0), FirstHead)
    assert build_loss("hinge", labels=torch.eye(4)).margin == 0.25
    assert isinstance(build_gate("open", channels=3, reduced=2), OpenGate)
    with pytest.raises(ValueError, match=r"options of loss 'hinge' .* \['hard', 'margin'\], got \['gamma'\]"):
        build_loss("hinge", labels=torch.eye(4), gamma=1.0)


def test_backbone_and_library_from_outside():
    asked = []

    def spec(name, *_):
        asked.append(name)
        return BackboneSpec(name, (0.5,) * 3, (0.5,) * 3, (32, 24), None, None, None, "MIT")

    @register_backbone("two", spec, lambda network: {"all": network})
    def make():
        return nn.Conv2d(3, 5, 3)

    @register_library("shop/", spec, lambda name, config: 140, "NAME of the shop")
    def build(name, state_dict=None, *, size=None, config=None):
        return backbone(name)

    assert "two" in list_backbones()
    assert asked == []  # a spec may need a library, and is asked for only when it is wanted
    assert build_backbone("two").input_size == (32, 24)
    assert backbone_spec("shop/any").name == "shop/any"
    assert build_backbone("shop/any").num_features == CHANNELS
    with pytest.raises(ValueError, match=r"got 'three'; also .*shop/NAME of the shop, timm/NAME of timm"):
        build_backbone("three")


@pytest.mark.parametrize(
    ("register", "kind", "taken"),
    [
        (register_branch, "branch", "cnn"),
        (register_gate, "gate", "gram"),
        (register_head, "head", "sum"),
        (register_loss, "loss", "bce"),
    ],
)
def test_a_name_is_taken_once_and_by_a_class_of_its_kind(register, kind, taken):
    class Other(nn.Module):
        pass

    with pytest.raises(ValueError, match=f"{kind} 'new' must inherit from .*, got Other"):
        register("new")(Other)
    mine = {"branch": Branch, "gate": ChannelGate, "head": Head, "loss": Loss}[kind]
    with pytest.raises(ValueError, match=f"{kind} must have a new name, '{taken}' is taken by"):
        register(taken)(mine)


def test_all_options_that_a_user_may_set_have_a_type():
    for registry in (_BRANCHES, _GATES, _HEADS, _LOSSES):
        for name in registry.names():
            for option in registry.options(name).values():
                assert option.annotation is not inspect.Parameter.empty
                assert not isinstance(
                    option.annotation, str
                )  # evaluated, so that the application can check values by it


def imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of fusion that a file imports, inside of functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found & modules


def test_imports_run_in_no_circle():
    names = {path: ".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in ROOT.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for path, name in names.items()}
    graph = {name: imports(path, set(files)) - {name} for name, path in files.items()}
    assert "fusion.backbones.catalogue" in graph["fusion.backbones.huggingface"]
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_all_names_are_known_without_a_library_of_networks():
    code = (
        "import sys, json, fusion; names = fusion.list_backbones(); fusion.build_backbone('pixels');"
        "loaded = sorted({'torchvision', 'timm', 'transformers'} & set(sys.modules));"
        "print(json.dumps([len(names), loaded]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    count, loaded = json.loads(done.stdout)
    assert count == len(list_backbones()) > 25
    assert loaded == []
