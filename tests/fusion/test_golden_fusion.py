"""The numeric core of `fusion` on fixed small inputs gives exactly these numbers, to 1e-6.

Every parameter is a sine wave, the k-th of a module starting at k, so nothing hangs on a library's random numbers. The
numbers were worked out in float64 NumPy from the formulas in the docstrings and papers, not by this code.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fusion import build_gate, build_head, build_loss
from fusion.gram import StageStatistics, channel_moments, gram_matrix, orthonormal_rows
from fusion.pooling import AttentionPool, DeepSetsPool, masked_max, masked_mean, masked_softmax, pack

LOGITS = torch.tensor([[2.0, -1.0, 0.3], [-3.0, 0.0, 4.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
ONE_EACH = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
PRESENT = torch.tensor([[True, True], [False, True]])
REAL = torch.tensor([[True, False, True], [False, False, False]])


def wave(*shape: int, start: float = 0.0) -> Tensor:
    values = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(start + 0.7 * values).reshape(shape)


def waved(module: nn.Module) -> nn.Module:
    module = module.double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(wave(*parameter.shape, start=number))
    return module


def check(found: Tensor, expected: object) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


FEATURES = wave(1, 3, 2, 2)
GRAM = [
    [0.5328145, -0.48323429, 0.37781379],
    [-0.48323429, 0.49003085, -0.44020174],
    [0.37781379, -0.44020174, 0.45172203],
]
MEAN, STD = [0.6232192, -0.46745587, 0.25767552], [0.38002939, 0.52108144, 0.62075386]


@pytest.mark.parametrize(
    ("name", "options", "targets", "expected"),
    [
        ("bce", {}, TARGETS, 1.509071567),
        ("weighted_bce", {"pos_weight": torch.tensor([1.0, 3.0, 0.5])}, TARGETS, 1.740120627),
        ("ranked_bce", {"weight": 0.5}, TARGETS, 1.665702343),
        ("focal", {}, TARGETS, 1.186809972),
        ("focal", {"alpha": 0.25}, TARGETS, 0.644993246),
        ("asl", {}, TARGETS, 0.891846567),
        ("cross_entropy", {}, ONE_EACH, 2.114032887),
        ("double_sigmoid_bce", {}, TARGETS, 0.774728817),
    ],
)
def test_losses(name, options, targets, expected):
    assert build_loss(name, **options)(LOGITS, targets).item() == pytest.approx(expected, abs=1e-6)


def test_gram_matrix_and_moments():
    check(gram_matrix(FEATURES)[0], GRAM)
    check(gram_matrix(FEATURES, "chw")[0] * 3, GRAM)
    mean, std = channel_moments(FEATURES)
    check(mean[0], MEAN)
    check(std[0], STD)


def test_a_flat_channel_has_the_root_of_eps_as_its_deviation():
    """It stands under the root: 1e-5 gives .00316."""
    flat = torch.full((1, 2, 3, 3), 4.0)
    check(channel_moments(flat)[1][0], [0.00316227766] * 2)
    check(StageStatistics(2)(flat)["std"][0], [0.00316227766] * 2)


def test_the_reduction_is_gram_schmidt_of_the_seeded_normal_numbers():
    """So the sign of every row is settled: each has a positive product with the normal vector that it came from."""
    normal = torch.randn(7, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows: list[Tensor] = []
    for column in normal.T:
        rest = column - sum(((row @ column) * row for row in rows), torch.zeros(7, dtype=torch.float64))
        rows.append(rest / rest.norm())
    torch.testing.assert_close(orthonormal_rows(4, 7, seed=3).double(), torch.stack(rows), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gram", [0.29651752, 0.12316826, 0.27033318]),
        ("se", [0.78615774, 0.82819055, 0.75935629]),
        ("srm", [0.75311712, 0.60267381, 0.41476097]),
    ],
)
def test_gates(name, expected):
    gate = waved(build_gate(name, channels=3, reduced=2))
    mean, std = channel_moments(FEATURES)
    check(gate({"gram": gram_matrix(FEATURES)[:, :2, :2], "mean": mean, "std": std})[0], expected)


def test_pools():
    tokens = wave(2, 3, 4)
    pool = waved(AttentionPool(4, heads=2))
    check(pool.weights(pack(tokens, REAL), REAL)[0], [[0.36210688, 0, 0.63789312], [0.57879658, 0, 0.42120342]])
    check(pool(tokens, REAL), [[-1.09060578, 0.18009854, -0.76596528, -1.73181129], [0.0] * 4])
    expected = [[0.60702423, 1.62587109, 1.89364744, 1.29693867], [0.0] * 4]
    check(waved(DeepSetsPool(4))(tokens, REAL), expected)


def test_masked_functions():
    # sin 0, sin 1.4 and sin .7 of one column; the one in the middle is padding.
    column = torch.stack([wave(3, start=0.0)[[0, 2, 1]]] * 2).unsqueeze(2)
    check(masked_mean(column, REAL), [[0.32210884], [0.0]])
    check(masked_max(column, REAL), [[0.64421769], [0.0]])
    check(masked_max(column - 2, REAL), [[-1.35578231], [0.0]])  # negative ones are not beaten by the padding
    check(masked_softmax(column.squeeze(2), REAL), [[0.34429375, 0.0, 0.65570625], [0.0] * 3])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("concat", {"hidden": 4}, [[-2.46989853, 1.32958811, -1.91574823], [-2.33007062, 0.32115813, -0.15524562]]),
        ("gated", {"hidden": 4}, [[0.3529085, 1.41141834, 0.3610856], [-0.6975203, 2.4232621, -0.4952492]]),
        (
            "attention",
            {"hidden": 4, "heads": 2},
            [[3.23732188, -2.54227445, 2.53348849], [3.21821601, -2.52226007, 2.51487836]],
        ),
        ("sum", {}, [[1.65520439, -1.48197966, 1.51320268], [0.02611256, 1.90939128, -0.31809875]]),
    ],
)
def test_heads(name, options, expected):
    head = waved(build_head(name, dims=(2, 3), num_genres=3, **options))
    embeddings = [wave(2, 2), wave(2, 3, start=1)]
    check(head(embeddings, PRESENT), expected)
    if name == "gated":
        check(head.gate_weights(embeddings, PRESENT), [[0.22483223, 0.77516777], [0.0, 1.0]])
