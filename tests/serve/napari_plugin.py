"""nnInteractive's own napari plugin as a hand uses it; for a Python that has napari and the plugin.

    python napari_plugin.py URL TOKEN IN.npy OUT_FOLDER

Connects, opens the array, draws a box, waits for the mask, takes a click more and takes it back. Writes
box.npy, click.npy, undone.npy and window.png.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BOX = [[10, 15, 7], [10, 15, 18], [10, 26, 18], [10, 26, 7]]  # half-open, to the plugin
POINT = [10, 20, 36]
PATIENCE_S = 120


def until(ready: Callable[[], bool], what: str) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + PATIENCE_S
    while not ready():
        QApplication.processEvents()
        time.sleep(0.02)
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain until {what}")


def main() -> None:
    import napari
    from qtpy.QtWidgets import QApplication

    url, token, source = sys.argv[1:4]
    folder = Path(sys.argv[4])
    viewer = napari.Viewer()
    viewer.add_image(np.load(source), name="scan", scale=(2, 1, 1))
    _, widget = viewer.window.add_plugin_dock_widget("napari-nninteractive")
    widget.server_url_edit.setText(url)
    widget.api_key_edit.setText(token)
    widget.on_connect_toggle()
    until(lambda: widget._remote_connected, "it is connected")
    print(widget.remote_status_label.text())
    widget.on_init()
    labels = widget.label_layer_name
    until(lambda: labels in viewer.layers and widget._upload_dialog is None, "the image is there")
    print(widget.model_license_label.text())

    def mask() -> Any:
        return np.asarray(viewer.layers[labels].data) > 0

    def tool(number: int) -> None:
        widget.interaction_button._uncheck()
        widget.interaction_button._check(number)
        widget.on_interaction_selected()

    def changed(before: Any, name: str) -> Any:
        until(lambda: bool((mask() != before).any()), f"{name} is answered")
        np.save(folder / f"{name}.npy", mask())
        return mask()

    viewer.dims.set_current_step(0, 10)
    tool(1)
    empty = mask()
    viewer.layers[widget.bbox_layer_name].add(np.array(BOX, float), shape_type="rectangle")
    boxed = changed(empty, "box")
    tool(0)
    viewer.layers[widget.point_layer_name].add(np.array(POINT, float))
    clicked = changed(boxed, "click")
    QApplication.processEvents()
    viewer.window._qt_window.grab().save(str(folder / "window.png"))
    widget.on_undo()
    changed(clicked, "undone")
    viewer.close()


if __name__ == "__main__":
    main()
