"""Matrices as `.npy` with their ids, and a copy of a result in single precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from virembed import anndata_encoding as ad
from virembed.atomic import whole_file
from virembed.h5 import new_file
from virembed.layout import MODELS, ModelSlot
from virembed.result import MATRIX_CHUNK_BYTES, MATRIX_ROWS
from virembed.verify import verify_written

from .rows import Int64s, values, vector_blocks, with_vector


def export_npy(file: h5py.File, rows: Int64s, out: Path) -> list[Path]:
    """Writes X_MODEL.npy, float16 [rows with a vector, D], and X_MODEL.ids.txt into a directory."""
    paths = [out / f"{model.obsm}{suffix}" for model in MODELS for suffix in (".npy", ".ids.txt")]
    with ExitStack() as stack:
        # all or none of them
        partial = [stack.enter_context(whole_file(path)) for path in paths]
        for number, model in enumerate(MODELS):
            _write_npy(file, model, rows, partial[2 * number : 2 * number + 2])
    return paths


def _write_npy(file: h5py.File, model: ModelSlot, rows: Int64s, paths: list[Path]) -> None:
    present = with_vector(file, model, rows)
    shape = (len(present), file[f"obsm/{model.obsm}"].shape[1])
    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
    with paths[0].open("wb") as matrix, paths[1].open("w") as ids:
        np.lib.format.write_array_header_1_0(matrix, header)
        for here, vectors in vector_blocks(file, model, present):
            matrix.write(np.ascontiguousarray(vectors, dtype="<f2").data)
            ids.writelines(f"{name}\n" for name in values(file["obs/row_id"], here))


def export_fp32(file: h5py.File, out: Path) -> None:
    """Writes a copy whose matrices are float32: some programs know no half precision.

    Numbers are the same, so that checksums hold and the copy is verified like any result.
    """
    with new_file(out, check=verify_written) as copy:
        ad.copy_elements(file, copy, leave_out=["obsm"])
        obsm = ad.new_dict(copy, "obsm")
        for model in MODELS:
            matrix = file[f"obsm/{model.obsm}"]
            wide = ad.new_matrix(
                obsm, model.obsm, matrix.shape, chunk_bytes=MATRIX_CHUNK_BYTES, dtype="<f4"
            )
            for part in _slices(int(file[f"uns/accounting/{model.name}_ok"][()])):
                wide[part] = matrix[part].astype("<f4")
            made = copy[f"uns/provenance/{model.name}"]
            del made["stored_dtype"]
            ad.write_value(made, "stored_dtype", "float32, copied from float16")


def _slices(size: int) -> Iterator[slice]:
    return (slice(start, min(start + MATRIX_ROWS, size)) for start in range(0, size, MATRIX_ROWS))
