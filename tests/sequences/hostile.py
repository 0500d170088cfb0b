"""Records that data paths stumble over, and the files they come in. Every maker is seeded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Records = list[tuple[str, str]]

IUPAC = "RYSWKMBDHVN"
CODONS_WITHOUT_STOP = ("GCT", "ACC", "GGA", "CTG", "AAC", "TTC", "CGT", "GAR", "ATG", "CCN")


def draw(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def lengths_round(window_bp: int) -> list[int]:
    c = window_bp
    near = [0, 1, 2, 3, 4, 5, c - 1, c, c + 1, 2 * c - 1, 2 * c, 2 * c + 1, 3 * c + 2]
    return sorted({length for length in near if length >= 0})


# ------------------------------------------------------------------------------------- records


def every_border_length(rng: random.Random, window_bp: int) -> Records:
    return [(f"len{n}", draw(rng, "ACGT", n)) for n in lengths_round(window_bp)]


def runs_of_n(rng: random.Random, window_bp: int) -> Records:
    records = []
    for i in range(12):
        parts = [draw(rng, "ACGT", rng.randint(0, window_bp)) + "N" * rng.randint(1, 90)]
        parts += [draw(rng, "ACG", rng.randint(0, 40)) + "nNn", draw(rng, "CG", 31)]
        records.append((f"n{i}", "".join(rng.sample(parts, 3))))
    return [*records, ("all_n", "N" * (2 * window_bp + 7)), ("three_n", "NNN"), ("one_n", "n")]


def iupac_letters(rng: random.Random, window_bp: int) -> Records:
    sparse = "ACGT" * 12 + IUPAC
    records = [(f"iupac{i}", draw(rng, sparse, window_bp + 9 * i)) for i in range(8)]
    records += [(f"dense{i}", draw(rng, IUPAC, 40 + i)) for i in range(4)]
    coding = "".join(rng.choices(CODONS_WITHOUT_STOP, k=window_bp // 2))
    resolvable = "MGRTTYYTRATHTARTRAAAYGAYCARYTN"  # Arg Phe Leu Ile stop stop Asn Asp Gln Leu
    return [*records, ("coding", coding), ("agree", resolvable), ("agree2", resolvable[:12])]


def odd_case(rng: random.Random, window_bp: int) -> Records:
    return [
        (f"case{i}", draw(rng, alphabet, 2 * window_bp + i))
        for i, alphabet in enumerate(["acgt", "ACGTacgt", "acgtn", "ACGTryswkmbdhvn", "aCg"])
    ]


def rna(rng: random.Random, window_bp: int) -> Records:
    return [
        (f"rna{i}", draw(rng, alphabet, window_bp + 11 * i))
        for i, alphabet in enumerate(["ACGU", "acgu", "ACGTU", "ACGUACGN", "ACGACGU", "UUUUC"])
    ]


def stops_only(rng: random.Random, window_bp: int) -> Records:
    stops = ("TAA", "TAG", "TGA")
    everywhere = "".join(rng.choices(stops, k=window_bp))
    terminal = "ATGGCCGGC"
    return [
        ("stops", everywhere),
        ("stop_in_all_six", "TAACTAACTAACTTAGTTAGTTAG" * 4),
        ("one_stop", "TAA"),
        ("stop_and_two", "TGAGG"),
        ("terminal", terminal + "TAA"),
        ("terminal_late", terminal + "TAGC"),
        ("ambiguous_stop", terminal + "TAR"),
        ("perhaps_stop", terminal + "TAN"),
        ("both_strands", "TTA" + terminal + "TGA"),
    ]


def duplicates(rng: random.Random, window_bp: int) -> Records:
    once = draw(rng, "ACG", window_bp + 30)
    records = [(f"copy{i}", once if i % 3 else once.lower()) for i in range(7)]
    records += [(f"repeat{i}", "ACGGCC" * window_bp) for i in range(2)]
    return [*records, ("inner", once[:window_bp])]


def awkward_ids(rng: random.Random, window_bp: int) -> Records:
    ids = ["a_chunk_1", "a_chunk_1F1", "a", "a_chunk_1_chunk_2", "_chunk_", "x~2", "sp|P1|N=1;k"]
    ids += ["1", "-", "#", "contig'\"", "a,b", "=2+2", "." * 3, "L" * 300]
    return [(name, draw(rng, "ACGC", window_bp + 3 * i)) for i, name in enumerate(ids)]


def many_tiny(rng: random.Random, window_bp: int) -> Records:
    return [(f"t{i}", draw(rng, "ACGTTGCAN", rng.randint(0, 12))) for i in range(3000)]


def one_long(rng: random.Random, window_bp: int) -> Records:
    return [("long", draw(rng, "ACGC" * 5 + "T", 300 * window_bp + 17)), ("after", "ACGTACGT")]


def plain_random(rng: random.Random, window_bp: int) -> Records:
    return [
        (f"rec{i}", draw(rng, "ACGT", rng.randint(1, 6 * window_bp)))
        for i in range(max(4, 1500 // window_bp))
    ]


MAKERS: dict[str, Callable[[random.Random, int], Records]] = {
    maker.__name__: maker
    for maker in (
        every_border_length,
        runs_of_n,
        iupac_letters,
        odd_case,
        rna,
        stops_only,
        duplicates,
        awkward_ids,
        many_tiny,
        one_long,
        plain_random,
    )
}


def make(name: str, window_bp: int) -> Records:
    return MAKERS[name](random.Random(f"{name} {window_bp}"), window_bp)


# --------------------------------------------------------------------------------------- files


def wrapped(sequence: str, width: int) -> list[str]:
    if width == 0:
        return [sequence]
    return [sequence[i : i + width] for i in range(0, len(sequence), width)]


def fasta(
    records: Records,
    *,
    width: int = 70,
    newline: str = "\n",
    blank_lines: bool = False,
    final_newline: bool = True,
    description: str = "",
) -> bytes:
    lines = []
    for record_id, sequence in records:
        lines += [f">{record_id}{description}", *wrapped(sequence, width)]
        lines += [""] * blank_lines
    text = newline.join(lines)
    return (text + newline * (final_newline and bool(lines))).encode()


def fastq(records: Records, *, newline: str = "\n", repeat_id: bool = False) -> bytes:
    lines = []
    for record_id, sequence in records:
        quality = "".join(chr(33 + i % 94) for i in range(len(sequence)))
        lines += [f"@{record_id} x=1", sequence, "+" + f"{record_id} x=1" * repeat_id, quality]
    return "".join(line + newline for line in lines).encode()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
