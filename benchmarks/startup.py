"""Seconds that `import promptseg` and `promptseg --help` take, as whole processes.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "python -c pass (baseline)": [sys.executable, "-c", "pass"],
    "import promptseg": [sys.executable, "-c", "import promptseg"],
    "promptseg --help": [sys.executable, "-m", "promptseg", "--help"],
    "promptseg segment --help": [sys.executable, "-m", "promptseg", "segment", "--help"],
}


def main() -> None:
    for name, command in COMMANDS.items():
        times = []
        for _ in range(6):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        print(f"| {name} | {median(times[1:]):.3f} | {max(times[1:]):.3f} |")


if __name__ == "__main__":
    main()
