"""DSC of OpenVINO in bfloat16 against the official network in float32, on a fixed part of the data.

Two cases of every dataset, every sixth slice of a volume. The full run is
`benchmarks/exact_box.py --engine openvino-bf16`.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, median

import pytest
from cases import cases
from exact_box import evaluate

from accuracy.test_exact_box import REFERENCE
from promptseg.inference.predictor import Predictor
from promptseg.runtime.machine import has_bfloat16


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16 arithmetic")
def test_bfloat16_finds_the_same_masks(
    data_root: Path, lite_medsam_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))  # the export is made here, too
    predictor = Predictor.load(lite_medsam_weights, "cpu", engine="openvino-bf16")
    assert predictor.engine == "openvino-bf16"
    changes, means = [], []
    for dataset, expected in sorted(REFERENCE.items()):
        rows = [
            row
            for case in cases(dataset, data_root, limit=2)
            for row in evaluate(predictor, case, every=6)
        ]
        own = [r.dsc - expected[r.case, r.label, r.slice] for r in rows]
        changes += own
        means.append(fmean(own))
    assert len(changes) > 200
    assert abs(fmean(means)) < 0.002
    assert abs(median(changes)) < 0.001
    assert sum(abs(c) > 0.05 for c in changes) <= 0.02 * len(changes)
