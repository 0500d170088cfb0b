"""Models laid out in the forms that Hugging Face directories come in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]


def hugging_face(source: Path, to: Path, *, tensors: Tensors, form: str = "safetensors") -> Path:
    """A directory like `source`, with other tensors and in the form asked for."""
    to.mkdir()
    for path in source.iterdir():
        if path.suffix in (".json", ".txt") and not path.name.startswith("golden"):
            shutil.copy(path, to)
    names = sorted(tensors)
    if form == "safetensors":
        save_file(tensors, to / "model.safetensors")
    elif form == "bin":
        torch.save(tensors, to / "pytorch_model.bin")
    else:
        suffix = form.removeprefix("sharded ")
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        save = save_file if suffix == "safetensors" else torch.save
        weight_map = {}
        for number in range(3):
            file = f"{stem}-{number + 1:05d}-of-00003.{suffix}"
            save({name: tensors[name] for name in names[number::3]}, to / file)
            weight_map.update(dict.fromkeys(names[number::3], file))
        index = json.dumps({"metadata": {}, "weight_map": weight_map})
        (to / f"{stem}.{suffix}.index.json").write_text(index)
    return to
