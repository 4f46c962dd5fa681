"""Phrases by which the classes of a collection are asked for, and classes that an image lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from promptseg.datasets.collection import Sample, Target
from promptseg.errors import InputError
from promptseg.parsing import parse_json
from promptseg.terms.phrases import may_be_the_same, phrases_for

__all__ = ["Vocabulary", "named", "read_phrases_file"]

_CANONICAL = 0.5  # how often a name is asked for in the words that users' phrases are put into


def named(sample: Sample) -> dict[str, list[Target]]:
    """Return the objects of a sample by name, in the words of the table of terms."""
    found: dict[str, list[Target]] = defaultdict(list)
    for target in sample.targets:
        found[phrases_for(target.name)[0]].append(target)
    return dict(sorted(found.items()))


class Vocabulary:
    """The names of a collection.

    Args:
        samples: of all its parts.
        more: name -> further phrases for it.

    Attributes:
        names: all of them, in the words of the table of terms.
        modalities: of the images that each of them is on.
    """

    def __init__(
        self, samples: Sequence[Sample], more: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        own: dict[str, set[str]] = defaultdict(set)
        modalities: dict[str, set[str]] = defaultdict(set)
        phrases: dict[str, dict[str, None]] = defaultdict(dict)
        on: dict[str, set[str]] = defaultdict(set)
        never: dict[str, dict[str, None]] = defaultdict(dict)  # on no sample
        for sample in samples:
            modalities[sample.dataset].add(sample.modality)
            for target in sample.targets:
                first, *others = phrases_for(target.name)
                own[sample.dataset].add(first)
                on[first].add(sample.modality)
                phrases[first].update(dict.fromkeys([first, *others]))
            for name in sample.absent or ():
                first, *others = phrases_for(name)
                never[first].update(dict.fromkeys([first, *others]))
        for name, further in (more or {}).items():
            first = phrases_for(name)[0]
            if first not in phrases:
                raise InputError(
                    f"phrases for names of the collection ({', '.join(sorted(phrases))})",
                    repr(name),
                    "correct --phrases",
                )
            phrases[first].update(dict.fromkeys(further))
        self.names = tuple(sorted(phrases))
        self.modalities = {name: tuple(sorted(on[name])) for name in self.names}
        self._own = {dataset: sorted(names) for dataset, names in own.items()}
        self._phrases = {name: tuple(each) for name, each in (never | phrases).items()}
        self._elsewhere = {
            dataset: sorted(
                {n for d, ms in modalities.items() if not ms & here for n in self._own[d]}
            )
            for dataset, here in modalities.items()
        }

    def phrase(self, name: str, chance: np.random.Generator) -> str:
        """Draw one of the phrases for a name, half of the time the first."""
        others = self._phrases[name][1:]
        if not others or chance.random() < _CANONICAL:
            return name
        return others[int(chance.integers(len(others)))]

    def absent(self, sample: Sample) -> list[str]:
        """Return the names of what is not on a sample.

        Those that were looked for on it, where the dataset says so; else those of its own dataset,
        where all that is there is outlined; where it has no other, those of datasets of other
        modalities. Names of the same thing on no side, or another spelling, may be there, and are left
        out.
        """
        there = named(sample)

        def away(names: Sequence[str]) -> list[str]:
            return [n for n in names if not any(may_be_the_same(n, other) for other in there)]

        if sample.absent is not None:
            return away(sorted({phrases_for(name)[0] for name in sample.absent}))
        return away(self._own.get(sample.dataset, ())) or away(
            self._elsewhere.get(sample.dataset, ())
        )


def read_phrases_file(path: Path) -> dict[str, list[str]]:
    """Read a JSON file of names, each with a list of phrases.

    Raises:
        InputError: another file.
    """
    try:
        said = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError("no object")
        for name, phrases in said.items():
            if not isinstance(phrases, list) or not all(isinstance(p, str) for p in phrases):
                raise ValueError(f"{name!r} without a list of phrases")
    except (OSError, ValueError) as error:
        raise InputError(
            'a JSON file such as {"polyp": ["colorectal polyp"]}', f"{path} ({error})"
        ) from None
    return said
