"""What micro-sam itself makes of a file of weights: run by the Python that has it, not by pytest.

    python micro_sam_masks.py TYPE WEIGHTS FOLDER [decoder]

FOLDER has image.npy (rows, columns, 3) uint8 and prompts.npz (boxes XYXY, points XY, labels); answers
go into it. Where torchvision cannot be imported, what segment_anything takes from it is stood in for.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


def stand_in() -> None:
    """Modules in the place of torchvision and timm, for those that are missing."""

    class DropPath(torch.nn.Identity):
        def __init__(self, drop_prob: float = 0.0) -> None:
            super().__init__()

    def resize(picture: Image.Image, size: Any) -> Image.Image:
        return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)

    def box_area(boxes: torch.Tensor) -> torch.Tensor:
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    parts: dict[str, dict[str, Any]] = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": None, "box_area": box_area},
        "torchvision.utils": {"make_grid": None},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
        "timm": {},
        "timm.models": {},
        "timm.models.layers": {
            "DropPath": DropPath,
            "to_2tuple": lambda side: (side, side),
            "trunc_normal_": torch.nn.init.trunc_normal_,
        },
        "timm.models.registry": {"register_model": lambda function: function},
    }
    for package in ("torchvision", "timm"):
        try:
            __import__(package)
        except (ImportError, RuntimeError):
            for name, content in parts.items():
                if name.partition(".")[0] != package:
                    continue
                module = types.ModuleType(name)
                module.__path__ = []
                module.__dict__.update(content)
                sys.modules[name] = module
                parent, _, own = name.rpartition(".")
                if parent:
                    setattr(sys.modules[parent], own, module)


def main() -> None:
    """Boxes, points and both, by micro-sam's own functions and by its predictor."""
    kind, weights, folder, *rest = sys.argv[1:]
    stand_in()
    torch.set_num_threads(1)
    from micro_sam import util
    from micro_sam.prompt_based_segmentation import segment_from_box, segment_from_points

    place = Path(folder)
    if rest:
        decoder(kind, weights, place)
        return
    image = np.load(place / "image.npy")
    asked = np.load(place / "prompts.npz")
    predictor = util.get_sam_model(kind, device="cpu", checkpoint_path=weights)
    predictor.model.eval()  # mobile_sam keeps attention biases of before the weights were loaded
    embeddings = util.precompute_image_embeddings(predictor, image, ndim=2, verbose=False)
    found = {"features": np.asarray(embeddings["features"]), "picture": util._to_image(image)}
    for k, (x0, y0, x1, y1) in enumerate(asked["boxes"]):
        box = np.array([y0, x0, y1, x1])  # it has rows first
        found[f"box{k}"] = segment_from_box(predictor, box, image_embeddings=embeddings)[0]
        corners = np.array([x0, y0, x1, y1])
        masks, _, logits = predictor.predict(box=corners, multimask_output=False)
        found[f"raw{k}"], found[f"logits{k}"] = masks[0], logits[0]
    for k, (x, y) in enumerate(asked["points"]):
        there, label = np.array([[y, x]]), asked["labels"][k : k + 1]
        found[f"point{k}"] = segment_from_points(
            predictor, there, label, image_embeddings=embeddings, multimask_output=True
        )[0]
    np.savez(place / "answers.npz", **found)


def decoder(kind: str, weights: str, place: Path) -> None:
    """The decoder of a file with `decoder_state`, on an embedding."""
    from micro_sam.instance_segmentation import get_unetr
    from micro_sam.util import get_sam_model

    predictor, state = get_sam_model(kind, device="cpu", checkpoint_path=weights, return_state=True)
    classes = len(state["decoder_state"]["out_conv.bias"])
    unetr = get_unetr(
        predictor.model.image_encoder,
        state["decoder_state"],
        device="cpu",
        out_channels=classes,
        final_activation=None,
    )
    from micro_sam.instance_segmentation import DecoderAdapter

    adapter = DecoderAdapter(unetr).eval()
    with torch.inference_mode():
        logits = adapter._forward_impl(torch.from_numpy(np.load(place / "embedding.npy")))
    np.save(place / "logits.npy", logits.numpy())


if __name__ == "__main__":
    main()
