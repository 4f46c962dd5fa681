"""Weights between those of several trainings of one network, and the search for a good mixture.

Networks fine-tuned from the same weights can be averaged: the mean of several is often better than any
of them (model soups, Wortsman et al., ICML 2022), and weights on the way back to the start keep more of
what the start knew (WiSE-FT, Wortsman et al., CVPR 2022). MedSAMix does so for SAM in medicine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Mixture", "Search", "mixed", "search"]

Mixture = tuple[float, ...]
"""The share of each of some weights, in their order; they sum to 1."""


def mixed(weights: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of the weights of several models.

    Args:
        weights: name -> tensor, of the same names and shapes in each.
        shares: of each.

    Returns:
        Float32 tensors. What is equal in all of them stays bit for bit, and so does what is no
        floating point number, of which the first weights with a share count.

    Raises:
        ValueError: shares that are not one for each, or do not sum to 1.

    Examples:
        >>> import torch
        >>> mixed([{"w": torch.zeros(2)}, {"w": torch.ones(2)}], (0.75, 0.25))["w"].tolist()
        [0.25, 0.25]
    """
    import torch

    if len(shares) != len(weights) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"expected {len(weights)} shares that sum to 1, got {tuple(shares)}")
    used = [(tensors, share) for tensors, share in zip(weights, shares, strict=True) if share]
    first = used[0][0]
    out = {}
    for name, tensor in first.items():
        same = all(torch.equal(tensor, tensors[name]) for tensors, _ in used[1:])
        if same or not tensor.is_floating_point():
            out[name] = tensor
            continue
        mean = torch.zeros_like(tensor, dtype=torch.float64)
        for tensors, share in used:
            mean += share * tensors[name].double()
        out[name] = mean.float()
    return out


@dataclass
class Search:
    """Every mixture that was tried, and the best.

    Attributes:
        tried: mixture -> its score, in the order of trying.
    """

    tried: dict[Mixture, float] = field(default_factory=dict)

    @property
    def best(self) -> Mixture:
        """Return the first mixture of the highest score."""
        return max(self.tried, key=self.tried.__getitem__)


def search(
    count: int, score: Callable[[Mixture], float], shares: Sequence[float] = (0.25, 0.5, 0.75)
) -> Search:
    """Find a good mixture of a start and some weights trained from it, by few trials.

    The start and every trained model alone come first. Then, from the best trained one on, each of the
    others joins the plain mean of those before if that raises the score (greedy soup); last, that mean
    goes part of the way back to the start.

    Args:
        count: how many weights there are, the start first.
        score: of a mixture, the higher the better; asked once for each.
        shares: parts of the way from the start, between 0 and 1.

    Examples:
        >>> search(3, lambda m: -abs(m[1] - 0.4) - abs(m[2] - 0.4)).best
        (0.25, 0.375, 0.375)
    """
    found = Search()

    def tell(mixture: Mixture) -> float:
        if mixture not in found.tried:
            found.tried[mixture] = score(mixture)
        return found.tried[mixture]

    for k in range(count):
        tell(_mean_of(count, [k]))
    order = sorted(range(1, count), key=lambda k: -tell(_mean_of(count, [k])))
    soup = order[:1]
    for k in order[1:]:
        if tell(_mean_of(count, [*soup, k])) > tell(_mean_of(count, soup)):
            soup.append(k)
    mean = _mean_of(count, soup)
    for share in shares:
        tell((1 - share, *(share * part for part in mean[1:])))
    return found


def _mean_of(count: int, chosen: Sequence[int]) -> Mixture:
    return tuple(1 / len(chosen) if k in chosen else 0.0 for k in range(count))
