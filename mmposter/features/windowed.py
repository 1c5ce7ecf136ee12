"""Columns that are too long to be mapped whole: a few blocks of each are in memory, the ones that were asked for last.

What is drawn in random order over the whole of a file reads it many times, a few rows at a time. So a training draws
from a window instead (`window_order`): some chunks of neighbours, chosen at random, are in memory together, and their
posters are shuffled. Each epoch reads every chunk once, from its beginning to its end.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmposter.errors import UserError
from mmposter.features.columns import Column

LARGE = 32_768
"""Posters from which on a table is read by windows. Below, it is mapped whole: 1.4 GB of 44 kB a poster."""
CHUNK = 256
"""Neighbours that are drawn together."""
WINDOW = 16 * CHUNK
"""Posters that are shuffled together."""
_SPARE = 4
"""Of a column with a row a poster, this part of a window is in memory beside it: what the next one begins with."""


class Windowed:
    """R rows of a column, of which a window or two are in memory; stands in for a tensor that is indexed by rows.

    Not for several threads.

    Args:
        column: on disk.
        held: rows that are kept in memory, see `rows_held`.
        places: where in the column each of N rows lies; None: in their order.
        mend: what to do about damaged bytes, for the message.
    """

    def __init__(self, column: Column, held: int, places: torch.Tensor | None = None, mend: str = "") -> None:
        self._blocks = _Blocks(column, held, mend)
        self.places = places

    def __len__(self) -> int:
        return self._blocks.column.rows if self.places is None else len(self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of a tensor: N x the shape of a row."""
        return (len(self), *self._blocks.column.width)

    @property
    def dtype(self) -> torch.dtype:
        """Of the values."""
        return self._blocks.buffer.dtype

    def release(self) -> None:
        """Forget what is in memory; it is read again where it is asked for."""
        self._blocks.forget()

    def whole(self) -> torch.Tensor:
        """All of the column, mapped, in the order on disk."""
        return torch.from_numpy(self._blocks.column.mapped())

    def new_zeros(self, *shape: int) -> torch.Tensor:
        """Zeros of the same type."""
        return torch.zeros(*shape, dtype=self.dtype)

    def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
        """A copy of these rows: M x the shape of a row; `dim` is 0.

        Raises:
            UserError: the file is damaged, or gone.
        """
        if dim:
            raise ValueError("rows are selected along the first axis")
        return self._blocks.select(rows if self.places is None else self.places[rows])

    def __getitem__(self, rows: torch.Tensor) -> Windowed:
        """These rows in this order; what is in memory is shared."""
        view = object.__new__(Windowed)
        view._blocks = self._blocks
        view.places = rows if self.places is None else self.places[rows]
        return view


class _Blocks:
    """The blocks of a column, of which the last ones asked for stay in memory."""

    def __init__(self, column: Column, held: int, mend: str) -> None:
        self.column, self._held, self._mend = column, held, mend
        self.forget()

    def forget(self) -> None:
        each, there = self.column.block_rows, len(self.column.checksums)
        # A chunk begins and ends inside a block, so a window touches some more blocks than its rows would fill.
        slots = min(there, -(-self._held // each) + 2 * WINDOW // CHUNK)
        # Zeros take memory where something is read into them.
        self._array: NDArray[Any] = np.zeros((max(1, slots) * each, *self.column.width), self.column.dtype)
        self.buffer = torch.from_numpy(self._array)
        self._slots: OrderedDict[int, int] = OrderedDict()  # of a block, the one used longest ago first
        self._slot = np.full(there + 1, -1, np.int32)
        self._free = list(range(slots))
        self._stream: IO[bytes] | None = None

    def select(self, places: torch.Tensor) -> torch.Tensor:
        where = places.numpy()
        blocks = where // self.column.block_rows
        wanted = np.unique(blocks)
        if len(wanted) > len(self._slots) + len(self._free):
            return self._scattered(where)
        for number in wanted.tolist():
            if self._slot[number] >= 0:
                self._slots.move_to_end(number)
        for number in wanted.tolist():
            if self._slot[number] < 0:
                self._load(number)
        local = self._slot[blocks] * self.column.block_rows + where % self.column.block_rows
        return self.buffer.index_select(0, torch.from_numpy(local))

    def _scattered(self, where: NDArray[np.int64]) -> torch.Tensor:
        """Rows of more blocks than there is room for, one block after another."""
        found = np.empty((len(where), *self.column.width), self.column.dtype)
        blocks = where // self.column.block_rows
        for number in np.unique(blocks).tolist():
            mine = np.flatnonzero(blocks == number)
            found[mine] = self.select(torch.from_numpy(where[mine])).numpy()
        return torch.from_numpy(found)

    def _load(self, number: int) -> None:
        if self._free:
            slot = self._free.pop()
        else:
            oldest, slot = self._slots.popitem(last=False)
            self._slot[oldest] = -1
        first = slot * self.column.block_rows
        try:
            if self._stream is None:
                assert self.column.file is not None
                self._stream = self.column.file.open("rb", buffering=0)
            self.column.read_block(self._stream, number, self._array[first : first + self.column.block_rows])
        except (OSError, ValueError) as error:
            self._free.append(slot)
            raise UserError(f"{self.column.file} is damaged ({error}); {self._mend}") from error
        self._slots[number] = self._slot[number] = slot

    def __getstate__(self) -> dict[str, Any]:
        """For a worker of a loader, which reads its own."""
        return {"column": self.column, "mend": self._mend, "held": self._held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["column"], state["held"], state["mend"])  # type: ignore[misc]


def rows_held(column: Column, posters: int) -> int:
    """How many rows of a column are kept in memory, so that an epoch in `window_order` reads each about once.

    Where posters have as many rows as they like, one window may hold more than another: two usual ones are kept.

    Args:
        column: of all posters.
        posters: how many there are.
    """
    if column.rows == posters:
        return WINDOW + WINDOW // _SPARE
    return 2 * WINDOW * max(1, column.rows) // posters


def window_order(rows: NDArray[np.int64], places: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """A random order of rows that reads a long table window by window.

    Args:
        rows: that are to be put in order.
        places: where in the table each row of all lies.
        generator: of random numbers.

    Returns:
        The same rows: chunks of `CHUNK` neighbours in random order, shuffled within each `WINDOW`.
    """
    ordered = rows[np.argsort(places[rows], kind="stable")]
    chunks = [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]
    drawn = [chunks[at] for at in torch.randperm(len(chunks), generator=generator).tolist()]
    mixed = np.concatenate(drawn) if drawn else ordered
    for start in range(0, len(mixed), WINDOW):
        part = mixed[start : start + WINDOW]
        mixed[start : start + WINDOW] = part[torch.randperm(len(part), generator=generator).numpy()]
    return mixed


def order_on_disk(splits: NDArray[np.int8]) -> NDArray[np.int64]:
    """The order of a long table's rows: those of one split together, so that none is read between two of another.

    Args:
        splits: the number of each row's split: N.
    """
    return np.argsort(splits, kind="stable")
