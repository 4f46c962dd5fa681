"""A case as it is read and cut: whatever goes wrong leaves it out, and never stops the job."""

from __future__ import annotations

from collections.abc import Iterator

from promptseg.curate.options import ConversionOptions
from promptseg.curate.rules import Excluded, MaskError
from promptseg.curate.slices import Piece, labels_of, pieces_of
from promptseg.curate.sources import Origin
from promptseg.curate.tiles import Mosaic, is_slide, tile_pieces
from promptseg.datasets import CaseFiles
from promptseg.datasets.collection import Labels, Target
from promptseg.datasets.manifest import perceptual_hashes
from promptseg.errors import GeometryError, LabelsError, is_fault
from promptseg.image import Image, Segment

__all__ = ["Reading"]

GroundTruthPiece = tuple[Piece, Labels, tuple[Target, ...]]


class Reading:
    """The 2D images of a case with their label layers, read as they are asked for, once.

    What is raised by who takes them, such as a full disk, does not pass through here.

    Args:
        case: image and truth.
        origin: of the case.
        options: the rules.
        excluded: gets what is left out, of the case or as a whole.

    Attributes:
        failed: whether the case cannot be used; what was given of it then does not count.
        sha256: of the voxels, once all is given; empty for slides, which are never in memory.
        hashes: perceptual ones, once all is given.
        notes: of the readers of image and truth, once all is given; a slide's has none.
    """

    def __init__(
        self, case: CaseFiles, origin: Origin, options: ConversionOptions, excluded: Excluded
    ) -> None:
        self.case, self.origin, self.options, self.excluded = case, origin, options, excluded
        self.failed = False
        self.sha256 = ""
        self.hashes: list[str] = []
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[GroundTruthPiece]:
        try:
            for piece in self._slide() if is_slide(self.case.image) else self._image():
                yield piece, *labels_of(piece.patches, piece.picture.shape[:2])
        except _UnusableError as error:
            self.excluded.note(*error.args)
            self.failed = True
        except Exception as error:  # libraries raise anything on broken files
            if is_fault(error):
                raise
            self.excluded.note(_rule_of(error), _first_line(error))
            self.failed = True

    def _slide(self) -> Iterator[Piece]:
        mosaic = Mosaic()
        yield from tile_pieces(self.case, self.origin, self.options, self.excluded, mosaic)
        shown = mosaic.image()
        self.hashes = perceptual_hashes(shown) if shown else []

    def _image(self) -> Iterator[Piece]:
        image, segments = self._load()
        annotated = self.case.annotated
        vain = bool(self.case.absent)
        yield from pieces_of(image, segments, annotated, self.options, self.excluded, vain)
        self.sha256, self.hashes = image.sha256(), perceptual_hashes(image)

    def _load(self) -> tuple[Image, list[Segment]]:
        """Image and objects."""
        try:
            image = self.case.load_image()
            low, high = image.voxels.min(), image.voxels.max()
        except Exception as error:
            if is_fault(error):
                raise
            raise _UnusableError("incomplete image", _first_line(error)) from error
        if low == high:
            raise _UnusableError("empty image", f"every voxel is {low}")
        try:
            segments = self.case.truth_reader(self.case, image).segments
        except Exception as error:
            if is_fault(error):
                raise
            raise _UnusableError(_rule_of(error, "unusable mask"), _first_line(error)) from error
        self.notes = list(dict.fromkeys(image.source.notes))  # the truth's are among them
        if not segments and not self.case.absent:
            raise _UnusableError("empty mask", "no object in it")
        return image, list(segments)


class _UnusableError(Exception):
    """A case that is to be left out: rule, detail."""


def _rule_of(error: Exception, otherwise: str = "incomplete image") -> str:
    if isinstance(error, LabelsError):
        return "labels not integers"
    if isinstance(error, GeometryError):
        return "mask of another grid"
    return "unusable mask" if isinstance(error, MaskError) else otherwise


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
