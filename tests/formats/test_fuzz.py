"""Short runs of the fuzzers: damaged files end in a result or in one of our errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SECONDS, PEAK_MIB = 240, 1024


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory with RLIMIT_AS")
@pytest.mark.parametrize(
    ("script", "examples", "kinds"), [("fuzz_headers.py", 25, 18), ("fuzz_files.py", 15, 36)]
)
def test_damaged_files_do_no_harm(script: str, examples: int, kinds: int, tmp_path: Path) -> None:
    source = str(TESTS.parent / "src")
    run = subprocess.run(
        [sys.executable, str(TESTS / script), str(tmp_path), "--examples", str(examples)],
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout[-500:] + run.stderr[-2000:]
    peaks = [int(n) for n in re.findall(r"peak (\d+) MiB", run.stdout)]
    assert len(peaks) >= kinds
    assert max(peaks) < PEAK_MIB
