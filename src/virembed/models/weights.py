"""Tensors of a weights directory: names, shapes, checksums, dtype. Knows no model.

Names and shapes are data: a model gives a table of its tensors (`TensorTable`), and for each
format it may come in a table from the names there to its own (`NameTable`). `{}` is the number
of a layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from virembed.checksum import sha256_of
from virembed.errors import WeightsError
from virembed.weights_info import TENSORS, WeightsInfo

TensorTable = Mapping[str, str]  # name -> sizes of its axes as letters, such as "F D"
NameTable = Mapping[str, str | None]  # name there -> name here; None: knowingly left out
Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """How the weights of a model look where they come from.

    names, prefixes:    as `rename` takes them
    fields:             configuration of the source -> fields of `WeightsInfo`; raises KeyError
                        for what the configuration lacks, WeightsError for what we cannot run
    model_type:         what a Hugging Face `config.json` calls the model
    """

    names: NameTable
    prefixes: tuple[str, ...]
    fields: Callable[[Mapping[str, Any]], dict[str, Any]]
    model_type: str | None = None


# A layer number, or the "*" that transformers 5 writes for what all layers share.
LAYER = re.compile(r"(?<=\.)(?:\d+|\*)(?=\.)")


def expand_shapes(table: TensorTable, *, sizes: Mapping[str, int], num_layers: int) -> Shapes:
    """Shape of every tensor of a model: `{}` counted out, letters looked up in `sizes`."""
    shapes: Shapes = {}
    for template, axes in table.items():
        shape = tuple(sizes[axis] for axis in axes.split())
        layers = range(num_layers) if "{}" in template else range(1)
        shapes.update({template.format(layer): shape for layer in layers})
    return shapes


def rename(
    tensors: Tensors, table: NameTable, *, prefixes: tuple[str, ...], num_layers: int
) -> tuple[Tensors, list[str]]:
    """The tensors under our names, and the names that the table lacks.

    The first of `prefixes` that a name starts with is taken off. A tensor without a layer number
    whose name here has one belongs to all layers.
    """
    renamed: Tensors = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        bare = name
        for prefix in prefixes:
            if name.startswith(prefix):
                bare = name.removeprefix(prefix)
                break
        for target in _targets(bare, table, num_layers):
            if target is None or target in renamed:
                unknown.append(name)
            else:
                renamed[target] = tensor
    return renamed, unknown


def _targets(name: str, table: NameTable, num_layers: int) -> list[str | None]:
    """Our names for a tensor: none if it is left out, [None] if the table lacks it."""
    layer = LAYER.search(name)
    template = LAYER.sub("{}", name, count=1) if name not in table else name
    if template not in table:
        return [None]
    target = table[template]
    if target is None:
        return []
    if "{}" in target and (layer is None or layer.group() == "*"):
        return [target.format(number) for number in range(num_layers)]
    return [target.format(layer.group() if layer else "")]


def require(config: Mapping[str, Any], **values: object) -> None:
    """The settings of a source that our forward pass has built in.

    Raises:
        KeyError: a setting is not there.
        WeightsError: a setting has another value.
    """
    for key, value in values.items():
        if config[key] != value:
            raise WeightsError(f"{key} is {config[key]!r}; only {value!r} is supported")


def check_tensors(
    tensors: Mapping[str, torch.Tensor],
    shapes: Shapes,
    *,
    where: Path,
    unknown: list[str],
    remedy: str,
) -> None:
    """Every tensor is there, in the right shape, and no other.

    Raises:
        WeightsError: names all that is missing, unexpected or mis-shaped.
    """
    missing = sorted(shapes.keys() - tensors.keys())
    unexpected = sorted([*unknown, *(tensors.keys() - shapes.keys())])
    mis_shaped = [
        f"{name} {list(tensors[name].shape)} instead of {list(shapes[name])}"
        for name in sorted(shapes.keys() & tensors.keys())
        if tuple(tensors[name].shape) != shapes[name]
    ]
    found = {"missing": missing, "unexpected": unexpected, "mis-shaped": mis_shaped}
    if any(found.values()):
        lists = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in found.items() if names)
        raise WeightsError(f"{where}: not the tensors of this model: {lists}", remedy)


def read_tensors(directory: Path, *, shapes: Shapes, device: torch.device) -> Tensors:
    """The tensors of a weights directory on `device`, in the dtype they are stored in.

    Raises:
        WeightsError: the file is missing, damaged, or holds other tensors than `shapes`.
    """
    path = directory / TENSORS
    remedy = "Make the directory again with `virembed weights convert`."
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            tensors = {name: _own(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file", remedy) from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({error})", remedy) from None
    check_tensors(tensors, shapes, where=path, unknown=[], remedy=remedy)
    return tensors


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in memory: on the CPU it was a page of the file, which may change while we run."""
    return tensor.clone() if tensor.device.type == "cpu" else tensor


def verify_checksums(directory: Path, info: WeightsInfo) -> None:
    """Compares every file with the checksum on the card. Reads every byte once.

    Raises:
        WeightsError: a file is missing or is not the one that was converted.
    """
    remedy = "Copy the directory again, or make it again with `virembed weights convert`."
    for name, expected in sorted(info.files.items()):
        path = directory / name
        try:
            found = sha256_of(path)
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error.strerror})", remedy) from None
        if found != expected:
            raise WeightsError(
                f"{path}: damaged: sha256 is {found}, the card says {expected}", remedy
            )


def empty_embedding(num: int, dim: int) -> nn.Embedding:
    """Without random numbers: for these, on the meta device, torch imports its compiler (3 s)."""
    return nn.Embedding.from_pretrained(torch.empty(num, dim))  # type: ignore[no-untyped-call,no-any-return]


def assign_tensors(model: nn.Module, tensors: Tensors, *, dtype: torch.dtype) -> None:
    """Puts `tensors` into a model built on the meta device, and decides every dtype.

    Matrix products run in `dtype`. All else stays fp32: embeddings, LayerNorms, rotary
    frequencies, and with them the residual stream.
    """
    model.load_state_dict(tensors, assign=True)
    for module in model.modules():
        if not any(module.children()):
            module.to(dtype if isinstance(module, nn.Linear) else torch.float32)
    model.requires_grad_(False).eval()  # noqa: FBT003
