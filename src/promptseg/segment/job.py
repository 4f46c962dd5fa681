"""One image from file to files: read, segment, write mask, overlay and provenance."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import PromptError
from promptseg.formats import format_for_output, read
from promptseg.formats.files import atomic_path, beside, check_output
from promptseg.image import Image
from promptseg.progress import step_progress
from promptseg.promptfile import PromptFile, read_prompt_file
from promptseg.prompts import Box3D, Prompt, parse_box, parse_box3d, parse_point
from promptseg.segment.options import SegmentJob
from promptseg.segment.overlay import overlay_picture
from promptseg.segment.segmenter import Segmenter, load

__all__ = [
    "Outputs",
    "check_outputs",
    "prompts_of",
    "replay",
    "run_job",
    "segment_file",
]


@dataclass
class Outputs:
    """What one run left on the disk.

    Attributes:
        mask: the mask file.
        overlay: the overlay picture, if it was asked for.
        provenance_file: the JSON beside it.
        provenance: its content.
    """

    mask: Path
    overlay: Path | None
    provenance_file: Path
    provenance: dict[str, Any]

    def summary(self) -> list[str]:
        """Lines for a person: the objects, and where everything is."""
        lines = []
        for entry in self.provenance["objects"]:
            sizes = {"volume_ml": "{:.2f} ml", "area_mm2": "{:.1f} mm2", "area_px": "{:.0f} px"}
            facts = [text.format(entry[key]) for key, text in sizes.items() if key in entry][:1]
            if entry["long_axis"] is not None:
                unit = entry["unit"]
                facts.append(f"{entry['long_axis']:.1f} x {entry['short_axis']:.1f} {unit}")
            if entry["predicted_iou"] is not None:
                facts.append(f"predicted IoU {entry['predicted_iou']:.2f}")
            found = ", ".join(facts) if entry["voxels"] else "nothing found"
            lines.append(f"{entry['label']} {entry['name']}: {found}")
        lines.append(f"mask        {self.mask}")
        if self.overlay:
            lines.append(f"overlay     {self.overlay}")
        lines.append(f"provenance  {self.provenance_file}")
        return lines


def prompts_of(command: SegmentJob, file: PromptFile | None = None) -> list[Prompt]:
    """The prompts of the command line and of one entry of its prompt file."""
    axis = command.axis
    prompts: list[Prompt] = list(file.prompts) if file else []
    if file and file.axis is None and axis != "z":
        prompts = [
            p if isinstance(p, Box3D) else dataclasses.replace(p, axis=axis) for p in prompts
        ]
    prompts += [parse_box(text, axis) for text in command.box]
    prompts += [parse_box3d(text) for text in command.box3d]
    prompts += [parse_point(text, axis) for text in command.point]
    return prompts


def segment_file(command: SegmentJob) -> Outputs:
    """Do what the command says for its one input.

    Raises:
        PromptsegError: anything the user can put right; nothing has been written then.
    """
    file = None
    if command.prompts is not None:
        files = read_prompt_file(command.prompts)
        if len(files) != 1:
            raise PromptError(
                "a prompt file for one image",
                f"{command.prompts} for {len(files)} images",
                "give the folder of the images as input",
            )
        file = files[0]
    prompts = prompts_of(command, file)
    check_outputs(command)
    image = read(
        command.input, modality=command.modality, nan_as=command.nan_as, series=command.series
    )
    if file and file.image and Path(file.image).name != image.name:
        image.source.notes.append(f"the prompt file was written for {file.image}")
    format_for_output(command.output, image)
    segmenter = load(
        command.model, device=command.device, threads=command.threads, quiet=command.quiet
    )
    return run_job(segmenter, image, prompts, command)


def run_job(
    segmenter: Segmenter, image: Image, prompts: list[Prompt], command: SegmentJob
) -> Outputs:
    """Segment `image`, and write mask, provenance and overlay."""
    with step_progress(f"{image.name}: slices", None, command.quiet) as update:
        result = segmenter.segment(
            image, *prompts, options=command, progress=lambda n, what: update(n, f"({what})")
        )
    result.provenance["command"] = replay(command)
    result.save(command.output, overwrite=command.overwrite, overlap=command.overlap)
    overlay = beside(command.output, ".overlay.png") if command.overlay else None
    if overlay:
        shown = [p.check(image.geometry) for p in prompts or image.source.prompts]
        axis = result.provenance["prompts"]["axis"]
        intensity = segmenter.intensity(image, command)
        with atomic_path(overlay) as temporary:
            overlay_picture(result, image, intensity, shown, axis).save(temporary)
    return Outputs(command.output, overlay, beside(command.output, ".json"), result.provenance)


def check_outputs(command: SegmentJob) -> None:
    """Refuse before any work what could not be written after it."""
    check_output(command.output, command.overwrite)
    check_output(beside(command.output, ".json"), command.overwrite)
    if command.overlay:
        check_output(beside(command.output, ".overlay.png"), command.overwrite)


def replay(command: SegmentJob) -> dict[str, Any]:
    """The command as plain values that `--config` takes."""
    values = dataclasses.asdict(command)
    for name in ("overwrite", "config", "json", "quiet"):
        values.pop(name)
    return {
        k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v
        for k, v in values.items()
    }
