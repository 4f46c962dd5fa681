"""The logic on a real MRML scene; needs Slicer, or the package slicer-core, and a server.

    PROMPTSEG_SERVER=http://127.0.0.1:1527/?token=... python -m unittest PromptSegMrmlTest

`tests/apps/test_slicer_mrml.py` of promptseg starts the server, writes volumes and the
masks that the answers should be, and runs this file; without PROMPTSEG_CASES, tests that need them are
skipped.
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PromptSegLib import mrml
from PromptSegLib.controller import Controller
from PromptSegLib.problems import GoneError, Problem
from PromptSegLib.workspace import Opening

ADDRESS = os.environ.get("PROMPTSEG_SERVER", "")
CASES = Path(os.environ.get("PROMPTSEG_CASES", "nothing"))


def new_scene():
    """A scene, and the logics that live in it."""
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    scene.RegisterNodeClass(slicer.vtkMRMLSequenceBrowserNode())
    scene.RegisterNodeClass(slicer.vtkMRMLSequenceNode())
    return scene, logic


def matrix_of(array):
    found = vtk.vtkMatrix4x4()
    for a in range(4):
        for b in range(4):
            found.SetElement(a, b, float(array[a][b]))
    return found


def add_volume(scene, voxels, matrix, kind="vtkMRMLScalarVolumeNode"):
    image = vtk.vtkImageData()
    k, j, i = voxels.shape[:3]
    image.SetDimensions(i, j, k)
    types = {"int16": vtk.VTK_SHORT, "uint8": vtk.VTK_UNSIGNED_CHAR, "float32": vtk.VTK_FLOAT}
    image.AllocateScalars(types[voxels.dtype.name], voxels.shape[3] if voxels.ndim == 4 else 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = (
        voxels.reshape(k * j * i, -1).squeeze(-1)
        if (voxels.ndim == 3)
        else voxels.reshape(k * j * i, -1)
    )
    node = scene.AddNewNodeByClass(kind, "scan")
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(matrix_of(matrix))
    return node


def read_volume(scene, path):
    """As Slicer reads a file."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", path.name)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def transform_of(scene, array):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(matrix_of(array))
    return node


def turned(*angles):
    found = np.eye(4)
    for (a, b), angle in zip(((1, 2), (0, 2), (0, 1)), angles):
        step = np.eye(4)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        found = found @ step
    return found


def oblique():
    found = turned(0.3, -0.2, 0.5) @ np.diag([0.7, 0.8, 2.5, 1])
    found[:3, 3] = 12, -40, 55
    return found


def on_file(mask, grid, matrix):
    """A mask with the voxels in the order of the file."""
    ijk = np.argwhere(np.ones_like(mask))[:, ::-1]
    there = grid.index(ijk @ matrix[:3, :3].T + matrix[:3, 3])
    np.testing.assert_allclose(there, there.round(), atol=1e-4)
    i, j, k = there.round().astype(int).T
    return mask[k, j, i].reshape(mask.shape)


class OnScene(unittest.TestCase):
    def setUp(self):
        self.scene, self.logic = new_scene()
        self.node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
        self.node.CreateDefaultDisplayNodes()
        self.segments = mrml.Segments(self.node)

    def roi(self, matrix, low, high):
        """A region whose axes are those of a matrix, around voxels."""
        node = self.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        low, high = np.array(low, float), np.array(high, float)
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        own = np.eye(4)
        own[:3, :3] = matrix[:3, :3] / lengths
        own[:3, 3] = matrix[:3, :3] @ ((low + high) / 2) + matrix[:3, 3]
        node.SetSize((high - low) * lengths)
        node.SetAndObserveObjectToNodeMatrix(matrix_of(own))
        if not node.GetNumberOfControlPoints():
            node.AddControlPoint(own[:3, 3])
        return node

    def points(self, positions, kind="vtkMRMLMarkupsFiducialNode"):
        node = self.scene.AddNewNodeByClass(kind)
        for position in positions:
            node.AddControlPoint([float(v) for v in position])
        return node


class TestNodes(OnScene):
    """What needs no server."""

    def test_a_volume_under_a_transform(self):
        voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
        node = add_volume(self.scene, voxels, oblique())
        volume = mrml.Volume(node)
        np.testing.assert_array_equal(volume.voxels, voxels)
        np.testing.assert_allclose(volume.grid.matrix, oblique(), atol=1e-12)
        moved = turned(0.1, 0.2, 0.3)
        moved[:3, 3] = 1, 2, 3
        above, below = (
            transform_of(self.scene, moved),
            transform_of(self.scene, np.diag([2, 1, 1, 1])),
        )
        below.SetAndObserveTransformNodeID(above.GetID())
        node.SetAndObserveTransformNodeID(below.GetID())
        expected = moved @ np.diag([2, 1, 1, 1]) @ oblique()
        np.testing.assert_allclose(volume.grid.matrix, expected, atol=1e-9)
        bent = self.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bent")
        above.SetAndObserveTransformNodeID(bent.GetID())
        grid = vtk.vtkThinPlateSplineTransform()
        bent.SetAndObserveTransformToParent(grid)
        with self.assertRaisesRegex(Problem, "bends space"):
            _ = volume.grid
        self.scene.RemoveNode(node)
        with self.assertRaises(GoneError):
            _ = volume.grid

    def test_what_is_no_image(self):
        empty = mrml.Volume(self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
        with self.assertRaisesRegex(Problem, "which has none"):
            _ = empty.grid
        labels = np.zeros((2, 3, 4), np.uint8)
        node = add_volume(self.scene, labels, np.eye(4), "vtkMRMLLabelMapVolumeNode")
        with self.assertRaisesRegex(Problem, "a label map"):
            _ = mrml.Volume(node).voxels
        colour = np.random.default_rng(0).integers(0, 255, (1, 5, 6, 3)).astype(np.uint8)
        node = add_volume(self.scene, colour, np.eye(4), "vtkMRMLVectorVolumeNode")
        np.testing.assert_array_equal(mrml.Volume(node).voxels, colour)

    def test_segments_go_in_and_out(self):
        grid = mrml.Volume(add_volume(self.scene, np.zeros((9, 11, 13), np.int16), oblique())).grid
        rng = np.random.default_rng(1)
        first, second = (rng.random(grid.shape) > 0.7 for _ in range(2))
        second |= first[::-1]  # they overlap
        a = self.segments.add("Liver", (10, 20, 30), "x~y")
        b = self.segments.add("node", (40, 50, 60), None)
        for segment, mask in ((a, first), (b, second), (a, second), (a, first)):
            self.segments.put(segment, mask, grid)
            np.testing.assert_array_equal(self.segments.mask(segment, grid), mask)
        np.testing.assert_array_equal(self.segments.mask(b, grid), second)
        self.segments.put(b, np.zeros_like(second), grid)
        self.assertFalse(self.segments.mask(b, grid).any())
        np.testing.assert_array_equal(self.segments.mask(a, grid), first)
        self.assertEqual(self.segments.ids, [a, b])
        self.assertEqual(self.segments.colour(a), (10, 20, 30))
        self.assertEqual(self.node.GetSegmentation().GetSegment(a).GetTerminology(), "x~y")
        self.segments.set_tag(a, "k", "v")
        self.assertEqual((self.segments.tag(a, "k"), self.segments.tag(b, "k")), ("v", ""))
        self.segments.mark(a, "doubtful")
        self.node.GetSegmentation().RemoveSegment(a)
        with self.assertRaisesRegex(Problem, "was deleted"):
            self.segments.name(a)
        self.scene.RemoveNode(self.node)
        with self.assertRaises(GoneError):
            _ = self.segments.ids

    def test_a_segmentation_under_another_transform(self):
        volume = add_volume(self.scene, np.zeros((6, 7, 8), np.int16), oblique())
        volume.SetAndObserveTransformNodeID(transform_of(self.scene, turned(0, 0, 0.4)).GetID())
        self.node.SetAndObserveTransformNodeID(transform_of(self.scene, turned(0.2, 0, 0)).GetID())
        grid = mrml.Volume(volume).grid
        mask = np.random.default_rng(2).random(grid.shape) > 0.5
        segment = self.segments.add("a", (1, 2, 3), None)
        self.segments.put(segment, mask, grid)
        np.testing.assert_array_equal(self.segments.mask(segment, grid), mask)
        labels = slicer.vtkOrientedImageData()
        self.node.GetBinaryLabelmapRepresentation(segment, labels)
        own = vtk.vtkMatrix4x4()
        labels.GetImageToWorldMatrix(own)
        found = turned(0.2, 0, 0) @ np.array(
            [[own.GetElement(a, b) for b in range(4)] for a in range(4)]
        )
        np.testing.assert_allclose(found, turned(0, 0, 0.4) @ oblique(), atol=1e-9)

    def test_markups_are_places_in_the_world(self):
        list_ = self.points([(1, 2, 3), (4, 5, 6), (7, 8, 9)])
        list_.SetNthControlPointSelected(1, False)
        list_.UnsetNthControlPointPosition(2)
        list_.SetAndObserveTransformNodeID(transform_of(self.scene, np.diag([2, 2, 2, 1])).GetID())
        np.testing.assert_allclose(mrml.placed_points(list_), [(2, 4, 6)])
        corners = mrml.region_corners(self.roi(oblique(), [2, 3, 4], [5, 6, 7]))
        ijk = (np.linalg.inv(oblique()) @ np.c_[corners, np.ones(8)].T).T[:, :3]
        np.testing.assert_allclose(ijk.min(0), [2, 3, 4], atol=1e-9)
        np.testing.assert_allclose(ijk.max(0), [5, 6, 7], atol=1e-9)
        with self.assertRaisesRegex(Problem, "place it in a view"):
            mrml.region_corners(self.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode"))


@unittest.skipUnless(
    ADDRESS and CASES.is_dir(), "no server: set PROMPTSEG_SERVER and PROMPTSEG_CASES"
)
class TestOnServer(OnScene):
    """Every case is a volume with NAME.json, its prompts, and NAME.npz, its masks."""

    def setUp(self):
        super().setUp()
        self.wrong = []
        self.controller = Controller(lambda _: None, self.wrong.append)
        self.controller.connect(ADDRESS)

    def tearDown(self):
        self.controller.close()
        self.controller.worker.drain()

    def test_cases_voxel_for_voxel(self):
        cases = sorted(CASES.glob("*.json"))
        self.assertTrue(cases)
        for case in cases:
            with self.subTest(case.stem):
                self.solve(json.loads(case.read_text("utf-8")), case.stem)

    def solve(self, case, name):
        node = read_volume(self.scene, CASES / case["file"])
        volume = mrml.Volume(node)
        matrix = np.array(case["matrix"])  # of the file, whose slices Slicer may have turned round
        node_of = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node_of.SetReferenceImageGeometryParameterFromVolumeNode(node)
        segments = mrml.Segments(node_of)
        self.controller.open(volume, segments, Opening(modality=case["modality"]))
        self.controller.worker.drain(300)
        known = {}
        for prompt in case["prompts"]:
            low, high = prompt.get("low"), prompt.get("high")
            label, axis = prompt["object"], prompt["axis"]
            segment = known.get(label)
            if segment is None:
                segment = known[label] = segments.add(label, (9, 9, 9), None)
            if prompt["kind"] == "box":
                corners = mrml.region_corners(self.roi(matrix, low, high))
                top, bottom = prompt.get("top"), prompt.get("bottom")
                self.controller.box(corners, axis, segment, top, bottom)
            elif prompt["kind"] == "roi":
                corners = mrml.region_corners(self.roi(matrix, low, high))
                self.controller.region(corners, axis, segment)
            elif prompt["kind"] == "points":
                ras = [(matrix @ [*p, 1])[:3] for p in prompt["points"]]
                self.controller.clicks(mrml.placed_points(self.points(ras)), [], axis, segment)
            else:
                lines = []
                for line in prompt["lines"]:
                    ras = [(matrix @ [*p, 1])[:3] for p in line]
                    lines.append(self.points(ras, "vtkMRMLMarkupsLineNode"))
                self.controller.lines(mrml.line_ends(lines), axis, segment)
            self.controller.worker.drain(300)
        self.assertEqual(self.wrong, [])
        with np.load(CASES / f"{name}.npz") as expected:
            self.assertEqual(set(expected.files), set(known))
            for label in expected.files:
                found = on_file(segments.mask(known[label], volume.grid), volume.grid, matrix)
                self.assertTrue(expected[label].any())
                np.testing.assert_array_equal(found, expected[label], f"{name}: {label}")
        written = CASES / "written" / f"{name}.seg.nrrd"
        written.parent.mkdir(exist_ok=True)
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(written))
        self.assertTrue(storage.WriteData(node_of))

    def test_a_segment_is_deleted_and_the_volume_closed(self):
        voxels = np.zeros((8, 20, 24), np.int16)
        voxels[2:6, 6:14, 6:14] = 200
        node = add_volume(self.scene, voxels, oblique())
        volume = mrml.Volume(node)
        corners = mrml.region_corners(self.roi(oblique(), [5, 5, 4], [15, 15, 4]))
        self.controller.open(volume, self.segments, Opening())
        self.controller.box(corners, "z", None)
        self.controller.worker.drain()
        (segment,) = self.segments.ids
        np.testing.assert_array_equal(self.segments.mask(segment, volume.grid), voxels > 0)
        self.controller.clicks([volume.grid.ras([[8, 8, 4]])[0]], [], "z", segment)
        self.node.GetSegmentation().RemoveSegment(segment)
        self.controller.worker.drain()
        self.assertEqual(self.segments.ids, [])
        self.controller.undo()
        self.controller.worker.drain()
        self.controller.box(corners, "z", None)
        self.scene.RemoveNode(node)
        self.controller.worker.drain()
        self.assertIn("the volume was closed", self.wrong[-1])
        self.assertIsNone(self.controller.workspace)

    def test_edits_in_the_segment_editor_come_along(self):
        voxels = np.zeros((8, 20, 24), np.int16)
        voxels[2:6, 6:14, 6:14] = 200
        volume = mrml.Volume(add_volume(self.scene, voxels, oblique()))
        self.controller.open(volume, self.segments, Opening())
        corners = mrml.region_corners(self.roi(oblique(), [5, 5, 2], [15, 15, 5]))
        self.controller.region(corners, "z", None)
        self.controller.worker.drain()
        (segment,) = self.segments.ids
        painted = voxels > 0
        painted[3, 15:18, 15:18] = True
        self.segments.put(segment, painted, volume.grid)
        self.controller.send_edits()
        self.controller.worker.drain()
        self.assertEqual(self.wrong, [])
        masks = self.controller.workspace.session.masks
        np.testing.assert_array_equal(next(iter(masks.values())), painted)
        self.controller.undo()
        self.controller.worker.drain()
        np.testing.assert_array_equal(self.segments.mask(segment, volume.grid), voxels > 0)

    def test_a_sequence(self):
        moments = []
        for t in range(3):
            voxels = np.zeros((8, 20, 24), np.int16)
            voxels[2:6, 6:14, 6 + t : 14 + t] = 200
            moments.append(voxels)
        sequence = self.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "moments")
        sequence.SetIndexName("time")
        for t, voxels in enumerate(moments):
            node = add_volume(self.scene, voxels, oblique())
            sequence.SetDataNodeAtValue(node, str(t * 40))
            self.scene.RemoveNode(node)
        browser = self.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        logic = slicer.vtkSlicerSequencesLogic()
        logic.SetMRMLScene(self.scene)
        browser.SetSelectedItemNumber(0)
        logic.UpdateProxyNodesFromSequences(browser)
        volume = mrml.Volume(browser.GetProxyNode(sequence))
        points = mrml.TimePoints(browser, self.node)
        show = points.show

        def shown(index):  # Slicer's module does this by itself
            show(index)
            logic.UpdateProxyNodesFromSequences(browser)

        points.show = shown
        self.controller.open(volume, self.segments, Opening(), points)
        segment = self.segments.add("Heart", (1, 2, 3), None)
        corners = mrml.region_corners(self.roi(oblique(), [5, 5, 1], [14, 14, 6]))
        self.controller.region(corners, "z", segment)
        self.controller.carry_on()
        self.controller.worker.drain(120)
        self.assertEqual(self.wrong, [])
        self.assertEqual(points.kept.GetNumberOfDataNodes(), 3)
        for t, voxels in enumerate(moments):
            kept = mrml.Segments(self.node)
            points.show(t)
            (segment,) = kept.ids
            self.assertEqual((kept.name(segment), kept.colour(segment)), ("Heart", (1, 2, 3)))
            np.testing.assert_array_equal(kept.mask(segment, volume.grid), voxels > 0)
            np.testing.assert_array_equal(volume.voxels, voxels)
        self.assertEqual(points.kept.GetNthIndexValue(2), "80")


if __name__ == "__main__":
    unittest.main()
