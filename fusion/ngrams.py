"""Hashed n-grams of a text as one vector: a linear map of TF-IDF values, learnt along with the rest.

Letters: B texts, S slots (different n-grams of a text), V buckets, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.pooling import pack

LEAST = 3
"""Texts that an n-gram stands in at least; a rarer one is a slip of the reader, or one film's own name."""
GAIN = 8.0
"""What the sum is multiplied by. Under Adam, whose steps are of one size, that is a learning rate as many times that of
the rest: an n-gram stands in few posters, and its vector takes few steps. Found on validation
(`docs/earlier-studies.md`)."""


class NgramEncoder(nn.Module):
    """A vector of each text: the sum of its n-grams' vectors, weighted by TF-IDF (Salton and Buckley 1988).

    The weight of an n-gram is (1 + log count) idf, with idf = log((1 + N) / (1 + n)) + 1 of the n among N training
    texts that hold it, and the weights of a text have length 1. Vectors start at zero: an n-gram that no training text
    has says nothing.

    Args:
        buckets: V.
        dim: D.

    Examples:
        >>> encoder = NgramEncoder(buckets=16, dim=4)
        >>> mask = torch.ones(2, 3).bool()
        >>> encoder(torch.zeros(2, 3).long(), torch.ones(2, 3), mask).shape
        torch.Size([2, 4])
    """

    idf: Tensor

    def __init__(self, buckets: int, dim: int) -> None:
        super().__init__()
        if buckets < 1:
            raise ValueError(f"buckets must be a positive integer, got {buckets}")
        self.weight = nn.Parameter(torch.zeros(buckets, dim))
        self.register_buffer("idf", torch.ones(buckets))

    def measure(self, texts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the idf by the training texts, before the first step.

        Args:
            texts: batches of n-grams (B x S int64) and their mask (B x S bool).
        """
        count, holding = 0, torch.zeros_like(self.idf)
        for ngrams, mask in texts:
            count += int(mask.any(dim=1).sum())
            holding += torch.bincount(pack(ngrams, mask), minlength=len(holding))
        if not count:
            return
        idf = torch.log((1 + count) / (1 + holding)) + 1
        # Of a handful of texts all n-grams are rare.
        least = min(LEAST, 1 + count // 100)
        self.idf.copy_(idf.masked_fill(holding < least, 0))

    def forward(self, ngrams: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
        """B x S int64, float and bool -> B x D; zeros for a text without n-grams."""
        kept = mask.sum(dim=1)
        numbers = pack(ngrams, mask)
        values = (1 + pack(counts, mask).log()) * self.idf[numbers]
        rows = torch.repeat_interleave(torch.arange(len(mask), device=mask.device), kept)
        length = values.new_zeros(len(mask)).scatter_add(0, rows, values.square()).sqrt().clamp(min=1e-6)
        weights = GAIN * values / length[rows]
        return F.embedding_bag(numbers, self.weight, kept.cumsum(0) - kept, mode="sum", per_sample_weights=weights)
