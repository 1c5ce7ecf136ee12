"""Heads: from the branches' embeddings and the mask of present branches to genre logits.

Every head takes a list of K embeddings (B x D_k) and ``present`` (B x K). The embedding of an absent branch never
reaches the logits. With all branches absent the logits are learned constants, a prior over the genres.

Letters: B posters, K branches, D_k embedding of branch k, G genres, D the head's own width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.layers import Dropout, check_probability
from fusion.pooling import masked_softmax
from fusion.registry import ClassRegistry


class Head(nn.Module):
    """Base of the heads.

    Args:
        dims: D_k of each branch, in the order the embeddings come.
        num_genres: G.
    """

    def __init__(self, dims: Sequence[int], num_genres: int) -> None:
        super().__init__()
        if not dims or min(dims) < 1:
            raise ValueError(f"dims must be one positive integer a branch, got {list(dims)}")
        if num_genres < 1:
            raise ValueError(f"num_genres must be a positive integer, got {num_genres}")
        self.dims = tuple(dims)
        self.num_genres = num_genres

    def forward(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        """K times B x D_k, B x K bool -> logits B x G."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def attention_to(self) -> list[Tensor]:
        """How much the head makes of each number of the embeddings: K times D_k, 0 or more; here 1 for all.

        Of our heads it is the norm of the weights by which the first layer reads that number.
        """
        device = next(self.parameters()).device
        return [torch.ones(dim, device=device) for dim in self.dims]

    def represent(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        """The fused representation of posters, in which near ones are near to the head: B x the sum of all D_k.

        Side by side stand the embeddings of the branches, each number times `attention_to`, and the whole has length 1.
        The cosine of two posters is their product, hence a sum with a term for each branch. An absent branch has zeros,
        and adds nothing; with all of them absent the representation is 0.

        Examples:
            >>> head = SumHead(dims=[8, 4], num_genres=3)
            >>> seen = head.represent([torch.rand(5, 8), torch.rand(5, 4)], torch.ones(5, 2).bool())
            >>> seen.shape, bool(torch.allclose(seen.norm(dim=1), torch.ones(5)))
            (torch.Size([5, 12]), True)
        """
        weighed = zip(embeddings, self.attention_to(), strict=True)
        parts = [(values * much).masked_fill(~present[:, k, None], 0) for k, (values, much) in enumerate(weighed)]
        return F.normalize(torch.cat(parts, dim=1).float(), dim=1)

    def outputs(self) -> tuple[list[Tensor], Tensor] | None:
        """The weights (each G x anything) and the bias (G) that make the logits; None where they are not to be had.

        Here those of the last linear layer with G outputs and a bias.
        """
        layers = [m for m in self.modules() if isinstance(m, nn.Linear) and m.out_features == self.num_genres]
        return ([layers[-1].weight], layers[-1].bias) if layers and layers[-1].bias is not None else None

    def continue_from(self, before: Head, genres: Mapping[int, int]) -> None:
        """Take over what a trained head has learnt, which may have other genres; before the first step of a training.

        What does not depend on the genres is taken over wholly. Of the others the weights become zero: a new genre
        begins at its bias, and what random weights would add to that are differences between few posters.

        Args:
            before: a head of the same class, dims and widths.
            genres: by the number of a genre here, its number there; their weights and bias are those of `before`.

        Raises:
            ValueError: another class or other widths, a number out of range, or a head without `outputs`.
        """
        mine, theirs = self.outputs(), before.outputs()
        if type(before) is not type(self) or before.dims != self.dims:
            raise ValueError(
                f"before must be a {type(self).__name__} of dims {self.dims}, got a {type(before).__name__} of dims "
                f"{before.dims}"
            )
        if mine is None or theirs is None:
            raise ValueError(f"before must say which of its weights are the genres' (`outputs`), got {type(before)}")
        if not all(0 <= here < self.num_genres and 0 <= there < before.num_genres for here, there in genres.items()):
            raise ValueError(
                f"genres must lead numbers below {self.num_genres} to numbers below {before.num_genres}, got "
                f"{dict(genres)}"
            )
        by_genre = {id(tensor) for tensor in (*mine[0], mine[1])}
        state = before.state_dict()
        rest = {name: tensor for name, tensor in self.state_dict(keep_vars=True).items() if id(tensor) not in by_genre}
        pairs = list(zip((*mine[0], mine[1]), (*theirs[0], theirs[1]), strict=True))
        same = all(name in state and state[name].shape == tensor.shape for name, tensor in rest.items())
        if not same or any(ours.shape[1:] != other.shape[1:] for ours, other in pairs):
            raise ValueError("before must have the same widths")
        here, there = list(genres), list(genres.values())
        with torch.no_grad():
            for name, tensor in rest.items():
                tensor.copy_(state[name])
            for weight in mine[0]:
                weight.zero_()
            for ours, other in pairs:
                ours[here] = other[there].to(ours)

    def start_at(self, logits: Tensor, learnt: Tensor) -> None:
        """Begin at these logits, to which the weights add what they see; before the first step of a training.

        Args:
            logits: G.
            learnt: G bool; a genre that is not stays at its logit, whatever the poster and the steps that follow.
        """
        found = self.outputs()
        if found is None:
            return
        weights, bias = found
        with torch.no_grad():
            bias.copy_(logits)
            for weight in weights:
                weight[~learnt] = 0
        if not bool(learnt.all()):
            for parameter in (*weights, bias):
                parameter.register_hook(partial(_only_where, learnt))  # type: ignore[no-untyped-call]


def _only_where(learnt: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a parameter whose first axis is the genres, zero where nothing is learnt."""
    return gradient * learnt.to(gradient).reshape(-1, *[1] * (gradient.ndim - 1))


def _column_norms(layers: Iterable[nn.Module]) -> list[Tensor]:
    """Of linear layers the norm of the weights behind each of their inputs: D_k each."""
    return [layer.weight.norm(dim=0) for layer in layers if isinstance(layer, nn.Linear)]


_HEADS = ClassRegistry("head", Head)
register_head = _HEADS.register
"""Class decorator: register a `Head` under the name that configurations use."""
build_head = _HEADS.build
"""The head called ``name``, made with these options."""
head_names = _HEADS.names
"""Names of all registered heads, sorted."""
head_options = _HEADS.options
"""Types and defaults of the head's options; those without a default (dims, num_genres) are the model's."""


@register_head("concat")
class ConcatHead(Head):
    """All embeddings side by side, then an MLP; an absent branch is replaced by a learned vector of its own.

    Args:
        hidden: units of the hidden layer; 0: one linear layer.
        dropout: before the last layer, in [0, 1).

    Examples:
        >>> head = ConcatHead(dims=[8, 4], num_genres=3)
        >>> head([torch.rand(5, 8), torch.rand(5, 4)], torch.ones(5, 2).bool()).shape
        torch.Size([5, 3])
    """

    def __init__(self, dims: Sequence[int], num_genres: int, hidden: int = 256, dropout: float = 0.2) -> None:
        super().__init__(dims, num_genres)
        if hidden < 0:
            raise ValueError(f"hidden must be at least 0, got {hidden}")
        # Started small but not at zero: zeros are what a present branch may well say.
        self.absent = nn.ParameterList([nn.Parameter(0.02 * torch.randn(dim)) for dim in dims])
        layers: list[nn.Module] = [nn.Linear(sum(dims), hidden), nn.GELU()] if hidden else []
        layers += [Dropout(check_probability("dropout", dropout)), nn.Linear(hidden or sum(dims), num_genres)]
        self.layers = nn.Sequential(*layers)

    def attention_to(self) -> list[Tensor]:
        first = next(layer for layer in self.layers if isinstance(layer, nn.Linear))
        return list(first.weight.norm(dim=0).split(list(self.dims)))

    def forward(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        filled = [torch.where(present[:, k, None], embedding, self.absent[k]) for k, embedding in enumerate(embeddings)]
        logits: Tensor = self.layers(torch.cat(filled, dim=1))
        return logits


@register_head("gated")
class GatedHead(Head):
    """A weighted mean of the projected embeddings, the weights a softmax over the branches that are present.

    After the gated multimodal unit (Arevalo et al. 2017, arXiv 1702.01992): the projections pass a tanh and the gate
    sees them all. Ours differs: one weight a branch in place of one a unit, so that it can be shown, and a softmax
    under the mask in place of a sigmoid.

    Args:
        hidden: D, common width of the projections.
        dropout: before the last layer, in [0, 1).

    Examples:
        >>> head, embeddings = GatedHead(dims=[8, 4], num_genres=3), [torch.rand(1, 8), torch.rand(1, 4)]
        >>> head.gate_weights(embeddings, torch.tensor([[True, False]])).tolist()
        [[1.0, 0.0]]
    """

    def __init__(self, dims: Sequence[int], num_genres: int, hidden: int = 256, dropout: float = 0.2) -> None:
        super().__init__(dims, num_genres)
        self.projections = nn.ModuleList([nn.Linear(dim, hidden) for dim in dims])
        self.gate = nn.Linear(len(dims) * hidden, len(dims))
        self.output = nn.Sequential(Dropout(check_probability("dropout", dropout)), nn.Linear(hidden, num_genres))

    def attention_to(self) -> list[Tensor]:
        return _column_norms(self.projections)

    def gate_weights(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        """Weight of each branch: B x K, 1 in sum over the present ones; zeros where none is."""
        return self._weights(self._project(embeddings, present), present)

    def forward(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        projected = self._project(embeddings, present)
        fused = (self._weights(projected, present).unsqueeze(2) * projected).sum(dim=1)
        logits: Tensor = self.output(fused)
        return logits

    def _project(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        """All branches at the common width, zeros where absent: B x K x D."""
        pairs = zip(self.projections, embeddings, strict=True)
        projected = torch.stack([torch.tanh(layer(embedding)) for layer, embedding in pairs], dim=1)
        return projected.masked_fill(~present.unsqueeze(2), 0)

    def _weights(self, projected: Tensor, present: Tensor) -> Tensor:
        return masked_softmax(self.gate(projected.flatten(1)), present)


@register_head("attention")
class AttentionHead(Head):
    """A token a branch and a class token through a small transformer encoder; absent branches are not attended to.

    Args:
        hidden: D, width of the tokens.
        dropout: inside the encoder and before the last layer, in [0, 1).
        heads: attention heads; must divide hidden.
        depth: encoder layers.

    Examples:
        >>> head = AttentionHead(dims=[8, 4], num_genres=3, hidden=16)
        >>> head([torch.rand(5, 8), torch.rand(5, 4)], torch.ones(5, 2).bool()).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        dims: Sequence[int],
        num_genres: int,
        hidden: int = 256,
        dropout: float = 0.2,
        heads: int = 4,
        depth: int = 1,
    ) -> None:
        super().__init__(dims, num_genres)
        if heads < 1 or hidden % heads != 0:
            raise ValueError(f"heads must be a positive divisor of hidden = {hidden}, got {heads}")
        check_probability("dropout", dropout)
        self.projections = nn.ModuleList([nn.Linear(dim, hidden) for dim in dims])
        self.branch_type = nn.Parameter(0.02 * torch.randn(len(dims), hidden))
        self.class_token = nn.Parameter(0.02 * torch.randn(hidden))
        layer = nn.TransformerEncoderLayer(
            hidden,
            heads,
            dim_feedforward=2 * hidden,
            dropout=dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.output = nn.Sequential(Dropout(dropout), nn.Linear(hidden, num_genres))

    def attention_to(self) -> list[Tensor]:
        return _column_norms(self.projections)

    def forward(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        pairs = zip(self.projections, embeddings, strict=True)
        tokens = torch.stack([layer(embedding) for layer, embedding in pairs], dim=1) + self.branch_type
        # Masked keys get weight 0, but 0 times a NaN is a NaN: the value of an absent slot must not be used at all.
        tokens = tokens.masked_fill(~present.unsqueeze(2), 0)
        class_token = self.class_token.expand(len(tokens), 1, -1)
        visible = torch.cat([present.new_ones(len(present), 1), present], dim=1)  # the class token always is
        encoded = self.encoder(torch.cat([class_token, tokens], dim=1), src_key_padding_mask=~visible)
        logits: Tensor = self.output(encoded[:, 0])
        return logits


@register_head("sum")
class SumHead(Head):
    """Late fusion: logits = bias + the sum over the present branches of a linear map of each embedding.

    Args:
        dropout: on the embeddings, in [0, 1).

    Examples:
        >>> head, embeddings = SumHead(dims=[8, 4], num_genres=3), [torch.rand(5, 8), torch.rand(5, 4)]
        >>> head.contributions(embeddings, torch.ones(5, 2).bool()).shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, dims: Sequence[int], num_genres: int, dropout: float = 0.2) -> None:
        super().__init__(dims, num_genres)
        self.dropout = Dropout(check_probability("dropout", dropout))
        self.maps = nn.ModuleList([nn.Linear(dim, num_genres, bias=False) for dim in dims])
        self.bias = nn.Parameter(torch.zeros(num_genres))

    def outputs(self) -> tuple[list[Tensor], Tensor]:
        return [layer.weight for layer in self.maps if isinstance(layer, nn.Linear)], self.bias

    def attention_to(self) -> list[Tensor]:
        return _column_norms(self.maps)

    def contributions(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        """What each branch adds to each logit: B x K x G, zeros where absent."""
        pairs = zip(self.maps, embeddings, strict=True)
        parts = torch.stack([layer(self.dropout(embedding)) for layer, embedding in pairs], dim=1)
        return parts.masked_fill(~present.unsqueeze(2), 0)

    def forward(self, embeddings: list[Tensor], present: Tensor) -> Tensor:
        return self.bias + self.contributions(embeddings, present).sum(dim=1)
