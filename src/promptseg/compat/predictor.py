"""`SamPredictor`: an image once, prompts many times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from promptseg.compat.sam import Sam
from promptseg.compat.transforms import ResizeLongestSide, ResizeSquare
from promptseg.errors import InputError, ModelError, PromptError
from promptseg.models.finite import is_finite

__all__ = ["NoImageError", "SamPredictor"]

_Arrays = tuple[NDArray[np.generic], NDArray[np.float32], NDArray[np.float32]]


class NoImageError(PromptError, RuntimeError):
    """The error of asking about an image before one is set."""


class SamPredictor:
    """Masks of prompts on one image, as the official class gives them.

    With MedSAM's weights the official class answers, but not as well as MedSAM can: it resizes and
    normalises as SAM does, which MedSAM never saw. `preprocessing="medsam"` does what MedSAM's own code
    does: both sides to 1024 (bicubic), min-max to [0, 1], probabilities interpolated instead of logits.

    Args:
        sam_model: of `sam_model_registry`.
        preprocessing: "sam" (official; SAM, MobileSAM, MedicoSAM) or "medsam".

    Attributes:
        model: the network.
        transform: between the picture's pixels and the network's.
        features: (1, 256, 64, 64) embedding of the image, or None.
        original_size: (H, W) of the image.
        input_size: (h, w) that it takes in the network's input.
        is_image_set: whether there is an image.
    """

    def __init__(self, sam_model: Sam, preprocessing: Literal["sam", "medsam"] = "sam") -> None:
        if preprocessing not in ("sam", "medsam"):
            raise InputError("preprocessing sam or medsam", repr(preprocessing))
        self.model = sam_model
        self.preprocessing = preprocessing
        transform = ResizeSquare if preprocessing == "medsam" else ResizeLongestSide
        self.transform = transform(sam_model.img_size)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        """Return the device that the network is on."""
        return self.model.device

    def reset_image(self) -> None:
        """Forget the image."""
        self.is_image_set = False
        self.features: Tensor | None = None
        self.original_size: tuple[int, ...] = ()
        self.input_size: tuple[int, ...] = ()

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Embed an image.

        Args:
            image: (H, W, 3) uint8.
            image_format: "RGB" or "BGR".

        Raises:
            InputError: another shape, type or format.
        """
        if image_format not in ("RGB", "BGR"):
            raise InputError("image_format RGB or BGR", repr(image_format))
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(
                "an image (H, W, 3) of uint8",
                f"{image.shape} of {image.dtype}",
                "repeat a single channel three times; scale values to 0..255",
            )
        if image_format != self.model.image_format:
            image = image[..., ::-1]
        resized = torch.as_tensor(self.transform.apply_image(image), device=self.device)
        self.set_torch_image(resized.permute(2, 0, 1)[None].contiguous(), image.shape[:2])

    @torch.no_grad()
    def set_torch_image(
        self, transformed_image: Tensor, original_image_size: Sequence[int]
    ) -> None:
        """Embed an image that `transform` has resized already.

        Args:
            transformed_image: (1, 3, h, w), 0..255.
            original_image_size: (H, W).

        Raises:
            InputError: another shape.
            ModelError: an embedding that is not finite.
        """
        size = self.model.img_size
        shape = tuple(transformed_image.shape)
        if len(shape) != 4 or shape[1] != 3 or max(shape[2:]) != size:
            raise InputError(
                f"an image (1, 3, h, w) with a longest side of {size}",
                str(shape),
                "resize it with transform.apply_image",
            )
        self.reset_image()
        self.original_size = tuple(original_image_size)
        self.input_size = shape[-2:]
        features = self.model.image_encoder(self._normalise(transformed_image))
        _require_finite(features, "an embedding")
        self.features = features
        self.is_image_set = True

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> _Arrays:
        """Return masks of one object.

        Args:
            point_coords: (N, 2) x, y in pixels of the image.
            point_labels: (N,) 1 inside, 0 outside.
            box: (4,) XYXY in pixels of the image.
            mask_input: (1, 256, 256) mask logits, such as those an earlier call returned.
            multimask_output: three masks instead of one: better for a single point.
            return_logits: logits instead of booleans.

        Returns:
            (C, H, W) masks, (C,) predicted IoU, (C, 256, 256) low-resolution logits.

        Raises:
            NoImageError: no image is set.
            PromptError: points without labels.
        """
        self._require_image()
        coords = labels = corners = logits = None
        if point_coords is not None:
            if point_labels is None:
                raise PromptError("point_labels with point_coords", "none", "give 1 or 0 for each")
            xy = self.transform.apply_coords(np.asarray(point_coords), self.original_size)
            coords = self._tensor(xy)[None]
            labels = torch.as_tensor(np.asarray(point_labels), dtype=torch.int, device=self.device)
            labels = labels[None]
        if box is not None:
            corners = self._tensor(self.transform.apply_boxes(np.asarray(box), self.original_size))
        if mask_input is not None:
            logits = self._tensor(mask_input)[None]
        masks, quality, low_resolution = self.predict_torch(
            coords, labels, corners, logits, multimask_output, return_logits
        )
        return masks[0].cpu().numpy(), quality[0].cpu().numpy(), low_resolution[0].cpu().numpy()

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return masks of B objects; coordinates are in the network's frame already (see `transform`).

        Args:
            point_coords: (B, N, 2) x, y.
            point_labels: (B, N) 1 inside, 0 outside.
            boxes: (B, 4) XYXY.
            mask_input: (B, 1, 256, 256) mask logits.
            multimask_output: three masks instead of one.
            return_logits: logits instead of booleans.

        Returns:
            (B, C, H, W) masks, (B, C) predicted IoU, (B, C, 256, 256) low-resolution logits.

        Raises:
            NoImageError: no image is set.
            PromptError: points without labels.
            ModelError: an answer that is not finite.
        """
        features = self._require_image()
        points = None
        if point_coords is not None:
            if point_labels is None:
                raise PromptError("point_labels with point_coords", "none", "give 1 or 0 for each")
            points = (point_coords, point_labels)
        logits, quality = self.model.decode(features, points, boxes, mask_input, multimask_output)
        _require_finite(logits, "mask logits")
        _require_finite(quality, "a predicted IoU")
        masks = self._restore(logits)
        return masks if return_logits else masks > self.model.mask_threshold, quality, logits

    def get_image_embedding(self) -> Tensor:
        """Return the embedding of the image, (1, 256, 64, 64).

        Raises:
            NoImageError: no image is set.
        """
        return self._require_image()

    def _require_image(self) -> Tensor:
        if not self.is_image_set or self.features is None:
            raise NoImageError("an image", "none", "call set_image first")
        return self.features

    def _tensor(self, values: ArrayLike) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float, device=self.device)

    def _normalise(self, x: Tensor) -> Tensor:
        """(1, 3, h, w) of 0..255 -> (1, 3, 1024, 1024), the network's input."""
        if self.preprocessing == "sam":
            return self.model.preprocess(x)
        x = x.float()
        return (x - x.min()) / (x.max() - x.min()).clamp(min=1e-8)

    def _restore(self, logits: Tensor) -> Tensor:
        """(B, C, 256, 256) logits -> (B, C, H, W) logits on the image."""
        if self.preprocessing == "sam":
            return self.model.postprocess_masks(logits, self.input_size, self.original_size)
        inside = F.interpolate(logits.sigmoid(), self.original_size, mode="bilinear")
        return inside.logit(eps=1e-6)


def _require_finite(values: Tensor, what: str) -> None:
    if not is_finite(values):
        raise ModelError(
            "finite numbers from the model", f"NaN or infinity in {what}", "get its weights again"
        )
