"""SAM 2 learns with memory on a clip: who learns, what is remembered, and that it gets better."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from promptseg.models.families.sam2.network import Features, Sam2
from promptseg.train.image_sam2 import as_image_sam2
from promptseg.train.objectives.clips import ClipAlgorithm, ClipBatch, ClipPlan, clip_losses
from promptseg.train.objectives.settings import ClipObjective
from small_sam2 import small_sam2


def clip() -> tuple[Tensor, Tensor]:
    """Four frames of a bright square that moves right and is gone on the third; its masks."""
    frames, masks = torch.zeros(4, 3, 128, 128), torch.zeros(4, 32, 32, dtype=torch.bool)
    for k in (0, 1, 3):
        frames[k, :, 40:80, 16 + 20 * k : 48 + 20 * k] = 2.0
        masks[k, 10:20, 4 + 5 * k : 12 + 5 * k] = True
    return frames, masks


def encoded(network: Sam2, frames: Tensor) -> list[Features]:
    levels = [level.split(1) for level in network.encode(frames)]
    return [Features(*each) for each in zip(*levels, strict=True)]


def total(network: Sam2, plan: ClipPlan) -> Tensor:
    frames, masks = clip()
    chances = [np.random.default_rng(0)]
    found = clip_losses(network, encoded(network, frames), masks[None], plan, chances)
    return torch.stack([loss.total() for loss in found]).sum()


def test_every_answer_is_judged_and_all_parts_of_the_memory_learn() -> None:
    network = small_sam2().train().requires_grad_(True)
    frames, masks = clip()
    plan = ClipPlan((0,), frozenset({1}), clicks=2)
    losses = list(
        clip_losses(
            network, encoded(network, frames), masks[None], plan, [np.random.default_rng(0)]
        )
    )
    assert len(losses) == 4 + 2
    assert [float(loss.focal.detach()) == 0 for loss in losses] == [False] * 4 + [True, False]
    torch.stack([loss.total() for loss in losses]).sum().backward()
    idle = {n.split(".")[0] for n, p in network.named_parameters() if p.grad is None}
    assert not idle & {"image_encoder", "memory_attention", "memory_encoder", "sam_prompt_encoder"}
    assert network.maskmem_tpos_enc.grad is not None
    ages = network.maskmem_tpos_enc.grad.flatten(1).abs().sum(1) > 0
    assert bool(ages[-1])  # a conditioning frame's
    assert bool(ages[0])  # that of the frame before


def test_a_clip_is_learnt() -> None:
    network = small_sam2().train().requires_grad_(True)
    plan = ClipPlan((0,), frozenset())
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    first = 0.0
    for number in range(12):
        loss = total(network, plan)
        first = first if number else float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(total(network, plan).detach()) < 0.8 * first


def test_plans_box_one_frame_or_two_and_correct_none_to_two() -> None:
    chance = np.random.default_rng(0)
    there = [False, True, True, False, True, True, True, True]
    plans = [ClipPlan.draw(there, chance) for _ in range(200)]
    assert {len(plan.boxed) for plan in plans} == {1, 2}
    assert {len(plan.corrected) for plan in plans} == {0, 1, 2}
    assert all(plan.boxed[0] == 1 and plan.clicks == 7 for plan in plans)
    assert all(there[frame] for plan in plans for frame in (*plan.boxed, *plan.corrected))


def test_objects_together_are_each_by_itself() -> None:
    network = small_sam2().train().requires_grad_(True)
    frames, masks = clip()
    both = torch.stack([masks, masks.roll(6, dims=1)])
    plan = ClipPlan((0,), frozenset({1}), clicks=2)
    features = encoded(network, frames)

    def losses(some: Tensor, numbers: list[int]) -> Tensor:
        chances = [np.random.default_rng(number) for number in numbers]
        found = list(clip_losses(network, features, some, plan, chances))
        return torch.stack([one.focal + one.dice + one.iou + one.presence for one in found], dim=1)

    together = losses(both, [0, 1])
    apart = torch.cat([losses(both[:1], [0]), losses(both[1:], [1])])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    copies = [Features(*(level.expand(2, -1, -1, -1) for level in one)) for one in features]
    chances = [np.random.default_rng(number) for number in (0, 1)]
    of_two = list(clip_losses(network, copies, both, plan, chances))
    again = torch.stack([one.focal + one.dice + one.iou + one.presence for one in of_two], dim=1)
    torch.testing.assert_close(again, together, rtol=1e-4, atol=1e-5)


def test_clips_of_an_update_have_one_plan_where_their_objects_are_alike() -> None:
    network = as_image_sam2(small_sam2().train())
    algorithm = ClipAlgorithm(network, ClipObjective(frames=4))
    _, masks = clip()
    never = torch.zeros_like(masks)
    early, late = masks.clone(), masks.clone()
    early[2:], late[:2] = False, False
    batch = ClipBatch(
        None,
        (masks, masks.roll(3, dims=1), masks, never, early, late),
        (0, 0, 4, 4, 8, 8),
        tuple(("clip", str(k), "0") for k in range(6)),
    )
    chance = algorithm.draw(batch, seed=0, iteration=3)
    planned = algorithm._together(batch, chance)
    assert sorted(planned.values()) == [[0, 1, 2], [4], [5]]
    assert all(plan.frames == 4 for plan in planned)
    assert [p.boxed[0] for p, numbers in planned.items() if numbers == [5]] == [3]
    alone = algorithm._together(
        ClipBatch(None, batch.masks[2:3], (0,), batch.names[2:3]), algorithm.draw(batch, 0, 3)
    )
    assert list(alone) == [p for p, numbers in planned.items() if numbers == [0, 1, 2]]
