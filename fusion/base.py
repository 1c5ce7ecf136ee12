"""What a branch is, and the registry of branches.

Letters: B posters, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fusion.gates import ChannelGate
from fusion.registry import ClassRegistry

Inputs = Mapping[str, Tensor]
"""A flat batch: every tensor has B posters in front. See the package's docstring for the keys."""

IMAGE, POOLED, STYLE, WEIGHTS = "image", "cnn.pooled", "style.", "style.weights"
"""Keys of a batch: an image, the pooled features of an image network, how the keys of the tapped stage's statistics
begin, and the weights that the gate gives its channels."""


def batch_size(inputs: Inputs) -> int:
    """The number of posters B in a batch, read from any of its tensors; ValueError where it holds none."""
    for value in inputs.values():
        return value.shape[0]
    raise ValueError("inputs must hold at least one tensor, got none")


class Branch(nn.Module):
    """Base of the branches: reads its own entries of the batch and makes one embedding of them.

    Args:
        output_dim: D, the length of the embedding.

    Examples:
        >>> class Pages(Branch):
        ...     def forward(self, inputs):
        ...         return inputs["pages.count"], self.present(inputs)
        >>> embedding, present = Pages(output_dim=1)({"pages.count": torch.ones(5, 1)})
        >>> embedding.shape, present.shape
        (torch.Size([5, 1]), torch.Size([5]))
    """

    def __init__(self, output_dim: int) -> None:
        super().__init__()
        if output_dim < 1:
            raise ValueError(f"output_dim must be a positive integer, got {output_dim}")
        self.output_dim = output_dim

    def present(self, inputs: Inputs) -> Tensor:
        """Which posters have something for this branch, B bool; here all of them.

        Separate from `forward` because branch dropout must know it before the image network runs.
        """
        device = next(iter(inputs.values())).device
        return torch.ones(batch_size(inputs), dtype=torch.bool, device=device)

    def tower_inputs(self) -> dict[str, int]:
        """The entries of the batch that it reads and an image network makes, with the width of each; here none.

        `fusion.model.PosterModel` makes these from the image where they are not in the batch. The keys are those of
        `fusion.tower.ImageTower.widths`.
        """
        return {}

    def channel_gate(self) -> ChannelGate | None:
        """The gate that can re-weight the image network's channels; here none."""
        return None

    def measure(self, batches: Iterable[Inputs]) -> None:
        """Take what must be known of all training posters before the first step; here nothing.

        Args:
            batches: its own entries of all training posters, some at a time.
        """

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed every poster: embedding B x D, all zeros where the branch is absent, and present, B bool."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


_BRANCHES = ClassRegistry("branch", Branch)
register_branch = _BRANCHES.register
"""Class decorator: register a `Branch` under the name that configurations use."""
build_branch = _BRANCHES.build
"""The branch called ``name``, made with these options."""
branch_names = _BRANCHES.names
"""Names of all registered branches, sorted."""
branch_options = _BRANCHES.options
"""Types and defaults of the branch's options; those without a default are widths of its input."""
