"""The model families, one row each, and how a weights directory becomes an encoder.

A new model is one file like `esm2.py` and one row in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch

from virembed.contracts import Choice, Encoder, Tokenizer
from virembed.errors import WeightsError
from virembed.layout import DNABERTS, ESM2
from virembed.models import dnaberts, esm2
from virembed.models.attention import ATTENTION, AttentionFunction, choose_attention
from virembed.models.fp8 import half_of
from virembed.models.kernels import has_triton
from virembed.models.tokenizers import DnabertsTokenizer, Esm2Tokenizer
from virembed.models.weights import Shapes, SourceFormat, Tensors, read_tensors
from virembed.weights_info import TOKENIZER, WeightsInfo, read_info


class EncoderFactory(Protocol):
    def __call__(
        self,
        tensors: Tensors,
        *,
        info: WeightsInfo,
        dtype: torch.dtype,
        attention: AttentionFunction,
    ) -> Encoder: ...


@dataclass(frozen=True, slots=True)
class Family:
    """What the loader and the converter need to know about a model.

    encoder:           builds it from its tensors
    tokenizer:         reads it from a weights directory
    tensor_shapes:     what the directory must hold
    formats:           what it may be converted from
    companion_files:   copied along from beside the source weights
    """

    encoder: EncoderFactory
    tokenizer: Callable[[Path, WeightsInfo], Tokenizer]
    tensor_shapes: Callable[[WeightsInfo], Shapes]
    formats: Mapping[str, SourceFormat]
    companion_files: tuple[str, ...] = ()


def _esm2_tokenizer(_directory: Path, _info: WeightsInfo) -> Tokenizer:
    return Esm2Tokenizer()


def _dnaberts_tokenizer(directory: Path, info: WeightsInfo) -> Tokenizer:
    path = directory / TOKENIZER
    tokenizer = DnabertsTokenizer(path)
    if tokenizer.vocab_size > info.vocab_size:
        raise WeightsError(
            f"{path}: has {tokenizer.vocab_size} tokens, the model only {info.vocab_size}",
            "Take weights and tokenizer.json from the same place.",
        )
    return tokenizer


FAMILIES: dict[str, Family] = {
    ESM2.name: Family(
        encoder=esm2.Esm2.from_tensors,
        tokenizer=_esm2_tokenizer,
        tensor_shapes=esm2.tensor_shapes,
        formats=esm2.FORMATS,
    ),
    DNABERTS.name: Family(
        encoder=dnaberts.Dnaberts.from_tensors,
        tokenizer=_dnaberts_tokenizer,
        tensor_shapes=dnaberts.tensor_shapes,
        formats=dnaberts.FORMATS,
        companion_files=(TOKENIZER,),
    ),
}


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """attention: the kernel the encoder runs with, and why."""

    encoder: Encoder
    tokenizer: Tokenizer
    info: WeightsInfo
    attention: Choice


def import_kernels(device: str) -> None:
    """Imports what running on a device needs, Triton above all, without touching the device."""
    if device.startswith("cuda") and has_triton():
        import_module("virembed.models.triton_linear")
        import_module("virembed.models.triton_attention")
        # A hash of all of Triton is part of the name of each compiled kernel: a third of a second.
        # It is remembered, and made with the first kernel by a Triton that has it elsewhere.
        getattr(import_module("triton.runtime.cache"), "triton_key", lambda: None)()


def load_encoder(
    weights: Path,
    *,
    model: str,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
) -> LoadedEncoder:
    """The encoder of a weights directory, ready to run on `device`.

    model:      a key of `FAMILIES`
    dtype:      of the products: fp32, fp16, bf16, or e4m3 (see `virembed.models.fp8`)
    attention:  "auto" or a key of `ATTENTION`

    Names and shapes are checked, checksums are not: `verify_checksums` reads every byte and may
    run beside the first packs.

    Raises:
        WeightsError: the directory is missing, damaged, or holds another model.
        UsageError: there is no such attention kernel.
        DeviceError: torch has no fp8 products for this device.
    """
    info = read_info(weights)
    if info.model != model:
        raise WeightsError(
            f"{weights}: holds {info.model} weights, {model} asked for",
            f"Give the directory that `virembed weights convert --model {model}` made.",
        )
    family = FAMILIES[model]
    alibi = model == DNABERTS.name
    choice = choose_attention(attention, device.type, dtype=half_of(dtype), alibi=alibi)
    tensors = read_tensors(weights, shapes=family.tensor_shapes(info), device=device)
    encoder = family.encoder(tensors, info=info, dtype=dtype, attention=ATTENTION[choice.value])
    return LoadedEncoder(encoder, family.tokenizer(weights, info), info, choice)
