"""OME-Zarr (NGFF 0.4 and 0.5) through zarr: images with their levels, label images in and out.

Axes are as the metadata names them. Sizes are millimetres where units say how long they are, and pixels
otherwise. NGFF knows no patient: sides come from the `orientation` of axes (RFC-4) where they are said.
A level is a scale of the pyramid, 0 the finest; of channels and time points, one is a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg._version import __version__
from promptseg.errors import ChoiceError, InputError, OutputError, is_fault
from promptseg.formats.colours import colour_of
from promptseg.formats.label_tables.row import LabelRow
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source
from promptseg.notes import Note
from promptseg.parsing import name_fault, parse_json

__all__ = ["check", "is_ome_zarr", "is_ours", "read", "read_labels", "rows_in", "write"]

FAMILY = "ome-zarr"
_MARKS = (".zattrs", ".zgroup", "zarr.json")
_OURS = "promptseg"
_MILLIMETRES = {
    "angstrom": 1e-7,
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "micron": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "decimeter": 100.0,
    "meter": 1000.0,
}
_SIDES = {  # of LPS: axis, sign
    "right-to-left": (0, 1),
    "left-to-right": (0, -1),
    "anterior-to-posterior": (1, 1),
    "posterior-to-anterior": (1, -1),
    "inferior-to-superior": (2, 1),
    "superior-to-inferior": (2, -1),
}
_TOWARDS = {place: name for name, place in _SIDES.items()}
_LONGEST = 1024  # pixels of the coarsest level that is written
_CHUNK = 512
_STRAIGHT = 1e-6  # of a cosine


@dataclass(frozen=True)
class _Level:
    """One array of a pyramid, and what the metadata say of it.

    Attributes:
        array: as zarr opens it.
        axes: names, in the order of the array.
        step: along each axis.
        origin: of the first element, along each axis.
        units: of each axis; "" where it has none.
        sides: LPS axis and sign of each axis; None where it is not said.
    """

    array: Any
    axes: tuple[str, ...]
    step: tuple[float, ...]
    origin: tuple[float, ...]
    units: tuple[str, ...]
    sides: tuple[tuple[int, int] | None, ...]


def is_ome_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr group."""
    return any((path / name).is_file() for name in _MARKS)


def is_ours(path: Path) -> bool:
    """Tell whether a folder holds masks that promptseg wrote, and may write over if it is told to."""
    try:
        said = parse_json((path / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and _OURS in said


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one level, and of channels and time points one frame (channels fastest).

    Raises:
        InputError: the extra `ome-zarr` is not installed, no image, several in it, no such level or
            frame, or more than fits into memory.
    """
    options = options or ReadOptions()
    attributes, group = _open(path)
    notes: list[str] = []
    level = _level(path, attributes, group, options.level or 0, notes)
    voxels, names = _voxels(path, level, options, notes)
    geometry = _geometry(level, names, voxels.shape[: len(names)], notes)
    return Image(voxels, geometry, source=Source(path, "ome_zarr", notes=notes))


def read_labels(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a label image: this one, or the only one of `labels/` of an image.

    Raises:
        InputError: as `read`, or several label images.
    """
    return read(_labels_in(path), options)


def rows_in(path: Path) -> dict[int, LabelRow]:
    """Read the names and colours in the metadata of a label image (`image-label`), by label.

    Raises:
        InputError: no such metadata can be made out.
    """
    place = _labels_in(path)
    attributes, _ = _open(place)
    said = attributes.get("image-label")
    if not isinstance(said, Mapping):
        return {}
    names: dict[int, str] = {}
    colours: dict[int, tuple[int, int, int]] = {}
    try:
        for entry in said.get("properties") or ():
            name = entry.get("name", entry.get("class", ""))
            if isinstance(name, str) and not name_fault(name):
                names[int(entry["label-value"])] = name
        for entry in said.get("colors") or ():
            rgba = entry.get("rgba")
            if rgba and all(isinstance(v, int) and 0 <= v <= 255 for v in rgba[:3]):
                colours[int(entry["label-value"])] = (rgba[0], rgba[1], rgba[2])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            "colors and properties as NGFF has them", f"{place} ({error!r})", "correct image-label"
        ) from None
    labels = sorted(k for k in {*names, *colours} if 0 < k <= 65_535)
    return {k: LabelRow(k, names.get(k, ""), colours.get(k), FAMILY) for k in labels}


def check(target: Segmentation | Image) -> None:
    """Refuse what NGFF cannot say: a grid that is not along the axes of the patient.

    Raises:
        OutputError: an oblique or sheared grid, or the package is missing.
    """
    _zarr()
    if target.geometry.unit == "mm" and _axes_of(target.geometry) is None:
        raise OutputError(
            "a grid along the axes of the patient for OME-Zarr",
            "an oblique or sheared one",
            "write .nii.gz, .nrrd or .mha",
        )


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write a label image (NGFF 0.4), with coarser levels of large ones, names and colours.

    Raises:
        OutputError: see `check`.
    """
    check(segmentation)
    zarr = _zarr()
    labels = segmentation.labels(later_wins=True)
    geometry = segmentation.geometry
    names = "zyx"[-geometry.ndim :]
    group = zarr.open_group(path, mode="w", zarr_format=2)
    factor = 1
    datasets: list[dict[str, Any]] = []
    while True:
        name = str(len(datasets))
        planes = labels.ndim - 2
        chunks = tuple(min(n, _CHUNK if k >= planes else 1) for k, n in enumerate(labels.shape))
        array = group.create_array(
            name,
            shape=labels.shape,
            chunks=chunks,
            dtype=labels.dtype,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        array[...] = labels
        datasets.append({"path": name, **_transformations(geometry, names, factor)})
        if max(labels.shape[-2:]) <= _LONGEST:
            break
        labels, factor = labels[..., ::2, ::2], factor * 2
    group.attrs.update(
        {
            "multiscales": [
                {
                    "version": "0.4",
                    "name": "labels",
                    "axes": _axes_metadata(geometry, names),
                    "datasets": datasets,
                }
            ],
            "image-label": {
                "version": "0.4",
                "colors": [
                    {"label-value": s.label, "rgba": [*colour_of(s), 255]}
                    for s in segmentation.segments
                ],
                "properties": [
                    {"label-value": s.label, "name": s.name} for s in segmentation.segments
                ],
            },
            _OURS: {"version": __version__},
        }
    )


def _zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise InputError(
            "zarr, which reads and writes OME-Zarr",
            "an installation without it",
            "pip install 'promptseg[ome-zarr]'",
        ) from None
    return zarr


def _open(path: Path) -> tuple[Mapping[str, Any], Any]:
    """The metadata of NGFF of a group, and the group; of 0.5 what stands under `ome`."""
    zarr = _zarr()
    try:
        group = zarr.open_group(path, mode="r")
        said = dict(group.attrs)
    except MemoryError:
        raise
    except Exception as error:  # zarr raises anything on broken metadata
        if is_fault(error):
            raise
        line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError("a group of OME-Zarr", f"{path} ({line})", "name its folder") from error
    inner = said.get("ome")
    return (inner if isinstance(inner, Mapping) else said), group


def _labels_in(path: Path) -> Path:
    """The label image that is meant: the path itself, or the only one below an image's `labels`."""
    attributes, _ = _open(path)
    if "image-label" in attributes or not is_ome_zarr(path / "labels"):
        return path
    said, _ = _open(path / "labels")
    names = [str(name) for name in said.get("labels") or ()]
    inside = [
        name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()
    ]
    if len(inside) != 1:
        raise ChoiceError(
            "one label image",
            f"{path} with {len(inside)}: {', '.join(inside[:5])}",
            f"name one, such as {path.name}/labels/{inside[0] if inside else 'NAME'}",
            option="input",
            offers=", ".join(inside),
        )
    return path / "labels" / inside[0]


def _level(
    path: Path, attributes: Mapping[str, Any], group: Any, number: int, notes: list[str]
) -> _Level:
    found = attributes.get("multiscales")
    if not isinstance(found, list) or not found:
        below = sorted(p.name for p in path.iterdir() if p.is_dir() and is_ome_zarr(p))
        what = "a plate" if "plate" in attributes else "a group without an image of its own"
        raise InputError(
            "an image of OME-Zarr (multiscales)",
            f"{path}: {what}",
            f"name one of the images in it, such as {path.name}/{below[0]}"
            if below
            else "name one",
        )
    if len(found) > 1:
        notes.append(f"{len(found)} multiscale images in {path.name}: the first is read")
    try:
        return _parsed(path, found[0], group, number, notes)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "multiscales as NGFF 0.4 and 0.5 have them", f"{path} ({error!r})", "convert it again"
        ) from None


def _parsed(
    path: Path, scale: Mapping[str, Any], group: Any, number: int, notes: list[str]
) -> _Level:
    datasets = scale["datasets"]
    if number >= len(datasets):
        raise InputError(
            f"a level from 0 to {len(datasets) - 1}", f"{number} of {path}", "correct --level"
        )
    if len(datasets) > 1:
        sizes = [" x ".join(map(str, group[d["path"]].shape)) for d in datasets[:4]]
        notes.append(
            Note(
                f"level {number} of {len(datasets)} ({', '.join(sizes)}, ...)", advice="see --level"
            )
        )
    array = group[datasets[number]["path"]]
    axes = scale.get("axes") or list("tczyx"[-array.ndim :])  # versions before 0.3
    axes = [{"name": one} if isinstance(one, str) else one for one in axes]
    names = tuple(str(one["name"]).lower() for one in axes)
    if len(names) != array.ndim or set(names) - set("tczyx") or not {"y", "x"} <= set(names):
        raise InputError(
            "axes out of t, c, z, y and x", f"{path} with {', '.join(names)}", "convert it again"
        )
    step, origin = np.ones(array.ndim), np.zeros(array.ndim)
    for one in (datasets[number], scale):  # the dataset's own first, then the common ones
        for change in one.get("coordinateTransformations") or ():
            if change["type"] == "scale":
                factors = np.asarray(change["scale"], dtype=np.float64)
                step, origin = step * factors, origin * factors
            elif change["type"] == "translation":
                origin = origin + np.asarray(change["translation"], dtype=np.float64)
            elif change["type"] != "identity":
                raise InputError(
                    "scales and translations", f"{path}: {change['type']}", "convert it again"
                )
    if step.shape != (array.ndim,) or not (np.isfinite(step) & (step > 0)).all():
        raise InputError("scales above 0", f"{path}: {step.tolist()}", "convert it again")
    return _Level(
        array,
        names,
        tuple(step.tolist()),
        tuple(origin.tolist()),
        tuple(str(one.get("unit") or "") for one in axes),
        tuple(_SIDES.get(_orientation(one)) for one in axes),
    )


def _orientation(axis: Mapping[str, Any]) -> str:
    said = axis.get("orientation") or axis.get("anatomicalOrientation") or ""
    return str(said.get("value", "") if isinstance(said, Mapping) else said).lower()


def _voxels(
    path: Path, level: _Level, options: ReadOptions, notes: list[str]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Voxels (z, y, x) or (y, x), maybe with colours last, and the names of the axes of the grid."""
    array, axes = level.array, level.axes
    sizes = dict(zip(axes, array.shape, strict=True))
    colour = (
        options.frame is None
        and sizes.get("c") == 3
        and sizes.get("t", 1) == 1
        and array.dtype == np.uint8
    )
    beyond = [name for name in ("t", "c") if name in sizes and not (name == "c" and colour)]
    count = prod(sizes[name] for name in beyond)
    frame = options.frame_of(count, path, "channels and time points")
    chosen: dict[str, int] = {}
    if beyond:
        places = np.unravel_index(frame, [sizes[n] for n in beyond])
        chosen = {name: int(place) for name, place in zip(beyond, places, strict=True)}
    spatial = tuple(n for n in "zyx" if n in sizes and not (n == "z" and sizes["z"] == 1))
    kept = [n for n in axes if n in spatial or (n == "c" and colour)]
    require_memory([sizes[n] for n in kept], array.dtype.itemsize, path)
    where = tuple(slice(None) if name in kept else chosen.get(name, 0) for name in axes)
    part = np.asarray(array[where])
    order = [*spatial, *(("c",) if colour else ())]
    part = np.ascontiguousarray(part.transpose([kept.index(n) for n in order]))
    if count > 1:
        notes.append(Note.frame(frame, count))
    if colour:
        notes.append(
            Note("three channels of 8 bits: read as colours", advice="--frame picks one of them")
        )
    if part.dtype.kind not in "biuf":
        raise InputError("voxels that are numbers", f"{path} of type {part.dtype}")
    return part.astype(part.dtype.newbyteorder("="), copy=False), spatial


def _geometry(
    level: _Level, names: tuple[str, ...], shape: tuple[int, ...], notes: list[str]
) -> Geometry:
    """The grid of the axes that were read."""
    at = {name: level.axes.index(name) for name in level.axes}
    units = {level.units[at[name]] for name in names}
    if not units <= set(_MILLIMETRES):
        strange = ", ".join(sorted(unit for unit in units if unit not in _MILLIMETRES and unit))
        if strange or any(level.step[at[name]] != 1 for name in names):
            notes.append(
                f"the metadata give {'units of ' + strange if strange else 'no units'}: sizes are "
                "taken as pixels"
            )
        return Geometry.pixels(shape)
    matrix, origin = np.eye(3), np.zeros(3)
    sides = {name: level.sides[at[name]] if name in at else None for name in "xyz"}
    if len(names) == 3 and (None in sides.values() or len({s[0] for s in sides.values() if s}) < 3):
        notes.append("the metadata do not say sides: orientation unknown, axes taken as L, P, S")
        sides = dict.fromkeys("xyz")
    for k, name in enumerate("xyz"):
        axis, sign = sides[name] or (k, 1)
        matrix[:, k] = 0
        matrix[axis, k] = sign
        if name in names:
            factor = _MILLIMETRES[level.units[at[name]]]
            matrix[axis, k] = sign * level.step[at[name]] * factor
            origin[axis] = sign * level.origin[at[name]] * factor
    return Geometry(shape, matrix, origin)


def _axes_of(geometry: Geometry) -> dict[str, tuple[int, int]] | None:
    """LPS axis and sign of x, y and z; None for a grid that lies askew."""
    found = {}
    for k, name in enumerate("xyz"):
        column = geometry.direction[:, k]
        axis = int(np.abs(column).argmax())
        if abs(abs(column[axis]) - 1) > _STRAIGHT:
            return None
        found[name] = (axis, 1 if column[axis] > 0 else -1)
    return found if len({axis for axis, _ in found.values()}) == 3 else None


def _axes_metadata(geometry: Geometry, names: str) -> list[dict[str, Any]]:
    sides = _axes_of(geometry) if geometry.unit == "mm" else None
    axes: list[dict[str, Any]] = []
    for name in names:
        axis: dict[str, Any] = {"name": name, "type": "space"}
        if geometry.unit == "mm":
            axis["unit"] = "millimeter"
        if sides and len(names) == 3:
            axis["orientation"] = {"type": "anatomical", "value": _TOWARDS[sides[name]]}
        axes.append(axis)
    return axes


def _transformations(geometry: Geometry, names: str, factor: int) -> dict[str, Any]:
    """Scale and translation of a level that takes every `factor`th pixel of rows and columns."""
    sides = _axes_of(geometry) if geometry.unit == "mm" else None
    scale, translation = [], []
    for name in names:
        k = "xyz".index(name)
        axis, sign = sides[name] if sides else (k, 1)
        scale.append(float(geometry.spacing[k]) * (factor if name in "yx" else 1))
        translation.append(float(geometry.origin[axis]) * sign)
    changes: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(translation):
        changes.append({"type": "translation", "translation": translation})
    return {"coordinateTransformations": changes}
