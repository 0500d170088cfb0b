"""Records of FASTA and FASTQ files, in batches, with every complaint located to the line.

Compression (gzip, bzip2, xz, zstd) and format are recognised by content, never by name. Parsing is
dnaio's; this module adds the checks and finds the line of a problem by reading the file once more,
so that the fast path carries no line numbers. Knows nothing about windows or samples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import dnaio
from xopen import xopen

from virembed.alphabets import AMINO_ACIDS, NUCLEOTIDES, Alphabet, only_bases
from virembed.errors import InputError

BATCH_BP = 1 << 22  # where many reads are identical, each is worked on once per batch
MAX_RECORD_BP = 2**31 - 1  # coordinates are int32 in the result
MAX_PROBLEMS_PER_FILE = 20
ENOUGH_TO_JUDGE = 100  # letters, all of them bases, that make a file of proteins look like DNA

_RECORDS_PER_BATCH = 1 << 17
_COMPRESSIONS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}

_WITHOUT_BLANKS = str.maketrans("", "", " \t")

Complain = Callable[[InputError], None]


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one file; the letters as they stand there, without blanks.

    first: number of the first record within its file
    """

    first: int
    ids: list[str]
    sequences: list[str]


def stop_at_first(problem: InputError) -> None:
    """The strict way to take a complaint."""
    raise problem


def read_batches(
    path: Path,
    *,
    name: str = "",
    complain: Complain = stop_at_first,
    alphabet: Alphabet = NUCLEOTIDES,
) -> Iterator[RecordBatch]:
    """Batches of about `BATCH_BP` letters, at least one record each; none for an empty file.

    Args:
        name: what to call the file in messages, where it is staged under another name.
        complain: takes each problem of a record; if it returns, reading goes on.
        alphabet: of the sequences.

    Raises:
        InputError: neither FASTA nor FASTQ, or damaged: nothing can be read after such a place.
    """
    name = name or str(path)
    num_problems, num_letters = 0, 0
    is_suspect = alphabet is AMINO_ACIDS
    try:
        for batch in _batches(path, name):
            for locate in _problems(path, name, batch, alphabet):
                num_problems += 1
                # to find a line is to read the file from its start
                if num_problems <= MAX_PROBLEMS_PER_FILE:
                    complain(locate())
            if is_suspect:
                joined = "".join(batch.sequences)
                num_letters += len(joined)
                is_suspect = only_bases(joined)
            yield batch
        if is_suspect and num_letters >= ENOUGH_TO_JUDGE:
            complain(
                InputError(
                    f"{name}: nothing but letters of nucleotides, this looks like DNA",
                    "Give the sample the type windows or contig, or leave the type out.",
                )
            )
    finally:
        if num_problems > MAX_PROBLEMS_PER_FILE:
            more = num_problems - MAX_PROBLEMS_PER_FILE
            complain(InputError(f"{name}: and {more} more problems like these"))


def header_lines(path: Path, records: Collection[int]) -> dict[int, int]:
    """Line numbers, counted from 1, of the headers of the given records, counted from 0."""
    lines: dict[int, int] = {}
    for record, line, _ in _numbered_lines(path, records):
        lines.setdefault(record, line)
    return lines


def _batches(path: Path, name: str) -> Iterator[RecordBatch]:
    """The parser's records, its errors turned into ours."""
    try:
        with _open(path) as stream:
            kind = _sniff(stream, name)
            if kind:
                reader = dnaio.FastqReader(stream) if kind == "fastq" else dnaio.FastaReader(stream)
                with reader:
                    yield from _batched(reader)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file", "Correct the path.") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a directory", "Give the file in it.") from None
    except (dnaio.FileFormatError, UnicodeDecodeError) as error:
        raise _format_error(path, name, error) from None
    except Exception as error:  # noqa: BLE001 - each decompressor has an error class of its own
        raise InputError(
            f"{name}: cannot be read to its end ({error})",
            "Copy the file again, it is truncated or damaged.",
        ) from None


def _batched(records: Iterable[dnaio.SequenceRecord]) -> Iterator[RecordBatch]:
    first, num_bp = 0, 0
    ids: list[str] = []
    sequences: list[str] = []
    for record in records:
        sequence = record.sequence
        ids.append(record.id)
        sequences.append(sequence)
        num_bp += len(sequence)
        if num_bp >= BATCH_BP or len(ids) >= _RECORDS_PER_BATCH:
            yield RecordBatch(first, ids, sequences)
            first, num_bp, ids, sequences = first + len(ids), 0, [], []
    if ids:
        yield RecordBatch(first, ids, sequences)


def _open(path: Path) -> BinaryIO:
    """The decompressed content, whatever the file is called."""
    with path.open("rb") as file:
        head = file.read(6)
    for magic, kind in _COMPRESSIONS.items():
        if head.startswith(magic):
            return xopen(path, "rb", threads=0, format=kind)
    return path.open("rb")


def _sniff(stream: BinaryIO, name: str) -> str | None:
    """The format by the first sign, None for a file without content; rewinds the stream."""
    head = stream.read(4096)
    while head and not head.strip():
        head = stream.read(4096)
    stream.seek(0)
    sign = head.strip()[:1]
    if sign in (b">", b"#"):
        return "fasta"
    if sign == b"@":
        return "fastq"
    if sign:
        raise InputError(
            f"{name}: neither FASTA nor FASTQ, it starts with {sign.decode('latin-1')!r}",
            "Give a file whose records start with '>' or '@'.",
        )
    return None


def _format_error(path: Path, name: str, error: Exception) -> InputError:
    with _open(path) as stream:
        line = next((n for n, text in enumerate(stream, start=1) if not text.isascii()), 0)
    if line and ("ASCII" in str(error) or isinstance(error, UnicodeDecodeError)):
        return InputError(
            f"{name} line {line}: a letter that is not ASCII", "Use plain letters in the file."
        )
    parser_line = getattr(error, "line", None)
    where = name if parser_line is None else f"{name} line {parser_line + 1}"
    cause = " ".join(str(error).split(": ", 1)[-1].split()).rstrip(".")
    return InputError(f"{where}: {cause}", "Correct the file or write it again.")


def _problems(
    path: Path, name: str, batch: RecordBatch, alphabet: Alphabet
) -> Iterator[Callable[[], InputError]]:
    """What is wrong with the records of a batch, blanks removed; looks closer only if it must."""
    if "" in batch.ids:
        for i in (i for i, record in enumerate(batch.ids) if not record):
            yield partial(_id_error, path, name, batch.first + i)
    joined = "".join(batch.sequences)
    if " " in joined or "\t" in joined:  # as Biopython does
        batch.sequences[:] = [sequence.translate(_WITHOUT_BLANKS) for sequence in batch.sequences]
        joined = "".join(batch.sequences)
    if alphabet.illegal(joined):
        for i, sequence in enumerate(batch.sequences):
            if letters := alphabet.illegal_in(sequence):
                place = f"{name} line {{line}} record '{batch.ids[i]}'"
                yield partial(_letter_error, path, place, batch.first + i, letters, alphabet)
    if len(joined) > MAX_RECORD_BP:
        for i in (i for i, text in enumerate(batch.sequences) if len(text) > MAX_RECORD_BP):
            yield partial(
                InputError,
                f"{name} record '{batch.ids[i]}': longer than {MAX_RECORD_BP} letters",
                "Cut the record.",
            )


def _id_error(path: Path, name: str, record: int) -> InputError:
    return InputError(
        f"{name} line {header_lines(path, [record])[record]}: a record without an id",
        "Write an id directly after '>' or '@'.",
    )


def _letter_error(
    path: Path, place: str, record: int, letters: str, alphabet: Alphabet
) -> InputError:
    lines = list(_numbered_lines(path, [record]))
    sign = letters[0].encode("latin-1")
    line = next((line for _, line, text in lines[1:] if sign in text), 0)
    problem, remedy = alphabet.complaint(letters)
    return InputError(f"{place.format(line=line)}: {problem}", remedy)


def _numbered_lines(path: Path, records: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
    """(record, line, text) of the header and sequence lines of some records: the slow way."""
    wanted, last = frozenset(records), max(records)
    record = -1
    with _open(path) as stream:
        fastq = None
        for line, text in enumerate(stream, start=1):
            if fastq is None:
                if not text.strip():
                    continue
                fastq, shift = text.startswith(b"@"), line
            part = (line - shift) % 4 if fastq else 0
            if part == 0 and (fastq or text.startswith(b">")):
                record += 1
                if record > last:
                    return
            if record in wanted and part < 2:
                yield record, line, text
