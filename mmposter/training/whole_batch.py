"""A forward pass of a part of a batch that draws and normalises as one of the whole batch does.

Random numbers: each process draws for all rows of the batch, from generators that are in the same state, and keeps
those of its own rows. Batch norms in training: sums over the rows are added up over the processes, in the backward pass
too; torch's own `SyncBatchNorm` does not run on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Places = Callable[[int], tuple[int, int]]
"""Of rows of which this process has so many: where its own begin, and how many there are."""
Sum = Callable[[Tensor], None]
"""Replaces values by their sum over all processes."""

_aten = torch.ops.aten
_BY_SIZE = {_aten.rand.default, _aten.randn.default}
_LIKE = {_aten.rand_like.default, _aten.randn_like.default, _aten.bernoulli.p}
_IN_PLACE = {_aten.bernoulli_.float, _aten.uniform_.default, _aten.normal_.default}


class WholeBatch:
    """The block around such a forward pass.

    All rows of a batch stand in the order of the processes. A tensor whose first dimension is not that of the posters,
    such as the text lines of all posters one below the other, is cut by the rows that each process has of it.

    Args:
        places: see `Places`.
        add: see `Sum`.
    """

    def __init__(self, places: Places, add: Sum) -> None:
        self._modes = (_WholeDraws(places), _WholeNorms(add))
        self._stack = ExitStack()

    def __enter__(self) -> None:
        for mode in self._modes:
            self._stack.enter_context(mode)

    def __exit__(self, *raised: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()


class _WholeDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Draws of the global generators are made for the whole batch, and cut."""

    def __init__(self, places: Places) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places = places

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled, and to tell the compiler so, torch would load it, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None and args:
            if func in _BY_SIZE and args[0]:
                count, *rest = args[0]
                start, total = self.places(count)
                return func([total, *rest], *args[1:], **kwargs)[start : start + count].clone()
            if func in _LIKE and args[0].ndim:
                whole, own = self._whole(args[0])
                return func(whole, *args[1:], **kwargs)[own].clone()
            if func in _IN_PLACE and args[0].ndim:
                whole, own = self._whole(args[0])
                return args[0].copy_(func(whole, *args[1:], **kwargs)[own])
            if func is _aten.native_dropout.default and args[0].ndim:
                whole, own = self._whole(args[0])
                scaled, kept = (values[own] for values in func(whole.fill_(1), *args[1:], **kwargs))
                return args[0] * scaled, kept.clone()
        return func(*args, **kwargs)

    def _whole(self, values: Tensor) -> tuple[Tensor, slice]:
        """Room for the rows of all processes, laid out in memory as `values` are, and where these stand in it."""
        start, total = self.places(len(values))
        # Numbers are drawn in the order of memory, which need not be that of the dimensions.
        order = sorted(range(values.ndim), key=lambda dim: -values.stride()[dim])
        shape = (total, *values.shape[1:])
        whole = torch.empty_permuted(shape, order, dtype=values.dtype, device=values.device)
        return whole, slice(start, start + len(values))


class _WholeNorms(TorchFunctionMode):
    """Batch norms that are in training see the rows of all processes."""

    def __init__(self, add: Sum) -> None:
        super().__init__()
        self.add = add

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """As `torch.nn.functional.batch_norm`: B x C x ..."""
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        with torch.autocast(input.device.type, enabled=False):
            rows = input.float()
            dims = [0, *range(2, rows.ndim)]
            shape = (1, -1, *[1] * (rows.ndim - 2))
            own = torch.cat([rows.sum(dims), rows.new_tensor([rows.numel() / rows.shape[1]])])
            sums, count = _Summed.apply(own, self.add).split([rows.shape[1], 1])
            count = count.detach()
            mean = sums / count
            centred = rows - mean.view(shape)
            # In two steps: the difference of two large sums would lose the digits of a small variance.
            variance = _Summed.apply(centred.square().sum(dims), self.add) / count
            if running_mean is not None and running_var is not None:
                with torch.no_grad():
                    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                    running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), momentum)
            result: Tensor = centred * (variance + eps).rsqrt().view(shape)
            if weight is not None:
                result = result * weight.view(shape)
            if bias is not None:
                result = result + bias.view(shape)
            return result.to(input.dtype)


class _Summed(torch.autograd.Function):
    """A sum over all processes, of which each has its share of the gradient from all of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, add: Sum) -> Tensor:
        ctx.add = add
        summed = values.clone()
        add(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        ctx.add(summed)
        return summed, None
