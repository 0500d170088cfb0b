"""What an EMBED task tells about itself."""

from __future__ import annotations

import json

import h5py

from tests.steps import DEMO, Sample, Weights, call


def test_a_task_tells_how_it_went(tmp_path, tiny_weights: Weights):
    sample = Sample(tmp_path, tiny_weights)
    assert sample.split(DEMO / "NC_005816.fna.gz") == 0
    chunk = tmp_path / "chunks/dnaberts/S.dnaberts.00000.fna"
    shard, stats = tmp_path / "S.dnaberts.00000.shard.h5", tmp_path / "stats.json"
    weights = tiny_weights.converted["dnaberts"]
    out = ("--out", shard, "--stats", stats, "--device", "cpu")
    assert call("embed", chunk, "--model", "dnaberts", "--weights", weights, *out) == 0
    told = json.loads(stats.read_text())
    with h5py.File(shard) as file:
        stored = json.loads(file.attrs["origin"])
        num_tokens = int(file["num_tokens"][:].sum())
    assert {name: told[name] for name in stored} == stored
    assert set(told["reasons"]) == {"device", "precision", "attention", "tokens_per_pack"}
    assert told["samples"][-1]["tokens"] == num_tokens
    assert set(told["seconds"]) == {"wait", "load", "tokenize", "loop", "checksums"}
    assert told["write_s"] > 0
    assert told["device"] == "cpu"
    assert told["num_halvings"] == 0


def test_fp8_without_a_gpu_is_one_line_and_exit_code_5(tmp_path, tiny_weights: Weights, capsys):
    sample = Sample(tmp_path, tiny_weights)
    assert sample.split(DEMO / "NC_005816.fna.gz") == 0
    chunk, shard = tmp_path / "chunks/esm2/S.esm2.00000.faa", tmp_path / "S.shard.h5"
    weights = tiny_weights.converted["esm2"]
    fp8 = ("--out", shard, "--device", "cpu", "--precision", "fp8")
    capsys.readouterr()
    assert call("embed", chunk, "--model", "esm2", "--weights", weights, *fp8) == 5
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cpu is a CPU" in error
    assert not shard.exists()
