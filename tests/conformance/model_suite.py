"""What every model that answers prompts on one slice must do, whatever it is made of.

A test module parametrises a fixture `model` and takes these tests in by importing `*`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.inference.embeddings import EmbeddingKey, EmbeddingStore
from promptseg.models.protocol import Embedding, Prediction, SliceModel, SlicePrompt
from promptseg.prompts.kinds import KINDS

__all__ = [
    "test_a_mask_prompt_may_be_drawn_or_the_models_own",
    "test_a_prompt_that_asks_nothing_is_refused",
    "test_an_embedding_knows_its_size_and_has_a_view",
    "test_batches_give_what_single_slices_give",
    "test_clicks_have_labels_and_one_mask_is_enough",
    "test_embeddings_come_back_from_the_disk_bit_for_bit",
    "test_every_kind_of_prompt_gives_one_mask_an_object",
    "test_it_is_a_slice_model",
    "test_no_prompts_give_no_masks",
    "test_objects_are_answered_in_their_order",
    "test_slices_of_any_shape_are_taken",
    "test_tensors_of_another_model_are_refused",
    "test_the_layout_tells_different_embeddings_apart",
    "test_the_multimask_output_of_single_points_is_all_there",
    "test_the_same_question_gets_the_same_answer",
]

SHAPE = (40, 56)
BOX = (10.0, 8.0, 41.0, 30.0)
CLICKS = SlicePrompt(xy=((24.0, 20.0), (3.0, 3.0)), labels=(1, 0))
ASKED = {
    "box": SlicePrompt(BOX),
    "click": SlicePrompt(xy=((24.0, 20.0),), labels=(1,)),
    "clicks": CLICKS,
    "ignored click": SlicePrompt(xy=((24.0, 20.0), (0.0, 0.0)), labels=(1, -1)),
    "box and clicks": SlicePrompt(BOX, CLICKS.xy, CLICKS.labels),
}


def slice_of(number: int = 0, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """A bright disc in noise."""
    y, x = np.indices(shape[:2])
    disc = (x - shape[1] / 2) ** 2 + (y - shape[0] / 2) ** 2 < (min(shape[:2]) / 3) ** 2
    noise = np.random.default_rng(number).integers(0, 60, shape)
    lifted = disc if len(shape) == 2 else disc[..., None]
    return np.asarray(noise + 150 * lifted, np.uint8)


def drawn() -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10:28, 14:40] = True
    return mask


def same(one: Prediction, other: Prediction) -> bool:
    """Bit for bit."""
    return (
        torch.equal(one.logits, other.logits)
        and np.array_equal(one.masks, other.masks)
        and np.array_equal(one.iou, other.iou)
    )


def assert_close(one: Prediction, other: Prediction) -> None:
    """But for the order in which numbers are added."""
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(one.iou, other.iou, rtol=1e-3, atol=1e-3)
    assert (one.masks != other.masks).mean() < 0.01


def test_it_is_a_slice_model(model: SliceModel) -> None:
    assert isinstance(model, SliceModel)
    assert model.card.prompts <= set(KINDS)
    assert model.device.type


def test_an_embedding_knows_its_size_and_has_a_view(model: SliceModel) -> None:
    (embedding,) = model.encode([slice_of()])
    assert isinstance(embedding, Embedding)
    assert embedding.nbytes == sum(t.nbytes for t in embedding.tensors().values()) > 0
    view = embedding.view()
    assert view.dim() == 3
    assert view.dtype == torch.float32
    assert view.isfinite().all()


@pytest.mark.parametrize("shape", [(40, 56), (40, 56, 3), (7, 90), (64, 1), (1, 1)])
@pytest.mark.parametrize("pixel", [(1.0, 1.0), (0.5, 3.0)])
def test_slices_of_any_shape_are_taken(
    model: SliceModel, shape: tuple[int, ...], pixel: tuple[float, float]
) -> None:
    (embedding,) = model.encode([slice_of(0, shape)], pixel)
    found = model.decode(embedding, [SlicePrompt((0, 0, shape[1] - 1, shape[0] - 1))])
    assert found.masks.shape == (1, *shape[:2])


def test_batches_give_what_single_slices_give(model: SliceModel) -> None:
    slices = [slice_of(k) for k in range(3)]
    together = model.encode(slices)
    assert len(together) == 3
    for one, embedding in zip(slices, together, strict=True):
        (alone,) = model.encode([one])
        assert_close(*(model.decode(e, [ASKED["box"]]) for e in (alone, embedding)))
    assert model.encode([]) == []


@pytest.mark.parametrize("name", ASKED)
def test_every_kind_of_prompt_gives_one_mask_an_object(model: SliceModel, name: str) -> None:
    (embedding,) = model.encode([slice_of()])
    found = model.decode(embedding, [ASKED[name]])
    assert found.masks.shape == (1, *SHAPE)
    assert found.masks.dtype == np.bool_
    assert found.iou.shape == (1,)
    assert found.iou.dtype == np.float32
    assert np.isfinite(found.iou).all()
    assert found.logits.shape[:2] == (1, 1)
    assert found.logits.dtype == torch.float32
    assert found.logits.isfinite().all()


def test_a_mask_prompt_may_be_drawn_or_the_models_own(model: SliceModel) -> None:
    (embedding,) = model.encode([slice_of()])
    first = model.decode(embedding, [ASKED["box"]])
    mask_prompts = [SlicePrompt(mask=drawn()), SlicePrompt(logits=first.logits)]
    for mask_prompt in mask_prompts:
        more = SlicePrompt(BOX, CLICKS.xy, CLICKS.labels, mask_prompt.mask, mask_prompt.logits)
        for prompt in (mask_prompt, more):
            assert model.decode(embedding, [prompt]).masks.shape == (1, *SHAPE)


def test_no_prompts_give_no_masks(model: SliceModel) -> None:
    (embedding,) = model.encode([slice_of()])
    found = model.decode(embedding, [])
    assert found.masks.shape == (0, *SHAPE)
    assert found.masks.dtype == np.bool_
    assert found.iou.shape == (0,)
    assert len(found.logits) == 0


def test_objects_are_answered_in_their_order(model: SliceModel) -> None:
    (embedding,) = model.encode([slice_of()])
    small = SlicePrompt((20, 15, 24, 19))
    prompts = [ASKED["box"], CLICKS, small, SlicePrompt(mask=drawn()), ASKED["click"]]
    together = model.decode(embedding, prompts)
    assert len(together.masks) == len(prompts)
    for k, prompt in enumerate(prompts):
        alone = model.decode(embedding, [prompt])
        own = Prediction(
            together.logits[k : k + 1], together.masks[k : k + 1], together.iou[k : k + 1]
        )
        assert_close(alone, own)


def test_the_multimask_output_of_single_points_is_all_there(model: SliceModel) -> None:
    (embedding,) = model.encode([slice_of()])
    found = model.decode(embedding, [ASKED["click"], ASKED["click"]])
    if found.candidates is not None:  # a model may know one mask alone
        masks = found.candidates.masks()
        assert masks.shape == (2, 3, *SHAPE)
        for candidates, iou, chosen in zip(masks, found.candidates.iou, found.masks, strict=True):
            best = candidates[iou == iou.max()]  # several, where the estimates of all overshoot
            assert any(np.array_equal(each, chosen) for each in best)
    assert model.decode(embedding, [ASKED["box"]]).candidates is None


def test_the_same_question_gets_the_same_answer(model: SliceModel) -> None:
    (first,) = model.encode([slice_of()])
    answers = [model.decode(first, [prompt]) for prompt in ASKED.values()]
    model.decode(model.encode([slice_of(5)])[0], [ASKED["box"]])
    (again,) = model.encode([slice_of()])
    for prompt, answer in zip(reversed(ASKED.values()), reversed(answers), strict=True):
        assert same(model.decode(again, [prompt]), answer)


@pytest.mark.parametrize("pixel", [(1.0, 1.0), (0.5, 3.0)])
def test_embeddings_come_back_from_the_disk_bit_for_bit(
    model: SliceModel, pixel: tuple[float, float], tmp_path: Path
) -> None:
    (embedding,) = model.encode([slice_of()], pixel)
    store, key = EmbeddingStore(tmp_path), EmbeddingKey("facts")
    store.put(key, embedding.tensors())
    kept = store.get(key)
    assert kept is not None
    back = model.unpack(kept, SHAPE, pixel)
    assert back.nbytes == embedding.nbytes
    assert torch.equal(back.view(), embedding.view())
    for prompt in (*ASKED.values(), SlicePrompt(mask=drawn())):
        assert same(model.decode(back, [prompt]), model.decode(embedding, [prompt]))


def test_the_layout_tells_different_embeddings_apart(model: SliceModel) -> None:
    plain, again, wide = (model.layout(SHAPE, p) for p in ((1, 1), (2, 2), (1, 4)))
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(again))
    square, stretched = (model.encode([slice_of()], p)[0] for p in ((1, 1), (1, 4)))
    pairs = zip(square.tensors().values(), stretched.tensors().values(), strict=True)
    if not all(torch.equal(one, other) for one, other in pairs):
        assert plain != wide


def test_tensors_of_another_model_are_refused(model: SliceModel) -> None:
    with pytest.raises(ValueError, match="another"):
        model.unpack({"not mine": torch.zeros(1, 2, 3, 4)}, SHAPE)


def test_a_prompt_that_asks_nothing_is_refused() -> None:
    with pytest.raises(PromptError, match="a box, a click or a mask, got none; add a prompt"):
        SlicePrompt()


def test_clicks_have_labels_and_one_mask_is_enough() -> None:
    with pytest.raises(PromptError, match="one label 1"):
        SlicePrompt(xy=((1.0, 1.0),))
    with pytest.raises(PromptError, match="one mask as a prompt, got a mask and logits"):
        SlicePrompt(mask=drawn(), logits=torch.zeros(1, 1, 4, 4))
