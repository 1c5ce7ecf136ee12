"""Each head alone."""

from __future__ import annotations

import pytest
import torch

from fusion import Head, build_head, head_names, head_options, parameter_groups

DIMS = (3, 5, 4)
GENRES = 6
PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])


def make(name, **options):
    return build_head(name, dims=DIMS, num_genres=GENRES, **options)


def embeddings(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(len(PRESENT), dim, generator=g) for dim in DIMS]


heads = pytest.mark.parametrize("name", head_names())


def test_offered():
    assert head_names() == ["attention", "concat", "gated", "sum"]
    assert head_options("attention")["depth"].default == 1
    with pytest.raises(ValueError, match=r"head must be one of \['attention', .*got 'mean'"):
        build_head("mean", dims=DIMS, num_genres=2)
    with pytest.raises(ValueError, match=r"options of head 'sum' .*got \['hidden'\]"):
        make("sum", hidden=3)


@heads
def test_learns_agrees_and_reloads(name):
    head, x = make(name, dropout=0.0), embeddings()
    logits = head(x, PRESENT)
    assert logits.shape == (4, GENRES)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []
    head.eval()
    assert torch.equal(head(x, PRESENT), head(x, PRESENT))
    torch.manual_seed(5)
    other = make(name).eval()
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(x, PRESENT), head(x, PRESENT))
    with torch.no_grad():  # PyTorch's encoder takes another path without gradients
        torch.testing.assert_close(other(x, PRESENT), logits.detach(), atol=1e-5, rtol=1e-5)


@heads
@pytest.mark.parametrize("garbage", [1e4, float("nan")])
def test_what_stands_in_an_absent_slot_does_not_matter(name, garbage):
    head, x = make(name).eval(), embeddings()
    expected = head(x, PRESENT)
    dirty = [e.masked_fill(~PRESENT[:, k, None], garbage) for k, e in enumerate(x)]
    torch.testing.assert_close(head(dirty, PRESENT), expected)
    with torch.no_grad():
        torch.testing.assert_close(head(dirty, PRESENT), expected, atol=1e-5, rtol=1e-5)
    # And what stands in a present one does.
    assert (head([e + 1 for e in x], PRESENT) - expected)[:3].abs().amax(dim=1).min() > 1e-4


@heads
def test_all_absent_is_a_learned_prior(name):
    head = make(name).eval()
    nobody = torch.zeros_like(PRESENT)
    logits = head(embeddings(), nobody)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, logits[:1].expand(4, -1))  # one answer for all posters
    torch.testing.assert_close(head(embeddings(1), nobody), logits)
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5)
    target = torch.linspace(0.1, 0.9, GENRES).expand(4, -1)
    for _ in range(300):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(head(embeddings(), nobody), target).backward()
        optimiser.step()
    torch.testing.assert_close(torch.sigmoid(head(embeddings(), nobody)), target, atol=0.02, rtol=0)


@heads
def test_absent_is_not_zeros(name):
    """A present branch that says zeros and an absent one are two things (sum is additive: there they are one)."""
    head = make(name).eval()
    x = [torch.zeros(1, dim) for dim in DIMS]
    here = head(x, torch.tensor([[True, True, True]]))
    gone = head(x, torch.tensor([[True, False, True]]))
    if name == "sum":
        torch.testing.assert_close(here, gone)
    else:
        assert (here - gone).abs().max() > 1e-5


def test_gate_weights_are_over_the_present_branches():
    head = make("gated").eval()
    weights = head.gate_weights(embeddings(), PRESENT)
    assert (weights[~PRESENT] == 0).all()
    assert (weights[PRESENT] > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert weights[2, 2] == 1


def test_gated_head_with_nobody_is_its_bias():
    head = make("gated").eval()
    torch.testing.assert_close(head(embeddings(), torch.zeros_like(PRESENT))[0], head.output[1].bias)


def test_absent_branches_are_not_attended_to():
    """The class token says the same as in an encoder that never had the absent branch's slot."""
    head, x = make("attention", hidden=8).eval(), embeddings()
    tokens = [head.projections[k](x[k][1]) + head.branch_type[k] for k in (0, 2)]  # poster 1 lacks branch 1
    shorter = torch.stack([head.class_token, *tokens]).unsqueeze(0)
    expected = head.output(head.encoder(shorter)[:, 0])
    torch.testing.assert_close(head(x, PRESENT)[1:2], expected)
    with torch.no_grad():
        torch.testing.assert_close(head(x, PRESENT)[1:2], expected, atol=1e-5, rtol=1e-5)


def test_sum_head_is_additive():
    head = make("sum").eval()
    with torch.no_grad():
        head.bias.copy_(torch.arange(GENRES).float())
    x = embeddings()
    by_hand = [x[k] @ head.maps[k].weight.T for k in range(3)]
    torch.testing.assert_close(head(x, PRESENT)[1], head.bias + by_hand[0][1] + by_hand[2][1])
    parts = head.contributions(x, PRESENT)
    torch.testing.assert_close(parts.sum(dim=1) + head.bias, head(x, PRESENT))
    assert (parts[~PRESENT] == 0).all()


def test_concat_without_a_hidden_layer_is_linear():
    head = make("concat", hidden=0).eval()
    everybody = torch.ones_like(PRESENT)
    a, b = embeddings(0), embeddings(1)
    mean = [(x + y) / 2 for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(head(mean, everybody), (head(a, everybody) + head(b, everybody)) / 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("attention", {"hidden": 10}, "heads must be a positive divisor of hidden = 10, got 4"),
        ("attention", {"dropout": 1.5}, r"dropout must be in \[0, 1\), got 1.5"),
        ("sum", {"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ("concat", {"hidden": -1}, "hidden must be at least 0, got -1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)


@heads
def test_bad_sizes(name):
    with pytest.raises(ValueError, match=r"dims must be one positive integer a branch, got \[\]"):
        build_head(name, dims=(), num_genres=2)
    with pytest.raises(ValueError, match="num_genres must be a positive integer, got 0"):
        build_head(name, dims=(2,), num_genres=0)


@pytest.mark.parametrize("name", head_names())
def test_a_head_begins_where_it_is_told_and_keeps_what_is_not_learnt(name):
    torch.manual_seed(0)
    head = build_head(name, dims=[6, 4], num_genres=3)
    logits, learnt = torch.tensor([1.0, -2.0, -4.0]), torch.tensor([True, True, False])
    head.start_at(logits, learnt)
    weights, bias = head.outputs()
    assert bias.tolist() == logits.tolist()
    optimizer = torch.optim.AdamW(parameter_groups(head, 0.1), lr=0.1)
    embeddings, present = [torch.randn(32, 6), torch.randn(32, 4)], torch.ones(32, 2).bool()
    for _ in range(5):
        optimizer.zero_grad()
        head(embeddings, present).sigmoid().sum().backward()
        optimizer.step()
    found = head.eval()(embeddings, present)
    assert (found[:, 2] == -4).all()
    assert (found[:, :2] - logits[:2]).abs().mean() > 0.1
    assert all((weight[2] == 0).all() for weight in weights)


def test_a_head_without_a_last_layer_of_its_own_begins_as_it_is():
    class Odd(Head):
        def forward(self, embeddings, present):
            return embeddings[0][:, : self.num_genres]

    head = Odd([4], 3)
    assert head.outputs() is None
    head.start_at(torch.zeros(3), torch.ones(3).bool())


@heads
def test_going_on_takes_over_all_but_genres_that_are_new(name):
    torch.manual_seed(1)
    before, head = make(name, dropout=0.0).eval(), build_head(name, dims=DIMS, num_genres=3, dropout=0.0).eval()
    with torch.no_grad():
        before.outputs()[1].normal_()
    bias = head.outputs()[1].detach().clone()
    head.continue_from(before, {0: 4, 2: 1})
    x = embeddings()
    got, expected = head(x, PRESENT), before(x, PRESENT)
    torch.testing.assert_close(got[:, [0, 2]], expected[:, [4, 1]])
    torch.testing.assert_close(got[:, 1], bias[1].expand(len(PRESENT)), msg="a new genre says its bias")


@heads
def test_going_on_with_the_same_genres_in_another_order(name):
    before, head = make(name, dropout=0.0).eval(), make(name, dropout=0.0).eval()
    order = {here: (here + 1) % GENRES for here in range(GENRES)}
    head.continue_from(before, order)
    x = embeddings()
    torch.testing.assert_close(head(x, PRESENT), before(x, PRESENT)[:, list(order.values())])


def test_as_many_hidden_units_as_genres_are_not_taken_for_genres():
    before, head = make("concat", hidden=3, dropout=0.0).eval(), build_head("concat", dims=DIMS, num_genres=3, hidden=3)
    head.eval().continue_from(before, {0: 5})
    x = embeddings()
    torch.testing.assert_close(head(x, PRESENT)[:, 0], before(x, PRESENT)[:, 5])


def test_what_does_not_fit_is_refused():
    head = make("sum")
    with pytest.raises(ValueError, match=r"before must be a SumHead of dims \(3, 5, 4\), got a ConcatHead"):
        head.continue_from(make("concat"), {})
    with pytest.raises(ValueError, match="numbers below 6"):
        head.continue_from(make("sum"), {0: 6})
    with pytest.raises(ValueError, match="the same widths"):
        make("gated", hidden=8).continue_from(make("gated", hidden=4), {})
