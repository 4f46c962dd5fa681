"""Markups as 3D Slicer writes them (fields as in its markups schema)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptseg.errors import PromptError
from promptseg.formats.promptfile import read_prompt_file
from promptseg.geometry import Geometry
from promptseg.prompts import group_by_object

GEOMETRY = Geometry.from_spacing((20, 30, 40), (1, 1, 2), (-20, -15, 0))


def point(position: list[float], **more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "label": "F-1",
        "description": "",
        "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
        "position": position,
        **more,
    }


def markups(*entries: dict[str, Any]) -> dict[str, Any]:
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
    return {"@schema": schema, "markups": list(entries)}


def read(tmp_path: Path, *entries: dict[str, Any]) -> Any:
    path = tmp_path / "liver.mrk.json"
    path.write_text(json.dumps(markups(*entries)))
    (parsed,) = read_prompt_file(path)
    return group_by_object(parsed.prompts, GEOMETRY)


@pytest.mark.parametrize(("system", "flip"), [("LPS", (1, 1, 1)), ("RAS", (-1, -1, 1))])
def test_fiducials_are_clicks(tmp_path: Path, system: str, flip: tuple[int, int, int]) -> None:
    places = [np.multiply(p, flip).tolist() for p in ([-10, -5, 8], [0, 5, 8], [3, 3, 20])]
    entry = {
        "type": "Fiducial",
        "coordinateSystem": system,
        "controlPoints": [
            point(places[0]),
            point(places[1], description="negative"),
            point(places[2], positionStatus="undefined"),
        ],
    }
    (found,) = read(tmp_path, entry)
    assert found.name == "liver"
    (clicks,) = found.points
    assert clicks.slice == 4
    assert clicks.xy == ((10, 10), (20, 20))
    assert clicks.labels == (1, 0)


def test_a_region_of_interest_is_a_3d_box_cut_at_the_edge(tmp_path: Path) -> None:
    entry = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "roiType": "Box",
        "center": [0.0, 0.0, 10.0],
        "orientation": [-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0],
        "size": [10.0, 12.0, 30.0],
        "controlPoints": [point([0.0, 0.0, 10.0])],
    }
    (found,) = read(tmp_path, entry)
    np.testing.assert_allclose(found.boxes3d[0].bounds, (15, 9, 0, 25, 21, 12.5))
    entry["center"] = [500.0, 0, 10]
    with pytest.raises(PromptError, match="a 3D box inside the volume"):
        read(tmp_path, entry)


def test_a_turned_region_is_surrounded(tmp_path: Path) -> None:
    s = np.sqrt(0.5)
    entry = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "center": [0.0, 0.0, 10.0],
        "orientation": [s, -s, 0, s, s, 0, 0, 0, 1.0],
        "size": [10.0, 10.0, 4.0],
    }
    (found,) = read(tmp_path, entry)
    half = 10 * s
    np.testing.assert_allclose(
        found.boxes3d[0].bounds, (20 - half, 15 - half, 4, 20 + half, 15 + half, 6), atol=1e-5
    )


def test_other_markups_and_broken_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="fiducials or a region of interest, got Plane"):
        read(tmp_path, {"type": "Plane", "coordinateSystem": "LPS"})
    with pytest.raises(PromptError, match="as 3D Slicer writes it"):
        read(tmp_path, {"type": "ROI", "coordinateSystem": "LPS"})
    with pytest.raises(PromptError, match="at least one markup"):
        read(tmp_path)
