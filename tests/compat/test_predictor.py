"""`SamPredictor` gives the masks the official class gives, with MobileSAM's weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from promptseg import compat
from promptseg.errors import InputError, ModelError, PromptError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import build_lite_medsam, build_mobile_sam


def prompts(image: NDArray[np.uint8]) -> list[dict[str, Any]]:
    h, w = image.shape[:2]
    box = np.array([w * 0.2, h * 0.3, w * 0.7, h * 0.8])
    points = np.array([[w // 2, h // 2], [w // 5, h // 6]])
    return [
        {"point_coords": points[:1], "point_labels": np.array([1])},
        {"point_coords": points, "point_labels": np.array([1, 0]), "multimask_output": False},
        {"box": box, "multimask_output": False},
        {"box": box, "point_coords": points[1:], "point_labels": np.array([0])},
    ]


@pytest.mark.peer
@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
def test_masks_are_the_official_ones(
    ours: compat.Sam, official: Any, peer: Any, picture: NDArray[np.uint8]
) -> None:
    """One prompt at a time, then what came out as a mask prompt, then two boxes as tensors."""
    mine, theirs = compat.SamPredictor(ours), peer.SamPredictor(official)
    for predictor in (mine, theirs):
        predictor.set_image(picture)
    assert mine.original_size == theirs.original_size
    assert mine.input_size == theirs.input_size
    assert (mine.features - theirs.features).abs().max() < 1e-5
    for prompt in prompts(picture):
        masks, quality, logits = mine.predict(**prompt)
        expected = theirs.predict(**prompt)
        assert masks.shape == expected[0].shape
        assert masks.dtype == bool
        assert (masks != expected[0]).sum() <= 2  # pixels whose logit is zero to 1e-4
        assert np.abs(quality - expected[1]).max() < 1e-4
        assert np.abs(logits - expected[2]).max() < 1e-3
        best = quality.argmax()
        again = {**prompt, "mask_input": logits[best : best + 1], "return_logits": True}
        one, other = mine.predict(**again)[0], theirs.predict(**again)[0]
        assert one.dtype == np.float32
        assert np.abs(one - other).max() < 1e-3

    h, w = picture.shape[:2]
    boxes = torch.tensor([[0, 0, w - 1, h - 1], [w // 4, h // 4, w // 2, h // 2]])
    moved = mine.transform.apply_boxes_torch(boxes, (h, w))
    assert torch.equal(moved, theirs.transform.apply_boxes_torch(boxes, (h, w)))
    results = [
        predictor.predict_torch(None, None, moved, multimask_output=False)
        for predictor in (mine, theirs)
    ]
    assert results[0][0].shape == (2, 1, h, w)
    assert (results[0][0] != results[1][0]).sum() <= 2
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.peer
@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
def test_the_network_takes_batches_as_the_official_one(
    ours: compat.Sam, official: Any, polyp: NDArray[np.uint8]
) -> None:
    transform = compat.ResizeLongestSide(1024)
    resized = torch.as_tensor(transform.apply_image(polyp)).permute(2, 0, 1)
    corners = torch.tensor([[200.0, 300.0, 700.0, 600.0], [10.0, 20.0, 900.0, 500.0]])
    record = {"image": resized, "original_size": polyp.shape[:2]}
    batch = [
        {**record, "boxes": corners},
        {**record, "point_coords": corners[:, None, :2], "point_labels": torch.ones(2, 1)},
    ]
    mine, theirs = (model(batch, multimask_output=True) for model in (ours, official))
    for one, other in zip(mine, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["masks"].shape == (2, 3, *polyp.shape[:2])
        assert (one["masks"] != other["masks"]).sum() <= 6
        for key in ("iou_predictions", "low_res_logits"):
            torch.testing.assert_close(one[key], other[key], atol=1e-3, rtol=0)


@pytest.mark.weights
@pytest.mark.data
@pytest.mark.slow
def test_the_main_job_gives_the_same_masks(ours: compat.Sam, polyp: NDArray[np.uint8]) -> None:
    predictor = compat.SamPredictor(ours)
    predictor.set_image(polyp)
    main = Predictor.load("mobile-sam", "cpu")
    embedding = main.encode([polyp])[0]
    h, w = polyp.shape[:2]
    box = np.array([w // 5, h // 4, w // 2, h // 2])
    expected = predictor.predict(box=box, multimask_output=False)[0]
    found = main.decode(embedding, boxes=[box])
    assert (found.masks != expected).sum() <= 2
    assert found.candidates is None

    click = np.array([[w // 2, h // 2]])
    masks, quality, logits = predictor.predict(click, np.array([1]))
    found = main.decode(embedding, points=([click], [[1]]))
    assert found.candidates is not None
    assert (found.candidates.masks()[0] != masks).sum() <= 6
    inside = quality.clip(0, 1)  # as ours are shown
    assert np.abs(found.candidates.iou[0] - inside).max() < 1e-4
    assert np.abs(found.candidates.logits[0].numpy() - logits).max() < 1e-3
    best = quality.argmax()
    np.testing.assert_array_equal(found.masks[0], found.candidates.masks()[0, best])
    assert found.logits.shape == (1, 1, 256, 256)


@pytest.fixture(scope="module")
def untrained() -> compat.Sam:
    torch.manual_seed(0)
    return compat.sam_model_registry["vit_t"]()


def test_medsam_preprocessing_is_that_of_its_own_code(untrained: compat.Sam) -> None:
    """Box and 2D image per axis, min-max, and the sigmoid before the interpolation."""
    rng = np.random.default_rng(0)
    image = rng.integers(20, 220, (120, 200, 3), dtype=np.uint8)
    box = np.array([20.0, 30.0, 150.0, 100.0])
    predictor = compat.SamPredictor(untrained, preprocessing="medsam")
    predictor.set_image(image)
    masks, _, logits = predictor.predict(box=box, multimask_output=False)

    values, frame = CARDS["medsam-vit-b"].preprocessing.apply(image)
    with torch.no_grad():
        embedding = untrained.image_encoder(torch.from_numpy(values)[None])
        sparse, dense = untrained.prompt_encoder(
            points=None,
            boxes=torch.tensor(box / [200, 120, 200, 120] * 1024, dtype=torch.float)[None, None],
            masks=None,
        )
        expected, _ = untrained.mask_decoder(
            image_embeddings=embedding,
            image_pe=untrained.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
    assert predictor.input_size == (1024, 1024)
    np.testing.assert_allclose(logits, expected[0].numpy(), atol=1e-5)
    np.testing.assert_array_equal(masks[0], frame.restore(expected)[0].numpy() > 0)


def test_the_state_of_a_predictor(untrained: compat.Sam) -> None:
    predictor = compat.SamPredictor(untrained)
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="call set_image first"):
        predictor.predict(box=np.array([1, 1, 2, 2]))
    with pytest.raises(PromptError, match="call set_image first"):
        predictor.get_image_embedding()
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 30:40, 0] = 255
    predictor.set_image(image)
    features = predictor.get_image_embedding()
    assert features.shape == (1, 256, 64, 64)
    assert (predictor.original_size, predictor.input_size) == ((40, 60), (683, 1024))
    assert predictor.device == torch.device("cpu")
    with pytest.raises(PromptError, match="point_labels"):
        predictor.predict(np.array([[1, 1]]))
    predictor.set_image(image[..., ::-1], image_format="BGR")
    torch.testing.assert_close(predictor.features, features)
    predictor.reset_image()
    assert not predictor.is_image_set
    assert predictor.features is None


def test_what_a_predictor_refuses(untrained: compat.Sam) -> None:
    predictor = compat.SamPredictor(untrained)
    with pytest.raises(InputError, match=r"got \(40, 60\) of uint8"):
        predictor.set_image(np.zeros((40, 60), np.uint8))
    with pytest.raises(InputError, match="float64"):
        predictor.set_image(np.zeros((40, 60, 3)))
    with pytest.raises(InputError, match="RGB or BGR"):
        predictor.set_image(np.zeros((40, 60, 3), np.uint8), "HSV")
    with pytest.raises(InputError, match="longest side of 1024"):
        predictor.set_torch_image(torch.zeros(1, 3, 512, 512), (512, 512))
    with pytest.raises(InputError, match="sam or medsam"):
        compat.SamPredictor(untrained, preprocessing="lite")  # type: ignore[arg-type]


def test_weights_load_as_tools_load_them(tmp_path: Any) -> None:
    torch.manual_seed(1)
    content = build_mobile_sam().state_dict()
    content["image_encoder.norm_head.weight"] = torch.ones(320)
    torch.save(content, tmp_path / "mobile_sam.pt")
    model = compat.sam_model_registry["vit_t"](checkpoint=str(tmp_path / "mobile_sam.pt"))
    name = "mask_decoder.iou_token.weight"
    assert torch.equal(model.state_dict()[name], content[name])
    assert model.load_state_dict(torch.load(tmp_path / "mobile_sam.pt")).missing_keys == []
    assert (model.image_encoder.img_size, model.mask_threshold) == (1024, 0.0)
    assert model.image_format == "RGB"
    assert model.prompt_encoder.mask_input_size == (256, 256)
    torch.save(build_lite_medsam().state_dict(), tmp_path / "other.pt")
    with pytest.raises(ModelError, match="a checkpoint for build_mobile_sam"):
        compat.build_sam_vit_t(tmp_path / "other.pt")
    assert compat.sam_model_registry.keys() == {"default", "vit_h", "vit_l", "vit_b", "vit_t"}
