"""Requests that nobody would make, of every route of the server; see tests/serve/fuzzing.py.

    python benchmarks/serve_fuzz.py --requests 100000 -o benchmarks/results/DATE_serve_fuzz.md

What was answered so far is written after every part, with a JSON file beside it until all is done: the
same command goes on from there, after `--minutes` or a kill.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from promptseg.runtime.machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from serve.fuzzing import fuzz

PART = 2500  # requests of one application; seeds of the parts follow each other


def main() -> None:
    """Ask part by part, and write down what was answered so far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="no further part after that")
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    state, begun = asked.o.with_suffix(".json"), time.monotonic()
    done: dict[str, Any] = {"requests": 0, "seconds": 0.0, "statuses": {}, "seed": asked.seed}
    if state.exists():
        done = json.loads(state.read_text())
    statuses = Counter(done["statuses"])
    while done["requests"] < asked.requests and time.monotonic() - begun < 60 * asked.minutes:
        start, count = time.monotonic(), min(PART, asked.requests - done["requests"])
        found = fuzz(count, done["seed"] + done["requests"] // PART)
        statuses.update({status: n for status, n in found.items() if status != "requests"})
        done["requests"] += count
        done["seconds"] += time.monotonic() - start
        done["statuses"] = dict(sorted(statuses.items()))
        write(asked.o, done, asked.requests)
        state.write_text(json.dumps(done))
        print(f"{done['requests']} requests: {done['statuses']}", flush=True)
    if done["requests"] >= asked.requests:
        state.unlink(missing_ok=True)


def write(path: Path, done: dict[str, Any], wanted: int) -> None:
    """The result file."""
    lines = "\n".join(f"| {status} | {count} |" for status, count in done["statuses"].items())
    path.write_text(
        f"""# Requests at random

{date.today()}; {describe_machine()["processor"]}; seeds from {done["seed"]} on, {done["requests"]} of
{wanted} requests in {done["seconds"]:.0f} s. No crash, no 500, no file beside the folder opened or
changed, no place on the machine told.

| status | answers |
|---|---|
{lines}
"""
    )


if __name__ == "__main__":
    main()
