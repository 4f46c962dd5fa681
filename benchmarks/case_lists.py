"""Memory and time of planning a very long list of cases, against making a list of all of them.

    python benchmarks/case_lists.py --rows 2000000 -o benchmarks/results/DATE_case_lists.md

The table is made in a temporary folder; its images are not there, and nothing is segmented. Every way
is measured in a process of its own: `promptseg`, which reads the table twice (to find clashes, and to
hand out units), and the loop a user would write, which reads all rows into a list first.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = ("promptseg", "a list of all rows")


def make(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write("image,box,output\n")
        stream.writelines(
            f'site{k % 997}/patient{k // 7}/scan{k}.nii.gz,"{k % 200},10,{k % 200 + 50},90@12=lesion",'
            f"site{k % 997}/scan{k}.nii.gz\n"
            for k in range(rows)
        )


def one(way: str, table: Path) -> None:
    """Plan in this process and print cases, seconds and MiB at the peak."""
    begun = time.perf_counter()
    if way == WAYS[0]:
        from promptseg.jobs.listed import Segmenting
        from promptseg.jobs.lists import checked
        from promptseg.segment.options import SegmentJob

        verb = Segmenting(SegmentJob(input=table, output=table.parent / "out", quiet=True))
        count, _ = checked(verb.cases, verb)
        count = sum(1 for case in verb.cases if verb.task(case).row)
    else:
        with table.open(encoding="utf-8", newline="") as stream:
            held = [dict(row) for row in csv.DictReader(stream)]
        outputs = {row["output"] for row in held}
        count = len(outputs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(count, f"{time.perf_counter() - begun:.1f}", f"{peak:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--table", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.way:
        one(options.way, options.table)
        return
    lines = [
        f"# {options.rows:,} cases planned and iterated ({time.strftime('%Y-%m-%d')})",
        "",
        "| way | cases | s | MiB at the peak |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "cases.csv"
        make(table, options.rows)
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--table", str(table)]
            said = subprocess.run(
                command, capture_output=True, text=True, check=True
            ).stdout.split()
            lines.append(f"| {way} | {int(said[0]):,} | {said[1]} | {said[2]} |")
            print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
