"""Published weights, in whatever format they come, to one weights directory.

The tensors keep their dtype. The directory appears under its name only when everything in it is
on the disk.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from virembed.atomic import fsync
from virembed.checksum import sha256_of
from virembed.errors import UsageError, VirembedError, WeightsError
from virembed.models.checkpoints import Checkpoint, read_checkpoint
from virembed.models.registry import FAMILIES, Family
from virembed.models.weights import SourceFormat, Tensors, check_tensors, rename
from virembed.weights_info import CARD, TENSORS, WeightsInfo, write_info


def convert(source: Path, *, model: str, out: Path, name: str | None = None) -> WeightsInfo:
    """Converts `source` into the new directory `out` and returns its card.

    source:   a fair-esm `.pt`; a Hugging Face directory; or the weights file or shard index in it
    model:    a key of `FAMILIES`, or "auto" to let the source tell
    name:     how the model is to be called; default: as the source calls it

    Raises:
        WeightsError: the source cannot be read or is not a model we know.
        UsageError: `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already", "Remove it or choose another directory.")
    checkpoint = read_checkpoint(source)
    model, source_format = identify(checkpoint, model=model)
    family = FAMILIES[model]
    companions = _companions(checkpoint, family)
    info = WeightsInfo(
        model=model,
        name=name or checkpoint.name,
        **_config_fields(checkpoint, source_format),
        random=checkpoint.random,
        files={},  # known when they are written
        source={path.name: sha256_of(path) for path in (*checkpoint.files, *companions)},
    )
    tensors = _canonical(checkpoint, info=info, family=family, source_format=source_format)
    return _write(tensors, info=info, family=family, companions=companions, out=out.absolute())


def identify(checkpoint: Checkpoint, *, model: str) -> tuple[str, SourceFormat]:
    """Which family a source belongs to; `model` is what the user says, or "auto".

    Raises:
        WeightsError: no family knows it, or another than `model` does.
    """
    model_type = checkpoint.config.get("model_type")
    for name, family in FAMILIES.items():
        source_format = family.formats.get(checkpoint.format)
        if source_format is None or source_format.model_type != model_type:
            continue
        if model not in ("auto", name):
            raise WeightsError(
                f"{checkpoint.path}: holds {name} weights, {model} asked for",
                f"Use --model {name}, or give the weights of {model}.",
            )
        return name, source_format
    raise WeightsError(
        f"{checkpoint.path}: a model of type {model_type!r}, which is none of ours",
        f"Known models: {', '.join(FAMILIES)}.",
    )


def _config_fields(checkpoint: Checkpoint, source_format: SourceFormat) -> dict[str, Any]:
    try:
        return source_format.fields(checkpoint.config)
    except KeyError as error:
        raise WeightsError(f"{checkpoint.path}: its configuration lacks {error}") from None
    except WeightsError as error:
        raise WeightsError(f"{checkpoint.path}: in its configuration, {error}") from None


def _companions(checkpoint: Checkpoint, family: Family) -> tuple[Path, ...]:
    paths = tuple(checkpoint.path.with_name(name) for name in family.companion_files)
    for path in paths:
        if not path.is_file():
            raise WeightsError(
                f"{path}: there is no such file",
                "Put it beside the weights; it comes from the same place.",
            )
    return paths


def _canonical(
    checkpoint: Checkpoint, *, info: WeightsInfo, family: Family, source_format: SourceFormat
) -> Tensors:
    """The tensors under the names of `Family.tensor_shapes`, complete and in shape."""
    tensors, unknown = rename(
        checkpoint.tensors,
        source_format.names,
        prefixes=source_format.prefixes,
        num_layers=info.num_layers,
    )
    shapes = family.tensor_shapes(info)
    remedy = "Take the complete published file."
    if any(name.endswith(".inv_freq") for name in shapes.keys() - tensors.keys()):
        remedy += (
            " The rotary frequencies (inv_freq) are part of the weights: training rounded them,"
            " and recomputed ones give other vectors. The .pt file of fair-esm holds them."
        )
    check_tensors(tensors, shapes, where=checkpoint.path, unknown=unknown, remedy=remedy)
    return tensors


def _write(
    tensors: Tensors,
    *,
    info: WeightsInfo,
    family: Family,
    companions: tuple[Path, ...],
    out: Path,
) -> WeightsInfo:
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _save(_stored_apart(tensors), partial / TENSORS)
        for path in companions:
            shutil.copyfile(path, partial / path.name)
        files = {path.name: sha256_of(path) for path in sorted(partial.iterdir())}
        info = replace(info, files=files)
        write_info(partial, info)
        # safetensors makes files that nobody else on a cluster can read
        (partial / TENSORS).chmod((partial / CARD).stat().st_mode)
        family.tokenizer(partial, info)  # refuses one that does not belong to the model
        for path in (*partial.iterdir(), partial):
            fsync(path)
        partial.rename(out)
        fsync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return info


def _save(tensors: Tensors, path: Path) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # of the disk: it knows no other
        raise VirembedError(
            f"{path}: cannot be written ({error})", "Make room, or write elsewhere."
        ) from None


def _stored_apart(tensors: Tensors) -> Tensors:
    """The same, each tensor with memory of its own; the file format knows no sharing."""
    seen: set[int] = set()
    apart: Tensors = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if address in seen else tensor.contiguous()
        seen.add(address)
    return apart
