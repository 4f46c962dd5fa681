"""The loop that teaches a head words on embeddings that are kept."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.words.head import OWN, PRESENCE, Seen, WordHead
from promptseg.train.words.features import Facts, WordFeatures

__all__ = ["Asked", "Learning", "asked_of", "inside_of", "learn", "losses"]

_TRIES = 10
_QUICK = 10.0  # a new word's presence starts at what others mean; one vector has to turn it
_FEWEST = 3  # pixels of the grid of masks that count as a thing


@dataclass(frozen=True)
class Learning:
    """Settings of how a head learns.

    Attributes:
        updates: batches.
        batch: images each.
        learning_rate: at its highest.
        warmup: updates until then.
        decay: of weights.
        average: decay of the moving average of the weights, which are kept.
        others: words of other datasets that are asked for on each image, and are not there.
        windows: part of the images of which a window alone is seen; see `asked_of`.
        noise: standard deviation of factors of the channels of embeddings.
        places: of an image that are looked at, of 4096.
        own: whether only what belongs to the words themselves learns; the trunk stays.
        minutes: after which it ends, at the rate it has then; 0 for none.
        seed: of all.
    """

    updates: int = 1200
    batch: int = 8
    learning_rate: float = 1.5e-3
    warmup: int = 20
    decay: float = 0.05
    average: float = 0.97
    others: int = 1
    windows: float = 0.5
    noise: float = 0.1
    places: int = 512
    own: bool = False
    minutes: float = 0.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Asked:
    """Images of one batch, and what is asked of each.

    Attributes:
        places: (B, N, 256) some places of the embeddings.
        inside: (B, N) whether they are looked at.
        words: (K,) rows of the head, asked of all images.
        known: (B, K) whether the answer is known.
        there: (B, K) whether it is there.
        masks: (B, K, N, 4) boolean, on the 2 x 2 pixels of every place.
        depth: (B, K, N, 4) 0..1 how deep a pixel lies in its object of the word.
    """

    places: Tensor
    inside: Tensor
    words: Tensor
    known: Tensor
    there: Tensor
    masks: Tensor
    depth: Tensor


def inside_of(extents: Sequence[tuple[int, int]], side: int = 64, grid: int = 256) -> Tensor:
    """Return a boolean (B, side, side): where images lie in the input."""
    found = torch.zeros(len(extents), side, side, dtype=torch.bool)
    for one, (rows, columns) in zip(found, extents, strict=True):
        one[: math.ceil(rows * side / grid), : math.ceil(columns * side / grid)] = True
    return found


def asked_of(
    features: WordFeatures,
    number: int,
    others: Sequence[int],
    chance: np.random.Generator,
    places: int = 1024,
    windows: float = 0.0,
) -> Asked:
    """Return the questions on an image: its own words, and others that are surely absent.

    Args:
        features: images.
        number: which.
        others: words that are surely not on it.
        chance: of places and windows.
        places: how many of its places are looked at.
        windows: how often a window alone is seen, in half of these cases one without one of the
            things: what is not in it does not count.
    """
    facts = features.facts[number]
    words = sorted({*facts.known, *others})
    maps = torch.from_numpy(features.maps(number)[:, :, ::2, ::2].copy())
    (inside,) = inside_of([facts.extent])
    if chance.random() < windows:
        inside = _window(inside, maps[:, 0], facts.there, chance)
    every = np.flatnonzero(inside.flatten().numpy())
    some = np.sort(chance.permutation(every)[:places])
    values = torch.from_numpy(features.places[number][some].astype(np.float32))
    pixels = maps.unflatten(3, (64, 2)).unflatten(2, (64, 2)).permute(1, 0, 2, 4, 3, 5)
    labels, depth = pixels.reshape(2, len(maps), -1, 4)[:, :, torch.from_numpy(some)]
    rows = torch.tensor(words)
    drawn = labels == rows[:, None, None, None] + 1  # (words, layers, places, 4)
    masks = drawn.any(1)
    there = masks.sum((1, 2)) >= _FEWEST
    return Asked(
        values[None],
        torch.ones(1, len(some), dtype=torch.bool),
        words=rows,
        known=torch.ones(1, len(words), dtype=torch.bool),
        there=there[None],
        masks=masks[None],
        depth=(depth * drawn).amax(1)[None].float() / 255,
    )


def _window(
    inside: Tensor, labels: Tensor, there: Sequence[int], chance: np.random.Generator
) -> Tensor:
    """(64, 64) a part of where the image lies; in half of the cases one without one of its things."""
    rows, columns = int(inside.any(1).sum()), int(inside.any(0).sum())
    without = int(chance.choice(there)) + 1 if len(there) and chance.random() < 0.5 else 0
    found = inside
    for _ in range(_TRIES):
        share = chance.uniform(0.15 if without else 0.3, 0.7, 2)
        height, width = max(4, int(rows * share[0])), max(4, int(columns * share[1]))
        if height > rows or width > columns:
            break
        top = int(chance.integers(rows - height + 1))
        left = int(chance.integers(columns - width + 1))
        seen = labels[:, 2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
        if without and bool((seen == without).any()):
            continue
        found = torch.zeros_like(inside)
        found[top : top + height, left : left + width] = True
        break
    return found


def losses(seen: Seen, asked: Asked) -> dict[str, Tensor]:
    """Return losses of presence, mask (cross-entropy, Dice) and depth, means over what is known."""
    there = asked.there[asked.known]
    presence = F.binary_cross_entropy_with_logits(seen.presence[asked.known], there.float())
    logits = seen.masks[asked.known].flatten(1)
    truth = asked.masks[asked.known].flatten(1).float()
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
    # where there is nothing, presence says so; a mask of nothing counts for less
    mask = (cross * torch.where(there, 1.0, 0.3)).mean()
    inner, own, count = logits.sigmoid()[there], truth[there], max(1, int(there.sum()))
    dice = (1 - (2 * (inner * own).sum(1) + 1) / (inner.sum(1) + own.sum(1) + 1)).sum() / count
    deep = asked.depth[asked.known].flatten(1)[there] * own
    off = F.binary_cross_entropy_with_logits(
        seen.depth[asked.known].flatten(1)[there], deep, reduction="none"
    )
    depth = off.mean(1).sum() / count
    return {"presence": 0.5 * presence, "mask": 2 * mask, "dice": dice, "depth": depth}


def learn(
    head: WordHead,
    features: WordFeatures,
    numbers: Sequence[int],
    absent: Callable[[Facts], Sequence[int]],
    how: Learning,
    log: Path | None = None,
    show: Callable[[int, str], None] = lambda *_: None,
    words: Sequence[int] = (),
) -> WordHead:
    """Teach a head.

    Args:
        head: is changed.
        features: images.
        numbers: of those to learn from.
        absent: words of other datasets that are surely not on an image.
        how: see `Learning`.
        log: table of the losses.
        show: told updates.
        words: with `how.own`, the rows that learn.

    Returns:
        The moving average.
    """
    chance = np.random.default_rng(how.seed)
    torch.manual_seed(how.seed)
    if how.own:
        for name, parameter in head.named_parameters():
            parameter.requires_grad_(name.startswith(OWN))
    trained = [p for p in head.parameters() if p.requires_grad]
    before = {n: p.detach().clone() for n, p in head.named_parameters() if n.startswith(OWN)}
    stay = [k for k in range(len(head.queries)) if k not in set(words)] if how.own else []
    groups: dict[float, list[nn.Parameter]] = {1.0: [], _QUICK: []}
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            groups[_QUICK if how.own and name.startswith(PRESENCE) else 1.0].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": each, "scale": scale} for scale, each in groups.items()],
        how.learning_rate,
        weight_decay=how.decay,
    )
    average = deepcopy(head)
    order = _order(features, numbers, how.batch, chance)
    start, rows = time.monotonic(), []
    for update in range(1, how.updates + 1):
        rate = _rate(update, how, time.monotonic() - start)
        for group in optimizer.param_groups:
            group["lr"] = how.learning_rate * rate * group["scale"]
        optimizer.zero_grad(set_to_none=True)
        parts = dict.fromkeys(("presence", "mask", "dice", "depth"), 0.0)
        for n in next(order):  # one after the other: each is asked for few words of its own
            others = _some(absent(features.facts[n]), how.others, chance)
            asked = asked_of(features, n, others, chance, how.places, how.windows)
            values = asked.places
            if how.noise:
                values = values * (1 + how.noise * torch.randn(values.shape[-1]))
            each = losses(head.places(values, asked.words, asked.inside), asked)
            loss = sum(each.values(), torch.zeros(())) / how.batch
            loss.backward()
            for name, value in each.items():
                parts[name] += float(value.detach()) / how.batch
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            if stay:  # decay of weights moves rows that have no gradient
                for name, parameter in head.named_parameters():
                    if name.startswith(OWN):
                        parameter[stay] = before[name][stay]
            keep = min(how.average, update / (update + 10))
            for mean, now in zip(average.parameters(), head.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
            if stay:
                for name, mean in average.named_parameters():
                    if name.startswith(OWN):
                        mean[stay] = before[name][stay]
        rows.append([update, time.monotonic() - start, *parts.values()])
        if log is not None and update % 20 == 0:
            _write(log, rows, list(parts))
        show(update, f"loss {sum(parts.values()):.3f}")
        if rate <= 0:
            break
    if log is not None and rows:
        _write(log, rows, list(parts))
    return average.eval().requires_grad_(False)


def _rate(update: int, how: Learning, seconds: float) -> float:
    """Up, then down along a cosine; where minutes count, they say how far it is."""
    done = update / how.updates
    if how.minutes:
        done = max(done, seconds / 60 / how.minutes)
    return min(1.0, update / max(1, how.warmup)) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _order(
    features: WordFeatures, numbers: Sequence[int], batch: int, chance: np.random.Generator
) -> Iterator[list[int]]:
    """Batches for ever; a dataset is taken by the root of its size."""
    sets: dict[str, list[int]] = {}
    for n in numbers:
        sets.setdefault(features.facts[n].dataset, []).append(n)
    names = sorted(sets)
    share = np.array([len(sets[name]) ** 0.5 for name in names])
    left: dict[str, list[int]] = {name: [] for name in names}
    while True:
        found = []
        for k in chance.choice(len(names), batch, p=share / share.sum()):
            name = names[k]
            if not left[name]:
                left[name] = [sets[name][j] for j in chance.permutation(len(sets[name]))]
            found.append(left[name].pop())
        yield found


def _some(words: Sequence[int], count: int, chance: np.random.Generator) -> list[int]:
    return [words[k] for k in chance.permutation(len(words))[:count]]


def _write(path: Path, rows: list[list[float]], names: list[str]) -> None:
    """Means over twenty updates."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["update", "seconds", *names])
        for first in range(0, len(rows), 20):
            some = np.array(rows[first : first + 20])
            writer.writerow(
                [int(some[-1, 0]), f"{some[-1, 1]:.0f}", *(f"{v:.4f}" for v in some[:, 2:].mean(0))]
            )
