"""Gram statistics and the gates on them."""

from __future__ import annotations

import pytest
import torch

from fusion import GramGate, StageStatistics, build_gate, gate_names, gram_matrix
from fusion.branches import gram_descriptor
from fusion.gram import channel_moments, orthonormal_rows


def test_gram_by_hand():
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # one poster, two channels, one row of two places
    expected = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]])
    torch.testing.assert_close(gram_matrix(x), expected / 2)
    torch.testing.assert_close(gram_matrix(x, "chw"), expected / 4)


def test_gram_is_symmetric_and_positive_semidefinite():
    gram = gram_matrix(torch.randn(4, 9, 3, 2, dtype=torch.float64))  # rank 6 of 9: some eigenvalues are zero
    torch.testing.assert_close(gram, gram.transpose(1, 2))
    values = torch.linalg.eigvalsh(gram)
    assert values.min() > -1e-12
    assert (values[:, :3].abs() < 1e-12).all()
    assert (values[:, 3:] > 1e-9).all()


def test_gram_is_blind_to_where_things_are():
    x = torch.randn(2, 5, 4, 3)
    shuffled = x.flatten(2)[:, :, torch.randperm(12)].reshape(2, 5, 6, 2)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(x))


def test_gram_of_a_strong_half_precision_map_does_not_overflow():
    gram = gram_matrix(torch.full((1, 2, 8, 8), 300.0, dtype=torch.float16))
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 90000.0))


def test_unknown_normaliser():
    with pytest.raises(ValueError, match=r"normaliser must be one of \['hw', 'chw'\], got 'wh'"):
        gram_matrix(torch.zeros(1, 1, 1, 1), "wh")


def test_reduction_rows_are_orthonormal_and_come_from_the_seed():
    rows = orthonormal_rows(4, 10, seed=3)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-6, rtol=0)
    assert torch.equal(rows, orthonormal_rows(4, 10, seed=3))
    assert (rows - orthonormal_rows(4, 10, seed=4)).abs().max() > 0.1
    weight = StageStatistics(10, 4, seed=3).reduction.weight
    assert torch.equal(weight.flatten(1), rows)


def test_statistics_are_those_of_the_full_map():
    x = torch.randn(3, 6, 5, 4)
    stats = StageStatistics(6, reduced=2)(x)
    assert stats["gram"].shape == (3, 2, 2)
    torch.testing.assert_close(stats["mean"], x.mean(dim=(2, 3)))
    torch.testing.assert_close(stats["std"], (x.flatten(2).var(dim=2, correction=0) + 1e-5).sqrt())


def test_reduced_gram_is_the_full_one_seen_through_the_reduction():
    x = torch.randn(2, 6, 5, 4)
    statistics = StageStatistics(6, reduced=3)
    p = statistics.reduction.weight.flatten(1)
    torch.testing.assert_close(statistics(x)["gram"], p @ gram_matrix(x) @ p.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(StageStatistics(6)(x)["gram"], gram_matrix(x))


def test_a_stage_says_how_large_its_matrix_is_and_divides_as_asked():
    x = torch.randn(2, 6, 5, 4)
    for reduced, size in ((None, 6), (6, 6), (3, 3), (1, 1)):
        plain, other = (StageStatistics(6, reduced, normaliser=name) for name in ("hw", "chw"))
        assert plain.gram_size == size
        assert plain(x)["gram"].shape == (2, size, size)
        torch.testing.assert_close(other(x)["gram"] * size, plain(x)["gram"])


def test_moments_of_a_half_precision_map_are_in_single_precision():
    """The squares of 300 are beyond what half precision holds."""
    x = torch.tensor([[[[-300.0, 300.0]]]], dtype=torch.float16)
    mean, std = channel_moments(x)
    assert mean.dtype == std.dtype == torch.float32
    torch.testing.assert_close(std, torch.full((1, 1), 300.0))


def test_sizes_and_first_weights_of_the_published_gates():
    assert build_gate("se", channels=256, reduced=4).layers[0].out_features == 16  # 1 / 16 of them, as in the paper
    assert build_gate("se", channels=32, reduced=4).layers[0].out_features == 8  # but no fewer than 8
    # A mean and a deviation of variance 1 each give a sum of variance 1.
    assert build_gate("srm", channels=4096, reduced=4).weight.std().item() == pytest.approx(0.5**0.5, abs=0.03)


def test_flat_map_has_a_finite_gradient():
    x = torch.ones(1, 4, 3, 3, requires_grad=True)
    stats = StageStatistics(4, 2)(x)
    (stats["std"].sum() + gram_descriptor(stats["gram"] * 0).sum()).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("reduced", [0, 7])
def test_reduction_out_of_range(reduced):
    with pytest.raises(ValueError, match=rf"reduced must be None or in 1\.\.6, got {reduced}"):
        StageStatistics(6, reduced)


def test_gram_gate_by_hand():
    gate = GramGate(2, 2).eval()
    with torch.no_grad():
        gate.rows.weight.copy_(torch.tensor([[[1.0, 2.0]], [[-1.0, 0.5]]]))
    gram = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]])
    # Row by row: 5 + 2, and -1 + 5; the fresh norm divides by sqrt(1 + 1e-5).
    z = torch.tensor([[7.0, 4.0]]) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(gate({"gram": gram}), torch.sigmoid(z))


@pytest.mark.parametrize("name", gate_names())
@pytest.mark.parametrize("reduced", [6, 3])
def test_every_gate(name, reduced):
    gate = build_gate(name, channels=6, reduced=reduced)
    stats = StageStatistics(6, reduced if reduced < 6 else None)(torch.randn(5, 6, 4, 3))
    weights = gate(stats)
    assert weights.shape == (5, 6)
    assert ((weights > 0) & (weights < 1)).all()
    assert weights.std(dim=0).min() > 1e-4  # differs between posters, in every channel
    (weights * torch.randn(5, 6)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gate.parameters())


@pytest.mark.parametrize("name", gate_names())
def test_every_gate_takes_a_last_batch_of_one(name):
    gate = build_gate(name, channels=6, reduced=3).train()
    weights = gate(StageStatistics(6, 3)(torch.randn(1, 6, 4, 3)))
    assert torch.isfinite(weights).all()


def test_gate_names_and_errors():
    assert gate_names() == ["gram", "se", "srm"]
    with pytest.raises(ValueError, match=r"gate must be one of \['gram', 'se', 'srm'\], got 'eca'"):
        build_gate("eca", channels=4, reduced=2)
    with pytest.raises(ValueError, match=r"reduced must be in 1\.\.channels = 4, got 5"):
        build_gate("gram", channels=4, reduced=5)


def test_descriptor_by_hand():
    gram = torch.tensor([[[9.0, -4.0], [-4.0, 16.0]]])
    roots = torch.tensor([[3.0, -2.0, 4.0]])
    torch.testing.assert_close(gram_descriptor(gram), roots / 29**0.5, atol=1e-3, rtol=0)
    torch.testing.assert_close(gram_descriptor(gram * 100), gram_descriptor(gram), atol=1e-3, rtol=0)
