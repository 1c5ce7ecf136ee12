"""Soft genres: what heads on the teachers' features, trained with the genres of training posters, say of a crop.

The answers are cross-fitted. A head that has learnt a poster's genres gives them back, right or wrong, and a network
that learns its answers learns the labels of its own training posters by heart. So training posters are dealt into
folds, those of one group together; each fold has a head that learnt all the others, and answers for it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion import crop_maps, genre_head
from fusion.backbones import global_average
from mmposter.distillation.views import PosterMaps
from mmposter.errors import UserError
from mmposter.evaluation.metrics import mean_average_precision
from mmposter.files.strict_json import sound
from mmposter.files.tensors import load_tensors, save_tensors
from mmposter.images.views import BOX_DRAWS, boxes
from mmposter.progress import progress

FILE = "genres.safetensors"

_CROPS = 8  # of every poster, beside the whole of it
_SCALE, _PLACES = (0.15, 1.0), (4, 3)
_PART = 64  # posters cut at a time
_EPOCHS, _BATCH, _RATE, _WEIGHT_DECAY = 24, 64, 1e-3, 0.05
_NO_FOLD = -1  # of a poster whose genres no head has learnt: all heads answer, and their mean counts
_LEAST = 2  # posters that a head learns from; one has no batch statistics


class SoftGenres(nn.Module):
    """The heads, which take the teachers' last maps of a crop and give probabilities.

    Args:
        final: names of the hints whose maps they read.
        num_features: their channels together.
        num_genres: G.
        folds: N, for each poster the number of the head that has not seen its genres; -1: none has.

    Attributes:
        prior: G, the mean of the answers on the training posters.
        validation_map: mAP of the answers on whole validation posters.
        train_map: the same on whole training posters; well above the other one, labels have leaked.
    """

    folds: Tensor
    prior: Tensor
    validation_map: Tensor
    train_map: Tensor

    def __init__(
        self, final: Sequence[str], num_features: int, num_genres: int, folds: NDArray[np.int64] | None = None
    ) -> None:
        super().__init__()
        folds = np.zeros(0, np.int64) if folds is None else folds
        self.final = tuple(final)
        count = int(folds.max(initial=0)) + 1
        self.heads = nn.ModuleList(genre_head(num_features, num_genres) for _ in range(count))
        self.register_buffer("folds", torch.tensor(folds))
        self.register_buffer("prior", torch.zeros(num_genres))
        for name in ("validation_map", "train_map"):
            self.register_buffer(name, torch.tensor(-1.0, dtype=torch.float64))

    def forward(self, maps: Mapping[str, Tensor], rows: NDArray[np.int64]) -> Tensor:
        """Probabilities B x G.

        Args:
            maps: the teachers' maps by a hint's name, B x C x H x W.
            rows: B, which posters they are of.
        """
        return self._answers(self._pooled(maps), rows)

    def _answers(self, pooled: Tensor, rows: NDArray[np.int64]) -> Tensor:
        probs = torch.stack([torch.sigmoid(head(pooled)) for head in self.heads])  # K x B x G
        folds = self.folds[torch.from_numpy(rows).to(self.folds.device)]
        own = probs[folds.clamp(min=0), torch.arange(len(folds), device=folds.device)]
        return torch.where((folds == _NO_FOLD)[:, None], probs.mean(dim=0), own)

    def _pooled(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Averages of all teachers side by side, B x channels."""
        return torch.cat([global_average(maps[name]) for name in self.final], dim=1)

    @classmethod
    def of(
        cls,
        posters: PosterMaps,
        final: Sequence[str],
        folds: int,
        seed: int,
        folder: Path,
        *,
        device: str,
        quiet: bool = False,
    ) -> SoftGenres:
        """The heads for some posters: those kept in `folder`, else trained now and kept there, with their folds.

        Args:
            posters: with labels and groups.
            final: names of the hints at the teachers' last maps.
            folds: into how many parts the training posters are dealt; less where there are fewer groups.
            device: where crops are cut, and where the heads will be used.

        Raises:
            UserError: too few posters with a genre.
        """
        assert posters.labels is not None
        dealt = deal(posters, posters.labels, folds)
        torch.manual_seed(seed)
        soft = cls(final, sum(posters.maps[name].shape[1] for name in final), posters.labels.shape[1], dealt)
        if (folder / FILE).is_file():
            with sound(folder / FILE, "remove it, and it is made again"):
                soft.load_state_dict(load_tensors(folder / FILE))
                if not np.array_equal(soft.folds.numpy(), dealt):
                    raise ValueError("it was made of other folds of the posters")
        else:
            soft._train(posters, posters.labels, seed, device=device, quiet=quiet)
            save_tensors(folder / FILE, soft.state_dict())
        return soft.eval().requires_grad_(False).to(device)

    def _train(self, posters: PosterMaps, labels: NDArray[np.float32], seed: int, *, device: str, quiet: bool) -> None:
        """Learn, on the CPU, where the few weights take a second an epoch."""
        train, val = (rows[labels[rows].any(axis=1)] for rows in (posters.train, posters.val))
        shown = self._features(posters, train, 1 + _CROPS, seed, device=device, quiet=quiet)
        watched = self._features(posters, val, 1, seed, device=device, quiet=True)[0].float()
        folds, wanted = self.folds.numpy()[train], torch.from_numpy(labels[train])
        for number, head in enumerate(self.heads):
            title = f"soft genres, {number + 1} of {len(self.heads)}"
            others = torch.from_numpy(np.flatnonzero(folds != number))
            _fit_head(head, shown, others, wanted, watched, labels[val], title=title, quiet=quiet)
        self.eval()
        with torch.inference_mode():
            answers = [self._answers(view.float(), train) for view in shown]
            self.prior.copy_(torch.stack([view.mean(dim=0) for view in answers]).mean(dim=0))
            self.train_map.fill_(mean_average_precision(labels[train], answers[0].numpy()))
            self.validation_map.fill_(mean_average_precision(labels[val], self._answers(watched, val).numpy()))

    def _features(
        self, posters: PosterMaps, rows: NDArray[np.int64], views: int, seed: int, *, device: str, quiet: bool
    ) -> Tensor:
        """V x N x channels, float16: pooled over the whole poster, and over random crops."""
        rng = np.random.default_rng(seed)
        pooled: list[list[Tensor]] = [[] for _ in range(views)]
        with progress("crops for soft genres", len(rows), quiet=quiet) as ticker:
            for start in range(0, len(rows), _PART):
                part = rows[start : start + _PART]
                whole = {name: torch.from_numpy(posters.maps[name][part]).to(device).float() for name in self.final}
                pooled[0].append(self._pooled(whole).half().cpu())
                for view in pooled[1:]:
                    cut = boxes(rng.random((BOX_DRAWS, len(part))), _SCALE)
                    crops = {name: crop_maps(maps, cut, _PLACES) for name, maps in whole.items()}
                    view.append(self._pooled(crops).half().cpu())
                ticker.advance(len(part))
        return torch.stack([torch.cat(view) for view in pooled])


def deal(posters: PosterMaps, labels: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The fold of every poster: training posters with a genre from 0 on, those of one group in one; all others -1.

    Args:
        labels: N x G.
        count: of folds, where there are as many groups.

    Raises:
        UserError: too few posters with a genre for two folds.
    """
    from sklearn.model_selection import GroupKFold  # takes over a second

    assert posters.groups is not None
    train, val = (rows[labels[rows].any(axis=1)] for rows in (posters.train, posters.val))
    groups = posters.groups[train]
    count = min(count, len(set(groups)))
    folds = np.full(len(labels), _NO_FOLD, np.int64)
    if count > 1 and len(val):
        for number, (_, part) in enumerate(GroupKFold(count).split(train, groups=groups)):
            folds[train[part]] = number
    if (
        not len(val)
        or min(int((folds[train] != number).sum()) for number in range(max(count, 1))) < _LEAST
        or count < 2
    ):
        raise UserError(
            "soft genres need 3 training posters of different films and 1 validation poster with a genre; there are "
            f"{len(set(groups))} and {len(val)}.\nLearn without genres: --set genre_weight=0"
        )
    return folds


def _fit_head(
    head: nn.Module,
    shown: Tensor,
    rows: Tensor,
    wanted: Tensor,
    watched: Tensor,
    target: NDArray[np.float32],
    *,
    title: str,
    quiet: bool,
) -> None:
    """Train a head; the best epoch stays.

    Args:
        shown: V x N x channels, views of posters.
        rows: which of them it learns.
        wanted: N x G, their genres.
        watched: M x channels, of the whole validation posters, which choose the epoch.
        target: M x G, their genres.
    """
    size = min(_BATCH, len(rows))
    batches = len(rows) // size
    optimizer = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * batches, pct_start=0.1)
    best, best_map = head.state_dict(), -1.0
    with progress(title, _EPOCHS, unit="epoch", quiet=quiet) as ticker:
        for _ in range(_EPOCHS):
            head.train()
            for part in rows[torch.randperm(len(rows))[: batches * size]].view(batches, size):
                views = torch.randint(len(shown), (size,))
                loss = F.binary_cross_entropy_with_logits(head(shown[views, part].float()), wanted[part])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rates.step()
            head.eval()
            with torch.inference_mode():
                found = mean_average_precision(target, torch.sigmoid(head(watched)).numpy())
            if found > best_map:
                best, best_map = {key: value.clone() for key, value in head.state_dict().items()}, found
            ticker.advance(1, f"validation mAP {found:.3f}")
    head.load_state_dict(best)
