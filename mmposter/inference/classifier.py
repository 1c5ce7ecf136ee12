"""Genres of posters by a trained run. `PosterClassifier`, the library's front door, is this and explains, too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusion import ImageClassifier, PosterModel
from mmposter.branches import branch_names, declared, frozen_branches
from mmposter.data.sources.frame import is_frame
from mmposter.engines import Workers, run
from mmposter.engines.device import resolve_device
from mmposter.errors import UserError
from mmposter.evaluation.promise import CONFIDENCE, Evidence
from mmposter.evaluation.scored import file_hash
from mmposter.features.extractors import BranchExtractors, build_extractors
from mmposter.features.parts import SIZE
from mmposter.images.listing import each_poster
from mmposter.images.reading import ImageInput
from mmposter.inference.embedding import Embedding, EmbedTask, require_format, write_embeddings
from mmposter.inference.frames import Predictions
from mmposter.inference.looking import Request
from mmposter.inference.task import Prediction, PredictTask
from mmposter.measurement.evaluate import check_branches
from mmposter.progress import warn
from mmposter.readiness.states import BranchState, left_out, left_out_notice
from mmposter.runs.run import WEIGHTS, Run
from mmposter.shell import command_line
from mmposter.shipped import POSTERS, find_run, is_shipped, run_name

__all__ = ["Embedding", "GenrePredictor", "Prediction", "Predictions"]

_POSTER_COLUMNS = ("image", "path")
"""Of a DataFrame: as `prepare` calls them, and as predictions do."""

_REPRESENTATION = 1
"""Another number for another way to make embeddings of the same weights."""


class GenrePredictor:
    """A trained model with everything in front of it, which predicts: `PosterClassifier` before it can explain."""

    def __init__(
        self,
        run: Run,
        model: PosterModel | ImageClassifier,
        extractors: Mapping[str, BranchExtractors],
        *,
        branches: Sequence[str],
        device: str,
        left_out: Sequence[BranchState] = (),
        offline: bool = False,
    ) -> None:
        self.run, self.branches, self.device, self.left_out = run, tuple(branches), device, tuple(left_out)
        self._task = PredictTask(run, model, extractors, branches=branches, device=device, offline=offline)
        self._model, self._offline = model, offline

    @classmethod
    def load(
        cls,
        run: str | Path = POSTERS,
        *,
        branches: Sequence[str] | None = None,
        device: str = "auto",
        offline: bool = False,
    ) -> Self:
        """Load a run folder and find the frozen models it stands on.

        Args:
            run: what `mmposter train` wrote, the name of a model that travels with the package, or a model of the hub
                (``hf://ORG/NAME`` or ``hf://ORG/NAME@REVISION``).
            branches: look through these only, all others are masked; None: all that the run was trained with. A shipped
                model then goes without branches whose files are not here, or without these files where the branch says
                something without them (`left_out`), and says so once.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            offline: never touch the network: a poster behind a link cannot be used, either.

        Raises:
            UserError: for an unfinished or damaged run, a control (`ocr.mask`, `shuffled`), branches it does not
                have, or pretrained files that are missing or not those it was trained behind.
        """
        loaded = Run.load(find_run(run, offline=offline))
        missing = missing_branches(loaded, branches)
        loaded, kept = looked_through(loaded, branches)
        if missing:
            _say_once(left_out_notice(loaded, missing))
        if device != "cuda":  # which the workers may have and this machine lack; they check it
            device = resolve_device(device)
        frozen = frozen_branches(kept, loaded.config.regime)
        extractors = build_extractors(loaded.serving_config(), frozen, device=device, offline=offline)
        loaded.require_same_extractors(extractors)
        model = loaded.load_model()
        return cls(loaded, model, extractors, branches=kept, device=device, left_out=missing, offline=offline)

    def __repr__(self) -> str:
        """In one line: the run, what it looks through, and where."""
        return f"<{type(self).__name__} {run_name(self.run.folder)}: {', '.join(self.branches)}; on {self.device}>"

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from mmposter.document import render_fragment

        facts = {"branches": ", ".join(self.branches)}
        missing = {state.branch: f" (not here: {', '.join(state.lacking)})" for state in self.left_out}
        if masked := [name for name in self.run.config.branches if name not in self.branches]:
            facts["left out"] = ", ".join(name + missing.get(name, "") for name in masked)
        if less := [name for name in self.branches if name in missing]:
            facts["in part"] = ", ".join(name + missing[name] for name in less)
        facts |= {"genres": ", ".join(self.genres), "device": self.device, "run": str(self.run.folder)}
        return render_fragment(f"{type(self).__name__} {run_name(self.run.folder)}", facts=facts)

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres in the order of the model."""
        return self.run.vocabulary.genres

    def thresholds(self, branches: Sequence[str] | None = None) -> dict[str, float]:
        """The probability from which a genre is given, by genre.

        Args:
            branches: as for `predict`: a calibrated run has its own for every set of branches.

        Raises:
            UserError: for branches that are not looked through.
        """
        decision = self._task.decision(None if branches is None else self._chosen(branches))
        return dict(zip(self.genres, decision.thresholds.tolist(), strict=True))

    def evidence(self, branches: Sequence[str] | None = None) -> Evidence:
        """What the validation posters say of which precision can be promised: ask its `promise`.

        Args:
            branches: as for `predict`: what is promised of some does not hold for others.

        Raises:
            UserError: the run keeps none (with what to type), or for branches that are not looked through.
        """
        return self.run.evidence(self.branches if branches is None else self._chosen(branches))

    def predict(
        self,
        posters: Iterable[ImageInput] | ImageInput,
        *,
        top_k: int | None = None,
        precision: float | None = None,
        confidence: float = CONFIDENCE,
        branches: Sequence[str] | None = None,
        workers: Workers = 1,
        threads: int | None = None,
        engine: str = "local",
    ) -> Predictions:
        """Genres of posters.

        Args:
            posters: paths, links (http, https), bytes, PIL images or arrays (see `mmposter.images.reading.load_image`),
                or one of them; any iterable. A folder stands for the pictures below it, a pattern such as ``"*.jpg"``
                for the files that it matches. Of a pandas DataFrame the column ``image`` or ``path`` is taken.
            top_k: give the k surest genres in place of those above their thresholds.
            precision: give genres of which at least this share is true, as far as validation posters can promise it,
                and mark each poster ``accept`` or ``review`` (see `Prediction.verdict`). Where that cannot be promised
                no genre is given, and it is said.
            confidence: in that promise.
            branches: look through these only, of those in `branches` of this object; nothing is loaded again for it.
            workers: as for `stream`.
            threads: as for `stream`.
            engine: as for `stream`.

        Returns:
            A list with one prediction a poster, in order; a poster that cannot be used has its `error` set and no
            scores. Its `to_frame` is a pandas DataFrame.

        Raises:
            UserError: as `stream`.
        """
        return Predictions(
            self.stream(
                posters,
                top_k=top_k,
                precision=precision,
                confidence=confidence,
                branches=branches,
                workers=workers,
                threads=threads,
                engine=engine,
            )
        )

    def stream(
        self,
        posters: Iterable[ImageInput] | ImageInput,
        *,
        top_k: int | None = None,
        precision: float | None = None,
        confidence: float = CONFIDENCE,
        branches: Sequence[str] | None = None,
        workers: Workers = 1,
        threads: int | None = None,
        engine: str = "local",
    ) -> Iterator[Prediction]:
        """As `predict`, some 32 at a time: memory does not grow with the number of posters.

        Posters are taken ahead of what is predicted, up to 64 with one worker.

        Args:
            posters: as for `predict`; for several workers best paths, as they are sent to them.
            top_k: as for `predict`.
            precision: as for `predict`.
            confidence: as for `predict`.
            branches: as for `predict`.
            workers: processes that compute (see `mmposter.engines.run`); 1 is this one.
            threads: CPU threads of each worker.
            engine: ``local``, or ``ray``, for which all `posters` are taken at once.

        Raises:
            ValueError: if `top_k` is not positive.
            UserError: for an unknown engine, branches that are not looked through, or a worker that died; for a
                precision or a confidence that does not lie between 0 and 1, beside `top_k`, or of a run that keeps
                nothing to promise one by, see `evidence`.
        """
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be 1 or more; got {top_k}")
        names = None if branches is None else self._chosen(branches)
        promise = None
        if precision is not None:
            if top_k is not None:
                raise UserError("give one of precision and top_k: the k surest genres may be of any precision")
            promise = self.evidence(branches).promise(precision, confidence)
            if not promise.holds:
                _say_once(promise.text())
        parts = (Request(part, top_k, names, promise) for part in cut(several(posters)))
        with closing(run(self._task, parts, workers=workers, threads=threads, engine=engine)) as results:
            for predictions in results:
                yield from predictions

    @property
    def parts(self) -> dict[str, slice]:
        """Where each branch stands in an embedding of D numbers: columns by branch, in the model's order."""
        return self._model.parts()

    def embed(
        self,
        posters: Iterable[ImageInput] | ImageInput,
        *,
        out: str | Path | None = None,
        branches: Sequence[str] | None = None,
        workers: Workers = 1,
        threads: int | None = None,
        engine: str = "local",
    ) -> NDArray[np.float32]:
        """The fused representation of posters: what the head reads, in which posters are near that are near to it.

        Side by side stand the embeddings of the branches (`parts` says where), each number times the weight that the
        head gives it (`fusion.heads.Head.represent`); a row has length 1, so that a product of two rows is their
        cosine, and the product of the columns of one branch is the share of that branch in it. Columns of a branch that
        sees nothing, or is not looked through, are zeros.

        Args:
            posters: as for `predict`.
            out: write them, too, into a file ``.npy`` (the array alone) or ``.parquet`` (path, error, vector; the
                columns of the branches and the model's identity beside them), which is replaced.
            branches: as for `predict`.
            workers: as for `stream`.
            threads: as for `stream`.
            engine: as for `stream`.

        Returns:
            N x D in the order of the posters; of a poster that cannot be used NaN (`stream_embeddings` says why).

        Raises:
            UserError: another ending of `out`; as `stream`.
        """
        if out is not None:
            require_format(Path(out))
        found = list(
            self.stream_embeddings(posters, branches=branches, workers=workers, threads=threads, engine=engine)
        )
        width = max(place.stop for place in self.parts.values())
        values = np.full((len(found), width), np.nan, np.float32)
        for row, embedding in enumerate(found):
            if embedding.vector is not None:
                values[row] = embedding.vector
        if out is not None:
            write_embeddings(Path(out), found, values, self.parts, embedding_identity(self, branches))
        return values

    def stream_embeddings(
        self,
        posters: Iterable[ImageInput] | ImageInput,
        *,
        branches: Sequence[str] | None = None,
        workers: Workers = 1,
        threads: int | None = None,
        engine: str = "local",
    ) -> Iterator[Embedding]:
        """As `embed`, one poster after another, each with its path and what was wrong with it.

        Args:
            posters: as for `stream`; so are the others.
            branches: as for `predict`.
            workers: as for `stream`.
            threads: as for `stream`.
            engine: as for `stream`.

        Raises:
            UserError: as `stream`.
        """
        names = None if branches is None else self._chosen(branches)
        parts = (Request(part, branches=names) for part in cut(several(posters)))
        with closing(run(self._embedder, parts, workers=workers, threads=threads, engine=engine)) as results:
            for embeddings in results:
                yield from embeddings

    @cached_property
    def _embedder(self) -> EmbedTask:
        """What embeds; it shares the frozen extractors with what predicts."""
        perception, device = self._task.perception, self.device
        return EmbedTask(
            self.run, self._model, perception, branches=self.branches, device=device, offline=self._offline
        )

    def _chosen(self, branches: Sequence[str]) -> tuple[str, ...]:
        """Branches as they were asked for, in the model's order."""
        unknown = [name for name in branches if name not in self.branches]
        if unknown or not branches:
            raise UserError(f"branches must be one or more of {','.join(self.branches)}; got {','.join(branches)!r}")
        return tuple(name for name in self.branches if name in branches)


def embedding_identity(classifier: GenrePredictor, branches: Sequence[str] | None = None) -> str:
    """What must be the same for embeddings to be compared: the weights, what they stand behind, and the branches."""
    run = classifier.run
    names = classifier.branches if branches is None else tuple(branches)
    known = [_REPRESENTATION, file_hash(run.folder / WEIGHTS), dict(run.fingerprints), sorted(names), run.spare]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def looked_through(run: Run, branches: Sequence[str] | None) -> tuple[Run, list[str]]:
    """A run as it is used with the files that are here, and the branches that are looked through; no model is loaded.

    Args:
        run: as it was trained.
        branches: as for `GenrePredictor.load`.

    Raises:
        UserError: for branches that it does not have, or a control.
    """
    check_branches(run, branches)
    missing = missing_branches(run, branches)
    if any(state.spares for state in missing):
        run = run.sparing()
    asked = set(branches or run.config.branches) - {state.branch for state in missing if not state.spares}
    kept = [name for name in branch_names() if name in asked]
    _refuse_controls(run, kept)
    return run, kept


def missing_branches(run: Run, branches: Sequence[str] | None) -> tuple[BranchState, ...]:
    """Branches that are left out because their files are not here: of a shipped model alone, where none are named."""
    return left_out(run) if branches is None and is_shipped(run.folder) else ()


@cache
def _say_once(text: str) -> None:
    warn(text)


def _refuse_controls(run: Run, branches: Sequence[str]) -> None:
    """Refuse to look through a branch that was trained as a control: a new poster cannot be treated alike."""
    shuffled = run.config.shuffled
    controls = {name: declared(name).control(run.config) for name in branches}
    reasons = {name: control[1] for name, control in controls.items() if control is not None}
    for name in shuffled:
        reasons[name] = f"on the records of other posters (shuffled={','.join(shuffled)})"
    found = [name for name in branches if name in reasons]
    if not found:
        return
    others = ",".join(name for name in branches if name not in reasons)
    raise UserError(
        f"{run.folder} is a control, not a model for use:\n"
        + "".join(f"  {name} was trained {reasons[name]}\n" for name in found)
        + (f"Leave that out with {command_line('--branches', others)}, or train" if others else "Train")
        + " a model without these settings: mmposter train DATA --out OTHER\n"
        f"To measure this one: {command_line('mmposter', 'evaluate', run.folder, 'DATA')}"
    )


def several(posters: Iterable[ImageInput] | ImageInput) -> Iterable[ImageInput]:
    """Posters as they were given, one alone as a list; folders and patterns as the files that they stand for.

    Raises:
        UserError: a DataFrame without a column of posters.
    """
    if is_frame(posters):
        name = next((name for name in _POSTER_COLUMNS if name in posters.columns), None)
        if name is None:
            there = ", ".join(map(str, posters.columns)) or "none"
            raise UserError(f"a DataFrame of posters needs a column {' or '.join(_POSTER_COLUMNS)}; it has {there}")
        return each_poster(posters[name])
    single = isinstance(posters, (str, Path, bytes, Image.Image)) or (
        isinstance(posters, np.ndarray) and posters.ndim < 4
    )
    return each_poster([posters] if single else posters)  # type: ignore[list-item,arg-type]


def cut(posters: Iterable[ImageInput], size: int = SIZE) -> Iterator[list[ImageInput]]:
    iterator = iter(posters)
    while part := list(islice(iterator, size)):
        yield part
