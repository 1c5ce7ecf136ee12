"""Gram statistics of a feature map: the style of a poster.

Formula, for a feature map X of B x C x H x W with rows F (B x C x HW):

    K = F F^T / (H W)            # B x C x C, symmetric, positive semi-definite

Source: J. A. Wi, S. Jang, Y. Kim, "Poster-Based Multiple Movie Genre Classification Using Inter-Channel Features",
IEEE Access 8:66615 (2020). The paper says that a Gram matrix over the channels becomes a style weight that multiplies
X. It does not give the normaliser, the network that makes the weight, or its place: those here (and in `fusion.gates`)
are our choice.

What we add: wide stages are first reduced from C' to R channels by a 1x1 convolution, because a C' x C' matrix of 1024
channels is a million numbers a poster; the gate expands from R back to C', as in global second-order pooling (Gao, Xie,
Wang, Li, CVPR 2019, arXiv 1811.12006). The reduction starts with seeded orthonormal rows, so it keeps lengths and
angles as well as a random projection can, and statistics cached with it can be made again from the seed alone.

Letters: B posters, C' channels of the stage, R reduced channels, H W height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusion.layers import check_choice, without_autocast

NORMALISERS = ("hw", "chw")
EPS = 1e-5  # added to the variance under the root; it keeps the gradient finite on a flat channel


def gram_matrix(x: Tensor, normaliser: str = "hw") -> Tensor:
    """Gram matrix over the channels.

    Args:
        x: B x C x H x W.
        normaliser: what the sum over places is divided by, "hw" (H W) or "chw" (C H W).

    Returns:
        B x C x C in float32 or wider: half precision would overflow on a strong map.

    Raises:
        ValueError: unknown normaliser.

    Examples:
        >>> gram_matrix(torch.tensor([[[[1.0, 1.0]], [[2.0, 0.0]]]]))  # 2 channels, 2 places
        tensor([[[1., 1.],
                 [1., 2.]]])
    """
    check_choice("normaliser", normaliser, NORMALISERS)
    with without_autocast(x):
        rows = _at_least_float32(x).flatten(2)  # B x C x HW
        size = rows.shape[2] * (rows.shape[1] if normaliser == "chw" else 1)
        return rows @ rows.transpose(1, 2) / size


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: B x C x H x W -> both B x C in float32 or wider."""
    variance, mean = torch.var_mean(_at_least_float32(x), dim=(2, 3), correction=0)
    return mean, (variance + EPS).sqrt()


class StageStatistics(nn.Module):
    """Gram matrix, mean and standard deviation of one stage's feature map.

    Args:
        channels: C', channels of the stage.
        reduced: R, channels of the map whose Gram matrix is taken; None: no reduction, R = C'.
        normaliser: see `gram_matrix`.
        seed: of the reduction's first rows.

    Raises:
        ValueError: reduced is not in 1..channels, or unknown normaliser.

    Examples:
        >>> found = StageStatistics(channels=12, reduced=4)(torch.rand(5, 12, 7, 6))
        >>> {name: tuple(value.shape) for name, value in found.items()}
        {'gram': (5, 4, 4), 'mean': (5, 12), 'std': (5, 12)}
    """

    def __init__(self, channels: int, reduced: int | None = None, normaliser: str = "hw", seed: int = 0) -> None:
        super().__init__()
        if reduced is not None and not 1 <= reduced <= channels:
            raise ValueError(f"reduced must be None or in 1..{channels}, got {reduced}")
        self.channels = channels
        self.gram_size = channels if reduced is None else reduced
        self.normaliser = check_choice("normaliser", normaliser, NORMALISERS)
        self.reduction: nn.Conv2d | None = None
        if reduced is not None:
            self.reduction = nn.Conv2d(channels, reduced, kernel_size=1, bias=False)
            rows = orthonormal_rows(reduced, channels, seed)
            with torch.no_grad():
                self.reduction.weight.copy_(rows[:, :, None, None])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map B x C' x H x W -> gram B x R x R of the reduced map; mean and std, both B x C', of the full one."""
        with without_autocast(x):
            full = _at_least_float32(x)
            reduced = full if self.reduction is None else self.reduction(full)
            mean, std = channel_moments(full)
            return {"gram": gram_matrix(reduced, self.normaliser), "mean": mean, "std": std}


def orthonormal_rows(rows: int, columns: int, seed: int) -> Tensor:
    """A rows x columns matrix with orthonormal rows, the same for the same seed; rows must not exceed columns."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(columns, rows, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    # The signs of a QR are the library's choice: fixed here, so that a seed means the same matrix everywhere.
    signed: Tensor = (q * torch.sign(torch.diagonal(r))).T.float()
    return signed


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
