"""Conversion: every published format gives the same tensors, and everything else is refused."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from virembed.errors import UsageError, WeightsError
from virembed.models.convert import convert
from virembed.models.weights import verify_checksums
from virembed.weights_info import read_info

from .packs import GOLDEN
from .published import Tensors, hugging_face

ESM2_PT = GOLDEN / "esm2-tiny" / "esm2_t4_tiny.pt"
ESM2_HF = GOLDEN / "esm2-tiny" / "hf"
DNABERTS = GOLDEN / "dnaberts-tiny"
ROTARY = "attention.self.rotary_embeddings.inv_freq"
Change = Callable[[Tensors], Tensors]


def read_pt() -> dict[str, Any]:
    with torch.serialization.safe_globals([argparse.Namespace]):
        content: dict[str, Any] = torch.load(ESM2_PT, weights_only=True)
    return content


def stored(directory: Path) -> Tensors:
    return load_file(directory / "model.safetensors")


def same(ours: Tensors, theirs: Tensors) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].float(), theirs[name].float()) for name in ours
    )


@pytest.mark.parametrize("form", ["safetensors", "bin", "sharded safetensors", "sharded bin"])
@pytest.mark.parametrize("source", [ESM2_HF, DNABERTS], ids=["esm2", "dnaberts"])
def test_every_form_of_file_gives_the_same_bytes(tmp_path: Path, source: Path, form: str) -> None:
    expected = convert(source, model="auto", out=tmp_path / "expected")
    tensors = load_file(source / "model.safetensors")
    given = hugging_face(source, tmp_path / "source", tensors=tensors, form=form)
    info = convert(given, model="auto", out=tmp_path / "out")
    assert info.files == expected.files
    assert (info.model, info.config) == (expected.model, expected.config)
    verify_checksums(tmp_path / "out", info)


def test_fair_esm_and_hugging_face_files_hold_the_same_numbers(tmp_path: Path) -> None:
    pt = convert(ESM2_PT, model="esm2", out=tmp_path / "pt")
    hf = convert(ESM2_HF, model="esm2", out=tmp_path / "hf")
    assert same(stored(tmp_path / "pt"), stored(tmp_path / "hf"))
    assert pt.config == hf.config
    assert (pt.num_layers, pt.dim, pt.num_heads, pt.ffn_dim) == (4, 64, 4, 256)


def test_the_dtype_stays_as_stored(tmp_path: Path) -> None:
    convert(ESM2_PT, model="esm2", out=tmp_path / "pt")
    convert(ESM2_HF, model="esm2", out=tmp_path / "hf")
    assert {t.dtype for t in stored(tmp_path / "pt").values()} == {torch.float16}
    assert {t.dtype for t in stored(tmp_path / "hf").values()} == {torch.float32}


def without_rotary(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if ROTARY not in name}


def one_rotary(name: str) -> Change:
    def change(tensors: Tensors) -> Tensors:
        inv_freq = tensors[f"esm.encoder.layer.0.{ROTARY}"]
        return {**without_rotary(tensors), name: inv_freq}

    return change


def without_prefix(tensors: Tensors) -> Tensors:
    """As `EsmModel` saves, with a pooler."""
    bare = {n.removeprefix("esm."): t for n, t in tensors.items() if n.startswith("esm.")}
    return {**bare, "pooler.dense.weight": torch.ones(64, 64), "pooler.dense.bias": torch.ones(64)}


def with_unused(tensors: Tensors) -> Tensors:
    return {
        **tensors,
        "esm.embeddings.position_embeddings.weight": torch.ones(1026, 64),
        "esm.embeddings.position_ids": torch.arange(1026),
        "lm_head.decoder.weight": torch.ones(33, 64),
    }


@pytest.mark.parametrize(
    "change",
    [
        without_prefix,
        with_unused,
        one_rotary("esm.rotary_embeddings.inv_freq"),
        one_rotary(f"esm.encoder.layer.*.{ROTARY}"),  # transformers 5.23 writes this star
    ],
)
def test_variants_of_hugging_face_esm2_names(tmp_path: Path, change: Change) -> None:
    expected = convert(ESM2_HF, model="esm2", out=tmp_path / "expected")
    tensors = change(load_file(ESM2_HF / "model.safetensors"))
    source = hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors)
    assert convert(source, model="auto", out=tmp_path / "out").sha256 == expected.sha256


def test_dnabert_files_with_prefix_and_other_heads(tmp_path: Path) -> None:
    expected = convert(DNABERTS, model="dnaberts", out=tmp_path / "expected")
    masked_lm = torch.load(DNABERTS / "pytorch_model.mlm.bin", weights_only=True)
    tensors = torch.load(DNABERTS / "pytorch_model.bin", weights_only=True)
    classifier = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    classifier |= {"classifier.weight": torch.ones(2, 64), "classifier.bias": torch.ones(2)}
    for number, variant in enumerate((masked_lm, classifier)):
        to = tmp_path / f"source{number}"
        source = hugging_face(DNABERTS, to, tensors=variant, form="bin")
        info = convert(source, model="auto", out=tmp_path / f"out{number}")
        assert info.sha256 == expected.sha256


def test_a_single_file_a_directory_of_it_and_an_index_can_be_given(tmp_path: Path) -> None:
    expected = convert(ESM2_HF, model="auto", out=tmp_path / "expected").sha256
    single = convert(ESM2_HF / "model.safetensors", model="auto", out=tmp_path / "single")
    assert single.sha256 == expected
    tensors = load_file(ESM2_HF / "model.safetensors")
    hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors, form="sharded bin")
    index = tmp_path / "source" / "pytorch_model.bin.index.json"
    assert convert(index, model="auto", out=tmp_path / "index").sha256 == expected
    pt = convert(ESM2_PT, model="auto", out=tmp_path / "pt")
    assert convert(ESM2_PT.parent, model="auto", out=tmp_path / "dir").sha256 == pt.sha256


def test_the_card_says_what_it_is_and_where_it_comes_from(tmp_path: Path) -> None:
    info = convert(DNABERTS, model="auto", out=tmp_path / "out", name="DNABERT-S")
    assert read_info(tmp_path / "out") == info
    assert (info.model, info.name, info.random) == ("dnaberts", "DNABERT-S", False)
    assert sorted(info.files) == ["model.safetensors", "tokenizer.json"]
    assert sorted(info.source) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert info.config == {"layer_norm_eps": 1e-12}
    assert convert(ESM2_PT, model="auto", out=tmp_path / "esm2").name == "esm2_t4_tiny"


def test_others_can_read_the_files_and_nothing_is_left_beside(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        convert(DNABERTS, model="auto", out=tmp_path / "out")
    finally:
        os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert modes == {0o644}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        convert(ESM2_PT, model="auto", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- refusals: always a WeightsError, and no directory ----


def refused(source: Path, tmp_path: Path, *, model: str = "auto") -> str:
    with pytest.raises(WeightsError) as error:
        convert(source, model=model, out=tmp_path / "refused")
    assert not list(tmp_path.glob("*refused*"))
    assert error.value.exit_code == 4
    return str(error.value)


def test_all_wrong_tensors_are_named_in_one_error(tmp_path: Path) -> None:
    tensors = load_file(DNABERTS / "model.safetensors")
    del tensors["encoder.layer.2.mlp.wo.bias"]
    del tensors["embeddings.LayerNorm.bias"]
    tensors["encoder.layer.7.mlp.wo.bias"] = torch.ones(64)
    tensors["encoder.layer.0.surprise.weight"] = torch.ones(3)
    tensors["encoder.layer.1.mlp.wo.weight"] = torch.ones(64, 100)
    message = refused(hugging_face(DNABERTS, tmp_path / "source", tensors=tensors), tmp_path)
    assert (
        "missing: embeddings.LayerNorm.bias, encoder.layer.2.mlp.wo.bias; "
        "unexpected: encoder.layer.0.surprise.weight, encoder.layer.7.mlp.wo.bias; "
        "mis-shaped: encoder.layer.1.mlp.wo.weight [64, 100] instead of [64, 128]"
    ) in message


def test_a_tensor_given_under_two_names_is_unexpected(tmp_path: Path) -> None:
    tensors = load_file(ESM2_HF / "model.safetensors")
    tensors["encoder.emb_layer_norm_after.bias"] = torch.ones(64)
    message = refused(hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors), tmp_path)
    assert "unexpected:" in message
    assert "encoder.emb_layer_norm_after.bias" in message


def test_rotary_frequencies_are_never_made_up(tmp_path: Path) -> None:
    tensors = without_rotary(load_file(ESM2_HF / "model.safetensors"))
    message = refused(hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors), tmp_path)
    assert "missing: layers.0.self_attn.rot_emb.inv_freq, layers.1" in message
    assert "recomputed ones give other vectors" in message


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.999])
@pytest.mark.parametrize("form", ["safetensors", "bin", "pt"])
def test_a_truncated_source(tmp_path: Path, form: str, kept: float) -> None:
    if form == "pt":
        path = tmp_path / "esm2_t4.pt"
        shutil.copy(ESM2_PT, path)
    else:
        tensors = load_file(ESM2_HF / "model.safetensors")
        to = hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors, form=form)
        path = to / ("model.safetensors" if form == "safetensors" else "pytorch_model.bin")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "damaged" in refused(path, tmp_path)


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize("name", ["esm2_t4.pt", "pytorch_model.bin"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    source = tmp_path / "source"
    source.mkdir()
    for companion in ("config.json", "tokenizer.json"):
        shutil.copy(DNABERTS / companion, source)
    content = read_pt()
    content["cfg"]["extra"] = Payload(victim)
    torch.save(content, source / name)
    assert "it was not opened" in refused(source / name, tmp_path)
    assert not victim.exists()


def test_an_index_cannot_point_elsewhere(tmp_path: Path) -> None:
    tensors = load_file(ESM2_HF / "model.safetensors")
    source = hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors, form="sharded bin")
    index = source / "pytorch_model.bin.index.json"
    index.write_text(index.read_text().replace('"pytorch_model-00001', '"../pytorch_model-00001'))
    assert "outside its directory" in refused(source, tmp_path)


def test_a_missing_shard(tmp_path: Path) -> None:
    tensors = load_file(ESM2_HF / "model.safetensors")
    source = hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors, form="sharded bin")
    (source / "pytorch_model-00002-of-00003.bin").unlink()
    assert "00002-of-00003.bin: there is no such file" in refused(source, tmp_path)


def change_config(source: Path, **changes: object) -> None:
    path = source / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"position_embedding_type": "absolute"}, "only 'rotary' is supported"),
        ({"emb_layer_norm_before": True}, "only False is supported"),
        ({"hidden_act": "gelu_new"}, "only 'gelu' is supported"),
        ({"hidden_size": ...}, "lacks 'hidden_size'"),
        ({"model_type": "llama"}, "a model of type 'llama'"),
        ({"num_attention_heads": 8}, "inv_freq [8] instead of [4]"),
        ({"num_hidden_layers": 3}, "unexpected: layers.3."),
        ({"num_hidden_layers": 5}, "missing: layers.4."),
    ],
)
def test_configurations_that_cannot_be_run(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    tensors = load_file(ESM2_HF / "model.safetensors")
    source = hugging_face(ESM2_HF, tmp_path / "source", tensors=tensors)
    change_config(source, **changes)
    assert expected in refused(source, tmp_path)


def test_the_wrong_model_and_no_model(tmp_path: Path) -> None:
    message = refused(ESM2_PT, tmp_path, model="dnaberts")
    assert "holds esm2 weights, dnaberts asked for" in message
    assert "holds dnaberts weights" in refused(DNABERTS, tmp_path, model="esm2")
    assert "there is no such file or directory" in refused(tmp_path / "nothing", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "has 0 .pt files" in refused(tmp_path / "empty", tmp_path)
    torch.save({"weights": torch.ones(3)}, tmp_path / "esm2_other.pt")
    assert "not an ESM-2 checkpoint" in refused(tmp_path / "esm2_other.pt", tmp_path)
    (tmp_path / "lone").mkdir()
    shutil.copy(DNABERTS / "pytorch_model.bin", tmp_path / "lone")
    assert "config.json: there is no such file" in refused(tmp_path / "lone", tmp_path)


def test_dnaberts_needs_its_tokenizer(tmp_path: Path) -> None:
    tensors = load_file(DNABERTS / "model.safetensors")
    source = hugging_face(DNABERTS, tmp_path / "source", tensors=tensors)
    (source / "tokenizer.json").write_text("{}")
    assert "cannot be read as a tokenizer" in refused(source, tmp_path)
    (source / "tokenizer.json").unlink()
    assert "tokenizer.json: there is no such file" in refused(source, tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_has(tmp_path: Path) -> None:
    tensors = load_file(DNABERTS / "model.safetensors")
    word = "embeddings.word_embeddings.weight"
    tensors[word] = tensors[word][:300].clone()
    source = hugging_face(DNABERTS, tmp_path / "source", tensors=tensors)
    change_config(source, vocab_size=300)
    assert "has 384 tokens, the model only 300" in refused(source, tmp_path)
