from __future__ import annotations

import json
import socket

import pytest
import torch

from tests.steps import Weights, call
from virembed.engine import diagnosis
from virembed.errors import DeviceError


def test_the_doctor_finds_a_healthy_cpu_and_weights(tiny_weights: Weights, capsys):
    arguments = [f"--weights={directory}" for directory in tiny_weights.converted.values()]
    assert call("doctor", "--device", "cpu", *arguments) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 10
    assert "products are right" in out
    assert out.count("RANDOM NUMBERS, checksums right") == 2


def test_a_device_that_computes_wrongly_is_refused(monkeypatch):
    monkeypatch.setitem(diagnosis.LIMITS, torch.float32, -1.0)
    with pytest.raises(DeviceError, match="fp32 are wrong"):
        list(diagnosis.diagnose("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_the_doctor_names_the_missing_flag(capsys):
    assert call("doctor", "--device", "cuda") == 5
    assert "--gres=gpu:1" in capsys.readouterr().err


def test_the_doctor_finds_damaged_weights(tiny_weights: Weights, tmp_path, capsys):
    source = tiny_weights.converted["esm2"]
    for path in source.iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= path.suffix == ".safetensors"
        (tmp_path / path.name).write_bytes(content)
    assert call("doctor", "--device", "cpu", "--weights", tmp_path) == 4
    assert "model.safetensors" in capsys.readouterr().err


def test_the_doctor_writes_what_programs_read(tiny_weights: Weights, tmp_path, capsys):
    out, weights = tmp_path / "doctor.json", tiny_weights.converted["esm2"]
    assert call("doctor", "--device", "cpu", "--weights", weights, "--out", out) == 0
    told, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert told["format"] == "virembed.doctor/1"
    assert (told["device"], told["kind"], told["precision"]) == ("cpu", "cpu", "fp32")
    assert f"{told['tflops']:,.2f} TFLOP/s" in shown
    assert told["product_errors"]["fp32"] < 1e-5
    assert told["kernels"]["rotation"] == ["dense"]
    assert told["weights"] == {"esm2": "esm2_t4_tiny_random"}
    assert socket.gethostname() not in out.read_text()


def test_the_rate_is_that_of_products_after_the_device_has_settled(monkeypatch):
    """On a device whose products take 1 ms until it has settled, and 2 ms from then on."""
    now = 0.0

    def five_products(_kind: str) -> None:
        nonlocal now
        now += 5 * (0.001 if now < 1 else 0.002)

    monkeypatch.setattr(diagnosis, "_wait", five_products)
    monkeypatch.setattr(diagnosis.time, "perf_counter", lambda: now)
    monkeypatch.setitem(diagnosis.RATE_SIZE, "cpu", 8)
    monkeypatch.setitem(diagnosis.SETTLE_S, "cpu", 1.0)
    assert diagnosis.matmul_rate("cpu", torch.float32) == pytest.approx(2 * 8**3 / 0.002)


def test_no_file_is_left_by_a_doctor_without_a_device(tmp_path):
    assert call("doctor", "--device", "cuda:99", "--out", tmp_path / "doctor.json") == 5
    assert not (tmp_path / "doctor.json").exists()
