"""VirNucPro's classifier: one hidden layer on a DNA vector followed by a protein vector.

    Linear(D → H), BatchNorm1d, ReLU, (Dropout in training), Linear(H → 2), softmax

D is 768 + 2560 as published, DNABERT-S first. Class 0 is "others", class 1 "virus". Published as a
pickled module: it is read without running anything of it, and stored as safetensors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from virembed.atomic import fsync
from virembed.checksum import sha256_of
from virembed.classifier_info import (
    TENSORS,
    ClassifierInfo,
    Embeddings,
    read_classifier_info,
    require_name,
    write_classifier_info,
)
from virembed.errors import UsageError, WeightsError
from virembed.layout import DNABERTS, ESM2
from virembed.models.checkpoints import AGAIN, RANDOM_MARK
from virembed.models.weights import Shapes, Tensors, check_tensors, read_tensors
from virembed.pickles import load_restricted

# The order of the vectors in the classifier's input.
INPUT = (DNABERTS, ESM2)
VIRUS = 1
_NUM_CLASSES = 2
_EPSILON = 1e-5  # of BatchNorm1d; the published module has torch's default
_BATCH_COUNT = "bn1.num_batches_tracked"  # counts steps of training; no part of the result

Scores = npt.NDArray[np.float32]


def tensor_shapes(*, dim: int, hidden_dim: int) -> Shapes:
    per_unit = ("hidden_layer.bias", "bn1.weight", "bn1.bias", "bn1.running_mean")
    return {
        "hidden_layer.weight": (hidden_dim, dim),
        **dict.fromkeys((*per_unit, "bn1.running_var"), (hidden_dim,)),
        "output_layer.weight": (_NUM_CLASSES, hidden_dim),
        "output_layer.bias": (_NUM_CLASSES,),
    }


@dataclass(frozen=True, slots=True)
class Classifier:
    """A classifier ready to score, fp32 on the CPU."""

    info: ClassifierInfo
    tensors: Tensors

    def scores(self, dna: npt.NDArray[Any], protein: npt.NDArray[Any]) -> Scores:
        """Shares of the two classes, others and virus.

        dna [n, D_dna], protein [n, D_protein] -> fp32 [n, 2], rows add up to 1.
        """
        t = self.tensors
        vectors = torch.from_numpy(np.hstack([dna, protein]).astype(np.float32))
        with torch.inference_mode():
            hidden = F.linear(vectors, t["hidden_layer.weight"], t["hidden_layer.bias"])
            hidden = F.batch_norm(
                hidden,
                t["bn1.running_mean"],
                t["bn1.running_var"],
                t["bn1.weight"],
                t["bn1.bias"],
                eps=_EPSILON,
            )
            logits = F.linear(F.relu(hidden), t["output_layer.weight"], t["output_layer.bias"])
            scores: Scores = torch.softmax(logits, dim=1).numpy()
        return scores


def load_classifier(directory: Path) -> Classifier:
    """The classifier of a directory; its tensors are compared with their checksum.

    Raises:
        WeightsError: missing, damaged, or not a classifier.
    """
    info = read_classifier_info(directory)
    shapes = tensor_shapes(dim=sum(info.dims.values()), hidden_dim=info.hidden_dim)
    tensors = read_tensors(directory, shapes=shapes, device=torch.device("cpu"))
    found = sha256_of(directory / TENSORS)
    if found != info.sha256:
        raise WeightsError(
            f"{directory / TENSORS}: damaged: sha256 is {found}, the card says {info.sha256}",
            "Make it again with `virembed weights classifier`.",
        )
    return Classifier(info, tensors)


def convert_classifier(
    source: Path,
    *,
    out: Path,
    name: str,
    window_bp: int,
    rules: str,
    embeddings: Embeddings,
) -> ClassifierInfo:
    """Converts a published `.pth` into the new directory `out` and returns its card.

    Args:
        embeddings: as in `ClassifierInfo`, dim left out for ESM-2: it is what the file leaves.

    Raises:
        WeightsError: the source cannot be read or is no classifier of this kind.
        UsageError: `out` is there already, or the name is unfit.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already", "Remove it or choose another directory.")
    tensors, random = read_published(source)
    hidden_dim, dim = _sizes(tensors, source)
    protein_dim = dim - int(embeddings[DNABERTS.name]["dim"])
    if protein_dim <= 0:
        raise WeightsError(
            f"{source}: takes vectors of {dim} numbers, which leaves none for ESM-2",
            "Give --dnaberts-dim, the part of them that is DNABERT-S.",
        )
    info = ClassifierInfo(
        name=require_name(name),
        hidden_dim=hidden_dim,
        window_bp=window_bp,
        rules=rules,
        embeddings={**embeddings, ESM2.name: {**embeddings[ESM2.name], "dim": protein_dim}},
        random=random,
        sha256="",  # known when it is written
        source={source.name: sha256_of(source)},
    )
    return _write(tensors, info, out.absolute())


def _sizes(tensors: Tensors, source: Path) -> tuple[int, int]:
    """Widths of the hidden layer and of the input, all tensors being as these two want them."""
    first = tensors.get("hidden_layer.weight")
    hidden_dim, dim = first.shape if first is not None and first.ndim == 2 else (0, 0)
    check_tensors(
        tensors,
        tensor_shapes(dim=dim, hidden_dim=hidden_dim),
        where=source,
        unknown=[],
        remedy="Take the .pth of VirNucPro's MLPClassifier.",
    )
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError(f"{source}: a weight is not finite", AGAIN)
    return hidden_dim, dim


def _write(tensors: Tensors, info: ClassifierInfo, out: Path) -> ClassifierInfo:
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        stored = {name: tensor.float().contiguous().clone() for name, tensor in tensors.items()}
        save_file(stored, partial / TENSORS, metadata={"format": "pt"})
        fields = {name: getattr(info, name) for name in info.__slots__}
        info = ClassifierInfo(**{**fields, "sha256": sha256_of(partial / TENSORS)})
        write_classifier_info(partial, info)
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors makes files that nobody else on a cluster can read
            fsync(path)
        partial.rename(out)
        fsync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return info


def _stand_in(module: str, name: str) -> type:
    """A class that a pickle takes for the one of this name, and that does nothing."""
    return type(name, (), {"__module__": module})


# All that a pickled MLPClassifier refers to besides tensors and plain values. None of these
# classes is the real one: what the file says of them ends up in their `__dict__`, no more.
_MODULES = (
    _stand_in("__main__", "MLPClassifier"),
    _stand_in("torch.nn.modules.linear", "Linear"),
    _stand_in("torch.nn.modules.batchnorm", "BatchNorm1d"),
    _stand_in("torch.nn.modules.activation", "ReLU"),
    _stand_in("torch.nn.modules.dropout", "Dropout"),
)


def read_published(path: Path) -> tuple[Tensors, bool]:
    """The tensors of a `.pth`, a pickled MLPClassifier or its state_dict, and whether it is random.

    Nothing in the file is executed: it may name tensors, plain values and the classes of
    `_MODULES` only.

    Raises:
        WeightsError: missing, damaged, or something else is in it.
    """
    content = load_restricted(path, classes=_MODULES, what="classifier", error=WeightsError)
    is_module = isinstance(content, _MODULES)
    marks = vars(content) if is_module else content
    if not isinstance(marks, dict):
        raise WeightsError(f"{path}: no classifier", "Take the .pth of VirNucPro.")
    found = _flatten(content) if is_module else content
    tensors = {
        str(name): tensor
        for name, tensor in found.items()
        if name not in (_BATCH_COUNT, RANDOM_MARK) and isinstance(tensor, torch.Tensor)
    }
    return tensors, bool(marks.get(RANDOM_MARK, False))


def _flatten(module: Any, prefix: str = "") -> dict[str, Any]:
    """Parameters and buffers of a stand-in and of those in it, as a state_dict names them."""
    content: Mapping[str, Any] = vars(module)
    found = {
        f"{prefix}{name}": tensor
        for kind in ("_parameters", "_buffers")
        for name, tensor in content.get(kind, {}).items()
    }
    for name, inner in content.get("_modules", {}).items():
        if isinstance(inner, _MODULES):
            found |= _flatten(inner, f"{prefix}{name}.")
    return found
