"""GeoJSON for QuPath: names, classes, colours, holes and parts, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from formats.test_slide import tissue, write_svs
from promptseg import read
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError
from promptseg.formats.contours import rings
from promptseg.formats.masks import read_masks
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment
from promptseg.provenance import Provenance
from promptseg.result import Result

SHAPE = (40, 50)


def picture(shape: tuple[int, int] = SHAPE) -> Image:
    return Image(np.zeros(shape, np.uint8), Geometry.pixels(shape))


def result_of(masks: dict[str, NDArray[np.bool_]], labels: list[int] | None = None) -> Result:
    shape = next(iter(masks.values())).shape
    numbers = labels or range(1, len(masks) + 1)
    segments = [
        Segment.from_mask(name, label, mask)
        for (name, mask), label in zip(masks.items(), numbers, strict=True)
    ]
    return Result(segments, Geometry.pixels(shape))


def ring_and_dot() -> NDArray[np.bool_]:
    """A ring with a hole, and a part of its own."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5:20, 8:30] = True
    mask[9:14, 12:20] = False
    mask[11, 15] = True
    mask[30:33, 40:50] = True
    return mask


def test_what_is_written_is_as_qupath_documents_it(tmp_path: Path) -> None:
    result = result_of({"nucleus 1": ring_and_dot(), "nucleus 2": ~ring_and_dot()}, [7, 300])
    result.segments[0].colour = (10, 20, 30)
    result.save(tmp_path / "a.geojson")
    content = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    first, second = content["features"]
    assert first["geometry"]["type"] == "MultiPolygon"
    assert [len(polygon) for polygon in first["geometry"]["coordinates"]] == [2, 1, 1]
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["name"] == "nucleus 1"
    assert first["properties"]["color"] == [10, 20, 30]
    kinds = [feature["properties"]["classification"] for feature in (first, second)]
    assert kinds == [{"name": "nucleus", "color": [10, 20, 30]}] * 2, "a class has one colour"
    assert second["properties"]["metadata"] == {"label": "300"}, "QuPath keeps texts"
    for ring in first["geometry"]["coordinates"][0]:
        assert ring[0] == ring[-1]


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    result = result_of(
        {"a": ring_and_dot(), "b, with <tags>": np.eye(*SHAPE, dtype=bool)}, [7, 300]
    )
    result.segments[0].colour = (10, 20, 30)
    result.save(tmp_path / "a.geojson")
    image = picture()
    found = read_masks(tmp_path / "a.geojson", image)
    assert [(s.name, s.label) for s in found.segments] == [("a", 7), ("b, with <tags>", 300)]
    assert found.segments[0].colour == (10, 20, 30)
    assert image.source.notes == []
    for segment in result.segments:
        np.testing.assert_array_equal(found[segment.name], result[segment.name])


@settings(max_examples=60, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_is_a_valid_polygon_of_its_own_area(mask: NDArray[np.bool_]) -> None:
    geometry = pytest.importorskip("shapely.geometry")
    polygons = [geometry.Polygon(part[0], part[1:]) for part in rings(mask)]
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == mask.sum()
    for y, x in np.ndindex(*mask.shape):
        centre = geometry.Point(x + 0.5, y + 0.5)
        assert any(polygon.contains(centre) for polygon in polygons) == mask[y, x]


@settings(max_examples=60, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_any_mask_comes_back(mask: NDArray[np.bool_], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "a.geojson"
    result = result_of({"a": mask})
    result.provenance = Provenance(notice="an object without a pixel has no outline, but a name")
    result.save(path)
    found = read_masks(path, picture(mask.shape))
    assert [s.name for s in found.segments] == ["a"]
    np.testing.assert_array_equal(found["a"], mask)


def feature(geometry: dict[str, Any] | None, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def square(x: float, y: float, side: float = 5, **more: Any) -> dict[str, Any]:
    corners = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [corners], **more}


def written(folder: Path, content: Any) -> Path:
    (folder / "q.geojson").write_text(json.dumps(content), encoding="utf-8")
    return folder / "q.geojson"


def test_exports_of_qupath_are_read(tmp_path: Path) -> None:
    """Classes with and without names, older colours, detections, points, another plane."""
    tumour = {"name": "Tumor", "color": [200, 0, 0]}
    content = [
        feature(square(1.2, 1.3), objectType="annotation", classification=tumour),
        feature(square(10, 1), object_type="detection", classification=tumour),
        feature(square(20, 1), classification={"name": "Stroma", "colorRGB": -6895466}),
        feature(square(30, 1), name="mine", classification={"names": ["Tumor", "Positive"]}),
        feature({"type": "Point", "coordinates": [3, 3]}, objectType="annotation", name="dot"),
        feature(square(5, 5, plane={"c": -1, "z": 3, "t": 0}), name="deeper"),
        feature(square(45, 35, 20), name="half outside"),
        feature(square(90, 90), name="outside"),
        feature(None, name="nowhere"),
        feature(square(10, 20)),
    ]
    image = picture()
    found = read_masks(written(tmp_path, content), image)
    assert [s.name for s in found.segments] == [
        *("Tumor 1", "Tumor 2", "Stroma", "mine", "half outside", "outside", "label 7"),
    ]
    assert [s.label for s in found.segments] == [1, 2, 3, 4, 5, 6, 7]
    assert found.segments[2].colour == (150, 200, 150)
    assert found["half outside"][35:, 45:].all()
    assert found["half outside"].sum() == 25
    said = " ".join(image.source.notes)
    for words in ("'dot' has no area", "'deeper' lies on another plane", "'outside' covers no"):
        assert words in said
    assert "'half outside' reaches beyond" in said
    assert "'nowhere' has no area" in said


def test_curved_outlines_agree_with_another_rasteriser(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 200)
    corners = np.stack([200 + 150.3 * np.cos(angles), 170 + 90.7 * np.sin(angles)], axis=1)
    geometry = {"type": "Polygon", "coordinates": [corners.tolist()]}
    path = written(tmp_path, {"type": "FeatureCollection", "features": [feature(geometry)]})
    found = read_masks(path, picture((340, 400))).segments[0].mask((340, 400))
    drawn = PilImage.new("1", (400, 340))
    ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in corners], fill=1)
    both, either = (found & np.array(drawn)).sum(), (found | np.array(drawn)).sum()
    assert both / either > 0.985
    assert abs(found.sum() - np.pi * 150.3 * 90.7) < 60


def test_a_region_of_a_slide_has_the_slides_own_pixels(tmp_path: Path) -> None:
    pytest.importorskip("tiffslide")
    slide = write_svs(tmp_path / "scan.svs", tissue(400, 300))
    options: dict[str, Any] = {"region": "100,40,160,120", "microns": 1.0}
    region = read(slide, **options)
    factor = 160 / region.geometry.shape[1]
    assert factor > 1.5
    mask = np.zeros(region.geometry.shape, dtype=bool)
    mask[2:10, 4:20] = True
    result = Result([Segment.from_mask("gland", 5, mask)], region.geometry, region.source)
    result.save(tmp_path / "a.geojson")
    content = json.loads((tmp_path / "a.geojson").read_text())
    (ring,) = content["features"][0]["geometry"]["coordinates"]
    low, high = np.min(ring, axis=0), np.max(ring, axis=0)
    np.testing.assert_allclose(low, (100 + 4 * factor, 40 + 2 * factor), atol=1e-3)
    np.testing.assert_allclose(high, (100 + 20 * factor, 40 + 10 * factor), atol=1e-3)
    np.testing.assert_array_equal(read_masks(tmp_path / "a.geojson", region)["gland"], mask)
    whole = read(slide)
    np.testing.assert_array_equal(
        np.argwhere(read_masks(tmp_path / "a.geojson", whole)["gland"]).min(axis=0),
        np.ceil([40 + 2 * factor - 0.5, 100 + 4 * factor - 0.5]),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "GeoJSON"),
        ('{"type": "FeatureCollection"}', "of features"),
        ('{"type": "FeatureCollection", "features": [3]}', "of features"),
        ('[{"geometry": {"type": "Polygon"}}]', "feature 1"),
        ('[{"geometry": {"type": "Blob", "coordinates": []}}]', "Blob"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}}]', "3 corners"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [1e999, 1]]]}}]', ""),
    ],
)
def test_what_is_no_geojson_is_one_error(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "q.geojson"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_masks(path, picture())
    assert words in str(caught.value)


def test_outlines_need_their_picture_and_no_volume_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result_of({"a": ring_and_dot()}).save(tmp_path / "a.geojson")
    with pytest.raises(InputError, match="--reference"):
        read_masks(tmp_path / "a.geojson")
    with pytest.raises(InputError, match="outlines"):
        read(tmp_path / "a.geojson")
    volume = Image(np.zeros((3, 4, 5)), Geometry.pixels((3, 4, 5)))
    with pytest.raises(InputError, match="a 2D image"):
        read_masks(tmp_path / "a.geojson", volume)
    solid = Segment.from_mask("a", 1, np.ones((3, 4, 5), dtype=bool))
    with pytest.raises(OutputError):
        Result([solid], volume.geometry).save(tmp_path / "b.geojson")
    PilImage.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / "a.png")
    command = ["convert", "-i", str(tmp_path / "a.geojson"), "-o", str(tmp_path / "mask.png")]
    assert main([*command, "--reference", str(tmp_path / "a.png")]) == 0
    np.testing.assert_array_equal(np.array(PilImage.open(tmp_path / "mask.png")), ring_and_dot())
    assert "a: " in capsys.readouterr().out
