"""Weights under the name, and in the place, where another tool looks for them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg._version import __version__
from promptseg.assets import sha256_of
from promptseg.errors import InputError, ModelError, OutputError, did_you_mean
from promptseg.export.tools import TOOLS, Entry, Tool, ToolName, tools_for
from promptseg.formats.files import atomic_paths
from promptseg.formats.location import require_local
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.text import read_text
from promptseg.models.card import ModelCard
from promptseg.models.cards import AUTO

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RECORD", "Placed", "place_for"]

RECORD = ".promptseg.json"
"""Ending of the file beside the weights that says whose they are."""


@dataclass(frozen=True)
class Placed:
    """Weights that were put where a tool looks.

    Attributes:
        file: the weights.
        step: what is left to do in the tool.
        notes: what differs there from what promptseg does with the same weights.
        sha256: of the weights.
    """

    file: Path
    step: str
    notes: tuple[str, ...]
    sha256: str


def place_for(
    model: str | Path,
    tool: ToolName,
    place: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> Placed:
    """Write a model's weights so that an annotation tool loads them unchanged (MedicoSAM, Table I).

    Args:
        model: NAME, FILE, or NAME=FILE.
        tool: name out of `promptseg.export.tools.TOOLS`.
        place: the folder that the tool loads from; None where every machine has the same.
        overwrite: whether weights that an earlier call put there may be replaced. Files of anybody
            else, such as the published weights of the same name, never are.
        quiet: no progress bar while weights are fetched.

    Returns:
        Where they are now and what is left to do.

    Raises:
        InputError: unknown tool, or a folder is needed and none is given.
        ModelError: the tool has no network for these weights, or as `open_checkpoint`.
        OutputError: the place is taken or cannot be written.

    Examples:
        >>> place_for("mobile-sam", "micro-sam", "weights").step          # doctest: +SKIP
    """
    known = _tool(tool)
    if str(model) == AUTO:
        raise ModelError("a model by name, or a checkpoint", AUTO)
    if place is None and known.place is None:
        raise InputError(
            f"--output with the folder that {tool} loads from", "none", f"name {known.where}"
        )
    folder = Path(place) if place is not None else known.place.expanduser()  # type: ignore[union-attr]
    require_local(folder)

    from promptseg.models.checkpoint import open_checkpoint, require_numbers

    card, source, tensors = open_checkpoint(model, quiet)
    entry = known.entries.get(card.build)
    if entry is None:
        able = ", ".join(tools_for(card)) or "none of the tools that promptseg knows"
        raise ModelError(
            f"a model that {tool} can load",
            f"{card.name}: {known.why}",
            f"it can be loaded by {able}",
        )
    require_numbers(tensors, source)
    weights = folder / entry.file.format(model=card.name)
    beside = [weights.parent / name for name in entry.companions]
    record = weights.with_name(weights.name + RECORD)
    _require_free([weights, *beside], record, overwrite, Reads([source]))
    contents = _onnx_contents(model, quiet) if known.onnx else _contents(card, entry, tensors)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[record.name] = _record(card, tool, sums)
    paths = [weights.parent / name for name in contents]
    with atomic_paths(*paths, overwrite=overwrite) as temporaries:
        for temporary, content in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(content)
    step = entry.step.format(file=weights.absolute(), folder=weights.parent.absolute())
    return Placed(weights, step, _notes(known, card, folder), sums[weights.name])


def _tool(name: str) -> Tool:
    if name not in TOOLS:
        raise InputError(
            f"a tool out of {', '.join(TOOLS)}", repr(name), did_you_mean(name, list(TOOLS))
        )
    return TOOLS[name]


def _notes(tool: Tool, card: ModelCard, folder: Path) -> tuple[str, ...]:
    """What the user would find out later, and wonder."""
    notes = []
    if tool.onnx:
        notes.append(
            "the tool adds a point of label -1 to boxes, too, which SAM was not trained with: masks of "
            "boxes differ a little from those here"
        )
        if card.preprocessing.fit != "longest":
            notes.append(
                f"{card.name} was trained on 2D images squashed to a square; there it gets them "
                "undistorted: masks differ from those here"
            )
    elif tool.scaling != card.preprocessing.scaling:
        notes.append(
            f"the tool scales pixels in its own way ({tool.scaling}), {card.name} was trained with "
            f"another ({card.preprocessing.scaling}): masks there differ from those here"
        )
    if tool.differs:
        notes.append(f"{tool.differs}: masks there can differ from those here")
    notes += [
        f"the tool does not start without {name} in the same folder"
        for name in tool.wants
        if not (folder / name).exists()
    ]
    return tuple(notes)


def _require_free(paths: Sequence[Path], record: Path, overwrite: bool, reads: Reads) -> None:
    """Refuse a place that is taken, unless by what an earlier call has put there."""
    check_outputs([*paths, record], overwrite, reads)
    listed = _listed(record)
    for path in paths:
        if path.exists() and listed.get(path.name) != sha256_of(path):
            raise OutputError(
                "a place where nothing is, or weights that promptseg has put there",
                f"{path}, which somebody else has put there or changed since",
                "move it away first",
            )


def _listed(record: Path) -> dict[str, str]:
    """Name -> SHA-256 of what an earlier call has written."""
    try:
        return dict(json.loads(read_text(record))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _onnx_contents(model: str | Path, quiet: bool) -> dict[str, bytes]:
    """Name -> content of the files for a tool that runs ONNX, what the user opens first."""
    from importlib.util import find_spec

    wanted = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in wanted if find_spec(name) is None]:
        raise InputError(
            f"{', '.join(wanted)} to be installed",
            f"no {' and no '.join(missing)}",
            "pip install 'promptseg[onnx]'",
        )
    from promptseg.export.anylabeling import canvas_files
    from promptseg.inference.predictor import Predictor
    from promptseg.runtime.rewrite import FusedSam

    predictor = Predictor.load(model, "cpu", quiet, "eager")
    network = predictor.require_rewrite("can be exported").network
    assert isinstance(network, FusedSam)  # of all builds in the tools' table
    return canvas_files(predictor.card, network)


def _contents(card: ModelCard, entry: Entry, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Name -> content of the files that the tool reads, the weights first."""
    import torch

    from promptseg.models.official import official_tensors

    whole = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in official_tensors(tensors, card).items()
    }
    weights = Path(entry.file.format(model=card.name)).name
    if entry.companions:
        from promptseg.export.transformers_sam import transformers_folder
        from promptseg.models.families import family_named
        from promptseg.models.families.sam.vit import ViT

        encoder = family_named(card.family).network(card.build).get_submodule("image_encoder")
        assert isinstance(encoder, ViT)  # of all builds in the tool's table
        files = transformers_folder(encoder, whole)
        return {name: files[name] for name in (weights, *entry.companions)}
    stream = io.BytesIO()  # no path: its name would go into the archive
    torch.save({"model": whole} if entry.wrapped else whole, stream)
    return {weights: stream.getvalue()}


def _record(card: ModelCard, tool: str, sums: Mapping[str, str]) -> bytes:
    """What says beside the weights whose they are: their name no longer does."""
    content = {
        "schema": "promptseg-placed/1",
        "model": card.name,
        "tool": tool,
        "files": dict(sums),
        "licence": card.licence,
        "prompts": sorted(card.prompts),
        "promptseg": __version__,
    }
    return (json.dumps(content, indent=1) + "\n").encode()
