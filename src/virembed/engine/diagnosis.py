"""Is this device fit to embed? What it is, are its products right, and how fast are they?"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from virembed.engine.settings import device_name
from virembed.errors import DeviceError

PROBE = 256  # size of the product that is compared with the processor's
RATE_SIZE = {"cuda": 8192, "cpu": 1024}
RATE_REPEATS = {"cuda": 20, "cpu": 3}
# of products of numbers about 1 summed over 256, relative to their size
LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the diagnosis."""

    subject: str
    result: str


def diagnose(device: str) -> Iterator[Finding]:
    """What is known of a device, then what was measured on it.

    Raises:
        DeviceError: its products are wrong.
    """
    kind = torch.device(device).type
    yield Finding("software", f"Python {platform.python_version()}, torch {torch.__version__}")
    yield Finding("device", f"{device_name(device)} ({device})")
    if kind == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        yield Finding("memory", f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB")
        yield Finding("CUDA", f"{torch.version.cuda}, compute capability {major}.{minor}")
    for dtype in LIMITS if kind == "cuda" else (torch.float32,):
        yield Finding(_name(dtype), _check_products(device, dtype))
    rate_dtype = torch.float16 if kind == "cuda" else torch.float32
    rate = matmul_rate(device, rate_dtype)
    yield Finding("speed", f"{rate / 1e12:,.2f} TFLOP/s in products of {_name(rate_dtype)}")


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating point operations per second of square products of random numbers."""
    kind = torch.device(device).type
    size, repeats = RATE_SIZE[kind], RATE_REPEATS[kind]
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    a @ b
    _wait(kind)
    begin = time.perf_counter()
    for _ in range(repeats):
        a @ b
    _wait(kind)
    return 2.0 * size**3 * repeats / (time.perf_counter() - begin)


def _check_products(device: str, dtype: torch.dtype) -> str:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(PROBE, PROBE, generator=generator).to(dtype) for _ in range(2))
    expected = a.double() @ b.double()
    found = (a.to(device) @ b.to(device)).cpu().double()
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error <= LIMITS[dtype]:  # also where it is not a number
        raise DeviceError(
            f"{device_name(device)}: products in {_name(dtype)} are wrong by {error:.1e}",
            "Take another device; this one, its driver or its torch is faulty.",
        )
    return f"products are right, largest relative error {error:.0e}"


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]


def _wait(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()
