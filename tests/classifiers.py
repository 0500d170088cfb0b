"""Classifiers as VirNucPro publishes them: a whole module, pickled under the name of its script."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from virembed.models.checkpoints import RANDOM_MARK


class MLPClassifier(nn.Module):
    """The layers of the published file, under the names they have there."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.hidden_layer(x)))
        return self.output_layer(self.dropout(x))


MLPClassifier.__module__ = "__main__"


def make_classifier(dim: int, *, hidden_dim: int = 16, seed: int = 0) -> MLPClassifier:
    """Random numbers everywhere, the statistics of the normalisation included."""
    generator = torch.Generator().manual_seed(seed)
    module = MLPClassifier(dim, hidden_dim)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        module.bn1.running_var.abs_()
    return module.eval()


def publish(module: MLPClassifier, path: Path, *, random: bool = False) -> Path:
    """Saves a classifier the way the script of VirNucPro does."""
    main = sys.modules["__main__"]
    setattr(main, "MLPClassifier", MLPClassifier)  # noqa: B010 - a name that is not there yet
    if random:
        setattr(module, RANDOM_MARK, True)
    try:
        torch.save(module, path)
    finally:
        del main.MLPClassifier
    return path
