from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from virembed.engine import monitor
from virembed.engine.monitor import Monitor


def test_tokens_are_sampled_without_a_gpu():
    with Monitor(None, sample_s=0.01) as watch:
        watch.progress(1, 70)
        time.sleep(0.05)
        watch.progress(2, 90)
    tokens = [sample.tokens for sample in watch.samples]
    assert tokens[0] == 70
    assert tokens[-1] == 90
    assert watch.summary() == {}
    assert watch.series()[-1]["busy_percent"] is None


@pytest.fixture
def driver(monkeypatch):
    """The calls of NVML, answered as a driver would."""
    state = SimpleNamespace(open=0, load=iter([0, 90, 100, 98, 96, 10] + [10] * 1000))

    def count(step):
        state.open += step

    answers = {
        "nvmlInit": lambda: count(1),
        "nvmlShutdown": lambda: count(-1),
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=next(state.load)),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=5 << 30),
        "nvmlDeviceGetPowerUsage": lambda _: 612_300,
        "nvmlDeviceGetClockInfo": lambda _, kind: 1700,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(monitor.pynvml, name, answer)
    return state


def test_the_driver_is_asked_and_let_go(driver):
    with Monitor("GPU-1", sample_s=0.01) as watch:
        while len(watch.samples) < 4:
            time.sleep(0.005)
    summary = watch.summary()
    assert driver.open == 0
    assert summary["driver"] == "580.1"
    assert summary["busy_percent"] >= 90 or len(watch.samples) > 6
    assert summary["peak_memory_bytes"] == 5 << 30
    assert summary["power_w"] == 612.3


def test_the_monitor_ends_with_an_error_in_the_loop(driver):
    with pytest.raises(ValueError, match="loop"), Monitor("GPU-1", sample_s=10):
        raise ValueError("loop")
    assert driver.open == 0
