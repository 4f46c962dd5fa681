"""All prompts of one object, and prompts gathered into objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.parsing import LONGEST_NAME, name_fault
from promptseg.prompts.markers import Marker
from promptseg.prompts.mask import Mask
from promptseg.prompts.millimetres import Millimetres
from promptseg.prompts.normalised import suspect_normalised
from promptseg.prompts.planar import Box, Box3D, Points
from promptseg.prompts.words import Text

__all__ = ["ObjectPrompts", "PlacedPrompt", "Prompt", "group_by_object", "place"]

PlacedPrompt = Box | Box3D | Points | Mask | Marker | Text
Prompt = PlacedPrompt | Millimetres

_MOST_OBJECTS = 65_535  # what an unsigned 16-bit label image holds


@dataclass
class ObjectPrompts:
    """All prompts of one object.

    Attributes:
        name: the object's name.
        boxes: rectangles on slices.
        boxes3d: boxes in the volume.
        points: clicks, one `Points` per slice.
        masks: masks on slices.
        markers: axis lines on slices.
        texts: phrases, which name no slice.
    """

    name: str
    boxes: list[Box] = field(default_factory=list)
    boxes3d: list[Box3D] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    markers: list[Marker] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    @property
    def planar(self) -> list[Box | Points | Mask | Marker]:
        """Return the prompts that lie on a slice."""
        return [*self.boxes, *self.points, *self.masks, *self.markers]

    @property
    def kinds(self) -> set[str]:
        """Return the kinds of prompts that the model must take: "box", "point", "mask"."""
        asked = [p for p in self.planar if not (isinstance(p, Mask) and p.as_drawn)]
        return {p.kind for p in (*asked, *self.boxes3d, *self.texts)}

    @property
    def slices(self) -> set[int]:
        """Return the slices with a prompt on them."""
        return {p.slice or 0 for p in self.planar}

    @property
    def clicked(self) -> set[int]:
        """Return the slices with clicks and nothing else on them."""
        return self.slices - {p.slice or 0 for p in self.planar if not isinstance(p, Points)}

    def add(self, prompt: PlacedPrompt) -> None:
        """Put a prompt where it belongs."""
        if isinstance(prompt, Box):
            self.boxes.append(prompt)
        elif isinstance(prompt, Box3D):
            self.boxes3d.append(prompt)
        elif isinstance(prompt, Points):
            self.points.append(prompt)
        elif isinstance(prompt, Mask):
            self.masks.append(prompt)
        elif isinstance(prompt, Text):
            self.texts.append(prompt)
        else:
            self.markers.append(prompt)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the entries of `objects` in a prompt file: one, or more for several 3D boxes or
        phrases.
        """
        entry: dict[str, Any] = {"name": self.name}
        if self.boxes:
            entry["boxes"] = [b.to_json() for b in self.boxes]
        if self.points:
            entry["points"] = [p for points in self.points for p in points.to_json()]
        if self.masks:
            entry["masks"] = [m.to_json() for m in self.masks]
        if self.markers:
            entry["markers"] = [m.to_json() for m in self.markers]
        single = [{"text": text.to_json()} for text in self.texts]
        single += [box.to_json() for box in self.boxes3d]
        if not single:
            return [entry]
        first, *rest = single
        return [{**entry, **first}, *({"name": self.name, **one} for one in rest)]


def place(prompts: Iterable[Prompt], geometry: Geometry, axis: Axis = "z") -> list[PlacedPrompt]:
    """Check prompts against a grid and convert them to its indices.

    Raises:
        PromptError: one lies outside the image, or has a name that no file could hold; or all lie in
            parts of its first pixel.
    """
    found: list[PlacedPrompt] = []
    prompts = list(prompts)
    suspect_normalised(prompts, geometry, axis)
    for prompt in prompts:
        if prompt.name is not None and (fault := name_fault(prompt.name)):
            raise PromptError(
                f"names of objects of at most {LONGEST_NAME} characters", fault, "correct the name"
            )
        if isinstance(prompt, Millimetres):
            found += prompt.place(geometry, axis)
        else:
            found.append(prompt.check(geometry, axis))
    return found


def group_by_object(
    prompts: Iterable[Prompt], geometry: Geometry, axis: Axis = "z", mixed: bool = False
) -> list[ObjectPrompts]:
    """Check prompts against a grid and gather them into objects, in order of first mention.

    Prompts that share a name belong to one object. Unnamed boxes are objects of their own, unless
    there are unnamed clicks, masks or markers: then everything unnamed is one object.

    Args:
        prompts: of one image.
        geometry: its grid.
        axis: along which prompts count slices that do not say.
        mixed: whether words may stand beside prompts that point at something, as the steps of a session
            have them.

    Raises:
        PromptError: no prompt at all, one that lies outside the image, markers on a single slice, or
            more objects than a label image holds.
    """
    checked = place(prompts, geometry, axis)
    if not checked:
        raise PromptError(
            "at least one prompt",
            "none",
            "add --box x0,y0,x1,y1[@slice][=name], or --prompts FILE.json",
        )
    if not mixed and 0 < sum(isinstance(p, Text) for p in checked) < len(checked):
        raise PromptError(
            "words, or prompts that point at something",
            "both in one run",
            "write boxes around examples with the words: --text 'liver [+x0,y0,x1,y1]'",
        )
    together = any(not isinstance(p, Box | Box3D | Text) and p.name is None for p in checked)
    taken = {p.name for p in checked if p.name is not None}
    free = _free_names(taken)
    shared = next(_free_names(taken))
    objects: dict[str, ObjectPrompts] = {}
    for prompt in checked:
        name = prompt.name
        if isinstance(prompt, Text):
            name = prompt.title
        elif name is None:
            name = shared if together else next(free)
            taken.add(name)
        objects.setdefault(name, ObjectPrompts(name)).add(prompt)
    if len(objects) > _MOST_OBJECTS:
        raise PromptError(
            f"at most {_MOST_OBJECTS} objects, as a label image holds",
            str(len(objects)),
            "segment them in several runs",
        )
    for entry in objects.values():
        if entry.markers and len({m.slice for m in entry.markers}) < 2:
            raise PromptError(
                "markers on at least two slices",
                f"{entry.name!r} marked on slice {entry.markers[0].slice} alone",
                "mark the first and the last slice of the object",
            )
    return list(objects.values())


def _free_names(taken: set[str]) -> Iterator[str]:
    """Names that no object has; those that are taken on the way are passed over."""
    for number in count(1):
        if (name := "object" if number == 1 else f"object {number}") not in taken:
            yield name
