"""nnInteractive's napari plugin, unmodified and without a screen, against the server.

Asked for by `PROMPTSEG_NAPARI=PYTHON`, a Python of an environment of its own that has napari and the
plugin: `pip install 'napari[pyqt6]==0.9.2' napari-nninteractive==2.5.4`. Needs xvfb and OpenGL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve import napari_plugin
from serve.conftest import TOKEN, A, B, Running

PYTHON = os.environ.get("PROMPTSEG_NAPARI", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON, reason="PROMPTSEG_NAPARI names no Python that has the plugin"),
    pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no xvfb here"),
]


def test_the_plugin_boxes_clicks_and_takes_back(server: Running, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.where(A | B, 200, 0).astype(np.int16))
    hidden = {"PYTHONPATH", "PYTHONHOME"}
    url = f"http://127.0.0.1:{server.client.port}"
    asked = [napari_plugin.__file__, url, TOKEN, str(tmp_path / "in.npy"), str(tmp_path)]
    run = subprocess.run(
        ["xvfb-run", "-a", PYTHON, *asked],
        capture_output=True,
        text=True,
        timeout=900,
        env={
            **{k: v for k, v in os.environ.items() if k not in hidden},
            "XDG_CONFIG_HOME": str(tmp_path),
        },
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Model license:" in run.stdout
    boxed, clicked, undone = (np.load(tmp_path / f"{n}.npy") for n in ("box", "click", "undone"))
    np.testing.assert_array_equal(boxed, A)
    np.testing.assert_array_equal(clicked[10], (A | B)[10])
    np.testing.assert_array_equal(undone, A)
    assert Image.open(tmp_path / "window.png").size[0] > 400
