"""Finder of the network in a checkpoint: by the structure of its names, whatever lies around it.

Training loops wrap a network's tensors in dictionaries (`model`, `state_dict`, `ema`, ...), put the
names of their own modules in front (`module.`, `sam.`, `_orig_mod.`, ...) and add what else they need
to go on (optimiser, losses, a moving average of the weights). All names, those of dictionaries
included, are taken as one tree with a branch per part between dots. A network is a branch that has
all parts a network has; an inner part that is none of the network's own and has no sibling is a
wrapper too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Found", "all_tensors", "networks_in", "same_tensors"]

_Tree = dict[str, Any]
"""Names between dots -> a tensor or another tree; a tensor where a tree is too goes under ""."""


@dataclass(frozen=True)
class Found:
    """A network somewhere in a checkpoint.

    Attributes:
        place: names of all that is around it, with dots between; empty at the top.
        tensors: under the network's own names.
        whole: whether all of the network's parts are there.
    """

    place: str
    tensors: dict[str, Tensor]
    whole: bool


def networks_in(
    content: Any, families: Sequence[Collection[str]], words: Collection[str]
) -> list[Found]:
    """Return the networks that a checkpoint holds, in its order.

    Args:
        content: what was loaded: dictionaries with tensors, and anything else beside.
        families: names of the modules a network consists of, such as `image_encoder`, for every
            family of networks.
        words: all names between dots that a network has; what is not among them may be a wrapper.

    Returns:
        Those with all parts; if there are none, those with some of them.
    """
    found = []
    parts = dict.fromkeys(name for family in families for name in family)
    stack: list[tuple[str, _Tree]] = [("", _tree(content))]
    while stack:
        place, tree = stack.pop()
        own = {name: tree[name] for name in parts if isinstance(tree.get(name), dict)}
        if own:
            whole = any(own.keys() >= set(family) for family in families)
            found.append(Found(place, dict(_named(tree, words)), whole))
            continue
        below = [(f"{place}.{k}".lstrip("."), v) for k, v in tree.items() if isinstance(v, dict)]
        stack += reversed(below)
    return [one for one in found if one.whole] or found


def all_tensors(content: Any) -> dict[str, Tensor]:
    """Return every tensor in dictionaries, under all its names with dots between."""
    return dict(_named(_tree(content), None))


def same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Tell whether two networks have equal values under equal names."""
    return a.keys() == b.keys() and all(
        v.shape == b[k].shape and v.dtype == b[k].dtype and torch.equal(v, b[k])
        for k, v in a.items()
    )


def _tree(content: Any) -> _Tree:
    """The tree of all names; a dictionary that occurs twice, or in itself, is entered once."""
    root: _Tree = {}
    seen: set[int] = set()
    stack: list[tuple[Any, _Tree]] = [(content, root)]
    while stack:
        values, tree = stack.pop()
        if not isinstance(values, Mapping) or id(values) in seen:
            continue
        seen.add(id(values))
        below = []
        for key, value in values.items():
            if isinstance(value, Tensor):
                *before, last = str(key).split(".")
                node = _branch(tree, before)
                if isinstance(node.get(last), dict):
                    node[last][""] = value
                else:
                    node[last] = value
            elif isinstance(value, Mapping):
                below.append((value, _branch(tree, str(key).split("."))))
        stack += reversed(below)
    return root


def _branch(tree: _Tree, names: list[str]) -> _Tree:
    for name in names:
        below = tree.setdefault(name, {})
        if isinstance(below, Tensor):
            below = tree[name] = {"": below}
        tree = below
    return tree


def _named(tree: _Tree, words: Collection[str] | None) -> Iterator[tuple[str, Tensor]]:
    """Tensors with their names, without the wrappers inside; with `words` None, all names are kept."""
    stack: list[tuple[str, Any]] = [("", tree)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, Tensor):
            yield name, node
            continue
        while words is not None and len(node) == 1:
            ((inner, below),) = node.items()
            if inner in words or not isinstance(below, dict):
                break
            node = below
        stack += reversed([(f"{name}.{k}".strip("."), v) for k, v in node.items()])
