"""Embeddings on disk: a slice that was encoded once is never encoded again, by any process.

One file per slice, because that is what a model encodes, what a prompt needs and what can be thrown
away; an interrupted run keeps every slice it finished, and no process ever changes a file that another
one reads. The name of a file is the hash of everything its content depends on, so a changed window,
image or model asks for another file and old ones are never wrong, only unused.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg._version import __version__
from promptseg.errors import InputError, NoSpaceError, OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.location import require_local
from promptseg.inference.predictor import Embedding, Predictor
from promptseg.parsing import parse_json

__all__ = ["EmbeddingKey", "EmbeddingStore"]

log = logging.getLogger("promptseg")

# Part of every key. Raise it when an encoder or a preprocessing gives other numbers than before: files
# that were written until then are not used any more.
_VERSION = 2

_ENDING = ".embedding.safetensors"
_OURS = re.compile(r"[0-9a-f]{64}\.embedding\.safetensors")
_LEFT_OVER = re.compile(r"\.part-\d+-[0-9a-f]{8}\.safetensors")  # of a process that was killed
_LEFT_OVER_AFTER = 3600  # seconds
_LONGEST_HEADER = 1 << 20  # bytes
_TICK = 0.01  # seconds that the times of files may lag
_LOOK_AGAIN = 256 << 20  # bytes written until the folder is looked at again: others write too


@dataclass(frozen=True)
class EmbeddingKey:
    """Everything an embedding depends on.

    Attributes:
        facts: as JSON in one spelling; equal facts give equal embeddings.
    """

    facts: str

    @classmethod
    def of(
        cls, predictor: Predictor, slice_: NDArray[np.uint8], pixel: tuple[float, float] = (1, 1)
    ) -> EmbeddingKey:
        """Build the key of one slice.

        Args:
            predictor: what encodes it.
            slice_: (rows, columns[, 3]) uint8, after the intensity rule.
            pixel: width and height of its pixels, in any unit.
        """
        facts = {
            "version": _VERSION,
            "encoder": predictor.encoder,
            "pixels_sha256": hashlib.sha256(np.ascontiguousarray(slice_).data).hexdigest(),
            "shape": slice_.shape,
            **predictor.layout((slice_.shape[0], slice_.shape[1]), pixel),
        }
        return cls(json.dumps(facts, sort_keys=True))

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the facts: the name under which the embedding is kept."""
        return hashlib.sha256(self.facts.encode()).hexdigest()


class EmbeddingStore:
    """A folder of embeddings, shared by any number of processes.

    Files appear whole or not at all. A damaged file is reported, ignored and written anew. When the
    folder holds more than the limit, the least recently used embeddings are removed; no other file
    ever is.

    Args:
        folder: where they are; made when the first one is kept.
        limit: GiB that may be kept.
        since: when the job began, in seconds as `time.time` counts; now if None. What any process has
            used since then counts as pushed out if it has to go.

    Attributes:
        last: file that was read or written last; None before the first.

    Raises:
        OutputError: `folder` is a file, or the address of a server.
        InputError: a limit that is not above 0.
    """

    def __init__(self, folder: Path, limit: float = 10.0, since: float | None = None) -> None:
        if not limit > 0:
            raise InputError("a limit for embeddings above 0 GiB", f"{limit:g}")
        require_local(folder)
        if os.path.lexists(folder) and not folder.is_dir():
            raise OutputError("a folder for embeddings", f"{folder}: a file", "name a folder")
        self.folder, self.limit = folder, limit * 2**30
        self._room = _Room(folder, self.limit, time.time() if since is None else since)
        self._failure: OutputError | None = None
        self.last: Path | None = None

    def of_next_image(self) -> EmbeddingStore:
        """Return the same store for another image of a job: the room is shared, a failure is not.

        A folder of many embeddings is not looked through anew for each of them.
        """
        another = copy.copy(self)
        another._failure = another.last = None
        return another

    def get(self, key: EmbeddingKey) -> dict[str, Tensor] | None:
        """Return the tensors kept under `key`, on the CPU and bit for bit as they were; None if none
        are.
        """
        path = self._path(key)
        try:
            tensors = _unpack(path.read_bytes(), key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            log.warning("the embedding %s is ignored and made again: %s", path, reason)
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read is good enough
            os.utime(path)
        self.last = path
        return tensors

    def put(self, key: EmbeddingKey, tensors: Mapping[str, Tensor]) -> None:
        """Keep an embedding's tensors under `key`, and make room for them if need be.

        Raises:
            OutputError: the folder cannot be written.
        """
        content = _pack(tensors, key)
        path = self._path(key)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        self.last = path
        self._room.take(len(content), path)

    def encode(
        self,
        predictor: Predictor,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> tuple[list[Embedding], int]:
        """Encode slices as `Predictor.encode` does, but for those whose embeddings are here.

        A folder that cannot be written is reported once and costs nothing but time; `check` raises.

        Args:
            predictor: the model.
            slices: (rows, columns[, 3]) uint8 each, of one shape.
            pixel: width and height of their pixels, in any unit.
            parallel: whether other threads encode at the same time.

        Returns:
            The embeddings, and how many slices had to be encoded.
        """
        keys = [EmbeddingKey.of(predictor, s, pixel) for s in slices]
        embeddings: dict[int, Embedding] = {}
        for k, key in enumerate(keys):
            tensors = self.get(key)
            if tensors is not None:
                shape = slices[k].shape[0], slices[k].shape[1]
                embeddings[k] = predictor.unpack(tensors, shape, pixel)
        missing = [k for k in range(len(slices)) if k not in embeddings]
        if missing:
            new = predictor.encode([slices[k] for k in missing], pixel, parallel)
            for k, embedding in zip(missing, new, strict=True):
                embeddings[k] = embedding
                self._keep(keys[k], embedding.tensors())
        return [embeddings[k] for k in range(len(slices))], len(missing)

    def check(self) -> None:
        """Make sure that everything encoded or read from here since the job began is still here.

        Raises:
            OutputError: the folder could not be written.
            NoSpaceError: the limit is too low, for what is still to come as well.
        """
        if self._failure:
            raise self._failure
        if crowded_out := self._room.crowded_out:
            raise NoSpaceError(
                "room for all embeddings",
                f"a limit of {self.limit / 2**30:g} GiB, which pushed {crowded_out} of them out again",
                "raise --embeddings-limit or choose an empty folder",
            )

    def _keep(self, key: EmbeddingKey, tensors: Mapping[str, Tensor]) -> None:
        if self._failure:
            return
        try:
            self.put(key, tensors)
        except (OutputError, OSError) as error:  # the result does not hang on it
            ours = error if isinstance(error, OutputError) else None
            self._failure = ours or OutputError("room for embeddings", str(error))
            log.warning("embeddings are not kept from here on: %s", error)

    def _path(self, key: EmbeddingKey) -> Path:
        return self.folder / (key.digest + _ENDING)


class _Room:
    """Room for embeddings in a folder, as one process sees it; any number of threads may take of it.

    Attributes:
        crowded_out: embeddings used since the job began that had to go.
    """

    def __init__(self, folder: Path, limit: float, since: float) -> None:
        self.crowded_out = 0
        self._folder, self._limit, self._since = folder, limit, since
        self._left = 0.0  # bytes to write before the folder is looked at again
        self._one_at_a_time = Lock()

    def take(self, size: int, newest: Path) -> None:
        """Note that a file of `size` bytes was written, and make room for it if need be."""
        with self._one_at_a_time:
            self._left -= size
            if self._left < 0:
                self._make_room(newest)

    def _make_room(self, newest: Path) -> None:
        """Remove the least recently used embeddings beyond the limit.

        A tenth more is removed than need be, so that a full folder is not read for every slice.
        """
        since = self._since_there(newest)
        total = sum(size for _, size, _ in self._files())
        if total > self._limit:
            for used, size, name in sorted(self._files()):
                if total <= 0.9 * self._limit:
                    break
                path = self._folder / name
                if name == newest.name or not _is_ours(path):
                    continue
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                    total -= size
                    self.crowded_out += used >= since
        self._left = min(self._limit - total, _LOOK_AGAIN)

    def _since_there(self, newest: Path) -> float:
        """When the job began by the clock of the folder, which is that of a file written just now."""
        ahead = 0.0
        with contextlib.suppress(OSError):
            ahead = newest.stat().st_mtime - time.time()
        return 1e9 * (self._since + ahead - _TICK)

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """(time of last use, bytes, name) of every embedding; leftovers of killed processes go."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                ours = _OURS.fullmatch(entry.name)
                if not ours and not _LEFT_OVER.fullmatch(entry.name):
                    continue
                with contextlib.suppress(OSError):  # removed by another process just now
                    if not entry.is_file(follow_symlinks=False):
                        continue
                    facts = entry.stat(follow_symlinks=False)
                    if ours:
                        yield facts.st_mtime_ns, facts.st_size, entry.name
                    elif facts.st_mtime < time.time() - _LEFT_OVER_AFTER:
                        os.unlink(entry.path)


def _is_ours(path: Path) -> bool:
    """Whether a file is an embedding that we kept: its name is the hash of what it says of itself."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        facts = parse_json(stream.read(min(size, _LONGEST_HEADER)))["__metadata__"]["key"]
        return path.name == EmbeddingKey(facts).digest + _ENDING
    return False


def _pack(tensors: Mapping[str, Tensor], key: EmbeddingKey) -> bytes:
    """Tensors -> a safetensors file with what is needed to trust it."""
    from safetensors.torch import save

    last = [name for name, tensor in tensors.items() if _is_channels_last(tensor)]
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "key": key.facts,
        "features_sha256": _checksum(plain),
        # of one tensor whether, of several which: the first is what older files say
        "channels_last": json.dumps(bool(last) if len(tensors) == 1 else last),
        "device": next(iter(tensors.values())).device.type,
        "promptseg": __version__,
    }
    content: bytes = save(plain, metadata)
    return content


def _unpack(content: bytes, key: EmbeddingKey) -> dict[str, Tensor]:
    """A file's content -> tensors in the memory layout they had, on which the last bits depend.

    Raises:
        ValueError: not a whole file of ours, or not that of `key`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        facts, checksum = metadata["key"], metadata["features_sha256"]
        said = json.loads(metadata["channels_last"])
        last = set(said) if isinstance(said, list) else set(tensors) if said else set()
    except (SafetensorError, KeyError, ValueError, TypeError):
        raise ValueError("truncated or damaged") from None
    if facts != key.facts:
        raise ValueError("made from another slice or by another model")
    if checksum != _checksum(tensors):
        raise ValueError("damaged: its features have another hash")
    return {
        name: tensor.to(memory_format=torch.channels_last) if name in last else tensor
        for name, tensor in tensors.items()
    }


def _is_channels_last(tensor: Tensor) -> bool:
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
