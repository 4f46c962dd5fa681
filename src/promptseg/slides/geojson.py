"""Objects of a slide as GeoJSON (RFC 7946), as QuPath reads and writes annotations.

Coordinates are pixels of the largest level, (0, 0) the upper left corner of the first pixel. Every
object is a feature; its parts are polygons with holes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from promptseg._version import __version__
from promptseg.formats.colours import COLOURS
from promptseg.formats.files import atomic_path, check_output
from promptseg.formats.geojson import feature
from promptseg.provenance import DISCLAIMER
from promptseg.slides.outlines import Polygon, outlines
from promptseg.slides.session import SlideSession

__all__ = ["features", "geojson", "write_geojson"]

Colour = tuple[int, int, int]


def geojson(session: SlideSession, colours: Mapping[str, Colour] | None = None) -> dict[str, Any]:
    """Return the objects of a slide as a FeatureCollection.

    Args:
        session: the slide and its objects; empty ones are left out.
        colours: (red, green, blue) by name; by number from our table where there is none.

    Returns:
        What goes into the file. The member `promptseg` beside the features says what made them.
    """
    step, slide = session.step, session.slide
    return {
        "type": "FeatureCollection",
        "features": features(session, colours),
        "promptseg": {
            "version": __version__,
            "notice": DISCLAIMER,
            "models": sorted({layer.model for o in step.objects.values() for layer in o.layers}),
            "slide": {
                "width": slide.size[0],
                "height": slide.size[1],
                "microns_per_pixel": None if slide.microns is None else list(slide.microns),
            },
            "steps": [s.action for s in session.history[1 : session.position + 1]],
        },
    }


def features(
    session: SlideSession, colours: Mapping[str, Colour] | None = None
) -> list[dict[str, Any]]:
    """Return every object that is not empty as a feature."""
    found = []
    for name, known in session.step.objects.items():
        grid = session.grid(name)
        polygons = outlines(grid.mask, grid.xs.tolist(), grid.ys.tolist())
        if not polygons:
            continue
        colour = (colours or {}).get(name) or COLOURS[(known.label - 1) % len(COLOURS)]
        opinions = [x.predicted_iou for x in known.layers if x.predicted_iou is not None]
        measured = (
            {"predicted IoU, mean of regions": sum(opinions) / len(opinions)} if opinions else {}
        )
        one = feature(name, known.label, _closed(polygons), name, colour)
        one["properties"]["measurements"] = measured
        found.append(one)
    return found


def write_geojson(
    session: SlideSession,
    path: Path,
    colours: Mapping[str, Colour] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the objects of a slide to a file.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    check_output(path, overwrite)
    with atomic_path(path, overwrite) as temporary:
        text = json.dumps(geojson(session, colours), ensure_ascii=False, separators=(",", ":"))
        temporary.write_text(text, encoding="utf-8")
    return path


def _closed(polygons: list[Polygon]) -> list[list[list[list[int]]]]:
    return [
        [_turned([*ring, ring[0]], outer=number == 0) for number, ring in enumerate(polygon)]
        for polygon in polygons
    ]


def _turned(ring: list[tuple[int, int]], outer: bool) -> list[list[int]]:
    """A ring as RFC 7946 turns it: the outer one counterclockwise, its holes the other way."""
    doubled = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))
    turned = ring if (doubled > 0) == outer else ring[::-1]
    return [[x, y] for x, y in turned]
