"""Memory that a job takes, told before it begins: from the head of an image and the model.

The factors were measured (docs/lists.md, "Memory").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from promptseg.assets import manifest
from promptseg.errors import PromptsegError
from promptseg.formats.options import ReadOptions
from promptseg.formats.sizes import size_of
from promptseg.models.cards import find_card, model_file

__all__ = [
    "converting_bytes",
    "curating_bytes",
    "encoding_bytes",
    "process_bytes",
    "scoring_bytes",
    "segmenting_bytes",
]

_MIB = 1 << 20
_LIBRARIES = 550 * _MIB  # Python, torch, readers
_ENGINE = 200 * _MIB  # one that is not eager
_WEIGHTS = 3  # copies of the weights while they are made ready
_UNKNOWN_WEIGHTS = 100 * _MIB
_EMBEDDINGS = 512 * _MIB  # that an image keeps at hand, at most
_EMBEDDING = 4 * _MIB  # of a slice
_WORK = 280 * _MIB  # of the network, for a slice, and of what writes
_SAMPLES = 40 * _MIB  # of what cuts and packs slices
_IMAGE = 2.0  # times the bytes of its voxels: they are held, and once more in parts


def process_bytes(models: str | Sequence[str], engine: str | None = None) -> int:
    """Estimate the memory of a process that has loaded a model, or several, on a CPU.

    Args:
        models: as `--model` has them.
        engine: what executes them.
    """
    weights = sum(map(_weights_bytes, [models] if isinstance(models, str) else models))
    return _LIBRARIES + (0 if engine == "eager" else _ENGINE) + _WEIGHTS * weights


def _weights_bytes(model: str) -> int:
    """Bytes of a model's file, about."""
    weights = _UNKNOWN_WEIGHTS
    try:
        name, file = model_file(model)
        if file is not None:
            weights = file.stat().st_size
        elif name is not None:
            weights = manifest()[find_card(name).weights].size or _UNKNOWN_WEIGHTS
    except (PromptsegError, OSError, KeyError):
        pass  # loading it says what is wrong
    return weights


def segmenting_bytes(path: Path, options: ReadOptions) -> int:
    """Estimate the memory that segmenting an image takes besides; 0 where its size is not known.

    Args:
        path: of the image.
        options: as it is read.
    """
    size = size_of(path, options)
    if size is None:
        return 0
    return int(_IMAGE * size.nbytes) + min(_EMBEDDINGS, size.slices * _EMBEDDING) + _WORK


def encoding_bytes(path: Path, options: ReadOptions, batch: int | None = None) -> int:
    """Estimate the memory that encoding an image ahead of time takes; 0 where its size is not known."""
    size = size_of(path, options)
    if size is None:
        return 0
    return int(_IMAGE * size.nbytes) + (batch or 1) * (_WORK + _EMBEDDING)


def converting_bytes(path: Path) -> int:
    """Estimate the memory that converting a mask takes; 0 where its size is not known."""
    size = size_of(path)
    return 0 if size is None else int(2 * _IMAGE * size.nbytes)


def scoring_bytes(
    image: Path, labels: Iterable[Path], options: ReadOptions, encoded: int | None = None
) -> int:
    """Estimate the memory that scoring a case takes; 0 where its size is not known.

    Args:
        image: file or folder.
        labels: of the truth, and of masks that are scored.
        options: as they are read.
        encoded: slices whose embeddings are kept at most; all if None, and 0 where no model is asked.
    """
    size = size_of(image, options)
    if size is None:
        return 0
    slices = size.slices if encoded is None else min(encoded, size.slices)
    model = min(_EMBEDDINGS, slices * _EMBEDDING) + _WORK if slices else 0
    masks = sum(found.nbytes for found in map(size_of, labels) if found is not None)
    return int(_IMAGE * size.nbytes) + masks + model


def curating_bytes(files: Iterable[Path]) -> int:
    """Estimate the memory that making samples of a case takes; 0 where its size is not known.

    Args:
        files: its image and labels.
    """
    known = sum(size.nbytes for size in map(size_of, files) if size is not None)
    return int(_IMAGE * known) + _SAMPLES if known else 0
