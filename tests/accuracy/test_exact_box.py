"""DSC with exact boxes on real images, two cases per dataset, against the official LiteMedSAM.

`reference.csv` holds what the official network gave on the same objects (measured apart, with its own
code); the rule is that of `benchmarks/exact_box.py`.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from cases import cases
from exact_box import evaluate, read_reference

from promptseg.segment.predictor import Predictor

HERE = Path(__file__).parent
REFERENCE = read_reference(HERE / "reference.csv")


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("dataset", sorted(REFERENCE))
def test_no_dataset_falls_below_the_official_network(
    dataset: str, data_root: Path, lite_medsam: Predictor
) -> None:
    expected = REFERENCE[dataset]
    rows = [r for case in cases(dataset, data_root, limit=2) for r in evaluate(lite_medsam, case)]
    found = {(r.case, r.label, r.slice): r.dsc for r in rows}
    assert found.keys() == expected.keys()
    assert fmean(found.values()) >= fmean(expected.values()) - 0.003
