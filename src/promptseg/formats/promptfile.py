"""Prompt files: JSON with the prompts of one image, or of every image of a folder.

One image::

    {"image": "scan.nii.gz", "axis": "z", "objects": [
      {"name": "liver", "boxes": [{"xyxy": [120, 80, 200, 160], "slice": 40}]},
      {"name": "lesion", "points": [{"xy": [150, 110], "slice": 40, "label": 1}]},
      {"name": "node", "box3d": [30, 40, 12, 60, 70, 20]},
      {"name": "tumour", "markers": [
        {"slice": 10, "long": [[60, 70], [90, 95]], "short": [[80, 70], [70, 96]]}, ...]}]}

Many images: `{"images": [{"image": "a.nii.gz", "objects": [...]}, ...]}`. `image` and `axis` may be
left out, and an object may have an `axis` of its own; an unknown field is an error, so that a typing
mistake is never a prompt that is ignored.
Markups of 3D Slicer and the provenance of an earlier run are understood too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

from promptseg.errors import PromptError
from promptseg.formats.memory import available_bytes
from promptseg.formats.text import read_text
from promptseg.geometry import AXES, Axis
from promptseg.parsing import parse_json
from promptseg.prompts import Box, Box3D, Marker, Mask, Millimetres, ObjectPrompts, Points, Prompt
from promptseg.prompts.mask import from_rle
from promptseg.prompts.slicer import is_markups, read_markups
from promptseg.prompts.text import text_of
from promptseg.provenance.public import PROMPT_FIELDS

__all__ = ["PromptFile", "parse_prompts", "prompts_along", "prompts_to_json", "read_prompt_file"]

_MOST_BYTES = 32 << 20
_MOST_ENTRIES = 200_000
_MOST_PIXELS = 1 << 28  # of a mask in a prompt file: a slice of 16384 x 16384


@dataclass(frozen=True)
class PromptFile:
    """Prompts of one image.

    Attributes:
        prompts: in the order of the file.
        image: file name of the image they belong to, if the file says so; never opened.
        axis: the axis their slices are taken along; None if the file does not say.
    """

    prompts: tuple[Prompt, ...]
    image: str | None = None
    axis: Axis | None = None


def read_prompt_file(path: Path) -> list[PromptFile]:
    """Read and check a prompt file, or the prompts in the provenance of an earlier run.

    Returns:
        One entry, or one per image of an `images` list.

    Raises:
        PromptError: not readable, not JSON, or not of the form above.
    """
    try:
        content = parse_json(_text_of(path))
    except OSError as error:
        raise PromptError("a prompt file", f"{path} ({error.strerror})") from error
    except ValueError as error:
        reason = str(error).splitlines()[0][:160]
        raise PromptError(
            "a prompt file in JSON", f"{path} ({reason})", "see docs/prompts.md"
        ) from None
    if isinstance(content, dict) and "software" in content and "prompts" in content:
        content = content["prompts"]  # the provenance of an earlier run
    if is_markups(content):
        return [PromptFile(tuple(read_markups(content, path)))]
    if isinstance(content, dict) and "images" in content:
        _check_fields(content, {"images"}, f"{path.name}")
        entries = _list(content["images"], f"{path.name}: images")
        return [parse_prompts(e, f"{path.name}: images[{k}]") for k, e in enumerate(entries)]
    return [parse_prompts(content, path.name)]


def _text_of(path: Path) -> str:
    """The text of a prompt file; one of a million objects is refused before it is understood."""
    size = path.stat().st_size
    text = read_text(path) if size <= _MOST_BYTES else ""
    entries = text.count("{")
    if entries > _MOST_ENTRIES or size > _MOST_BYTES:
        got = f"{size / 2**20:.0f} MiB" if not text else f"{entries:,} entries"
        raise PromptError(
            f"a prompt file of at most {_MOST_BYTES >> 20} MiB and {_MOST_ENTRIES:,} entries",
            f"{path} of {got}",
            "give the prompts in several files",
        )
    return text


def parse_prompts(content: Any, where: str = "prompts") -> PromptFile:
    """Read the prompts of one image out of parsed JSON.

    Raises:
        PromptError: a missing, unknown or wrongly typed field, named with its place.
    """
    _check_fields(content, {"image", "axis", "objects"}, where, required={"objects"})
    image, axis = content.get("image"), content.get("axis")
    if image is not None and not isinstance(image, str):
        raise PromptError("image to be a file name", repr(image)).at(where)
    _check_axis(axis, where)
    prompts: list[Prompt] = []
    entries = _list(content["objects"], f"{where}: objects")
    _require_room(entries, where)
    named = {e["name"] for e in entries if isinstance(e, dict) and isinstance(e.get("name"), str)}
    free = (name for n in count(1) if (name := f"object {n}") not in named)
    for k, entry in enumerate(entries):
        default = "" if isinstance(entry, dict) and "name" in entry else next(free)
        prompts += _object_prompts(entry, default, axis, f"{where}: objects[{k}]")
    if not prompts:
        raise PromptError("at least one object", "none").at(where)
    return PromptFile(tuple(prompts), image, axis)


def prompts_to_json(
    objects: Iterable[ObjectPrompts], axis: Axis, image: str | None = None
) -> dict[str, Any]:
    """Return the content of a prompt file that gives these prompts again."""
    return prompts_along(((axis, entry) for entry in objects), axis, image)


def prompts_along(
    objects: Iterable[tuple[Axis, ObjectPrompts]], axis: Axis, image: str | None = None
) -> dict[str, Any]:
    """Return the content of a prompt file in which each object's prompts have an axis of their own."""
    content: dict[str, Any] = {"image": image} if image else {}
    entries = [
        {**entry, **({} if own == axis else {"axis": own})}
        for own, prompts in objects
        for entry in prompts.to_json()
    ]
    return {**content, "axis": axis, "objects": entries}


_FIELDS = set(PROMPT_FIELDS)


def _object_prompts(entry: Any, default_name: str, axis: Axis | None, where: str) -> list[Prompt]:
    _check_fields(entry, _FIELDS, where)
    _check_axis(entry.get("axis"), where)
    axis = entry.get("axis") or axis
    name = entry.get("name", default_name)
    if not isinstance(name, str) or not name:
        raise PromptError("name to be a text", repr(name)).at(where)
    prompts: list[Prompt] = []
    for box, place in _entries(entry, "boxes", {"xyxy", "xyxy_mm", "slice"}, where):
        _check_one_of(box, ("xyxy", "xyxy_mm"), place)
        values = _numbers(box.get("xyxy", box.get("xyxy_mm")), place)
        with _at(place):
            if "xyxy" in box:
                prompts.append(Box(values, _slice(box, place), name, axis))
            else:
                corners = (values[: len(values) // 2], values[len(values) // 2 :])
                prompts.append(Millimetres("box", corners, (), _slice(box, place), name, axis))
    prompts += _clicks(entry, name, axis, where)
    for mask, place in _entries(
        entry, "masks", {"slice", "size", "rle", "runs", "as_drawn"}, where
    ):
        prompts.append(_mask(mask, name, axis, place))
    for marker, place in _entries(entry, "markers", {"slice", "long", "short"}, where):
        prompts.append(_marker(marker, name, axis, place))
    if "box3d" in entry:
        with _at(f"{where}.box3d"):
            prompts.append(Box3D(_numbers(entry["box3d"], f"{where}.box3d"), name, axis))
    if "box3d_mm" in entry:
        with _at(f"{where}.box3d_mm"):
            values = _numbers(entry["box3d_mm"], f"{where}.box3d_mm")
            prompts.append(Millimetres("box3d", (values[:3], values[3:]), name=name, axis=axis))
    if "text" in entry:
        if not isinstance(entry["text"], str):
            raise PromptError("text to be words", repr(entry["text"])).at(where)
        with _at(f"{where}.text"):
            prompts.append(text_of(entry["text"], entry.get("name"), axis))
    if not prompts:
        raise PromptError(f"at least one prompt for {name!r}", "none").at(where)
    return prompts


def _check_axis(axis: Any, where: str) -> None:
    if axis is not None and axis not in AXES:
        raise PromptError("axis to be z, y or x", repr(axis)).at(where)


def _clicks(entry: dict[str, Any], name: str, axis: Axis | None, where: str) -> list[Prompt]:
    """Clicks of one object, gathered by slice; those in millimetres find theirs later."""
    by_slice: dict[int | None, tuple[list[Any], list[int]]] = {}
    prompts: list[Prompt] = []
    for point, place in _entries(entry, "points", {"xy", "xyz_mm", "slice", "label"}, where):
        _check_one_of(point, ("xy", "xyz_mm"), place)
        label = point.get("label", 1)
        if label not in (0, 1) or isinstance(label, (bool, float)):
            raise PromptError("label to be 1 (inside) or 0 (outside)", repr(label)).at(place)
        values = _numbers(point.get("xy", point.get("xyz_mm")), place)
        with _at(place):
            if "xyz_mm" in point:
                where_mm = (values,), (label,), _slice(point, place)
                prompts.append(Millimetres("points", *where_mm, name, axis))
                continue
            single = Points((values,), (label,), name=name, axis=axis)
        xy, labels = by_slice.setdefault(_slice(point, place), ([], []))
        xy += single.xy
        labels += single.labels
    for slice_, (xy, labels) in by_slice.items():
        prompts.append(Points(tuple(xy), tuple(labels), slice_, name, axis))
    return prompts


def _mask(entry: dict[str, Any], name: str, axis: Axis | None, where: str) -> Mask:
    if "runs" in entry and "rle" not in entry:  # its old name, until the next version
        entry = {**entry, "rle": entry["runs"]}
    _check_fields(entry, set(entry), where, required={"size", "rle"})
    size = _whole_numbers(entry["size"], 2, where)
    if not isinstance(entry["rle"], str):
        raise PromptError("rle to be a text", type(entry["rle"]).__name__).at(where)
    drawn = entry.get("as_drawn", False)
    if not isinstance(drawn, bool):
        raise PromptError("as_drawn to be true or false", repr(drawn)).at(where)
    if not 0 < size[0] * size[1] <= _MOST_PIXELS or min(size) < 1:
        raise PromptError("size [rows, columns] of a slice", repr(size)).at(where)
    with _at(where):
        return Mask(
            from_rle(entry["rle"], (size[0], size[1])), _slice(entry, where), name, axis, drawn
        )


def _require_room(entries: list[Any], where: str) -> None:
    """Refuse masks that together do not fit into memory, before the first one is drawn."""
    masks = [
        mask.get("size")
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("masks"), list)
        for mask in entry["masks"]
        if isinstance(mask, dict)
    ]
    plain = [
        s
        for s in masks
        if isinstance(s, list) and len(s) == 2 and all(isinstance(n, int) for n in s)
    ]
    needed, available = sum(prod(map(abs, size)) for size in plain), available_bytes()
    if available is not None and needed > available:
        raise PromptError(
            f"{where}: masks that fit into the {available / 2**30:.1f} GiB of free memory",
            f"{len(plain)} masks of {needed / 2**30:.1f} GiB",
            "give them in several files",
        )


def _marker(entry: dict[str, Any], name: str, axis: Axis | None, where: str) -> Marker:
    _check_fields(entry, set(entry), where, required={"long"})
    lines: dict[str, Any] = {}
    slices = set()
    for which in ("long", "short"):
        if which not in entry:
            continue
        ends = [_numbers(end, where) for end in _list(entry[which], f"{where}.{which}")]
        slices |= {end[2] for end in ends if len(end) == 3}
        lines[which] = tuple(end[:2] if len(end) == 3 else end for end in ends)
    slice_ = _slice(entry, where)
    if len(slices | ({slice_} if slice_ is not None else set())) > 1:
        raise PromptError(
            "lines that stay on one slice",
            f"ends on the slices {', '.join(f'{s:g}' for s in sorted(slices))}",
            "draw both lines on the same slice",
        ).at(where)
    if slice_ is None and slices:
        number = slices.pop()
        slice_ = _slice({"slice": int(number) if number % 1 == 0 else number}, where)
    with _at(where):
        return Marker(**lines, slice=slice_, name=name, axis=axis)


def _entries(
    entry: dict[str, Any], key: str, allowed: set[str], where: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """The entries of a list with the place of each, for messages."""
    for k, item in enumerate(_list(entry.get(key, []), f"{where}.{key}")):
        place = f"{where}.{key}[{k}]"
        _check_fields(item, allowed, place)
        yield item, place


def _check_one_of(entry: dict[str, Any], names: tuple[str, str], where: str) -> None:
    given = [name for name in names if name in entry]
    if len(given) != 1:
        raise PromptError(
            f"the field {' or '.join(names)}", " and ".join(given) if given else "none"
        ).at(where)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Put the place in the file in front of what a prompt expects."""
    try:
        yield
    except PromptError as error:
        raise error.at(where) from None


def _check_fields(entry: Any, allowed: set[str], where: str, required: Iterable[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise PromptError("a JSON object", type(entry).__name__, "see docs/prompts.md").at(where)
    unknown = sorted(set(entry) - allowed)
    missing = sorted(set(required) - set(entry))
    if unknown:
        raise PromptError(
            f"only the fields {', '.join(sorted(allowed))}",
            ", ".join(unknown),
            "correct the spelling or remove them",
        ).at(where)
    if missing:
        raise PromptError(f"the field {', '.join(missing)}", "none").at(where)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PromptError("a list", type(value).__name__, "see docs/prompts.md").at(where)
    return value


def _numbers(value: Any, where: str) -> Any:
    """A list of JSON numbers; how many is for the prompt to check."""
    for item in _list(value, where):
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise PromptError("numbers", repr(item)).at(where)
    return tuple(value)


def _whole_numbers(value: Any, count: int, where: str) -> list[int]:
    numbers = _numbers(value, where)
    if len(numbers) != count or not all(isinstance(n, int) for n in numbers):
        raise PromptError(f"{count} whole numbers", repr(value)).at(where)
    return list(numbers)


def _slice(entry: dict[str, Any], where: str) -> int | None:
    value = entry.get("slice")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise PromptError("slice to be a whole number", repr(value)).at(where)
    return value
