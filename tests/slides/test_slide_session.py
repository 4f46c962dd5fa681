"""Prompts on a slide: which region answers, what objects become, and that nothing of it is lost."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptError
from promptseg.slides.geojson import geojson, write_geojson
from promptseg.slides.journal import SlideJournal
from promptseg.slides.outlines import outlines
from promptseg.slides.regions import View, patch_for, zoom_count
from promptseg.slides.session import SlideSession
from slides.makers import SIZE, covered, session_on, shapes, write_slide

SHAPES = shapes()
NEAR = View(300, 200, 900, 600, 0)
HALF = View(1200, 600, 1600, 1000, 1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "shapes.tif")


def pixels(session: SlideSession, name: str) -> NDArray[np.bool_]:
    """An object on all pixels of the slide."""
    grid = session.grid(name)
    return covered(outlines(grid.mask, grid.xs.tolist(), grid.ys.tolist()), SIZE[::-1])


def part(box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The shapes inside a box alone."""
    inside = np.zeros_like(SHAPES)
    inside[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    return SHAPES & inside


def test_zooms_end_where_the_slide_fits_into_a_tile() -> None:
    assert [zoom_count((n, 5)) for n in (1, 512, 513, 1024, 1025, 60_000)] == [1, 1, 2, 2, 3, 8]


@pytest.mark.parametrize("seed", range(200))
def test_regions_hold_their_prompts(seed: int) -> None:
    rng = random.Random(seed)
    size = (rng.randint(1, 70_000), rng.randint(1, 70_000))
    side = rng.choice((256, 1024))
    x, y = rng.randrange(size[0]), rng.randrange(size[1])
    box = (x, y, rng.randrange(x, size[0]), rng.randrange(y, size[1]))
    if rng.random() < 0.5:
        box = (x, y, x, y)
    view = View(x - 50, y - 40, rng.uniform(100, 9000), rng.uniform(80, 9000), rng.randrange(9))
    patch = patch_for(box, view, size, side)
    region, step = patch.region, patch.step
    assert min(region.x, region.y) >= 0
    assert region.x + region.width <= size[0]
    assert region.y + region.height <= size[1]
    assert region.width % step == region.height % step == 0
    assert max(patch.shape) <= 2 * side
    lost = step - 1  # a slide's last pixels that make no whole one of the region
    assert region.x <= box[0] + lost
    assert region.y <= box[1] + lost
    assert box[2] <= region.x + region.width - 1 + lost
    assert box[3] <= region.y + region.height - 1 + lost


def test_the_region_in_view_is_taken_at_its_zoom() -> None:
    patch = patch_for((400, 300, 500, 400), View(96, 64, 1600, 1200, 1), (9000, 9000), 1024)
    assert (tuple(patch.region), patch.zoom) == ((96, 64, 1600, 1200), 0) or patch.zoom == 1


def test_a_small_input_looks_around_the_prompt_and_a_large_box_from_farther() -> None:
    small = patch_for((4000, 3000, 4010, 3010), View(3000, 2500, 2000, 1000, 0), (9000, 9000), 256)
    assert small.zoom == 0
    assert max(small.shape) <= 512
    assert small.holds((4000, 3000, 4010, 3010), 80)
    large = patch_for((100, 100, 8000, 8000), View(0, 0, 9000, 9000, 0), (9000, 9000), 256)
    assert large.zoom == 5
    assert large.holds((100, 100, 8000, 8000))


def test_prompts_beside_the_slide_are_refused() -> None:
    for box in ((-1, 0, 5, 5), (0, 0, 3000, 5), (7, 0, 5, 5)):
        with pytest.raises(PromptError, match=r"coordinates on the slide \(x 0..2999, y 0..1999\)"):
            patch_for(box, NEAR, SIZE, 1024)


def test_a_box_is_answered_at_the_full_resolution(path: Path) -> None:
    session = session_on(path)
    assert session.add_box((390, 290, 650, 410), NEAR) == "object 1"
    np.testing.assert_array_equal(pixels(session, "object 1"), part((390, 290, 650, 410)))


def test_at_half_the_resolution_pixels_are_twice_as_large(path: Path) -> None:
    session = session_on(path)
    session.add_box((1590, 790, 1810, 1010), HALF)
    layer = session.step.objects["object 1"].layers[0]
    assert layer.patch.zoom == 1
    np.testing.assert_array_equal(pixels(session, "object 1"), part((1590, 790, 1810, 1010)))


def test_clicks_in_a_region_correct_its_answer(path: Path) -> None:
    session = session_on(path)
    session.add_box((390, 290, 450, 410), NEAR)
    session.add_clicks([(600, 350, 1)], NEAR)
    assert len(session.step.objects["object 1"].layers) == 1
    np.testing.assert_array_equal(pixels(session, "object 1"), part((390, 290, 650, 410)))
    session.add_clicks([(600, 350, 0)], NEAR)
    assert session.grid("object 1").area == 0


def test_an_object_goes_on_over_regions(path: Path) -> None:
    """A bar longer than any region, by boxes of which each adds what it finds; then a click."""
    session = session_on(path)
    for left in (90, 900, 1800):
        view = View(left, 1300, 1100, 500, 0)
        session.add_box((left, 1490, left + 1080, 1550), view, "bar")
    assert len(session.step.objects["bar"].layers) == 3
    np.testing.assert_array_equal(pixels(session, "bar"), part((90, 1490, 2880, 1550)))
    session.add_clicks([(1700, 900, 1)], View(1500, 700, 1300, 900, 0))  # on nothing: the hole
    session.add_clicks([(1620, 900, 1)], View(1500, 700, 1300, 900, 0))
    whole = part((90, 1490, 2880, 1550)) | part((1600, 800, 1800, 1000))
    np.testing.assert_array_equal(pixels(session, "bar"), whole)


def test_a_click_outside_takes_away_what_another_region_gave(path: Path) -> None:
    session = session_on(path)
    session.add_box((1590, 790, 1810, 1010), HALF, "ring")
    session.add_box((390, 290, 650, 410), NEAR, "ring")
    session.add_clicks([(1620, 900, 0)], View(1500, 700, 1300, 900, 0), "ring")
    np.testing.assert_array_equal(pixels(session, "ring"), part((390, 290, 650, 410)))


def test_steps_go_back_and_forth(path: Path) -> None:
    session = session_on(path)
    session.add_box((390, 290, 450, 410), NEAR)
    first = pixels(session, "object 1")
    session.add_clicks([(600, 350, 1)], NEAR)
    second = pixels(session, "object 1")
    session.new_object("other")
    session.add_box((1590, 790, 1810, 1010), HALF)
    session.rename_object("other", "ring")
    session.remove_object("object 1")
    assert list(session.step.objects) == ["ring"]
    session.go_to(1)
    np.testing.assert_array_equal(pixels(session, "object 1"), first)
    session.go_to(2)
    np.testing.assert_array_equal(pixels(session, "object 1"), second)
    session.go_to(1)
    session.add_clicks([(430, 350, 0)], NEAR)  # what was undone is not in the region's session
    assert session.grid("object 1").area == 0
    assert [s.action for s in session.history] == [
        "start",
        *["box on object 1"],
        "point on object 1",
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_session_that_is_resumed_anywhere_is_like_one_that_never_ended(
    path: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    alone, file = session_on(path), tmp_path / "session.jsonl"
    kept = session_on(path)
    journal = SlideJournal(file, "a slide")
    for _ in range(14):
        kind, name = rng.choice(("box", "box", "click", "click", "back", "forth")), rng.choice("ab")
        x, y = rng.choice(
            ((380, 290), (500, 340), (1590, 790), (1640, 950), (900, 1480), (1700, 1510))
        )
        view = View(x - 400, y - 300, 1100, 700, rng.choice((0, 0, 1)))
        for session in (alone, kept):
            with suppress(PromptError):  # glass, or a click outside of what has no mask
                if kind == "box":
                    session.add_box((x, y, min(x + 300, 2999), min(y + 200, 1999)), view, name)
                elif kind == "click":
                    session.add_clicks([(x, y, int(x % 3 > 0))], view, name)
                else:
                    session.go_to(session.position + (1 if kind == "forth" else -1))
        journal.write(kept)
        if rng.random() < 0.5:
            kept, journal = session_on(path), SlideJournal(file, "a slide")
            journal.resume(kept)
    assert [s.action for s in kept.history] == [s.action for s in alone.history]
    assert kept.position == alone.position
    for name in alone.step.objects:
        np.testing.assert_array_equal(pixels(kept, name), pixels(alone, name))


def test_half_a_line_is_no_step(path: Path, tmp_path: Path) -> None:
    session, file = session_on(path), tmp_path / "session.jsonl"
    journal = SlideJournal(file, "a slide")
    session.add_box((390, 290, 450, 410), NEAR)
    journal.write(session)
    whole = file.stat().st_size
    session.add_clicks([(600, 350, 1)], NEAR)
    journal.write(session)
    grown = file.stat().st_size - whole
    assert grown < whole
    with file.open("r+b") as stream:
        stream.truncate(whole + grown // 2)
    again = session_on(path)
    SlideJournal(file, "a slide").resume(again)
    assert [s.action for s in again.history] == ["start", "box on object 1"]


def test_sessions_of_other_slides_and_damaged_ones_are_refused(path: Path, tmp_path: Path) -> None:
    session, file = session_on(path), tmp_path / "session.jsonl"
    session.add_box((390, 290, 450, 410), NEAR)
    SlideJournal(file, "a slide").write(session)
    with pytest.raises(InputError, match="another file of that name"):
        SlideJournal(file, "another").resume(session_on(path))
    lines = file.read_text().splitlines()
    longer = lines[1].replace('"length": 2', '"length": 3')
    for broken in ('{"x": 1}', "{}", longer, longer.replace("box on", "box"), "x\n{}"):
        file.write_text(f"{lines[0]}\n{lines[1]}\n{broken}\n")
        with pytest.raises(InputError):
            SlideJournal(file, "a slide").resume(session_on(path))


def test_a_region_of_nothing_is_refused(path: Path) -> None:
    session = session_on(path)
    with pytest.raises(PromptError, match="a region of the slide with something on it"):
        session.add_box((2400, 200, 2500, 300), View(2300, 100, 400, 300, 0))
    assert session.position == 0


def test_names(path: Path) -> None:
    session = session_on(path)
    session.new_object("a")
    for wrong in ("a", "", "x" * 5000):
        with pytest.raises(PromptError):
            session.new_object(wrong)
    with pytest.raises(PromptError, match="an object out of a"):
        session.select("b")


def test_geojson_has_the_pixels_names_and_colours(path: Path, tmp_path: Path) -> None:
    session = session_on(path)
    session.add_box((1590, 790, 1810, 1010), HALF, "ring")
    session.add_box((390, 290, 650, 410), NEAR, "two parts")
    session.add_box((90, 1490, 900, 1550), View(0, 1300, 1000, 500, 0), "two parts")
    session.new_object("nothing")
    file = write_geojson(session, tmp_path / "a.geojson", {"ring": (1, 2, 3)})
    content = json.loads(file.read_text())
    assert content["type"] == "FeatureCollection"
    ring, two = content["features"]
    assert ring["geometry"]["type"] == "Polygon"
    assert len(ring["geometry"]["coordinates"]) == 2, "a hole"
    assert ring["properties"]["classification"] == {"name": "ring", "color": [1, 2, 3]}
    assert ring["properties"]["objectType"] == "annotation"
    assert two["geometry"]["type"] == "MultiPolygon"
    assert content["promptseg"]["slide"]["width"] == 3000
    for feature in (ring, two):
        assert feature["type"] == "Feature"
        geometry = feature["geometry"]
        polygons = geometry["coordinates"]
        polygons = [polygons] if geometry["type"] == "Polygon" else polygons
        assert all(r[0] == r[-1] and len(r) >= 5 for polygon in polygons for r in polygon)
        name = feature["properties"]["name"]
        np.testing.assert_array_equal(covered(polygons, SIZE[::-1]), pixels(session, name))
    assert len({f["id"] for f in geojson(session)["features"]}) == 2
    with pytest.raises(Exception, match="exists"):
        write_geojson(session, file)
