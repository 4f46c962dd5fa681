"""Preprocessing belongs to the model: what each one is fed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from promptseg.models.cards import CARDS
from promptseg.models.preprocess import InputTransform, Preprocessing, resize_bicubic


@pytest.mark.parametrize(
    ("rows", "columns", "resized"),
    [(512, 512, (256, 256)), (300, 451, (170, 256)), (35, 51, (176, 256)), (3, 900, (1, 256))],
)
def test_the_longest_side_fills_the_input(
    rows: int, columns: int, resized: tuple[int, int]
) -> None:
    transform = CARDS["lite-medsam"].preprocessing.input_transform(rows, columns)
    assert transform.resized == resized
    corner = transform.scale_xy(np.array([[columns, rows]]))
    assert corner.max() == pytest.approx(256)


def test_lite_medsam_scales_to_one_before_padding() -> None:
    picture = np.linspace(50, 200, 100 * 200).reshape(100, 200).astype(np.uint8)
    values, transform = Preprocessing(256, "minmax").apply(picture)
    assert values.shape == (3, 256, 256)
    rows, columns = transform.resized
    assert (values[:, :rows, :columns].min(), values[:, :rows, :columns].max()) == (0, 1)
    assert (values[:, rows:] == 0).all()
    np.testing.assert_array_equal(values[0], values[2])


def test_a_flat_slice_is_all_zero() -> None:
    values, _ = Preprocessing(256, "minmax").apply(np.full((10, 10), 7, np.uint8))
    assert (values == 0).all()


def test_sam_takes_imagenet_statistics_and_pads_after() -> None:
    picture = np.zeros((100, 50, 3), dtype=np.uint8)
    picture[...] = (124, 116, 104)
    values, transform = Preprocessing(1024, "imagenet").apply(picture)
    inside = values[:, : transform.resized[0], : transform.resized[1]]
    assert np.abs(inside).max() < 0.02
    assert (values[:, :, transform.resized[1] :] == 0).all()


@pytest.mark.parametrize("shape", [(300, 451, 3), (512, 512), (1100, 1300, 3), (64, 80), (9, 2000)])
def test_medsam_is_fed_what_scikit_image_resizes(shape: tuple[int, ...]) -> None:
    """The official preprocessing written out again, apart from the rounding of a pixel or two."""
    resizing = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(sum(shape))
    smooth = ndimage.gaussian_filter(rng.random(shape), (2, 2, 0)[: len(shape)])
    picture = ((smooth - smooth.min()) / np.ptp(smooth) * 230 + 10).astype(np.uint8)
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    expected = resizing.resize(
        colour, (1024, 1024), order=3, preserve_range=True, anti_aliasing=True
    ).astype(np.uint8)

    resized = resize_bicubic(picture, 1024, 1024)
    different = np.atleast_3d(resized) != expected
    assert different.mean() < 1e-5
    assert np.abs(np.atleast_3d(resized).astype(int) - expected).max() <= 1

    values, transform = CARDS["medsam-vit-b"].preprocessing.apply(picture)
    low, high = expected.min(), expected.max()
    official = ((expected - low) / (high - low)).transpose(2, 0, 1)
    assert np.abs(values - official).max() < 1.01 / (high - low)
    assert (np.abs(values - official) > 1e-6).mean() < 1e-5
    assert transform.resized == (1024, 1024)


def test_medsam_scales_each_axis_by_itself() -> None:
    transform = CARDS["medsam-vit-b"].preprocessing.input_transform(300, 450, pixel=(1.0, 4.0))
    box = transform.scale_xy(np.array([[45.0, 30.0], [450.0, 300.0]]))
    np.testing.assert_allclose(box, [[102.4, 102.4], [1024, 1024]], rtol=1e-6)


def test_medsam_interpolates_after_the_sigmoid() -> None:
    transform = CARDS["medsam-vit-b"].preprocessing.input_transform(300, 450)
    logits = torch.randn(2, 1, 256, 256, generator=torch.Generator().manual_seed(0)) * 6
    official = torch.nn.functional.interpolate(
        torch.sigmoid(logits), size=(300, 450), mode="bilinear", align_corners=False
    )
    restored = transform.restore(logits)
    assert restored.shape == (2, 300, 450)
    assert torch.equal(restored > 0, official[:, 0] > 0.5)


def test_sam_scales_prompts_by_the_rounded_size() -> None:
    transform = Preprocessing(1024, "imagenet").input_transform(300, 451)
    assert transform.resized == (681, 1024)
    assert transform.scale == (1024 / 451, 681 / 300)


def test_logits_come_back_onto_the_slice() -> None:
    transform = InputTransform((300, 451), (170, 256), 256, (256 / 451, 256 / 451))
    logits = torch.full((1, 1, 256, 256), -1.0)
    logits[..., :85, :128] = 1.0
    restored = transform.restore(logits)
    assert restored.shape == (1, 300, 451)
    ys, xs = np.nonzero(restored[0].numpy() > 0)
    assert ys.max() == pytest.approx(150, abs=1)
    assert xs.max() == pytest.approx(225, abs=1)


@pytest.mark.parametrize("fit", ["longest", "squash"])
@pytest.mark.parametrize("shape", [(300, 451), (1500, 900), (64, 64), (7, 300)])
@pytest.mark.parametrize("size", [256, 1024])
def test_masks_are_computed_where_they_are_alone(
    fit: str, shape: tuple[int, int], size: int
) -> None:
    transform = Preprocessing(size, "minmax", fit).input_transform(*shape)  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    logits = np.full((4, 1, 256, 256), -4.0, np.float32)  # the last one stays empty
    for k, (top, left) in enumerate([(0, 0), (100, 30), (40, 200)]):
        logits[k, 0, top : top + 50, left : left + 45] = rng.normal(0.5, 2, (50, 256 - left))[
            :, :45
        ]
    given = torch.from_numpy(logits)
    values = transform.restore(given)
    masks = transform.masks(given)
    assert masks.shape == values.shape == (4, *shape)
    assert not masks[3].any()
    differ = masks != (values > 0)
    assert (values[differ].abs() < 1e-5).all()  # ties alone
    assert differ.sum() < 10
