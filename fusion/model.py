"""The whole model: branches, fusion, and the image tower below them.

Letters: B posters, K branches, D_k embedding of branch k, G genres, C channels, C' channels of the tapped stage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from fusion.base import IMAGE, POOLED, STYLE, WEIGHTS, Branch, Inputs, batch_size
from fusion.gates import ChannelGate, Statistics
from fusion.heads import Head
from fusion.layers import check_probability
from fusion.tower import ImageTower


class FusionModel(nn.Module):
    """Branches and a head: a batch of records in, genre logits out.

    Args:
        branches: `fusion.base.Branch` modules by name; the head sees them in this order.
        head: made for the branches' ``output_dim`` in the same order.
        branch_dropout: in training, the chance that a present branch of a poster is hidden, so that every subset of
            branches can be used afterwards; at least one present branch of a poster stays.

    Raises:
        ValueError: no branch, a head made for other dims, or a chance out of range.

    Examples:
        >>> from fusion import build_branch, build_head
        >>> branches = nn.ModuleDict({"cnn": build_branch("cnn", num_features=12, dim=8)})
        >>> model = FusionModel(branches, build_head("sum", dims=[8], num_genres=3))
        >>> model({"cnn.pooled": torch.rand(5, 12)}).shape
        torch.Size([5, 3])
    """

    def __init__(self, branches: nn.ModuleDict, head: Head, branch_dropout: float = 0.0) -> None:
        super().__init__()
        if not branches:
            raise ValueError("branches must hold at least one branch, got none")
        self.branches = branches
        self.head = head
        self.branch_dropout = check_probability("branch_dropout", branch_dropout)
        dims = tuple(self.branch(name).output_dim for name in branches)
        if head.dims != dims:
            raise ValueError(f"head must be made for dims {dims} of the branches {list(branches)}, got {head.dims}")

    @property
    def branch_names(self) -> list[str]:
        """The branches in the order the head sees them."""
        return list(self.branches)

    def branch(self, name: str) -> Branch:
        """The branch called ``name``."""
        return cast(Branch, self.branches[name])

    def active(self, only: Collection[str] | None) -> list[str]:
        """The branches among ``only`` (None: all), in the head's order.

        Raises:
            ValueError: only holds a name that is no branch of this model.
        """
        if only is None:
            return self.branch_names
        if isinstance(only, str):
            only = [only]  # a lone name is a collection of letters otherwise
        unknown = sorted(set(only) - set(self.branches))
        if unknown:
            raise ValueError(f"only must hold names among the branches {self.branch_names}, got {unknown}")
        return [name for name in self.branches if name in only]

    def keep_mask(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """Which branch of which poster is used: present, not masked by ``only``, not hidden by dropout; B x K bool.

        In training each call draws new random numbers. Raises as `active`.
        """
        active = self.active(only)
        device = next(iter(inputs.values())).device
        absent = torch.zeros(batch_size(inputs), dtype=torch.bool, device=device)
        columns = [self.branch(name).present(inputs) if name in active else absent for name in self.branches]
        present = torch.stack(columns, dim=1)
        if self.training and self.branch_dropout > 0:
            return drop_branches(present, self.branch_dropout)
        return present

    def embeddings(
        self, inputs: Inputs, only: Collection[str] | None = None, keep: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """What the head gets: K embeddings, B x D_k, zeros where not kept, and the mask B x K of what is kept.

        Args:
            inputs: the batch; entries of branches outside ``only`` may be missing.
            only: branches to look at; None: all. Raises as `active`.
            keep: B x K from `keep_mask`; None: drawn here.
        """
        active = self.active(only)
        keep = self.keep_mask(inputs, only) if keep is None else keep
        dtype = next(self.head.parameters()).dtype
        embeddings = []
        for k, name in enumerate(self.branches):
            branch = self.branch(name)
            if name in active:
                embedding, _ = branch(inputs)
                embeddings.append(embedding.masked_fill(~keep[:, k, None], 0))
            else:
                embeddings.append(torch.zeros(len(keep), branch.output_dim, dtype=dtype, device=keep.device))
        return embeddings, keep

    def forward(self, inputs: Inputs, only: Collection[str] | None = None, keep: Tensor | None = None) -> Tensor:
        """Logits B x G; arguments and errors as in `embeddings`."""
        embeddings, keep = self.embeddings(inputs, only, keep)
        logits: Tensor = self.head(embeddings, keep)
        return logits


class PosterModel(nn.Module):
    """The fusion with the image tower below it, in both regimes.

    Where the batch holds "image", the tower makes the entries that the branches read of it (`Branch.tower_inputs`), and
    with ``reweight_cnn`` a branch's gate (`Branch.channel_gate`, of the style branch) multiplies the feature map at the
    tapped stage. Where the batch holds cached features, the same is done after pooling, which is equal
    (mean(s X) = s mean(X)) if and only if the tapped stage is the last one. A poster whose gating branch is masked or
    dropped is not re-weighted.

    Args:
        fusion: the branches and the head.
        tower: the image network; None: only cached features can be read.
        reweight_cnn: whether the gate re-weights the channels of the pooled features; without effect unless some branch
            reads these and some branch reads statistics of the tapped stage.
        tap_is_last: whether the cached statistics are of the backbone's last stage; None: as the tower says. It must be
            given where there is no tower, because stages may be of one width (block3 and block4 of densenet121).

    Raises:
        ValueError: a tower that does not fit the branches, or a re-weighting that cannot be done.

    Examples:
        >>> from fusion import build_backbone, build_branch, build_head
        >>> branches = nn.ModuleDict({"cnn": build_branch("cnn", num_features=128, dim=8)})
        >>> fusion = FusionModel(branches, build_head("sum", dims=[8], num_genres=3))
        >>> model = PosterModel(fusion, ImageTower(build_backbone("cnn3")))
        >>> model({"image": torch.rand(2, 3, 96, 64)}).shape, model({"cnn.pooled": torch.rand(2, 128)}).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        fusion: FusionModel,
        tower: ImageTower | None = None,
        reweight_cnn: bool = False,
        tap_is_last: bool | None = None,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.tower = tower
        if tower is not None:
            self._check_tower(tower, tap_is_last)
            tap_is_last = tower.tap_is_last
        self.tap_is_last = bool(tap_is_last)
        read = self._read_from_tower(fusion.branch_names)
        self._gating = [name for name in fusion.branch_names if fusion.branch(name).channel_gate() is not None]
        self.reweight_cnn = reweight_cnn and POOLED in read and _has_style(read)
        if self.reweight_cnn:
            self._check_reweighting()

    @property
    def gate(self) -> ChannelGate | None:
        """The gate that can re-weight the channels, if a branch has one."""
        # Not an attribute: a module under two names would stand twice in the state dict.
        return self.fusion.branch(self._gating[0]).channel_gate() if self._gating else None

    def forward(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """Logits B x G.

        Args:
            inputs: the batch, see the package's docstring for its keys.
            only: branches to look at, all others are masked; None: all.

        Raises:
            ValueError: unknown name in ``only``, or images without a tower.
        """
        keep = self.fusion.keep_mask(inputs, only)
        logits: Tensor = self.fusion(self._complete(inputs, only, keep), only, keep)
        return logits

    def sees(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """Of which posters some branch that is looked at has something, B bool; raises as `forward`."""
        return self.fusion.keep_mask(inputs, only).any(dim=1)

    def embeddings(self, inputs: Inputs, only: Collection[str] | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """What each branch says: name -> embedding B x D_k (zeros where not used), used B bool; raises as `forward`."""
        keep = self.fusion.keep_mask(inputs, only)
        embeddings, keep = self.fusion.embeddings(self._complete(inputs, only, keep), only, keep)
        return {name: (embeddings[k], keep[:, k]) for k, name in enumerate(self.fusion.branch_names)}

    def represent(self, inputs: Inputs, only: Collection[str] | None = None) -> Tensor:
        """The fused representation B x D, see `fusion.heads.Head.represent`; raises as `forward`."""
        keep = self.fusion.keep_mask(inputs, only)
        embeddings, keep = self.fusion.embeddings(self._complete(inputs, only, keep), only, keep)
        return self.fusion.head.represent(embeddings, keep)

    def parts(self) -> dict[str, slice]:
        """Where each branch stands in the fused representation."""
        ends = list(accumulate(self.fusion.head.dims))
        places = zip(self.fusion.branch_names, self.fusion.head.dims, ends, strict=True)
        return {name: slice(end - dim, end) for name, dim, end in places}

    def _read_from_tower(self, names: Collection[str]) -> set[str]:
        """The entries of the tower that these branches read."""
        return {entry for name in names for entry in self.fusion.branch(name).tower_inputs()}

    def _complete(self, inputs: Inputs, only: Collection[str] | None, keep: Tensor) -> Inputs:
        """The batch with what the branches read of the tower: made from images, or the cached features re-weighted."""
        active = self.fusion.active(only)
        wanted = self._read_from_tower(active)
        reweight = self.reweight_cnn and POOLED in wanted and self._gating[0] in active
        if IMAGE in inputs and wanted:
            return self._from_images(inputs, keep, wanted, reweight)
        if not reweight:
            return inputs
        if not self.tap_is_last:
            raise ValueError(
                f"inputs must hold {IMAGE!r} where reweight_cnn is on and the tap is not the last stage, "
                f"got {sorted(inputs)}"
            )
        statistics = {key.removeprefix(STYLE): value for key, value in inputs.items() if key.startswith(STYLE)}
        weights = self._weights(statistics)
        return {**inputs, WEIGHTS: weights, POOLED: inputs[POOLED] * self._where_kept(weights, keep)}

    def _from_images(self, inputs: Inputs, keep: Tensor, wanted: Collection[str], reweight: bool) -> Inputs:
        if self.tower is None:
            raise ValueError(f"tower must be given where the batch holds {IMAGE!r}, got None")
        made: dict[str, Tensor] = {}

        def gate(statistics: Statistics) -> Tensor:
            made[WEIGHTS] = self._weights(statistics)
            return self._where_kept(made[WEIGHTS], keep)

        pooled, style = POOLED in wanted, _has_style(wanted)
        made.update(self.tower(inputs[IMAGE], gate if reweight else None, pooled=pooled, style=style))
        return {**inputs, **made}

    def _weights(self, statistics: Statistics) -> Tensor:
        assert self.gate is not None  # checked where re-weighting was switched on
        weights: Tensor = self.gate(statistics)
        return weights

    def _where_kept(self, weights: Tensor, keep: Tensor) -> Tensor:
        """The weights B x C', 1 for posters whose gating branch is not kept."""
        kept = keep[:, self.fusion.branch_names.index(self._gating[0]), None]
        return torch.where(kept, weights, torch.ones_like(weights))

    def _check_tower(self, tower: ImageTower, tap_is_last: bool | None) -> None:
        if tap_is_last is not None and tap_is_last != tower.tap_is_last:
            raise ValueError(f"tap_is_last must agree with the tower ({tower.tap_is_last}), got {tap_is_last}")
        for name in self.fusion.branch_names:
            for entry, width in self.fusion.branch(name).tower_inputs().items():
                if tower.widths.get(entry) != width:
                    made = ", ".join(f"{key} of width {size}" for key, size in tower.widths.items())
                    raise ValueError(
                        f"branch {name!r} must read what the tower makes ({made}), got {entry} of width {width}"
                    )

    def _check_reweighting(self) -> None:
        if len(self._gating) != 1 or self.gate is None:
            raise ValueError(f"one branch must have a channel gate where reweight_cnn is on, got {self._gating}")
        if self.tower is None and not self.tap_is_last:
            raise ValueError(
                "tap_is_last must be True where reweight_cnn is on without a tower: cached features can be re-weighted "
                f"only at the backbone's last stage, got {self.tap_is_last}"
            )
        for name in self.fusion.branch_names:
            width = self.fusion.branch(name).tower_inputs().get(POOLED, self.gate.channels)
            if self.tap_is_last and width != self.gate.channels:
                raise ValueError(
                    f"gate must have the {width} channels of the last stage where tap_is_last is True, "
                    f"got {self.gate.channels}"
                )


def drop_branches(present: Tensor, probability: float) -> Tensor:
    """Hide each present branch of each poster with this chance, but never all of them: B x K bool -> B x K bool.

    Where all would go, one of them stays, each as likely as the others.
    """
    noise = torch.rand(present.shape, device=present.device)
    keep = present & (noise >= probability)
    # Given that all noise lies below the chance, the largest is any of the present ones with equal chance.
    survivor = torch.zeros_like(present)
    survivor.scatter_(1, noise.masked_fill(~present, -1).argmax(dim=1, keepdim=True), True)
    return torch.where(keep.any(dim=1, keepdim=True), keep, survivor & present)


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    lr: float | None = None,
    tower_lr: float | None = None,
    branch_lr: Mapping[str, float] | None = None,
) -> list[dict[str, object]]:
    """Parameter groups for an optimiser: biases, norms and single vectors get no weight decay.

    Args:
        model: only parameters that learn now are listed; freeze first.
        weight_decay: for matrices and convolutions.
        lr: learning rate of everything that has none of its own; None: the optimiser's own.
        tower_lr: learning rate of a `PosterModel`'s tower; None: as the rest.
        branch_lr: learning rates of branches of a `FusionModel`, by name; names of no branch change nothing.

    Returns:
        the groups that are not empty, each with "params", "weight_decay" and, where given, "lr".

    Examples:
        >>> groups = parameter_groups(nn.Linear(12, 3), weight_decay=0.05, lr=0.001)
        >>> [(group["weight_decay"], group["lr"]) for group in groups]
        [(0.05, 0.001), (0.0, 0.001)]
    """
    own = {"tower.": tower_lr, **{f"branches.{name}.": rate for name, rate in (branch_lr or {}).items()}}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            place = name.removeprefix("fusion.")  # of a `PosterModel`
            part = next((part for part in own if place.startswith(part)), "")
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    result = []
    for (part, decays), parameters in groups.items():
        group: dict[str, object] = {"params": parameters, "weight_decay": weight_decay if decays else 0.0}
        rate = own.get(part)
        rate = lr if rate is None else rate
        if rate is not None:
            group["lr"] = rate
        result.append(group)
    return result


def _has_style(entries: Collection[str]) -> bool:
    return any(entry.startswith(STYLE) for entry in entries)
