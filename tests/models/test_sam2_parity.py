"""Our SAM 2 networks and memory against the official code, under random weights, in float32."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.sam2_peer import official_frames, official_sam2
from promptseg.models.checkpoint import build_network, open_checkpoint
from promptseg.models.families.sam2.build import SHAPES
from promptseg.models.families.sam2.embedding import Sam2Embedding
from promptseg.models.families.sam2.network import Features, Sam2
from promptseg.models.families.sam2.tracker import Sam2Memory
from promptseg.models.preprocess import Preprocessing
from promptseg.models.protocol import Answer, SlicePrompt
from small_sam2 import small_sam2

pytestmark = pytest.mark.peer

CPU = torch.device("cpu")
IMAGE_LIMIT = 1e-4  # largest difference of two mask logits of a 2D image
FRAME_LIMIT = 1e-3  # of a frame of a sequence
CONFIGS = {
    f"{version}-{size}": f"{version}/{version}_hiera_{official}"
    for version in ("sam2", "sam2.1")
    for size, official in (("t", "t"), ("s", "s"), ("b", "b+"), ("l", "l"))
}
FRAMES = 8

Pair = tuple[Sam2, Any]


def randomised(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Seeded weights: none at zero, logits as large as trained ones, objects that come and go."""
    generator = torch.Generator().manual_seed(7)
    tensors = network.state_dict()
    for name, tensor in tensors.items():
        if any(part in name for part in ("pos_embed", "tpos_enc", "no_mem", "no_obj", "gamma")):
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
        if "output_hypernetworks_mlps" in name and "layers.2" in name:
            tensor.mul_(20)
        if "pred_obj_score_head" in name:
            tensor.mul_(3)
    return tensors


def let_objects_vanish(ours: Sam2, official: Any, images: torch.Tensor) -> None:
    """Shift what decides whether an object is there, until it is on some frames and not on others."""
    both = Both(ours, official, images)
    memory = both.memory(1)
    side = both.side
    first = memory.prompt(0, SlicePrompt((0.05 * side, 0.15 * side, 0.35 * side, 0.45 * side)))
    answers = [first, *(memory.propagate(k) for k in range(1, len(images)))]
    middle = float(np.median([float(answer.presence or 0) for answer in answers]))
    networks: tuple[Any, Any] = ours, official
    for network in networks:
        network.sam_mask_decoder.pred_obj_score_head.layers[2].bias.sub_(middle)


def small(version: str) -> Pair:
    """Both codes at 128 pixels and 32 channels."""
    ours = small_sam2(dated_pointers=version == "sam2.1")
    attention = {"embedding_dim": 32, "feat_sizes": [8, 8]}
    changes: dict[str, Any] = {
        "image_size": 128,
        "image_encoder__trunk__embed_dim": 8,
        "image_encoder__trunk__stages": [1, 1, 3, 1],
        "image_encoder__trunk__global_att_blocks": [3],
        "image_encoder__neck__d_model": 32,
        "image_encoder__neck__backbone_channel_list": [64, 32, 16, 8],
        "image_encoder__neck__position_encoding__num_pos_feats": 32,
        "memory_attention__d_model": 32,
        "memory_attention__layer__d_model": 32,
        "memory_attention__layer__cross_attention__kv_in_dim": 16,
        "memory_encoder__in_dim": 32,
        "memory_encoder__out_dim": 16,
        "memory_encoder__position_encoding__num_pos_feats": 16,
        "memory_encoder__mask_downsampler__embed_dim": 32,
        "memory_encoder__fuser__layer__dim": 32,
    }
    for part, (name, value) in product(("self", "cross"), attention.items()):
        changes[f"memory_attention__layer__{part}_attention__{name}"] = value
    official = official_sam2(CONFIGS[f"{version}-t"], **changes)
    ours.load_state_dict(randomised(official))
    return ours, official


def whole(name: str, config: str, image_size: int) -> Pair:
    """Both codes as published, at any size of the input."""
    official = official_sam2(config, image_size=image_size)
    ours = Sam2(replace(SHAPES[name], image_size=image_size)).eval().requires_grad_(False)
    ours.load_state_dict(randomised(official))
    return ours, official


PAIRS: dict[str, Callable[[], Pair]] = {
    "small sam2.1": lambda: small("sam2.1"),
    "small sam2": lambda: small("sam2"),
    "sam2.1-t": lambda: whole("sam2.1-t", CONFIGS["sam2.1-t"], SHAPES["sam2.1-t"].image_size),
    "medsam2": lambda: whole("medsam2", CONFIGS["sam2.1-t"], SHAPES["medsam2"].image_size),
    "sam2.1-t at 128": lambda: whole("sam2.1-t", CONFIGS["sam2.1-t"], 128),
}


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Pair:
    torch.manual_seed(0)
    return PAIRS[request.param]()


def pictures(size: int, count: int = FRAMES) -> torch.Tensor:
    """(count, 3, size, size): two soft shapes that move, in noise."""
    generator = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    frames = torch.randn(count, 3, size, size, generator=generator) * 0.3
    for k in range(count):
        for cx, cy, r, value in (
            (0.2 + 0.07 * k, 0.3, 0.15, 2.0),
            (0.7, 0.8 - 0.06 * k, 0.2, -2.0),
        ):
            frames[k] += value * torch.sigmoid(60 * (r - ((x - cx) ** 2 + (y - cy) ** 2).sqrt()))
    return frames


@pytest.mark.parametrize(
    "pair",
    [
        "small sam2.1",
        "small sam2",
        pytest.param("sam2.1-t", marks=pytest.mark.slow),
        pytest.param("medsam2", marks=pytest.mark.slow),
    ],
    indirect=True,
)
@torch.inference_mode()
def test_masks_of_a_picture_agree(pair: Pair) -> None:
    """Every kind of prompt, one mask and three, of two objects side by side."""
    ours, official = pair
    size, low = ours.image_size, 4 * ours.grid
    (slice_,) = pictures(size, 1).split(1)
    theirs = official._prepare_backbone_features(official.forward_image(slice_))[1]
    theirs[-1] = theirs[-1] + official.no_mem_embed
    levels = [f.permute(1, 2, 0).unflatten(2, (s, s)) for f, s in zip(
        theirs, (low, low // 2, low // 4), strict=True)]  # fmt: skip
    mine = ours.encode(slice_)
    mine = mine._replace(coarse=ours.alone(mine.coarse))
    for one, other in zip(mine, levels, strict=True):
        assert (one - other).abs().max() < 1e-5
    corners = torch.tensor([[[0.1, 0.2], [0.4, 0.5]], [[0.55, 0.6], [0.9, 0.98]]]) * size
    clicks = torch.tensor([[[0.2, 0.3], [0.5, 0.5]], [[0.7, 0.8], [0.1, 0.1]]]) * size
    mask_prompts = torch.linspace(-6, 6, 2 * low * low).view(2, 1, low, low)
    box, labels = torch.tensor([[2, 3]] * 2), torch.tensor([[1, 0], [1, -1]])
    asked: dict[str, tuple[Any, Any]] = {
        "click": ((clicks[:, :1], labels[:, :1]), None),
        "clicks": ((clicks, labels), None),
        "box": ((corners, box), None),
        "box and clicks": ((torch.cat([corners, clicks], 1), torch.cat([box, labels], 1)), None),
        "mask": (None, mask_prompts),
        "box and mask": ((corners, box), mask_prompts),
    }
    for (name, (points, masks)), multimask in product(asked.items(), (False, True)):
        sparse, dense = official.sam_prompt_encoder(points=points, boxes=None, masks=masks)
        expected, quality, _, presence = official.sam_mask_decoder(
            image_embeddings=levels[2],
            image_pe=official.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=True,
            high_res_features=levels[:2],
        )
        found = ours.decode(mine, points, masks, multimask)
        assert found.logits.shape == expected.shape
        assert expected.abs().max() > 0.5
        assert (found.logits - expected).abs().max() < IMAGE_LIMIT, name
        assert (found.iou - quality).abs().max() < IMAGE_LIMIT, name
        assert (found.presence - presence).abs().max() < IMAGE_LIMIT, name


@torch.inference_mode()
@pytest.mark.parametrize("pair", ["small sam2.1"], indirect=True)
def test_an_unstable_mask_gives_way_to_the_best_mask(pair: Pair) -> None:
    """The stability rule decides both ways, as it does in the official code."""
    ours, official = pair
    mine = ours.encode(pictures(ours.image_size, 1))
    coarse, position = ours.alone(mine.coarse), ours.sam_prompt_encoder.dense_position()
    points = torch.tensor([[[20.0, 20], [70, 80]]]), torch.tensor([[2, 3]])
    sparse, dense = ours.sam_prompt_encoder(points, None)
    given_way = []
    decoders: tuple[Any, Any] = ours.sam_mask_decoder, official.sam_mask_decoder
    for factor in (30.0, 1e-5):  # steep edges, then hardly any
        for decoder in decoders:
            for tensor in decoder.output_hypernetworks_mlps[0].layers[2].parameters():
                tensor.mul_(factor)
        candidates = ours.sam_mask_decoder(coarse, mine[:2], position, sparse, dense, True)
        found = ours.sam_mask_decoder(coarse, mine[:2], position, sparse, dense, False)
        expected, quality, _, _ = official.sam_mask_decoder(
            image_embeddings=coarse, image_pe=position, sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense, multimask_output=False, repeat_image=False,
            high_res_features=list(mine[:2]),
        )  # fmt: skip
        assert (found.logits - expected).abs().max() < 30 * IMAGE_LIMIT
        assert (found.iou - quality).abs().max() < IMAGE_LIMIT
        best = candidates.logits[:, candidates.iou.argmax(), None]
        given_way.append(torch.equal(found.logits, best))
    assert given_way == [False, True]


@dataclass
class Both:
    """A sequence as the official code and ours follow it, call by call."""

    network: Sam2
    official: Any
    images: torch.Tensor
    objects: dict[int, Sam2Memory] = field(default_factory=dict)
    last: dict[tuple[int, int], Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.side = 4 * self.network.grid
        self.state = official_frames(self.official, self.images, self.side)
        preprocessing = Preprocessing(self.network.image_size, "imagenet", "stretch")
        transform = preprocessing.input_transform(self.side, self.side)
        with torch.inference_mode():
            features = self.network.encode(self.images)
        self.embeddings = [
            Sam2Embedding(Features(*(level[k : k + 1] for level in features)), transform)
            for k in range(len(self.images))
        ]
        self.present: set[bool] = set()
        self.compared = 0

    predictor: Any = None
    pixel = (1.0, 1.0)

    def __len__(self) -> int:
        return len(self.embeddings)

    def embedding(self, index: int, towards: int | None = None) -> Sam2Embedding:
        return self.embeddings[index]

    def hold(self, frames: Collection[int]) -> None: ...

    def memory(self, number: int) -> Sam2Memory:
        if number not in self.objects:
            self.objects[number] = Sam2Memory(self.network, self, CPU, official=True)
        return self.objects[number]

    def prompt(self, frame: int, number: int, afresh: bool = True, **given: Any) -> None:
        """A box, or clicks with labels; further ones go with the logits of the answer before."""
        answer = self.last.get((number, frame))
        prompt = SlicePrompt(
            given.get("box"),
            tuple(given.get("points", ())),
            tuple(given.get("labels", ())),
            logits=None if answer is None else answer.logits,
        )
        _, ids, masks = self.official.add_new_points_or_box(self.state, frame, number, **given)
        self._same(number, frame, self.memory(number).prompt(frame, prompt, afresh), ids, masks)

    def draw(self, frame: int, number: int, mask: NDArray[np.bool_]) -> None:
        _, ids, masks = self.official.add_new_mask(self.state, frame, number, mask)
        self._same(number, frame, self.memory(number).take(frame, mask), ids, masks)

    def propagate(self, start: int, down: bool = False) -> None:
        way = self.official.propagate_in_video(self.state, start, reverse=down)
        for frame, ids, masks in way:
            for number, memory in self.objects.items():
                conditioned = frame in memory.bank.conditioning
                answer = self.last[number, frame] if conditioned else memory.propagate(frame, down)
                self._same(number, frame, answer, ids, masks)

    def _same(self, number: int, frame: int, answer: Answer, ids: list[int], masks: Any) -> None:
        expected = masks[ids.index(number)][None]
        assert answer.logits is not None
        assert answer.presence is not None
        assert expected.shape == answer.logits.shape
        difference = (answer.logits - expected).abs().max()
        assert difference < FRAME_LIMIT, f"object {number}, frame {frame}: {difference:.2g}"
        clear = (expected[0, 0].abs() > FRAME_LIMIT).numpy()  # nearer to zero, rounding decides
        np.testing.assert_array_equal(answer.mask[clear], (expected[0, 0] > 0).numpy()[clear])
        assert clear.mean() > 0.99
        self.last[number, frame] = answer
        self.present.add(answer.presence > 0)
        self.compared += 1


@pytest.mark.parametrize(
    "pair",
    ["small sam2.1", "small sam2", pytest.param("sam2.1-t at 128", marks=pytest.mark.slow)],
    indirect=True,
)
def test_objects_in_frames_agree(pair: Pair) -> None:
    """Boxes, clicks and masks, objects that come later, a correction, forward and backward."""
    images = pictures(pair[0].image_size)
    let_objects_vanish(*pair, images)
    both = Both(*pair, images)
    side = both.side
    y, x = np.indices((side, side)) / side
    both.prompt(0, 1, box=(0.05 * side, 0.15 * side, 0.35 * side, 0.45 * side))
    both.draw(2, 2, (x - 0.7) ** 2 + (y - 0.68) ** 2 < 0.04)
    both.propagate(0)
    both.prompt(4, 1, afresh=False, points=[(0.48 * side, 0.3 * side)], labels=[1])
    both.prompt(5, 3, points=[(0.55 * side, 0.3 * side)], labels=[1])
    both.prompt(5, 3, points=[(0.5 * side, 0.5 * side), (0.1 * side, 0.9 * side)], labels=[1, 0])
    both.propagate(5)
    both.propagate(FRAMES - 1, down=True)
    assert both.present == {True, False}
    assert both.compared == 2 * FRAMES + 5 + 3 * 3 + 3 * FRAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_files_of_the_official_code_load_strictly(name: str, tmp_path: Path) -> None:
    """Names, shapes and values of every size and version, as the official code saves them."""
    official = official_sam2(CONFIGS[name])
    path = tmp_path / "saved.pt"
    torch.save({"model": official.state_dict()}, path)
    card, _, tensors = open_checkpoint(f"{name}={path}")
    ours = build_network(card, tensors, path)
    theirs = official.state_dict()
    assert ours.state_dict().keys() == theirs.keys()
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs[key])
    official.load_state_dict(ours.state_dict())  # and back
    assert set(CONFIGS) | {"medsam2"} == set(SHAPES)
