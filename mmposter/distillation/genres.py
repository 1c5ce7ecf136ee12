"""Soft genres: what a head on the teachers' features, trained with the genres of training posters, says of a crop."""

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
from mmposter.distillation.views import PosterMaps, random_boxes
from mmposter.errors import UserError
from mmposter.evaluation.metrics import mean_average_precision
from mmposter.files.strict_json import sound
from mmposter.files.tensors import load_tensors, save_tensors
from mmposter.progress import progress

FILE = "genres.safetensors"

_CROPS = 8  # of every poster, beside the whole of it
_SCALE, _PLACES = (0.15, 1.0), (4, 3)
_PART = 64  # posters cut at a time
_EPOCHS, _BATCH, _RATE, _WEIGHT_DECAY = 24, 64, 1e-3, 0.05


class SoftGenres(nn.Module):
    """The head, which takes the teachers' last maps of a crop and gives probabilities.

    Args:
        final: names of the hints whose maps it reads.
        num_features: their channels together.
        num_genres: G.

    Attributes:
        prior: G, the mean of its answers on the training posters.
        validation_map: mAP of its best epoch, on whole validation posters.
    """

    prior: Tensor
    validation_map: Tensor

    def __init__(self, final: Sequence[str], num_features: int, num_genres: int) -> None:
        super().__init__()
        self.final = tuple(final)
        self.head = genre_head(num_features, num_genres)
        self.register_buffer("prior", torch.zeros(num_genres))
        self.register_buffer("validation_map", torch.tensor(-1.0, dtype=torch.float64))

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Probabilities B x G, of the teachers' maps by a hint's name, B x C x H x W."""
        return torch.sigmoid(self.head(self._pooled(maps)))

    def _pooled(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Averages of all teachers side by side, B x channels."""
        return torch.cat([global_average(maps[name]) for name in self.final], dim=1)

    @classmethod
    def of(
        cls, posters: PosterMaps, final: Sequence[str], seed: int, folder: Path, *, device: str, quiet: bool = False
    ) -> SoftGenres:
        """The head for some posters: the one kept in `folder`, else one trained now and kept there.

        Args:
            posters: with labels.
            final: names of the hints at the teachers' last maps.
            device: where crops are cut, and where the head will be used.

        Raises:
            UserError: too few posters with a genre.
        """
        assert posters.labels is not None
        torch.manual_seed(seed)
        soft = cls(final, sum(posters.maps[name].shape[1] for name in final), posters.labels.shape[1])
        if (folder / FILE).is_file():
            with sound(folder / FILE, "remove it, and it is made again"):
                soft.load_state_dict(load_tensors(folder / FILE))
        else:
            soft._train(posters, posters.labels, seed, device=device, quiet=quiet)
            save_tensors(folder / FILE, soft.state_dict())
        return soft.eval().requires_grad_(False).to(device)

    def _train(self, posters: PosterMaps, labels: NDArray[np.float32], seed: int, *, device: str, quiet: bool) -> None:
        """Learn, on the CPU, where the few weights take a second an epoch; the best epoch stays."""
        train, val = (rows[labels[rows].any(axis=1)] for rows in (posters.train, posters.val))
        if len(train) < 2 or not len(val):
            raise UserError(
                f"soft genres need 2 training posters and 1 validation poster with a genre; there are {len(train)} and "
                f"{len(val)}.\nLearn without genres: --set genre_weight=0"
            )
        shown = self._features(posters, train, 1 + _CROPS, seed, device=device, quiet=quiet)
        watched = self._features(posters, val, 1, seed, device=device, quiet=True)[0].float()
        wanted = torch.from_numpy(labels[train])
        size = min(_BATCH, len(train))
        batches = len(train) // size
        optimizer = torch.optim.AdamW(self.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * batches, pct_start=0.1)
        best = self.state_dict()
        with progress("soft genres", _EPOCHS, quiet=quiet) as ticker:
            for _ in range(_EPOCHS):
                self.train()
                for part in torch.randperm(len(train))[: batches * size].view(batches, size):
                    views = torch.randint(len(shown), (size,))
                    loss = F.binary_cross_entropy_with_logits(self.head(shown[views, part].float()), wanted[part])
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    rates.step()
                self.eval()
                with torch.inference_mode():
                    probs = torch.sigmoid(self.head(watched)).numpy()
                found = mean_average_precision(labels[val], probs)
                if found > float(best["validation_map"]):
                    self.validation_map.fill_(found)
                    best = {key: value.clone() for key, value in self.state_dict().items()}
                ticker.advance(1, f"validation mAP {found:.3f}")
        self.load_state_dict(best)
        with torch.inference_mode():
            answers = [torch.sigmoid(self.head(view.float())).mean(dim=0) for view in shown]
        self.prior.copy_(torch.stack(answers).mean(dim=0))

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
                    boxes = random_boxes(rng, len(part), _SCALE)
                    crops = {name: crop_maps(maps, boxes, _PLACES) for name, maps in whole.items()}
                    view.append(self._pooled(crops).half().cpu())
                ticker.advance(len(part))
        return torch.stack([torch.cat(view) for view in pooled])
