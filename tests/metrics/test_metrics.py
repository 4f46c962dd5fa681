"""Metrics of masks whose values are known, the rules for empty ones, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError
from promptseg.geometry import Geometry
from promptseg.image import Segment, Segmentation
from promptseg.metrics import (
    BACKGROUND,
    METRICS,
    Rules,
    array_spacing,
    score,
    score_segmentations,
)
from promptseg.metrics.surface import surface_of

Mask = NDArray[np.bool_]

pairs = (
    st.integers(2, 3)
    .flatmap(lambda ndim: st.tuples(*[st.integers(1, 6)] * ndim))
    .flatmap(
        lambda shape: st.tuples(
            *[hnp.arrays(np.bool_, shape)] * 2, st.permutations(range(len(shape)))
        )
    )
    .filter(lambda pair: bool(pair[0].any() and pair[1].any()))
)
fixed = settings(derandomize=True, max_examples=60, deadline=None)


def ball(radius: float, centre: tuple[int, int, int] = (24, 24, 24), side: int = 49) -> Mask:
    z, y, x = np.ogrid[:side, :side, :side]
    square = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return np.asarray(square <= radius**2)


def block(*sides: tuple[int, int], shape: tuple[int, ...] = (20, 20, 20)) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


class TestKnownShapes:
    def test_two_balls_around_one_centre_lie_the_difference_of_their_radii_apart(self) -> None:
        scores = score(ball(15), ball(20))
        # Of the points of a surface, which scatter by half a voxel, the nearest one counts.
        assert scores.asd == pytest.approx(5, abs=0.6)
        assert scores.hd95 == pytest.approx(5, abs=0.7)
        assert scores.iou == pytest.approx((15 / 20) ** 3, abs=0.01)
        assert scores.volume_difference == pytest.approx((20 / 15) ** 3 - 1, abs=0.02)
        near, far = (score(ball(15), ball(20), rules=Rules(tolerance=t)).nsd for t in (3, 6))
        assert (near, far) == (pytest.approx(0, abs=0.05), 1)

    def test_the_surface_of_a_ball_is_close_to_its_formula(self) -> None:
        area = surface_of(ball(20), (1.0, 1.0, 1.0)).sizes.sum()
        assert area == pytest.approx(4 * math.pi * 20**2, rel=0.1)  # marching cubes of a hard mask

    def test_a_shifted_cube(self) -> None:
        """10 mm cubes of 2.5 x 1 x 0.5 mm voxels, 2 mm apart along x."""
        spacing = (2.5, 1.0, 0.5)
        truth = block((4, 8), (4, 14), (4, 24), shape=(12, 20, 40))
        found = block((4, 8), (4, 14), (8, 28), shape=(12, 20, 40))
        scores = score(truth, found, spacing)
        assert scores.dsc == pytest.approx(0.8)
        assert scores.iou == pytest.approx(8 / 12)
        assert scores.hd95 == pytest.approx(2)
        assert (scores.nsd, scores.unit) == (1, "mm")
        assert (scores.volume_difference, scores.volume_difference_ml) == (0, 0)
        assert score(truth, found, spacing, Rules(tolerance=1.999)).nsd < 1
        assert score(truth, found, spacing, Rules(unit="pixel")).hd95 == pytest.approx(4)

    def test_the_contour_of_a_square_has_cut_corners(self) -> None:
        square = block((2, 7), (2, 12), shape=(9, 14))
        length = surface_of(square, (2.0, 0.5)).sizes.sum()
        corner = 0.5 * math.hypot(2.0, 0.5)
        assert length == pytest.approx(2 * 4 * 2.0 + 2 * 9 * 0.5 + 4 * corner)

    def test_a_mask_on_the_border_of_the_array_has_a_surface_there(self) -> None:
        inside, everything = block((5, 9), (5, 9), (5, 9)), np.ones((4, 4, 4), dtype=bool)
        spacing = (1.0, 2.0, 3.0)
        assert (
            surface_of(everything, spacing).sizes.sum() == surface_of(inside, spacing).sizes.sum()
        )

    def test_millilitres(self) -> None:
        truth, found = block((0, 10), (0, 10), (0, 10)), block((0, 10), (0, 10), (0, 11))
        assert score(truth, found, (5, 2, 1)).volume_difference_ml == pytest.approx(1)
        assert math.isnan(score(truth, found).volume_difference_ml)
        assert score(truth, found).volume_difference == pytest.approx(0.1)


class TestProperties:
    @given(pairs)
    @fixed
    def test_a_mask_equals_itself(self, pair: tuple[Mask, Mask, list[int]]) -> None:
        scores = score(pair[0], pair[0], (1.7,) * pair[0].ndim, Rules(tolerance=0))
        assert list(scores.metrics().values()) == [1, 1, 1, 0, 0, 0]

    @given(pairs)
    @fixed
    def test_swapping_the_masks_changes_only_signs(
        self, pair: tuple[Mask, Mask, list[int]]
    ) -> None:
        there, back = score(pair[0], pair[1]), score(pair[1], pair[0])
        for name in ("dsc", "iou", "nsd", "hd95", "asd"):
            assert getattr(there, name) == pytest.approx(getattr(back, name))
        assert there.asd_to_found == pytest.approx(back.asd_to_truth)
        assert np.sign(there.volume_difference) == -np.sign(back.volume_difference)

    @given(pairs, st.floats(0.05, 20))
    @fixed
    def test_distances_scale_with_the_spacing(
        self, pair: tuple[Mask, Mask, list[int]], factor: float
    ) -> None:
        truth, found, _ = pair
        spacing = np.array([2.5, 1.0, 0.7][: truth.ndim])
        small = score(truth, found, spacing, Rules(tolerance=1.3))
        large = score(truth, found, spacing * factor, Rules(tolerance=1.3 * factor))
        assert large.hd95 == pytest.approx(small.hd95 * factor)
        assert large.asd == pytest.approx(small.asd * factor)
        assert large.nsd == pytest.approx(small.nsd)

    @given(pairs)
    @fixed
    def test_turning_mirroring_and_padding_change_nothing(
        self, pair: tuple[Mask, Mask, list[int]]
    ) -> None:
        truth, found, order = pair
        spacing = (2.5, 1.0, 0.7)[: truth.ndim]
        turned = [np.pad(np.flip(m.transpose(order), 0), 3) for m in (truth, found)]
        expected = score(truth, found, spacing).metrics()
        got = score(turned[0], turned[1], [spacing[k] for k in order]).metrics()
        assert got == pytest.approx(expected)

    @given(pairs)
    @fixed
    def test_nsd_alone_is_nsd_with_the_rest(self, pair: tuple[Mask, Mask, list[int]]) -> None:
        scores = score(pair[0], pair[1], which=["nsd"])
        assert scores.nsd == score(pair[0], pair[1]).nsd
        assert math.isnan(scores.hd95)
        assert math.isnan(scores.dsc)


class TestEmpty:
    EMPTY, FULL = np.zeros((4, 5), dtype=bool), np.ones((4, 5), dtype=bool)

    @pytest.mark.parametrize(
        ("choice", "worth", "difference"),
        [("one", 1, 0), ("zero", 0, math.nan), ("nan",) + (math.nan,) * 2],
    )
    def test_both(self, choice: Any, worth: float, difference: float) -> None:
        scores = score(self.EMPTY, self.EMPTY, rules=Rules(both_empty=choice))
        expected = [worth, worth, worth, math.nan, math.nan, difference]
        assert list(scores.metrics().values()) == pytest.approx(expected, nan_ok=True)
        assert scores.note == "both empty"

    def test_prediction(self) -> None:
        scores = score(self.FULL, self.EMPTY)
        assert list(scores.metrics().values()) == [0, 0, 0, math.inf, math.inf, -1]
        assert (scores.note, scores.truth_size, scores.found_size) == ("empty prediction", 20, 0)

    def test_truth(self) -> None:
        scores = score(self.EMPTY, self.FULL)
        assert list(scores.metrics().values()) == [0, 0, 0, math.inf, math.inf, math.inf]
        assert scores.note == "empty truth"

    def test_one_left_out_of_averages(self) -> None:
        scores = score(self.EMPTY, self.FULL, rules=Rules(one_empty="nan"))
        assert all(map(math.isnan, scores.metrics().values()))

    def test_what_is_not_wanted_stays_nan(self) -> None:
        scores = score(self.FULL, self.EMPTY, rules=Rules(surface=False))
        assert (scores.dsc, scores.volume_difference) == (0, -1)
        assert math.isnan(scores.nsd)
        assert math.isnan(scores.asd_to_found)


class TestRules:
    def test_json_and_back(self) -> None:
        rules = Rules(tolerance=1, one_empty="nan", tolerances={"kidney": 3})
        assert Rules.from_json(json.loads(json.dumps(rules.to_json()))) == rules
        assert set(Rules().to_json()) == set(Rules.__dataclass_fields__)
        assert hash(rules) == hash(Rules.from_json(rules.to_json()))

    def test_a_target_has_its_own_tolerance(self) -> None:
        rules = Rules(tolerances={"kidney": 3})
        assert (rules.for_target("kidney").tolerance, rules.for_target("liver").tolerance) == (3, 2)

    @pytest.mark.parametrize(
        "fields",
        [
            {"tolerance": -1},
            {"tolerance": math.nan},
            {"tolerance": "2"},
            {"both_empty": "two"},
            {"one_empty": "one"},
            {"unit": "mm"},
            {"tolerances": {"kidney": math.inf}},
            {"percentile": 95},
        ],
    )
    def test_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            Rules.from_json(fields)


class TestRefused:
    MASK = np.ones((3, 4), dtype=bool)

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            (np.ones((4, 3), dtype=bool), "truth's shape"),
            (np.ones((1, 3, 4), dtype=bool), "truth's shape"),
            (np.full((3, 4), 2), "the value 2; pick one label"),
            (np.full((3, 4), -1), "the value -1"),
            (np.full((3, 4), np.nan), "the value nan"),
            (np.full((3, 4), 0.5), "the value 0.5"),
            (np.full((3, 4), "a"), "boolean found mask"),
            (np.ones(4), r"shape \(4,\)"),
            (np.ones((1, 1, 3, 4)), r"shape \(1, 1, 3, 4\)"),
        ],
    )
    def test_masks(self, found: NDArray[Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            score(self.MASK, found)

    @pytest.mark.parametrize("spacing", [(1, 0), (1, -1), (1, math.nan), (1, math.inf), (1, 1, 1)])
    def test_spacing(self, spacing: tuple[float, ...]) -> None:
        with pytest.raises(InputError, match="spacing of 2 lengths above 0"):
            score(self.MASK, self.MASK, spacing)

    @pytest.mark.parametrize("which", ["dsc", ["dice"]])
    def test_metrics(self, which: Any) -> None:
        with pytest.raises(InputError, match="metrics out of dsc, iou"):
            score(self.MASK, self.MASK, which=which)

    @pytest.mark.parametrize("dtype", ["u1", "i4", "f4"])
    def test_zeros_and_ones_of_any_type_are_taken(self, dtype: str) -> None:
        assert score(self.MASK.astype(dtype), self.MASK).dsc == 1


class TestSegmentations:
    SPACING = (0.5, 1.0, 2.5)  # x, y, z
    LIVER = block((2, 10), (2, 10), (2, 10))
    LESION = block((4, 6), (4, 6), (4, 6))

    def made(self, shift: float = 0, **masks: Mask) -> Segmentation:
        geometry = Geometry.from_spacing((20, 20, 20), self.SPACING, (shift, 0, 0))
        segments = [Segment.from_mask(name, k, m) for k, (name, m) in enumerate(masks.items(), 1)]
        return Segmentation(segments, geometry)

    def test_objects_are_paired_by_name_and_may_overlap(self) -> None:
        moved = np.roll(self.LESION, 1, 2)
        truth = self.made(liver=self.LIVER, lesion=self.LESION)
        found = self.made(lesion=moved, liver=self.LIVER)
        scores = score_segmentations(truth, found)
        assert list(scores) == ["liver", "lesion"]
        assert scores["liver"].dsc == 1
        assert scores["lesion"] == score(self.LESION, moved, (2.5, 1.0, 0.5))

    def test_an_object_of_one_side_is_scored_against_nothing(self) -> None:
        scores = score_segmentations(self.made(liver=self.LIVER), self.made(lesion=self.LESION))
        assert {name: s.note for name, s in scores.items()} == {
            "liver": "empty prediction",
            "lesion": "empty truth",
        }

    def test_empty_objects(self) -> None:
        nothing = np.zeros((20, 20, 20), dtype=bool)
        scores = score_segmentations(self.made(liver=nothing), self.made(liver=nothing))
        assert scores["liver"].note == "both empty"
        scores = score_segmentations(self.made(liver=self.LIVER), self.made(liver=nothing))
        assert scores["liver"].truth_size == 512

    def test_background_on_request(self) -> None:
        truth = self.made(liver=self.LIVER, lesion=self.LESION)
        found = self.made(liver=np.roll(self.LIVER, 1, 0))
        scores = score_segmentations(truth, found, Rules(background=True))[BACKGROUND]
        assert scores == score(~self.LIVER, ~np.roll(self.LIVER, 1, 0), (2.5, 1.0, 0.5))

    def test_tolerance_by_target(self) -> None:
        truth, found = self.made(liver=self.LIVER), self.made(liver=np.roll(self.LIVER, 1, 0))
        strict = score_segmentations(truth, found, Rules(tolerances={"liver": 2.4}))["liver"].nsd
        loose = score_segmentations(truth, found, Rules(tolerances={"liver": 2.5}))["liver"].nsd
        assert strict < loose == 1

    def test_other_grids_and_ambiguous_names_are_refused(self) -> None:
        truth = self.made(liver=self.LIVER)
        with pytest.raises(GeometryError, match="on one grid"):
            score_segmentations(truth, self.made(0.01, liver=self.LIVER))
        twice = Segmentation(truth.segments * 2, truth.geometry)
        with pytest.raises(InputError, match="'liver' twice"):
            score_segmentations(truth, twice)
        with pytest.raises(InputError, match="'background'"):
            score_segmentations(self.made(background=self.LIVER), truth, Rules(background=True))

    def test_pictures_are_measured_in_pixels(self) -> None:
        assert array_spacing(Geometry.pixels((3, 4))) is None
        assert array_spacing(Geometry.from_spacing((2, 3, 4), self.SPACING)) == (2.5, 1.0, 0.5)
        assert array_spacing(Geometry.from_spacing((3, 4), self.SPACING)) == (1.0, 0.5)


def test_the_metrics_are_fields_of_the_scores() -> None:
    assert list(score(np.ones((2, 2)), np.ones((2, 2))).metrics()) == list(METRICS)
