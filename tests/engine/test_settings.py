from __future__ import annotations

import pytest
import torch

from virembed.engine.settings import (
    PRECISIONS,
    WIDER,
    choose_device,
    choose_precision,
    choose_tokens_per_pack,
    gpu_tokens_per_pack,
)
from virembed.errors import DeviceError, UsageError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


@no_gpu
@pytest.mark.parametrize(("requested", "value"), [("auto", "cpu"), ("cpu", "cpu")])
def test_the_cpu_is_chosen_with_a_reason(requested, value):
    choice = choose_device(requested)
    assert choice.value == value
    assert choice.reason


@no_gpu
@pytest.mark.parametrize("requested", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_an_error_that_names_the_flags(requested):
    with pytest.raises(DeviceError, match=r"--nv.*--gpus all.*--gres=gpu:1"):
        choose_device(requested)


@no_gpu
def test_a_driver_older_than_torch_wants_is_named_with_both_numbers(monkeypatch):
    monkeypatch.setattr("pynvml.nvmlInit", lambda: None)
    monkeypatch.setattr("pynvml.nvmlShutdown", lambda: None)
    monkeypatch.setattr("pynvml.nvmlSystemGetCudaDriverVersion", lambda: 12040)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    with pytest.raises(DeviceError, match=r"too old: it knows CUDA 12\.4, .* needs 13\.0"):
        choose_device("cuda")


@pytest.mark.parametrize("requested", ["gpu", "", "cuda:x"])
def test_a_device_of_another_name_is_refused(requested):
    with pytest.raises(UsageError, match="no such device"):
        choose_device(requested)


def test_a_precision_is_taken_or_refused():
    assert choose_precision("auto", "cpu").value == "fp32"
    assert choose_precision("fp32", "cpu").reason == "asked for"
    with pytest.raises(UsageError, match="fp4: not available"):
        choose_precision("fp4", "cpu")


def test_fp8_is_for_devices_that_have_it(monkeypatch):
    with pytest.raises(DeviceError, match=r"fp8: cpu is a CPU.*capability 8\.9 or newer"):
        choose_precision("fp8", "cpu")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    with pytest.raises(DeviceError, match=r"cuda:0 is Old GPU of compute capability 8\.0"):
        choose_precision("fp8", "cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 9))
    assert choose_precision("fp8", "cuda:0").value == "fp8"


def test_tokens_per_pack_are_chosen_or_taken():
    assert choose_tokens_per_pack(77, "cpu").value == "77"
    assert int(choose_tokens_per_pack(0, "cpu").value) > 0


@pytest.mark.parametrize(
    ("free_bytes", "bytes_per_token", "tokens"),
    [
        (80 * 2**30, 40960, 16384),  # ESM-2 3B
        (80 * 2**30, 24576, 32768),  # DNABERT-S
        (80 * 2**30, 1000, 65536),
        (2 * 16384 * 40960 - 1, 40960, 8192),
        (1, 40960, 1024),
    ],
)
def test_packs_of_a_gpu_follow_from_memory(free_bytes, bytes_per_token, tokens):
    choice = gpu_tokens_per_pack(free_bytes=free_bytes, bytes_per_token=bytes_per_token)
    assert int(choice.value) == tokens
    assert ("GiB free" in choice.reason) == (free_bytes < 2**31)


def test_every_precision_has_wider_ones_up_to_fp32():
    for precision in PRECISIONS:
        assert (precision, *WIDER[precision])[-1] == "fp32"
    assert choose_precision("auto", "cuda:0").value == "fp16"
