"""What many samples cost the head process: its memory, and the processor time of a task.

    python benchmarks/scale.py [--samples 300 1000 3000] [--out results.json]

Runs main.nf as stubs (`-stub-run`: every task of the real flow, with nothing computed in it) for
sheets of growing length, three records a sample. Reported for each: tasks, seconds, the largest
resident memory of the Java process, processor seconds per task of that process and of the tasks,
seconds per task in each quarter of the run, files in the work directory per task. Growth faster
than the number of tasks would show as rising seconds per task. The last line is the result as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEXTFLOW = str(ROOT / "tools/nextflow")
RECORDS = "".join(f">r{number}\n{'ACGTTGCA' * 75}\n" for number in range(3))
HERTZ = os.sysconf("SC_CLK_TCK")


class HeadProcess(threading.Thread):
    """Follows a process and keeps the last its kernel said of its memory and time."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_bytes = 0
        self.cpu_s = 0.0

    def run(self) -> None:
        while True:
            try:
                status = Path(f"/proc/{self.pid}/status").read_text()
                stat = Path(f"/proc/{self.pid}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                return
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            if found is None:  # the process is over and only waited for
                return
            self.peak_bytes = int(found[1]) * 1024
            user, system = stat.rpartition(")")[2].split()[11:13]
            self.cpu_s = (int(user) + int(system)) / HERTZ
            time.sleep(0.2)


def followed(home: Path, *options: str, nextflow: str = NEXTFLOW) -> tuple[float, HeadProcess]:
    """Seconds of a run of main.nf in a directory, and its head process.

    Ends the program with the log if the run fails.
    """
    launcher = (nextflow, "run", str(ROOT / "main.nf"), "-ansi-log", "false")
    begin = time.perf_counter()
    with (home / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*launcher, *options], cwd=home, stdout=log, stderr=subprocess.STDOUT
        )
        head = HeadProcess(process.pid)
        head.start()
        status = process.wait()
    wall_s = time.perf_counter() - begin
    head.join()
    if status != 0:
        sys.exit((home / "log.txt").read_text()[-2000:])
    return wall_s, head


def lay_out(home: Path, num_samples: int) -> None:
    for name in ("esm2", "dnaberts"):
        (home / name).mkdir()
        (home / name / "weights.json").write_text("{}\n")
    data = home / "data"
    data.mkdir()
    rows = []
    for number in range(num_samples):
        (data / f"s{number}.fna").write_text(RECORDS)
        rows.append(f"s{number},data/s{number}.fna\n")
    (home / "samples.csv").write_text("sample,fasta\n" + "".join(rows))


def seconds_per_task(trace: Path) -> list[float]:
    """Of each quarter of the tasks, in the order in which they ended."""
    with trace.open(newline="") as file:
        ends = sorted(
            datetime.fromisoformat(row["complete"]).timestamp()
            for row in csv.DictReader(file, delimiter="\t")
        )
    size = len(ends) // 4
    return [round((ends[(n + 1) * size - 1] - ends[n * size]) / size, 4) for n in range(4)]


def measure(num_samples: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        lay_out(home, num_samples)
        options = [
            *("-stub-run", "-profile", "test", "--input", "samples.csv", "--outdir", "results"),
            *("--esm2_weights", "esm2", "--dnaberts_weights", "dnaberts"),
            *("-with-trace", "trace.txt"),
        ]
        before = os.times()
        wall_s, head = followed(home, *options)
        after = os.times()
        # the head process is waited for like the tasks it had waited for
        all_s = after.children_user + after.children_system
        all_s -= before.children_user + before.children_system
        quarters = seconds_per_task(home / "trace.txt")
        num_tasks = len((home / "trace.txt").read_text().splitlines()) - 1
        num_files = sum(len(files) for _, _, files in os.walk(home / "work"))
    return {
        "samples": num_samples,
        "tasks": num_tasks,
        "wall_s": round(wall_s, 1),
        "wall_s_per_task_by_quarter": quarters,
        "head_peak_mb": round(head.peak_bytes / 1e6),
        "head_cpu_s_per_task": round(head.cpu_s / num_tasks, 4),
        "tasks_cpu_s_per_task": round((all_s - head.cpu_s) / num_tasks, 4),
        "files_per_task": round(num_files / num_tasks, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    results = []
    for number in arguments.samples:
        results.append(measure(number))
        print(json.dumps(results[-1]), flush=True)
    text = json.dumps({"command": " ".join(sys.argv), "runs": results})
    if arguments.out:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
