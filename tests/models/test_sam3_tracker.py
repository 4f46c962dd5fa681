"""SAM 3's tracker on our SAM 2 networks: names, parity with the official code, what it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures import build_as
from models.sam3_peer import OfficialTrack, official_tracker
from models.test_sam2_parity import FRAME_LIMIT, FRAMES, pictures
from promptseg.models.families.sam2.embedding import Sam2Embedding
from promptseg.models.families.sam2.network import Sam2
from promptseg.models.families.sam2.tracker import Sam2Memory
from promptseg.models.families.sam3.keys import tracker_names
from promptseg.models.families.sam3.tracker_network import tracker_of
from promptseg.models.preprocess import Preprocessing
from promptseg.models.protocol import SlicePrompt
from small_sam3 import SHAPE

pytest.importorskip("transformers")

MEMORY = 16
CPU = torch.device("cpu")


def official_state(tracker: Any) -> dict[str, torch.Tensor]:
    """As a file of the official video builder has it: the backbone is the detector's."""
    return {
        f"detector.{name}" if name.startswith("backbone.") else f"tracker.{name}": tensor
        for name, tensor in tracker.state_dict().items()
    }


def randomised(tracker: Any, bias: float) -> None:
    """Seeded weights: none at zero, logits as large as trained ones, objects that come and go."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in tracker.state_dict().items():
        if any(part in name for part in ("pos_embed", "tpos_enc", "no_mem", "no_obj", "gamma")):
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
        if "output_hypernetworks_mlps" in name and "layers.2" in name:
            tensor.mul_(20)
        if "pred_obj_score_head" in name:
            tensor.mul_(3)
        if name == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
            tensor.sub_(bias)


class Encoded:
    """Frames of a size of their own, as the tracker looks at them."""

    def __init__(self, network: Sam2, frames: torch.Tensor) -> None:
        size = frames.shape[-1]
        layout = Preprocessing(size, "halves", "stretch-rounded").input_transform(size, size)
        with torch.inference_mode():
            self.seen = [Sam2Embedding(network.encode(one[None]), layout) for one in frames]

    def __len__(self) -> int:
        return len(self.seen)

    def embedding(self, index: int, towards: int | None = None) -> Sam2Embedding:
        return self.seen[index]

    def hold(self, frames: Any) -> None:
        pass


def pair(selects: bool, bias: float = 0.0) -> tuple[Any, Sam2]:
    torch.manual_seed(1)
    official = official_tracker(SHAPE, MEMORY, selects)
    randomised(official, bias)
    ours = tracker_of(SHAPE, MEMORY, seeded=True).eval().requires_grad_(False)
    ours.load_state_dict(tracker_names(official_state(official)))
    return official, ours


def compared(
    official: Any, ours: Sam2, selects: bool, frames: torch.Tensor
) -> tuple[OfficialTrack, Sam2Memory]:
    memory = Sam2Memory(ours, Encoded(ours, frames), CPU)  # type: ignore[arg-type]
    if not selects:
        memory.bank.sure = None
    return OfficialTrack(official, frames), memory


def assert_same(theirs: dict[str, Any], answer: Any) -> None:
    assert answer.logits.shape == theirs["pred_masks"].shape
    assert (answer.logits - theirs["pred_masks"]).abs().max() < FRAME_LIMIT
    presence = float(theirs["object_score_logits"])
    assert answer.presence == pytest.approx(presence, abs=FRAME_LIMIT)


BOX = (12.0, 20.0, 60.0, 66.0)
CORNERS = torch.tensor([[[12.0, 20], [60, 66]]]), torch.tensor([[2, 3]])
CLICK = torch.tensor([[[30.0, 40]]]), torch.tensor([[1]])


@pytest.mark.peer
def test_every_tensor_of_the_official_tracker_has_its_place() -> None:
    official, ours = pair(True)
    named = tracker_names(official_state(official))
    own = ours.state_dict()
    assert {k: v.shape for k, v in named.items()} == {k: v.shape for k, v in own.items()}
    left = {
        name
        for name in official_state(official)
        if name.endswith("freqs_cis") or (".convs." in name and "sam2_convs" not in name)
    }
    dropped = len(official_state(official)) - len(left)
    # attention of the trunk is one tensor there, and three here
    assert len(named) == dropped + 2 * 2 * SHAPE.depth


@pytest.mark.peer
@pytest.mark.parametrize("selects", [False, True])
@pytest.mark.parametrize("prompt", ["box", "click"])
def test_an_object_is_followed_as_by_the_official_code(prompt: str, selects: bool) -> None:
    frames = pictures(SHAPE.image_size, FRAMES)
    points = CORNERS if prompt == "box" else CLICK
    asked = SlicePrompt(BOX) if prompt == "box" else SlicePrompt(None, ((30.0, 40.0),), (1,))
    bias = 0.0
    for again in range(2):
        official, ours = pair(selects, bias)
        theirs, memory = compared(official, ours, selects, frames)
        assert_same(theirs.step(0, points), memory.prompt(0, asked))
        said = []
        for k in range(1, FRAMES):
            answer = memory.propagate(k)
            assert_same(theirs.step(k), answer)
            said.append(answer.presence)
        bias = float(np.median(said))  # then the object is on some frames, and not on others
        if again and prompt == "box":
            assert min(said) < 0 < max(said)


@pytest.mark.peer
@pytest.mark.parametrize("selects", [False, True])
def test_both_ways_from_a_frame_in_between(selects: bool) -> None:
    frames = pictures(SHAPE.image_size, FRAMES)
    official, ours = pair(selects)
    theirs, memory = compared(official, ours, selects, frames)
    assert_same(theirs.step(3, CORNERS), memory.prompt(3, SlicePrompt(BOX)))
    for k in range(4, FRAMES):
        assert_same(theirs.step(k), memory.propagate(k))
    memory.forget()
    theirs.known["non_cond_frame_outputs"].clear()
    for k in range(2, -1, -1):
        assert_same(theirs.step(k, down=True), memory.propagate(k, down=True))


def test_what_is_said_clears_what_was_followed_around_it() -> None:
    torch.manual_seed(1)
    ours = tracker_of(SHAPE, MEMORY, seeded=True).eval().requires_grad_(False)
    memory = Sam2Memory(ours, Encoded(ours, pictures(SHAPE.image_size, 4)), CPU)  # type: ignore[arg-type]
    memory.prompt(0, SlicePrompt(BOX))
    memory.bank.sure = None
    memory.propagate(1)
    memory.propagate(2)
    assert set(memory.bank.propagated) == {1, 2}
    memory.prompt(2, SlicePrompt(BOX))
    assert not memory.bank.propagated
    assert set(memory.bank.conditioning) == {0, 2}


def test_unsure_frames_are_passed_over_and_forgotten() -> None:
    torch.manual_seed(1)
    ours = tracker_of(SHAPE, MEMORY, seeded=True).eval().requires_grad_(False)
    head = ours.sam_mask_decoder.pred_obj_score_head.layers[2]
    memory = Sam2Memory(ours, Encoded(ours, pictures(SHAPE.image_size, 8)), CPU)  # type: ignore[arg-type]
    memory.prompt(0, SlicePrompt(BOX))
    kept = []
    for k in range(1, 8):
        torch.nn.init.constant_(head.bias, -50.0 if k in (3, 4) else 50.0)
        memory.propagate(k)
        kept.append(sorted(memory.bank.propagated))
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 5], [1, 2, 5, 6], [1, 2, 5, 6, 7]]


def test_a_file_of_the_official_form_is_taken_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from promptseg.inference.predictor import Predictor
    from promptseg.models.cards import CARDS
    from promptseg.models.families.sam3.build import SHAPES

    pytest.importorskip("safetensors")
    shape = replace(SHAPE, dim=32)
    build_as(monkeypatch, SHAPES, {"small": shape})
    monkeypatch.setattr("promptseg.models.families.sam3.tracker_network.MEMORY", MEMORY)
    card = replace(
        CARDS["sam3-tracker"],
        name="small-tracker",
        build="small",
        weights="",
        preprocessing=replace(CARDS["sam3-tracker"].preprocessing, size=112),
    )
    monkeypatch.setitem(CARDS, "small-tracker", card)
    torch.manual_seed(2)
    network = tracker_of(shape, MEMORY, seeded=True)
    path = tmp_path / "mine.pt"
    torch.save(network.state_dict(), path)
    predictor = Predictor.load(f"small-tracker={path}", engine="eager")
    (embedding,) = predictor.encode([np.zeros((50, 40), np.uint8)])
    answer = predictor.decode(embedding, [SlicePrompt((5.0, 5.0, 20.0, 20.0))])
    assert answer.masks.shape == (1, 50, 40)
