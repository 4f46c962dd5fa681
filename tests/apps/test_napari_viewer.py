"""The napari plugin in a viewer without a screen; skipped where there is no napari, Qt and pytest-qt.

    python -m venv NAPARI && NAPARI/bin/pip install -e '.[serve]' -e apps/napari -e apps/client \
        'napari[pyqt6]' pytest-qt hypothesis
    xvfb-run NAPARI/bin/python -m pytest tests/apps/test_napari_viewer.py   # an X server, for OpenGL
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _needed in ("napari", "pytestqt", "qtpy"):
    pytest.importorskip(_needed, reason=f"no {_needed} here: see the head of this file")

from fakes import BrightPredictor
from promptseg.formats.masks import read_masks
from promptseg.segment.segmenter import Segmenter
from promptseg_napari.backends import Local
from promptseg_napari.panel import Panel
from promptseg_napari.samples import balls
from serve.conftest import TOKEN, A, B, Running
from serve.fake_server import OPTIONS

pytestmark = pytest.mark.slow
VOXELS = np.where(A | B, 200, 0).astype(np.uint8)


def backend() -> Local:
    return Local(lambda _: Segmenter(BrightPredictor(card="mobile-sam")), OPTIONS)


def wait(panel: Any) -> None:
    end = time.monotonic() + 60
    while panel.busy and time.monotonic() < end:
        panel.poll()
        time.sleep(0.01)
    assert not panel.busy
    panel.poll()


def press(panel: Any, text: str) -> None:
    from qtpy.QtWidgets import QPushButton

    (button,) = [b for b in panel.findChildren(QPushButton) if b.text() == text]
    button.click()
    wait(panel)


@pytest.fixture
def viewer(make_napari_viewer: Any) -> Any:
    return make_napari_viewer()


def test_click_box_paint_save(viewer: Any, tmp_path: Path) -> None:
    viewer.add_image(VOXELS, name="scan", scale=(2.5, 0.5, 0.7), translate=(10, 20, 30))
    panel = Panel(viewer, backend())
    press(panel, "Open")
    assert panel.status.text().startswith("open: scan")
    labels = viewer.layers["scan objects"]
    viewer.dims.set_current_step(0, 10)
    boxes = viewer.layers["boxes"]
    boxes.add_rectangles(np.array([[10, 15, 7], [10, 15, 17], [10, 25, 17], [10, 25, 7]]))
    wait(panel)
    np.testing.assert_array_equal(labels.data == 1, A)
    np.testing.assert_allclose(labels.data_to_world((1, 1, 1)), (12.5, 20.5, 30.7))
    viewer.layers["points inside"].add(np.array([10, 20, 36]))
    wait(panel)
    np.testing.assert_array_equal(labels.data[10] == 1, (A | B)[10])
    viewer.layers["points outside"].add(np.array([10, 20, 36]))
    wait(panel)
    np.testing.assert_array_equal(labels.data[10] == 1, A[10])
    press(panel, "Undo")
    np.testing.assert_array_equal(labels.data[10] == 1, (A | B)[10])
    press(panel, "Redo")
    press(panel, "New object")
    assert "object 2" in panel.object.text()
    press(panel, "Paint")
    assert labels.selected_label == 2
    labels.data[3, 2:6, 2:6] = 2
    press(panel, "Commit painting")
    assert panel.status.text() == ""
    panel.save(str(tmp_path / "out.seg.nrrd"))
    wait(panel)
    found = read_masks(tmp_path / "out.seg.nrrd")
    assert [s.name for s in found.segments] == ["object 1", "object 2"]
    np.testing.assert_array_equal(found.segments[1].mask(VOXELS.shape)[3], labels.data[3] == 2)
    press(panel, "Find")
    assert "write what to look for" in panel.status.text()
    viewer.layers.remove("scan")
    wait(panel)
    assert panel.work is None
    assert "the image or its labels were closed" in panel.status.text()


def test_layers_that_are_turned_and_an_image_that_is_closed(viewer: Any) -> None:
    turned = {"rotate": (20, 0, 0), "scale": (2, 1, 1)}  # about the slices' own axis
    layer = viewer.add_image(VOXELS, name="scan", **turned)
    panel = Panel(viewer, backend())
    press(panel, "Open")
    own = viewer.add_points(np.zeros((0, 3)), name="own", scale=(3, 3, 3))
    place = own.world_to_data(layer.data_to_world((10, 20, 12)))
    assert panel.work is not None
    panel.run(panel.work.clicks(own, [place], True, (1, 2)))
    wait(panel)
    labels = viewer.layers["scan objects"]
    np.testing.assert_array_equal(labels.data == 1, A)
    np.testing.assert_allclose(labels.data_to_world((3, 4, 5)), layer.data_to_world((3, 4, 5)))
    before = labels.data.copy()
    panel.run(
        panel.work.clicks(own, [own.world_to_data(layer.data_to_world((10, 20, 36)))], True, (1, 2))
    )
    viewer.layers.remove("scan")
    wait(panel)
    np.testing.assert_array_equal(labels.data, before)
    assert panel.work is None


def test_a_box_with_ends_in_another_plane(viewer: Any) -> None:
    viewer.add_image(VOXELS, name="scan", scale=(2, 1, 1))
    panel = Panel(viewer, backend())
    press(panel, "Open")
    viewer.dims.order = (1, 0, 2)  # slices along y
    for text, step in (("First slice", 18), ("Last slice", 22)):
        viewer.dims.set_current_step(1, step)
        press(panel, text)
    assert "slice 18 to 22" in panel.status.text()
    viewer.dims.set_current_step(1, 20)
    corners = np.array([[5, 20, 7], [5, 20, 17], [15, 20, 17], [15, 20, 7]])
    viewer.layers["boxes"].add_rectangles(corners)
    wait(panel)
    expected = A.copy()
    expected[:, :18] = expected[:, 23:] = False
    np.testing.assert_array_equal(viewer.layers["scan objects"].data == 1, expected)


def test_time_and_a_server(viewer: Any, server: Running) -> None:
    frames = np.stack([np.roll(VOXELS[10], t, axis=1) for t in range(4)])
    viewer.add_image(frames, name="film")
    panel = Panel(viewer)
    panel.address.setText(f"http://127.0.0.1:{server.client.port}/?token={TOKEN}")
    panel.time.setChecked(True)
    press(panel, "Open")
    viewer.dims.set_current_step(0, 0)
    viewer.layers["boxes"].add_rectangles(
        np.array([[0, 15, 7], [0, 15, 17], [0, 25, 17], [0, 25, 7]])
    )
    wait(panel)
    press(panel, "Carry on in time")
    expected = np.stack([np.roll(A[10], t, axis=1) for t in range(4)])
    np.testing.assert_array_equal(viewer.layers["film objects"].data == 1, expected)
    panel.close_work()
    wait(panel)
    assert not server.desk.works


def test_the_picture(viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample, a box and the answer; the picture in docs/napari.md."""
    ((voxels, facts, _),) = balls()
    viewer.add_image(voxels, **facts)
    panel = Panel(viewer, backend())
    viewer.window.add_dock_widget(panel, name="promptseg")
    press(panel, "Open")
    viewer.dims.set_current_step(0, 12)
    box = np.array([[12, 26, 14], [12, 26, 58], [12, 70, 58], [12, 70, 14]])
    viewer.layers["boxes"].add_rectangles(box)
    wait(panel)
    press(panel, "New object")
    viewer.layers["points inside"].add(np.array([12, 44, 92]))
    wait(panel)
    labels = viewer.layers["two balls objects"].data
    away = np.linalg.norm((np.indices(labels.shape).T - [12, 48, 36]) * [3, 1, 1], axis=-1).T
    one = labels == 1
    assert 2 * (one & (away <= 20)).sum() / (one.sum() + (away <= 20).sum()) > 0.95
    viewer.reset_view()
    viewer.window._qt_window.resize(1100, 760)
    shown = viewer.screenshot(canvas_only=False, flash=False)
    assert shown.shape[0] > 300
    assert len(np.unique(shown.reshape(-1, shown.shape[-1]), axis=0)) > 50
    from PIL import Image as PilImage

    folder = Path(os.environ.get("PROMPTSEG_PICTURES", tmp_path))
    PilImage.fromarray(shown[..., :3]).save(folder / "napari.png")


def test_napari_finds_it(viewer: Any) -> None:
    import npe2

    names = npe2.PluginManager.instance().iter_manifests()
    if "promptseg-napari" not in {m.name for m in names}:
        manifest = Path(sys.modules["promptseg_napari"].__file__ or "").parent / "napari.yaml"
        assert npe2.PluginManifest.from_file(manifest).name == "promptseg-napari"
        pytest.skip(
            "the plugin is on the path, and not installed: its manifest was read all the same"
        )
    viewer.open_sample("promptseg-napari", "balls")
    assert viewer.layers[0].name == "two balls"


def test_its_panel_is_imported_in_less_than_a_second() -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[1:]; import napari.layers, qtpy.QtWidgets; "
        "t = time.perf_counter(); import promptseg_napari.panel; "
        "print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    here = [str(Path(sys.modules["promptseg_napari"].__file__ or "").parents[1])]
    ran = subprocess.run(
        [sys.executable, "-c", code, *here], capture_output=True, text=True, check=True
    )
    seconds, torch = ran.stdout.split()
    assert float(seconds) < 1
    assert torch == "False"
