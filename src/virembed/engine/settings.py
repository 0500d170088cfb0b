"""Device, precision and token budget: each chosen in one place, with the reason.

A thing that was asked for is used or refused; only "auto" chooses.
"""

from __future__ import annotations

import torch

from virembed.contracts import Choice
from virembed.errors import DeviceError, UsageError

AUTO = "auto"
PRECISIONS = {"fp32": torch.float32}
CPU_TOKENS_PER_PACK = 4096


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
    """The type of the matrix products; everything else is fp32 anyway."""
    if requested == AUTO:
        return Choice("fp32", f"auto: full precision on {device}")
    if requested not in PRECISIONS:
        raise UsageError(
            f"--precision {requested}: not available", f"Give {AUTO} or {', '.join(PRECISIONS)}."
        )
    return Choice(requested, "asked for")


def choose_tokens_per_pack(requested: int, device: str) -> Choice:
    """T, the tokens of every pack; 0 for automatic."""
    if requested:
        return Choice(str(requested), "asked for")
    return Choice(
        str(CPU_TOKENS_PER_PACK), f"auto: large enough for matrix products to be fast on {device}"
    )


def _require_gpu(requested: str, index: int) -> None:
    remedy = (
        "Inside a container add --nv (Apptainer, Singularity) or --gpus all (Docker), under Slurm "
        "ask for one with --gres=gpu:1; or run with --device cpu."
    )
    if not torch.cuda.is_available():
        raise DeviceError(f"--device {requested}: torch sees no GPU", remedy)
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {requested}: only {torch.cuda.device_count()} GPUs are visible", remedy
        )
