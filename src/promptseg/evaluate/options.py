"""Every option of an evaluation, defined once: Python, command line and configuration file share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from promptseg.bounds import check_bounds
from promptseg.datasets.collection import Split
from promptseg.errors import InputError
from promptseg.evaluate.settings import setting_of
from promptseg.formats.options import Resample
from promptseg.metrics.rules import Rules
from promptseg.segment.options import ManyOptions, PropagationOptions, SegmentOptions
from promptseg.simulate.boxes import Jitter
from promptseg.simulate.first import STARTS, Clicking, PromptKind

__all__ = ["EvaluateJob", "EvaluateOptions", "Protocol"]

Protocol = Literal["2d", "3d", "interactive-2d", "interactive-3d", "video", "sam2-paper", "classes"]

_Names = tyro.conf.UseAppendAction[tuple[str, ...]]
_Protocols = tyro.conf.UseAppendAction[tuple[Protocol, ...]]
_Prompts = tyro.conf.UseAppendAction[tuple[PromptKind, ...]]

_PLANAR = ("2d", "interactive-2d")  # slices by themselves
_PROMPTS_OF: dict[str, set[PromptKind]] = {
    protocol: {name for name, start in STARTS.items() if start.on_slice or protocol not in _PLANAR}
    for protocol in get_args(Protocol)
} | {"sam2-paper": {"box", "mask"}}
for _protocol in set(_PROMPTS_OF) - {"2d", "3d", "video"}:  # words point at no place to correct
    _PROMPTS_OF[_protocol].discard("text")
_PROMPT = f"{', '.join(start.title for start in STARTS.values())}; may be repeated. (default: box)"


def _tolerance(text: str) -> tuple[str, float]:
    target, equals, value = text.rpartition("=")
    try:
        if not equals:
            raise ValueError
        return target, float(value)
    except ValueError:
        raise InputError("TARGET=TOLERANCE", repr(text), "write for example liver=5") from None


@dataclass(kw_only=True)
class _RuleOptions:
    """How masks are scored; see `promptseg.metrics.Rules`."""

    tolerance: float = 2.0
    """Tolerance of the NSD: mm where the spacing is known, pixels otherwise."""

    target_tolerance: _Names = ()
    """TARGET=TOLERANCE where one class has a tolerance of its own; may be repeated."""

    both_empty: Literal["one", "zero", "nan"] = "one"
    """What DSC, IoU and NSD are where an object is absent and nothing was found."""

    one_empty: Literal["zero", "nan"] = "zero"
    """What they are where only one of the two masks is empty."""

    background: bool = False
    """Score what lies outside all objects too, as an object (predictions alone)."""

    unit: Literal["auto", "pixel"] = "auto"
    """Unit of distances: millimetres where known, or pixels always."""

    def rules(self) -> Rules:
        """The rules by which masks are scored."""
        own = dict(map(_tolerance, self.target_tolerance))
        given = {f.name: getattr(self, f.name) for f in fields(_RuleOptions)}
        del given["target_tolerance"]
        return Rules(**given, tolerances=own)


@dataclass(kw_only=True)
class _PromptOptions:
    """Who the simulated user is."""

    protocol: _Protocols = ()
    """2d: every slice by itself; 3d: from the middle slice through the volume; interactive-2d: 2d with
    corrections; interactive-3d: 3d with a search over propagation options on other patients; video:
    from the first frame on; sam2-paper: volumes by the rules of the SAM2 medical benchmark's code;
    classes: whole images without prompts, by models of classes. May be repeated. (default: 2d, or
    classes where all models are of classes)"""

    prompt: Annotated[_Prompts, tyro.conf.arg(help=_PROMPT)] = ()

    start_model: str | None = None
    """3d, video and sam2-paper: this model answers the prompt, and its mask starts the models that are
    compared."""

    corrections: int = 8
    """interactive-2d: rounds of corrections, a click in the missing region and one in the false one."""

    previous_mask: bool = field(
        default=True,
        metadata={"off": "interactive-2d: do not show the model the mask that it corrects."},
    )
    """interactive-2d: models that take masks get the one they correct."""

    clicks: Clicking = "random"
    """Clicks on any pixel of a region, as MedicoSAM, or on its deepest one."""

    jitter: float = 20.0
    """jittered-box: how far every edge moves at most, in pixels of an image of 1024 (MedSAM: 20)."""

    jitter_sign: Literal["outward", "either"] = "outward"
    """jittered-box: edges move outwards alone (as MedSAM's code), or either way."""

    seed: int = 0
    """Seed of everything that is drawn by chance; the same prompts for every model and machine."""

    absent: int = 0
    """text: also ask for so many names of the dataset's targets that are not there, at most; rows of
    "absent text" count 1 where nothing is found."""

    synonyms: int = 0
    """text: also ask for every target by so many other phrases at most, as they are, without putting
    them into the words of the table of terms; rows of "synonym text"."""

    instances: bool = False
    """text: also score every object against the instance that was matched with it one to one (the
    largest sum of IoU), through all slices or frames under 3d and video; rows of "text instance", and
    cgF1 in the report."""

    skip_unsupported: bool = False
    """Leave out a prompt for a model that was not trained for it, in place of refusing the run."""

    force: bool = False
    """Pass on prompts a model was not trained for."""

    def drawn(self) -> Jitter:
        """How boxes are jittered."""
        return Jitter(self.jitter, self.jitter_sign)


@dataclass(kw_only=True)
class _ChoiceOptions:
    """What is evaluated."""

    dataset: _Names = ()
    """Only these datasets of a folder that holds several; may be repeated."""

    split: Annotated[
        Literal["test", "train"], tyro.conf.arg(name="nnunet-split", aliases=["--split"])
    ] = "test"
    """nnU-Net folders: test, imagesTs with labelsTs, or train, imagesTr with labelsTr, which is what
    curate takes unless told otherwise. (--split is its earlier name.)"""

    channel: int = 0
    """nnU-Net and MSD cases with several channels: which one."""

    dataset_modality: str | None = None
    """Modality of the images, over what dataset.json and file names say."""

    window: str | None = None
    """Intensity window: a name or WIDTH/LEVEL; see segment."""

    splits: Path | None = None
    """CSV file with the columns dataset, case, part, as of curate: only its cases of --part."""

    part: Split = "test"
    """train, validation or test, with --splits."""

    max_cases: int | None = None
    """At most so many cases of a dataset, the first by name."""

    max_objects: int | None = None
    """At most so many objects of an image (2d: of a slice), the largest."""

    max_slices: int = 8
    """2d: of the n slices of an object every n // max_slices-th; 0 takes all."""

    spread_slices: bool = False
    """2d: of the n slices of an object max_slices at most, evenly spread."""

    min_pixels: int = 20
    """2d: slices of a volume where an object has no more pixels than this are left out."""

    patient_pattern: str | None = None
    """Regular expression with one group that finds the patient in a case's name."""

    resample: Resample = "never"
    """Labels and predictions whose voxels are not those of their image: refuse them, or take the
    nearest voxel. The image's own voxels, in another order or a part, need neither."""


@dataclass(kw_only=True)
class EvaluateOptions(PropagationOptions, _RuleOptions, _PromptOptions, _ChoiceOptions):
    """Say what is evaluated, how it is prompted and how it is scored."""

    grid: _Names = ()
    """interactive-3d: a setting of the search, "propagate=box margin=0.05"; may be repeated (default:
    every mode the model takes, with three margins)."""

    validation: int = 2
    """interactive-3d: patients of each dataset whose cases are used for the search alone."""

    engine: str = "eager"
    """What executes the models (docs/engines.md); eager is the float32 of published figures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.protocol = tuple(dict.fromkeys(self.protocol)) or ("2d",)
        self.prompt = tuple(dict.fromkeys(self.prompt)) or ("box",)
        self.rules(), self.drawn(), [setting_of(text) for text in self.grid]
        for name, least, most in (
            ("corrections", 0, 64),
            ("max_slices", 0, None),
            ("min_pixels", 0, None),
            ("channel", 0, None),
            ("seed", 0, None),
            ("absent", 0, None),
            ("synonyms", 0, None),
            ("validation", 1, None),
            ("max_cases", 1, None),
            ("max_objects", 1, None),
        ):
            value = getattr(self, name)
            if value is not None and (value < least or (most is not None and value > most)):
                limits = f"{least} or more" if most is None else f"from {least} to {most}"
                raise InputError(f"{name.replace('_', ' ')} {limits}", str(value))
        if unknown := set(self.prompt) - set(STARTS):
            raise InputError(f"prompts out of {', '.join(STARTS)}", ", ".join(sorted(unknown)))
        for protocol in self.protocol:
            if protocol != "classes" and not set(self.prompt) & _PROMPTS_OF[protocol]:
                raise InputError(
                    f"a prompt out of {', '.join(sorted(_PROMPTS_OF[protocol]))} for {protocol}",
                    ", ".join(self.prompt),
                    "add one with --prompt",
                )
        check_bounds(self)

    def prompts_of(self, protocol: Protocol) -> list[PromptKind]:
        """Return the prompts that make sense under a protocol, in the order they were given."""
        return [kind for kind in self.prompt if kind in _PROMPTS_OF[protocol]]

    def propagation(self, **changes: Any) -> SegmentOptions:
        """Return the options that a volume is propagated with; `changes` go over what was given."""
        given = {f.name: getattr(self, f.name) for f in fields(PropagationOptions)}
        return SegmentOptions(**{**given, **changes})

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain values, without anything a subclass adds."""
        values = asdict(self)
        values["splits"] = self.splits and Path(self.splits).name
        return {f.name: values[f.name] for f in fields(EvaluateOptions)}


@dataclass(kw_only=True)
class EvaluateJob(EvaluateOptions, ManyOptions):
    """Evaluate models, or masks that are there already, by published rules.

    Reads folders in nnU-Net or MSD layout, the challenge npz, COCO instances, folders of images and
    masks, or of `<case>_image.*` and `<case>_label.*` (docs/datasets.md). Writes rows.csv (one row per
    object, slice or step), summary.csv, run.json (all rules, seed, versions) and report.html. A second
    run goes on where the first was cut off; results made by other rules are never mixed in.

    Two finished runs against each other: promptseg evaluate compare --help.
    """

    input: Annotated[Path, tyro.conf.arg(aliases=["-i"])]
    """Dataset, or folder of datasets."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the results."""

    model: _Names = ()
    """Model name, checkpoint file, NAME=FILE, or the folder of a training of classes; may be repeated.
    (default: lite-medsam)"""

    predictions: Path | None = None
    """Folder of masks by any tool, named as the cases: scored by the same rules, no model is run."""

    predictions_name: str | None = None
    """What the predictions are called in the tables (default: the folder's name)."""

    missing: Literal["refuse", "empty"] = "refuse"
    """Cases without a prediction: refuse them, or count them as empty masks."""

    seeds: int = 1
    """Evaluate so many times, with --seed and the numbers after it, each in a folder of its own
    (seed-0, ...), and write how far the results lie apart: seeds.md and seeds.csv."""

    leaks: Path | None = None
    """Training manifest (docs/datasets.md): warn of images and patients that occur in it."""

    count_trained: bool = False
    """Count images that a model was trained on in the statistics too. They are found by their hashes
    and marked in rows.csv either way."""

    baseline: str | None = None
    """Model that the others are tested against (default: the first one)."""

    holm: bool = False
    """Correct the p-values of a table for their number (Holm)."""

    published: bool = False
    """Show the papers' figures beside, marked as published and of other data."""

    pictures: bool = field(default=True, metadata={"off": "Leave pictures out of the report."})
    """Show the worst cases in the report."""

    publish: bool = False
    """The report goes to others: show only pictures of datasets whose licence is known to let them."""

    parquet: bool = False
    """Write rows.parquet beside rows.csv."""

    keep_going: bool = False
    """Go on past cases that fail; they are counted and named."""

    overwrite: bool = False
    """Begin anew where the folder holds results made otherwise."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""

    threads: int | None = None
    """CPU threads, over all workers (default: PROMPTSEG_THREADS, or all)."""

    quiet: bool = False
    """No progress, no summary."""

    strict: bool = False
    """Refuse a case of which there is anything to note (see notes.csv)."""

    config: Path | None = None
    """Options from a YAML or JSON file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.predictions is not None and self.model:
            raise InputError(
                "models or predictions", "both", "score the predictions in a run of their own"
            )
        self.model = tuple(dict.fromkeys(self.model)) or ("lite-medsam",)
