"""The command line with a real network: read from its file once, and one embedding a slice.

That a file is read and that a slice gives the same embedding again is for tests/models and
tests/conformance; here it would be most of the time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.runtime.choose import wanted_engine

_READ: dict[tuple[str, str, int], Predictor] = {}
_MOST = 24  # embeddings of 4 MiB


def _homes() -> list[str | None]:
    return [os.environ.get(name) for name in ("PROMPTSEG_HOME", "PROMPTSEG_WEIGHTS")]


_USUAL = _homes()


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models by name in eager float32 are shared; files, other engines and other homes are not."""
    plain = Predictor.load

    def load(
        model: str | Path, device: str = "auto", quiet: bool = True, engine: str | None = None
    ) -> Predictor:
        if model not in CARDS or wanted_engine(engine) != "eager" or _homes() != _USUAL:
            return plain(model, device, quiet, engine)
        key = (str(model), device, torch.get_num_threads())
        if key not in _READ:
            found = plain(model, device, quiet, engine)
            if found.runner is None:
                return found
            found.runner.encode = _remembering(found.runner.encode)  # type: ignore[method-assign]
            _READ[key] = found
        return copy(_READ[key])

    monkeypatch.setattr(Predictor, "load", load)


def _remembering(encode: Callable[..., Tensor]) -> Callable[..., Tensor]:
    known: dict[bytes, Tensor] = {}

    def remembered(slices: Tensor, *how: Any, **more: Any) -> Tensor:
        key = hashlib.sha256(slices.contiguous().numpy()).digest() + bytes(slices.shape[:1])
        if key not in known:
            if len(known) == _MOST:
                del known[next(iter(known))]
            known[key] = encode(slices, *how, **more)
        return known[key].clone()

    return remembered
