"""Device, precision and token budget: each chosen in one place, with the reason.

A thing that was asked for is used or refused; only "auto" chooses.
"""

from __future__ import annotations

import pynvml
import torch

from virembed.contracts import Choice
from virembed.engine.planner import OVERSIZE_STEP
from virembed.errors import DeviceError, UsageError

AUTO = "auto"
PRECISIONS = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,  # with a scale for each row; what comes out is fp16
}
# What an item is embedded with again whose vector came out not finite.
WIDER = {"fp8": ("bf16", "fp32"), "fp16": ("bf16", "fp32"), "bf16": ("fp32",), "fp32": ()}
FP8_CAPABILITY = (8, 9)
CPU_TOKENS_PER_PACK = 4096
PACK_BYTES = 2**30  # activations of a pack; from here on, larger products are not faster
MAX_TOKENS_PER_PACK = 65536
MEMORY_SHARE = 0.5  # of the free memory, for the estimate knows the largest tensors only


def choose_device(requested: str) -> Choice:
    """A torch device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: a GPU was asked for and there is none to see. Never falls back to the CPU.
    """
    if requested == AUTO:
        if torch.cuda.is_available():
            return Choice("cuda:0", "auto: a GPU is visible")
        return Choice("cpu", "auto: no GPU is visible")
    try:
        device = torch.device(requested)
    except RuntimeError:
        raise UsageError(
            f"--device {requested}: there is no such device", "Give auto, cpu, cuda or cuda:N."
        ) from None
    if device.type == "cuda":
        _require_gpu(requested, device.index or 0)
        return Choice(f"cuda:{device.index or 0}", "asked for")
    return Choice(device.type, "asked for")


def device_name(device: str) -> str:
    """What the device is called by its maker; "cpu" for the processor."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def choose_precision(requested: str, device: str) -> Choice:
    """The type of the matrix products; everything else is fp32 anyway.

    Raises:
        UsageError: there is no such precision.
        DeviceError: fp8 was asked for, and the device does not have it.
    """
    if requested == AUTO:
        if device.startswith("cuda"):
            return Choice("fp16", "auto: eight times as precise as bf16, and overflow is caught")
        return Choice("fp32", f"auto: full precision on {device}")
    if requested not in PRECISIONS:
        raise UsageError(
            f"--precision {requested}: not available", f"Give {AUTO} or {', '.join(PRECISIONS)}."
        )
    if requested == "fp8":
        _require_fp8(device)
    return Choice(requested, "asked for")


def set_up_products() -> None:
    """fp32 products are fp32, and sums of fp16 products are never rounded to fp16 on the way."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def choose_tokens_per_pack(requested: int, device: str, *, bytes_per_token: int = 0) -> Choice:
    """T, the tokens of every pack; 0 for automatic.

    Args:
        bytes_per_token: what a forward pass takes at its peak, weights loaded already
    """
    if requested:
        return Choice(str(requested), "asked for")
    if not device.startswith("cuda"):
        return Choice(
            str(CPU_TOKENS_PER_PACK),
            f"auto: large enough for matrix products to be fast on {device}",
        )
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return gpu_tokens_per_pack(free_bytes=free_bytes, bytes_per_token=bytes_per_token)


def gpu_tokens_per_pack(*, free_bytes: int, bytes_per_token: int) -> Choice:
    """The largest power of two whose activations take 1 GiB, or half of the free memory if that
    is less: 16384 for ESM-2 3B, 32768 for DNABERT-S."""
    at_hand = int(MEMORY_SHARE * free_bytes)
    reason = "auto: activations of 1 GiB, larger products are not faster"
    if at_hand < PACK_BYTES:
        reason = f"auto: half of the memory at hand, {free_bytes / 2**30:.1f} GiB free"
    tokens = MAX_TOKENS_PER_PACK
    while tokens * bytes_per_token > min(PACK_BYTES, at_hand) and tokens > OVERSIZE_STEP:
        tokens //= 2
    return Choice(str(tokens), reason)


def _require_fp8(device: str) -> None:
    found = "a CPU"
    if device.startswith("cuda"):
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) >= FP8_CAPABILITY:
            return
        found = f"{device_name(device)} of compute capability {major}.{minor}"
    needed = ".".join(map(str, FP8_CAPABILITY))
    raise DeviceError(
        f"--precision fp8: {device} is {found}, and fp8 products need a GPU of compute capability "
        f"{needed} or newer (Ada, Hopper, Blackwell)",
        "Take another GPU or leave the option out.",
    )


def _require_gpu(requested: str, index: int) -> None:
    remedy = (
        "Inside a container add --nv (Apptainer, Singularity) or --gpus all (Docker), under Slurm "
        "ask for one with --gres=gpu:1; or run with --device cpu."
    )
    if not torch.cuda.is_available():
        driver, needed = driver_cuda(), torch.version.cuda
        if driver and needed and driver < tuple(int(part) for part in needed.split(".")):
            raise DeviceError(
                f"--device {requested}: the NVIDIA driver is too old: it knows CUDA "
                f"{driver[0]}.{driver[1]}, and this torch needs {needed}",
                "Update the driver, or install a torch for an older CUDA (docs/clusters.md).",
            )
        raise DeviceError(f"--device {requested}: torch sees no GPU", remedy)
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {requested}: only {torch.cuda.device_count()} GPUs are visible", remedy
        )


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver of this machine knows, such as (12, 4); None without one."""
    try:
        pynvml.nvmlInit()
        version = int(pynvml.nvmlSystemGetCudaDriverVersion())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return version // 1000, version % 1000 // 10
