"""Killed at any moment, every verb goes on when the same command is given again, and leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from promptseg.timing import StudyLog

TESTS = Path(__file__).resolve().parent.parent
WHOLE = (
    "exists; choose another or --overwrite"  # said of a result that was there but for clearing up
)

if not hasattr(os, "fork"):
    pytest.skip("kills are tried in forked processes", allow_module_level=True)


COMMANDS = {
    "segment -i scan.nii.gz -o out/mask.nii.gz --box 4,4,16,16@1=block": 8,
    "segment -i scans -o out --box 4,4,16,16@1=block --no-overlay": 6,
    "convert -i labels.nii.gz -o out/labels.seg.nrrd": 6,
    "study table study.jsonl --csv out.csv --latex tables/out.tex": 6,
}
"""Commands, and how many changes of the file system each makes at least until its files are there."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What came of every command, given again after each kill; the last entry is of the whole run."""
    values = np.full((3, 20, 20), 10, np.int16)
    values[:, 5:15, 5:15] = 200
    folder = tmp_path_factory.mktemp("killed") / "work"
    for name in ("scan", "scans/a"):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values.T, np.eye(4)), path)
    labels = (values > 100).astype(np.uint8)
    nib.save(nib.Nifti1Image(labels.T, np.eye(4)), folder / "labels.nii.gz")
    StudyLog(folder / "study.jsonl").add("1", "me", "manual", 10)
    run = subprocess.run(
        [sys.executable, TESTS / "killed.py", folder, *COMMANDS],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PROMPTSEG_HOME": str(folder.parent / "home")},
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(run.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_command_goes_on(tried: dict[str, list[dict[str, Any]]], command: str) -> None:
    *killed, whole = tried[command]
    assert whole["code"] == 0, whole["said"]
    for entry in killed:
        if entry["code"]:
            assert entry["code"] == 2
            assert WHOLE in entry["said"]
        assert entry["files"] == whole["files"]
    codes = [entry["code"] for entry in killed]
    assert codes == sorted(codes)  # refused only where all files had their names already
    assert codes.count(0) >= COMMANDS[command]
