"""What is made of the samples of a GPU: stalls, series, lanes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from virembed.errors import IncompleteError
from virembed.report.tasks import device_seconds, read_tasks
from virembed.report.timeline import lay_out


def gpu_stats(number: int, *, gpu: str = "GPU-1", started: str = "10:00:00") -> dict:
    """Ten seconds of loop with two seconds of waiting in it, as `embed --stats` writes them."""
    busy = [40, 99, 99, 20, 30, 99, 99, 99, 99, 10]
    return {
        "model": "esm2",
        "weights": "esm2_t36_3B_UR50D",
        "started": f"2026-11-22T{started}.000+00:00",
        "gpu": gpu,
        "num_items": 1000,
        "num_tokens": 100_000,
        "chunk": f"S.1.esm2.{number:05d}",
        "device": "NVIDIA H200",
        "seconds": {"load": 4.0, "tokenize": 1.0, "loop": 10.0, "held": 15.0},
        "num_packs": 8,
        "num_halvings": 0,
        "fill_tokens": 2_000,
        "monitor": {
            "driver": "580.1",
            "busy_percent": 80.5,
            "power_w": 610.0,
            "clock_mhz": 1700.0,
            "peak_memory_bytes": 12_000_000_000,
        },
        "samples": [
            {
                "seconds": second + 1.0,
                "tokens": 10_000 * (second + 1),
                "busy_percent": percent,
                "memory_bytes": 12_000_000_000,
                "power_w": 610.0,
                "clock_mhz": 1700,
            }
            for second, percent in enumerate(busy)
        ],
    }


def read(tmp_path: Path, *stats: dict) -> list[dict]:
    for each in stats:
        (tmp_path / f"{each['chunk']}.stats.json").write_text(json.dumps(each))
    return read_tasks(sorted(tmp_path.iterdir()))


def test_a_task_is_told_with_its_stalls(tmp_path):
    (task,) = read(tmp_path, gpu_stats(0))
    assert (task["task"], task["sample"]) == ("S.1.esm2.00000", "S.1")
    assert task["tokens_per_s"] == 10_000
    assert task["stalled_s"] == 2.0  # start and end of the loop do not count
    assert task["peak_memory_gb"] == 12.0
    assert task["fill_percent"] == pytest.approx(100 * 2 / 102)
    assert task["series"]["tokens_per_s"] == [10_000.0] * 10
    assert task["series"]["busy_percent"][3:5] == [20.0, 30.0]


def test_long_series_are_averaged(tmp_path):
    stats = gpu_stats(0)
    first = stats["samples"][0]
    stats["samples"] = [
        first | {"seconds": float(i), "tokens": 50 * i, "busy_percent": i % 2 * 100}
        for i in range(1, 601)
    ]
    (task,) = read(tmp_path, stats)
    assert task["series"]["tokens_per_s"] == [50.0] * 60
    assert task["series"]["busy_percent"] == [50.0] * 60
    assert task["series"]["seconds"][-1] == 600


def test_devices_have_lanes_and_long_pauses_are_cut_out(tmp_path):
    tasks = read(
        tmp_path,
        gpu_stats(0),
        gpu_stats(1, gpu="GPU-2"),
        gpu_stats(2, started="10:00:15"),
        gpu_stats(3, started="16:00:00"),
    )
    lanes = lay_out(tasks)
    assert [name for name, _ in lanes.lanes] == ["GPU 1", "GPU 2"]
    bars = [(left, width) for left, width, _ in lanes.lanes[0][1]]
    third = 100 / 3  # 15 s each, of 45 s in which a task ran
    assert bars == [pytest.approx((start * third, third), abs=0.01) for start in range(3)]
    assert lanes.pauses == [(pytest.approx(2 * third, abs=0.01), 6 * 3600 - 30)]
    assert device_seconds(tasks)["esm2"] == {
        "tasks": 4,
        "held_s": 60.0,
        "loop_s": 40.0,
        "num_tokens": 400_000,
    }


@pytest.mark.parametrize("content", ["", "[]", '{"chunk": 1}', "{"])
def test_other_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "x.stats.json").write_text(content)
    with pytest.raises(IncompleteError, match=r"x\.stats\.json"):
        read_tasks(tmp_path.iterdir())
