"""NRRD: voxels through SimpleITK, headers through pynrrd so that they go back as they came.

Masks are written the way 3D Slicer writes segmentations (names, labels and layers in key-value
fields), so a `.seg.nrrd` opens there with its names.
"""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.checksums import Packed
from promptseg.formats.itk import check_data_file, frame_of, read_itk
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.slicer import append_fields, fields_of
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["read", "write"]

_GEOMETRY_FIELDS = (
    "space",
    "space dimension",
    "space directions",
    "space origin",
    "space units",
    "spacings",
    "axis mins",
    "axis maxs",
    "centers",
    "centerings",
    "measurement frame",
)
_AXIS_FIELDS = {"space directions", "spacings", "axis mins", "axis maxs", "centers", "centerings"}
_SAMPLE_KINDS = {"domain", "space", "time", "none", "???"}
_COLOURS = {"rgb-color", "rgba-color", "3-color", "4-color"}
_SIDES = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))
_SHORT_SPACES = {
    "lps": "left-posterior-superior",
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
}
_MAX_BYTES_PER_VALUE = 8
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t"), "i8"),
    "float": "f4",
    "double": "f8",
}
_UNPACK: dict[str, Callable[..., Any]] = {
    "gzip": gzip.open,
    "gz": gzip.open,
    "bzip2": bz2.open,
    "bz2": bz2.open,
}


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one frame of a NRRD file; axes without a direction in space, and lists, count frames.

    Raises:
        InputError: as `read_itk`.
    """
    check_data_file(path)
    header = nrrd.read_header(str(path))
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if _axes_in_time(header, kinds):
        image = _read_frame(path, header, options or ReadOptions())
    else:
        colour = None if not kinds else any(kind in _COLOURS for kind in kinds)
        image = read_itk(path, "nrrd", options, colour, packed_in(path, header))
    axes = _grid_axes(header, kinds)
    if not {"space directions", "spacings"} & set(header):
        image.source.notes.append("no voxel sizes in the header: 1 mm taken")
    if len(axes) == image.geometry.ndim:
        image.source.header = {
            k: _along(header[k], axes) if k in _AXIS_FIELDS else header[k]
            for k in _GEOMETRY_FIELDS
            if k in header
        }
    return image


def packed_in(path: Path, header: Any = None) -> Packed | None:
    """Find the one gzip stream that holds the voxels of a NRRD file; None if they are kept otherwise.

    Args:
        path: the file.
        header: its header, if it has been read.
    """
    header = nrrd.read_header(str(path)) if header is None else header
    kind = _TYPES.get(str(header.get("type")).lower())
    endian = str(header.get("endian", "little")).lower()
    skips = any(key in header for key in ("line skip", "lineskip", "byte skip", "byteskip"))
    zipped = str(header.get("encoding")).lower() in ("gzip", "gz")
    if not zipped or kind is None or skips or endian not in ("little", "big"):
        return None
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if "complex" in kinds or any(k not in _SAMPLE_KINDS for k in kinds[1:]):  # of ITK's own order
        return None
    beside = header.get("data file", header.get("datafile"))
    with path.open("rb") as stream:
        nrrd.read_header(stream)
        start = 0 if beside else stream.tell()
    return Packed(
        path.parent / str(beside) if beside else path,
        start,
        None,
        np.dtype((">" if endian == "big" else "<") + kind),
    )


def _grid_axes(header: Any, kinds: list[str]) -> list[int]:
    """Positions of the axes that make the grid: those with a direction, or that hold samples."""
    directions = header.get("space directions")
    if directions is not None:
        return [k for k, row in enumerate(directions) if row is not None and np.isfinite(row).all()]
    return [
        k for k in range(int(header["dimension"])) if k >= len(kinds) or kinds[k] in _SAMPLE_KINDS
    ]


def _along(field: Any, axes: list[int]) -> Any:
    picked = [field[k] for k in axes]
    return np.asarray(picked) if isinstance(field, np.ndarray) else picked


def _axes_in_time(header: Any, kinds: list[str]) -> bool:
    """Whether an axis of samples has no direction in space, which ITK refuses to read."""
    grid = _grid_axes(header, kinds)
    return "space directions" in header and any(
        kind in _SAMPLE_KINDS for k, kind in enumerate(kinds) if k not in grid
    )


def _read_frame(path: Path, header: Any, options: ReadOptions) -> Image:
    """One frame through pynrrd, for what ITK does not read."""
    require_memory(header["sizes"], _MAX_BYTES_PER_VALUE, path)
    _require_no_more(path, header)
    stored, _ = nrrd.read(str(path), index_order="F")
    axes = _grid_axes(header, [str(kind).lower() for kind in header.get("kinds", [])])
    source = Source(path, "nrrd")
    data = np.moveaxis(stored, axes, range(len(axes))).T
    voxels = frame_of(data, len(axes), path, options, source.notes)
    directions = np.asarray([header["space directions"][k] for k in axes], float)
    sign = _lps_signs(header.get("space"), path)
    matrix = directions.T * sign[:, None]
    origin = np.nan_to_num(np.asarray(header.get("space origin", np.zeros(3)), float)) * sign
    return Image(voxels, Geometry(voxels.shape, matrix, origin), source=source)


def _require_no_more(path: Path, header: Any) -> None:
    """Refuse compressed data beyond what the header describes, which pynrrd would unpack."""
    unpack = _UNPACK.get(str(header.get("encoding")).lower())
    if unpack is None:
        return
    beside = header.get("data file", header.get("datafile"))
    with (path.parent / beside if beside else path).open("rb") as stream:
        if not beside:
            nrrd.read_header(stream)
        with unpack(stream) as unpacked:
            most = prod(map(int, header["sizes"])) * _MAX_BYTES_PER_VALUE
            unpacked.seek(most)
            if unpacked.read(1):
                raise InputError(f"at most {most:,} bytes of voxels", f"more in {path}")


def _lps_signs(space: str | None, path: Path) -> NDArray[np.float64]:
    """Signs that turn the axes of a NRRD space into LPS; a space without sides is left as it is."""
    words = (space or "").lower().removesuffix("-time")
    words = _SHORT_SPACES.get(words, words)
    if not words:
        return np.ones(3)
    sides = words.split("-")
    if len(sides) == 3 and all(s in pair for s, pair in zip(sides, _SIDES, strict=True)):
        return np.array(
            [1.0 if s == pair[0] else -1.0 for s, pair in zip(sides, _SIDES, strict=True)]
        )
    raise InputError(
        "a space of right/left, anterior/posterior, superior/inferior", f"{path}: {space}"
    )


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels (x, y[, z]) or, with `layers`, (object, x, y[, z])."""
    geometry = segmentation.geometry
    header: dict[str, Any] = {"encoding": "gzip", "type": "uint8"}
    if source := segmentation.header_of("nrrd"):
        header.update(source)
    else:
        header.update(_geometry_fields(geometry))
    if layers:
        masks = segmentation.numbered_layers()
        header["type"] = str(masks.dtype)
        data = masks.transpose(0, *range(geometry.ndim, 0, -1))
        header["kinds"] = ["list", *["domain"] * geometry.ndim]
        for field in ("space directions", "spacings", "axis mins", "axis maxs"):
            if field in header:
                header[field] = _with_list_axis(np.asarray(header[field], float))
        for field in ("centers", "centerings"):
            if field in header:
                header[field] = ["???", *header[field]]
    else:
        labels = segmentation.labels(later_wins=True)
        data = labels.T
        header["kinds"] = ["domain"] * geometry.ndim
        header["type"] = str(labels.dtype)
    nrrd.write(str(path), data, header, index_order="F")
    append_fields(path, fields_of(segmentation, layers))


def _geometry_fields(geometry: Geometry) -> dict[str, Any]:
    d = geometry.ndim
    if geometry.unit == "pixel":
        return {"spacings": geometry.spacing[:d]}
    space = {"space": "left-posterior-superior"} if d == 3 else {"space dimension": 2}
    return {
        **space,
        "space directions": geometry.matrix[:d, :d].T,
        "space origin": geometry.origin[:d],
    }


def _with_list_axis(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    first = np.full((1, *values.shape[1:]), np.nan)
    return np.concatenate([first, values])
