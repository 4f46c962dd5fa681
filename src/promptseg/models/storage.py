"""A checkpoint file -> its tensors and plain values: never code, never more than the file holds."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from promptseg.errors import ModelError

__all__ = ["load_content"]

_MOST_NAMED = 3
_LARGE = 1 << 30  # bytes


def load_content(path: Path) -> Any:
    """Load a `.pt`, `.pth`, `.ckpt` or `.safetensors` file; its content says which it is.

    A folder of a model hub holds what its safetensors hold together.

    Raises:
        ModelError: missing, truncated, damaged or compressed, or holding pickled code.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if not path.is_file():
            raise ModelError("a checkpoint file", f"{path}: no such file")
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        if zipfile.is_zipfile(path):
            _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on types of its own that grow old
            # of a large file, what is not used (the state of an optimiser) is never read
            mapped = zipfile.is_zipfile(path) and path.stat().st_size >= _LARGE
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path) and "global" not in str(error).lower():
            raise _damaged(path, error) from None
        raise ModelError(
            "a checkpoint of plain tensors",
            f"{path}, which holds pickled code{_named_code(path)}",
            "code in checkpoints is never run; save its state_dict alone, or as safetensors",
        ) from None
    except Exception as error:  # torch and safetensors raise anything on damaged files
        raise _damaged(path, error) from error


def _of_folder(path: Path) -> dict[str, Any]:
    """All tensors of a folder as model hubs hold it: one file of safetensors, or several parts."""
    parts = sorted(path.glob("*.safetensors"))
    if not parts:
        raise ModelError(
            "a folder with model.safetensors",
            f"{path} without any safetensors",
            "name the checkpoint file itself",
        )
    return {name: value for part in parts for name, value in load_content(part).items()}


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with the length of a JSON header that fits into it, and that header."""
    with path.open("rb") as stream:
        start = stream.read(9)
    fits = int.from_bytes(start[:8], "little") <= path.stat().st_size - 8
    return path.suffix.lower() == ".safetensors" or (start[8:] == b"{" and fits)


def _check_archive(path: Path) -> None:
    """Refuse an archive of PyTorch's whose parts are not stored as they are.

    PyTorch always stores them; one that is compressed could unpack to any size before it is looked at.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(Path(member.filename).name == "constants.pkl" for member in members):
        raise ModelError(
            "a checkpoint of plain tensors",
            f"{path}, a TorchScript program",
            "code in checkpoints is never run; save its state_dict alone, or as safetensors",
        )
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ModelError(
                "a checkpoint whose tensors are stored as they are, as PyTorch writes it",
                f"{path}: {member.filename} is compressed, {member.compress_size:,} bytes for "
                f"{member.file_size:,}",
                "save it again with torch.save",
            )
    if (promised := sum(member.file_size for member in members)) > path.stat().st_size:
        raise ModelError(
            f"a complete checkpoint file with {promised:,} bytes of content",
            f"{path} of {path.stat().st_size:,} bytes",
            "it is damaged: get it again",
        )


def _named_code(path: Path) -> str:
    """ " (package.Class, ...)": what the file would have run, where that can be told."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # only files of the present kind can be looked into
        return ""
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f" ({', '.join(names[:_MOST_NAMED])}{more})" if names else ""


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        "a complete checkpoint file",
        f"{path} ({type(error).__name__})",
        "it is truncated or damaged: get it again",
    )
