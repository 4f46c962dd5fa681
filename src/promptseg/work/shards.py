"""A share of a long list: every scheduler can start N commands that differ in one number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from promptseg.errors import InputError

__all__ = ["WHOLE", "Shard", "is_record"]

T = TypeVar("T")

_RECORD = re.compile(r"(results|progress)(-\d+-of-\d+)?\.(csv|html)")


@dataclass(frozen=True)
class Shard:
    """Share number `number` of `count` shares, which together are the whole and do not overlap.

    Neighbours go to different shares, as cases of one hospital are often alike in size.

    Attributes:
        number: from 1.
        count: of all shares.

    Examples:
        >>> [list(Shard(k, 2).of("abcde")) for k in (1, 2)]
        [['a', 'c', 'e'], ['b', 'd']]
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Parse `NUMBER/COUNT`, such as 3/8; None means the whole.

        Raises:
            InputError: anything else.
        """
        if text is None:
            return WHOLE
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise InputError(
                "a shard NUMBER/COUNT, from 1/COUNT to COUNT/COUNT",
                repr(text),
                "write for example 3/8",
            )
        return shard

    def of(self, items: Iterable[T]) -> Iterator[T]:
        """Return the shard's share of some items, in their order."""
        return (item for k, item in enumerate(items) if k % self.count == self.number - 1)

    def size(self, total: int) -> int:
        """Tell how many of `total` items the shard has."""
        return len(range(self.number - 1, total, self.count))

    @property
    def suffix(self) -> str:
        """Return an ending for the names of files that each share writes: none if it is the whole."""
        return "" if self.count == 1 else f"-{self.number}-of-{self.count}"


WHOLE = Shard(1, 1)
"""All of it."""


def is_record(name: str) -> bool:
    """Tell whether a file is the table or the page that a share of a job, or a whole one, keeps.

    Examples:
        >>> is_record("results-3-of-8.csv"), is_record("results.xlsx")
        (True, False)
    """
    return _RECORD.fullmatch(name) is not None
