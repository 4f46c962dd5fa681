"""Bodies of requests: dataclasses that are read from JSON, and described as JSON Schema."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from promptseg.errors import InputError

__all__ = [
    "NewObject",
    "Nothing",
    "ObjectChange",
    "Open",
    "Progress",
    "Prompting",
    "Save",
    "Since",
    "Steps",
    "Timing",
    "Upload",
    "parsed",
    "schema",
]

T = TypeVar("T")
Axis = Literal["z", "y", "x"]


@dataclass(frozen=True, kw_only=True)
class Open:
    """Open an image of the folder that is served."""

    path: str
    """Below the folder."""
    model: str | None = None
    """A loaded model; the first if not given."""
    modality: str | None = None
    """Over what the file says."""
    window: str | None = None
    """Intensity window the model sees: a name, percentile, minmax, or WIDTH/LEVEL."""
    axis: Axis | None = None
    """Axis of slices whose prompts name none; z if not given."""
    propagate: str | None = None
    """How masks reach other slices; the model's own choice if not given, or none."""
    series: str | None = None
    """SeriesInstanceUID, or its ending, where a folder holds several."""
    frame: int | None = None
    """Which time point, frame or page."""
    stack: str | None = None
    """Which stack of a DICOM series."""
    take_over: bool = False
    """End the session of another window on the image."""
    afresh: bool = False
    """Leave the earlier session on the image aside."""
    of: str | None = None
    """User whose work is looked at, for reviewers and admins; nothing of it can be changed."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Facts of an array that is uploaded."""

    spacing: list[float] | None = None
    """(x, y, z) in mm; without it the grid is in pixels."""
    origin: list[float] | None = None
    """(x, y, z) of the first voxel's centre in LPS millimetres."""
    direction: list[float] | None = None
    """3 x 3 cosines row by row; columns are the directions of x, y and z in LPS."""
    modality: str | None = None
    """CT, MR, ..."""
    model: str | None = None
    """A loaded model; the first if not given."""
    window: str | None = None
    """As of opening a file."""
    axis: Axis | None = None
    """As of opening a file."""
    propagate: str | None = None
    """As of opening a file."""


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """One prompt; exactly one of box, box3d, points, mask, marker and text, as in a prompt file."""

    object: str | None = None
    """Name; if not given, the current object or a first new one, and of text a new one of its words."""
    axis: Axis | None = None
    """Axis of the slice; that of the session if not given."""
    slice: int | None = None
    """Index of the slice; not needed for box3d and 2D images. Of text the one answered first."""
    box: list[float] | None = None
    """[x0, y0, x1, y1], both ends inside."""
    box3d: list[float] | None = None
    """[x0, y0, z0, x1, y1, z1], both ends inside."""
    points: list[list[float]] | None = None
    """[[x, y, label], ...] with label 1 inside and 0 outside."""
    mask: dict[str, Any] | None = None
    """{"size": [rows, columns], "rle": "start:length ..."} of the whole slice."""
    as_drawn: bool = True
    """Whether a mask is the answer of its slice, or a mask prompt."""
    marker: dict[str, Any] | None = None
    """{"long": [[x, y], [x, y]], "short": [[x, y], [x, y]]}."""
    text: str | None = None
    """Words to look for on every slice, as `--text` takes them; for an object without a mask."""
    spread: bool = True
    """Whether the answer is propagated to the other slices."""
    since: int | None = None
    """Revision the client has, for differences to it."""


@dataclass(frozen=True, kw_only=True)
class NewObject:
    """A new object."""

    name: str | None = None
    """Name; the next free "object N" if not given."""
    colour: list[int] | None = None
    """[red, green, blue] from 0 to 255."""
    since: int | None = None
    """As of prompts."""


@dataclass(frozen=True, kw_only=True)
class ObjectChange:
    """Changes to an object."""

    object: str
    """Its name."""
    name: str | None = None
    """Its new name."""
    colour: list[int] | None = None
    """[red, green, blue] from 0 to 255."""
    select: bool = False
    """Make it the current one."""
    remove: bool = False
    """Take it out; undo brings it back."""
    since: int | None = None
    """As of prompts."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Steps back or forth."""

    to: int | None = None
    """Number of the step to go to; one step if not given."""
    since: int | None = None
    """As of prompts."""


@dataclass(frozen=True, kw_only=True)
class Since:
    """Nothing but the revision the client has."""

    since: int | None = None
    """As of prompts."""


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No fields."""


@dataclass(frozen=True, kw_only=True)
class Save:
    """Write the masks."""

    path: str
    """File below the folder, whose ending names the format."""
    overwrite: bool = False
    """Replace what exists; the image's own files never are."""
    overlap: Literal["keep", "later-wins"] = "keep"
    """Objects that overlap keep a layer each, or later ones win."""
    deidentify: bool = False
    """Leave out what says who the patient is."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of the work on an image."""

    path: str
    """Below the folder."""
    state: Literal["to do", "begun", "done", "flagged"] | None = None
    """How far it is."""
    note: str | None = None
    """What the user wrote."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """An action on annotation times."""

    do: Literal["start", "pause", "resume", "stop", "discard"]
    """To start a phase ends the one before it."""
    phase: Literal["manual", "marker", "refinement"] | None = None
    """Of start; the model's own time is recorded by itself."""
    expert: str | None = None
    """Of start: who works."""
    case: str | None = None
    """Of start: the image's path if not given."""
    end_open: bool = False
    """Of start: end a phase that the log has open for the expert, such as after a crash."""


def parsed(kind: type[T], content: Any) -> T:
    """Parse a body into a dataclass of this kind.

    Raises:
        InputError: a field that is missing, unknown or of another type.
    """
    if not isinstance(content, dict):
        raise InputError("a JSON object", type(content).__name__, "see /api/openapi.json")
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(content) - set(known))[:5]:
        raise InputError(
            f"the fields {', '.join(known)}", ", ".join(map(repr, unknown))[:200], "correct them"
        )
    if missing := [n for n, f in known.items() if f.default is MISSING and n not in content]:
        raise InputError(f"the field {', '.join(missing)}", "none")
    for name, value in content.items():
        if not _fits(hints[name], value):
            wanted = _words(hints[name])
            raise InputError(f"{name} to be {wanted}", f"{value!r:.100}")
    return kind(**content)


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a body or of a type in one."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        texts = _texts(kind)
        return {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "properties": {
                f.name: {**schema(hints[f.name]), "description": texts.get(f.name, "")}
                for f in fields(kind)
            },
            "required": [f.name for f in fields(kind) if f.default is MISSING],
            "additionalProperties": False,
        }
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(part) for part in parts]}
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is list:
        return {"type": "array", "items": schema(parts[0])}
    if origin is dict:
        return {"type": "object"}
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    return {"type": names[kind]}


def _fits(kind: Any, value: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is list:
        return isinstance(value, list) and all(_fits(parts[0], item) for item in value)
    if origin is dict:
        return isinstance(value, Mapping)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    words = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in parts)
    if origin is Literal:
        return " or ".join(parts)
    if origin is list:
        return f"a list, each {_words(parts[0])}"
    return "null" if kind is type(None) else words.get(kind, "a JSON object")


def _texts(kind: Any) -> dict[str, str]:
    """The texts below the fields of a dataclass."""
    import ast
    import inspect
    import textwrap

    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found
