"""Actions of programs in a folder: look, segment, correct, measure, convert; answers are plain values.

The folder's rules are the server's: nothing outside it is read or written. Answers never hold patient
fields of a header; pictures are of the image itself, and only where they are wanted.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image as PilImage

from promptseg.errors import InputError, OutputError
from promptseg.formats import format_by_suffix, read
from promptseg.formats.files import overlay_path
from promptseg.formats.masks import read_masks
from promptseg.image import Image, Segmentation
from promptseg.jobs.convert import ConvertJob, convert
from promptseg.jobs.info import gather
from promptseg.jobs.preview import PreviewOptions, preview_picture
from promptseg.jobs.segment import check_outputs, prompts_in_labels, prompts_of, run_job
from promptseg.segment.asked_words import words_known
from promptseg.segment.measure import measure
from promptseg.segment.options import SegmentJob
from promptseg.segment.run import axis_of_run
from promptseg.segment.segmenter import Segmenter
from promptseg.serve.folder import Folder

__all__ = ["Answer", "Programs"]

_PRIVATE = ("path", "origin", "direction", "free_text", "identifying_fields")
_LONGEST_SIDE = 1200  # pixels of a picture that is given back


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to a program: plain values, and a picture where one is wanted.

    Attributes:
        content: plain values.
        picture: a PNG; None where there is none, or none is wanted.
    """

    content: dict[str, Any]
    picture: bytes | None = None


class Programs:
    """The tools, over one folder and some loaded models.

    Args:
        folder: where images are and results go.
        models: name -> model; the first one is taken where none is named.
        image_mib: MiB of an image, at most.
        pictures: whether pictures are given back.
        modality: of the images, over what files say.
    """

    def __init__(
        self,
        folder: Folder,
        models: Mapping[str, Segmenter],
        image_mib: int = 4096,
        pictures: bool = True,
        modality: str | None = None,
    ) -> None:
        self.folder, self.models = folder, dict(models)
        self.image_mib, self.pictures, self.modality = image_mib, pictures, modality
        self._working = threading.Lock()  # one answer at a time

    def list_images(self, folder: str = "") -> Answer:
        """List a folder's folders, series, images and videos.

        Args:
            folder: below the root; the root itself if empty.
        """
        return Answer({"entries": self.folder.listing(folder)})

    def describe_models(self) -> Answer:
        """List the models that are loaded, the prompts and words they take and what they are bad at."""
        predictors = [segmenter.predictor for segmenter in self.models.values()]
        return Answer(
            {
                "models": [
                    {
                        "name": p.card.name,
                        "prompts": sorted(p.card.prompts),
                        "words": words_known(p),
                        "weak_at": p.card.weak_at,
                    }
                    for p in predictors
                ]
            }
        )

    def info(self, image: str, slice: int | None = None, axis: str | None = None) -> Answer:
        """Return the facts on an image and a picture of it, ticked in the indices that prompts take.

        Args:
            image: below the root.
            slice: the slice to show; the middle ones if None.
            axis: along which slices are taken: x, y or z.
        """
        with self._working:
            facts, opened = gather(self.folder.image(image))
            content = {k: v for k, v in dataclasses.asdict(facts).items() if k not in _PRIVATE}
            content["image"] = image
            content["series"] = [
                {k: v for k, v in one.items() if k in ("uid", "modality", "slices")}
                for one in facts.series
            ]
            if opened is None or not self.pictures:
                return Answer(content)
            self._require_size(opened[0])
            shown = PreviewOptions(slice=slice, axis=axis)  # type: ignore[arg-type]
            return Answer(content, _png(preview_picture(*opened, shown)))

    def segment(
        self,
        image: str,
        output: str,
        boxes: Sequence[str] = (),
        points: Sequence[str] = (),
        texts: Sequence[str] = (),
        model: str = "",
        slices: str | None = None,
        overwrite: bool = False,
    ) -> Answer:
        """Segment what prompts point at and write the mask on the image's own grid.

        Args:
            image: below the root.
            output: the mask, below the root; its ending names the format.
            boxes: x0,y0,x1,y1[@slice][=name], pixels counted from 0, both ends included.
            points: x,y,+|-[@slice][=name].
            texts: words, for models that take them (see `models`), each looked for on every slice; not
                together with boxes or points.
            model: one of those that are loaded.
            slices: FIRST:LAST outside which nothing is done.
            overwrite: replace a mask that is there.
        """
        job = SegmentJob(
            **self._files(image, output, overwrite),
            box=tuple(boxes),
            point=tuple(points),
            text=tuple(texts),
            slices=slices,
        )
        return self._run(job, output, model)

    def correct(
        self,
        image: str,
        mask: str,
        output: str,
        points: Sequence[str] = (),
        boxes: Sequence[str] = (),
        model: str = "",
        overwrite: bool = False,
    ) -> Answer:
        """Correct a mask by clicks or boxes that name its objects; only what they change is computed.

        Args:
            image: below the root.
            mask: of the image, below the root.
            output: the corrected mask; another file than `mask`.
            points: x,y,+|-[@slice]=name.
            boxes: x0,y0,x1,y1[@slice]=name.
            model: one of those that are loaded.
            overwrite: replace a mask that is there.
        """
        job = SegmentJob(
            **self._files(image, output, overwrite),
            box=tuple(boxes),
            point=tuple(points),
            correct=self.folder.image(mask),
        )
        return self._run(job, output, model)

    def measure(self, mask: str) -> Answer:
        """Measure the objects of a mask: volume or area, long and short axis.

        Args:
            mask: below the root.
        """
        with self._working:
            found = read_masks(self.folder.image(mask))
            return Answer({"mask": mask, "objects": _measured(found)})

    def convert(
        self, mask: str, output: str, reference: str | None = None, overwrite: bool = False
    ) -> Answer:
        """Write a mask in another format, on the same grid, with its names.

        Args:
            mask: below the root.
            output: its ending names the format (.dcm: DICOM SEG).
            reference: the image it belongs to, which DICOM output needs.
            overwrite: replace a file that is there.
        """
        with self._working:
            job = ConvertJob(
                input=self.folder.image(mask),
                output=self._output(output),
                reference=None if reference is None else self.folder.image(reference),
                overwrite=overwrite,
                quiet=True,
            )
            written = convert(job)
            return Answer({"output": output, "objects": [s.name for s in written.segments]})

    def _files(self, image: str, output: str, overwrite: bool) -> dict[str, Any]:
        """What is read and written, and what is the same for every answer."""
        return {
            "input": self.folder.image(image),
            "output": self._output(output),
            "overwrite": overwrite,
            "overlay": self.pictures,
            "modality": self.modality,
            "quiet": True,
        }

    def _run(self, job: SegmentJob, output: str, model: str) -> Answer:
        """Segment or correct, and say what came of it."""
        segmenter = self._model(model)
        job = dataclasses.replace(job, model=segmenter.predictor.card.name)
        with self._working, _warnings() as said:
            check_outputs(job)
            opened = read(job.input, job, modality=job.modality)
            self._require_size(opened)
            prompts = prompts_of(job)
            prompts += prompts_in_labels(job, opened, axis_of_run(prompts, job.axis))
            done = run_job(segmenter, opened, prompts, job)
            record = done.provenance
            content = {
                "output": output,
                "model": segmenter.predictor.card.name,
                "objects": [
                    {
                        "name": one.name,
                        "predicted_iou": one.predicted_iou,
                        "low_confidence": one.low_confidence,
                        **({"score": one.words["score"]} if one.words else {}),
                        **{k: v for k, v in one.measurements.items() if v is not None},
                    }
                    for one in record.objects or ()
                ],
                "notes": [*dict.fromkeys([*map(str, record.notes or ()), *said])],
            }
            picture = overlay_path(job.output)
            if not self.pictures or not picture.exists():
                return Answer(content)
            with PilImage.open(picture) as overlay:
                return Answer(content, _png(overlay.convert("RGB")))

    def _model(self, name: str) -> Segmenter:
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise InputError(f"a model out of {', '.join(self.models)}", repr(name))
        return self.models[name]

    def _output(self, name: str) -> Path:
        path = self.folder.output(name)
        known = format_by_suffix(path)
        if known is None or not known.writes:
            raise OutputError("the name of a mask file, such as liver.nii.gz", repr(name))
        return path

    def _require_size(self, image: Image) -> None:
        """Refuse what would take more memory than an image may."""
        if image.voxels.nbytes > self.image_mib << 20:
            raise InputError(
                f"an image of at most {self.image_mib} MiB",
                f"{image.voxels.nbytes >> 20} MiB",
                "raise --image-mib",
            )


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged as a warning meanwhile: that nothing was found, say."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("promptseg")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def _measured(found: Segmentation) -> list[dict[str, Any]]:
    return [
        {"name": s.name, "label": s.label, **measure(s, found.geometry)} for s in found.segments
    ]


def _png(picture: PilImage.Image) -> bytes:
    """A picture as PNG, no larger than is legible."""
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
