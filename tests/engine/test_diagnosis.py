from __future__ import annotations

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
