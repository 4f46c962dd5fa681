"""Layers as images and prompts: which array axes are space, where a place in another layer lies.

The last axes of an image layer (before colours) are y and x, or z, y and x in a volume; one before
them is time. Places travel through napari's world: layers may have scales and transforms of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg_napari.problems import Problem

__all__ = ["Target", "labels_for"]

AXES = "zyx"


@dataclass(frozen=True)
class Target:
    """An image layer that is worked on.

    Attributes:
        layer: of napari.
        moving: whether its first axis is time.
    """

    layer: Any
    moving: bool

    @classmethod
    def of(cls, layer: Any, moving: bool) -> Target:
        """A layer that can be segmented.

        Raises:
            Problem: several resolutions, or too few or too many axes.
        """
        if getattr(layer, "multiscale", False):
            raise Problem(
                f"expected one resolution, got {layer.name} with several; extract one of them"
            )
        space = layer.ndim - moving
        if space not in (2, 3):
            hint = "untick time" if space == 1 else "tick time, or extract a part"
            raise Problem(
                f"expected two or three axes of space, got {space} in {layer.name}; {hint}"
            )
        return cls(layer, moving)

    @property
    def space(self) -> int:
        """2 for pictures, 3 for volumes."""
        return int(self.layer.ndim) - self.moving

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array without colours."""
        return tuple(int(n) for n in self.layer.data.shape[: self.layer.ndim])

    @property
    def moments(self) -> int:
        """Time points."""
        return self.shape[0] if self.moving else 1

    @property
    def spacing(self) -> list[float]:
        """(x, y[, z]) in the layer's units: lengths of the steps in world."""
        steps = np.asarray(self.layer._data_to_world.affine_matrix)[:-1, :-1]
        lengths = np.linalg.norm(steps, axis=0)[-self.space :]
        return [float(v) for v in lengths[::-1]]

    def voxels(self, moment: int) -> NDArray[Any]:
        """The array of a time point, (z, y, x) or (y, x), perhaps with colours."""
        data = self.layer.data[moment] if self.moving else self.layer.data
        return np.asarray(data)

    def places(self, layer: Any, data: Any) -> NDArray[np.float64]:
        """(N, ndim) coordinates in another layer -> in this one.

        Raises:
            Problem: the layer has other axes.
        """
        if layer.ndim != self.layer.ndim:
            raise Problem(
                f"expected a layer of {self.layer.ndim} axes, got {layer.name} of {layer.ndim}; add "
                "a new one"
            )
        points = np.asarray(data, float).reshape(-1, layer.ndim)
        if not len(points):
            return points
        world = np.array([layer.data_to_world(p) for p in points])
        return np.array([self.layer.world_to_data(p) for p in world]).round(6)

    def moment_of(self, places: NDArray[np.float64]) -> int:
        """The time point of places.

        Raises:
            Problem: they lie at several.
        """
        if not self.moving:
            return 0
        found = {round(float(v)) for v in places[:, 0]}
        if len(found) != 1:
            raise Problem(f"expected a prompt at one time point, got one at {sorted(found)}")
        return found.pop()

    def axis(self, displayed: Sequence[int]) -> str | None:
        """The axis of space that the viewer steps through; None in a picture.

        Raises:
            Problem: the viewer shows three axes at a time, or time itself.
        """
        if self.space == 2:
            return None
        hidden = [n for n in range(self.moving, self.layer.ndim) if n not in displayed]
        if len(hidden) != 1:
            raise Problem("expected slices in the viewer, got something else; press 2D/3D")
        return AXES[hidden[0] - self.moving]

    def on_slice(
        self, places: NDArray[np.float64], axis: str | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(N, 2) x, y and (N,) slices; both as promptseg counts them.

        Raises:
            Problem: a place outside the image.
        """
        inner = places[:, -self.space :]
        size = np.array(self.shape[-self.space :])
        if ((inner < -0.5) | (inner > size - 0.5)).any():
            raise Problem(
                f"expected places in the image, got one outside of {self.layer.name}; move it"
            )
        inner = np.clip(inner, 0, size - 1)
        if axis is None:
            return inner[:, ::-1], np.zeros(len(inner), np.int64)
        k = AXES.index(axis)
        rest = [n for n in range(3) if n != k]
        return inner[:, rest[::-1]], inner[:, k].round().astype(np.int64)


def labels_for(target: Target) -> dict[str, Any]:
    """What makes a Labels layer lie on an image: `viewer.add_labels(**labels_for(...))`."""
    layer = target.layer
    return {
        "data": np.zeros(target.shape, np.int32),
        "name": f"{layer.name} objects",
        "affine": np.asarray(layer._data_to_world.affine_matrix),
        "units": layer.units,
        "metadata": dict(layer.metadata),
    }
