"""MRML nodes as the logic sees them: a volume, a segmentation, markups, a sequence."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from PromptSegLib.geometry import Grid
from PromptSegLib.problems import GoneError, Problem

__all__ = ["Segments", "TimePoints", "Volume", "line_ends", "placed_points", "region_corners"]

_LOGIC = slicer.vtkSlicerSegmentationsModuleLogic


def _in_scene(node: Any) -> bool:
    return node is not None and node.GetScene() is not None


def _to_world(node: Any) -> np.ndarray:
    """(4, 4) of the transforms above a node.

    Raises:
        Problem: one of them is not linear.
    """
    above = node.GetParentTransformNode()
    if above is None:
        return np.eye(4)
    if not above.IsTransformToWorldLinear():
        raise Problem(
            f"expected {node.GetName()} under linear transforms, got {above.GetName()}, which bends "
            "space; harden it on the volume, or take the volume out of it"
        )
    found = vtk.vtkMatrix4x4()
    above.GetMatrixTransformToWorld(found)
    return _array(found)


def _array(matrix: Any) -> np.ndarray:
    return np.array([[matrix.GetElement(a, b) for b in range(4)] for a in range(4)])


def _matrix(array: np.ndarray) -> Any:
    found = vtk.vtkMatrix4x4()
    for a in range(4):
        for b in range(4):
            found.SetElement(a, b, float(array[a, b]))
    return found


class Volume:
    """A scalar or colour volume node.

    Args:
        node: vtkMRMLScalarVolumeNode, or vtkMRMLVectorVolumeNode of three components.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def name(self) -> str:
        """As the scene calls it."""
        return str(self.node.GetName())

    @property
    def exists(self) -> bool:
        """Whether it is in the scene."""
        return _in_scene(self.node)

    @property
    def grid(self) -> Grid:
        """Where its voxels lie in the world.

        Raises:
            GoneError: it was closed. Problem: no voxels, or a transform that bends space.
        """
        if not self.exists:
            raise GoneError("the volume was closed; the answer is dropped")
        image = self.node.GetImageData()
        if image is None or 0 in image.GetDimensions():
            raise Problem(
                f"expected a volume with voxels, got {self.name}, which has none; load it"
            )
        own = vtk.vtkMatrix4x4()
        self.node.GetIJKToRASMatrix(own)
        i, j, k = image.GetDimensions()
        return Grid((k, j, i), _to_world(self.node) @ _array(own))

    @property
    def voxels(self) -> np.ndarray:
        """(k, j, i), or (k, j, i, 3) in colour.

        Raises:
            Problem: labels, or several values in a voxel.
        """
        if self.node.IsA("vtkMRMLLabelMapVolumeNode"):
            raise Problem(f"expected an image, got {self.name}, a label map; choose the image")
        grid = self.grid
        scalars = self.node.GetImageData().GetPointData().GetScalars()
        parts = scalars.GetNumberOfComponents()
        if parts not in (1, 3):
            raise Problem(f"expected one value in a voxel, or three colours, got {parts}")
        found = vtk_to_numpy(scalars)
        return found.reshape(grid.shape if parts == 1 else (*grid.shape, 3))


class Segments:
    """A segmentation node.

    Args:
        node: vtkMRMLSegmentationNode.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def exists(self) -> bool:
        """Whether it is in the scene."""
        return _in_scene(self.node)

    @property
    def ids(self) -> List[str]:
        """Segments, in order."""
        if not self.exists:
            raise GoneError("the segmentation was closed; the answer is dropped")
        segmentation = self.node.GetSegmentation()
        return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]

    def name(self, segment: str) -> str:
        """What it is called."""
        return str(self._segment(segment).GetName())

    def colour(self, segment: str) -> Tuple[int, int, int]:
        """Red, green and blue from 0 to 255."""
        red, green, blue = (round(255 * c) for c in self._segment(segment).GetColor())
        return red, green, blue

    def tag(self, segment: str, key: str) -> str:
        """What was kept with it under a key; empty if nothing was."""
        found = vtk.reference("")
        return str(found) if self._segment(segment).GetTag(key, found) else ""

    def set_tag(self, segment: str, key: str, value: str) -> None:
        """Keep a text with it."""
        self._segment(segment).SetTag(key, value)

    def add(self, name: str, colour: Sequence[int], terminology: Optional[str]) -> str:
        """A new segment without any voxel."""
        found = self.node.GetSegmentation().AddEmptySegment("", name, [c / 255 for c in colour])
        if terminology:
            self._segment(found).SetTerminology(terminology)
        return str(found)

    def change(self, segment: str, name: str, colour: Sequence[int]) -> None:
        """Give it a name and a colour."""
        known = self._segment(segment)
        if known.GetName() != name:
            known.SetName(name)
        if self.colour(segment) != tuple(colour):
            known.SetColor([c / 255 for c in colour])

    def mark(self, segment: str, state: str) -> None:
        """Show how far it is: begun, doubtful or done."""
        states = {"begun": _LOGIC.InProgress, "doubtful": _LOGIC.Flagged, "done": _LOGIC.Completed}
        _LOGIC.SetSegmentStatus(self._segment(segment), states[state])

    def mask(self, segment: str, grid: Grid) -> np.ndarray:
        """Boolean (k, j, i) on a volume's grid."""
        self._segment(segment)
        found = np.zeros(grid.shape, bool)
        there = slicer.vtkOrientedImageData()
        if not self.node.GetBinaryLabelmapRepresentation(segment, there) or there.IsEmpty():
            return found
        wanted = _labels(grid.shape, self._own(grid))
        on_grid = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            there, wanted, on_grid, False
        )
        scalars = on_grid.GetPointData().GetScalars()
        if scalars is None:
            return found
        i0, i1, j0, j1, k0, k1 = on_grid.GetExtent()
        part = vtk_to_numpy(scalars).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
        found[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = part != 0
        return found

    def put(self, segment: str, mask: np.ndarray, grid: Grid) -> None:
        """Let a segment be these voxels of a volume's grid, and no others."""
        self._segment(segment)
        if not mask.any():
            _LOGIC.ClearSegment(self.node, segment)
            return
        occupied = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {n}))) for n in range(3)]
        (k0, k1), (j0, j1), (i0, i1) = ((int(o[0]), int(o[-1])) for o in occupied)
        labels = slicer.vtkOrientedImageData()
        labels.SetExtent(i0, i1, j0, j1, k0, k1)
        labels.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        labels.SetGeometryFromImageToWorldMatrix(_matrix(self._own(grid)))
        part = mask[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1]
        vtk_to_numpy(labels.GetPointData().GetScalars())[:] = part.ravel()
        if not _LOGIC.SetBinaryLabelmapToSegment(labels, self.node, segment, _LOGIC.MODE_REPLACE):
            raise Problem(f"the segment {self.name(segment)} could not be written")

    def _own(self, grid: Grid) -> np.ndarray:
        """A volume's matrix in the segmentation's space, which may have transforms of its own."""
        return np.linalg.inv(_to_world(self.node)) @ grid.matrix

    def _segment(self, segment: str) -> Any:
        if not self.exists:
            raise GoneError("the segmentation was closed; the answer is dropped")
        found = self.node.GetSegmentation().GetSegment(segment)
        if found is None:
            raise Problem("the segment was deleted; choose another one")
        return found


def _labels(shape: Tuple[int, int, int], matrix: np.ndarray) -> Any:
    """An empty label map."""
    k, j, i = shape
    found = slicer.vtkOrientedImageData()
    found.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    found.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    found.GetPointData().GetScalars().Fill(0)
    found.SetGeometryFromImageToWorldMatrix(_matrix(matrix))
    return found


class TimePoints:
    """The time points of a sequence that a browser shows in a volume, and the segments of each.

    Segments are kept in a sequence node of their own, by the index values of the master sequence.

    Args:
        browser: vtkMRMLSequenceBrowserNode.
        segmentation: vtkMRMLSegmentationNode that is worked on.
    """

    def __init__(self, browser: Any, segmentation: Any) -> None:
        self.browser, self.segmentation = browser, segmentation
        self._kept: Any = None

    @property
    def exists(self) -> bool:
        """Whether it is in the scene."""
        return _in_scene(self.browser)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.browser.GetNumberOfItems())

    @property
    def current(self) -> int:
        """The one that is shown."""
        return int(self.browser.GetSelectedItemNumber())

    @property
    def kept(self) -> Any:
        """The sequence node of the segments; made when something is kept first."""
        if not _in_scene(self._kept):
            scene = self.browser.GetScene()
            self._kept = scene.AddNewNodeByClass(
                "vtkMRMLSequenceNode", f"{self.segmentation.GetName()} over time"
            )
            master = self.browser.GetMasterSequenceNode()
            self._kept.SetIndexName(master.GetIndexName())
            self._kept.SetIndexUnit(master.GetIndexUnit())
            self._kept.SetIndexType(master.GetIndexType())
        return self._kept

    def keep(self) -> None:
        """Keep the segments that are shown as those of this time point."""
        self.kept.SetDataNodeAtValue(self.segmentation, self._value)

    def show(self, index: int) -> None:
        """Show another time point, with the segments that were kept for it, or none."""
        self.browser.SetSelectedItemNumber(index)
        segmentation = self.segmentation.GetSegmentation()
        segmentation.RemoveAllSegments()
        there = None if not _in_scene(self._kept) else self._kept.GetDataNodeAtValue(self._value)
        if there is not None:
            segmentation.DeepCopy(there.GetSegmentation())

    @property
    def _value(self) -> str:
        return str(self.browser.GetMasterSequenceNode().GetNthIndexValue(self.current))


def placed_points(node: Any) -> np.ndarray:
    """(N, 3) world positions of the control points that were placed."""
    placed = [
        node.GetNthControlPointPositionWorld(n)
        for n in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(n) == node.PositionDefined
        and node.GetNthControlPointSelected(n)
    ]
    return np.array([list(p) for p in placed]).reshape(-1, 3)


def region_corners(node: Any) -> np.ndarray:
    """(8, 3) world positions of the corners of a region of interest.

    Raises:
        Problem: it was not placed yet.
    """
    size = np.array(node.GetSize(), float)
    if not node.GetNumberOfControlPoints() or not size.any():
        raise Problem("expected a region that was drawn, got none; place it in a view")
    world = _array(node.GetObjectToWorldMatrix())
    signs = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    return signs * size / 2 @ world[:3, :3].T + world[:3, 3]


def line_ends(nodes: Sequence[Any]) -> List[np.ndarray]:
    """The ends of lines, (2, 3) each where both were placed."""
    return [placed_points(node) for node in nodes]
