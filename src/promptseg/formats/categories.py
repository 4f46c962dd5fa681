"""Classes of objects whose names tell instances apart by a number ("nucleus 17")."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["categories_of"]

_NUMBERED = re.compile(r"(.*\S)\s+\d+")


def categories_of(names: Iterable[str]) -> dict[str, str]:
    """Return the class of each name: the name without its number where several differ in that alone.

    Examples:
        >>> categories_of(["nucleus 1", "nucleus 17", "vertebra 4", "liver"])
        {'nucleus 1': 'nucleus', 'nucleus 17': 'nucleus', 'vertebra 4': 'vertebra 4', 'liver': 'liver'}
    """
    stems = {name: (m[1] if (m := _NUMBERED.fullmatch(name)) else name) for name in names}
    counts = Counter(stems.values())
    own = {name for name in stems if stems[name] != name and name != "label"}
    return {
        name: stem if name in own and counts[stem] > 1 and stem != "label" else name
        for name, stem in stems.items()
    }
