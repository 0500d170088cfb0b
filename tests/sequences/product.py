"""Runs the commands and reads what they wrote, in the words of the plain implementation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from virembed.cli import main
from virembed.layout import DNABERTS, ESM2, FRAME_NAMES, ModelSlot, row_id
from virembed.manifest import PROTEIN_ROWS, ROW_COLUMNS, WINDOW_ROWS, Manifest, open_manifest

from .naive import NaiveRow

SAMPLE = "S"
MANIFEST = f"{SAMPLE}.manifest.h5"


@dataclass(frozen=True)
class Run:
    """What a command left on its streams, and how it ended."""

    code: int
    err: str


def split(files, out_dir: Path, **options) -> list[str]:
    """Arguments of `virembed split`; options by name, as in split(..., window=60)."""
    out_dir.mkdir(exist_ok=True)
    arguments = ["split", *map(str, files), "--out-dir", str(out_dir)]
    for name, value in {"sample": SAMPLE, **options}.items():
        arguments += ["--" + name.replace("_", "-"), str(value)]
    return arguments


def in_process(arguments, capsys) -> Run:
    capsys.readouterr()
    try:
        main(arguments)
        code = 0
    except SystemExit as end:
        code = end.code
    return Run(code, capsys.readouterr().err)


def in_subprocess(arguments, cwd: Path) -> Run:
    command = [sys.executable, "-W", "error", "-m", "virembed", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stderr)


def files_below(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


# ------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Item:
    key: str
    text: str


@dataclass(frozen=True)
class Result:
    """A finished split: rows in the order of the result file, items by chunk, records, counts."""

    rows: list[NaiveRow]
    num_protein_rows: int
    chunks: dict[str, list[list[Item]]]
    records: list[tuple[str, int, int, int, int]]  # id, bp, windows, rows with, without a protein
    statuses: list[int]
    lost: dict[str, list[str]]
    counts: dict[str, int]

    def texts(self, model: ModelSlot) -> list[str]:
        return [item.text for chunk in self.chunks[model.name] for item in chunk]


def read_result(out_dir: Path) -> Result:
    chunks = {model.name: read_chunks(out_dir, model) for model in (ESM2, DNABERTS)}
    with open_manifest(out_dir / MANIFEST) as manifest:
        rows = [_rows(manifest, block, chunks) for block in (PROTEIN_ROWS, WINDOW_ROWS)]
        number = manifest.num_records
        columns = manifest.records(0, number)
        names = ("length_bp", "num_windows", "num_protein_rows", "num_window_rows")
        values = [columns[name].tolist() for name in names]
        ids = manifest.record_ids(0, number)
        return Result(
            rows=rows[0] + rows[1],
            num_protein_rows=len(rows[0]),
            chunks=chunks,
            records=list(zip(ids, *values, strict=True)),
            statuses=columns["status"].tolist(),
            lost=manifest.lost(),
            counts=manifest.settings["counts"],
        )


def chunk_files(out_dir: Path, model: ModelSlot) -> list[Path]:
    return sorted((out_dir / "chunks" / model.name).glob(f"{SAMPLE}.{model.name}.*{model.suffix}"))


def read_chunks(out_dir: Path, model: ModelSlot) -> list[list[Item]]:
    """Items of each chunk, in the order of the files; each file is a FASTA of two-line records."""
    chunks = []
    for number, path in enumerate(chunk_files(out_dir, model)):
        assert path.name == f"{SAMPLE}.{model.name}.{number:05d}{model.suffix}"
        lines = path.read_text().split("\n")
        assert lines.pop() == ""
        assert all(header.startswith(">") for header in lines[::2])
        pairs = zip(lines[::2], lines[1::2], strict=True)
        chunks.append([Item(header[1:], text) for header, text in pairs])
    return chunks


def _rows(manifest: Manifest, block: str, chunks) -> list[NaiveRow]:
    number = manifest.num_rows(block)
    columns = manifest.rows(block, 0, number)
    ids = manifest.record_ids(0, manifest.num_records)
    proteins, dna = (_item_texts(manifest, model, chunks) for model in (ESM2, DNABERTS))
    rows = []
    for values in zip(*(columns[name].tolist() for name in ROW_COLUMNS), strict=True):
        row = dict(zip(ROW_COLUMNS, values, strict=True))
        frame = FRAME_NAMES[row["frame"]]
        protein = proteins[row["esm2"]] if row["esm2"] >= 0 else ""
        assert len(protein) == row["protein_len"]
        rows.append(
            NaiveRow(
                row_id=row_id(ids[row["record"]], row["window"], frame),
                frame=frame,
                dna=dna[row["dnaberts"]],
                protein=protein,
                **{
                    name: row[name]
                    for name in ("window", "start", "end", "dna_start", "dna_end", "flags")
                },
                n_ambiguous=row["n_ambiguous"],
            )
        )
    return rows


def _item_texts(manifest: Manifest, model: ModelSlot, chunks) -> list[str]:
    """Text of each item of the manifest, found in the chunks by its key."""
    text_of = {item.key: item.text for chunk in chunks[model.name] for item in chunk}
    keys = manifest.item_keys(model.name, 0, manifest.num_items(model.name))
    return [text_of[key.tobytes().hex()] for key in keys]
