"""Textures and colours: an embedding from the Gram statistics, and the gate that re-weights the CNN's channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion.base import STYLE, WEIGHTS, Branch, Inputs, register_branch
from fusion.gates import ChannelGate, build_gate
from fusion.layers import BatchNormRows, Dropout, check_choice, check_probability

DESCRIPTORS = ("reweighted", "gram", "both")
ROOT_EPS = 1e-6  # under the square root: bounds its gradient where an entry is zero


@register_branch("style")
class StyleBranch(Branch):
    """Style embedding of a poster.

    Args:
        channels: C', channels of the tapped stage.
        reduced: R, side of the Gram matrix; C' where it is not reduced.
        dim: D, length of the embedding.
        gate: name of the channel gate ("gram", "se", "srm"), or None: no gate and nothing to re-weight with.
        descriptor: what is embedded: "reweighted" (the gate's weight times the channel's mean), "gram" (the Gram
            matrix itself, see `gram_descriptor`), or "both" side by side.
        dropout: on the descriptor, in [0, 1).

    Raises:
        ValueError: unknown gate or descriptor, or a descriptor that needs the gate where there is none.

    Examples:
        >>> branch = StyleBranch(channels=12, reduced=4, dim=8)
        >>> moments = {"style.mean": torch.rand(5, 12), "style.std": torch.rand(5, 12)}
        >>> inputs = {"style.gram": torch.rand(5, 4, 4), **moments}
        >>> branch(inputs)[0].shape, branch.weights(inputs).shape
        (torch.Size([5, 8]), torch.Size([5, 12]))
    """

    def __init__(
        self,
        channels: int,
        reduced: int,
        dim: int = 256,
        gate: str | None = "gram",
        descriptor: str = "both",
        dropout: float = 0.2,
    ) -> None:
        super().__init__(dim)
        self.channels = channels
        self.reduced = reduced
        self.descriptor = check_choice("descriptor", descriptor, DESCRIPTORS)
        if gate is None and descriptor != "gram":
            raise ValueError(f"descriptor must be 'gram' where gate is None, got {descriptor!r}")
        self.gate: ChannelGate | None = None if gate is None else build_gate(gate, channels=channels, reduced=reduced)
        triangle = reduced * (reduced + 1) // 2
        length = {"reweighted": channels, "gram": triangle, "both": channels + triangle}[descriptor]
        self.layers = nn.Sequential(
            BatchNormRows(length),
            Dropout(check_probability("dropout", dropout)),
            nn.Linear(length, dim),
            nn.GELU(),
        )

    def tower_inputs(self) -> dict[str, int]:
        """The statistics of the tapped stage: R for the Gram matrix, C' for mean and standard deviation."""
        return {"style.gram": self.reduced, "style.mean": self.channels, "style.std": self.channels}

    def channel_gate(self) -> ChannelGate | None:
        """The gate, if it was built with one."""
        return self.gate

    def weights(self, inputs: Inputs) -> Tensor:
        """The gate's weight of each channel: style.* -> B x C' in (0, 1).

        Weights that are in the batch already ("style.weights", put there by `fusion.model.PosterModel`) are returned as
        they are, so that the gate's batch norm sees each batch once.

        Raises:
            ValueError: the branch was built with gate None.
        """
        if WEIGHTS in inputs:
            return inputs[WEIGHTS]
        if self.gate is None:
            raise ValueError("gate must be a gate's name where channel weights are asked for, got None")
        weights: Tensor = self.gate({name: inputs[f"{STYLE}{name}"] for name in ("gram", "mean", "std")})
        return weights

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Embed: style.gram B x R x R, style.mean and style.std B x C' -> embedding B x D, present B (all True)."""
        parts = []
        if self.descriptor in ("reweighted", "both"):
            parts.append(self.weights(inputs) * inputs["style.mean"])
        if self.descriptor in ("gram", "both"):
            parts.append(gram_descriptor(inputs["style.gram"]))
        return self.layers(torch.cat(parts, dim=1)), self.present(inputs)


def gram_descriptor(gram: Tensor) -> Tensor:
    """The upper triangle of a Gram matrix, signed square root, then length 1: B x R x R -> B x R (R + 1) / 2.

    The two normalisations are those of bilinear pooling (Lin, RoyChowdhury, Maji 2015, arXiv 1504.07889).
    """
    side = gram.shape[1]
    rows, columns = torch.triu_indices(side, side, device=gram.device)
    entries = gram[:, rows, columns]
    root = entries.sign() * ((entries.abs() + ROOT_EPS).sqrt() - ROOT_EPS**0.5)
    return F.normalize(root, dim=1)
