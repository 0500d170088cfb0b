"""Short reads as a sequencer gives them, for benchmarks: cut from real genomes, with errors.

    python benchmarks/reads.py OUT.fa [--reads 2000000] [--length 150] [--errors 0.02]

From random places of phage lambda and a plasmid of *Yersinia pestis* (assets/demo), either strand;
each base is replaced by another one with the probability of an error. At 2 % few reads of 150 bp
are alike. The same arguments give the same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dnaio
import numpy as np

DEMO = Path(__file__).resolve().parent.parent / "assets" / "demo"
GENOMES = ("lambda.fna.gz", "NC_005816.fna.gz")
LENGTH = 150
ERRORS = 0.02
_BATCH = 10_000
_COMPLEMENT = np.frombuffer(bytes.maketrans(b"ACGT", b"TGCA"), dtype=np.uint8)
_LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
_CODE = np.zeros(256, dtype=np.uint8)
_CODE[_LETTERS] = np.arange(4)


def write_reads(
    path: Path, num_reads: int, *, length: int = LENGTH, errors: float = ERRORS
) -> None:
    """Writes FASTA records `read0`, `read1`, ..."""
    rng = np.random.default_rng(1)
    places = []
    for name in GENOMES:
        with dnaio.open(DEMO / name) as reader:
            for record in reader:
                genome = np.frombuffer(record.sequence.upper().encode(), dtype=np.uint8)
                windows = np.lib.stride_tricks.sliding_window_view(genome, length)
                places += [windows, _COMPLEMENT[windows[:, ::-1]]]
    everywhere = np.concatenate(places)
    with path.open("wb") as file:
        for first in range(0, num_reads, _BATCH):
            count = min(_BATCH, num_reads - first)
            reads = everywhere[rng.integers(len(everywhere), size=count)]
            wrong = rng.random(reads.shape) < errors
            # another base than the one there is
            shift = rng.integers(1, 4, size=int(wrong.sum()), dtype=np.uint8)
            reads[wrong] = _LETTERS[(_CODE[reads[wrong]] + shift) % 4]
            for number, read in enumerate(reads, first):
                file.write(b">read%d\n%s\n" % (number, read.tobytes()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--reads", type=int, default=2_000_000)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--errors", type=float, default=ERRORS)
    arguments = parser.parse_args()
    write_reads(arguments.out, arguments.reads, length=arguments.length, errors=arguments.errors)


if __name__ == "__main__":
    main()
