"""What a result file says about how it was made, and how to read it.

Only what is the same for every run on the same input with the same weights, so that a resumed run
gives the same datasets; when and how fast is in the summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from virembed import __version__
from virembed.checksum import sha256_of
from virembed.layout import FLAG_MEANINGS, IMPORTED, NOTHING, PROTEIN, UNKNOWN, WINDOWS
from virembed.shards import Shard
from virembed.weights_info import WeightsInfo

README = """\
Embeddings of the open frames of a sample, an AnnData file (https://anndata.readthedocs.io).
Rows: first one per open frame (n_protein_rows of uns/accounting), then one per window without;
a row per record where uns/provenance/type is contig or protein.
Python   import anndata; a = anndata.read_h5ad("S.h5"); a.obs; a.obsm["X_esm2"]
h5py     f = h5py.File("S.h5"); n = int(f["uns/accounting/n_protein_rows"][()])
         X = f["obsm/X_esm2"][:n]          float16, no NaN in these rows
         f["obs/row_id"].asstr()[:]        record_chunk_windowframe, window counted from 1
R        x <- rhdf5::h5read("S.h5", "/obsm/X_esm2", index=list(NULL, 1:100))   columns are rows
Julia    using HDF5; f = h5open("S.h5"); f["obsm/X_esm2"][:, 1:100]
Mean and spread of each dimension: uns/stats (n, mean, m2). Standardise before comparing vectors:
single dimensions can dominate raw cosines. Rows of uns/records: row_start..row_stop (proteins) and
dna_row_start..dna_row_stop (windows without an open frame). Bits of obs/flags: uns/flags.
Check the file with `virembed verify S.h5`.
"""


# of the windows: texts, and numbers that are -1 where there is nothing to say
_OF_WINDOWS = ("rule", "ambiguous_codons", "terminal_stop", "dna_unit")
_NO_WINDOWS = {"length": -1, "genetic_code": -1, "min_record_bp": -1}


def flag_table() -> dict[str, str]:
    """Meaning of each bit of `obs/flags`, by its value."""
    return {str(int(flag)): meaning for flag, meaning in FLAG_MEANINGS.items()}


def provenance(
    settings: Mapping[str, Any],
    *,
    cards: Mapping[str, WeightsInfo],
    shards: Mapping[str, Sequence[Shard]],
) -> dict[str, Any]:
    """The group `uns/provenance`.

    Args:
        settings: of the manifest.
        shards: by model.
    """
    params = settings["params"]
    inputs = settings["inputs"]
    return {
        "pipeline": f"virembed {__version__}",
        "input": {
            "names": [source["name"] for source in inputs],
            "sha256": [source["sha256"] for source in inputs],
        },
        "type": params["type"],
        "windows": _windows(params),
        **{model: _model(cards[model], shards[model]) for model in cards},
    }


def _windows(params: Mapping[str, Any]) -> dict[str, Any]:
    if params["type"] != WINDOWS:
        dna_unit = NOTHING if params["type"] == PROTEIN else "the whole record, forward strand"
        return {**dict.fromkeys(_OF_WINDOWS, NOTHING), **_NO_WINDOWS, "dna_unit": dna_unit}
    exact = params["rules"] == "exact"
    return {
        "length": params["window_bp"],
        "rule": params["rules"],
        "genetic_code": params["genetic_code"],
        "ambiguous_codons": "X" if exact else "no residue",
        "terminal_stop": "allowed, not part of the protein" if exact else "closes the frame",
        "min_record_bp": params["min_record_bp"],
        "dna_unit": "the open frame on its strand; the whole window where there is none",
    }


def imported_provenance(
    files: Sequence[Path], dims: Mapping[str, int], *, window_bp: int | None, notes: Sequence[str]
) -> dict[str, Any]:
    """The group `uns/provenance` of a result made of files of other software.

    Args:
        dims: width of the vectors, by model.
        window_bp: as the user says.
        notes: what cannot be told from the files.
    """
    unknown_model = ("model_id", "weights_sha256", "pooling", "compute_dtype", "attention")
    return {
        "pipeline": f"imported by virembed {__version__}",
        "origin": IMPORTED,
        "input": {
            "names": [path.name for path in files],
            "sha256": [sha256_of(path) for path in files],
        },
        "notes": "; ".join(notes) or "none",
        "type": WINDOWS,
        "windows": {
            **dict.fromkeys(_OF_WINDOWS, UNKNOWN),
            **_NO_WINDOWS,
            "length": -1 if window_bp is None else window_bp,
        },
        **{
            model: {
                **dict.fromkeys((*unknown_model, "device", "torch", "max_tokens"), UNKNOWN),
                "random_weights": -1,
                "dim": dim,
                "layer": -1,
                "stored_dtype": "float16",
            }
            for model, dim in dims.items()
        },
    }


def _model(card: WeightsInfo, shards: Sequence[Shard]) -> dict[str, Any]:
    identities = [shard.identity for shard in shards]
    return {
        "model_id": card.name,
        "weights_sha256": card.sha256,
        "random_weights": int(card.random),
        "dim": card.dim,
        "layer": card.num_layers,
        "pooling": _all([identity.pooling for identity in identities]),
        "compute_dtype": _all([identity.precision for identity in identities]),
        "stored_dtype": "float16",
        "attention": _all([shard.origin.attention for shard in shards]),
        "device": _all([shard.origin.device for shard in shards]),
        "torch": _all([shard.origin.software["torch"] for shard in shards]),
        "max_tokens": NOTHING,
    }


def _all(values: Sequence[str]) -> str:
    """The values there are, each once."""
    return ", ".join(sorted(set(values))) or NOTHING
