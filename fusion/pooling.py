"""Pooling of a set of tokens under a mask: detections and text lines.

Letters: B posters, N tokens, D width. ``mask`` is True where a token is real. A poster with no real token pools to
zeros with finite gradients, also when N is 0: a plain mean over it would be 0/0 and a plain maximum minus infinity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` (B x N x ... or B x N) with zeros in every slot that is not real, whatever the padding held."""
    slots = mask.reshape(*mask.shape, *([1] * (x.ndim - mask.ndim)))
    return x.masked_fill(~slots, 0)


def pack(x: Tensor, mask: Tensor) -> Tensor:
    """The real tokens alone, one below the other: B x N x ..., B x N -> n x ...

    Most slots of most posters are padding; layers that work on single tokens cost much less on the real ones alone.
    """
    return x.flatten(0, 1).index_select(0, mask.flatten().nonzero().squeeze(1))


def unpack(packed: Tensor, mask: Tensor) -> Tensor:
    """The inverse of `pack`, zeros in every other slot: n x ..., B x N -> B x N x ..."""
    slots = packed.new_zeros(mask.numel(), *packed.shape[1:])
    slots = slots.index_copy(0, mask.flatten().nonzero().squeeze(1), packed)
    return slots.reshape(*mask.shape, *packed.shape[1:])


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens: B x N x D, B x N -> B x D."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return zero_padding(x, mask).sum(dim=1) / count.to(x.dtype)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the real tokens, column by column: B x N x D, B x N -> B x D."""
    if x.shape[1] == 0:
        return x.sum(dim=1)  # a maximum over nothing is an error, a sum over nothing is the zeros we want
    lowest = torch.finfo(x.dtype).min
    top = x.masked_fill(~mask.unsqueeze(-1), lowest).amax(dim=1)
    return top.masked_fill(~mask.any(dim=1, keepdim=True), 0)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of ... x N over the last dimension among the real slots; a row without any gives zeros."""
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights.masked_fill(~mask, 0)


class AttentionPool(nn.Module):
    """Attention with one learned query for each head, in place of a mean; each sees D / heads columns."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or dim % heads != 0:
            raise ValueError(f"heads must be a positive divisor of dim = {dim}, got {heads}")
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, dim // heads))
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would shift all scores of a head alike: no effect
        self.value = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weighted sum of the values: B x N x D, B x N -> B x D."""
        tokens = pack(x, mask)
        values = unpack(self._by_head(self.value(tokens)), mask)  # B x N x heads x D/heads
        return torch.einsum("bhn,bnhd->bhd", self.weights(tokens, mask), values).flatten(1)

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Attention of each head to packed tokens: n x D, B x N -> B x heads x N, 1 in sum over the real ones."""
        scores = (self._by_head(self.key(tokens)) * self.query).sum(dim=-1) / math.sqrt(self.query.shape[1])
        return masked_softmax(unpack(scores, mask).transpose(1, 2), mask.unsqueeze(1))

    def _by_head(self, tokens: Tensor) -> Tensor:
        """n x D -> n x heads x D/heads."""
        return tokens.reshape(len(tokens), *self.query.shape)


class DeepSetsPool(nn.Module):
    """Mean and maximum side by side, brought back to D (Zaheer et al. 2017, Deep Sets, arXiv 1703.06114)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.output = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool: B x N x D, B x N -> B x D; a poster with no real token gives zeros."""
        pooled: Tensor = self.output(torch.cat([masked_mean(x, mask), masked_max(x, mask)], dim=1))
        return pooled.masked_fill(~mask.any(dim=1, keepdim=True), 0)
