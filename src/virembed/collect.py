"""COLLECT: manifest and shards of a sample in, its result file out.

Block by block of rows: what stays in memory is one number per distinct item. The accounting
identities are asserted, and the file is read again and verified, before it gets its name.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from virembed import __version__
from virembed.accounting import accounting
from virembed.atomic import whole_file
from virembed.errors import IncompleteError
from virembed.h5 import new_file, require_space
from virembed.join import ItemVectors, join_shards, wrong_shards
from virembed.layout import (
    FRAME_NAMES,
    MODELS,
    PROTEIN,
    PROTEIN_TEXTS,
    WINDOWS,
    ModelSlot,
    row_id,
)
from virembed.manifest import PROTEIN_ROWS, WINDOW_ROWS, Columns, Manifest, open_manifest
from virembed.moments import MomentSums, Norms
from virembed.provenance import README, flag_table, provenance
from virembed.residues import SampleResidues, join_residues, write_residues
from virembed.result import BLOCK_ROWS, ResultWriter, expected_bytes
from virembed.verify import verify_written
from virembed.weights_info import WeightsInfo

Int64s = npt.NDArray[np.int64]

_STRAND = np.array([1, 1, 1, -1, -1, -1, 0], dtype=np.int8)  # by code of the frame


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where to write: the result, its counts as JSON, the proteins of its rows; and residues."""

    result: Path
    summary: Path
    proteins: Path
    residues: Path | None = None


def collect_sample(
    manifest: Path,
    *,
    shards: Sequence[Path],
    cards: Sequence[WeightsInfo],
    outputs: Outputs,
    residues: Sequence[Path] = (),
) -> dict[str, Any]:
    """Writes the result of a sample and returns its summary.

    Args:
        cards: one per model. A sample without a protein has no shard that tells how wide its
            matrix is, and vectors of other weights must not get in.
        residues: of the shards, if `outputs` wants them.

    Raises:
        IncompleteError: shards do not make up the sample, or the accounting does not hold.
    """
    by_model = {card.model: card for card in cards}
    missing = [model.name for model in MODELS if model.name not in by_model]
    if missing:
        raise IncompleteError(
            f"no weights card of {', '.join(missing)}", "Give --weights once per model."
        )
    with open_manifest(manifest) as opened:
        collector = _Collector(opened, join_shards(opened, shards, by_model), by_model)
        wanted = collector.join_residues(residues) if outputs.residues else None
        collector.require_space(
            outputs.result.absolute().parent, besides=wanted.num_bytes if wanted else 0
        )
        with (
            whole_file(outputs.summary) as summary_path,
            whole_file(outputs.proteins) as proteins_path,
            new_file(outputs.result, check=verify_written) as file,
            proteins_path.open("wb") as proteins,
        ):
            summary = collector.run(file, proteins)
            summary_path.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
            if wanted and outputs.residues:
                collector.write_residues(outputs.residues, wanted, file)
            return summary


class _Collector:
    def __init__(
        self,
        manifest: Manifest,
        vectors: Mapping[str, ItemVectors],
        cards: Mapping[str, WeightsInfo],
    ) -> None:
        self.manifest, self.vectors, self.cards = manifest, vectors, cards
        self.num_protein_rows = manifest.num_rows(PROTEIN_ROWS)
        self.num_rows = self.num_protein_rows + manifest.num_rows(WINDOW_ROWS)
        self.num_dna_rows = 0  # so far
        self.type: str = manifest.settings["params"]["type"]
        self.dims = {name: card.dim for name, card in cards.items()}
        # the first row of each item, 4 bytes per distinct sequence
        self.source_row = {
            model.name: np.full(manifest.num_items(model.name), -1, dtype=np.int32)
            for model in MODELS
        }
        self.written = {model.name: 0 for model in MODELS}
        self.sums = {model.name: MomentSums(self.dims[model.name]) for model in MODELS}

    def require_space(self, directory: Path, *, besides: int) -> None:
        """Where the result goes; `besides` are the bytes of other files."""
        needed = expected_bytes(
            num_rows=self.num_rows,
            num_protein_rows=self.num_protein_rows,
            num_dna_rows=0 if self.type == PROTEIN else self.num_rows,
            num_records=self.manifest.num_records,
            dims=self.dims,
        )
        require_space(directory, needed + besides)

    def join_residues(self, paths: Sequence[Path]) -> SampleResidues:
        shards = self.vectors[PROTEIN_TEXTS.name].shards
        identity = shards[0].identity if shards else None
        card = self.cards[PROTEIN_TEXTS.name]
        return join_residues(self.manifest, paths, card=card, identity=identity)

    def write_residues(self, path: Path, found: SampleResidues, result: Any) -> None:
        """Once the rows are written: `result` is their file."""
        rows, sample = self.source_row[PROTEIN_TEXTS.name], self.manifest.sample
        write_residues(path, found, sample=sample, rows=rows, result=result)

    def run(self, file: Any, proteins: IO[bytes]) -> dict[str, Any]:
        writer = ResultWriter(
            file,
            num_rows=self.num_rows,
            num_records=self.manifest.num_records,
            dims=self.dims,
        )
        # no name and no time in the header: the same rows give the same bytes
        with (
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=proteins, mtime=0) as fasta,
            ThreadPoolExecutor(1) as beside,
        ):
            for start in range(0, self.num_rows, BLOCK_ROWS):
                columns = self._rows(start, min(start + BLOCK_ROWS, self.num_rows))
                ids = self._row_ids(columns)
                texts = beside.submit(self._write_proteins, fasta, ids, columns)
                obs = self._obs(start, columns, writer)
                writer.write_obs(start, {"row_id": ids, **obs})
                texts.result()
        self._write_records(writer)
        writer.write_lost(self.manifest.lost())
        return self._finish(file, writer)

    def _rows(self, start: int, stop: int) -> Columns:
        """Rows of the result: first those of block A, then those of block B."""
        border = self.num_protein_rows
        parts = [
            self.manifest.rows(PROTEIN_ROWS, min(start, border), min(stop, border)),
            self.manifest.rows(WINDOW_ROWS, max(start - border, 0), max(stop - border, 0)),
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _row_ids(self, columns: Columns) -> list[str]:
        records = self.manifest.ids_of_records(columns["record"])
        if self.type != WINDOWS:
            return records  # a row is a record
        frames = [FRAME_NAMES[code] for code in columns["frame"].tolist()]
        return list(map(row_id, records, columns["window"].tolist(), frames))

    def _write_proteins(self, fasta: gzip.GzipFile, ids: list[str], columns: Columns) -> None:
        has_protein = np.flatnonzero(columns["protein_len"])
        items = columns[PROTEIN_TEXTS.name][has_protein]
        texts = self.manifest.texts_of_items(PROTEIN_TEXTS.name, items)
        rows = zip(has_protein.tolist(), texts, strict=True)
        fasta.write("".join(f">{ids[row]}\n{text}\n" for row, text in rows).encode("ascii"))

    def _obs(self, start: int, columns: Columns, writer: ResultWriter) -> Columns:
        """Columns of `obs` for some rows; writes their vectors on the way."""
        self.num_dna_rows += int((columns["dna_end"] > columns["dna_start"]).sum())
        obs = dict(columns)
        obs["record_id"] = columns["record"]
        obs["strand"] = _STRAND[columns["frame"]]
        obs["flags"] = columns["flags"].copy()
        for model in MODELS:
            items = columns[model.name].astype(np.int64)
            has_item = items >= 0
            source = self._sources(model, items, start)
            copied = has_item & (source != np.arange(start, start + len(items)))
            obs["flags"][copied] |= np.uint16(model.flag_copied)
            wider = np.flatnonzero(has_item)[self.vectors[model.name].wider[items[has_item]]]
            obs["flags"][wider] |= np.uint16(model.flag_wider)
            obs[f"has_{model.name}"] = has_item
            obs[f"{model.name}_source_row"] = source
            obs[f"{model.name}_norm"] = self._write_vectors(model, items, start, writer)
        return obs

    def _sources(self, model: ModelSlot, items: Int64s, start: int) -> Int64s:
        """The first row that has the item of each row, -1 for a row without one."""
        source = self.source_row[model.name]
        rows = np.flatnonzero((items >= 0) & (source[items] < 0)) if len(source) else items[:0]
        new_items, first = np.unique(items[rows], return_index=True)
        source[new_items] = start + rows[first]
        return np.where(items >= 0, source[items], -1) if len(source) else items

    def _write_vectors(
        self, model: ModelSlot, items: Int64s, start: int, writer: ResultWriter
    ) -> Norms:
        """Norms of the vectors written, fp32 [rows]; NaN where there is none."""
        # rows with a vector are the first rows: block A for proteins, all or none for DNA
        present = items[items >= 0]
        self.written[model.name] += len(present)
        found = writer.write_counted(
            model.obsm, start, present, self.vectors[model.name].gather, self.sums[model.name]
        )
        odd = np.flatnonzero(np.isnan(found))
        if odd.size:
            path = self.vectors[model.name].path_of(int(present[odd[0]]))
            raise wrong_shards(self.manifest, [f"{path.name}: a vector is not finite"])
        return np.concatenate([found, np.full(len(items) - len(found), np.nan, np.float32)])

    def _write_records(self, writer: ResultWriter) -> None:
        row, dna_row = 0, self.num_protein_rows
        for start in range(0, self.manifest.num_records, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, self.manifest.num_records)
            columns = self.manifest.records(start, stop)
            row_stop = row + np.cumsum(columns["num_protein_rows"], dtype=np.int64)
            dna_row_stop = dna_row + np.cumsum(columns["num_window_rows"], dtype=np.int64)
            writer.write_records(
                start,
                self.manifest.record_ids(start, stop),
                {
                    "length": columns["length_bp"],
                    "n_windows": columns["num_windows"],
                    "n_windows_no_open_frame": columns["num_closed_windows"],
                    "n_rows": columns["num_protein_rows"] + columns["num_window_rows"],
                    "row_start": row_stop - columns["num_protein_rows"],
                    "row_stop": row_stop,
                    "dna_row_start": dna_row_stop - columns["num_window_rows"],
                    "dna_row_stop": dna_row_stop,
                },
                columns["status"],
            )
            row, dna_row = int(row_stop[-1]), int(dna_row_stop[-1])

    def _finish(self, file: Any, writer: ResultWriter) -> dict[str, Any]:
        settings = self.manifest.settings
        shards = {name: vectors.shards for name, vectors in self.vectors.items()}
        unique = {name: int((rows >= 0).sum()) for name, rows in self.source_row.items()}
        counts = accounting(
            settings["counts"],
            num_rows=self.num_rows,
            num_protein_rows=self.num_protein_rows,
            num_dna_rows=self.num_dna_rows,
            found={name: (unique[name], self.written[name] - unique[name]) for name in unique},
            num_tokens={name: vectors.num_tokens for name, vectors in self.vectors.items()},
        )
        file.attrs["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        writer.finish(
            sample=self.manifest.sample,
            uns={
                "accounting": counts,
                "flags": flag_table(),
                "provenance": provenance(settings, cards=self.cards, shards=shards),
                "params_json": json.dumps(settings["params"], sort_keys=True),
                "README": README,
            },
            moments={name: sums.moments() for name, sums in self.sums.items()},
        )
        return {
            "sample": self.manifest.sample,
            "status": "ok" if self.num_rows else "empty",
            "virembed": __version__,
            "accounting": counts,
            "params": settings["params"],
            "inputs": settings["inputs"],
            "models": {
                name: _model_summary(self.cards[name], vectors)
                for name, vectors in self.vectors.items()
            },
        }


def _model_summary(card: WeightsInfo, vectors: ItemVectors) -> dict[str, Any]:
    shards, num_tokens = vectors.shards, vectors.num_tokens
    seconds = {
        part: round(sum(shard.origin.seconds[part] for shard in shards), 3)
        for part in ("load", "tokenize", "loop")
    }
    return {
        "weights": card.name,
        "weights_sha256": card.sha256,
        "random_weights": card.random,
        "num_chunks": len(shards),
        "num_tokens": num_tokens,
        "tokens_per_s": round(num_tokens / seconds["loop"], 1) if seconds["loop"] else None,
        "seconds": seconds,
        "devices": sorted({shard.origin.device for shard in shards}),
        "reasons": shards[0].origin.reasons if shards else {},
        "software": shards[0].origin.software if shards else {},
    }
