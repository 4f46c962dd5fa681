"""Every option of a curation, defined once: Python, command line and configuration file share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from promptseg.bounds import check_bounds
from promptseg.datasets import DatasetOptions
from promptseg.datasets.collection import SPLITS, Split
from promptseg.errors import InputError
from promptseg.formats.options import Resample
from promptseg.segment.options import ManyOptions

__all__ = ["ConversionOptions", "CurateJob", "SplitOptions"]

_Names = tyro.conf.UseAppendAction[tuple[str, ...]]
_Paths = tyro.conf.UseAppendAction[tuple[Path, ...]]


@dataclass(kw_only=True)
class ConversionOptions:
    """Say how images become samples, and which are left out."""

    window: str | None = None
    """Intensity window of CT (name or WIDTH/LEVEL, see segment); others keep their modality's rule."""

    every_slice: int = 1
    """Volumes and clips: of the slices with an object every n-th."""

    max_slices: int = 0
    """Volumes and clips: at most so many slices of each, evenly spread; 0 takes all."""

    components: bool = False
    """Every connected part of a class on a slice is an object of its own."""

    min_pixels: int = 20
    """Objects of fewer pixels on their slice are left out."""

    min_pixels_256: float = 10
    """And those of fewer pixels were the longer side of the slice 256 pixels."""

    min_voxels: int = 100
    """Objects of fewer voxels in their volume are left out."""

    branching: bool = field(
        default=True, metadata={"off": "Leave out vessels and other branching structures."}
    )
    """Keep vessels and other branching structures."""

    exclude_target: _Names = ()
    """Leave out objects of this class; may be repeated."""

    licence: Literal["any", "open"] = "any"
    """open: only images whose own licence is stated to be CC0, CC BY, CC BY-SA, MIT, Apache or BSD."""

    microns: float | None = None
    """Whole slides: micrometres per pixel of the tiles (default: as fine as scanned)."""

    def __post_init__(self) -> None:
        for name, least in (
            ("every_slice", 1),
            ("max_slices", 0),
            ("min_pixels", 0),
            ("min_pixels_256", 0),
            ("min_voxels", 0),
        ):
            value = getattr(self, name)
            if not value >= least:
                option = name.replace("_", "-")
                raise InputError(
                    f"{name.replace('_', ' ')} of {least} or more",
                    str(value),
                    f"correct --{option}",
                )
        if self.microns is not None and not self.microns > 0:
            raise InputError("microns above 0", str(self.microns), "correct --microns")
        if self.window and self.window not in ("percentile", "minmax"):
            from promptseg.intensity import parse_window

            parse_window(self.window)

    def conversion(self) -> dict[str, Any]:
        """Return the options that pixels and objects of a collection depend on, as plain values."""
        return {f.name: asdict(self)[f.name] for f in fields(ConversionOptions)}


@dataclass(kw_only=True)
class SplitOptions:
    """Say which part every patient belongs to."""

    split: str = "80/10/10"
    """Percentages of the samples for training, validation and test."""

    seed: int = 0
    """Seed of the order in which patients are given to the parts."""

    look_alikes: Literal["join", "report"] = "join"
    """Images of different patients that look alike stay in one part, or are only listed."""

    held_out: Path | None = None
    """File with a `dataset/case` or `dataset/patient` a line: they make up the test part, nothing
    else."""

    splits: Path | None = None
    """CSV file with the columns dataset, case, part: the parts are as it says."""

    def shares(self) -> dict[Split, float]:
        """Return the share of the samples that each part gets, from 0 to 1.

        Raises:
            InputError: not three percentages that sum to 100.
        """
        try:
            percent = [float(text) for text in self.split.split("/")]
        except ValueError:
            percent = []
        if len(percent) != len(SPLITS) or not all(each >= 0 for each in percent):  # nor NaN
            raise InputError(
                "--split with percentages TRAIN/VALIDATION/TEST",
                repr(self.split),
                "write for example 80/10/10; the folders of nnU-Net are chosen by --nnunet-split",
            )
        if abs(sum(percent) - 100) > 1e-6:
            raise InputError(
                "--split with percentages that sum to 100",
                f"{self.split} ({sum(percent):g})",
                "write for example 80/10/10",
            )
        return {part: each / 100 for part, each in zip(SPLITS, percent, strict=True)}


@dataclass(kw_only=True)
class CurateJob(SplitOptions, ManyOptions, ConversionOptions):
    """Make training data of public data: slices, tiles and 2D images with their objects.

    Reads what `promptseg evaluate` reads (docs/datasets.md) and whole-slide images; writes shards of
    PNG files, their index, the parts training, validation and test by patient, and what was left out
    and why (docs/curate.md). A second run goes on where the first was cut off. Other uses:
    `promptseg curate list|show` (catalogue of public datasets), `promptseg curate check|statistics`
    (a collection before training).
    """

    input: Annotated[_Paths, tyro.conf.arg(aliases=["-i"])] = field(default=())
    """Dataset, or folder of datasets; may be repeated."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the collection."""

    dataset: _Names = ()
    """Only these datasets; may be repeated."""

    max_cases: int | None = None
    """At most so many cases of a dataset, the first by name."""

    nnunet_split: Literal["train", "test"] = "train"
    """nnU-Net folders: train, imagesTr with labelsTr, or test, imagesTs with labelsTs, which is what
    evaluate takes unless told otherwise."""

    channel: int = 0
    """nnU-Net and MSD cases with several channels: which one."""

    dataset_modality: str | None = None
    """Modality of the images, over what dataset.json and file names say."""

    patient_pattern: str | None = None
    """Regular expression with one group that finds the patient in a case's name."""

    resample: Resample = "never"
    """Labels whose voxels are not those of their image: refuse them, or take the nearest voxel."""

    overwrite: bool = False
    """Replace a collection made of other data or by other options."""

    json: bool = False
    """Print the summary as JSON."""

    quiet: bool = False
    """No progress, no summary."""

    strict: bool = False
    """Refuse data of which there is anything to note (see notes.csv)."""

    config: Path | None = None
    """Options from a YAML or JSON file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.input = tuple(Path(path).expanduser() for path in self.input)
        self.output = Path(self.output).expanduser()
        if not self.input:
            raise InputError("data to curate", "none", "name a dataset or folder with --input")
        if self.held_out is not None and self.splits is not None:
            raise InputError("--held-out or --splits", "both", "leave one out")
        self.shares()
        check_bounds(self)

    def opening(self) -> DatasetOptions:
        """Return the options to open datasets with: incomplete cases are left out and reported."""
        return DatasetOptions(
            split=self.nnunet_split,
            channel=self.channel,
            dataset_modality=self.dataset_modality,
            patient_pattern=self.patient_pattern,
            resample=self.resample,
            keep_going=True,
        )

    def request(self) -> dict[str, Any]:
        """Return the options that a collection depends on as plain values, without local paths."""
        left_out = {
            "output",
            "workers",
            "shard",
            "cluster",
            "overwrite",
            "json",
            "quiet",
            "config",
            "strict",
        }
        said = {k: v for k, v in asdict(self).items() if k not in left_out}
        said["input"] = [path.resolve().name for path in self.input]
        for name in ("held_out", "splits"):
            said[name] = said[name] and Path(said[name]).name
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items()}
