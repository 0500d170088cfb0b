"""How fast devices are: sustained rates of matrix products, and what an embedding loop makes of
them.

The rate of a device is measured (by us, or by `virembed doctor` on the user's own), or scaled from
what its maker specifies. From it to seconds per token leads one formula with two constants for
each kind of device, fitted to measured loops (docs/plan.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from virembed.errors import IncompleteError
from virembed.weights_info import WeightsInfo

DOCTOR_FORMAT = "virembed.doctor/1"
CPU = "CPU"
DEFAULT = "A100"  # a card of the middle, for who says nothing

# TFLOP/s in fp16 products held for seconds, as the doctor measures them; for the CPU in fp32 on one
# core of an AMD EPYC.
MEASURED_TFLOPS = MappingProxyType({"H200": 650.0, CPU: 0.097})

# Dense fp16 products with fp32 sums, in TFLOP/s, as the makers specify them. Of its 989 an H200
# sustains 66 %; for the others a little less is assumed.
SPECIFIED_TFLOPS = MappingProxyType(
    {
        "B200": 2250.0,
        "GH200": 989.0,
        "H100": 989.0,
        "H100-PCIe": 756.0,
        "A100": 312.0,
        "A30": 165.0,
        "A40": 150.0,
        "A10": 125.0,
        "L40S": 362.0,
        "L40": 181.0,
        "L4": 121.0,
        "RTX-6000-Ada": 364.0,
        "RTX-A6000": 155.0,
        "RTX-4090": 165.0,
        "RTX-3090": 71.0,
    }
)
SUSTAINED_SHARE = 0.6
NAMES = (*MEASURED_TFLOPS, *SPECIFIED_TFLOPS)


@dataclass(frozen=True, slots=True)
class LoopCost:
    """Time of a loop in units of the time of its products at the sustained rate.

    That is `base` + `per_width` / width, width being the operations per token, layer and element
    of the residual stream, as a multiple of those of a plain layer: D where F = 4 D. What moves
    memory weighs less the wider the model is.
    """

    base: float
    per_width: float


# Fitted with ATTENTION_COST to ESM-2 3B, 650M, 150M and DNABERT-S on an H200, and to 8M, 35M, 150M
# and DNABERT-S on a CPU. Reproduces their rates within 4 % and 11 %.
GPU_LOOP = LoopCost(base=0.93, per_width=490.0)
CPU_LOOP = LoopCost(base=0.80, per_width=354.0)
ATTENTION_COST = 5.0  # an operation of attention takes as long as so many of a product


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a device multiplies matrices, and how that is known.

    flops:  operations per second, sustained
    source: in words, for the reader of an estimate
    """

    device: str
    flops: float
    is_gpu: bool
    source: str

    def seconds(self, card: WeightsInfo, *, tokens: int, pairs: int) -> float:
        """The time of the loop for so many tokens, whose squares per item sum up to `pairs`."""
        loop = GPU_LOOP if self.is_gpu else CPU_LOOP
        width = card.flops_per_token / (24 * card.num_layers * card.dim)
        products = tokens * card.flops_per_token * (loop.base + loop.per_width / width)
        attention = 4 * card.num_layers * card.dim * pairs * ATTENTION_COST
        return (products + attention) / self.flops


def shipped_rate(name: str) -> Rate:
    """The rate of a device of `NAMES`."""
    if name == CPU:
        source = f"{MEASURED_TFLOPS[CPU]} TFLOP/s in fp32 products, measured on an AMD EPYC"
        return Rate("one CPU core", MEASURED_TFLOPS[CPU] * 1e12, is_gpu=False, source=source)
    if name in MEASURED_TFLOPS:
        tflops = MEASURED_TFLOPS[name]
        source = f"{tflops:.0f} TFLOP/s in fp16 products, measured on one"
    else:
        tflops = SPECIFIED_TFLOPS[name] * SUSTAINED_SHARE
        source = (
            f"{tflops:.0f} TFLOP/s in fp16 products, NOT MEASURED: {SUSTAINED_SHARE:.0%} of the "
            f"{SPECIFIED_TFLOPS[name]:.0f} that its maker specifies"
        )
    return Rate(name, tflops * 1e12, is_gpu=True, source=source)


def measured_rate(path: Path) -> Rate:
    """What `virembed doctor --out` measured.

    Raises:
        IncompleteError: not such a file.
    """
    try:
        found = json.loads(path.read_text())
        if found["format"] != DOCTOR_FORMAT:
            raise ValueError(f"not of format {DOCTOR_FORMAT}")
        tflops = float(found["tflops"])
        source = f"{tflops:,.3g} TFLOP/s in {found['precision']} products, measured by the doctor"
        is_gpu = found["kind"] == "cuda"
        device = str(found["device"]) if is_gpu else f"CPU (threads: {found['threads']})"
        return Rate(device, tflops * 1e12, is_gpu, source)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IncompleteError(
            f"{path}: not a diagnosis ({error})", "Run `virembed doctor --out doctor.json` again."
        ) from None
