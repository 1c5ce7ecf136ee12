"""``--start RUN``: a training that goes on from a trained model's branches and head, on other posters and genres.

The model that is started from decides what is looked at and how wide everything is; see `Start.config` for what may be
set. Its branches are taken over wholly, with the statistics of their batch norms and the weights of their n-grams, and
of its head the genres that both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fusion import PosterModel
from mmposter.config import Config, EvaluationConfig, TrainConfig, differences, parse_config
from mmposter.data.vocabulary import Vocabulary
from mmposter.errors import UserError
from mmposter.evaluation.scored import file_hash
from mmposter.features.settled import settle
from mmposter.features.sizes import Sizes
from mmposter.hub import snapshot_of
from mmposter.runs.run import START, TOWER, WEIGHTS, Run
from mmposter.runs.seen import TRAIN, SeenPosters
from mmposter.shipped import POSTERS, find_run, is_shipped, run_name

STEPS, HEAD_RATE, BRANCH_RATE = 100, 1e-3, 2e-4
"""How a training goes on where nothing is said, found on validation posters (`docs/checks.md`).

In a quarter of the usual steps, as what was learnt need not be learnt again. The head, whose new genres begin at zero,
learns at twice the usual rate, the branches at less than half of it: so few posters do not spoil them."""

_FREE = ("seed", "train.", "loss.", "evaluation.", "fusion.branch_dropout", "ocr.titles")
_DROPOUT = ".dropout"
_ALLOWED = "seed, train.*, loss.*, evaluation.*, fusion.branch_dropout, ocr.titles, and dropout of a branch or the head"


@dataclass(frozen=True)
class Start:
    """A trained run to go on from: ``train(start.config(), dataset, out, start=start)``."""

    run: Run

    @classmethod
    def load(cls, run: str | Path | Run, *, offline: bool = False) -> Start:
        """Read it.

        Args:
            run: a finished run folder, the name of a model that travels with the package, or a model of the hub
                (``hf://ORG/NAME``).
            offline: ask no network.

        Raises:
            UserError: it is none, is not finished, or is a network without branches.
        """
        found = run if isinstance(run, Run) else Run.load(find_run(run, offline=offline))
        if found.config.cnn.classifier != "fusion":
            raise UserError(
                f"{found.folder} is one network without branches (cnn.classifier={found.config.cnn.classifier}), and "
                "--start goes on from branches and a head.\nStart from another run, or from --start posters"
            )
        return cls(found)

    @property
    def name(self) -> str:
        """The run folder's, see `mmposter.shipped.run_name`."""
        return run_name(self.run.folder)

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the run's weights."""
        return file_hash(self.run.folder / WEIGHTS)

    def facts(self) -> dict[str, Any]:
        """Who it is, for the run that goes on from it."""
        hub = snapshot_of(self.run.folder)
        return {"name": self.name, "weights": self.weights, **({} if hub is None else {"hub": str(hub)})}

    def trained_on(self, table: pd.DataFrame) -> int:
        """How many rows of a manifest show a poster that the run learnt of; 0 for a run that keeps no record."""
        seen = SeenPosters.load(self.run.folder)
        return 0 if seen is None else int(seen.among(table, (TRAIN,)).sum())

    def config(self, said: Mapping[str, Any] | None = None) -> Config:
        """The configuration of a training that goes on from here.

        How it trains, and decides, is as in any other training, but for steps and rates, and the last epoch is kept;
        what it looks at, and the loss, are the run's, with the network in its folder.

        Args:
            said: what a person sets, in plain values as `mmposter.config.read_values` gives them.

        Raises:
            UserError: unknown keys or bad values, or what `require` refuses.
        """
        values = self._settled.model_dump(mode="json")
        config = parse_config(_laid_over(values, said or {}))
        self.require(config)
        return config

    @cached_property
    def _settled(self) -> Config:
        """The run's configuration without how it was trained."""
        config, tower = self.run.config.with_network(resize=self.run.resize), self.run.folder / TOWER
        if tower.is_file() and not (is_shipped(self.run.folder) and config.cnn.init == POSTERS):
            config = config.with_network(init=str(tower))
        # A dozen validation posters would choose an epoch in which the new genres have hardly been learnt.
        slower = dict.fromkeys(config.branches, BRANCH_RATE)
        train = TrainConfig(min_steps=STEPS, learning_rate=HEAD_RATE, lr=slower, keep="last")
        usual = {"seed": 0, "train": train, "evaluation": EvaluationConfig()}
        return config.model_copy(update=usual)

    def require(self, config: Config) -> None:
        """Refuse a settled configuration under which the trained weights would mean something else, or not fit.

        Raises:
            UserError: naming every key that differs.
        """
        there, here = (settle(one).model_dump(mode="json") for one in (self._settled, config))
        changed = {
            key: pair
            for key, pair in differences(there, here).items()
            if not key.startswith(_FREE) and not key.endswith(_DROPOUT)
        }
        if changed:
            lines = [f"  {key}: {old!r} there, {new!r} asked" for key, (old, new) in changed.items()]
            raise UserError(
                f"{self.run.folder} is gone on from as it is, and decides these keys:\n"
                + "\n".join(lines)
                + f"\nLeave them out, or --start. With --start may be set: {_ALLOWED}"
            )

    def genres(self, vocabulary: Vocabulary) -> dict[int, int]:
        """The genres that both have, by their numbers in `vocabulary` the numbers in the run's own."""
        return shared_genres(vocabulary, self.run.vocabulary)

    def put_into(self, model: PosterModel, sizes: Sizes, vocabulary: Vocabulary, learnt: torch.Tensor) -> None:
        """Let a fresh model begin with what the run has learnt.

        Args:
            model: made by the configuration of `config`, its head at its base rates.
            sizes: of the model.
            vocabulary: of the model.
            learnt: G bool, which of its genres some training poster has; the others stay as they are.

        Raises:
            UserError: the frozen models here have other widths than those that the run was trained behind.
        """
        before = self.run.load_model()
        assert isinstance(before, PosterModel)  # `load` has refused others
        rows = {here: there for here, there in self.genres(vocabulary).items() if bool(learnt[here])}
        if sizes != self.run.sizes:
            raise UserError(
                f"the frozen models found here have other widths or classes than those behind {self.run.folder}: "
                f"{sizes.to_json()} here, {self.run.sizes.to_json()} there.\nGive it the same files"
            )
        model.fusion.branches.load_state_dict(before.fusion.branches.state_dict())
        if model.tower is not None and before.tower is not None:
            model.tower.load_state_dict(before.tower.state_dict())
        try:
            model.fusion.head.continue_from(before.fusion.head, rows)
        except ValueError as error:
            raise UserError(f"the head of {self.run.folder} cannot be gone on from: {error}") from error


def shared_genres(here: Vocabulary, there: Vocabulary) -> dict[int, int]:
    """The genres of one name, without regard to case, by their numbers in both vocabularies.

    >>> mine = Vocabulary("mine", ("Kites", "drama"))
    >>> shared_genres(mine, Vocabulary("theirs", ("Action", "Comedy", "Drama")))
    {1: 2}
    """
    known = {genre.casefold(): number for number, genre in enumerate(there.genres)}
    numbered = enumerate(genre.casefold() for genre in here.genres)
    return {number: known[genre] for number, genre in numbered if genre in known}


def require_same_start(out: Path, start: Start | None, facts: Mapping[str, Any]) -> None:
    """Refuse to go on in `out` with another start than it had.

    Args:
        out: the run folder.
        start: what is asked for.
        facts: of the run there.

    Raises:
        UserError: saying what to type.
    """
    then, now = facts.get(START), None if start is None else start.facts()
    if then is None and now is None:
        return
    if then is None:
        raise UserError(f"{out} was not started from a model; leave out --start to resume, or give another --out")
    same = now is not None and now["weights"] == then.get("weights")
    if not same:
        raise UserError(
            f"{out} was started from {then.get('name')} (weights {str(then.get('weights'))[:12]}); give --start with "
            "that run to resume, or another --out"
        )


def _laid_over(values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Plain nested values with others over them, key by key."""
    found = dict(values)
    for key, value in said.items():
        inner = found.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        found[key] = _laid_over(inner, value) if both else value  # type: ignore[arg-type]
    return found
