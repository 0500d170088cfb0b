"""Published weights, in whatever format they come, to one weights directory.

The tensors keep their dtype. The directory appears under its name only when everything in it is
on the disk.
"""

from __future__ import annotations

import errno
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from virembed.atomic import PARTIAL, fsync
from virembed.checksum import sha256_of
from virembed.errors import UsageError, VirembedError, WeightsError
from virembed.models.checkpoints import Checkpoint, read_checkpoint
from virembed.models.registry import FAMILIES, Family
from virembed.models.weights import SourceFormat, Tensors, check_tensors, rename
from virembed.weights_info import CARD, TENSORS, WeightsInfo, write_info


@dataclass(frozen=True, slots=True)
class Conversion:
    """What is to be converted, known down to the checksums of its files; no tensor is read yet.

    companions:   files to copy along
    info:         the card, without the checksums of the files to be written
    """

    checkpoint: Checkpoint
    source_format: SourceFormat
    family: Family
    companions: tuple[Path, ...]
    info: WeightsInfo


def convert(source: Path, *, model: str, out: Path, name: str | None = None) -> WeightsInfo:
    """Converts `source` into the new directory `out` and returns its card.

    source, model, name: as `plan_conversion` takes them

    Raises:
        WeightsError: the source cannot be read or is not a model we know.
        UsageError: `out` is there already.
    """
    refuse_existing(out)
    return write_converted(plan_conversion(source, model=model, name=name), out=out)


def plan_conversion(
    source: Path, *, model: str, name: str | None = None, origin: str = ""
) -> Conversion:
    """Finds out what `source` is. Reads every byte of it once, for the checksums.

    source:   a fair-esm `.pt`; a Hugging Face directory; or the weights file or shard index in it
    model:    a key of `FAMILIES`, or "auto" to let the source tell
    name:     how the model is to be called; default: as the source calls it
    origin:   as on the card

    Raises:
        WeightsError: the source cannot be read or is not a model we know.
    """
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
        origin=origin,
    )
    return Conversion(checkpoint, source_format, family, companions, info)


def write_converted(conversion: Conversion, *, out: Path) -> WeightsInfo:
    """Makes the directory `out` and returns its card.

    Raises:
        WeightsError: a tensor is missing, unknown or mis-shaped, or the tokenizer is another's.
        UsageError: somebody else made `out` meanwhile.
    """
    tensors = _canonical(conversion)
    out = out.absolute()
    # not by the number of the process: containers on two machines easily have the same
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}{PARTIAL}")
    partial.mkdir(parents=True)
    try:
        info = _write(tensors, conversion, partial)
        try:
            partial.rename(out)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                refuse_existing(out)
            raise
        fsync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return info


def refuse_existing(out: Path) -> None:
    """Raises UsageError if there is something of that name."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out}: exists already", "Remove it or choose another directory.")


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


def _canonical(conversion: Conversion) -> Tensors:
    """The tensors under the names of `Family.tensor_shapes`, complete and in shape."""
    checkpoint, source_format = conversion.checkpoint, conversion.source_format
    tensors, unknown = rename(
        checkpoint.tensors(),
        source_format.names,
        prefixes=source_format.prefixes,
        num_layers=conversion.info.num_layers,
    )
    shapes = conversion.family.tensor_shapes(conversion.info)
    remedy = "Take the complete published file."
    if any(name.endswith(".inv_freq") for name in shapes.keys() - tensors.keys()):
        remedy += (
            " The rotary frequencies (inv_freq) are part of the weights: training rounded them,"
            " and recomputed ones give other vectors. The .pt file of fair-esm holds them."
        )
    check_tensors(tensors, shapes, where=checkpoint.path, unknown=unknown, remedy=remedy)
    return tensors


def _write(tensors: Tensors, conversion: Conversion, directory: Path) -> WeightsInfo:
    """Every file of a weights directory, on disk when this returns."""
    _save(_stored_apart(tensors), directory / TENSORS)
    for path in conversion.companions:
        shutil.copyfile(path, directory / path.name)
    files = {path.name: sha256_of(path) for path in sorted(directory.iterdir())}
    info = replace(conversion.info, files=files)
    write_info(directory, info)
    # safetensors makes files that nobody else on a cluster can read
    (directory / TENSORS).chmod((directory / CARD).stat().st_mode)
    conversion.family.tokenizer(directory, info)  # refuses one that does not belong to the model
    for path in (*directory.iterdir(), directory):
        fsync(path)
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
