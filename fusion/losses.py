"""Losses on logits, and the probabilities that they belong to.

All multi-label ones return the **mean** over the B x G entries. The authors of the asymmetric loss sum over the batch
in their code: with theirs, the same learning rate has another effect.

All are computed in float32, whatever the logits come in: under autocast a bfloat16 logit keeps three digits, and the
powers and logarithms here would lose the rest.

Letters: B posters, G genres.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.layers import check_probability, without_autocast
from fusion.registry import ClassRegistry

FOCUS_EPS = 1e-8  # a power's base never gets smaller: with an exponent below 1 its gradient at 0 is infinite


class Loss(nn.Module):
    """Base of the losses.

    Examples:
        >>> class SquaredError(Loss):
        ...     def forward(self, logits, targets):
        ...         return (logits.sigmoid() - targets).square().mean()
        >>> SquaredError()(torch.zeros(5, 3), torch.ones(5, 3)).item()
        0.25
    """

    single_label: ClassVar[bool] = False
    """Whether the genres exclude each other, so that probabilities are a softmax; see `probabilities`."""

    @classmethod
    def options_from_labels(cls, labels: Tensor) -> dict[str, Any]:
        """The options that follow from the training labels, N x G in 0-1; here none."""
        return {}

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits B x G, targets B x G in 0-1 (soft ones too) -> a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


_LOSSES = ClassRegistry("loss", Loss)
register_loss = _LOSSES.register
"""Class decorator: register a `Loss` under the name that configurations use."""
loss_names = _LOSSES.names
"""Names of all registered losses, sorted."""
loss_class = _LOSSES.get
"""The class of the loss called ``name``."""
loss_options = _LOSSES.options
"""Types and defaults of the loss's options; those without a default follow from the training labels."""


def build_loss(name: str, *, labels: Tensor | None = None, **options: Any) -> Loss:
    """The loss called ``name``.

    Args:
        name: one of `loss_names`.
        labels: N x G of the training posters, for losses that balance the genres; the others ignore them.
        options: those of `loss_options`; they go before what follows from the labels.

    Raises:
        ValueError: unknown name (the message lists the known ones), or an unknown, bad or missing option.

    Examples:
        >>> labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> build_loss("weighted_bce", labels=labels).pos_weight
        tensor([3., 1.])
        >>> build_loss("focal", labels=labels, gamma=1.5).gamma
        1.5
    """
    found = {} if labels is None else _LOSSES.get(name).options_from_labels(labels)
    return _LOSSES.build(name, **(found | options))


@register_loss("bce")
class BCELoss(Loss):
    """Binary cross entropy."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float())


@register_loss("weighted_bce")
class WeightedBCELoss(Loss):
    """Binary cross entropy whose positive term is weighted, genre by genre.

    Args:
        pos_weight: G positive weights; above 1 raises recall of that genre.
        max_pos_weight: larger weights are cut to it; None: no limit.
    """

    pos_weight: Tensor

    def __init__(self, pos_weight: Tensor, max_pos_weight: float | None = None) -> None:
        super().__init__()
        if max_pos_weight is not None and not max_pos_weight > 0:
            raise ValueError(f"max_pos_weight must be None or positive, got {max_pos_weight}")
        if pos_weight.ndim != 1 or not bool((pos_weight > 0).all()):
            raise ValueError(f"pos_weight must be a vector of positive numbers, one a genre, got {pos_weight}")
        self.register_buffer("pos_weight", pos_weight.float().clamp(max=max_pos_weight or math.inf))

    @classmethod
    def options_from_labels(cls, labels: Tensor) -> dict[str, Any]:
        """A weight for each genre, negatives / positives: with it both kinds of posters weigh the same; none is 1."""
        positives = labels.sum(dim=0)
        return {"pos_weight": (len(labels) - positives).clamp(min=1) / positives.clamp(min=1)}

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), pos_weight=self.pos_weight)


@register_loss("ranked_bce")
class RankedBCELoss(Loss):
    """Binary cross entropy, and how often posters without a genre rank before those with it.

        L = BCE + weight * mean_g [ sum_ij (y_ig - y_jg)+ softplus(x_jg - x_ig) / sum_ij (y_ig - y_jg)+ ]

    The second term is RankNet's (C. Burges et al., "Learning to rank using gradient descent", ICML 2005) between the
    posters of a batch, the same for a rare genre as for a common one, as average precision is. Genres that all posters
    of the batch have, or none, are left out of it.

    Args:
        weight: of the second term, at least 0.
        neighbours: with so many others each poster is compared, those that follow it in the batch.
    """

    def __init__(self, weight: float = 0.3, neighbours: int = 16) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight}")
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {neighbours}")
        self.weight, self.neighbours = weight, neighbours

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        with without_autocast(logits):
            x, y = logits.float(), targets.float()
            cost, pairs = torch.zeros_like(x[0]), torch.zeros_like(x[0])
            for shift in range(1, min(self.neighbours, len(x) - 1) + 1):
                more = y - y.roll(shift, 0)  # of the pair's first; where it has less, the pair is turned round
                cost = cost + (more.abs() * F.softplus((x.roll(shift, 0) - x) * more.sign())).sum(dim=0)
                pairs = pairs + more.abs().sum(dim=0)
            told = pairs > 0
            ranked = (cost / pairs.clamp_min(FOCUS_EPS)).where(told, 0).sum() / told.sum().clamp(min=1)
            return F.binary_cross_entropy_with_logits(x, y) + self.weight * ranked


@register_loss("focal")
class FocalLoss(Loss):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002): -(1 - p_t)^gamma log p_t; gamma 0 without alpha is BCE.

    Args:
        gamma: focus on what is hard, at least 0.
        alpha: weight of the positive term in (0, 1), the negative one gets 1 - alpha; None: neither is weighted.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        if alpha is not None and not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha must be None or in (0, 1), got {alpha}")
        self.gamma = _check_focus("gamma", gamma)
        self.alpha = alpha

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        with without_autocast(logits):
            x, y = logits.float(), targets.float()
            positive = -y * _focus(torch.sigmoid(-x), self.gamma) * F.logsigmoid(x)
            negative = -(1 - y) * _focus(torch.sigmoid(x), self.gamma) * F.logsigmoid(-x)
            if self.alpha is not None:
                positive, negative = self.alpha * positive, (1 - self.alpha) * negative
            return (positive + negative).mean()


@register_loss("asl")
class AsymmetricLoss(Loss):
    """Asymmetric loss (Ridnik et al. 2021, arXiv 2009.14119); gammas and clip 0 is BCE.

        p_m = max(p - clip, 0);  L = -[ y (1 - p)^gamma_pos log p + (1 - y) p_m^gamma_neg log(1 - p_m) ]

    The defaults are the authors', made for very imbalanced data; with few genres they advise to start at 0, 0 and go
    up. The authors sum over the batch, this is the mean.

    Args:
        gamma_neg: focus of the negative term, at least 0.
        gamma_pos: focus of the positive term, at least 0.
        clip: negatives with a probability below it cost nothing, in [0, 1).
    """

    def __init__(self, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05) -> None:
        super().__init__()
        self.gamma_neg = _check_focus("gamma_neg", gamma_neg)
        self.gamma_pos = _check_focus("gamma_pos", gamma_pos)
        self.clip = check_probability("clip", clip)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        with without_autocast(logits):
            x, y = logits.float(), targets.float()
            positive = -y * _focus(torch.sigmoid(-x), self.gamma_pos) * F.logsigmoid(x)
            if self.clip > 0:
                shifted = (torch.sigmoid(x) - self.clip).clamp(min=0)
                log_rest = (torch.sigmoid(-x) + self.clip).clamp(max=1).log()  # at least log(clip), never -inf
            else:
                shifted, log_rest = torch.sigmoid(x), F.logsigmoid(-x)
            negative = -(1 - y) * _focus(shifted, self.gamma_neg) * log_rest
            return (positive + negative).mean()


@register_loss("cross_entropy")
class CrossEntropyLoss(Loss):
    """Cross entropy of a softmax, for posters with one genre each."""

    single_label = True

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits B x G, targets B x G whose rows sum to 1 -> mean over the posters, a scalar."""
        return F.cross_entropy(logits.float(), targets.float())


@register_loss("double_sigmoid_bce")
class DoubleSigmoidBCELoss(Loss):
    """Binary cross entropy with the sigmoid applied twice: a fault of published code, kept to be measured.

    A network that ends in a sigmoid is given to a loss that applies another one. No probability that the loss sees
    leaves (.5, .731), so an absent genre always costs at least log 2, and gradients shrink as the first sigmoid
    saturates. The ranking of genres is that of the logits.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(torch.sigmoid(logits.float()), targets.float())


def base_logits(loss: Loss, labels: Tensor) -> Tensor:
    """The logits (G) that a training begins with: the best for `loss` that are the same for every poster.

    For binary cross entropy the log odds of the genres' shares, for cross entropy the logs of the shares up to a
    constant. A loss that weighs positives and negatives otherwise has its best constant elsewhere (weighted_bce at 0),
    and a training that began far from it would spend its steps on the way. A share counts as at least half a poster,
    and at most all but half a poster; no logit goes beyond those of such shares.

    Args:
        loss: of the training.
        labels: N x G in 0-1 of the training posters.

    Examples:
        >>> labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> base_logits(BCELoss(), labels).sigmoid()
        tensor([0.7500, 0.5000])
        >>> base_logits(WeightedBCELoss(torch.tensor([1 / 3, 1.0])), labels).sigmoid()
        tensor([0.5000, 0.5000])
    """
    least = 0.5 / len(labels)
    shares = labels.float().mean(dim=0).clamp(least, 1 - least)
    if loss.single_label:
        return shares.log()
    logits = shares.logit().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(logits.expand_as(labels), labels) * labels.shape[1]
        value.backward()
        return float(value.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    farthest = math.log((1 - least) / least)
    found = logits.detach().clamp(-farthest, farthest)
    never = labels.sum(dim=0) == 0  # weighted or not, of them nothing more is known than their share
    return torch.where(never | ~found.isfinite(), shares.logit(), found)


def probabilities(logits: Tensor, *, single_label: bool = False) -> Tensor:
    """The probability of each genre, B x G in 0-1 and in float32.

    Args:
        logits: B x G.
        single_label: the genres exclude each other (softmax, rows sum to 1); otherwise they are independent (sigmoid).

    Examples:
        >>> probabilities(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
        >>> probabilities(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), single_label=True)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return logits.float().softmax(dim=1) if single_label else logits.float().sigmoid()


def _check_focus(name: str, value: float) -> float:
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def _focus(base: Tensor, gamma: float) -> Tensor:
    """base ** gamma with a finite gradient everywhere; exactly 1 where gamma is 0."""
    if gamma == 0:
        return torch.ones_like(base)
    return base.clamp(min=FOCUS_EPS).pow(gamma)
