"""Drop-in for the `segment_anything` package: the same names, arguments and results, our networks.

Replace `from segment_anything import ...` (or `mobile_sam`) by `from promptseg.compat import ...`.
Neither torchvision, OpenCV nor pycocotools is needed. MedSAM's weights want MedSAM's preprocessing; see
`SamPredictor`.
"""

from promptseg.compat.mask_generator import SamAutomaticMaskGenerator
from promptseg.compat.predictor import SamPredictor
from promptseg.compat.sam import (
    Sam,
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from promptseg.compat.transforms import ResizeLongestSide

__all__ = [
    "ResizeLongestSide",
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]
