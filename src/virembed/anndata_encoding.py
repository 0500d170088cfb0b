"""AnnData's on-disk encoding, as far as our file uses it, written directly with h5py.

Every element carries the two attributes AnnData dispatches on. Source: "fileformat" page of the
AnnData documentation, encoding versions as of anndata 0.8, which all later ones read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from virembed.h5 import STRING

COLUMN_CHUNK_ROWS = 1 << 16


def encode(element: Any, kind: str, version: str) -> Any:
    """Sets the attributes of an element and returns it."""
    element.attrs["encoding-type"] = kind
    element.attrs["encoding-version"] = version
    return element


def new_dict(parent: h5py.Group, name: str) -> h5py.Group:
    return encode(parent.create_group(name), "dict", "0.1.0")


def write_value(parent: h5py.Group, name: str, value: Any) -> None:
    """A string, a number, an array, a list of strings, or a mapping of these."""
    if isinstance(value, Mapping):
        group = new_dict(parent, name)
        for key, inner in value.items():
            write_value(group, key, inner)
    elif isinstance(value, str):
        encode(parent.create_dataset(name, data=value, dtype=STRING), "string", "0.2.0")
    elif isinstance(value, np.ndarray):
        encode(parent.create_dataset(name, data=value), "array", "0.2.0")
    elif isinstance(value, Sequence):
        new_column(parent, name, len(value), STRING)[:] = list(value)
    else:
        encode(parent.create_dataset(name, data=value), "numeric-scalar", "0.2.0")


def new_column(parent: h5py.Group, name: str, size: int, dtype: Any) -> h5py.Dataset:
    """An empty column; numbers are compressed and checked, texts cannot be."""
    options: dict[str, Any] = {"chunks": (min(COLUMN_CHUNK_ROWS, size),)} if size else {}
    if size and dtype is not STRING:
        options |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        options["fletcher32"] = True
    dataset = parent.create_dataset(name, (size,), dtype=dtype, **options)
    return encode(dataset, "string-array" if dtype is STRING else "array", "0.2.0")


def new_dataframe(
    parent: h5py.Group, name: str, *, index: str, columns: Sequence[str]
) -> h5py.Group:
    """A table without its columns yet, whose index is the column `index`."""
    group = encode(parent.create_group(name), "dataframe", "0.2.0")
    group.attrs.create("_index", index, dtype=STRING)
    group.attrs.create("column-order", np.array(columns, dtype=object), dtype=STRING)
    return group


def new_categorical(
    parent: h5py.Group, name: str, size: int, dtype: str, *, num_categories: int
) -> tuple[h5py.Dataset, h5py.Dataset]:
    """Codes and categories, both still empty."""
    group = encode(parent.create_group(name), "categorical", "0.2.0")
    group.attrs["ordered"] = False
    categories = new_column(group, "categories", num_categories, STRING)
    return new_column(group, "codes", size, dtype), categories


def new_matrix(
    parent: h5py.Group,
    name: str,
    shape: tuple[int, int],
    *,
    chunk_bytes: int,
    dtype: str = "<f2",
) -> h5py.Dataset:
    """A matrix of NaN in chunks of at least `chunk_bytes`, no filter.

    Rows that are never written take no space and read as NaN.
    """
    num_rows, width = shape
    chunk_rows = matrix_chunk_rows(shape, chunk_bytes=chunk_bytes, dtype=dtype)
    options = {"chunks": (chunk_rows, width)} if num_rows else {}
    dataset = parent.create_dataset(name, shape, dtype=dtype, fillvalue=np.nan, **options)
    return encode(dataset, "array", "0.2.0")


def matrix_chunk_rows(shape: tuple[int, int], *, chunk_bytes: int, dtype: str = "<f2") -> int:
    """Rows of a chunk of `new_matrix`, a power of two if there are that many: blocks of rows then
    are whole chunks. A chunk takes its whole space once it has a row.
    """
    num_rows, width = shape
    chunk_rows = -(-chunk_bytes // (np.dtype(dtype).itemsize * width))
    return min(num_rows, 1 << (chunk_rows - 1).bit_length())


def new_containers(file: h5py.File, num_rows: int) -> None:
    """All of an AnnData file but `obs`, `obsm` and `uns`: no variables, nothing in pairs."""
    encode(file, "anndata", "0.1.0")
    var = new_dataframe(file, "var", index="_index", columns=[])
    new_column(var, "_index", 0, STRING)
    _new_empty_x(file, num_rows)
    for name in ("varm", "obsp", "varp", "layers"):
        new_dict(file, name)


def _new_empty_x(parent: h5py.Group, num_rows: int) -> None:
    """X, which anndata wants even where there are no genes: a sparse matrix without columns."""
    group = encode(parent.create_group("X"), "csr_matrix", "0.1.0")
    group.attrs["shape"] = np.array([num_rows, 0])
    new_column(group, "data", 0, "f4")
    new_column(group, "indices", 0, "i4")
    new_column(group, "indptr", num_rows + 1, "i8")


def append_column(frame: h5py.Group, name: str, values: npt.NDArray[Any]) -> None:
    """Adds a column of numbers at the end of a table."""
    new_column(frame, name, len(values), values.dtype)[:] = values
    names = [*frame.attrs["column-order"], name]
    frame.attrs.create("column-order", np.array(names, dtype=object), dtype=STRING)


def copy_elements(
    source: h5py.Group, target: h5py.Group, *, leave_out: Collection[str] = ()
) -> None:
    """Copies what is in a group to another, with all attributes, storage and filters."""
    for name in source:
        if name not in leave_out:
            source.copy(name, target)
    for name, value in source.attrs.items():
        if name not in target.attrs:
            target.attrs.create(name, value, dtype=STRING if isinstance(value, str) else None)
