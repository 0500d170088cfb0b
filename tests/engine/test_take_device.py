"""Which device a task takes, with the GPUs of a machine made up."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch

from virembed.engine.gpu_lock import gpu_uuid, take_device
from virembed.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Call it with the number of GPUs that are visible."""

    def visible(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda device: SimpleNamespace(uuid=f"uuid-{torch.device(device).index}"),
        )

    monkeypatch.setenv("VIREMBED_GPU_LOCKS", str(tmp_path / "locks"))
    return visible


def test_the_only_gpu_is_one_tasks_at_a_time(gpus):
    gpus(1)
    waited = []

    def give_way():
        waited.append("said")
        first.close()

    first = ExitStack()
    assert first.enter_context(take_device("cuda")).value == "cuda:0"
    with take_device("cuda", waiting=give_way) as device:
        assert device.value == "cuda:0"
    assert waited == ["said"]


@pytest.mark.parametrize("requested", ["cuda", "auto"])
def test_of_several_gpus_each_task_takes_another(gpus, requested):
    gpus(3)
    with ExitStack() as stack:
        taken = [stack.enter_context(take_device(requested)) for _ in range(3)]
        assert sorted(device.value for device in taken) == ["cuda:0", "cuda:1", "cuda:2"]
        assert "first free of 3" in taken[0].reason


def test_a_gpu_given_by_number_is_taken_as_it_is(gpus):
    gpus(3)
    with take_device("cuda:2") as one, take_device("cuda:2") as other:
        assert one.value == other.value == "cuda:2"


def test_a_gpu_that_is_not_there_is_refused(gpus):
    gpus(2)
    with pytest.raises(DeviceError, match="only 2 GPUs"), take_device("cuda:2"):
        pass


def test_without_a_gpu_auto_is_the_cpu(gpus):
    gpus(0)
    with take_device("auto") as device:
        assert device.value == "cpu"
    assert gpu_uuid("cpu") is None
