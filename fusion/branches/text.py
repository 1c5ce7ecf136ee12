"""Words on the poster: embedded text lines with their places, and the n-grams of the whole, as one vector.

Letters: B posters, T text lines, E the text encoder's embedding, S n-grams of a text, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.base import Branch, Inputs, batch_size, register_branch
from fusion.layers import Dropout, check_choice, check_probability
from fusion.ngrams import NgramEncoder
from fusion.pooling import AttentionPool, pack, unpack

ENCODINGS = ("lines", "document", "embedded", "ngrams", "joined")
LINE_FEATURES = 5  # centre x, centre y, width, height, confidence


@register_branch("ocr")
class TextBranch(Branch):
    """Embedding of a poster's text; present where at least one line was read.

    Three ways of reading it side by side: the whole text as one sentence, the lines with their places, pooled by
    attention, and the character n-grams of the whole. A few thousand posters are too few for attention alone to learn
    what a linear model finds in the whole text; and n-grams hold names and misread words, which a sentence encoder does
    not know. What is not in a batch says nothing: without the encoder's entries the n-grams speak alone.

    Args:
        embedding_dim: E; not looked at where the encoding is "ngrams".
        dim: D of what comes from the encoder's embeddings.
        heads: of the attention pooling; must divide dim.
        dropout: on the whole text's embedding and on the lines' tokens, in [0, 1).
        encoding: "lines", "document" (the whole text as a sentence), "embedded" (both), "ngrams", or "joined" (all).
        buckets: that n-grams are hashed to.
        ngram_dim: length of what comes from the n-grams; the embedding of "joined" has dim + ngram_dim.
        part_dropout: with "joined", in training, the chance that a poster goes without one of the two parts, the
            encoder's or the n-grams, so that the other learns to speak alone; in [0, 1).

    Examples:
        >>> inputs = {"ocr.document": torch.rand(5, 10), "ocr.embeddings": torch.rand(5, 3, 10)}
        >>> inputs |= {"ocr.geometry": torch.rand(5, 3, 5), "ocr.mask": torch.ones(5, 3).bool()}
        >>> TextBranch(embedding_dim=10, dim=8)(inputs)[0].shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        embedding_dim: int,
        dim: int = 128,
        heads: int = 4,
        dropout: float = 0.2,
        encoding: str = "embedded",
        buckets: int = 2**15,
        ngram_dim: int = 32,
        part_dropout: float = 0.1,
    ) -> None:
        check_choice("encoding", encoding, ENCODINGS)
        embedded, ngrams = encoding != "ngrams", encoding in ("ngrams", "joined")
        super().__init__(dim * embedded + ngram_dim * ngrams)
        self.embedding_dim, self.dim = embedding_dim, dim
        self.part_dropout = check_probability("part_dropout", part_dropout)
        self.lines = encoding in ("lines", "embedded", "joined")
        parts = 0
        if self.lines:
            self.norm = nn.LayerNorm(embedding_dim)
            self.words = nn.Linear(embedding_dim, dim)
            self.geometry = nn.Linear(LINE_FEATURES, dim, bias=False)  # words has the bias
            self.dropout = Dropout(check_probability("dropout", dropout))
            self.pool = AttentionPool(dim, heads)
            parts += 1
        self.document: nn.Sequential | None = None
        if encoding in ("document", "embedded", "joined"):
            self.document = nn.Sequential(nn.LayerNorm(embedding_dim), Dropout(dropout), nn.Linear(embedding_dim, dim))
            parts += 1
        self.output = nn.Sequential(nn.Linear(parts * dim, dim), nn.GELU()) if parts else None
        self.ngrams = NgramEncoder(buckets, ngram_dim) if ngrams else None

    def present(self, inputs: Inputs) -> Tensor:
        """Which posters have a text line, or n-grams of a text: B bool."""
        masks = [inputs[name] for name in self._masks() if name in inputs]
        if not masks:
            return torch.zeros(batch_size(inputs), dtype=torch.bool, device=next(iter(inputs.values())).device)
        return torch.stack([mask.any(dim=1) for mask in masks]).any(dim=0)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed the ocr.* entries, shaped as in the package's docstring -> embedding B x D, present B.

        Zeros where there is no text.
        """
        present, parts = self.present(inputs), []
        if self.output is not None:
            parts.append(self._embedded(self.output, inputs))
        if self.ngrams is not None:
            names = ("ocr.ngrams", "ocr.ngram_counts", "ocr.ngram_mask")
            if names[0] in inputs:
                parts.append(self.ngrams(*(inputs[name] for name in names)))
            else:
                parts.append(self._nothing(inputs, self.ngrams.weight.shape[1]))
        if len(parts) > 1 and self.training and self.part_dropout:
            parts = self._some(parts, inputs)
        return torch.cat(parts, dim=1).masked_fill(~present.unsqueeze(1), 0), present

    def measure(self, batches: Iterable[Inputs]) -> None:
        if self.ngrams is not None:
            self.ngrams.measure((batch["ocr.ngrams"], batch["ocr.ngram_mask"]) for batch in batches)

    def _masks(self) -> list[str]:
        masks = ["ocr.mask"] if self.output is not None else []
        return [*masks, "ocr.ngram_mask"] if self.ngrams is not None else masks

    def _embedded(self, output: nn.Sequential, inputs: Inputs) -> Tensor:
        """What the encoder's embeddings say: B x dim."""
        if "ocr.mask" not in inputs:
            return self._nothing(inputs, self.dim)
        mask, parts = inputs["ocr.mask"], []
        if self.lines:
            words = self.words(self.norm(pack(inputs["ocr.embeddings"], mask)))
            tokens = F.gelu(words + self.geometry(pack(inputs["ocr.geometry"], mask)))  # n x D, one a line
            parts.append(self.pool(unpack(self.dropout(tokens), mask), mask))
        if self.document is not None:
            parts.append(F.gelu(self.document(inputs["ocr.document"])))
        embedded: Tensor = output(torch.cat(parts, dim=1))
        return embedded.masked_fill(~mask.any(dim=1, keepdim=True), 0)

    def _nothing(self, inputs: Inputs, width: int) -> Tensor:
        parameter = next(self.parameters())
        return parameter.new_zeros(batch_size(inputs), width)

    def _some(self, parts: list[Tensor], inputs: Inputs) -> list[Tensor]:
        """Of the posters that have both parts, each hidden with the chance `part_dropout`, never both."""
        masks = self._masks()
        if not all(name in inputs for name in masks):
            return parts
        both = torch.stack([inputs[name].any(dim=1) for name in masks]).all(dim=0)
        chance = torch.rand(len(both), device=both.device)
        half = self.part_dropout / 2
        hidden = (both & (chance < half), both & (chance >= 1 - half))
        return [part.masked_fill(gone[:, None], 0) for part, gone in zip(parts, hidden, strict=True)]
