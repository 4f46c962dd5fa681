"""The panel of the 3D Slicer module with stubs, and what the Extension Index wants."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image as PilImage

from apps.plain_viewer import PlainSegments, PlainVolume
from apps.test_slicer_logic import VOXELS, corners_of, oblique
from PromptSegLib.workspace import Opening
from serve.conftest import TOKEN, A, Running

EXTENSION = Path(__file__).resolve().parents[2] / "apps" / "slicer"
MODULE = EXTENSION / "PromptSeg"
UI = MODULE / "Resources" / "UI" / "PromptSeg.ui"

# The properties of the catalog entry's schema 1.0.1, with their types; no others are allowed.
SCHEMA_FIELDS: dict[str, type] = {
    "$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
    "build_dependencies": list, "build_subdirectory": str, "enabled": bool, "tier": int,
}  # fmt: skip


def widgets() -> dict[str, str]:
    """Classes of the panel's widgets by name."""
    return {w.get("name", ""): w.get("class", "") for w in ElementTree.parse(UI).iter("widget")}


class _Base:
    """Stands for what Slicer's module classes are made of."""

    def __init__(self, parent: Any = None) -> None:
        self.parent, self.layout = parent, MagicMock()

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return str(MODULE / "Resources" / name)


class _Observes:
    def __init__(self) -> None:
        self.observed: list[tuple[Any, ...]] = []

    def addObserver(self, *observed: Any) -> None:
        self.observed.append(observed)

    def removeObservers(self) -> None:
        self.observed.clear()


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stubs for slicer, qt and vtk; the scene answers anything."""
    found = MagicMock(name="slicer")
    loadable = types.ModuleType("slicer.ScriptedLoadableModule")
    loadable.ScriptedLoadableModule = _Base
    loadable.ScriptedLoadableModuleWidget = _Base
    loadable.ScriptedLoadableModuleTest = object
    util = MagicMock(name="slicer.util")
    util.VTKObservationMixin = _Observes
    found.util, found.ScriptedLoadableModule = util, loadable
    found.app.settings.return_value.value.return_value = "kept"
    vtk = MagicMock(name="vtk")
    vtk.calldata_type = lambda _: lambda function: function
    modules = {"slicer": found, "slicer.util": util, "slicer.ScriptedLoadableModule": loadable}
    modules |= {"qt": MagicMock(name="qt"), "vtk": vtk, "vtk.util": MagicMock()}
    modules |= {"vtk.util.numpy_support": MagicMock()}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "PromptSegLib.mrml", raising=False)
    names = {name: MagicMock(name=name) for name in widgets()}
    util.childWidgetVariables.return_value = types.SimpleNamespace(**names)
    names["modelBox"].count = 0
    names["axisBox"].currentIndex = 0
    names["newBox"].checked = True
    for name, kind in widgets().items():
        if kind == "QLineEdit":
            names[name].text = ""
    yield found
    sys.modules.pop("PromptSegLib.mrml", None)


@pytest.fixture
def panel(slicer: Any) -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("PromptSeg", MODULE / "PromptSeg.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PromptSeg(MagicMock())
    found = module.PromptSegWidget()
    found.setup()
    found.module = module
    yield found
    found.cleanup()


def press(panel: Any, name: str) -> None:
    getattr(panel.ui, name).clicked.connect.call_args.args[0](False)
    panel.controller.worker.drain()


BUTTONS = sorted(name for name, kind in widgets().items() if kind == "QPushButton")


@pytest.mark.parametrize("name", BUTTONS)
def test_every_button_does_something_or_says_why_not(panel: Any, slicer: Any, name: str) -> None:
    connected = getattr(panel.ui, name).clicked.connect
    connected.assert_called_once()
    press(panel, name)
    quiet = {"stopButton", "closeButton", "cancelButton"}
    shown = [call.args[0] for call in slicer.util.errorDisplay.call_args_list]
    assert len(shown) == (0 if name in quiet else 1), shown
    assert all("expected" in text and ";" in text for text in shown)


def test_names_in_the_code_are_in_the_panel(panel: Any) -> None:
    code = (MODULE / "PromptSeg.py").read_text("utf-8")
    used = set(re.findall(r"\bui\.(\w+)", code))
    assert used
    assert used <= widgets().keys()
    assert panel.ui.addressEdit.setText.call_args.args == ("kept",)


def test_a_box_is_drawn_and_segmented(
    panel: Any, slicer: Any, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.ui.addressEdit.text = f"http://127.0.0.1:{server.client.port}/?token={TOKEN}"
    press(panel, "connectButton")
    assert panel.ui.modelBox.addItems.call_args.args == (["bright"],)
    saved = slicer.app.settings().setValue.call_args_list
    assert saved
    assert not any("token" in str(call) for call in saved)
    segments = PlainSegments()
    panel.controller.open(PlainVolume(VOXELS, oblique()), segments, Opening())
    panel.controller.worker.drain()
    corners = corners_of(oblique(), [7, 15, 10], [17, 25, 10])
    monkeypatch.setattr(panel.module.mrml, "region_corners", lambda _: corners)
    view = MagicMock()
    slicer.app.layoutManager().sliceWidget().mrmlSliceNode.return_value = view
    for name, index in (("topButton", 14), ("bottomButton", 6)):
        matrix = oblique()
        matrix[:3, 3] = matrix[:3, :3] @ [3, 4, index] + matrix[:3, 3]
        matrix[:3, 2] = np.cross(matrix[:3, 0], matrix[:3, 1])
        view.GetSliceToRAS.return_value.GetElement = lambda a, b, m=matrix: m[a, b]
        press(panel, name)
    assert (panel.top, panel.bottom) == (14, 6)
    press(panel, "segmentButton")
    slicer.util.errorDisplay.assert_not_called()
    expected = A.copy()
    expected[:6] = expected[15:] = False
    np.testing.assert_array_equal(segments.named("object 1").mask, expected)
    assert panel.ui.qualityList.addItems.call_args.args == (["object 1: predicted IoU 0.90"],)
    monkeypatch.setattr(panel.module.mrml, "placed_points", lambda _: corners[:0])
    panel.onClick(None, None)
    panel.onSceneCloses(None, None)
    panel.controller.worker.drain()
    assert panel.controller.workspace is None


def test_the_index_entry_fits_its_schema() -> None:
    entry = json.loads((EXTENSION / "PromptSeg.json").read_text("utf-8"))
    assert {"$schema", "category", "scm_url"} <= entry.keys() <= SCHEMA_FIELDS.keys()
    for name, value in entry.items():
        assert type(value) is SCHEMA_FIELDS[name], name
    assert 1 <= entry["tier"] <= 5
    assert all(isinstance(name, str) for name in entry["build_dependencies"])
    assert entry["$schema"].endswith("schema-v1.0.1.json#")


def test_the_extension_says_what_the_index_asks() -> None:
    text = (EXTENSION / "CMakeLists.txt").read_text("utf-8")
    for field in (
        "HOMEPAGE",
        "CATEGORY",
        "CONTRIBUTORS",
        "DESCRIPTION",
        "ICONURL",
        "SCREENSHOTURLS",
        "DEPENDS",
    ):
        assert re.search(rf'set\(EXTENSION_{field} "[^"]+"\)', text), field
    entry = json.loads((EXTENSION / "PromptSeg.json").read_text("utf-8"))
    assert f'"{entry["category"]}"' in text
    for picture in (EXTENSION / "PromptSeg.png", MODULE / "Resources" / "Icons" / "PromptSeg.png"):
        with PilImage.open(picture) as icon:
            assert icon.size in ((128, 128), (64, 64))
    tests = (MODULE / "Testing" / "Python" / "CMakeLists.txt").read_text("utf-8")
    for name in re.findall(r"SCRIPT (\S+)\)", tests):
        assert (MODULE / "Testing" / "Python" / name).is_file()


def test_the_panel_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PyQt6 and plain widgets in place of Slicer's; the picture in docs/slicer.md."""
    widgets_ = pytest.importorskip(
        "PyQt6.QtWidgets", reason="PyQt6 draws the panel; it is not installed"
    )
    from PyQt6 import uic

    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")

    for name in ("qMRMLWidget", "qMRMLSegmentEditorWidget", "ctkCollapsibleButton"):
        stub = types.ModuleType(name)
        setattr(stub, name, type(name, (widgets_.QGroupBox,), {}))
        monkeypatch.setitem(sys.modules, name, stub)
    for name in ("qMRMLNodeComboBox", "ctkPathLineEdit"):
        stub = types.ModuleType(name)
        setattr(stub, name, type(name, (widgets_.QComboBox,), {}))
        monkeypatch.setitem(sys.modules, name, stub)
    app = widgets_.QApplication.instance() or widgets_.QApplication([])
    tree = ElementTree.parse(UI)
    for connections in tree.iter("connections"):
        connections.clear()
    theirs = {"nodeTypes", "filters", "collapsed", "noneEnabled", "addEnabled", "removeEnabled"}
    for parent in tree.iter():
        for child in list(parent.findall("property")):
            if child.get("name") in theirs:
                parent.remove(child)
            elif child.get("name") == "text" and parent.get("class") == "ctkCollapsibleButton":
                child.set("name", "title")
    tree.write(tmp_path / "panel.ui")
    panel = uic.loadUi(str(tmp_path / "panel.ui"))
    panel.resize(430, panel.sizeHint().height())
    picture = panel.grab().toImage()
    assert picture.width() == 430
    target = Path(os.environ.get("PROMPTSEG_PICTURES", tmp_path)) / "slicer-panel.png"
    assert picture.save(str(target))
    with PilImage.open(target) as drawn:
        assert len(set(drawn.convert("L").getdata())) > 10
    app.processEvents()
