"""MobileSAM twice, with its real weights: the official code and the drop-in; and real 2D images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.peer import MOBILE_SAM, import_peer
from promptseg import assets, compat
from promptseg.errors import AssetError

PICTURES = ("endoscopy__cvc_clinicdb", "ultrasound__busi")


@pytest.fixture(scope="session")
def mobile_sam_weights() -> Path:
    try:
        return assets.fetch("mobile-sam", quiet=True)
    except AssetError as error:
        pytest.skip(f"no MobileSAM weights here: {error}")


@pytest.fixture(scope="session")
def ours(mobile_sam_weights: Path) -> compat.Sam:
    return compat.sam_model_registry["vit_t"](checkpoint=str(mobile_sam_weights))


@pytest.fixture(scope="session")
def peer() -> Any:
    """The official package."""
    return import_peer(*MOBILE_SAM)


@pytest.fixture(scope="session")
def official(peer: Any, mobile_sam_weights: Path) -> Any:
    """Without the last `eval`, it would keep the attention biases it had before the weights came."""
    return peer.sam_model_registry["vit_t"](checkpoint=mobile_sam_weights).eval()


@pytest.fixture(scope="session", params=PICTURES)
def picture(request: pytest.FixtureRequest, data_root: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    return first_picture(data_root, request.param)


@pytest.fixture(scope="session")
def polyp(data_root: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, from an endoscope."""
    return first_picture(data_root, PICTURES[0])


def first_picture(root: Path, dataset: str) -> NDArray[np.uint8]:
    folder = root / "picture" / dataset / "images"
    with Image.open(sorted(folder.iterdir())[0]) as image:
        return np.asarray(image.convert("RGB"))
