"""The residues of a sample, `SAMPLE.residues.h5`: the hidden states that X_esm2 is the means of.

/                 attributes: format, sample, created, how they were embedded, README; result_sha256
                  tells which result file they belong to (see `result_identity`)
esm2/residues     float16 [sum of lengths, D], contiguous: proteins one after the other, identical
                  ones once
esm2/offsets      int64 [proteins + 1], where each begins, and the end of the last one
esm2/row          int32 [proteins], its first row in the result file; `obs/esm2_source_row` of the
                  result leads there from every row

In the order of first appearance in the sample, whatever packs and chunks they were embedded in.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from virembed.errors import IncompleteError
from virembed.float16 import all_finite
from virembed.h5 import STRING, format_of, new_large_file, open_complete
from virembed.layout import ESM2, chunk_name
from virembed.manifest import Manifest
from virembed.residue_shards import SUFFIX, ResidueShard, open_residue_shard, read_residue_shard
from virembed.seal import seal_problem
from virembed.shards import ShardIdentity, differing_fields
from virembed.weights_info import WeightsInfo

FORMAT = "virembed.residues/1"
README = """\
Hidden states of every residue (ESM-2), whose means are obsm/X_esm2 of the result file SAMPLE.h5.
Protein k has the rows esm2/offsets[k] to esm2/offsets[k+1] of esm2/residues; its first row in the
result file is esm2/row[k]. Other rows with the same protein: obs/esm2_source_row there.
"""
KIND = "file of residues"
_REMEDY = "Copy the file again, or run COLLECT again with -resume."


@dataclass(frozen=True, slots=True)
class SampleResidues:
    """The files that make up a sample, by chunk, and how long its proteins are (int64 [items])."""

    paths: list[Path]
    lengths: npt.NDArray[np.int64]
    card: WeightsInfo
    identity: ShardIdentity | None

    @property
    def num_bytes(self) -> int:
        return int(self.lengths.sum()) * 2 * self.card.dim + 12 * len(self.lengths)


@dataclass(frozen=True, slots=True)
class ResiduesInfo:
    """What a finished file holds."""

    sample: str
    result_sha256: str
    num_proteins: int
    num_residues: int


def join_residues(
    manifest: Manifest,
    paths: Sequence[Path],
    *,
    card: WeightsInfo,
    identity: ShardIdentity | None,
) -> SampleResidues:
    """
    Args:
        identity: of the shards of the sample, None where it has none.

    Raises:
        IncompleteError: names every file that is missing, doubled, foreign, or made otherwise than
            its shard; or the first that cannot be read.
    """
    problems: list[str] = []
    by_chunk: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:  # read twice, so that only one is in memory
        by_chunk[read_residue_shard(path).chunk].append(path)
    lengths = manifest.item_lengths(ESM2.name)
    ordered: list[Path] = []
    starts = manifest.chunk_starts(ESM2.name)
    for number, (first, stop) in enumerate(pairwise(starts.tolist())):
        name = chunk_name(manifest.sample, ESM2.name, number)
        candidates = by_chunk.pop(name, [])
        if len(candidates) == 1:
            ordered += candidates
            keys = manifest.item_keys(ESM2.name, first, stop)
            shard = read_residue_shard(candidates[0])
            problems += _problems(shard, keys, lengths[first:stop], identity)
        elif candidates:
            names = ", ".join(candidate.name for candidate in candidates)
            problems.append(f"{name} is there {len(candidates)} times ({names})")
        else:
            problems.append(f"{name} is missing")
    problems += [f"{name}: belongs to another sample or run" for name in by_chunk]
    if problems:
        raise IncompleteError(
            f"sample '{manifest.sample}', residues: {'; '.join(problems)}",
            "Embed what is named here again with --residues, then collect.",
        )
    return SampleResidues(ordered, lengths, card, identity)


def _problems(
    shard: ResidueShard,
    keys: npt.NDArray[np.uint8],
    lengths: npt.NDArray[np.int64],
    identity: ShardIdentity | None,
) -> Iterator[str]:
    name = shard.path.name
    if not np.array_equal(shard.keys, keys):
        yield f"{name}: its keys are not those of the manifest"
    elif not np.array_equal(shard.lengths, lengths):
        yield f"{name}: its lengths are not those of the proteins"
    elif identity and shard.shape != (lengths.sum(), identity.dim):
        yield f"{name}: {shard.shape} residues, not {(int(lengths.sum()), identity.dim)}"
    if identity and (differences := differing_fields(shard.identity, identity)):
        yield f"{name} differs from the shards: {', '.join(differences)}"


def write_residues(
    path: Path,
    found: SampleResidues,
    *,
    sample: str,
    rows: npt.NDArray[np.int32],
    result: h5py.File,
) -> None:
    """
    Args:
        rows: first row of each protein in the result file, int32 [items].
        result: that file, filled.

    Raises:
        IncompleteError: a file was altered since it was written, or holds what is not finite.
    """
    num_residues = int(found.lengths.sum())
    with new_large_file(path, check=verify_residues) as large:
        file = large.file
        esm2 = file.create_group("esm2")
        offsets = np.concatenate([[0], np.cumsum(found.lengths)]).astype("<i8")
        esm2.create_dataset("offsets", data=offsets)
        esm2.create_dataset("row", data=rows.astype("<i4"))
        residues = esm2.create_dataset("residues", (num_residues, found.card.dim), "<f2")
        done = 0
        for part in found.paths:
            with open_residue_shard(part) as (_, stored):
                for block in stored.blocks():
                    if not all_finite(block):
                        raise IncompleteError(
                            f"{part}: a residue is not finite", "Embed its chunk again."
                        )
                    residues[done : done + len(block)] = block
                    done += len(block)
                    large.raise_error()
        assert done == num_residues
        texts = {
            "format": FORMAT,
            "sample": sample,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model_id": found.card.name,
            "weights_sha256": found.card.sha256,
            "compute_dtype": found.identity.precision if found.identity else "none",
            "result_sha256": result_identity(result),
            "README": README,
        }
        for name, text in texts.items():
            file.attrs.create(name, text, dtype=STRING)
        file.attrs["random_weights"] = np.uint8(found.card.random)


def result_identity(result: h5py.File) -> str:
    """sha256 over the checksums of the ids and X_esm2 of a result file: it stays the same when
    columns are added, by `virembed classify` for one."""
    checksums = result["uns/integrity"]
    # without a protein there is none of X_esm2
    stored = [checksums[name] for name in ("obs_row_id", ESM2.obsm) if name in checksums]
    texts = [text for dataset in stored for text in dataset.asstr()[:]]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def is_residues(path: Path) -> bool:
    """Whether a file is one of these, by what it says of itself; a damaged one by its name."""
    form = format_of(path)
    return form == FORMAT or (form is None and path.name.endswith(SUFFIX))


def verify_residues(path: Path) -> ResiduesInfo:
    """Proves that a file is complete and as it was written.

    Raises:
        IncompleteError: it is not.
    """
    try:
        problem = seal_problem(path)
    except OSError:
        problem = None  # the next line names it better
    with open_complete(path, kind=KIND, remedy=_REMEDY, form=FORMAT) as file:
        if problem:
            raise IncompleteError(f"{path}: {problem}", _REMEDY)
        offsets, rows = file["esm2/offsets"][:], file["esm2/row"][:]
        whole = offsets[0] == 0 and (np.diff(offsets) > 0).all() and (rows >= 0).all()
        if not whole or (len(rows), len(file["esm2/residues"])) != (len(offsets) - 1, offsets[-1]):
            raise IncompleteError(f"{path}: rows, offsets and residues do not fit", _REMEDY)
        return ResiduesInfo(
            sample=str(file.attrs["sample"]),
            result_sha256=str(file.attrs["result_sha256"]),
            num_proteins=len(rows),
            num_residues=int(offsets[-1]),
        )
