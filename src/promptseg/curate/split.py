"""The split of a collection: every group of images goes to training, validation or test."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path

from promptseg.curate.groups import Group, LookAlike, person
from promptseg.datasets import CaseFiles, Dataset
from promptseg.datasets.collection import SPLITS, Split
from promptseg.datasets.manifest import ManifestRow
from promptseg.errors import InputError
from promptseg.formats.text import composed, read_text

__all__ = [
    "Case",
    "check_division",
    "divide",
    "divide_as_given",
    "hold_out",
    "read_held_out",
]

Case = tuple[str, str]
"""Dataset and case."""


def divide(groups: Sequence[Group], shares: dict[Split, float], seed: int) -> dict[str, Split]:
    """Choose a part for every group, so that each stratum is divided by the shares.

    A stratum is the groups with images of the same datasets. Those with too few groups for every
    part to get one are taken together. Within a stratum the groups come in an order drawn by `seed`;
    each goes to the part that would lack most samples.

    Args:
        groups: with different names.
        shares: part -> its share, from 0 to 1.
        seed: of the order.

    Returns:
        Name of the group -> part.
    """
    needed = ceil(1 / min(share for share in shares.values() if share) - 1e-9)
    strata: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        strata[tuple(sorted(group.sizes))].append(group)
    few = sorted(key for key, own in strata.items() if len(own) < needed)
    together = [group for key in few for group in strata.pop(key)]
    parts: dict[str, Split] = {}
    for name, own in [*sorted(strata.items()), ((), together)]:
        order = sorted(own, key=lambda group: group.name)
        random.Random(f"{seed} {'/'.join(name)}").shuffle(order)
        have: Counter[Split] = Counter()
        seen = 0
        for group in order:
            size = sum(group.sizes.values())
            seen += size
            lack = {part: share * seen - have[part] for part, share in shares.items() if share}
            part = max(lack, key=lambda each: lack[each])
            have[part] += size
            parts[group.name] = part
    return parts


def hold_out(
    groups: Sequence[Group], lines: Iterable[Case], shares: dict[Split, float], seed: int
) -> dict[str, Split]:
    """Divide like `divide`, but the test part is the groups that a list names, and nothing else.

    Args:
        groups: with different names.
        lines: (dataset, case or patient).
        shares: of training and validation, whatever that of the test part.
        seed: of the order.

    Raises:
        InputError: no share for training and validation.
    """
    wanted = set(lines)
    kept = [
        group
        for group in groups
        if any({(c.dataset, c.case), (c.dataset, c.patient)} & wanted for c in group.cases)
    ]
    names = {group.name for group in kept}
    rest = 1 - shares["test"]
    if not rest:
        raise InputError(
            "a share for training beside --held-out", "100 % for the test", "correct --split"
        )
    left: dict[Split, float] = {part: shares[part] / rest for part in SPLITS if part != "test"}
    parts = divide([group for group in groups if group.name not in names], left, seed)
    return {**parts, **dict.fromkeys(names, "test")}


def divide_as_given(groups: Sequence[Group], given: dict[Case, Split]) -> dict[str, Split]:
    """Divide the groups as a table says.

    Raises:
        InputError: a case that the table lacks, or a group in two parts, named.
    """
    parts: dict[str, Split] = {}
    for group in groups:
        said: dict[Split, ManifestRow] = {}
        for case in group.cases:
            place = (case.dataset, case.case)
            if place not in given:
                raise InputError(
                    "a part for every case", f"none for {'/'.join(place)}", "add it to --splits"
                )
            said.setdefault(given[place], case)
        if len(said) > 1:
            (one, first), (other, second) = list(said.items())[:2]
            same = person(first) == person(second)
            what = f"patient {first.patient}" if same else "look-alikes"
            raise InputError(
                "every patient, with all look-alikes, in one part",
                f"{what}: {first.dataset}/{first.case} in {one} and "
                f"{second.dataset}/{second.case} in {other}",
                "correct --splits" if same else "correct --splits, or set --look-alikes report",
            )
        parts[group.name] = next(iter(said))
    return parts


def check_division(
    cases: Sequence[ManifestRow], parts: dict[Case, Split], alike: Sequence[LookAlike] | None
) -> None:
    """Make sure, from the finished assignment, that the parts have nothing in common.

    Args:
        cases: all of them.
        parts: of every case.
        alike: pairs that had to stay together, as had the same voxels; None where persons alone had.

    Raises:
        RuntimeError: they were divided; a fault of ours.
    """
    seen: dict[str, Split] = {}
    for case in cases:
        part = parts[case.dataset, case.case]
        shared = [f"patient {person(case)}"]
        shared += [f"image {case.sha256}"] if case.sha256 and alike is not None else []
        for what in shared:
            if seen.setdefault(what, part) != part:
                raise RuntimeError(f"the {what} is in {seen[what]} and {part}")
    for pair in alike or ():
        ends = [(each.dataset, each.case) for each in (pair.first, pair.second)]
        if parts[ends[0]] != parts[ends[1]]:
            raise RuntimeError(f"{ends[0]} and {ends[1]} look alike and are in two parts")


def read_held_out(path: Path, datasets: Sequence[Dataset]) -> list[Case]:
    """Read a list of lines "dataset/case" or "dataset/patient"; what follows a # is passed over.

    Raises:
        InputError: no such file, or a line that names nothing in the datasets that are curated.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(
            "a list of dataset/case lines", f"{path} ({error})", "correct --held-out"
        ) from None
    known = {(d.name, name) for d in datasets for c in d.cases for name in _names(c)}
    known |= {(d.name, lost.case) for d in datasets for lost in d.missing}
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found: list[Case] = []
    for line in filter(None, lines):
        dataset, _, name = composed(line).partition("/")
        if (dataset, name) not in known:
            raise InputError(
                "held-out lines dataset/case or dataset/patient of the data",
                f"{line!r} in {path}",
                "correct the line, or curate its dataset too",
            )
        found.append((dataset, name))
    if not found:
        raise InputError(
            "a list with at least one dataset/case",
            f"{path} without any",
            "name some, or leave --held-out away",
        )
    return found


def _names(case: CaseFiles) -> tuple[str, str]:
    return case.name, case.patient
