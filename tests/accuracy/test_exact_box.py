"""DSC with exact boxes on real images, two cases per dataset, against the official LiteMedSAM.

`reference.csv` holds what the official network gave on the same objects (measured apart, with its own
code); the rule is that of `benchmarks/exact_box.py`, thinned to every sixth slice of a volume.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from cases import cases
from exact_box import evaluate, read_reference

from promptseg.inference.predictor import Predictor

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
    two = cases(dataset, data_root, limit=2)
    found = {
        (row.case, row.label, row.slice): row.dsc
        for case in two
        for row in evaluate(lite_medsam, case, every=6)
    }
    visited = {(case, slice_) for case, _, slice_ in found}
    wanted = {key: dsc for key, dsc in expected.items() if (key[0], key[2]) in visited}
    assert found.keys() == wanted.keys()
    assert {case for case, _ in visited} == {case for case, _, _ in expected}
    assert fmean(found.values()) >= fmean(wanted.values()) - 0.003
