"""Muon: steps with nearly equal singular values for weights that are matrices, AdamW for all others.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/: Nesterov momentum, then the nearest semi-orthogonal matrix by five steps of
a Newton-Schulz iteration. The weight of a convolution, O x I x k x k, is an O x (I k k) matrix, as theirs. The step is
scaled by 0.2 sqrt(max(rows, columns)) (J. Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982), so that
its root mean square is 0.2, about that of AdamW, and both take the same rate and the same weight decay.

`torch.optim.Muon` (torch 2.9 and later) takes matrices only, and iterates in bfloat16; here it is float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_ITERATIONS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Muon for some parameters, AdamW (I. Loshchilov, F. Hutter, arXiv 1711.05101) for the rest.

    Args:
        groups: of parameters, each with "params" and "weight_decay", see `parameter_groups`.
        matrices: those of them that are moved by Muon, of two dimensions or more, see `convolution_weights`.
        lr: learning rate of both.
        momentum: of Muon.
        betas: of AdamW.
        eps: of AdamW.

    Raises:
        ValueError: a parameter among `matrices` that is a vector.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> groups = [{"params": network.parameters(), "weight_decay": 0.05}]
        >>> optimizer = Muon(groups, convolution_weights(network))
        >>> [(group["muon"], len(group["params"])) for group in optimizer.param_groups]
        [(True, 1), (False, 3)]
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        matrices: Iterable[Tensor],
        *,
        lr: float = 2e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
    ) -> None:
        chosen = {id(parameter): parameter.ndim for parameter in matrices}
        if min(chosen.values(), default=2) < 2:
            raise ValueError("matrices must have two dimensions or more, got a vector")
        split = []
        for group in groups:
            parameters = list(group["params"])  # torch takes iterators too, and here they are gone through twice
            for muon in (True, False):
                part = [parameter for parameter in parameters if (id(parameter) in chosen) is muon]
                if part:
                    split.append({**group, "params": part, "muon": muon})
        super().__init__(split, {"lr": lr, "weight_decay": 0.0, "momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no step here needs a second loss
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._muon if group["muon"] else self._adamw)(parameter, parameter.grad, group)

    def _muon(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = orthogonalise(gradient.lerp(mean, group["momentum"]).flatten(1))
        scale = _RMS * max(direction.shape) ** 0.5
        parameter.add_(direction.view_as(parameter), alpha=-group["lr"] * scale)

    def _adamw(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            # The count is a tensor, as in torch: it is saved and loaded as the moments are.
            state |= {"step": torch.tensor(0.0), "mean": torch.zeros_like(parameter)}
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        count = float(state["step"])
        deviation = (state["square"] / (1 - second**count)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], deviation, value=-group["lr"] / (1 - first**count))


def orthogonalise(matrix: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix, with the same singular vectors: R x C float32 -> R x C.

    Singular values of 0.003 of the norm and more come to 0.7-1.2.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result.contiguous()


def convolution_weights(network: nn.Module) -> list[Tensor]:
    """The weights of a network that Muon moves: those of its convolutions that learn.

    A grouped convolution is left out: its weight is no matrix, but several that share no input.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 2))
        >>> [tuple(weight.shape) for weight in convolution_weights(network)]
        [(8, 3, 3, 3)]
    """
    return [
        layer.weight
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.weight.requires_grad
    ]
