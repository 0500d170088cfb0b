"""What a device did while it embedded: load, memory, power, clock, tokens, sampled once a second.

A thread reads the driver's own counters (NVML), so that the loop is not disturbed; on a CPU only
tokens are counted. Knows nothing about what is computed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import pynvml

SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """At one moment of the loop; None where there is no GPU.

    seconds:      since the start
    tokens:       embedded so far
    busy_percent: share of the last interval in which a kernel ran
    """

    seconds: float
    tokens: int
    busy_percent: int | None = None
    memory_bytes: int | None = None
    power_w: float | None = None
    clock_mhz: int | None = None


class Monitor:
    """A context around the loop; tell it of progress, ask it for samples afterwards.

    Args:
        uuid: of the GPU as the driver names it, None for a CPU.
    """

    def __init__(self, uuid: str | None, *, sample_s: float = SAMPLE_S) -> None:
        self._uuid, self._sample_s = uuid, sample_s
        self._tokens = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[Sample] = []
        self.driver = ""

    def __enter__(self) -> Monitor:
        self._begin = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def progress(self, items: int, tokens: int) -> None:
        """As the loop reports it."""
        self._tokens = tokens

    def summary(self) -> dict[str, Any]:
        """Means and peaks over the samples but the last, which is that of the end."""
        gpu = [sample for sample in self.samples if sample.busy_percent is not None]
        if not gpu:
            return {}
        inside = gpu[1:-1] or gpu
        return {
            "uuid": self._uuid,
            "driver": self.driver,
            "busy_percent": _mean([sample.busy_percent for sample in inside]),
            "power_w": _mean([sample.power_w for sample in inside]),
            "clock_mhz": _mean([sample.clock_mhz for sample in inside]),
            "peak_memory_bytes": max(sample.memory_bytes or 0 for sample in gpu),
        }

    def series(self) -> list[dict[str, Any]]:
        return [asdict(sample) for sample in self.samples]

    def _run(self) -> None:
        handle = self._open()
        try:
            while True:
                stopped = self._stop.wait(self._sample_s)
                self.samples.append(self._sample(handle))
                if stopped:
                    return
        finally:
            if handle is not None:
                pynvml.nvmlShutdown()

    def _open(self) -> Any:
        if self._uuid is None:
            return None
        pynvml.nvmlInit()
        self.driver = str(pynvml.nvmlSystemGetDriverVersion())
        return pynvml.nvmlDeviceGetHandleByUUID(self._uuid)

    def _sample(self, handle: Any) -> Sample:
        seconds = time.perf_counter() - self._begin
        if handle is None:
            return Sample(seconds, self._tokens)
        return Sample(
            seconds,
            self._tokens,
            busy_percent=pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).used,
            power_w=pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            clock_mhz=pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        )


def _mean(values: list[Any]) -> float:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else 0.0
