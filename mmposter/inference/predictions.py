"""The file of predictions: grows line by line, survives a stop, and appears under its name when it is whole."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mmposter.errors import UserError
from mmposter.files.atomic import atomic_path
from mmposter.files.disk import naming
from mmposter.files.spreadsheets import TableWriter
from mmposter.inference.tables import write_parquet
from mmposter.inference.task import Prediction
from mmposter.outputs import claim_file, refuse_file

FORMATS = (".jsonl", ".csv", ".parquet")

# A file name on Linux is bytes, and what is no UTF-8 in it reaches us as lone surrogates, which cannot be written as
# UTF-8. Written as backslash and digits they are also what JSON calls them.
_UNWRITABLE = "backslashreplace"
_BEGINS = b'{"path":'
"""Every line of an unfinished file."""
_USUAL = re.compile(
    rb'\{"path": "([^"\\\x00-\x1f]*)", "genres": \[[^\[\]{}]*\], "scores": \{[^\[\]{}]*\}, '
    rb'"error": null, "saw_nothing": \[[^\[\]{}]*\]\}\n'
)
"""The line of a poster without an error and a verdict, whose path has nothing to be decoded but UTF-8."""


class PredictionFile:
    """Writes predictions to ``NAME.partial`` and, when all are there, to NAME as JSON lines, CSV or Parquet.

    The unfinished file has a line of JSON a poster whatever NAME is: a Parquet file cannot grow line by line, and would
    be lost with a stop.

    Inside its ``with`` block it is the one writer of the file.

    Args:
        path: ends in ``.jsonl``, ``.csv`` or ``.parquet``.
        made_with: identity of the model and the options, as a word; an unfinished file of another one is not gone on
            with, because two models would mix in one file.
        overwrite: replace a finished file, and forget an unfinished one.

    Attributes:
        done: paths that an earlier, stopped run has finished.
        count: predictions in the file so far.
        failed: those with an error.

    Raises:
        UserError: without `overwrite`, for a finished file or an unfinished one of another model; for another ending;
            where another process is writing the file, on entering.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, *, made_with: str = "", overwrite: bool = False) -> None:
        if path.suffix not in FORMATS:
            raise UserError(f"--out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; got {path}")
        self.path, self._overwrite = path, overwrite
        self._partial = path.with_name(f"{path.name}.{made_with}.partial" if made_with else f"{path.name}.partial")
        self._seen: tuple[int, int] | None = None
        self._verdicts = self._films = False
        self._stack = ExitStack()
        self._stream: IO[str] | None = None
        self._look()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(claim_file(self.path, overwrite=self._overwrite))
            self._look()  # another process may have ended between the two
            if self._overwrite:
                for file in self._unfinished():
                    file.unlink()
            elif self._partial.exists():
                os.truncate(self._partial, self._whole)  # a last line that was cut off
            with naming(self._partial):
                self._stream = self._partial.open("a", encoding="utf-8", errors=_UNWRITABLE)
            self._stack = stack.pop_all()
        return self

    def write(self, prediction: Prediction) -> None:
        """Add one prediction; it survives a kill from here on."""
        assert self._stream is not None, "write inside a with block"
        with naming(self._partial):
            self._stream.write(json.dumps(prediction.to_json(), ensure_ascii=False) + "\n")
            self._stream.flush()
        self._add(prediction)

    def _add(self, prediction: Prediction) -> None:
        self.count += 1
        self._verdicts = self._verdicts or prediction.verdict is not None
        self._films = self._films or bool(prediction.film)
        if prediction.error:
            self.failed.append(prediction)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        with self._stack:
            with naming(self._partial):
                self._stream.close()
            if error is not None:
                if not self._partial.stat().st_size:  # nothing was finished
                    self._partial.unlink()
                return
            ranks = review_ranks(self.predictions()) if self._verdicts else None
            with atomic_path(self.path) as temporary:
                if self.path.suffix == ".csv":
                    self._write_csv(temporary, ranks)
                elif self.path.suffix == ".parquet":
                    write_parquet(temporary, self.predictions(), self._genres(), ranks)
                elif ranks is None:
                    shutil.copyfile(self._partial, temporary)
                else:
                    self._write_ranked(temporary, ranks)
            self._partial.unlink()

    def _look(self) -> None:
        """Refuse what may not be replaced, and learn what a stopped run left."""
        refuse_file(self.path, overwrite=self._overwrite)
        if os.path.lexists(self._partial) and not _is_unfinished(self._partial):
            raise UserError(f"{self._partial} is no file of mmposter predict; move it, or give another --out")
        if not self._overwrite and (others := [file for file in self._unfinished() if file != self._partial]):
            raise UserError(
                f"{others[0]} was begun with another model, branches, --top-k or --precision; go on with those, or "
                "start anew with --overwrite"
            )
        found = self._partial.stat() if self._partial.exists() and not self._overwrite else None
        seen = None if found is None else (found.st_size, found.st_mtime_ns)
        if seen is not None and seen == self._seen:
            return
        self._seen, self._whole = seen, 0
        self.done: set[str | None] = set()
        self.count = 0
        self.failed: list[Prediction] = []
        self._verdicts = self._films = False
        for path, prediction, end in self._read() if seen is not None else ():
            self.done.add(path)
            if prediction is None:
                self.count += 1
            else:
                self._add(prediction)
            self._whole = end

    def _unfinished(self) -> list[Path]:
        """Unfinished files of this name, of any model; files of others that are called alike are none."""
        name = re.compile(rf"{re.escape(self.path.name)}(\.[^.]+)?\.partial")
        found = sorted(self.path.parent.glob(f"{glob.escape(self.path.name)}*.partial"))
        return [file for file in found if name.fullmatch(file.name) and _is_unfinished(file)]

    def _read(self, *, all_of_them: bool = False) -> Iterator[tuple[str | None, Prediction | None, int]]:
        """The whole lines of the unfinished file: path, prediction, and the byte where it ends; maybe millions.

        Unless `all_of_them` are asked for, there is None in place of the prediction of a poster without an error and
        without a verdict: to make objects of a million takes minutes.
        """
        end = 0
        with self._partial.open("rb") as stream:
            # Bytes, cut at newlines alone: a kill may leave half a character, and a file name may hold U+2028, at which
            # text would be cut too. What follows the last newline is no whole line, even if it reads like one.
            for line in stream:
                usual = None if all_of_them else _USUAL.fullmatch(line)
                try:
                    if usual is not None:
                        end += len(line)
                        yield usual[1].decode("utf-8"), None, end
                        continue
                    prediction = Prediction(**json.loads(line))
                except (ValueError, TypeError, RecursionError):
                    return
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield prediction.path, prediction, end

    def predictions(self) -> Iterator[Prediction]:
        """Those in the file so far, in its order; within the block that writes it."""
        for _, prediction, _ in self._read(all_of_them=True):
            assert prediction is not None  # as all were asked for
            yield prediction

    def _write_ranked(self, target: Path, ranks: Mapping[int, int]) -> None:
        """The lines with the ranks of the posters for review."""
        with target.open("w", encoding="utf-8", errors=_UNWRITABLE) as stream:
            for row, prediction in enumerate(self.predictions()):
                line = {**prediction.to_json(), "review": ranks.get(row)}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _genres(self) -> list[str]:
        """In the order of the model; none where no poster could be used."""
        return next((list(prediction.scores) for prediction in self.predictions() if prediction.scores), [])

    def _write_csv(self, target: Path, ranks: Mapping[int, int] | None) -> None:
        genres = self._genres()
        with target.open("w", encoding="utf-8", errors=_UNWRITABLE, newline="") as stream:
            writer = TableWriter(stream)
            asked = [] if ranks is None else ["verdict", "review", "gain"]
            films = ["film"] if self._films else []
            writer.write([*films, "path", "genres", *asked, "error", "saw_nothing", *genres])
            for row, p in enumerate(self.predictions()):
                gain = "" if p.gain is None else p.gain
                verdict = [] if ranks is None else [p.verdict or "", ranks.get(row, ""), gain]
                scores = [p.scores.get(genre, "") for genre in genres]
                film = [p.film or ""] if films else []
                writer.write(
                    [*film, p.path, "|".join(p.genres), *verdict, p.error or "", "|".join(p.saw_nothing), *scores]
                )


def review_ranks(predictions: Iterable[Prediction]) -> dict[int, int]:
    """By the place of each poster for review when to look at it, from 1 on.

    First come those of which a look is expected to put most genres right; of equal ones, those that came first.
    """
    gains = [(-(p.gain or 0.0), row) for row, p in enumerate(predictions) if p.verdict == "review"]
    return {row: rank for rank, (_, row) in enumerate(sorted(gains), start=1)}


def _is_unfinished(file: Path) -> bool:
    """Whether a file was begun by us: predictions, or nothing yet (after a power cut, maybe as zeros)."""
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(len(_BEGINS))
    return head == _BEGINS[: len(head)] or not head.strip(b"\0")
