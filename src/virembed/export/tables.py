"""Rows as a Parquet table: all columns of `obs`, and the vectors as lists of fixed length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from virembed.atomic import whole_file
from virembed.layout import MODELS, ModelSlot

from .rows import Int64s, row_blocks, values


def export_parquet(file: h5py.File, rows: Int64s, out: Path) -> None:
    """Writes row_id, the columns of obs, X_esm2 and X_dnaberts (float32, null where absent)."""
    schema = pa.schema([*_obs_fields(file), *(_vector_field(file, model) for model in MODELS)])
    with whole_file(out) as partial, pq.ParquetWriter(partial, schema) as writer:
        for here in row_blocks(rows):
            columns = [pa.array(values(file[f"obs/{name}"], here)) for name in obs_names(file)]
            columns += [_vectors(file, model, here) for model in MODELS]
            arrays = [array.cast(f.type) for array, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def obs_names(file: h5py.File) -> list[str]:
    """The columns of obs, the ids first."""
    return ["row_id", *map(str, file["obs"].attrs["column-order"])]


def _obs_fields(file: h5py.File) -> list[Any]:
    fields = []
    for name in obs_names(file):
        column = file[f"obs/{name}"]
        is_text = isinstance(column, h5py.Group) or h5py.check_string_dtype(column.dtype)
        fields.append(pa.field(name, pa.string() if is_text else pa.from_numpy_dtype(column.dtype)))
    return fields


def _vector_field(file: h5py.File, model: ModelSlot) -> Any:
    return pa.field(model.obsm, pa.list_(pa.float32(), file[f"obsm/{model.obsm}"].shape[1]))


def _vectors(file: h5py.File, model: ModelSlot, rows: Int64s) -> Any:
    first, stop = int(rows[0]), int(rows[-1]) + 1
    vectors = file[f"obsm/{model.obsm}"][first:stop][rows - first].astype(np.float32)
    absent = ~file[f"obs/has_{model.name}"][first:stop][rows - first]
    flat = pa.array(vectors.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=pa.array(absent))
