"""Requests that nobody would make, of every route of the server; see tests/serve/fuzzing.py.

python benchmarks/serve_fuzz.py --requests 100000 -o benchmarks/results/DATE_serve_fuzz.md
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

from promptseg.runtime.machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from serve.fuzzing import fuzz


def main() -> None:
    """Ask, and write down what was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    start = time.monotonic()
    found = fuzz(asked.requests, asked.seed, lambda text: print(text, flush=True))
    seconds = time.monotonic() - start
    lines = "\n".join(f"| {status} | {count} |" for status, count in found.items())
    asked.o.write_text(
        f"""# Requests at random

{date.today()}; {describe_machine()["processor"]}; seed {asked.seed}, {seconds:.0f} s.
No crash, no 500, no file
beside the folder opened or changed, no place on the machine told.

| status | answers |
|---|---|
{lines}
"""
    )


if __name__ == "__main__":
    main()
