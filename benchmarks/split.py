"""How fast SPLIT is on one core, and how much memory it takes.

    python benchmarks/split.py [--mbp 1000] [--out results.json]

Three inputs, all made from the sequences of assets/demo: the short reads repeated (each read under
an id of its own), the same reads with a random letter changed in each (nothing repeats, the
harder case), and the genome of phage lambda repeated. A case runs as one process pinned to one
core; user and system time count, start-up included. The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dnaio

DEMO = Path(__file__).resolve().parent.parent / "assets" / "demo"


def repeated(name: str, num_bp: int, *, mutate: bool) -> Iterator[str]:
    """FASTQ records until there are `num_bp` letters."""
    with dnaio.open(DEMO / name) as reader:
        sequences = [record.sequence for record in reader]
    rng = random.Random(1)
    done = number = 0
    while done < num_bp:
        for sequence in sequences:
            number += 1
            text = sequence
            if mutate:
                at = rng.randrange(len(text))
                text = text[:at] + rng.choice("ACGT") + text[at + 1 :]
            done += len(text)
            yield f"@read{number}\n{text}\n+\n{'I' * len(text)}\n"


def run_case(fastq: Path, work: Path) -> dict[str, float]:
    """Seconds and bytes of one `virembed split`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    command = [sys.executable, "-m", "virembed", "split", str(fastq), "--sample", "bench"]
    core = {min(os.sched_getaffinity(0))}
    subprocess.run(
        [*command, "--out-dir", str(work)],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    wall_s = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # the largest child so far: cases run from the smallest to the largest index
    return {"cpu_s": cpu_s, "wall_s": wall_s, "peak_bytes": after.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mbp", type=int, default=1000, help="letters per case, in millions")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    cases = {
        "genome repeated": ("lambda.fna.gz", False),
        "short reads repeated": ("lambda_reads.fastq.gz", False),
        "short reads, all distinct": ("lambda_reads.fastq.gz", True),
    }
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        fastq = Path(directory) / "input.fastq"
        for case, (name, mutate) in cases.items():
            with fastq.open("w") as file:
                file.writelines(repeated(name, arguments.mbp * 10**6, mutate=mutate))
            result = run_case(fastq, Path(directory))
            result["mbp_per_cpu_s"] = arguments.mbp / result["cpu_s"]
            results[case] = result
            print(
                f"{case:<26} {result['mbp_per_cpu_s']:7.1f} Mbp per second of one core, "
                f"{result['cpu_s']:6.1f} s, peak {result['peak_bytes'] / 1e6:,.0f} MB"
            )
    report = {
        "command": " ".join(sys.argv),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "results": results,
    }
    text = json.dumps(report)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
