"""Operators that we give to torch's ONNX exporter are those of torch."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

from fusion.branches import gram_descriptor
from mmposter.export.symbols import OPSET, own_symbols, quiet_tracing

onnxruntime = pytest.importorskip("onnxruntime")


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.vecdot(x, x + 1)


class Descriptor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return gram_descriptor(x[0] @ x[0].transpose(1, 2))


@pytest.mark.parametrize(
    "module",
    [
        Product(),
        Descriptor(),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((5, 7)),  # of 10 x 14: whole bins
        nn.AdaptiveAvgPool2d((7, 6)),  # bins that overlap
        nn.AdaptiveAvgPool2d((11, 20)),  # more than there are
    ],
    ids=str,
)
def test_the_exported_operator_is_that_of_torch(module):
    x = torch.randn(1, 3, 10, 14, generator=torch.Generator().manual_seed(0))
    written = io.BytesIO()
    with quiet_tracing(), own_symbols():
        torch.onnx.export(module, (x,), written, dynamo=False, opset_version=OPSET, input_names=["x"])
    session = onnxruntime.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), module(x))


def test_torch_is_left_as_it_was_also_by_an_error():
    before = torch._C._jit_set_onnx_log_enabled
    inside = []

    def fail() -> None:
        with quiet_tracing(), own_symbols():
            inside.append((torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()))
            raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        fail()
    assert inside == [(False, False)]
    assert (torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()) == (True, True)
    assert torch._C._jit_set_onnx_log_enabled is before
