"""Is this device fit to embed? What it is, are its products right, and how fast are they?"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pynvml
import torch

from virembed.engine.settings import device_name
from virembed.errors import DeviceError

PROBE = 256  # size of the product that is compared with the processor's
RATE_SIZE = {"cuda": 8192, "cpu": 1024}
# A card at its power limit lowers its clock within seconds: an H200 begins with 780 TFLOP/s and
# holds 650.
SETTLE_S = {"cuda": 3.0, "cpu": 0.2}
RATE_S = {"cuda": 2.0, "cpu": 0.5}
# of products of numbers about 1 summed over 256, relative to their size
LIMITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the diagnosis, and the same for programs: facts by name."""

    subject: str
    result: str
    facts: dict[str, Any] = field(default_factory=dict)


def diagnose(device: str) -> Iterator[Finding]:
    """What is known of a device, then what was measured on it.

    Raises:
        DeviceError: its products are wrong.
    """
    kind = torch.device(device).type
    software = {"python": platform.python_version(), "torch": str(torch.__version__)}
    yield Finding("software", f"Python {software['python']}, torch {software['torch']}", software)
    name = device_name(device)
    yield Finding("device", f"{name} ({device})", {"device": name, "kind": kind})
    if kind == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        major, minor = torch.cuda.get_device_capability(device)
        yield Finding(
            "memory",
            f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB",
            {"memory_bytes": total, "free_bytes": free},
        )
        driver = _driver()
        yield Finding(
            "CUDA",
            f"{torch.version.cuda}, driver {driver}, compute capability {major}.{minor}",
            {
                "cuda": torch.version.cuda,
                "driver": driver,
                "compute_capability": f"{major}.{minor}",
            },
        )
    errors: dict[str, float] = {}
    for dtype in LIMITS if kind == "cuda" else (torch.float32,):
        errors[_name(dtype)] = error = _check_products(device, dtype)
        yield Finding(
            _name(dtype),
            f"products are right, largest relative error {error:.0e}",
            {"product_errors": errors},
        )
    rate_dtype = torch.float16 if kind == "cuda" else torch.float32
    tflops = matmul_rate(device, rate_dtype) / 1e12
    yield Finding(
        "speed",
        f"{tflops:,.2f} TFLOP/s in products of {_name(rate_dtype)}",
        {"tflops": tflops, "precision": _name(rate_dtype), "threads": torch.get_num_threads()},
    )


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Floating point operations per second of square products of random numbers, sustained."""
    kind = torch.device(device).type
    size = RATE_SIZE[kind]
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    _repeat(a, b, seconds=SETTLE_S[kind])
    return 2.0 * size**3 * _repeat(a, b, seconds=RATE_S[kind])


def _repeat(a: torch.Tensor, b: torch.Tensor, *, seconds: float) -> float:
    """Products per second over at least so many seconds."""
    begin, products = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds or not products:
        for _ in range(5):
            a @ b
        _wait(a.device.type)
        products += 5
    return products / elapsed


def _driver() -> str:
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as error:
        return f"unknown ({error})"


def _check_products(device: str, dtype: torch.dtype) -> float:
    """The largest error, relative to the largest number."""
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
    return error


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]


def _wait(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()
