"""From raw values to 0..255: the rule for every modality, and what the rule gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptsegError
from promptseg.image import Image, Source
from promptseg.intensity import PERCENTILES, WINDOWS, Intensity, choose_intensity, parse_window

PRINTED: dict[str, tuple[float, float]] = {
    "soft-tissue": (-160, 240),
    "lung-medsam": (-910, 590),
    "brain": (0, 80),
    "lung": (-1350, 150),
    "mediastinum": (-125, 225),
    "bone": (-500, 1300),
    "liver": (-45, 105),
    "stroke": (20, 60),
    "subdural": (-32.5, 182.5),
    "temporal-bone": (-800, 2000),
    "angio": (0, 600),
}


def volume(modality: str = "unknown", dtype: Any = np.int16, low: int = 0) -> Image:
    values = np.random.default_rng(1).integers(low, 1500, (6, 20, 22)).astype(dtype)
    values[:, :8] = low
    return Image.from_array(values, modality)


def picture(modality: str = "unknown", dtype: Any = np.uint8, high: int = 200) -> Image:
    values = np.random.default_rng(2).gamma(2.0, high / 12, (40, 50)).clip(0, high)
    return Image.from_array(values.astype(dtype), modality)


def expected_uint8(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    return np.asarray(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255)


def assert_maps(rule: Intensity, image: Image, low: float, high: float) -> None:
    found = rule.apply(image.voxels)
    assert found.dtype == np.uint8
    assert found.shape == image.voxels.shape
    off = expected_uint8(image.voxels, low, high) - found
    assert off.min() > -0.01
    assert off.max() < 1.01
    assert (found[image.voxels <= low] == 0).all()


def test_the_table_of_windows_is_complete() -> None:
    assert set(WINDOWS) == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_bounds_of_every_window(name: str) -> None:
    assert WINDOWS[name].bounds == PRINTED[name]
    assert parse_window(name) == WINDOWS[name]


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_windows_map_their_ends_to_0_and_255(name: str, dtype: Any) -> None:
    low, high = PRINTED[name]
    image = Image.from_array(np.array([[low, high], [-3000, 3000]]).astype(dtype), "CT")
    found = choose_intensity(image, window=name).apply(image.voxels)
    if dtype != np.int16 or float(high).is_integer():
        assert found[0].tolist() == [0, 255]
    assert found[1].tolist() == [0, 255]


def test_windows_are_monotonous_and_linear() -> None:
    values = np.arange(-1100, 1100, dtype=np.int16).reshape(20, 110)
    found = choose_intensity(Image.from_array(values, "CT")).apply(values).ravel().astype(int)
    assert (np.diff(found) >= 0).all()
    assert found[values.ravel() == 40][0] == 127
    assert set(found.tolist()) == set(range(256))


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("400/40", (-160, 240)),
        (" 1500 / -600 ", (-1350, 150)),
        ("+80.5/40.25", (0, 80.5)),
    ],
)
def test_windows_by_numbers(text: str, bounds: tuple[float, float]) -> None:
    assert parse_window(text).bounds == bounds


@pytest.mark.parametrize(
    "text", ["0/40", "-400/40", "400", "400/", "/40", "a/b", "nan/40", "400/40/3", "Lung", ""]
)
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^expected a window WIDTH/LEVEL"):
        parse_window(text)


@pytest.mark.parametrize("text", ["soft", "0/40"])
def test_a_bad_window_is_refused_for_an_image(text: str) -> None:
    with pytest.raises(InputError, match="WIDTH/LEVEL"):
        choose_intensity(volume("CT"), window=text)


def test_ct_is_windowed_to_soft_tissue() -> None:
    image = volume("CT", low=-1000)
    rule = choose_intensity(image)
    assert (rule.modality, rule.lower, rule.upper, rule.guessed) == ("CT", -160, 240, False)
    assert "soft-tissue" in rule.rule
    assert_maps(rule, image, -160, 240)


@pytest.mark.parametrize("modality", ["MR", "PET"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_mr_and_pet_use_the_percentiles_of_voxels_above_0(modality: str, dtype: Any) -> None:
    image = volume(modality, dtype)
    low, high = np.percentile(image.voxels[image.voxels > 0], (0.5, 99.5))
    assert low > np.percentile(image.voxels, 0.5)
    rule = choose_intensity(image)
    assert (rule.lower, rule.upper) == pytest.approx((low, high))
    assert not rule.guessed
    assert_maps(rule, image, low, high)


def test_percentiles_of_the_paper() -> None:
    assert PERCENTILES == (0.5, 99.5)


@pytest.mark.parametrize("modality", ["XR", "US", "MG", "OCT"])
def test_gray_pictures_are_clipped_unless_8_bit_is_kept(modality: str) -> None:
    image = picture(modality)
    low, high = np.percentile(image.voxels, PERCENTILES)
    rule = choose_intensity(image)
    assert (rule.lower, rule.upper) == pytest.approx((low, high))
    assert_maps(rule, image, low, high)
    kept = choose_intensity(image, keep_8bit=True)
    np.testing.assert_array_equal(kept.apply(image.voxels), image.voxels)


@pytest.mark.parametrize("modality", ["XR", "MG"])
def test_16_bit_pictures_are_clipped_even_if_8_bit_is_kept(modality: str) -> None:
    image = picture(modality, np.uint16, 40000)
    low, high = np.percentile(image.voxels, PERCENTILES)
    rule = choose_intensity(image, keep_8bit=True)
    assert (rule.lower, rule.upper) == pytest.approx((low, high))
    assert_maps(rule, image, low, high)


@pytest.mark.parametrize(
    "modality", ["unknown", "endoscopy", "dermoscopy", "fundus", "pathology", "US", "CT", "MR"]
)
@pytest.mark.parametrize("shape", [(8, 9, 3), (4, 8, 9, 3)])
def test_8_bit_colour_is_left_alone(modality: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(10, 90, shape).astype(np.uint8)
    image = Image.from_array(values, modality)
    rule = choose_intensity(image)
    np.testing.assert_array_equal(rule.apply(values), values)
    assert rule.guessed is (modality == "unknown")


def test_16_bit_colour_is_scaled_as_one() -> None:
    values = np.random.default_rng(0).integers(100, 60000, (8, 9, 3)).astype(np.uint16)
    found = choose_intensity(Image.from_array(values, "pathology")).apply(values)
    assert (found.min(), found.max()) == (0, 255)


def test_a_window_is_refused_for_colour() -> None:
    image = Image.from_array(np.random.default_rng(0).integers(0, 9, (8, 9, 3)).astype(np.uint8))
    for window in ("soft-tissue", "percentile", "minmax", "400/40"):
        with pytest.raises(InputError, match="grayscale image for --window"):
            choose_intensity(image, window=window)


def test_unknown_volumes_that_reach_below_minus_200_are_taken_for_ct() -> None:
    rule = choose_intensity(volume(low=-1000))
    assert (rule.modality, rule.lower, rule.upper, rule.guessed) == ("CT", -160, 240, True)


@pytest.mark.parametrize(
    ("low", "high", "modality"),
    [(-201, 299, "CT"), (-201, 298, "MR"), (-200, 3000, "MR"), (0, 3000, "MR")],
)
def test_the_limits_of_the_guess(low: int, high: int, modality: str) -> None:
    values = np.linspace(low, high, 5 * 6 * 7).round().astype(np.int16).reshape(5, 6, 7)
    rule = choose_intensity(Image.from_array(values))
    assert (rule.modality, rule.guessed) == (modality, True)


def test_the_guess_does_not_overflow() -> None:
    values = np.linspace(-32000, 32000, 60).astype(np.int16).reshape(3, 4, 5)
    assert choose_intensity(Image.from_array(values)).modality == "CT"


def test_other_unknown_volumes_are_taken_for_mr() -> None:
    image = volume()
    rule = choose_intensity(image)
    low, high = np.percentile(image.voxels[image.voxels > 0], PERCENTILES)
    assert (rule.modality, rule.guessed) == ("MR", True)
    assert (rule.lower, rule.upper) == pytest.approx((low, high))


def test_unknown_gray_pictures_are_clipped_and_said_to_be_guessed() -> None:
    image = picture()
    rule = choose_intensity(image)
    assert rule.guessed
    assert (rule.lower, rule.upper) == pytest.approx(np.percentile(image.voxels, PERCENTILES))


def test_the_users_modality_wins_over_the_file() -> None:
    image = volume("MR", low=-1000)
    rule = choose_intensity(image, "CT")
    assert (rule.modality, rule.lower, rule.upper, rule.guessed) == ("CT", -160, 240, False)
    with pytest.raises(InputError, match="a modality out of CT, MR"):
        choose_intensity(image, "cat scan")


def test_window_percentile_is_of_all_voxels() -> None:
    image = volume("CT", low=-1000)
    rule = choose_intensity(image, window="percentile")
    low, high = np.percentile(image.voxels, PERCENTILES)
    assert (rule.lower, rule.upper) == pytest.approx((low, high))
    assert_maps(rule, image, low, high)


def test_window_minmax_spans_the_whole_range() -> None:
    image = volume("CT", low=-1000)
    rule = choose_intensity(image, window="minmax")
    assert (rule.lower, rule.upper) == (-1000, image.voxels.max())
    found = rule.apply(image.voxels)
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("window", ["400/40", "soft-tissue"])
def test_a_named_window_wins_over_the_rule_of_the_modality(window: str) -> None:
    rule = choose_intensity(volume("MR"), window=window)
    assert (rule.modality, rule.lower, rule.upper) == ("MR", -160, 240)


def test_challenge_files_of_8_bit_are_left_alone_and_can_be_windowed() -> None:
    image = volume("unknown", np.uint8)
    image.source = Source(format="npz")
    rule = choose_intensity(image)
    np.testing.assert_array_equal(rule.apply(image.voxels), image.voxels)
    assert rule.guessed
    assert choose_intensity(image, window="minmax").lower == 0


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(-2000, 2000), st.integers(1, 4000))
def test_the_bounds_become_0_and_255(lower: int, width: int) -> None:
    rule = Intensity("MR", "", float(lower), float(lower + width))
    ends = np.array([lower - 1, lower, lower + width, lower + width + 1], np.float32)
    assert rule.apply(ends).tolist() == [0, 0, 255, 255]


def test_percentiles_that_fall_together_do_not_divide_by_zero() -> None:
    values = np.zeros((5, 40, 40), np.int16)
    values[2, 3, 4] = 9
    values[2, 3, 5] = -5
    image = Image.from_array(values, "MR")
    found = choose_intensity(image).apply(values)
    assert found.max() == found[2, 3, 4] == 255


@pytest.mark.parametrize("modality", ["MR", "XR", "fundus", "unknown"])
def test_a_constant_array_is_no_fault_of_ours(modality: str) -> None:
    image = Image.from_array(np.full((5, 6, 7), 1000, np.int16), modality)
    try:
        found = choose_intensity(image).apply(image.voxels)
    except PromptsegError:
        return
    assert len(np.unique(found)) == 1


def test_a_slice_gets_the_bounds_of_the_whole_volume() -> None:
    image = volume("MR")
    rule = choose_intensity(image)
    whole = rule.apply(image.voxels)
    for k in range(len(whole)):
        np.testing.assert_array_equal(rule.apply(image.voxels[k]), whole[k])


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
@pytest.mark.parametrize("bounds", [(-32.5, 182.5), (0, 80), (-40000, 40000), (7, 7), (None, None)])
def test_values_of_few_bits_become_what_wider_ones_do(dtype: str, bounds: Any) -> None:
    info = np.iinfo(dtype)
    values = np.linspace(info.min, info.max, 3000).astype(np.int64)
    if bounds[0] is None:  # as they are: only 8 bits are defined
        values = values[(values >= 0) & (values <= 255)]
    rule = Intensity("CT", "test", *bounds)
    stored = values.astype(dtype)[None, ::-1]
    given = rule.apply(stored)
    assert given.dtype == np.uint8
    np.testing.assert_array_equal(given, rule.apply(stored.astype(np.int64)))


def test_the_rule_goes_into_the_provenance_as_plain_values() -> None:
    assert choose_intensity(volume("CT")).to_json() == {
        "modality": "CT",
        "rule": "window soft-tissue 400/40 (MedSAM, Methods)",
        "lower": -160,
        "upper": 240,
        "guessed": False,
    }
