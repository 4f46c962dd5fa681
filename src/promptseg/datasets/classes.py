"""Classes: the meaning of labels, and the objects that they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from promptseg.formats.colour_coded import Colours
from promptseg.image import Segment

__all__ = ["Classes", "TruthSegment", "target_of"]


@dataclass(frozen=True)
class Classes:
    """The meaning of the values of a label image.

    Attributes:
        names: class id -> name; empty where nothing names them.
        regions: class id -> the values it is made of, for classes that are not one value.
        ignore: value of voxels that nobody labelled, if there is one.
        colours: (red, green, blue) -> value, of masks that are coded in colours; empty where labels are
            the numbers that are stored.

    Examples:
        >>> from promptseg.datasets import Classes
        >>> classes = Classes({1: "liver", 2: "liver"}, ignore=255)
        >>> classes.object_names()
        {1: 'liver 1', 2: 'liver 2'}
    """

    names: dict[int, str] = field(default_factory=dict)
    regions: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ignore: int | None = None
    colours: Colours = field(default_factory=dict)

    def object_names(self) -> dict[int, str]:
        """Return a unique name for each class id: with the id where classes share a name."""
        shared = Counter(self.names.values())
        return {k: f"{name} {k}" if shared[name] > 1 else name for k, name in self.names.items()}

    @property
    def values(self) -> set[int]:
        """Return every value a label image may have, except the background."""
        named = set(self.names) - set(self.regions)
        return named.union(*self.regions.values())


@dataclass
class TruthSegment(Segment):
    """One object of the truth.

    Attributes:
        target: name of its class ("nucleus"); the object itself may be called "nucleus 17".
        instance: whether `label` only tells objects of a class apart (an instance id), and does not
            stand for the class.

    Examples:
        >>> import numpy as np
        >>> from promptseg.datasets import TruthSegment
        >>> mask = np.eye(4, dtype=bool)
        >>> TruthSegment.from_mask("nucleus 17", 17, mask, target="nucleus", instance=True).target
        'nucleus'
    """

    target: str = ""
    instance: bool = False


def target_of(segment: Segment) -> str:
    """Return the name of the class an object belongs to; its own name where it has no other.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Segment
        >>> from promptseg.datasets import TruthSegment, target_of
        >>> mask = np.eye(4, dtype=bool)
        >>> target_of(TruthSegment.from_mask("nucleus 17", 17, mask, target="nucleus"))
        'nucleus'
        >>> target_of(Segment.from_mask("liver", 1, mask))
        'liver'
    """
    return segment.target if isinstance(segment, TruthSegment) else segment.name
