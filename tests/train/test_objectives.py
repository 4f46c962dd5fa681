"""Algorithm 1 against a transcription of it, and gradients where they belong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from promptseg.errors import InputError
from promptseg.models.heads.unetr import UnetrDecoder
from promptseg.simulate.boxes import Jitter
from promptseg.train.objectives import PRESETS, Algorithm1, Objective, Uniforms
from promptseg.train.objectives.prompts import Prompts, draw_pixel, near
from train.tiny import SIDE, random_batch, tiny_sam
from train.transcription import algorithm_1


def losses_of(objective, seed=0, side=32, semantic=None, sam=None):
    sam = sam or tiny_sam()
    batch = random_batch(seed, side)
    u = Uniforms.draw(objective, batch.names, seed=7, iteration=seed)
    algorithm = Algorithm1(sam, objective, semantic)
    steps = list(algorithm.steps(sam.encode(batch.slices), batch, u))
    total = torch.stack([s.total() for s in steps]).sum()
    return sam, batch, u, steps, total / objective.terms(batch.objects, batch.images)


def transcribed(sam, batch, u, objective, semantic=None):
    hyper = {
        "p_box": objective.p_box,
        "n_steps": objective.n_steps,
        "p_mask": objective.p_mask,
        "distortion": objective.distortion.pixels,
        "sign": objective.distortion.sign,
        "points": objective.points_per_step,
        "learn": objective.learn_corrections,
        "loss": objective.mask_loss,
        "iou_loss": objective.iou_loss,
    }
    return algorithm_1(sam, batch, u, hyper, semantic)


CASES = {
    **{
        name: replace(preset.objective, n_steps=min(preset.objective.n_steps, 3))
        for name, preset in PRESETS.items()
        if type(preset.objective) is Objective and name != "ft-sam"  # that of sam-med2d
    },
    "joint decoder": Objective(n_steps=1, joint_decoder=True),
    "clicks alone, masks always": Objective(n_steps=3, p_box=0.0, p_mask=1.0),
    "boxes alone, far off": Objective(n_steps=2, p_box=1.0, distortion=Jitter(900, "either")),
}


@pytest.mark.parametrize("side", [32, 48])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_those_of_the_transcription(name, side):
    objective = CASES[name]
    torch.manual_seed(3)
    semantic = UnetrDecoder(32).double() if objective.joint_decoder else None
    sam, batch, u, _, loss = losses_of(objective, side, side, semantic)
    parts = [*sam.parameters(), *(semantic.parameters() if semantic else ())]
    gradients = torch.autograd.grad(loss, parts, allow_unused=True)
    plain = transcribed(sam, batch, u, objective, semantic)
    mean = sum(value for _, value in plain) / len(plain)
    assert len(plain) == objective.terms(batch.objects, batch.images)
    assert mean.item() == pytest.approx(loss.item(), abs=1e-9)
    expected = torch.autograd.grad(mean, parts, allow_unused=True)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-4)


def test_rounds_taken_back_one_by_one_give_the_gradients_of_their_sum():
    objective = PRESETS["medicosam"].objective
    sam, batch, u, _, loss = losses_of(objective)
    whole = torch.autograd.grad(loss, list(sam.parameters()), allow_unused=True)
    embeddings = sam.encode(batch.slices)
    leaf = embeddings.detach().requires_grad_()
    for step in Algorithm1(sam, objective).steps(leaf, batch, u):
        (step.total() / objective.terms(batch.objects, batch.images)).backward()
    embeddings.backward(leaf.grad)
    for one, parameter in zip(whole, sam.parameters(), strict=True):
        if one is not None:
            torch.testing.assert_close(parameter.grad, one, atol=1e-9, rtol=1e-7)


def test_micro_batches_give_the_loss_of_the_whole_batch():
    objective = PRESETS["medicosam"].objective
    sam, batch, _, steps, _ = losses_of(objective)
    whole = sum(s.total().item() for s in steps)
    apart = 0.0
    for image in range(batch.images):
        chosen = batch.owner == image
        part = replace(
            batch,
            slices=batch.slices[image : image + 1],
            masks=batch.masks[chosen],
            boxes=batch.boxes[chosen],
            owner=torch.zeros(int(chosen.sum()), dtype=torch.long),
            extent=batch.extent[image : image + 1],
            union=batch.union[image : image + 1],
            names=tuple(n for n, c in zip(batch.names, chosen, strict=True) if c),
        )
        u = Uniforms.draw(objective, part.names, seed=7, iteration=0)
        found = Algorithm1(sam, objective).steps(sam.encode(part.slices), part, u)
        apart += sum(s.total().item() for s in found)
    assert apart == pytest.approx(whole, abs=1e-9)


def test_the_prompt_encoder_learns_nothing_from_corrections_under_sam_med2d():
    objective = replace(PRESETS["sam-med2d"].objective, p_box=1.0)
    sam, _, _, steps, _ = losses_of(objective)
    prompt = list(sam.prompt_encoder.parameters())
    first = torch.autograd.grad(steps[0].total(), prompt, allow_unused=True, retain_graph=True)
    assert any(g is not None and g.abs().sum() > 0 for g in first)
    for step in steps[1:]:
        assert not any(
            g is not None
            for g in torch.autograd.grad(step.total(), prompt, allow_unused=True, retain_graph=True)
        )


def test_medsam_asks_with_boxes_alone_and_leaves_the_iou_head():
    sam, _, _, steps, loss = losses_of(PRESETS["medsam"].objective)
    assert [s.name for s in steps] == ["first"]
    assert steps[0].iou is None
    loss.backward()
    assert all(p.grad is None for p in sam.mask_decoder.iou_prediction_head.parameters())
    assert PRESETS["medsam"].objective.asks() == {"box"}
    assert PRESETS["simple-ft"].objective.asks() == {"box", "point"}
    assert PRESETS["medicosam"].objective.asks() == {"box", "point", "mask"}


def test_a_lone_click_takes_the_mask_that_the_model_thinks_best():
    sam = tiny_sam()
    with torch.no_grad():
        sam.mask_decoder.iou_prediction_head.layers[-1].weight.zero_()
        sam.mask_decoder.iou_prediction_head.layers[-1].bias.copy_(
            torch.tensor([9.0, 0.1, 0.8, 0.3])
        )
    objective = Objective(n_steps=0, p_box=0.0)
    sam, batch, u, steps, _ = losses_of(objective, sam=sam)
    batch_logits, _ = sam.mask_decoder(
        sam.encode(batch.slices)[batch.owner],
        sam.prompt_encoder.dense_position(),
        *sam.prompt_encoder(*Prompts.first(batch, objective, u, SIDE).of(torch.arange(5))),
        True,
    )
    s = batch_logits[:, 1].sigmoid() * batch.inside()[batch.owner]
    g = batch.masks.double()
    dice = 1 - 2 * (s * g).sum((1, 2)) / ((s**2).sum((1, 2)) + g.sum((1, 2)))
    torch.testing.assert_close(steps[0].mask, dice, atol=1e-9, rtol=1e-9)


def test_clicks_of_a_round_lie_in_the_errors():
    batch = random_batch(5)
    objective = Objective(n_steps=1)
    found = torch.roll(batch.masks, (1, 2), (1, 2)) & batch.inside()[batch.owner]
    for iteration in range(20):
        u = Uniforms.draw(objective, batch.names, 0, iteration)
        prompts = Prompts.first(batch, objective, u, SIDE)
        prompts.correct(batch, found, u, 0, objective, SIDE)
        grid = ((prompts.points + 0.5) * 32 / SIDE - 0.5).round().long()
        for k in range(batch.objects):
            missing, false = batch.masks[k] & ~found[k], ~batch.masks[k] & found[k]
            x, y = grid[k, -2].tolist()
            assert missing[y, x] if missing.any() else batch.masks[k, y, x]
            x, y = grid[k, -1].tolist()
            assert false[y, x] if false.any() else not batch.masks[k, y, x]
            assert prompts.labels[k, -2:].tolist() == [1, 0]


def test_an_object_without_background_gets_no_negative_click():
    batch = random_batch(1, objects=1, images=1)
    full = batch.inside()[batch.owner]
    batch = replace(batch, masks=full, union=full)
    objective = Objective(n_steps=1)
    u = Uniforms.draw(objective, batch.names, 0, 0)
    prompts = Prompts.first(batch, objective, u, SIDE)
    prompts.correct(batch, full, u, 0, objective, SIDE)
    assert prompts.labels[0].tolist() == [1, 1, -1]


def test_every_pixel_of_a_region_is_drawn_and_no_other():
    region = torch.zeros(1, 4, 5, dtype=torch.bool)
    region[0, 1, 2:4] = True
    region[0, 3, 0] = True
    drawn = {
        tuple(draw_pixel(region[:, :4, :4], torch.tensor([v]))[0][0].tolist())
        for v in torch.linspace(0, 0.999, 30)
    }
    assert drawn == {(2, 1), (3, 1), (0, 3)}
    assert not draw_pixel(torch.zeros(1, 4, 4, dtype=torch.bool), torch.tensor([0.3]))[1].any()


def test_near_is_the_enlarged_box():
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[0, 10:18, 4:6] = True
    rows, columns = near(mask)[0].nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 19, 2, 7)


def test_chance_does_not_depend_on_the_order_of_objects():
    objective = Objective()
    names = [("a", 1), ("b", 2), ("c", 3)]
    one = Uniforms.draw(objective, names, 0, 4)
    other = Uniforms.draw(objective, names[::-1], 0, 4)
    assert torch.equal(one.clicks, other.clicks.flip(0))
    assert not torch.equal(one.clicks, Uniforms.draw(objective, names, 0, 5).clicks)


@pytest.mark.parametrize(
    "wrong", [{"n_objects": 0}, {"n_steps": -1}, {"p_box": 1.5}, {"points_per_step": (0,)}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        Objective(**wrong)
