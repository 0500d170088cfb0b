"""What an EMBED task tells about itself."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from contextlib import contextmanager

import h5py

from tests.steps import DEMO, Sample, Weights, call
from virembed import embed
from virembed.contracts import Choice


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
    assert set(told["seconds"]) == {"wait", "load", "tokenize", "loop", "held", "checksums"}
    assert told["write_s"] > 0
    assert told["device"] == "cpu"
    assert told["num_halvings"] == 0


def test_a_device_is_given_back_empty_before_the_checksums_are_done(
    tmp_path, tiny_weights: Weights, monkeypatch
):
    sample = Sample(tmp_path, tiny_weights)
    assert sample.split(DEMO / "NC_005816.fna.gz") == 0
    encoders: list[weakref.ref] = []
    given_back = threading.Event()
    load, verify = embed.load_encoder, embed.verify_checksums

    def loading(*arguments, **options):
        loaded = load(*arguments, **options)
        encoders.append(weakref.ref(loaded.encoder))
        return loaded

    @contextmanager
    def taking(requested, waiting):
        yield Choice("cpu", "asked for")
        gc.collect()
        assert [encoder() for encoder in encoders] == [None]
        given_back.set()

    def verifying(*arguments):
        assert given_back.wait(60)
        verify(*arguments)

    monkeypatch.setattr(embed, "load_encoder", loading)
    monkeypatch.setattr(embed, "take_device", taking)
    monkeypatch.setattr(embed, "verify_checksums", verifying)
    chunk, shard = tmp_path / "chunks/esm2/S.esm2.00000.faa", tmp_path / "S.shard.h5"
    weights = tiny_weights.converted["esm2"]
    assert call("embed", chunk, "--model", "esm2", "--weights", weights, "--out", shard) == 0
    assert shard.exists()


def test_what_needs_no_gpu_is_done_before_one_is_taken():
    program = """
from virembed.models.registry import import_kernels
import_kernels("cuda:0")
import torch
from triton.runtime.cache import triton_key
assert triton_key.cache_info().currsize == 1
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


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
