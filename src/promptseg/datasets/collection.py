"""The training format: a folder of ZIP shards with PNG members, and one line of facts per sample.

    collection.json     what it was made from and how; the number of samples; the hash of the index
    samples.jsonl       one `Sample` per line, in order of their keys
    shards/ct-0000.zip  PNG files, stored as they are: the 2D image and its label layers

A sample is one 2D image, slice of a volume, frame of a video or tile of a slide, as 8 bits on
its own grid. PNG is lossless, small on masks and on 8-bit images, and every tool reads it. A ZIP that
does not compress keeps each member in one piece, and the index says where: reading any sample is one
`seek` and one `read` in one of few files, without a database and without opening a million small ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.errors import InputError
from promptseg.formats.files import atomic_path
from promptseg.formats.location import storage_in
from promptseg.formats.pillow import open_with_pillow
from promptseg.formats.storage import opened, parts_of
from promptseg.intensity import Intensity
from promptseg.parsing import parse_json

__all__ = [
    "SCHEMA",
    "SPLITS",
    "Collection",
    "Place",
    "Sample",
    "Shard",
    "Split",
    "Target",
    "masks_of",
]

SCHEMA = "promptseg collection 1"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Slice = NDArray[np.uint8]
Labels = NDArray[np.uint16]


class Target(NamedTuple):
    """One object of a sample.

    Attributes:
        id: its value in the label layer, from 1.
        name: of its class ("liver").
        area: pixels.
        box: XYXY, both ends inside.
        layer: which label layer; above 0 only where objects overlap.
    """

    id: int
    name: str
    area: int
    box: tuple[int, int, int, int]
    layer: int = 0


class Place(NamedTuple):
    """The place of a member's bytes in its shard.

    Attributes:
        offset: of its first byte in the shard.
        length: in bytes.
    """

    offset: int
    length: int


_NOWHERE = Place(0, 0)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The entry of a training image in the index.

    Attributes:
        key: unique in the collection: dataset/case or dataset/case/slice.
        dataset: name of the dataset it is from.
        case: scan, 2D image, video or slide.
        patient: whom it shows; the case where nobody knows.
        group: what must not be divided by a split: all samples of a patient, and of look-alikes.
        slice: index along the stack, the frames or the tiles; None for a 2D image.
        modality: one of `promptseg.image.MODALITIES`.
        shape: (rows, columns).
        pixel: width and height of a pixel, in any unit.
        targets: its objects, at least one, but where names were looked for in vain.
        absent: names that were looked for and are not there; None where all objects of the dataset's
            names are outlined.
        split: which part it belongs to.
        rule: how its values became 0..255, in words.
        clip: for 8-bit images, which are kept as they are: the values (lower, upper) that a model
            which does not keep 8 bits stretches to 0..255; None where there is nothing left to do.
        source: address or citation of the dataset.
        licence: of this image, as stated.
        shard: name of its ZIP file.
        image: where the 2D image lies in there.
        labels: where each label layer lies.
    """

    key: str
    dataset: str
    case: str
    patient: str
    group: str
    slice: int | None
    modality: str
    shape: tuple[int, int]
    pixel: tuple[float, float]
    targets: tuple[Target, ...]
    absent: tuple[str, ...] | None = None
    split: Split
    rule: str
    clip: tuple[float, float] | None = None
    source: str = ""
    licence: str = ""
    shard: str = ""
    image: Place = _NOWHERE
    labels: tuple[Place, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the sample as plain values; the inverse of `from_json`."""
        said = asdict(self)
        if self.absent is None:
            del said["absent"]
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Sample:
        """Build a sample from plain values; the inverse of `to_json`."""
        targets = tuple(
            Target(t[0], t[1], t[2], (t[3][0], t[3][1], t[3][2], t[3][3]), t[4])
            for t in said["targets"]
        )
        clip = said.get("clip")
        pairs = {
            "shape": (int(said["shape"][0]), int(said["shape"][1])),
            "pixel": (float(said["pixel"][0]), float(said["pixel"][1])),
            "clip": None if clip is None else (float(clip[0]), float(clip[1])),
            "image": Place(*said["image"]),
            "labels": tuple(Place(*place) for place in said["labels"]),
            "absent": None if said.get("absent") is None else tuple(map(str, said["absent"])),
        }
        return cls(**{**said, **pairs, "targets": targets})


class Shard:
    """A shard that is being written; it appears under its name when it is whole.

    Args:
        path: of the ZIP file to be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._atomic = atomic_path(path)
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> Shard:
        self._zip = zipfile.ZipFile(self._atomic.__enter__(), "w", zipfile.ZIP_STORED)
        return self

    def __exit__(self, *error: Any) -> None:
        assert self._zip is not None
        try:
            self._zip.close()
        except OSError as failed:  # a full disk shows up here at the latest
            error = (type(failed), failed, failed.__traceback__)
        self._atomic.__exit__(*error)

    def add(self, name: str, pixels: Slice | Labels) -> Place:
        """Store one picture: (rows, columns[, 3]) uint8, or (rows, columns) uint16 labels.

        Returns:
            Where it lies.
        """
        assert self._zip is not None
        if pixels.dtype == np.uint16 and pixels.max(initial=0) < 256:
            pixels = pixels.astype(np.uint8)
        stream = io.BytesIO()
        PilImage.fromarray(pixels).save(stream, "PNG", compress_level=4)
        content = stream.getvalue()
        self._zip.writestr(zipfile.ZipInfo(f"{name}.png"), content)
        assert self._zip.fp is not None
        return Place(self._zip.fp.tell() - len(content), len(content))


class Collection:
    """A folder of training data.

    Args:
        root: the folder; or its address in storage, of whose shards only what is read is fetched.

    Raises:
        InputError: no collection, one of another version, or an index that was changed.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        index = self.root / "samples.jsonl"
        try:
            with _opened(self.root / "collection.json") as stream:
                self.facts: dict[str, Any] = parse_json(stream.read())
            with _opened(index) as stream:
                content = stream.read()
            schema, sha256 = self.facts["schema"], self.facts["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                "a folder made by promptseg curate", f"{self.root} ({error})", "curate data first"
            ) from None
        if schema != SCHEMA:
            raise InputError(f"a {SCHEMA}", f"{self.root}: {schema}", "curate the data again")
        self.sha256 = hashlib.sha256(content).hexdigest()
        if self.sha256 != sha256:
            raise InputError(
                f"the {index.name} that promptseg curate wrote",
                f"{index}, which was changed or cut off",
                "curate the data again",
            )
        self.samples = [Sample.from_json(parse_json(line)) for line in content.splitlines()]

    @staticmethod
    def write(root: Path, samples: Iterable[Sample], facts: dict[str, Any]) -> Collection:
        """Write the index beside shards that are there already, and open the collection.

        Args:
            root: the folder.
            samples: of all shards.
            facts: what else collection.json is to say.
        """
        ordered = sorted(samples, key=lambda s: s.key)
        content = "".join(json.dumps(s.to_json()) + "\n" for s in ordered).encode()
        about = {
            "schema": SCHEMA,
            "samples": len(ordered),
            "sha256": hashlib.sha256(content).hexdigest(),
            **facts,
        }
        with atomic_path(root / "samples.jsonl") as path:
            path.write_bytes(content)
        with atomic_path(root / "collection.json") as path:
            path.write_text(json.dumps(about, indent=1) + "\n")
        return Collection(root)

    def of(self, split: Split) -> list[Sample]:
        """Return the samples of one part, in order of their keys."""
        return [s for s in self.samples if s.split == split]

    @property
    def report_part(self) -> Split:
        """Return the part that the report of a training is about: test, or validation if there is no
        test.
        """
        return "test" if any(s.split == "test" for s in self.samples) else "validation"

    def read(self, sample: Sample, keep_8bit: bool = False) -> tuple[Slice, Labels]:
        """Read the pixels of a sample.

        Args:
            sample: one of `samples`.
            keep_8bit: as on the card of the model they are for; see `Sample.clip`.

        Returns:
            (rows, columns[, 3]) uint8 and (layers, rows, columns) uint16 labels.

        Raises:
            InputError: a shard that is missing or damaged.
        """
        path = self.root / "shards" / sample.shard
        try:
            contents = _parts(path, (sample.image, *sample.labels))
            picture, *layers = (_png(content, sample.shape) for content in contents)
        except (OSError, ValueError, SyntaxError, MemoryError) as error:
            raise InputError(
                "the shards that promptseg curate wrote",
                f"{path}: {sample.key} cannot be read ({error})",
                "curate the data again",
            ) from None
        if sample.clip is not None and not keep_8bit:
            picture = Intensity(sample.modality, sample.rule, *sample.clip).apply(picture)
        return picture, np.stack([layer.astype(np.uint16) for layer in layers])

    @cached_property
    def licences(self) -> dict[str, list[str]]:
        """Return the licences of each dataset's samples, as stated."""
        found: dict[str, set[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.dataset, set()).add(sample.licence)
        return {dataset: sorted(each) for dataset, each in sorted(found.items())}


def masks_of(targets: Sequence[Target], labels: Labels) -> NDArray[np.bool_]:
    """Return masks (objects, rows, columns) of some targets of (layers, rows, columns) labels."""
    ids = np.array([t.id for t in targets], dtype=labels.dtype)
    found: NDArray[np.bool_] = labels[[t.layer for t in targets]] == ids[:, None, None]
    return found


def _opened(path: Path) -> AbstractContextManager[IO[bytes]]:
    """A file of a collection, here or in storage."""
    return path.open("rb") if storage_in(path) is None else opened(path)


def _parts(path: Path, places: Sequence[Place]) -> list[bytes]:
    """Read parts of a file of a collection, here or in storage."""
    if storage_in(path) is not None:
        return parts_of(path, [(place.offset, place.length) for place in places])
    found = []
    with path.open("rb") as stream:
        for place in places:
            stream.seek(place.offset)
            found.append(stream.read(place.length))
    return found


def _png(content: bytes, shape: tuple[int, int]) -> NDArray[Any]:
    with open_with_pillow(io.BytesIO(content)) as picture:
        if picture.size != shape[::-1]:  # asked before a pixel is unpacked
            raise ValueError(f"{picture.size} pixels where {shape[::-1]} were written")
        return np.asarray(picture)
