"""Several processes that train one model: each computes its part of every batch, and the results are put together.

The batch of the configuration is that of all processes together. Whatever looks across the batch (the loss, batch
norms, random draws) sees the whole of it, so that the result is that of one process, up to rounding.

Letters: B posters of the whole batch, G genres.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmposter.engines import launched
from mmposter.errors import UserError
from mmposter.files.disk import plain_words
from mmposter.training.whole_batch import WholeBatch

T = TypeVar("T")

# The others wait as long as the main process extracts features. One that has died is noticed all the same.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Part:
    """The rows of a batch that one process computes."""

    start: int
    stop: int
    copies: int = 1  # how many processes compute these very rows

    @property
    def rows(self) -> slice:
        """To index the batch with."""
        return slice(self.start, self.stop)


def part_of(total: int, rank: int, world_size: int) -> Part:
    """The rows of a batch of `total` for one process: contiguous, and as many as the others have, or one more or less.

    A batch with fewer than two posters a process is computed whole by each: a batch norm of one poster is another one.
    """
    if total < 2 * world_size:
        return Part(0, total, world_size)
    return Part(total * rank // world_size, total * (rank + 1) // world_size)


class Processes:
    """The processes of one training, as one of them sees them; `ALONE` where there is only this one.

    Args:
        rank: of this process, from 0; 0 is the main one, which alone writes.
        world_size: how many there are.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        # For words and numbers of the processes, beside the group on whose devices they compute.
        self._control: Any = dist.new_group(backend="gloo", timeout=_PATIENCE) if world_size > 1 else None

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def from_main(self, make: Callable[[], T]) -> T:
        """What `make` returns in the main process, in each of them; it is called in that one alone.

        Raises:
            UserError: it failed there.
        """
        if not self.main:
            heard: T = self._hear()
            return heard
        with self._failure_told():
            made = make()
        self._tell(made)
        return made

    def main_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in this process; the others call it when it has succeeded in the main one.

        Raises:
            UserError: it failed there.
        """
        if not self.main:
            self._hear()
            return make()
        with self._failure_told():
            made = make()
        self._tell(None)
        return made

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks, in each of them."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        with _connected():
            dist.all_gather_object(found, value, group=self._control)
        return found

    def share_state(self, model: nn.Module) -> None:
        """Give a model, which is on the CPU, the weights and buffers that it has in the main process."""
        if self.world_size == 1:
            return
        for value in model.state_dict().values():
            sent = value.contiguous()
            with _connected():
                dist.broadcast(sent, 0, group=self._control)
            value.copy_(sent)

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Those of some rows that this process looks at: each row is one process's, and they stay in their order."""
        return rows[len(rows) * self.rank // self.world_size : len(rows) * (self.rank + 1) // self.world_size]

    def part(self, total: int) -> Part:
        """The rows of a batch of `total` that this process computes."""
        return part_of(total, self.rank, self.world_size)

    def seeing(self, part: Part) -> AbstractContextManager[Any]:
        """A block in which a forward pass of a part draws, and normalises, as it would with the whole batch."""
        if self.world_size == 1 or part.copies > 1:
            return nullcontext()
        return WholeBatch(self._places, self._sum)

    def whole(self, logits: Tensor, part: Part, total: int) -> Tensor:
        """The logits of a whole batch, B x G, from those of a part; only these have a gradient."""
        if self.world_size == 1 or part.copies > 1:
            return logits
        others = torch.zeros(total, *logits.shape[1:], dtype=logits.dtype, device=logits.device)
        others[part.rows] = logits.detach()
        self._sum(others)
        return torch.cat([others[: part.start], logits, others[part.stop :]])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes; a parameter that none has a gradient of keeps none."""
        if self.world_size == 1:
            return
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learning]
        there = torch.tensor([float(p.grad is not None) for p in learning], device=gradients[0].device)
        together = torch.cat([there, *(gradient.reshape(-1) for gradient in gradients)])
        self._sum(together)
        sizes = [len(learning), *(gradient.numel() for gradient in gradients)]
        learnt, *summed = torch.split(together, sizes)
        for parameter, gradient, some, values in zip(learning, gradients, learnt.tolist(), summed, strict=True):
            if some:
                parameter.grad = gradient.copy_(values.view_as(gradient))

    def _places(self, count: int) -> tuple[int, int]:
        """Of rows of which this process has `count`: where its own begin, and how many all processes have."""
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        with _connected():
            dist.all_gather(counts, torch.tensor([count]), group=self._control)
        numbers = [int(number) for number in counts]
        return sum(numbers[: self.rank]), sum(numbers)

    def _sum(self, values: Tensor) -> None:
        """Replace values by their sum over all processes."""
        with _connected():
            dist.all_reduce(values)

    def _tell(self, value: Any, failure: str | None = None) -> None:
        if self.world_size == 1:
            return
        with _connected():
            dist.broadcast_object_list([value, failure], 0, group=self._control)

    def _hear(self) -> Any:
        heard: list[Any] = [None, None]
        with _connected():
            dist.broadcast_object_list(heard, 0, group=self._control)
        if heard[1] is not None:
            raise UserError(heard[1])
        return heard[0]

    @contextmanager
    def _failure_told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tell(None, plain_words(error) or str(error) or type(error).__name__)
            raise


ALONE = Processes()


@cache
def join(device: str) -> Processes:
    """Meet the other processes that torchrun or `accelerate launch` started; `ALONE` where there are none.

    Args:
        device: a resolved one, ``cpu`` or ``cuda``.

    Raises:
        UserError: for a device of which there is not one for each process, or when the others do not come.
    """
    if launched.world_size() == 1:
        return ALONE
    from accelerate import PartialState

    count = launched.per_machine()
    if device not in ("cpu", "cuda"):
        raise UserError(f"several processes train on cpu or cuda; got --device {device}.\nGive --device cpu")
    if device == "cuda" and count > torch.cuda.device_count():
        raise UserError(
            f"{count} processes were started on this machine, each needs a GPU of its own, and the number of GPUs is "
            f"{torch.cuda.device_count()}.\nStart fewer processes (torchrun --nproc-per-node), or give --device cpu"
        )
    with _connected():
        state = PartialState(cpu=device == "cpu")
    if state.num_processes != launched.world_size():
        raise UserError(
            f"{launched.world_size()} processes were started, and accelerate found {state.num_processes}: the launcher "
            "must set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.\nStart with torchrun"
        )
    if state.backend == "gloo":
        atexit.register(leave)  # its threads must not outlive the interpreter
    return Processes(state.process_index, state.num_processes)


def leave() -> None:
    """Leave the group of `join`, when nothing more is to be trained."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _connected() -> Iterator[None]:
    """Say in plain words that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            "another process of this training has ended, or cannot be reached; its own message says why.\n"
            "What was finished is kept: start all of them again with --resume"
        ) from error
