"""A bundle for ProtSpace (https://protspace.app): maps of the proteins, to be coloured by columns.

Three Parquet tables, one after the other with a delimiter between, as ProtSpace's page "Data Format
Reference" describes them (annotations of format version 2).
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from virembed.atomic import whole_file
from virembed.errors import InputError, UsageError
from virembed.layout import ESM2, MODELS, ModelSlot

from .projection import Projection, project
from .rows import Int64s, row_blocks, values, vector_blocks, with_vector
from .tables import obs_names

DELIMITER = b"---PARQUET_DELIMITER---"
MAX_ROWS = 1_000_000
_MIN_ROWS = 3
_VERSION = {b"protspace_format_version": b"2"}
_RESERVED = str.maketrans(
    {c: f"%{ord(c):02X}" for c in ["%", ";", "|", "\x7f", *map(chr, range(32))]}
)
_LEFT_OUT = ("row_id", "flags", *(f"has_{model.name}" for model in MODELS))


def export_protspace(file: h5py.File, rows: Int64s, out: Path) -> int:
    """Writes a `.parquetbundle` of the rows with a protein and returns their number.

    Two projections of the same rows: the first two principal components of their standardised
    ESM-2 vectors, and of their DNABERT-S vectors.

    Raises:
        UsageError: too few rows for a map, or too many for a browser.
    """
    rows = with_vector(file, ESM2, rows)
    if not _MIN_ROWS <= len(rows) <= MAX_ROWS:
        raise UsageError(
            f"{len(rows):,} rows with a protein; a map has {_MIN_ROWS} to {MAX_ROWS:,}",
            "Choose rows with --rows.",
        )
    ids = np.concatenate([values(file["obs/row_id"], here) for here in row_blocks(rows)])
    projections = {f"{model.name} PCA_2": _project(file, model, rows) for model in MODELS}
    parts = [_parquet(t) for t in (_annotations(file, rows, ids), *_projections(projections, ids))]
    if any(DELIMITER in part for part in parts):
        raise InputError(f"an id holds {DELIMITER.decode()}, which ProtSpace separates parts with")
    with whole_file(out) as partial:
        partial.write_bytes(DELIMITER.join(parts))
    return len(rows)


def _project(file: h5py.File, model: ModelSlot, rows: Int64s) -> Projection:
    dim = file[f"obsm/{model.obsm}"].shape[1]
    return project(
        lambda: (v.astype(np.float64) for _rows, v in vector_blocks(file, model, rows)), dim
    )


def _annotations(file: h5py.File, rows: Int64s, ids: Any) -> Any:
    columns = {"identifier": pa.array(ids, pa.string())}
    for name in obs_names(file):
        if name not in _LEFT_OUT:
            column = file[f"obs/{name}"]
            found = np.concatenate([values(column, here) for here in row_blocks(rows)])
            columns[name] = _encoded(found) if found.dtype == object else pa.array(found)
    return pa.table(columns).replace_schema_metadata(_VERSION)


def _encoded(texts: Any) -> Any:
    """Texts with the letters that mean something to ProtSpace written as %XX."""
    return pa.array([str(text).translate(_RESERVED) for text in texts], pa.string())


def _projections(projections: dict[str, Projection], ids: Any) -> tuple[Any, Any]:
    infos = [
        json.dumps({"method": "PCA", "standardised": True, "explained_variance_ratio": p.explained})
        for p in projections.values()
    ]
    metadata = {"projection_name": list(projections), "dimensions": [2] * len(infos)}
    xy = np.concatenate([projection.coordinates for projection in projections.values()])
    data = {
        "projection_name": np.repeat(list(projections), len(ids)),
        "identifier": pa.array(np.tile(ids, len(projections)), pa.string()),
        "x": xy[:, 0],
        "y": xy[:, 1],
        "z": pa.nulls(len(xy), pa.float64()),
    }
    return pa.table({**metadata, "info_json": infos}), pa.table(data)


def _parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
