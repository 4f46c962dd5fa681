"""Words -> numbers: CLIP's byte pairs (Sennrich et al., 2016), joined as its table says."""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Tokens"]

_LENGTH = 32
_MERGES = 49_152 - 256 - 2
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
_END = "</w>"


class Tokens:
    """The table of a text encoder, and what it makes of phrases.

    Args:
        table: the gzip file of pairs, the most frequent first, under one line of heading.

    Raises:
        ModelError: another file.
    """

    def __init__(self, table: Path) -> None:
        try:
            lines = gzip.decompress(table.read_bytes()).decode("utf-8").split("\n")
        except (OSError, EOFError, ValueError) as error:
            raise ModelError("the table of words of SAM 3", f"{table} ({error})") from None
        pairs = [tuple(line.split()) for line in lines[1 : _MERGES + 1]]
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._bytes = _bytes_as_letters()
        letters = list(self._bytes.values())
        known = [*letters, *(letter + _END for letter in letters), *map("".join, pairs)]
        self._numbers = {part: number for number, part in enumerate(known)}
        self.start, self.end = len(known), len(known) + 1

    def __call__(self, phrases: Sequence[str]) -> Tensor:
        """(N, 32) numbers of N phrases, 0 after their end; longer ones are cut off."""
        import torch

        rows = torch.zeros(len(phrases), _LENGTH, dtype=torch.long)
        for row, phrase in zip(rows, phrases, strict=True):
            numbers = [self.start, *self.numbers_of(phrase)[: _LENGTH - 2], self.end]
            row[: len(numbers)] = torch.tensor(numbers)
        return rows

    def fits(self, phrase: str) -> bool:
        """Tell whether a phrase is short enough to be read in full."""
        return len(self.numbers_of(phrase)) <= _LENGTH - 2

    def numbers_of(self, phrase: str) -> list[int]:
        """Return the token numbers of a phrase, without those of start and end."""
        text = html.unescape(html.unescape(unicodedata.normalize("NFC", phrase)))
        text = " ".join(text.split()).lower()
        return [
            self._numbers[part]
            for word in _WORDS.findall(text)
            for part in _joined("".join(self._bytes[b] for b in word.encode()), _Ranks(self._ranks))
        ]


class _Ranks:
    """A table that counts as equal to itself, so that what was joined by it can be kept."""

    def __init__(self, ranks: dict[tuple[str, ...], int]) -> None:
        self.ranks = ranks

    def __hash__(self) -> int:
        return id(self.ranks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ranks) and other.ranks is self.ranks


@lru_cache(maxsize=4096)
def _joined(word: str, table: _Ranks) -> tuple[str, ...]:
    """The parts of a word: the most frequent pair is joined wherever it is, until none is known."""
    parts = [*word[:-1], word[-1] + _END]
    while len(parts) > 1:
        pairs = set(pairwise(parts))
        best = min(pairs, key=lambda pair: table.ranks.get(pair, _MERGES))
        if best not in table.ranks:
            break
        parts = list(_with_pair(parts, best))
    return tuple(parts)


def _with_pair(parts: list[str], pair: tuple[str, str]) -> Iterator[str]:
    at = 0
    while at < len(parts):
        joins = tuple(parts[at : at + 2]) == pair
        yield "".join(pair) if joins else parts[at]
        at += 2 if joins else 1


def _bytes_as_letters() -> dict[int, str]:
    """Every byte as a letter that can be seen: itself, or one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in set(seen)]
    return {b: chr(b) for b in seen} | {b: chr(256 + n) for n, b in enumerate(rest)}
