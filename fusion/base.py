"""What a branch is, and the registry of branches.

Letters: B posters, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fusion.registry import Registry

Inputs = Mapping[str, Tensor]
"""A flat batch: every tensor has B posters in front. See the package's docstring for the keys."""


def batch_size(inputs: Inputs) -> int:
    """The number of posters B in a batch, read from any of its tensors.

    Raises:
        ValueError: the batch holds no tensor.
    """
    for value in inputs.values():
        return value.shape[0]
    raise ValueError("inputs must hold at least one tensor, got none")


class Branch(nn.Module):
    """One way of looking at a poster: picks its own entries from the batch and makes one embedding of them.

    Args:
        output_dim: D, the length of the embedding.
    """

    def __init__(self, output_dim: int) -> None:
        super().__init__()
        if output_dim < 1:
            raise ValueError(f"output_dim must be a positive integer, got {output_dim}")
        self.output_dim = output_dim

    def present(self, inputs: Inputs) -> Tensor:
        """Which posters give this branch something to look at; here all of them.

        Separate from `forward` because branch dropout must know it before the picture is computed.

        Returns:
            B bool.
        """
        device = next(iter(inputs.values())).device
        return torch.ones(batch_size(inputs), dtype=torch.bool, device=device)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed every poster.

        Returns:
            embedding B x D, all zeros where the branch is absent, and present, B bool.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")


BranchClass = TypeVar("BranchClass", bound=type[Branch])

_BRANCHES: Registry[Branch] = Registry("branch")


def register_branch(name: str) -> Callable[[BranchClass], BranchClass]:
    """Class decorator: enter a `Branch` under the name that configs and the command line use.

    Raises:
        ValueError: the name is taken already.
    """
    return _BRANCHES.register(name)


def build_branch(name: str, **options: Any) -> Branch:
    """The branch called ``name``.

    Raises:
        ValueError: unknown name (the message lists the known ones), or an unknown or bad option.
    """
    return _BRANCHES.build(name, **options)


def branch_names() -> list[str]:
    """Names of all registered branches, sorted."""
    return _BRANCHES.names()


def branch_options(name: str) -> dict[str, Any]:
    """The keyword arguments of the branch called ``name`` with their defaults."""
    return _BRANCHES.options(name)
