"""Products in fp8: numbers of eight bits (e4m3), with a scale for each row.

A token has a scale, and so has each output channel of the weights: the largest of the row becomes
448, the largest that e4m3 knows. Scales of rows never mix, so no vector depends on what else is in
the pack. What comes out of a product is fp16, and so is all that the fp16 run has in fp16.

Plain PyTorch here, for every device: the products are emulated where the device has none. The
kernels that round to fp8 on their way out are in `triton_kernels`.

Shape letters: T packed tokens, D inputs of a product, F its outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from virembed.errors import DeviceError

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST_SCALE = 1e-30  # of a row of zeros


class Quantised(NamedTuple):
    """values: e4m3 [T, D]; scale: fp32 [T, 1]. It stands for values * scale."""

    values: torch.Tensor
    scale: torch.Tensor


Activations = torch.Tensor | Quantised


def half_of(dtype: torch.dtype) -> torch.dtype:
    """What attention, biases and outcomes of products have where products are in `dtype`."""
    return torch.float16 if dtype == FP8 else dtype


def quantised(x: torch.Tensor) -> Quantised:
    """x: [T, D]. A number that is not finite makes its row NaN, so that the guard sees it."""
    x = x.float()
    scale = (x.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=SMALLEST_SCALE)
    return Quantised((x * (1.0 / scale)).to(FP8), scale)


def like(y: Activations, x: torch.Tensor) -> Activations:
    """x in the form of y."""
    return quantised(x) if isinstance(y, Quantised) else x.to(y.dtype)


class Fp8Linear(nn.Linear):
    """A product with weights in e4m3, `scale` fp32 [F, 1]. Quantised [T, D] -> fp16 [T, F]."""

    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        values, scale = quantised(linear.weight)
        self.weight = nn.Parameter(values, requires_grad=False)
        self.bias = linear.bias
        self.register_buffer("scale", scale)

    def forward(self, y: Quantised) -> torch.Tensor:  # type: ignore[override]
        if not y.values.is_cuda:
            product = F.linear(y.values.float(), self.weight.float()) * y.scale * self.scale.T
            return (product if self.bias is None else product + self.bias.float()).half()
        # Sums keep 14 bits on the way, which is 15 % faster than 24. It adds an error of 1e-3 to
        # 3e-3 of the size of the outcome to the 3.6e-2 that rounding what goes in costs.
        out: torch.Tensor = torch._scaled_mm(
            y.values, self.weight.T, y.scale, self.scale.T,
            bias=self.bias, out_dtype=torch.float16, use_fast_accum=True,
        )  # fmt: skip
        return out


def use_fp8(model: nn.Module, names: Collection[str]) -> None:
    """Turns the products of these names, in every layer, into fp8.

    Raises:
        DeviceError: torch has no such product for the device of the model.
    """
    _require_products(next(model.parameters()).device)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in names:
                assert isinstance(child, nn.Linear)
                setattr(module, name, Fp8Linear(child))


def _require_products(device: torch.device) -> None:
    """Which GPUs torch can do it for differs from release to release: tried, not looked up."""
    linear = Fp8Linear(nn.Linear(32, 32, device=device, dtype=torch.float16))
    try:
        linear(quantised(torch.ones(32, 32, device=device)))
    except RuntimeError as error:
        raise DeviceError(
            f"torch {torch.__version__} has no fp8 products with scales of rows for {device} "
            f"({str(error).splitlines()[0]})",
            "Take another --precision.",
        ) from None
