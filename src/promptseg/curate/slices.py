"""Slices for training: the 2D images of an image with its objects, 8 bits each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.curate.options import ConversionOptions
from promptseg.curate.rules import Excluded, MaskError, Patch, patch_on, surviving
from promptseg.datasets import target_of
from promptseg.datasets.collection import Target
from promptseg.image import Image, Segment
from promptseg.intensity import Intensity, choose_intensity

__all__ = ["Piece", "Values", "labels_of", "pieces_of", "values_of"]

_MOST = 2**16 - 1


@dataclass(frozen=True)
class Values:
    """The rule by which the values of an image become the stored 8 bits.

    Attributes:
        stored: what is applied before storing.
        modality: as inference sees it, guesses included.
        rule: how they become 0..255 for a model that does not keep 8 bits.
        clip: what is left to be done for such a model, see `Sample.clip`.
    """

    stored: Intensity
    modality: str
    rule: str
    clip: tuple[float, float] | None


@dataclass(frozen=True)
class Piece:
    """One 2D image to be trained on.

    Attributes:
        index: of the slice, frame or tile; None for a 2D image.
        picture: (rows, columns[, 3]) uint8.
        patches: its objects; none on a picture on which names were looked for in vain.
        pixel: width and height of a pixel, in any unit.
        values: how its values came about.
    """

    index: int | None
    picture: NDArray[np.uint8]
    patches: tuple[Patch, ...]
    pixel: tuple[float, float]
    values: Values


def values_of(image: Image, window: str | None = None) -> Values:
    """Choose how values are stored, by inference's rule, and what of it the sample's reader does.

    Args:
        image: the whole image, on which the bounds are measured.
        window: for CT that is not 8 bit already; everything else keeps the rule of its modality.
    """
    chosen = choose_intensity(image)
    if window and chosen.modality == "CT" and chosen.lower is not None and not image.is_colour:
        chosen = choose_intensity(image, window=window)
    stored, clip = chosen, None
    if image.kind != "volume" and image.voxels.dtype == np.uint8 and chosen.lower is not None:
        kept = choose_intensity(image, keep_8bit=True)
        if kept.lower is None and chosen.upper is not None:
            stored, clip = kept, (chosen.lower, chosen.upper)
    return Values(stored, chosen.modality, chosen.rule, clip)


def pieces_of(
    image: Image,
    segments: Sequence[Segment],
    annotated: Sequence[int] | None,
    options: ConversionOptions,
    excluded: Excluded,
    empty: bool = False,
) -> Iterator[Piece]:
    """Yield the 2D images of an image: itself, or its slices or frames with objects that rules keep.

    Slices of one value are noted as empty images.

    Args:
        image: 2D image, volume (cut along z) or video.
        segments: its objects.
        annotated: frames that were annotated; None if all were.
        options: the rules.
        excluded: gets what is left out.
        empty: whether a picture without objects is of use, too.

    Raises:
        InputError: values that no rule of intensity fits.
    """
    objects = [(s, target_of(s)) for s in _large_enough(image, segments, options, excluded)]
    shape = image.geometry.shape[-2:]
    indices: Sequence[int | None] = [None]
    if image.kind != "picture":
        indices = range(len(image.voxels)) if annotated is None else annotated
    found: list[tuple[int | None, list[Patch]]] = []
    for index in indices:
        patches = [patch for s, name in objects if (patch := patch_on(s, name, index))]
        kept = surviving(patches, index, shape, options, excluded)
        if kept and (detail := _empty(image, index)):
            excluded.note("empty image", detail, index)
        elif kept or (empty and index is None):
            found.append((index, kept))
    if not found:
        return
    values = values_of(image, options.window)
    width, height = (float(n) for n in image.geometry.spacing[:2])
    for index, kept in _chosen(found, options):
        picture = values.stored.apply(image.voxels if index is None else image.voxels[index])
        yield Piece(index, picture, tuple(kept), (width, height), values)


def labels_of(
    patches: Sequence[Patch], shape: tuple[int, ...]
) -> tuple[NDArray[np.uint16], tuple[Target, ...]]:
    """Draw objects into label layers, each into the first one where it overlaps with no other.

    Args:
        patches: the objects.
        shape: (rows, columns).

    Returns:
        (layers, rows, columns) labels, of one layer or more, and the targets, numbered from 1 through
        all layers.

    Raises:
        MaskError: more objects than 16 bits can number.
    """
    if len(patches) > _MOST:
        raise MaskError(
            f"{_MOST:,} objects on a slice at most",
            f"{len(patches):,}",
            "leave out small ones with --min-pixels, or do without --components",
        )
    layers: list[NDArray[np.uint16]] = []
    targets = []
    for number, patch in enumerate(patches, 1):
        place = patch.place
        free = (k for k, each in enumerate(layers) if not each[place][patch.mask].any())
        layer = next(free, len(layers))
        if layer == len(layers):
            layers.append(np.zeros(shape, dtype=np.uint16))
        layers[layer][place][patch.mask] = number
        rows, columns = place
        box = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        targets.append(Target(number, patch.target, patch.area, box, layer))
    return np.stack(layers or [np.zeros(shape, dtype=np.uint16)]), tuple(targets)


def _empty(image: Image, index: int | None) -> str:
    """The only value of a slice or frame; nothing if it has several."""
    pixels = image.voxels if index is None else image.voxels[index]
    low = pixels.min()
    return f"every pixel is {low}" if low == pixels.max() else ""


def _large_enough(
    image: Image, segments: Sequence[Segment], options: ConversionOptions, excluded: Excluded
) -> Iterator[Segment]:
    for segment in segments:
        name = target_of(segment)
        if name in options.exclude_target:
            excluded.note("excluded target", "by --exclude-target", target=name)
            continue
        size = int(segment.crop.sum())
        if image.kind == "volume" and size < options.min_voxels:
            detail = f"{size} voxels, fewer than {options.min_voxels}"
            excluded.note("tiny volume", detail, target=name)
            continue
        yield segment


def _chosen(
    found: list[tuple[int | None, list[Patch]]], options: ConversionOptions
) -> list[tuple[int | None, list[Patch]]]:
    """Every n-th, and of these at most so many, evenly spread."""
    found = found[:: options.every_slice]
    if not options.max_slices or len(found) <= options.max_slices:
        return found
    places = (np.arange(options.max_slices) + 0.5) * len(found) / options.max_slices
    return [found[int(place)] for place in places]
