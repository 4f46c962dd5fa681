"""DICOM -> image: a volume where the slices say where they lie, else a 2D image or a video."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from promptseg.errors import GeometryError, InputError
from promptseg.formats.dicom import grid, mosaic, values
from promptseg.formats.dicom.frames import each_frame
from promptseg.formats.dicom.instances import DicomSource, Instance
from promptseg.formats.dicom.planes import Plane, planes_of, spacing_of
from promptseg.formats.dicom.scan import Series, choose_series, others_beside
from promptseg.formats.dicom.split import choose_volume
from promptseg.formats.dicom.suv import suv_factor
from promptseg.formats.dicom.tiled import TiledSlide, levels_of
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.slide import read as read_slide
from promptseg.geometry import Geometry
from promptseg.image import Image, Source
from promptseg.notes import Note

__all__ = ["CROSS_SECTIONS", "MODALITY", "read"]

MODALITY = {
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    "US": "US",
    "IVUS": "US",
    "CR": "XR",
    "DX": "XR",
    "RG": "XR",
    "RF": "XR",
    "XA": "XR",
    "MG": "MG",
    "OPT": "OCT",
    "IVOCT": "OCT",
    "OP": "fundus",
    "ES": "endoscopy",
    "SM": "pathology",
    "GM": "microscopy",
}
CROSS_SECTIONS = {"CT", "MR", "PT", "NM", "RTDOSE", "OPT"}


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one series: a folder, searched with its subfolders, or one file.

    Args:
        path: folder or file.
        options: `series` chooses where there are several, `frame` a time point, echo, stack or, of
            a video, a 2D image; `suv` turns a PET into SUVbw; `region` and `microns` a part of a slide.

    Returns:
        A volume (z, y, x), sorted along the normal of its slices; a video (t, y, x) of a cine; a
        2D image (y, x) of a radiograph or photograph. Colour is a last axis of RGB.

    Raises:
        InputError: no series or several without a choice, or pixels that cannot be decoded.
        GeometryError: slices missing, doubled, unevenly spaced or of different grids.
    """
    options = options or ReadOptions()
    notes: list[str] = []
    series = choose_series(path, options.series, notes)
    if (levels := levels_of(series.instances)) and options.frame is None:
        slide = read_slide(path, options, TiledSlide(path, levels))
        slide.source.notes[:0] = notes
        return slide
    if options.region is not None or options.microns is not None:
        raise InputError(
            "a whole slide for --region and --microns", f"{path}: {series}", "leave them out"
        )
    with warnings.catch_warnings():  # of pydicom, about headers that can be lived with
        warnings.simplefilter("ignore", UserWarning)
        if planes := _placed(series):
            image = _volume(path, planes, options, notes)
        else:
            image = _pictures(path, series, options, notes)
    image.modality = MODALITY.get(series.modality, "unknown")
    return image


def _placed(series: Series) -> list[Plane]:
    """The slices of a series in space; none if no file has a place.

    Raises:
        GeometryError: some files have a place and others do not.
    """
    planes, unplaced = [], []
    for instance in series.instances:
        found = planes_of(instance)
        planes += found
        if not found:
            unplaced.append(instance.path.name)
    if planes and unplaced:
        raise GeometryError(
            "slices with ImagePositionPatient and ImageOrientationPatient",
            f"{unplaced[0]} without",
            "save it as a 2D image, or export the series again",
        )
    return planes


def _volume(path: Path, planes: list[Plane], options: ReadOptions, notes: list[str]) -> Image:
    volume = choose_volume(planes, options.frame, notes, options.stack)
    instances = [plane.instance for plane in volume.planes]
    factor = suv_factor(instances) if options.suv else None
    geometry = grid.of_planes(volume.planes, notes)
    _require_memory(path, instances, geometry.shape)
    voxels = values.of_planes(volume.planes, notes)
    if len(instances) == 1 and path.is_file() and others_beside(path, instances[0]):
        notes.append(
            Note("one file of a series whose others lie beside it", None, "give the folder for all")
        )
    if factor is not None:
        voxels = np.multiply(voxels, np.float32(factor), dtype=np.float32)
        notes.append(f"SUV by body weight: values times {factor:.6g}")
    tiled = any(plane.tile is not None for plane in volume.planes)
    if not tiled and mosaic.is_mosaic(instances[0].header):
        notes.append("called a mosaic, but without such tiles: read as one slice")
    header = None if tiled else DicomSource(tuple(instances))
    return Image(voxels, geometry, source=Source(path, "dicom", header, notes=notes))


def _pictures(path: Path, series: Series, options: ReadOptions, notes: list[str]) -> Image:
    """Read one object without a place: a 2D image, the frames of a video, or slices in pixels."""
    if len(series.instances) > 1:
        names = ", ".join(i.path.name for i in series.instances[:6])
        raise GeometryError(
            "one 2D image or film, or slices with ImagePositionPatient and ImageOrientationPatient",
            f"{len(series.instances)} files without: {names}"
            + (", ..." if len(series.instances) > 6 else ""),
            "name one of the files",
        )
    if options.suv:
        suv_factor(series.instances)  # refuses what is no PET
        raise GeometryError("slices with positions for --suv", str(path), "leave --suv out")
    frames = each_frame(series.instances[0])
    chosen = _chosen_frames(path, frames, options.frame)
    first = chosen[0]
    shape = (len(chosen), int(first.header.Rows), int(first.header.Columns))
    _require_memory(path, chosen, shape)
    pixels = values.of_instances(chosen, notes)
    source = Source(path, "dicom", DicomSource(tuple(chosen)), notes=notes)
    if len(chosen) == 1:
        return Image(pixels[0], _picture_grid(first), source=source)
    moving = series.modality not in CROSS_SECTIONS
    if not moving:
        notes.append("the frames do not say where they lie: taken as slices, on a grid of pixels")
    return Image(pixels, Geometry.pixels(shape), source=source, video=moving)


def _chosen_frames(path: Path, frames: list[Instance], wanted: int | None) -> list[Instance]:
    if wanted is None:
        return frames
    if wanted >= len(frames):
        raise InputError(f"a frame below {len(frames)}", f"{path}: no frame {wanted}")
    return [frames[wanted]]


def _picture_grid(instance: Instance) -> Geometry:
    """Grid of a radiograph or photograph: no place in the patient, a pixel size at best."""
    shape = (int(instance.header.Rows), int(instance.header.Columns))
    spacing = spacing_of(instance)
    if spacing is None:
        return Geometry.pixels(shape)
    return Geometry.from_spacing(shape, (spacing[1], spacing[0], 1.0))


def _require_memory(path: Path, instances: Sequence[Instance], shape: tuple[int, ...]) -> None:
    """Refuse what a header asks for before anything is decoded."""
    samples = int(instances[0].header.get("SamplesPerPixel") or 1)
    palette = instances[0].header.get("PhotometricInterpretation") == "PALETTE COLOR"
    require_memory(shape, 3 if samples > 1 or palette else 4, path)
