"""Words on the poster: embedded text lines with their places, pooled to one vector.

Letters: B posters, T text lines, E the text encoder's embedding, D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.base import Branch, Inputs, register_branch
from fusion.layers import Dropout, check_probability
from fusion.pooling import AttentionPool, pack, unpack

LINE_FEATURES = 5  # centre x, centre y, width, height, confidence


@register_branch("ocr")
class TextBranch(Branch):
    """Embedding of a poster's text; present where at least one line was read.

    Two paths side by side: the whole text as one sentence, and the lines with their places, pooled by attention. A few
    thousand posters are too few for attention alone to learn what a linear model finds in the whole text.

    Args:
        embedding_dim: E.
        dim: D, length of the embedding.
        heads: of the attention pooling; must divide dim.
        dropout: on the whole text's embedding and on the lines' tokens, in [0, 1).

    Examples:
        >>> inputs = {"ocr.document": torch.rand(5, 10), "ocr.embeddings": torch.rand(5, 3, 10)}
        >>> inputs |= {"ocr.geometry": torch.rand(5, 3, 5), "ocr.mask": torch.ones(5, 3).bool()}
        >>> TextBranch(embedding_dim=10, dim=8)(inputs)[0].shape
        torch.Size([5, 8])
    """

    def __init__(self, embedding_dim: int, dim: int = 128, heads: int = 4, dropout: float = 0.2) -> None:
        super().__init__(dim)
        self.embedding_dim = embedding_dim
        self.norm = nn.LayerNorm(embedding_dim)
        self.words = nn.Linear(embedding_dim, dim)
        self.geometry = nn.Linear(LINE_FEATURES, dim, bias=False)  # words has the bias
        self.dropout = Dropout(check_probability("dropout", dropout))
        self.pool = AttentionPool(dim, heads)
        self.document = nn.Sequential(nn.LayerNorm(embedding_dim), Dropout(dropout), nn.Linear(embedding_dim, dim))
        self.output = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU())

    def present(self, inputs: Inputs) -> Tensor:
        """Which posters have a text line: B bool."""
        return inputs["ocr.mask"].any(dim=1)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed the ocr.* entries, shaped as in the package's docstring -> embedding B x D, present B.

        Zeros where there is no line.
        """
        present, mask = self.present(inputs), inputs["ocr.mask"]
        words = self.words(self.norm(pack(inputs["ocr.embeddings"], mask)))
        tokens = F.gelu(words + self.geometry(pack(inputs["ocr.geometry"], mask)))  # n x D, one a line that was read
        pooled = self.pool(unpack(self.dropout(tokens), mask), mask)
        both = torch.cat([pooled, F.gelu(self.document(inputs["ocr.document"]))], dim=1)
        return self.output(both).masked_fill(~present.unsqueeze(1), 0), present
