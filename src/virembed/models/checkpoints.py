"""Reads weights in the formats they are published in. Knows files and pickles, no model.

    fair-esm        X.pt: {"cfg": {"model": Namespace}, "model": tensors}
    Hugging Face    a directory with config.json and one of `HUGGING_FACE_FILES`; an index names
                    the shards that hold the tensors

Nothing in a weight file is ever run: pickles are read with torch's `weights_only`, which builds
tensors and plain values and, allowed here, `argparse.Namespace`.
"""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from virembed.errors import WeightsError
from virembed.models.weights import Tensors

FAIR_ESM = "fair-esm"
HUGGING_FACE = "Hugging Face"
CONFIG = "config.json"
RANDOM_MARK = "virembed_random"  # key in a checkpoint or config.json made by `weights random`
AGAIN = "Download it again."

# A directory may hold several; the first of these that is there is read.
HUGGING_FACE_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A source, opened but not understood yet.

    format:   FAIR_ESM or HUGGING_FACE
    path:     the weights file or index, for messages; its directory may hold companions
    config:   `cfg.model` or config.json
    tensors:  reads them, under the names of the source; raises WeightsError for a damaged file
    files:    all that belongs to it; each of them is there
    name:     what the source calls the model
    random:   made by `virembed weights random`
    """

    format: str
    path: Path
    config: Mapping[str, Any]
    tensors: Callable[[], Tensors]
    files: tuple[Path, ...]
    name: str
    random: bool


def read_checkpoint(source: Path) -> Checkpoint:
    """`source`: a `.pt` file, a directory, or the weights file or index in a directory.

    Raises:
        WeightsError: there is nothing of that kind, a file of it is missing, or it is unsafe.
    """
    path = _weights_file(source)
    if path.suffix == ".pt":
        return _read_fair_esm(path)
    return _read_hugging_face(path)


def _weights_file(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise WeightsError(f"{source}: there is no such file or directory")
    for name in HUGGING_FACE_FILES:
        if (source / name).is_file():
            return source / name
    # fair-esm keeps a second file beside each model, for contacts: not needed here
    paths = [p for p in source.glob("*.pt") if not p.stem.endswith("-contact-regression")]
    if len(paths) == 1:
        return paths[0]
    wanted = ", ".join(HUGGING_FACE_FILES)
    raise WeightsError(
        f"{source}: has {len(paths)} .pt files and none of {wanted}",
        "Give the weights file itself.",
    )


def _read_fair_esm(path: Path) -> Checkpoint:
    content = _load_pickle(path)
    try:
        config = vars(content["cfg"]["model"])
        tensors = dict(content["model"])
    except (KeyError, TypeError):
        raise WeightsError(
            f"{path}: not an ESM-2 checkpoint of fair-esm (no cfg.model and model in it)",
            "ESM-2 files are called esm2_t*.pt; ESM-1 models are not supported.",
        ) from None
    return Checkpoint(
        format=FAIR_ESM,
        path=path,
        config=config,
        tensors=lambda: _only_tensors(tensors, path),
        files=(path,),
        name=path.stem,
        random=bool(content.get(RANDOM_MARK, False)),
    )


def _read_hugging_face(path: Path) -> Checkpoint:
    config_path = path.with_name(CONFIG)
    config = _load_json(config_path)
    shards = [path] if path.suffix != ".json" else listed_shards(path)
    for shard in shards:
        if not shard.is_file():
            raise WeightsError(f"{shard}: there is no such file", AGAIN)
    index = () if shards == [path] else (path,)
    return Checkpoint(
        format=HUGGING_FACE,
        path=path,
        config=config,
        tensors=lambda: _load_shards(shards),
        files=(*index, *shards, config_path),
        # not `_name_or_path`: DNABERT-S still carries the name of DNABERT-2 there
        name=path.absolute().parent.name,
        random=bool(config.get(RANDOM_MARK, False)),
    )


def listed_shards(path: Path) -> list[Path]:
    """The files that the index `path` says hold the tensors; they need not be there.

    Raises:
        WeightsError: it is no index, or points outside its directory.
    """
    weight_map = _load_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{path}: not an index of shards (no weight_map in it)")
    names = sorted(set(weight_map.values()))
    # a name with a directory in it could point anywhere on the machine
    if any(Path(name).name != name for name in names):
        raise WeightsError(f"{path}: lists files outside its directory: {', '.join(names)}")
    return [path.with_name(name) for name in names]


def _load_shards(shards: list[Path]) -> Tensors:
    tensors: Tensors = {}
    for shard in shards:
        load = _load_safetensors if shard.suffix == ".safetensors" else _load_pickle
        tensors.update(_only_tensors(load(shard), shard))
    return tensors


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file", "It belongs to the weights.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read ({error})", AGAIN) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object", AGAIN)
    return content


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file", AGAIN) from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({error})", AGAIN) from None


def _load_pickle(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(path),  # files of torch < 1.6 cannot be mapped
            )
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file", AGAIN) from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path}: damaged, or holds something else than tensors; it was not opened ({reason})",
            "Take the file from where it was published, or its .safetensors version.",
        ) from None
    except (OSError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged ({reason})", AGAIN) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a dictionary of tensors", AGAIN)
    return content


def _only_tensors(content: dict[str, Any], path: Path) -> Tensors:
    others = sorted(str(k) for k, v in content.items() if not isinstance(v, torch.Tensor))
    if others:
        raise WeightsError(f"{path}: not tensors: {', '.join(others)}")
    return content
