"""The accounting of a sample: every record, window, frame and row, and identities between them.

The same numbers stand in the result file, in its summary and in the report.
"""

from __future__ import annotations

from collections.abc import Mapping

from virembed.errors import IncompleteError
from virembed.layout import MODELS

_ROWS_WITH = {"protein": "n_protein_rows", "dna": "n_dna_rows"}

# left side = sum of the right side; frames_looked_at is six times windows; windows_dropped are
# those without an open frame under the rules of VirNucPro, which have no row there; contigs and
# proteins are records that were embedded whole
IDENTITIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "records_in",
        (
            "records_ok",
            "records_empty",
            "records_too_short",
            "records_too_long",
            "records_not_dna",
            "records_duplicate_id",
            "records_failed",
        ),
    ),
    ("windows", ("windows_with_open_frame", "windows_no_open_frame")),
    ("frames_looked_at", ("frames_open", "frames_with_stop", "frames_empty")),
    ("windows_no_open_frame", ("n_window_rows", "windows_dropped")),
    ("rows", ("n_protein_rows", "n_window_rows", "n_contig_rows")),
    ("n_protein_rows", ("frames_open", "proteins")),
    ("n_contig_rows", ("contigs",)),
    ("records_whole", ("contigs", "proteins")),
    ("n_dna_rows", ("frames_open", "n_window_rows", "n_contig_rows")),
    *((_ROWS_WITH[model.item], (f"{model.name}_ok", f"{model.name}_failed")) for model in MODELS),
    *((f"{model.name}_ok", (f"{model.name}_unique", f"{model.name}_copied")) for model in MODELS),
)
SPLIT_COUNTS = (
    "records_in",
    *IDENTITIES[0][1],
    "bases_in",
    "residues_in",
    "windows",
    "windows_no_open_frame",
    "windows_dropped",
    "frames_open",
    "frames_with_stop",
    "frames_empty",
    "codons_ambiguous",
    "contigs",
    "proteins",
)


def accounting(
    split_counts: Mapping[str, int],
    *,
    num_rows: int,
    num_protein_rows: int,
    num_dna_rows: int,
    found: Mapping[str, tuple[int, int]],
    num_tokens: Mapping[str, int],
) -> dict[str, int]:
    """All counts of a sample.

    Args:
        split_counts: what SPLIT counted while it read.
        num_rows, num_protein_rows, num_dna_rows: rows there are in the result, with a protein and
            with DNA, counted as they were written.
        found: by model: vectors written for the first row of an item, and for further rows.
        num_tokens: by model, over the distinct items.

    Raises:
        IncompleteError: an identity does not hold.
    """
    counts = {name: split_counts.get(name, 0) for name in SPLIT_COUNTS}
    counts["windows_with_open_frame"] = counts["windows"] - counts["windows_no_open_frame"]
    counts["frames_looked_at"] = 6 * counts["windows"]
    counts["rows"], counts["n_protein_rows"] = num_rows, num_protein_rows
    counts["n_dna_rows"] = num_dna_rows
    counts["records_whole"] = counts["contigs"] + counts["proteins"]
    without_protein = "n_contig_rows" if counts["contigs"] else "n_window_rows"
    counts |= {"n_contig_rows": 0, "n_window_rows": 0}
    counts[without_protein] = num_rows - num_protein_rows
    for model in MODELS:
        unique, copied = found[model.name]
        counts[f"{model.name}_unique"], counts[f"{model.name}_copied"] = unique, copied
        counts[f"{model.name}_ok"] = unique + copied
        counts[f"{model.name}_failed"] = counts[_ROWS_WITH[model.item]] - unique - copied
        counts[f"tokens_{model.name}"] = num_tokens[model.name]
    # nothing is truncated so far, and a vector that is not finite stops the run
    for name in ("esm2_truncated", "residues_truncated", "dna_truncated", "nonfinite"):
        counts[name] = 0
    check_identities(counts)
    return counts


def imported_accounting(
    *, num_records: int, num_windows: int, num_rows: int, num_missing: int
) -> dict[str, int]:
    """The counts that are known of an imported result, in which every row has both vectors.

    Records, windows and frames that gave no row are not in it, and not counted.

    Args:
        num_missing: rows left out because one model has no vector of them.
    """
    counts = {"records_in": num_records, "records_ok": num_records}
    counts |= {"windows_with_open_frame": num_windows, "frames_open": num_rows}
    counts |= {"rows": num_rows, "n_protein_rows": num_rows, "n_dna_rows": num_rows}
    counts |= {"n_window_rows": 0, "n_contig_rows": 0, "contigs": 0, "proteins": 0}
    counts["records_whole"] = 0
    for model in MODELS:
        # each row counts as its own, no copy is known
        counts |= {f"{model.name}_ok": num_rows, f"{model.name}_unique": num_rows}
        counts |= {f"{model.name}_copied": 0, f"{model.name}_failed": 0}
    return {**counts, "nonfinite": 0, "rows_missing": num_missing}


def check_identities(counts: Mapping[str, int], *, imported: bool = False) -> None:
    """
    Args:
        imported: not everything was counted; identities between numbers that are there hold.

    Raises:
        IncompleteError: names every identity that does not hold.
    """
    broken = [
        f"{left} {counts[left]} is not {' + '.join(f'{name} {counts[name]}' for name in right)}"
        for left, right in IDENTITIES
        if not (imported and {left, *right} - counts.keys())
        and counts[left] != sum(counts[name] for name in right)
    ]
    never = (*(f"{model.name}_failed" for model in MODELS), "nonfinite")
    broken += [f"{name} is {counts[name]}" for name in never if counts[name]]
    if broken:
        raise IncompleteError(
            f"the accounting does not hold: {'; '.join(broken)}", "Run the sample again."
        )
