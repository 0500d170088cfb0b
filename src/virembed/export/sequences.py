"""Proteins of chosen rows as FASTA, under the ids of the rows."""

from __future__ import annotations

from pathlib import Path

import dnaio
import h5py

from virembed.atomic import whole_file
from virembed.errors import IncompleteError, UsageError
from virembed.layout import PROTEIN_TEXTS

from .rows import Int64s, row_blocks, values, with_vector


def proteins_beside(file: h5py.File) -> Path:
    """SAMPLE.proteins.faa.gz, as COLLECT writes it, in the directory of a result."""
    return Path(file.filename).with_name(f"{file.attrs['sample']}.proteins.faa.gz")


def export_fasta(file: h5py.File, rows: Int64s, out: Path, *, proteins: Path) -> int:
    """Writes the proteins of the rows that have one and returns their number.

    Raises:
        UsageError: the result is merged of several samples.
        IncompleteError: the proteins are missing, damaged, or not those of the result.
    """
    if "sample" in file["obs"]:
        raise UsageError(
            f"{file.filename}: merged of several samples", "Export from the files of the samples."
        )
    present = with_vector(file, PROTEIN_TEXTS, rows)
    # COLLECT writes the proteins in the order of the rows: both are read once, side by side
    ids = (name for here in row_blocks(present) for name in values(file["obs/row_id"], here))
    wanted = next(ids, None)
    remedy = "Give the .proteins.faa.gz of the same run with --proteins."
    try:
        with (
            dnaio.open(proteins, fileformat="fasta") as records,
            whole_file(out) as partial,
            partial.open("w") as fasta,
        ):
            for record in records:
                if record.name == wanted:
                    wanted = next(ids, None)
                    fasta.write(f">{record.name}\n{record.sequence}\n")
            if wanted is not None:
                raise IncompleteError(f"{proteins}: no protein of row {wanted}", remedy)
    except FileNotFoundError:
        raise IncompleteError(f"{proteins}: there is no such file", remedy) from None
    except (OSError, EOFError, dnaio.FileFormatError) as error:
        raise IncompleteError(f"{proteins}: cannot be read ({error})", remedy) from None
    return len(present)
