"""A video that was opened: its frames for the screen, and the same frames for a model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image as PilImage

from promptseg.errors import ModelError
from promptseg.formats.options import ReadOptions
from promptseg.formats.video import Selection, open_video
from promptseg.formats.video.folder import ImageFrames
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.notes import Note
from promptseg.prompts import Prompt
from promptseg.segment.opened import intensity_for, notes_on
from promptseg.segment.options import SegmentOptions
from promptseg.segment.run import Run
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video.sample import SAMPLE, sample_of
from promptseg.serve.images import TurnImage
from promptseg.serve.turns import Turns

__all__ = ["Clip", "identity_of"]

_FRAMES_BYTES = 64 << 20  # decoded frames kept by each of the two readers
_EMBEDDING_BYTES = 128 << 20
_LOOKED_AT = 1 << 20  # bytes at either end of a file that say which one it is
_QUALITY = 90
_NARROWEST = 16


@dataclass
class Clip:
    """A video and a model, ready for prompts; nothing of it is in memory but a few frames.

    The screen and the model have a reader each: whoever looks around does not make a model that
    propagates objects decode everything from the key frame before.

    Attributes:
        path: file or folder.
        series: that was chosen, of a DICOM folder.
        frames: for the model, those that were chosen.
        shown: the same for the screen.
        embedded: the frames as the model sees them.
        segmenter: the model.
        options: how objects are propagated.
        identity: what tells this clip from another one of the name.
    """

    path: Path
    series: str | None
    frames: Selection
    shown: Selection
    embedded: TurnImage
    segmenter: Segmenter
    options: SegmentOptions
    identity: str

    @classmethod
    def open(
        cls,
        frames: Selection,
        series: str | None,
        segmenter: Segmenter,
        options: SegmentOptions,
        turns: Turns,
    ) -> Clip:
        """Open a clip for a model; some frames of it are decoded.

        Args:
            frames: those that are meant, of a video that was opened; closed with the clip.
            series: as the video was opened with.
            segmenter: a model of prompts.
            options: modality, window and how objects are propagated.
            turns: of the model's device.

        Raises:
            InputError: no video, or one that cannot be read.
            ModelError: a model that takes no prompts.
        """
        if is_semantic(segmenter.predictor.card.name):
            raise ModelError("a model of prompts for a video", segmenter.predictor.card.name)
        path = frames.video.facts.path
        shown = _again(frames, series)
        frames.video.cache_bytes = _FRAMES_BYTES
        try:
            sample = sample_of(frames, options.modality)
            intensity = intensity_for(segmenter.predictor, sample, options)
            image = frames.image()
            image.modality = sample.modality
            if intensity.lower is not None and len(frames) > SAMPLE:
                measured = f"gray values were measured on {SAMPLE} frames of {len(frames)}"
                image.source.notes.append(Note(measured, "intensity"))
            asked = (options.modality, options.window)
            predictor = segmenter.predictor
            plain = EmbeddedImage(
                image, "z", intensity, predictor, 1, _EMBEDDING_BYTES, look_ahead=False, asked=asked
            )
        except BaseException:
            shown.video.close()
            raise
        embedded = TurnImage.of(plain, turns, _EMBEDDING_BYTES)
        identity = identity_of(path, frames)
        return cls(
            path,
            series,
            frames=frames,
            shown=shown,
            embedded=embedded,
            segmenter=segmenter,
            options=options,
            identity=identity,
        )

    def __post_init__(self) -> None:
        self._drawing = Lock()

    @property
    def size(self) -> tuple[int, int]:
        """Return the (rows, columns) of a frame."""
        return self.frames.video.facts.size

    @property
    def nbytes(self) -> int:
        """Return the bytes that may be held at once: decoded frames, and embeddings at hand."""
        one = int(np.prod(self.embedded.image.voxels.shape[1:])) * self.frames.video.dtype.itemsize
        return 2 * max(_FRAMES_BYTES, one) + self.embedded.nbytes

    @property
    def notes(self) -> list[str]:
        """Return notes for people on the file and on how the model sees it."""
        return [str(getattr(note, "bare", note)) for note in notes_on(self.embedded)]

    def run(
        self, prompts: Sequence[Prompt], options: SegmentOptions, image: Image | None = None
    ) -> Run:
        """Check prompts, which lie on places among the frames, and prepare to answer them.

        Args:
            prompts: of any objects.
            options: how they are propagated.
            image: the same frames with another reader, in place of the model's own.

        Raises:
            PromptError: outside the frame, or of a kind that the model does not take.
        """
        embedded: EmbeddedImage = self.embedded
        if image is not None:
            known = self.embedded
            embedded = EmbeddedImage(
                image, "z", known.intensity, known.predictor, 1, 0, asked=known.asked
            )
        return Run.prepare(embedded, prompts, options, None, perf_counter())

    def picture(self, place: int, width: int | None = None) -> bytes:
        """Return a frame as the model sees it, as JPEG.

        Args:
            place: of the frame among the chosen ones.
            width: pixels it is made smaller to, if it is wider.

        Raises:
            InputError: it cannot be decoded, or is of another size than the first.
        """
        with self._drawing:
            frame = self.shown.frame(place)
            pixels = np.ascontiguousarray(self.embedded.intensity.apply(frame))
        picture = PilImage.fromarray(pixels)
        if width is not None and width < picture.width:
            width = max(width, _NARROWEST)
            height = max(1, round(picture.height * width / picture.width))
            picture = picture.resize((width, height), PilImage.Resampling.BILINEAR)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()

    def on(self, limits: tuple[int, int]) -> SegmentOptions:
        """Return the options for a stretch of frames, from the first place to the last."""
        return replace(self.options, slices=f"{limits[0]}:{limits[1]}")

    def facts(self) -> dict[str, Any]:
        """Return the facts on the clip as plain values; frames are counted as in the whole video."""
        video, numbers = self.frames.video, self.frames.numbers
        intensity = self.embedded.intensity
        times = video.facts.times
        return {
            "name": video.name,
            "size": list(self.size),
            "count": len(video),
            "first": numbers[0],
            "last": numbers[-1],
            "stride": numbers.step,
            "places": len(self.frames),
            "rate": video.rate,
            "seconds": None if times is None else float(times[numbers[-1]] - times[numbers[0]]),
            "start": None if times is None else float(times[numbers[0]]),
            "codec": video.facts.codec,
            "colour": video.facts.colour,
            "cine": video.facts.format == "dicom",
            "modality": intensity.modality,
            "modality_guessed": intensity.guessed,
            "window": intensity.rule,
            "notes": self.notes,
        }

    def reader(self) -> Selection:
        """Return the same frames with a reader of their own, which the caller has to close."""
        return _again(self.frames, self.series)

    def close(self) -> None:
        """Let go of the file."""
        self.frames.video.close()
        self.shown.video.close()


def _again(frames: Selection, series: str | None) -> Selection:
    """The same frames with another reader; of a file that was cut off, as far as it goes."""
    path, last = frames.video.facts.path, len(frames.video) - 1
    found = open_video(path, ReadOptions(frames=f"0:{last}", series=series))
    found.video.cache_bytes = _FRAMES_BYTES
    return Selection(found.video, frames.numbers)


def identity_of(path: Path, frames: Selection) -> str:
    """Return a hash that tells a clip from others: sizes, number of frames, and both ends of a file.

    A video may have many gigabytes, which are not read for it.
    """
    video = frames.video
    digest = hashlib.sha256(repr((video.facts.size, len(video), str(video.dtype))).encode())
    files = [path]
    if path.is_dir():
        own = video.files if isinstance(video, ImageFrames) else path.iterdir()
        files = sorted(file for file in own if file.is_file())
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode() if path.is_dir() else f"{size}\n".encode())
        if path.is_dir():
            continue
        with file.open("rb") as stream:
            digest.update(stream.read(_LOOKED_AT))
            stream.seek(max(0, size - _LOOKED_AT))
            digest.update(stream.read(_LOOKED_AT))
    return digest.hexdigest()
