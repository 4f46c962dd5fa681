"""Training images: the pixels of inference, masks in the same transform, objects chosen by chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptseg.datasets.collection import Collection, masks_of
from promptseg.models.preprocess import Preprocessing
from promptseg.train.augment import augment
from promptseg.train.raster import extent_on, raster
from promptseg.train.samples import TrainingImages, join
from train.tiny import SIDE, TINY


@pytest.fixture
def images(data) -> TrainingImages:
    collection = Collection(data)
    return TrainingImages(collection, collection.of("train"), TINY, 32, 5, seed=0)


def test_the_input_is_that_of_inference_and_masks_lie_on_it(images):
    for number, sample in enumerate(images.samples):
        example = images[0, 0, number]
        picture, labels = images.collection.read(sample)
        values, transform = TINY.preprocessing.apply(picture, sample.pixel)
        assert torch.equal(example.slice_, torch.from_numpy(values))
        assert len(example.masks) == len(sample.targets)
        for mask, box, target in zip(example.masks, example.boxes, sample.targets, strict=True):
            corners = transform.scale_xy(np.array(target.box, float).reshape(2, 2)).reshape(-1)
            assert box.tolist() == pytest.approx(corners.tolist())
            rows, columns = mask.nonzero().unbind(1)
            around = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()]) * 2 + 0.5
            assert (around - box).abs().max() < 2.5  # cells of 2 pixels
        bright = values.mean(0)[::2, ::2]
        inside = example.masks.any(0).numpy()
        rows, columns = example.extent
        outside = ~inside[:rows, :columns]
        assert bright[inside].mean() > bright[:rows, :columns][outside].mean()
        union = example.union
        assert torch.equal(union[: example.extent[0]].sum() > 0, torch.tensor(True))
        assert not union[example.extent[0] :].any()
        assert masks_of(sample.targets, labels).any()


def test_fewer_objects_than_there_are_take_turns_and_the_union_has_all(data):
    collection = Collection(data)
    one = TrainingImages(collection, collection.of("train"), TINY, 32, 1, seed=0)
    number = next(k for k, s in enumerate(one.samples) if len(s.targets) == 2)
    seen = {one[update, 0, number].names[0][1] for update in range(20)}
    assert len(seen) == 2
    example = one[0, 0, number]
    assert len(example.masks) == one.objects((0, 0, number)) == 1
    assert (example.union & ~example.masks[0]).any()


def test_a_batch_keeps_who_belongs_to_whom(images):
    examples = [images[0, k, k] for k in range(4)]
    batch = join(examples)
    assert batch.objects == sum(len(e.masks) for e in examples)
    assert batch.owner.tolist() == [k for k, e in enumerate(examples) for _ in e.masks]
    inside = batch.inside()
    for k, example in enumerate(examples):
        assert int(inside[k].sum()) == example.extent[0] * example.extent[1]
        assert not (batch.masks[batch.owner == k] & ~inside[k]).any()


def test_masks_are_nearest_neighbours_and_never_vanish():
    transform = Preprocessing(64, "minmax").input_transform(100, 200)
    mask = np.zeros((100, 200), dtype=bool)
    mask[20:60, 40:120] = True
    small = raster(mask, transform, 32)
    assert extent_on(transform, 32) == (16, 32)
    assert small.sum() * (200 / 32) ** 2 == pytest.approx(mask.sum(), rel=0.15)
    assert small[16:].sum() == 0
    dot = np.zeros((100, 200), dtype=bool)
    dot[99, 199] = True
    assert np.argwhere(raster(dot, transform, 32)).tolist() == [[15, 31]]


def test_squashed_and_flat_pixels_fill_the_grid_as_the_picture_does():
    squash = Preprocessing(64, "minmax", "squash").input_transform(100, 200)
    assert extent_on(squash, 32) == (32, 32)
    flat = Preprocessing(64, "minmax").input_transform(20, 100, pixel=(1.0, 4.0))
    assert extent_on(flat, 32) == (26, 32)


def test_augmentation_moves_masks_with_the_picture():
    picture = np.zeros((40, 60), dtype=np.uint8)
    picture[5:15, 30:50] = 200
    mask = (picture > 0)[None]
    shapes = set()
    for seed in range(20):
        changed, moved, turned = augment(picture, mask, np.random.default_rng(seed))
        assert changed.dtype == np.uint8
        shapes.add(changed.shape)
        assert turned == (changed.shape == (60, 40))
        bright = changed > (int(changed.min()) + int(changed.max())) / 2
        assert np.array_equal(bright, moved[0])
    assert shapes == {(40, 60), (60, 40)}


def test_images_do_not_hang_on_the_order_they_are_asked_in(images):
    again = [images[3, 1, 2] for _ in range(2)]
    assert torch.equal(again[0].masks, again[1].masks)
    assert again[0].names == again[1].names
    assert again[0].slice_.shape == (3, SIDE, SIDE)
