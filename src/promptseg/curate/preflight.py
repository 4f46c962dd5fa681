"""Checks of a collection before training: in minutes, what would waste hours of a GPU.

Errors are what makes training pointless or its validation untrue: no training or no validation part, a
patient in two parts, samples that cannot be read, targets that are all too small for the network. The
rest are warnings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptseg.curate.estimate import Plan, estimate_training
from promptseg.curate.folder import PREFLIGHT, take_for_reports
from promptseg.curate.leaking import alike_samples, divided, same_pictures
from promptseg.curate.preflight_findings import Preflight, balance_of, errors_of, warnings_of
from promptseg.curate.preflight_reading import read_pixels
from promptseg.curate.preflight_report import write_report
from promptseg.curate.sheet import choose, make_sheet
from promptseg.curate.sizes import draw_sizes, sizes_of, summarise
from promptseg.curate.statistics import count
from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import InputError, ModelError
from promptseg.formats.files import atomic_path
from promptseg.models.cards import find_card
from promptseg.simulate import generator

__all__ = ["PreflightOptions", "preflight"]


@dataclass(kw_only=True)
class PreflightOptions:
    """Say how a collection is checked."""

    model: str = "mobile-sam"
    """The model that will be trained; its preprocessing decides how small a target becomes."""

    samples: int = 2000
    """How many samples are read, drawn at random of all parts; the index is checked as a whole."""

    all: bool = False
    """Read every sample."""

    panels: int = 24
    """Samples on the contact sheet."""

    seed: int = 0
    """Seed of what is drawn at random."""

    measure: bool = field(
        default=True, metadata={"off": "Do not run the network; estimate no time and memory."}
    )
    """Run the network once forward and backward, to estimate time and memory."""

    device: str | None = None
    """Where it runs: cpu, cuda, cuda:1 (default: the GPU if there is one)."""

    quiet: bool = False
    """No progress."""

    def __post_init__(self) -> None:
        for name in ("samples", "panels"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} of 1 or more", str(getattr(self, name)), f"correct --{name}"
                )


def preflight(
    root: Path, plan: Plan, options: PreflightOptions | None = None, folder: Path | None = None
) -> Preflight:
    """Check a collection, and write preflight.md, preflight.json, sheet.png and sizes.png.

    Args:
        root: folder of the collection.
        plan: of the training that is to follow.
        options: how it is checked.
        folder: for the files; none are written without.

    Raises:
        InputError: no collection.
        ModelError: no such model, or one of a family that is not trained here.
        PromptsegError: matplotlib is not installed.
        OutputError: the folder cannot be written.
    """
    options = options or PreflightOptions()
    card = find_card(options.model)
    if card.family not in ("sam", "sam2", "sam3"):
        raise ModelError(
            "a model of the SAM, SAM 2 or SAM 3 family to train", f"{card.name} of {card.family}"
        )
    collection = Collection(root)
    if not collection.samples:
        raise InputError("a collection with samples", f"{root} without any", "curate data first")
    sizes = sizes_of(collection.samples, card.preprocessing)
    found = Preflight(
        collection=collection.root,
        sha256=collection.sha256,
        model=card.name,
        statistics=count(collection),
        sizes=summarise(sizes),
        balance=balance_of(collection.samples),
        leaks=divided(collection.samples),
        licences=collection.licences,
        report_part=collection.report_part,
        reported=len({(s.dataset, s.patient) for s in collection.of(collection.report_part)}),
    )
    if folder is not None:
        take_for_reports(folder, PREFLIGHT)
        with atomic_path(folder / "sizes.png") as path:
            draw_sizes(sizes, path)
    pixels = read_pixels(collection, _drawn(collection.samples, options), card, options.quiet)
    found.read, found.damaged = len(pixels.sha256) + len(pixels.damaged), pixels.damaged
    found.read_seconds = pixels.read_seconds
    found.leaks += same_pictures(collection.samples, pixels.sha256)
    found.alike = alike_samples(collection.samples, pixels.phash)
    learned = collection.of("train")
    images = len(learned) if plan.frames == 1 else _clips(learned)
    measurable = plan.frames == 1 or card.family == "sam2"
    if options.measure and measurable and images:
        objects = sum(min(len(s.targets), plan.n_objects) for s in learned) / len(learned)
        found.estimate = estimate_training(
            card.build, plan, images, objects, options.device, card.family
        )
    found.errors, found.warnings = errors_of(found), warnings_of(found)
    if options.measure and not (measurable and images):
        why = (
            "no clips to train on" if measurable else f"{card.name} has no memory to train on clips"
        )
        found.warnings.append(f"time and memory are not estimated: {why}")
    if folder is not None:
        shown = [sample for sample in collection.samples if sample.targets]
        chosen = choose(shown, options.panels, options.seed)
        page = make_sheet(collection, chosen, card.keep_8bit, options.seed)
        with atomic_path(folder / "sheet.png") as path:
            page.save(path)
        write_report(found, folder)
    return found


def _clips(samples: Sequence[Sample]) -> int:
    """Cases of several slices or frames, of each of which an epoch has a clip."""
    slices = Counter((s.dataset, s.case) for s in samples if s.slice is not None)
    return sum(count > 1 for count in slices.values())


def _drawn(samples: Sequence[Sample], options: PreflightOptions) -> list[Sample]:
    if options.all or len(samples) <= options.samples:
        return list(samples)
    order = generator(options.seed, "read").permutation(len(samples))[: options.samples]
    return [samples[k] for k in sorted(order)]
