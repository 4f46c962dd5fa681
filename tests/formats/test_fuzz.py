"""A short run of `tests/fuzz_headers.py`: damaged headers end in an image or in one of our errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "fuzz_headers.py"
SECONDS, PEAK_MIB = 240, 1024


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory with RLIMIT_AS")
def test_damaged_headers_do_no_harm(tmp_path: Path) -> None:
    source = str(SCRIPT.parents[1] / "src")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "--examples", "25"],
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout[-500:] + run.stderr[-2000:]
    peaks = [int(n) for n in re.findall(r"peak (\d+) MiB", run.stdout)]
    assert len(peaks) >= 18
    assert max(peaks) < PEAK_MIB
