"""Every option of the main job, defined once: Python, command line and configuration file share it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from promptseg.bounds import check_bounds
from promptseg.errors import InputError
from promptseg.formats import endings
from promptseg.formats.options import BesideOptions, MaskOptions, ReadOptions
from promptseg.geometry import AXES, Axis
from promptseg.image import MODALITIES
from promptseg.intensity import WINDOWS
from promptseg.runtime.names import AUTO, ENGINES
from promptseg.segment.projection import Mode

__all__ = [
    "ClassOptions",
    "EmbedJob",
    "ManyOptions",
    "PropagationOptions",
    "SegmentJob",
    "SegmentOptions",
    "SliceOptions",
    "parse_slices",
]

_Link = Literal["overlap", "propagation"]
_LINKS: tuple[str, ...] = get_args(_Link)
_ENGINE = (
    f"What executes the model: {AUTO} (the quickest, measured once and remembered), "
    f"{', '.join(ENGINES)} (docs/engines.md); default: PROMPTSEG_ENGINE, or {AUTO}."
)
_MODALITY = (
    "Modality of the image, over what the file says: "
    f"{', '.join(name for name in MODALITIES if name != 'unknown')}."
)
_WINDOW = f"Intensity window: {', '.join(WINDOWS)}, percentile, minmax, or WIDTH/LEVEL."
_OUTPUT = (
    f"Mask file ({', '.join(endings())}; .dcm is a DICOM SEG), a folder for a folder of images, or "
    "dicomweb://HOST/PATH, where a SEG is stored."
)
_Many = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(kw_only=True)
class SliceOptions:
    """Say how to go from an image to the slices a model sees."""

    modality: Annotated[str | None, tyro.conf.arg(help=_MODALITY)] = None

    window: Annotated[str | None, tyro.conf.arg(help=_WINDOW)] = None

    axis: Axis | None = None
    """Axis the slices are taken along; that of the prompts, or z, the stack, if not given."""

    slices: str | None = None
    """Range FIRST:LAST of slices (both included) outside which nothing is done."""

    batch: int | None = None
    """Slices encoded at a time; chosen for the device if not given."""

    def __post_init__(self) -> None:
        _require(self.batch is None or self.batch > 0, "batch", "a number above 0", self.batch)
        _require(self.axis in (None, *AXES), "axis", "z, y or x", self.axis)
        parse_slices(self.slices, 1 << 31)
        check_bounds(self)


@dataclass(kw_only=True)
class PropagationOptions:
    """Say how a prompt on one slice reaches the others."""

    propagate: Mode | Literal["memory", "none"] | None = None
    """How a prompt on one slice reaches the others: what of its neighbour's mask prompts each slice
    (box, point, points, the mask itself, or several), memory (of models that have one), or none; the
    model's own choice if not given."""

    margin: float | None = None
    """Enlarges the neighbour's box on every side, as a fraction of its length; the model's own choice
    if not given."""

    margin_pixels: float | None = None
    """Enlarges the neighbour's box on every side by this many pixels more; as margin."""

    min_iou: float = 0.2
    """The object ends where the masks of two neighbouring slices agree less than this (IoU)."""

    min_area: float = 0.3
    """The object ends where its area falls below this fraction of the prompted slice's."""

    min_quality: float = 0.0
    """The object ends where the predicted IoU falls below this."""

    max_growth: float = 2.0
    """The object ends where its area grows by more than this factor from one slice to the next."""

    def __post_init__(self) -> None:
        margin, more = self.margin, self.margin_pixels
        _require(margin is None or 0 <= margin <= 1, "margin", "a fraction from 0 to 1", margin)
        _require(more is None or 0 <= more < 1000, "margin_pixels", "0 or more", more)
        _require(0 <= self.min_area <= 1, "min_area", "a fraction from 0 to 1", self.min_area)
        _require(0 <= self.min_iou <= 1, "min_iou", "an IoU from 0 to 1", self.min_iou)
        _require(0 <= self.min_quality <= 1, "min_quality", "an IoU from 0 to 1", self.min_quality)
        _require(1 < self.max_growth <= 1e9, "max_growth", "above 1, at most 1e9", self.max_growth)


@dataclass(kw_only=True)
class SegmentOptions(PropagationOptions, SliceOptions):
    """Say how to go from an image and prompts to masks.

    Examples:
        >>> from promptseg import SegmentOptions
        >>> options = SegmentOptions(propagate="none", fill_holes=True)
        >>> options.to_json()["fill_holes"]
        True
    """

    agreement: float = 0.9
    """A correction spreads until the new mask of a slice agrees this much (IoU) with the old one."""

    largest_component: bool = False
    """Keep only the largest connected part of each object."""

    fill_holes: bool = False
    """Fill holes inside each object, slice by slice."""

    smooth_slices: int = 0
    """Majority vote over this many slices on either side of each slice."""

    force: bool = False
    """Pass on prompts the model was not trained for."""

    min_score: float = 0.5
    """With --text: what is found with this score (0 to 1) or less does not count."""

    instances: bool = False
    """With --text: every instance is an object of its own; else all of a phrase are one."""

    max_overlap: float = 0.5
    """With --text: of two instances on a slice that agree more than this (IoU), the surer counts."""

    link: _Link = "overlap"
    """With --text: what is found on slices is one object where masks of neighbours agree, or where the
    propagation of one arrives at the other, too, over up to 10 slices that lack it."""

    def __post_init__(self) -> None:
        PropagationOptions.__post_init__(self)
        SliceOptions.__post_init__(self)
        _require(0 < self.agreement <= 1, "agreement", "an IoU up to 1", self.agreement)
        _require(0 <= self.min_score < 1, "min_score", "from 0 to below 1", self.min_score)
        _require(0 < self.max_overlap <= 1, "max_overlap", "an IoU up to 1", self.max_overlap)
        _require(self.link in _LINKS, "link", " or ".join(_LINKS), self.link)
        _require(self.smooth_slices >= 0, "smooth_slices", "0 or more", self.smooth_slices)

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain values, without anything a subclass adds."""
        return {f.name: getattr(self, f.name) for f in fields(SegmentOptions)}


@dataclass(kw_only=True)
class ClassOptions:
    """Say what models of classes do, which are asked without prompts."""

    tile: int | None = None
    """Models of classes: cut slices into windows of so many pixels a side, as for large images."""

    tile_overlap: float = 0.5
    """Share of its side that a window has in common with the next; they count more in their middle."""

    mirror: bool = False
    """Models of classes: average over mirror images of every slice; four times the time."""

    uncertainty: bool = False
    """Models of classes: also write how unsure they are at every voxel, 0 to 255, beside the mask."""

    refine: str | None = None
    """Models of classes: this model of prompts corrects single classes by prompts that name them."""


@dataclass(kw_only=True)
class _SourceOptions(ReadOptions):
    """What is read."""

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Image, folder with a DICOM series, folder of images, list of cases (.csv, .tsv, .parquet), or
    an address: dicomweb://HOST/PATH/studies/STUDY[/series/SERIES], what a server finds
    (.../studies?...), or storage, s3://BUCKET/... (docs/lists.md)."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Where the results go."""

    model: str = "lite-medsam"
    """Model name (see promptseg models), checkpoint file, NAME=FILE, auto for the model at hand that
    did best with such prompts on such images (docs/recommend.md), or the folder of a training of
    classes, which takes no prompts (docs/semantic.md)."""


@dataclass(kw_only=True)
class _RunOptions:
    """What it may cost, and what is said about it."""

    embeddings_limit: float = 10.0
    """GiB of embeddings that may be kept; the least recently used are removed beyond that."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""

    threads: int | None = None
    """CPU threads (default: PROMPTSEG_THREADS, or all)."""

    engine: Annotated[str | None, tyro.conf.arg(help=_ENGINE)] = None

    quiet: bool = False
    """No progress, no summary."""


@dataclass(kw_only=True)
class ManyOptions:
    """Options of how the many inputs of a folder or list are shared among processes."""

    workers: int | None = None
    """Inputs of a folder or list done side by side, each by a process with its share of the threads
    (default: 1; on a cluster, as many as it has room for)."""

    shard: str | None = None
    """NUMBER/COUNT, such as 3/8: do only this share of a folder or list, so that a scheduler can start
    COUNT such commands (docs/lists.md)."""

    cluster: str | None = None
    """HOST:PORT of a Ray cluster that is running, or auto: its machines do the inputs of a folder or
    list (docs/cluster.md)."""


@dataclass(kw_only=True)
class _FileOptions(_SourceOptions):
    """Where prompts and results are."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], help=_OUTPUT)]

    box: _Many = ()
    """Box x0,y0,x1,y1[@slice][=name], or in LPS millimetres x0,y0,z0,x1,y1,z1mm[=name]; may be
    repeated."""

    box3d: _Many = ()
    """3D box x0,y0,z0,x1,y1,z1[mm][=name]; may be repeated."""

    point: _Many = ()
    """Click x,y,+|-[@slice][=name], or x,y,zmm,+|-[=name]; may be repeated."""

    text: _Many = ()
    """What to look for, for models that take words: WORDS[=name], with boxes around examples as 'WORDS
    [+x0,y0,x1,y1[@slice]]', around what is not meant as [-...]; may be repeated (docs/words.md)."""

    prompts: Path | None = None
    """Prompt file in JSON (docs/prompts.md), or markups of 3D Slicer (.mrk.json)."""

    mask: Path | None = None
    """Label image on the image's grid: every label is a mask prompt for an object."""

    markers: Path | None = None
    """Long and short axis lines on some slices: a prompt file, or a label image they are drawn in."""

    start_model: str | None = None
    """This model answers the prompts, and --model follows its masks through the volume or video."""

    correct: Path | None = None
    """Segmentation to correct: the prompts name its objects, and only what they change is computed."""

    overlap: Literal["keep", "later-wins"] = "keep"
    """Overlapping objects: keep them, one layer per object, or let later objects win."""

    deidentify: bool = False
    """Leave out of the outputs what says who the patient is."""

    suffix: str | None = None
    """File ending of the masks of a folder of images (default: the input's, or .nii.gz / .png)."""

    overlay: bool = field(default=True, metadata={"off": "Write no overlay picture."})
    """Write an overlay picture beside the mask."""

    strict: bool = False
    """Refuse an image or mask of which there is anything to note."""

    overwrite: bool = False
    """Replace outputs that exist."""

    config: Path | None = None
    """Options from a YAML or JSON file, or the provenance of an earlier run to do it again."""

    replay: Path | None = None
    """Provenance of an earlier run, to do it again with the same model, weights, device and threads
    and to compare the masks."""

    json: bool = False
    """Print the provenance as JSON."""

    embeddings: Path | None = None
    """Folder where embeddings are looked up and kept, so that no slice is ever encoded twice."""


@dataclass(kw_only=True)
class SegmentJob(
    SegmentOptions,
    ClassOptions,
    _RunOptions,
    BesideOptions,
    MaskOptions,
    ManyOptions,
    _FileOptions,
):
    """Segment what the prompts point at.

    Reads every format of docs/formats.md; writes masks on exactly the input's grid, an overlay picture
    and a provenance JSON beside them. Coordinates are original pixels or voxels counted from 0; boxes
    include both ends. With a folder of images (and --prompts or npz files with boxes), every image is
    segmented into the output folder; a second run goes on where the first was cut off.
    """


@dataclass(kw_only=True)
class EmbedJob(SliceOptions, _RunOptions, ManyOptions, _SourceOptions):
    """Encode the slices of images ahead of time, for segment --embeddings.

    Takes what segment takes: one image, or a folder of images. Slices that are there already are left
    alone, so that a second run goes on where the first was cut off. An embedding is found again for
    the same image, window, axis and model alone.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the embeddings."""


def parse_slices(text: str | None, count: int) -> tuple[int, int]:
    """Parse FIRST:LAST as the first and last slice, both included; either side may be left out.

    Args:
        text: the range, or None for all.
        count: number of slices there are.

    Raises:
        InputError: not a range, or a range without any slice of the image.
    """
    if text is None:
        return 0, count - 1
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        low = int(first) if first.strip() else 0
        high = int(last) if last.strip() else count - 1
    except ValueError:
        raise InputError("slices FIRST:LAST", repr(text), "write for example 20:45") from None
    if low < 0 or low > high or low >= count:
        raise InputError(f"slices within 0:{count - 1}", repr(text), "correct the range")
    return low, min(high, count - 1)


def _require(holds: bool, name: str, expected: str, got: Any) -> None:
    if not holds:
        raise InputError(f"{name} to be {expected}", repr(got), "correct the option")
