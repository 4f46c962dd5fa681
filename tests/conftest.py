"""Fixtures every test may use: real images, real weights, and a model that needs neither."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch: one thread each, and for all they start
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import settings

from promptseg import assets
from promptseg.errors import AssetError
from promptseg.inference.predictor import Predictor

os.environ.setdefault("PROMPTSEG_ENGINE", "eager")  # what is tested unless a test names an engine

settings.register_profile("promptseg", deadline=None)  # a machine under load is no fault
settings.load_profile("promptseg")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _threads_are_given_back() -> Iterator[None]:
    """What a verb was told about threads is for its own test, not for all that come after it."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real images with expert masks."""
    root = Path(os.environ.get("PROMPTSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("PROMPTSEG_DATA does not name the folder of real images")
    return root


@pytest.fixture(scope="session")
def lite_medsam_weights() -> Path:
    """The real LiteMedSAM weights, fetched once."""
    try:
        return assets.fetch("lite-medsam", quiet=True)
    except AssetError as error:
        pytest.skip(f"no LiteMedSAM weights here: {error}")


@pytest.fixture(scope="session")
def lite_medsam(lite_medsam_weights: Path) -> Predictor:
    """LiteMedSAM on the CPU."""
    return Predictor.load("lite-medsam", "cpu")


@pytest.fixture(scope="session")
def mobile_sam() -> Predictor:
    """MobileSAM on the CPU; a local copy of its weights is taken before the official address."""
    local = REPOSITORY.parent / "shared" / "weights"
    with pytest.MonkeyPatch.context() as patch:
        if "PROMPTSEG_WEIGHTS" not in os.environ and local.is_dir():
            patch.setenv("PROMPTSEG_WEIGHTS", str(local))
        try:
            assets.fetch("mobile-sam", quiet=True)
        except AssetError as error:
            pytest.skip(f"no MobileSAM weights here: {error}")
        return Predictor.load("mobile-sam", "cpu")
