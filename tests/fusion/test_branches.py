"""Each branch alone."""

from __future__ import annotations

import pytest
import torch

from fusion import Branch, branch_names, branch_options, build_branch, register_branch
from fusion.base import batch_size
from fusion.branches.objects import RARE
from fusion.branches.persons import PERSON_NUMBERS, person_geometry

VARIANTS = [
    ("cnn", {}),
    ("style", {"descriptor": "reweighted"}),
    ("style", {"descriptor": "gram", "gate": None}),
    ("style", {"descriptor": "both", "gate": "se"}),
    ("style", {"descriptor": "both", "gate": "srm"}),
    ("yolo", {"encoding": "counts"}),
    ("yolo", {"encoding": "histogram"}),
    ("yolo", {"encoding": "set", "pooling": "attention"}),
    ("yolo", {"encoding": "set", "pooling": "deepsets"}),
    ("yolo", {"encoding": "joined", "pooling": "deepsets"}),
    ("yolo", {"encoding": "joined", "pooling": "attention", "person": 2}),
    ("ocr", {"heads": 2}),
    ("photo", {}),
]
SETS = [variant for variant in VARIANTS if variant[0] in ("yolo", "ocr")]


def label(variant):
    return "-".join([variant[0], *(str(value) for value in variant[1].values())])


@pytest.fixture
def make_branch(branch_options_small):
    def make(variant):
        name, options = variant
        return build_branch(name, **branch_options_small[name] | options)

    return make


def test_every_branch_has_a_variant_here():
    assert {name for name, _ in VARIANTS} == set(branch_names()) == {"cnn", "style", "yolo", "ocr", "photo"}


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_learns_agrees_and_reloads(variant, make_branch, make_batch):
    branch, inputs = make_branch(variant), make_batch()
    embedding, present = branch(inputs)
    assert embedding.shape == (6, branch.output_dim)
    assert present.dtype == torch.bool
    (embedding * torch.randn_like(embedding)).sum().backward()
    without = [n for n, p in branch.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert without == []

    branch.eval()
    first, _ = branch(inputs)
    second, _ = branch(inputs)
    assert torch.equal(first, second)
    torch.manual_seed(99)
    other = make_branch(variant).eval()
    assert not torch.equal(other(inputs)[0], first)
    other.load_state_dict(branch.state_dict())
    assert torch.equal(other(inputs)[0], first)


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_posters_do_not_influence_each_other(variant, make_branch, make_batch):
    branch, inputs = make_branch(variant).eval(), make_batch()
    embedding, present = branch(inputs)
    one, there = branch({key: value[2:3] for key, value in inputs.items()})
    torch.testing.assert_close(one, embedding[2:3])
    assert torch.equal(there, present[2:3])


def _has_slots(key: str, variant) -> bool:
    """Whether this entry has one row a box or line; the whole text has one a poster."""
    return key.startswith(variant[0]) and key != "ocr.document"


@pytest.mark.parametrize("variant", SETS, ids=label)
def test_nothing_found_is_absent_and_finite(variant, make_branch, make_batch):
    branch, inputs = make_branch(variant), make_batch()
    embedding, present = branch(inputs)
    assert present.tolist() == [False, True, True, True, True, True]
    assert (embedding[0] == 0).all()
    assert (embedding[1:].abs().sum(dim=1) > 0).all()

    nowhere = {key: torch.zeros_like(value) if key.endswith("mask") else value for key, value in inputs.items()}
    embedding, present = branch(nowhere)
    assert not present.any()
    assert (embedding == 0).all()
    embedding.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in branch.parameters())

    slotless = {key: value[:, :0] if _has_slots(key, variant) else value for key, value in inputs.items()}
    embedding, present = branch(slotless)
    assert not present.any()
    assert (embedding == 0).all()


@pytest.mark.parametrize("variant", SETS, ids=label)
def test_padding_changes_nothing(variant, make_branch, make_batch):
    branch, inputs = make_branch(variant).eval(), make_batch()
    expected, present = branch(inputs)
    filler = {torch.float32: float("nan"), torch.int64: -1, torch.bool: False}
    mask = inputs[f"{variant[0]}.mask"]
    dirty = {}
    for key, value in inputs.items():
        if _has_slots(key, variant):
            value = value.clone()
            value[~mask] = filler[value.dtype]
            value = torch.cat([value, torch.full_like(value[:, :2], filler[value.dtype])], dim=1)
        dirty[key] = value
    got, there = branch(dirty)
    torch.testing.assert_close(got, expected)
    assert torch.equal(there, present)
    branch(dirty)[0].sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in branch.parameters())


@pytest.mark.parametrize("variant", SETS, ids=label)
def test_order_changes_nothing_but_content_does(variant, make_branch, make_batch):
    branch, inputs = make_branch(variant).eval(), make_batch()
    expected, _ = branch(inputs)
    slots = inputs[f"{variant[0]}.mask"].shape[1]
    order = torch.arange(slots - 1, -1, -1)
    turned = {key: value[:, order] if _has_slots(key, variant) else value for key, value in inputs.items()}
    torch.testing.assert_close(branch(turned)[0], expected)
    other = make_batch(seed=1)
    assert (branch(other)[0] - expected)[1:].abs().max() > 1e-3


def one_poster(boxes, scores, labels):
    return {
        "yolo.boxes": torch.tensor([boxes]),
        "yolo.scores": torch.tensor([scores]),
        "yolo.labels": torch.tensor([labels]),
        "yolo.mask": torch.ones(1, len(labels), dtype=torch.bool),
    }


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("counts", [torch.tensor(3.0).log().item(), 0.0, torch.tensor(2.0).log().item()]),
        ("histogram", [0.9 + 0.4, 0.0, 0.5, 0.5 * 1.0 + 0.2 * 0.1, 0.0, 0.25 * 0.4]),
    ],
)
def test_encodings_by_hand(encoding, expected):
    branch = build_branch("yolo", num_classes=3, dim=4, encoding=encoding).eval()
    seen = []
    branch.output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    boxes = [[0.0, 0.0, 0.5, 1.0], [0.1, 0.2, 0.3, 0.3], [0.0, 0.6, 0.25, 1.0]]
    branch(one_poster(boxes, [0.9, 0.4, 0.5], [0, 0, 2]))
    torch.testing.assert_close(seen[0], torch.tensor([expected]))


def test_joined_is_all_side_by_side_and_normalised():
    def made(**options):
        torch.manual_seed(3)
        branch = build_branch("yolo", num_classes=3, dim=4, pooling="deepsets", **options).eval()
        seen = []
        branch.output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        branch(poster)
        return branch, seen[0]

    boxes = [[0.0, 0.0, 0.5, 1.0], [0.1, 0.2, 0.3, 0.3], [0.0, 0.6, 0.25, 1.0]]
    poster = one_poster(boxes, [0.9, 0.4, 0.5], [0, 0, 2])
    (_, histogram), (_, tokens) = made(encoding="histogram"), made(encoding="set")
    persons = person_geometry(poster["yolo.boxes"], poster["yolo.scores"], poster["yolo.labels"] == 0)
    branch, found = made(encoding="joined", person=0)
    # A fresh norm has mean 0 and variance 1, to which it adds its eps.
    numbers = torch.cat([histogram, persons], dim=1) / (1 + RARE) ** 0.5
    torch.testing.assert_close(found, torch.cat([numbers, tokens / (1 + 1e-5) ** 0.5], dim=1))
    _, without = made(encoding="joined")  # a detector that knows no persons
    torch.testing.assert_close(without, torch.cat([numbers[:, :6], found[:, -4:]], dim=1))

    # A class on one poster in a thousand stays small, one on every other gets a deviation of about 1.
    rows = torch.zeros(1000, len(numbers[0]))
    rows[0, 0], rows[::2, 1] = 0.9, 2.0
    normed = branch.norms[0].train()(rows).detach()
    assert normed[0, 0] < 3
    assert normed[:, 1].std() == pytest.approx(1, abs=0.06)


def test_persons_by_hand():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.6, 0.5, 0.9, 1.0], [0.0, 0.0, 1.0, 1.0], [0.9, 0.9, 1.0, 1.0]]])
    scores = torch.tensor([[0.9, 0.4, 0.8, 0.7]])
    person = torch.tensor([[True, True, False, False]])
    third, half = 1 / 3, 0.5  # the large one covers of a row of cells the first wholly, the second half
    large, small = [1.0, half, 0.0], 0.3 - 1 / 15  # the other from .6: .067 of the second column, .233 of the third
    expected = [
        *(torch.tensor(3.0).log().item(), 0.0, 1.0, 0.0, 1.3, 0.9),  # two of them
        *(0.65, 0.325, 0.5, 0.15, 0.0),  # areas: in all, on average, the largest three
        *(1.0, 0.5, 0.25, 0.5),  # height, width and centre of the largest
        *large,
        *(1.0, half, half * small / third),
        *(1.0, half, small / third),
    ]
    found = person_geometry(boxes, scores, person)
    assert found.shape == (1, PERSON_NUMBERS)
    torch.testing.assert_close(found, torch.tensor([expected]))
    assert torch.equal(person_geometry(boxes, scores, torch.zeros_like(person)), torch.zeros(1, PERSON_NUMBERS))
    assert torch.equal(person_geometry(boxes[:, :2], scores[:, :2], person[:, :2]), found)  # other boxes do not count
    empty = person_geometry(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))
    assert torch.equal(empty, torch.zeros(2, PERSON_NUMBERS))


def test_box_tokens_see_place_size_area_and_score_by_hand():
    branch = build_branch("yolo", num_classes=3, dim=4, heads=1).eval()
    seen = []
    branch.tokens.geometry.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    branch(one_poster([[0.1, 0.2, 0.5, 0.8]], [0.7], [1]))
    torch.testing.assert_close(seen[0], torch.tensor([[0.3, 0.5, 0.4, 0.6, 0.24, 0.7]]))


def test_style_weights_and_the_weights_in_the_batch(make_branch, make_batch):
    branch, inputs = make_branch(("style", {"descriptor": "reweighted"})).eval(), make_batch()
    weights = branch.weights(inputs)
    assert ((weights > 0) & (weights < 1)).all()
    seen = []
    branch.layers.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    branch(inputs)
    torch.testing.assert_close(seen[0], weights * inputs["style.mean"])
    branch(inputs | {"style.weights": torch.ones_like(weights)})
    torch.testing.assert_close(seen[1], inputs["style.mean"])


def test_style_without_a_gate(make_branch, make_batch, branch_options_small):
    branch = make_branch(("style", {"descriptor": "gram", "gate": None}))
    with pytest.raises(ValueError, match="gate must be a gate's name"):
        branch.weights(make_batch())
    with pytest.raises(ValueError, match="descriptor must be 'gram' where gate is None, got 'both'"):
        build_branch("style", **branch_options_small["style"], gate=None)


def test_registry_errors():
    with pytest.raises(
        ValueError, match=r"branch must be one of \['cnn', 'ocr', 'photo', 'style', 'yolo'\], got 'faces'"
    ):
        build_branch("faces")
    with pytest.raises(ValueError, match=r"options of branch 'cnn' must be among .*got \['width'\]"):
        build_branch("cnn", num_features=3, width=4)
    with pytest.raises(ValueError, match="'cnn' is taken by CnnBranch"):
        register_branch("cnn")(Branch)
    assert branch_options("ocr")["heads"].default == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnn", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ("cnn", {"dim": 0}, "output_dim must be a positive integer, got 0"),
        ("style", {"descriptor": "x"}, r"descriptor must be one of \['reweighted', 'gram', 'both'\], got 'x'"),
        ("yolo", {"encoding": "x"}, r"encoding must be one of \['counts', 'histogram', 'set', 'joined'\], got 'x'"),
        ("yolo", {"pooling": "x"}, r"pooling must be one of \['attention', 'deepsets'\], got 'x'"),
        ("yolo", {"person": 7}, "person must be a class from 0 to 6 or None, got 7"),
        ("yolo", {"num_classes": 0}, "num_classes must be a positive integer, got 0"),
        ("ocr", {"heads": 3}, "heads must be a positive divisor of dim = 4, got 3"),
    ],
)
def test_bad_options(name, options, message, make_branch):
    with pytest.raises(ValueError, match=message):
        make_branch((name, options))


def test_a_batch_without_tensors():
    with pytest.raises(ValueError, match="inputs must hold at least one tensor"):
        batch_size({})
