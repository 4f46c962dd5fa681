"""The logic of the 3D Slicer module against a real server; no scene and no Qt."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.plain_viewer import PlainSegments, PlainTime, PlainVolume
from fakes import ball
from promptseg.geometry import Geometry
from promptseg.segment.session import Session
from promptseg_client import Server
from PromptSegLib import connection, launcher
from PromptSegLib.controller import Controller
from PromptSegLib.geometry import Grid, planar
from PromptSegLib.problems import Problem
from PromptSegLib.prompts import box_on_slice, clicks, lines, region
from PromptSegLib.terms import terminology
from PromptSegLib.worker import Task, Worker
from PromptSegLib.workspace import Opening
from serve.conftest import SHAPE, TOKEN, A, B, Running
from serve.fake_server import words

MODULE = Path(__file__).resolve().parent.parent.parent / "apps" / "slicer"
VOXELS = np.where(A | B, 200, 0).astype(np.int16)
_TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]


def oblique() -> NDArray[np.float64]:
    """(4, 4) IJK -> RAS, rotated about all axes, with three different spacings."""
    found = np.eye(4)
    found[:3, :3] = _TURN * [0.7, 0.8, 2.5]
    found[:3, 3] = 12, -40, 55
    return found


def corners_of(
    matrix: NDArray[np.float64], low: list[float], high: list[float]
) -> NDArray[np.float64]:
    """RAS of the eight corners of a box of voxels, with arithmetic of its own."""
    ends = np.array([low, high], float)
    return np.array(
        [matrix[:3, :3] @ [ends[a, 0], ends[b, 1], ends[c, 2]] + matrix[:3, 3]
         for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    )  # fmt: skip


@dataclass
class Panel:
    """A controller and what it said."""

    controller: Controller
    volume: PlainVolume
    segments: PlainSegments
    said: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def drain(self) -> None:
        self.controller.worker.drain()

    def mask(self, name: str) -> NDArray[np.bool_]:
        found = self.segments.named(name).mask
        assert found is not None
        return found

    def at(self, *ijk: float) -> NDArray[np.float64]:
        return self.volume.matrix[:3, :3] @ np.array(ijk) + self.volume.matrix[:3, 3]

    def corners(self, low: list[float], high: list[float]) -> NDArray[np.float64]:
        return corners_of(self.volume.matrix, low, high)


def panel_on(address: str, voxels: NDArray[np.generic] = VOXELS, **opening: str) -> Panel:
    said: list[str] = []
    wrong: list[str] = []
    controller = Controller(said.append, wrong.append)
    panel = Panel(controller, PlainVolume(voxels, oblique()), PlainSegments(), said, wrong)
    controller.connect(address)
    controller.open(panel.volume, panel.segments, Opening(**opening))
    panel.drain()
    return panel


@pytest.fixture
def address(server: Running) -> str:
    return f"http://127.0.0.1:{server.client.port}/?token={TOKEN}"


@pytest.fixture
def panel(address: str) -> Iterator[Panel]:
    found = panel_on(address)
    assert not found.wrong
    yield found
    found.controller.close()
    found.drain()


# Words.


def test_words_become_a_segment_that_clicks_correct(server: Running, address: str) -> None:
    server.desk.models["promptseg-words"] = words()
    found = panel_on(address, model="promptseg-words", modality="CT")
    connected = found.controller.connected
    assert connected is not None
    assert connected.words("promptseg-words")[:2] == ["bright", "light patch"]
    assert connected.words("") == []
    found.controller.words(" light patch ", "z", 10)
    found.drain()
    np.testing.assert_array_equal(found.mask("light patch"), A | B)
    segment = next(s for s in found.segments.ids if found.segments.name(s) == "light patch")
    found.controller.clicks([], [found.at(36, 20, 10)], "z", segment)
    found.drain()
    np.testing.assert_array_equal(found.mask("light patch")[10], A[10])
    found.controller.words("spleen", "z")
    found.drain()
    assert "nothing was found for 'spleen'" in found.said[-1]
    assert not found.wrong
    for phrase, said in (("", "write what"), ("brigth one", "the nearest is 'bright'")):
        found.controller.words(phrase, "z")
        found.drain()
        assert said in found.wrong[-1]
    found.controller.close()
    found.drain()


def test_a_model_without_words_says_which_has_them(server: Running, address: str) -> None:
    server.desk.models["promptseg-words"] = words()
    found = panel_on(address, model="bright")
    found.controller.words("liver", "z")
    found.drain()
    assert "got a text; open the volume with promptseg-words" in found.wrong[-1]
    found.controller.close()
    found.drain()


def test_codes_of_words_are_kept() -> None:
    assert terminology("LV cavity") is None
    assert "87878005" in str(terminology("LV cavity", "87878005"))
    assert terminology("liver", "87878005") == terminology("liver")


# Space.


def test_the_grid_agrees_with_promptseg() -> None:
    grid = Grid(SHAPE, oblique())
    facts = grid.facts
    geometry = Geometry.from_spacing(SHAPE, facts["spacing"], facts["origin"], facts["direction"])
    ijk = np.array([[0, 0, 0], [3.5, 7, 11], [47, 39, 19]])
    lps = geometry.to_world(ijk)
    np.testing.assert_allclose(grid.ras(ijk), lps * [-1, -1, 1], atol=1e-9)
    np.testing.assert_allclose(grid.index(lps * [-1, -1, 1]), ijk, atol=1e-5)
    assert grid.agrees_with(Grid(SHAPE, oblique() + 1e-7))
    assert not grid.agrees_with(Grid(SHAPE, oblique() + np.array([[0, 0, 0, 0.01]] * 4)))


def test_a_view_shows_a_slice() -> None:
    grid = Grid(SHAPE, oblique())
    for k, axis in enumerate("xyz"):
        across = np.cross(*(grid.matrix[:3, n] for n in range(3) if n != k))
        assert grid.axis_of(across) == axis
        ijk = np.array([20.0, 20, 10])
        for index in (3, 15):
            ijk[k] = index
            origin = grid.ras([ijk])[0] + 30 * grid.matrix[:3, (k + 1) % 3]
            near = grid.ras([[20, 20, 10]])[0]
            assert grid.slice_at(origin, across, near, axis) == index
    with pytest.raises(Problem, match="a slice of the volume"):
        grid.slice_at(grid.ras([[0, 0, 40]])[0], _TURN[:, 2], grid.ras([[0, 0, 0]])[0], "z")
    with pytest.raises(Problem, match="across the slices"):
        grid.slice_at(grid.ras([[0, 0, 4]])[0], _TURN[:, 0], grid.ras([[0, 0, 0]])[0], "z")


def test_a_sheared_volume_keeps_its_shape() -> None:
    matrix = oblique()
    matrix[:3, 2] += 0.4 * matrix[:3, 1]
    facts = Grid(SHAPE, matrix).facts
    geometry = Geometry.from_spacing(SHAPE, facts["spacing"], facts["origin"], facts["direction"])
    ras = matrix @ [4, 5, 6, 1]
    np.testing.assert_allclose(geometry.to_world([4, 5, 6]) * [-1, -1, 1], ras[:3], atol=1e-9)


# Prompts.


def test_points_become_clicks_of_their_slices() -> None:
    grid = Grid(SHAPE, oblique())
    found = clicks(grid, grid.ras([[12, 20, 10], [13, 20, 10.2]]), grid.ras([[36, 20, 4]]), "z")
    assert [(p["slice"], len(p["points"])) for p in found] == [(4, 1), (10, 2)]
    assert found[0]["points"] == [[36.0, 20.0, 0]]
    assert clicks(grid, grid.ras([[12, 20, 10]]), [], "x")[0] == {
        "axis": "x", "slice": 12, "points": [[20.0, 10.0, 1]]
    }  # fmt: skip
    with pytest.raises(Problem, match="at least one point"):
        clicks(grid, [], [], "z")
    with pytest.raises(Problem, match="a place in the volume"):
        clicks(grid, grid.ras([[60, 20, 10]]), [], "z")


def test_regions_become_boxes() -> None:
    matrix = oblique()
    grid = Grid(SHAPE, matrix)
    corners = corners_of(matrix, [7, 15, 5], [17, 25, 60])
    assert region(grid, corners, "z")["box3d"] == [7, 15, 5, 17, 25, 19]
    assert box_on_slice(grid, corners_of(matrix, [7, 15, 9.6], [17, 25, 10.4]), "z") == {
        "axis": "z", "slice": 10, "box": [7, 15, 17, 25]
    }  # fmt: skip
    through = box_on_slice(grid, corners, "y", top=22, bottom=18)
    assert through == {"axis": "y", "box3d": [7, 18, 5, 17, 22, 19]}
    with pytest.raises(Problem, match="a top and a bottom"):
        box_on_slice(grid, corners, "z", top=3)
    with pytest.raises(Problem, match="touches the volume"):
        region(grid, corners_of(matrix, [50, 0, 0], [60, 4, 4]), "z")


def test_lines_become_markers() -> None:
    grid = Grid(SHAPE, oblique())
    long_, short = grid.ras([[7, 20, 8], [17, 20, 8]]), grid.ras([[12, 16, 8], [12, 24, 8]])
    other = grid.ras([[8, 20, 12], [16, 20, 12]])
    found = lines(grid, [short, other, long_], "z")
    assert [m["slice"] for m in found] == [8, 12]
    assert found[0]["marker"] == {"long": [[7, 20], [17, 20]], "short": [[12, 16], [12, 24]]}
    assert found[1]["marker"] == {"long": [[8, 20], [16, 20]]}
    with pytest.raises(Problem, match="two slices"):
        lines(grid, [long_, short], "z")
    with pytest.raises(Problem, match="on one slice along z"):
        lines(grid, [grid.ras([[7, 20, 8], [17, 20, 10]])], "z")
    with pytest.raises(Problem, match="one or two lines"):
        lines(grid, [long_, long_, long_, other], "z")


def test_slices_are_cut_as_the_server_cuts_them() -> None:
    geometry = Geometry.from_spacing((4, 5, 6))
    for axis in ("z", "y", "x"):
        column, row = planar(axis)
        assert geometry.slice_shape(axis) == (geometry.shape[2 - row], geometry.shape[2 - column])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Liver", ("123037004", "10200004", "", "", "")),
        ("Kidney_Left", ("123037004", "64033007", "7771000", "", "")),
        ("tumour", ("49755003", "108369006", "", "", "")),
        ("right lung nodule", ("49755003", "27925004", "", "39607008", "24028007")),
        ("left atrium", ("123037004", "82471001", "", "", "")),
        ("object 1", None),
        ("Liver segment four", None),
    ],
)
def test_names_have_terminology(name: str, parts: tuple[str, ...] | None) -> None:
    found = terminology(name)
    if parts is None:
        assert found is None
        return
    assert found is not None
    fields = found.split("~")
    assert len(fields) == 7
    coded = [fields[n].split("^")[1] for n in (1, 2, 3, 5, 6)]
    assert tuple(coded) == parts


# Work on the server.


def test_a_box_from_bottom_to_top(panel: Panel) -> None:
    panel.controller.box(panel.corners([7, 15, 0], [17, 25, 0]), "z", None, top=15, bottom=5)
    panel.drain()
    assert not panel.wrong
    np.testing.assert_array_equal(panel.mask("object 1"), A)
    assert any("following" in text for text in panel.said)
    assert panel.said[-1] == ""
    assert panel.segments.named("object 1").state == "begun"


def test_segments_keep_names_colours_and_codes(panel: Panel) -> None:
    own = panel.segments.add("Liver", (1, 2, 3))
    panel.controller.region(panel.corners([7, 15, 5], [17, 25, 15]), "z", own)
    panel.controller.region(panel.corners([31, 15, 5], [41, 25, 15]), "y", None)
    panel.drain()
    assert not panel.wrong
    np.testing.assert_array_equal(panel.mask("Liver"), A)
    np.testing.assert_array_equal(panel.mask("object 1"), B)
    workspace = panel.controller.workspace
    assert workspace is not None
    panel.segments.all[own].name, panel.segments.all[own].colour = "Kidney", (9, 9, 9)
    panel.controller.send_edits()
    panel.drain()
    state = workspace.session.state["objects"]
    assert next((e["name"], e["colour"]) for e in state) == ("Kidney", [9, 9, 9])
    np.testing.assert_array_equal(panel.mask("Kidney"), A)
    same = panel.segments.add("Kidney", (4, 4, 4))
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", same)
    panel.drain()
    assert not panel.wrong
    assert "Kidney (2)" in workspace.session.objects
    assert panel.segments.all[same].name == "Kidney"


def test_clicks_correct_and_undo_takes_back(panel: Panel) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    segment = panel.segments.ids[0]
    panel.controller.clicks([panel.at(36, 20, 10)], [], "z", segment)
    panel.drain()
    np.testing.assert_array_equal(panel.mask("object 1")[10], (A | B)[10])
    panel.controller.undo()
    panel.drain()
    np.testing.assert_array_equal(panel.mask("object 1"), A)
    panel.controller.undo()
    panel.drain()
    assert not panel.mask("object 1").any()
    panel.controller.redo()
    panel.controller.redo()
    panel.drain()
    np.testing.assert_array_equal(panel.mask("object 1")[10], (A | B)[10])
    assert panel.segments.ids == [segment]
    assert not panel.wrong


def test_lines_of_recist(panel: Panel) -> None:
    ends = [
        [panel.at(7, 20, k), panel.at(17, 20, k)] for k in (8, 12)
    ] + [[panel.at(12, 15, k), panel.at(12, 25, k)] for k in (8, 12)]  # fmt: skip
    panel.controller.lines(ends, "z", None)
    panel.drain()
    assert not panel.wrong
    np.testing.assert_array_equal(panel.mask("object 1")[8:13], A[8:13])
    assert not panel.mask("object 1")[[6, 14]].any()


def test_edits_by_hand_are_the_answers_of_their_slices(panel: Panel) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    segment = panel.segments.ids[0]
    painted = panel.segments.all[segment].mask
    assert painted is not None
    painted[9, 2:5, 2:5] = True
    painted[11] = False
    expected = painted.copy()
    panel.controller.clicks([panel.at(36, 20, 3)], [], "z", segment)  # nothing is there
    panel.drain()
    now = panel.mask("object 1")
    np.testing.assert_array_equal(now[[9, 10, 11]], expected[[9, 10, 11]])
    workspace = panel.controller.workspace
    assert workspace is not None
    masks = [p for p in workspace.session.state["objects"][0]["prompts"] if p["kind"] == "mask"]
    assert {p["slice"] for p in masks} == {9, 11}


def test_what_is_painted_while_slices_follow_stays(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other slices come after the painting, which goes to the server with the next edits."""
    painted = Event()
    spread = Session.spread

    def later(session: Session) -> object:
        assert painted.wait(30)
        return spread(session)

    monkeypatch.setattr(Session, "spread", later)
    panel.controller.clicks([panel.at(12, 20, 10)], [], "z", None)
    end = time.monotonic() + 30
    while not (panel.segments.ids and panel.mask("object 1").any()) and time.monotonic() < end:
        panel.controller.worker.poll()
        time.sleep(0.005)
    mask = panel.mask("object 1")
    np.testing.assert_array_equal(np.unique(mask.nonzero()[0]), [10])
    mask[15, 2:6, 2:6] = True
    mask[10, 20, 12] = False
    painted.set()
    panel.drain()
    expected = A.copy()
    expected[15, 2:6, 2:6] = True
    expected[10, 20, 12] = False
    assert (panel.mask("object 1") ^ expected).sum() <= 2  # the poles of the ball
    assert panel.mask("object 1")[15, 2:6, 2:6].all()
    assert not panel.mask("object 1")[10, 20, 12]
    panel.controller.send_edits()
    panel.drain()
    assert not panel.wrong
    workspace = panel.controller.workspace
    assert workspace is not None
    there = workspace.session.masks["object 1"]
    np.testing.assert_array_equal(there, panel.mask("object 1"))
    assert there[15, 2:6, 2:6].all()


def test_what_is_painted_while_an_object_is_undone_stays(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    workspace = panel.controller.workspace
    assert workspace is not None
    undo = workspace.session.undo

    def painting() -> object:
        panel.mask("object 1")[15, 2:6, 2:6] = True
        return undo()

    monkeypatch.setattr(workspace.session, "undo", painting)
    panel.controller.undo()
    panel.drain()
    assert not panel.wrong
    expected = np.zeros(SHAPE, bool)
    expected[15, 2:6, 2:6] = True
    np.testing.assert_array_equal(panel.mask("object 1"), expected)
    panel.controller.send_edits()
    panel.drain()
    np.testing.assert_array_equal(workspace.session.masks["object 1"], expected)


def test_a_segment_from_elsewhere_is_corrected(panel: Panel) -> None:
    segment = panel.segments.add("loaded", (1, 1, 1))
    panel.segments.all[segment].mask = A.copy()
    panel.controller.clicks([panel.at(36, 20, 10)], [], "z", segment)
    panel.drain()
    assert not panel.wrong
    now = panel.mask("loaded")
    np.testing.assert_array_equal(now[10], (A | B)[10])
    np.testing.assert_array_equal(now & A, A)


def test_quality_says_where_to_look(panel: Panel) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    assert panel.controller.quality == ["object 1: predicted IoU 0.90"]
    workspace = panel.controller.workspace
    assert workspace is not None
    np.testing.assert_allclose(workspace.place_of("object 1", 10), panel.at(12, 20, 10), atol=1e-6)
    entry = workspace.session.state["objects"][0]
    entry["doubtful_slices"] = [7, 6]
    assert panel.controller.quality == ["object 1: predicted IoU 0.90; look at z = 6, 7"]


def test_a_file_of_the_folder_goes_on_tomorrow(address: str) -> None:
    def begun() -> Panel:
        found = panel_on(address)
        found.controller.close()
        found.volume.matrix = np.diag([-1.0, -1, 2, 1])  # as the file of the server has it
        found.controller.open(found.volume, found.segments, Opening(path="scan.nii.gz"))
        found.drain()
        return found

    panel = begun()
    assert not panel.wrong
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    panel.controller.close()
    panel.drain()
    again = begun()
    assert not again.wrong
    np.testing.assert_array_equal(again.mask("object 1"), A)
    third = begun()
    assert "open in another window" in third.wrong[-1]
    assert "tick Take over" in third.wrong[-1]
    third.controller.open(third.volume, third.segments, Opening(path="scan.nii.gz", take_over=True))
    third.drain()
    np.testing.assert_array_equal(third.mask("object 1"), A)
    again.controller.undo()
    again.drain()
    assert "taken over" in again.wrong[-1]
    assert "Take over" in again.wrong[-1]
    third.controller.close()
    third.drain()


def test_another_image_of_the_folder_is_refused(address: str) -> None:
    panel = panel_on(address, path="scan.nii.gz")
    assert "another place or orientation" in panel.wrong[-1]
    panel.volume.matrix = np.diag([-1.0, -1, 2, 1])
    panel.volume.voxels = VOXELS + 5
    panel.controller.open(panel.volume, panel.segments, Opening(path="scan.nii.gz"))
    panel.drain()
    assert "with the values of the volume" in panel.wrong[-1]
    panel.volume.voxels = VOXELS[:4]
    panel.controller.open(panel.volume, panel.segments, Opening(path="scan.nii.gz"))
    panel.drain()
    assert "(4, 40, 48) voxels" in panel.wrong[-1]


def test_two_clients_on_one_session_see_the_same(panel: Panel, address: str) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    workspace = panel.controller.workspace
    assert workspace is not None
    other = type(workspace.session)(Server(address).connection, workspace.session.state)
    other.new_object("theirs")
    other.box([31, 15, 41, 25], slice=10, object="theirs")
    other.wait()
    panel.controller.clicks([panel.at(12, 20, 10)], [], "z", panel.segments.ids[0])
    panel.drain()
    np.testing.assert_array_equal(panel.mask("theirs"), B)
    other.change_object("theirs", remove=True)
    panel.controller.send_edits()
    panel.drain()
    assert not panel.mask("theirs").any()
    assert not panel.wrong


def test_cancel_leaves_the_answer_on_its_slice(panel: Panel, server: Running) -> None:
    slow = server.desk.models["bright"].predictor.model
    decode = slow.decode

    def slowly(*args: object) -> object:
        time.sleep(0.2)
        return decode(*args)

    slow.decode = slowly
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    end = time.monotonic() + 20
    while not any("following" in text for text in panel.said) and time.monotonic() < end:
        panel.controller.poll()
        time.sleep(0.01)
    panel.controller.cancel()
    panel.drain()
    assert not panel.wrong
    np.testing.assert_array_equal(panel.mask("object 1")[10], A[10])
    assert not panel.mask("object 1")[[5, 15]].any()


# What goes wrong.


def waiting(panel: Panel, do: Callable[[], None], meanwhile: Callable[[], None]) -> None:
    """Do something, and something else while the answer is under way."""
    do()
    assert panel.controller.worker.busy
    meanwhile()
    panel.drain()


def test_the_volume_is_closed_while_it_is_answered(panel: Panel, server: Running) -> None:
    def close() -> None:
        panel.volume.exists = False

    box = panel.corners([7, 15, 10], [17, 25, 10])
    waiting(panel, lambda: panel.controller.box(box, "z", None), close)
    assert panel.wrong == ["the volume was closed; the answer is dropped"]
    assert not panel.segments.written
    assert panel.controller.workspace is None
    assert not server.desk.works


def test_the_scene_is_closed_while_it_is_answered(panel: Panel, server: Running) -> None:
    def close() -> None:
        panel.volume.exists = panel.segments.exists = False
        panel.controller.scene_closed()

    box = panel.corners([7, 15, 10], [17, 25, 10])
    waiting(panel, lambda: panel.controller.box(box, "z", None), close)
    assert not panel.segments.written
    assert not server.desk.works


def test_a_segment_is_deleted_while_it_is_answered(panel: Panel) -> None:
    segment = panel.segments.add("gone", (1, 1, 1))
    box = panel.corners([7, 15, 10], [17, 25, 10])
    waiting(
        panel,
        lambda: panel.controller.box(box, "z", segment),
        lambda: panel.segments.all.clear(),
    )
    assert panel.segments.ids == []
    workspace = panel.controller.workspace
    assert workspace is not None
    panel.controller.box(panel.corners([31, 15, 10], [41, 25, 10]), "z", None)
    panel.drain()
    assert workspace.session.objects == ["object 1"]
    panel.controller.clicks([panel.at(12, 20, 10)], [], "z", segment)
    panel.drain()
    assert panel.wrong[-1] == "the segment was deleted; choose another one"


def test_a_deleted_segment_comes_back_with_undo(panel: Panel) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    panel.segments.all.clear()
    panel.controller.send_edits()
    panel.drain()
    workspace = panel.controller.workspace
    assert workspace is not None
    assert workspace.session.objects == []
    panel.controller.undo()
    panel.drain()
    np.testing.assert_array_equal(panel.mask("object 1"), A)
    assert not panel.wrong


def test_a_session_that_ended_is_begun_again(panel: Panel, server: Running) -> None:
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    server.desk.close(server.desk.works[0].id)
    panel.controller.clicks([panel.at(36, 20, 10)], [], "z", panel.segments.ids[0])
    panel.drain()
    assert not panel.wrong
    assert any("begun again" in text for text in panel.said)
    now = panel.mask("object 1")
    np.testing.assert_array_equal(now[10], (A | B)[10])
    np.testing.assert_array_equal(now & A, A)


def test_a_volume_of_another_size_is_refused(panel: Panel) -> None:
    panel.volume.voxels = VOXELS[:5]
    panel.controller.box(panel.corners([7, 15, 2], [17, 25, 2]), "z", None)
    panel.drain()
    assert "another size" in panel.wrong[-1]


def test_a_volume_that_was_moved_is_prompted_where_it_is(panel: Panel) -> None:
    panel.volume.matrix = np.diag([1.0, 1, 1, 1]) @ oblique()
    panel.volume.matrix[:3, 3] += 100
    panel.controller.box(panel.corners([7, 15, 10], [17, 25, 10]), "z", None)
    panel.drain()
    np.testing.assert_array_equal(panel.mask("object 1"), A)


def test_a_prompt_the_model_does_not_take(panel: Panel) -> None:
    connected = panel.controller.connected
    assert connected is not None
    for model in connected.info["models"]:
        model["prompts"] = ["box"]
    panel.controller.clicks([panel.at(12, 20, 10)], [], "z", None)
    panel.drain()
    assert "serve another model" in panel.wrong[-1]
    assert panel.segments.ids == []


def test_nothing_is_open(address: str) -> None:
    panel = panel_on(address)
    panel.controller.close()
    for do in (panel.controller.undo, panel.controller.send_edits):
        do()
        panel.drain()
        assert "open one first" in panel.wrong[-1]
    panel.controller.carry_on()
    panel.drain()
    assert "a volume of a sequence" in panel.wrong[-1]


def test_no_server_wrong_token_other_server(address: str) -> None:
    wrong: list[str] = []
    controller = Controller(lambda _: None, wrong.append)

    def tried(*given: str) -> str:
        controller.connect(*given)
        controller.worker.drain()
        return wrong[-1]

    assert "start one (promptseg serve" in tried("http://127.0.0.1:9/?token=x")
    base = address.partition("?")[0]
    assert "paste the whole address" in tried(base, "wrong")
    assert "expected an address" in tried("127.0.0.1:1527")
    assert "paste it" in tried("  ")
    assert controller.connected is None

    class Other(BaseHTTPRequestHandler):
        status, body = 404, b"no"

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.end_headers()
            self.wfile.write(self.body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{other.server_port}"
        for status, body in ((404, b"no"), (200, b"<html>"), (200, b"[]")):
            Other.status, Other.body = status, body
            assert "something else" in tried(there)
        other.shutdown()


def test_another_version_says_what_to_do(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.serve.describe.__version__", "7.3.0")
    wrong: list[str] = []
    controller = Controller(lambda _: None, wrong.append)
    controller.connect(address)
    controller.worker.drain()
    assert "got 7.3.0" in wrong[-1]
    assert "install promptseg " in wrong[-1]
    assert controller.connected is None
    controller.connect(address, any_version=True)
    controller.worker.drain()
    assert controller.connected is not None


def test_the_client_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "promptseg_client", None)
    with pytest.raises(Problem, match="install the extension again"):
        connection.client(tmp_path)


# A server of one's own.


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_server_in_another_python(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *-c*) exit 0;; esac\n'
        'env > "$0.env"; echo "$*" > "$0.asked"\n'
        "echo loading; sleep 0.3; echo http://127.0.0.1:9/?token=abc; sleep 60\n"
    )
    python.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONHOME": "/viewer", "LD_LIBRARY_PATH": "/viewer"}
    started = launcher.launch(str(python), str(tmp_path), ["promptseg-lite"], 0, environment)
    end = time.monotonic() + 20
    while started.address is None and time.monotonic() < end:
        started.check()
        time.sleep(0.02)
    assert started.address == "http://127.0.0.1:9/?token=abc"
    assert started.said == "loading"
    assert "viewer" not in (tmp_path / "python.env").read_text()
    asked = (tmp_path / "python.asked").read_text().split()
    assert asked[1:] == [
        *("-m", "promptseg", "serve", "--root", str(tmp_path), "--port", "0"),
        *("--model", "promptseg-lite"),
    ]
    started.stop()
    assert not started.running


def test_a_python_without_promptseg(tmp_path: Path) -> None:
    bare = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")]
    subprocess.run(bare, check=True)
    places = ("bin/python", "Scripts/python.exe")
    found = next(p for place in places if (p := tmp_path / "bare" / place).exists())
    with pytest.raises(
        Problem, match=r"install it there yourself, in a clone of promptseg: .* -m pip install"
    ) as told:
        launcher.launch(str(found), str(tmp_path))
    assert "No module named" in str(told.value)
    with pytest.raises(Problem, match="expected a Python"):
        launcher.launch(str(tmp_path / "nothing"), str(tmp_path))
    with pytest.raises(Problem, match="a folder to serve"):
        launcher.launch(sys.executable, str(tmp_path / "nothing"))


def test_a_server_that_ends_at_once(tmp_path: Path) -> None:
    code = "print('error: expected a model'); raise SystemExit(2)"
    started = launcher.Launched([sys.executable, "-c", code], launcher.clean_environment())
    end = time.monotonic() + 20
    while started.running and time.monotonic() < end:
        time.sleep(0.02)
    while not started.said and time.monotonic() < end:
        time.sleep(0.02)
    with pytest.raises(Problem, match="expected a model"):
        started.check()


# Time.


def test_a_sequence_is_carried_on(address: str) -> None:
    shape = (12, 30, 40)
    balls = [ball(shape, (6, 15, 12 + t), 4) for t in range(4)]
    moments = [np.where(b, 200, 0).astype(np.int16) for b in balls]
    said: list[str] = []
    wrong: list[str] = []
    controller = Controller(said.append, wrong.append)
    volume, segments = PlainVolume(moments[0], oblique()), PlainSegments()
    points = PlainTime(volume, segments, moments)
    controller.connect(address)
    controller.open(volume, segments, Opening(), points)
    segment = segments.add("Liver", (1, 2, 3))
    controller.region(corners_of(oblique(), [8, 11, 2], [16, 19, 10]), "z", segment)
    controller.carry_on()
    controller.worker.drain()
    assert not wrong
    assert points.current == 3
    for t, expected in enumerate(balls):
        (kept,) = points.kept[t].values()
        assert (kept.name, kept.colour) == ("Liver", (1, 2, 3))
        np.testing.assert_array_equal(kept.mask, expected)
    controller.go_to(1)
    controller.worker.drain()
    np.testing.assert_array_equal(segments.named("Liver").mask, balls[1])
    controller.clicks([volume.grid.ras([[13, 15, 6]])[0]], [], "z", segments.ids[0])
    controller.worker.drain()
    assert not wrong
    points.show(2)
    controller.undo()
    controller.worker.drain()
    assert "another time point" in wrong[-1]
    controller.go_to(7)
    controller.worker.drain()
    assert "a time point from 0 to 3" in wrong[-1]


# The worker, and the files.


def test_tasks_wait_in_a_thread_and_act_outside_it() -> None:
    from threading import current_thread, main_thread

    seen: list[object] = []
    failed: list[Exception] = []
    worker = Worker(failed.append)

    def task(n: int) -> Task:
        there = yield lambda: current_thread() is main_thread()
        seen.append((n, there, current_thread() is main_thread()))
        try:
            yield lambda: 1 // 0
        except ZeroDivisionError:
            seen.append("caught")
        yield lambda: [][0]

    worker.add(task(1))
    worker.add(task(2))
    worker.drain()
    assert seen == [(1, False, True), "caught", (2, False, True), "caught"]
    assert [type(e) for e in failed] == [IndexError, IndexError]


def test_the_copies_are_in_step() -> None:
    done = subprocess.run(
        [sys.executable, MODULE / "vendor.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_it_runs_in_slicers_python() -> None:
    """Python 3.9 at least, nothing but numpy and, in one file, VTK; no Qt in the logic."""
    known = sys.stdlib_module_names | {"numpy", "PromptSegLib", "promptseg_client"}
    for file in sorted((MODULE / "PromptSeg").rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"), feature_version=(3, 9))
        if file.parent.name != "PromptSegLib":
            continue
        used = {
            n.name.partition(".")[0]
            for x in ast.walk(tree)
            if isinstance(x, ast.Import)
            for n in x.names
        }
        used |= {
            str(x.module).partition(".")[0] for x in ast.walk(tree) if isinstance(x, ast.ImportFrom)
        }
        assert used - known <= ({"vtk", "slicer"} if file.name == "mrml.py" else set()), file


def test_every_file_is_installed() -> None:
    listed = (
        (MODULE / "PromptSeg" / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "PromptSeg")
    )
    for file in (MODULE / "PromptSeg").rglob("*"):
        if file.is_file() and "Testing" not in file.parts and "__pycache__" not in file.parts:
            name = file.relative_to(MODULE / "PromptSeg").as_posix()
            assert name in listed or name == "CMakeLists.txt", name
