"""Explanations as files: for each poster NAME.png, the card, and NAME.json; what a stopped run has finished is kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmposter.errors import UserError
from mmposter.evaluation.scored import file_hash
from mmposter.explain.classifier import PosterClassifier
from mmposter.explain.result import Explanation
from mmposter.files.atomic import write_text
from mmposter.files.strict_json import read_json
from mmposter.images.links import is_link, link_stem
from mmposter.report.plots.style import save_png
from mmposter.runs.run import WEIGHTS
from mmposter.similarity.index import PosterIndex

_SOFTWARE = "mmposter explain"
"""What a card says that it was made with."""
_HEAD = 4096  # bytes of a PNG file, before its pixels


class ExplanationFolder:
    """Where the explanations of some posters go; `done` are those that an earlier run of this kind has finished.

    Args:
        folder: made where it is not there.
        posters: paths, each once.
        made_with: identity of the model and the options, as a word.
        overwrite: replace explanations that are there; files of others never, a poster's own above all.

    Raises:
        UserError: without `overwrite`, where a file of another model, other options or another poster is there; where
            a file is there that is no explanation.
    """

    def __init__(self, folder: Path, posters: Sequence[str], *, made_with: str, overwrite: bool = False) -> None:
        self.folder, self._made_with = folder, made_with
        self._names = file_names(posters)
        self.done: set[str] = set()
        for name in self._names.values():
            self._require_ours(name)
        if not overwrite:
            self.done = {poster for poster in posters if self._is_done(poster)}

    def write(self, explanation: Explanation) -> None:
        """Write the two files of a poster that could be used; the JSON last, as it says that both are there."""
        assert explanation.path is not None
        name = self._names[explanation.path]
        save_png(explanation.card(), self.folder / f"{name}.png", software=_SOFTWARE)
        text = json.dumps({"made_with": self._made_with, **explanation.to_json()}, ensure_ascii=False)
        write_text(self.folder / f"{name}.json", text + "\n")

    def _require_ours(self, name: str) -> None:
        """Refuse to replace the files of a name that `mmposter explain` did not write."""
        text, card = self.folder / f"{name}.json", self.folder / f"{name}.png"
        explained = text.is_file() and "made_with" in _read(text)
        if os.path.lexists(text) and not explained:
            raise UserError(f"{text} is no explanation of a poster; name another --out, or move that file")
        # An earlier mmposter left matplotlib's name in its cards.
        marks = [_SOFTWARE.encode(), *([b"Matplotlib"] if explained else [])]
        if os.path.lexists(card) and not _begins_with(card, marks):
            raise UserError(f"{card} is no card of mmposter explain; name another --out, or move that file")

    def _is_done(self, poster: str) -> bool:
        file = self.folder / f"{self._names[poster]}.json"
        if not file.exists():
            return False
        known = _read(file)
        if known.get("path") != poster:
            raise UserError(
                f"{file} explains another poster ({known.get('path')}); name another --out, or replace it with "
                "--overwrite"
            )
        if known.get("made_with") != self._made_with:
            raise UserError(
                f"{file} was made with another model, branches, --genre or --among; name another --out, or replace it "
                "with --overwrite"
            )
        return file.with_suffix(".png").exists()


def file_names(posters: Sequence[str]) -> dict[str, str]:
    """For each poster a name of its own, without ending: that of its file, and a few digits where two share it.

    The digits come from the path, so that a poster keeps its name whatever others there are.
    """
    stems = {poster: link_stem(poster) if is_link(poster) else Path(poster).stem for poster in posters}
    shared = Counter(stem.casefold() for stem in stems.values())  # one file, where the file system says so
    return {
        poster: stem if shared[stem.casefold()] == 1 else f"{stem}-{_digits(poster)}" for poster, stem in stems.items()
    }


def identity(classifier: PosterClassifier, genres: Sequence[str] | None, among: PosterIndex | None = None) -> str:
    """What must be the same for explanations to be gone on with: weights, decision, branches, genres, near posters."""
    run = classifier.run
    decision = run.decision(classifier.branches).digest
    known = [file_hash(run.folder / WEIGHTS), decision, classifier.branches, None if genres is None else sorted(genres)]
    if among is not None:
        known.append(sorted(among.facts.parts))
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _read(file: Path) -> dict[str, Any]:
    try:
        values = read_json(file)
    except UserError:
        return {}
    return values if isinstance(values, dict) else {}


def _begins_with(file: Path, marks: Sequence[bytes]) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    return any(mark in head for mark in marks)


def _digits(poster: str) -> str:
    return hashlib.sha256(poster.encode("utf-8", "surrogateescape")).hexdigest()[:8]
