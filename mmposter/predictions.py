"""The file of predictions: grows line by line, survives a stop, and appears under its name when it is whole."""

from __future__ import annotations

import csv
import glob
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mmposter.atomic import atomic_path
from mmposter.errors import UserError
from mmposter.predicting import Prediction

FORMATS = (".jsonl", ".csv")

# A file name on Linux is bytes, and what is no UTF-8 in it reaches us as lone surrogates, which cannot be written as
# UTF-8. Written as backslash and digits they are also what JSON calls them.
_UNWRITABLE = "backslashreplace"


class PredictionFile:
    """Writes predictions to ``NAME.partial`` and, when all are there, to NAME as JSON lines or CSV.

    Args:
        path: ends in ``.jsonl`` or ``.csv``.
        made_with: identity of the model and the options, as a word; an unfinished file of another one is not gone on
            with, because two models would mix in one file.
        overwrite: replace a finished file, and forget an unfinished one.

    Attributes:
        done: paths that an earlier, stopped run has finished.
        count: predictions in the file so far.
        failed: those with an error.

    Raises:
        UserError: without `overwrite`, for a finished file or an unfinished one of another model; for another ending.
    """

    def __init__(self, path: Path, *, made_with: str = "", overwrite: bool = False) -> None:
        if path.suffix not in FORMATS:
            raise UserError(f"--out must end in {' or '.join(FORMATS)}; got {path}")
        if path.exists() and not overwrite:
            raise UserError(f"{path} is there already; replace it with --overwrite")
        self.path = path
        self._partial = path.with_name(f"{path.name}.{made_with}.partial" if made_with else f"{path.name}.partial")
        unfinished = list(path.parent.glob(f"{glob.escape(path.name)}*.partial"))
        if overwrite:
            for file in unfinished:
                file.unlink()
        elif others := [file for file in unfinished if file != self._partial]:
            raise UserError(
                f"{others[0]} was begun with another model, branches or --top-k; go on with those, or start anew with "
                "--overwrite"
            )
        self.done: set[str | None] = set()
        self.count = 0
        self.failed: list[Prediction] = []
        if self._partial.exists():
            self._mend()
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._partial.open("a", encoding="utf-8", errors=_UNWRITABLE)
        return self

    def write(self, prediction: Prediction) -> None:
        """Add one prediction; it survives a kill from here on."""
        assert self._stream is not None, "write inside a with block"
        self._stream.write(json.dumps(prediction.to_json(), ensure_ascii=False) + "\n")
        self._stream.flush()
        self.count += 1
        if prediction.error:
            self.failed.append(prediction)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.close()
        if error is not None:
            return
        with atomic_path(self.path) as temporary:
            if self.path.suffix == ".csv":
                self._write_csv(temporary)
            else:
                shutil.copyfile(self._partial, temporary)
        self._partial.unlink()

    def _mend(self) -> None:
        """Take over what a stopped run left; a last line that was cut off is dropped from the file."""
        whole = 0
        for prediction, end in self._read():
            self.done.add(prediction.path)
            self.count += 1
            if prediction.error:
                self.failed.append(prediction)
            whole = end
        os.truncate(self._partial, whole)

    def _read(self) -> Iterator[tuple[Prediction, int]]:
        """The whole lines of the unfinished file, each with the byte where it ends; maybe millions, one at a time."""
        end = 0
        with self._partial.open("rb") as stream:
            # Bytes, cut at newlines alone: a kill may leave half a character, and a file name may hold U+2028, at which
            # text would be cut too. What follows the last newline is no whole line, even if it reads like one.
            for line in stream:
                try:
                    prediction = Prediction(**json.loads(line))
                except (ValueError, TypeError, RecursionError):
                    return
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield prediction, end

    def _write_csv(self, target: Path) -> None:
        genres = next((list(prediction.scores) for prediction, _ in self._read() if prediction.scores), [])
        with target.open("w", encoding="utf-8", errors=_UNWRITABLE, newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "genres", "error", *genres])
            for p, _ in self._read():
                scores = [p.scores.get(genre, "") for genre in genres]
                writer.writerow([p.path, "|".join(p.genres), p.error or "", *scores])
