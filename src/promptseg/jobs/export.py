"""The export: from a model's name to a folder of checked files."""

from __future__ import annotations

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError, ModelError, PromptsegError
from promptseg.export.folder import CARD, atomic_folder, check_folder
from promptseg.export.options import FORMATS, Format
from promptseg.formats.location import require_local
from promptseg.formats.outputs import Reads
from promptseg.models.cards import AUTO, model_file
from promptseg.progress import step_progress

if TYPE_CHECKING:
    from promptseg.export.parity import Parity, Reference

__all__ = ["ExportError", "export_model"]

log = logging.getLogger("promptseg")

_NEEDED = {"onnx": ("onnx", "onnxscript"), "openvino": ("openvino",), "official": ()}


class ExportError(PromptsegError):
    """A model that could not be exported, or whose files do not answer as the model does."""


def export_model(
    model: str | Path,
    output: str | Path,
    format: Format = "onnx",
    overwrite: bool = False,
    quiet: bool = True,
) -> dict[str, Any]:
    """Write a model as files that run without torch; see docs/export.md.

    Args:
        model: NAME, FILE, or NAME=FILE.
        output: folder to be made; it appears whole or not at all.
        format: "onnx", "openvino" or "official".
        overwrite: whether an earlier export may be replaced.
        quiet: no progress.

    Returns:
        The content of `card.json`.

    Raises:
        InputError: an unknown format, or a package that is not installed.
        OutputError: the folder exists or cannot be written.
        ModelError, AssetError: as `Predictor.load`.
        ExportError: the exporter failed, or the files disagree with torch; nothing is left behind.
    """
    folder = Path(output)
    require_local(folder)
    if format not in FORMATS:
        raise InputError(f"a format out of {', '.join(FORMATS)}", repr(format))
    if str(model) == AUTO:
        raise ModelError(
            "a model by name, or a checkpoint", AUTO, "see promptseg models --recommend"
        )
    _require_packages(format)
    check_folder(folder, overwrite, Reads([model_file(model)[1]]))
    if format == "official":
        from promptseg.export.official import export_official

        return export_official(model, folder, overwrite, quiet)

    from promptseg.assets import sha256_of
    from promptseg.export.card import describe_export
    from promptseg.export.parity import Reference
    from promptseg.export.write import exported_parts, write_part
    from promptseg.inference.predictor import Predictor
    from promptseg.runtime.rewrite import FusedSam

    predictor = Predictor.load(model, "cpu", quiet, "eager")
    card, network = predictor.card, predictor.require_rewrite("can be exported").network
    if not isinstance(network, FusedSam):
        raise ModelError(
            "a SAM, which can be exported",
            f"{card.name}, a {card.family} with memory",
            "use --format official",
        )
    parts = exported_parts(network)
    title = f"exporting {card.name}"
    with step_progress(title, 4, quiet) as update, atomic_folder(folder, overwrite) as new:
        update(0, "(reference)")
        reference = Reference.of(network, card.preprocessing)
        reference.save(new / "reference.npz")
        paths = []
        for k, part in enumerate(parts):
            update(k + 1, f"({part.name})")
            try:
                paths.append(write_part(part, new, format))
            except OSError:
                raise
            except Exception as error:  # whatever an exporter may raise
                raise ExportError(
                    f"a model that can be exported to {format}", _line(error)
                ) from error
        update(3, "(check)")
        parity = _check(reference, paths)
        files = {
            p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)}
            for p in sorted(new.iterdir())
        }
        sha256 = predictor.weights_sha256
        content = describe_export(card, sha256, format, parts, files, parity)
        (new / CARD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return content


def _require_packages(format: Format) -> None:
    missing = [name for name in _NEEDED[format] if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{' and '.join(_NEEDED[format])} to be installed",
            f"no {' and no '.join(missing)}",
            "pip install openvino"
            if format == "openvino"
            else f"pip install 'promptseg[{format}]'",
        )


def _check(reference: Reference, paths: list[Path]) -> Parity | None:
    """How the files answer; None if nothing is installed that could run them."""
    from promptseg.export.parity import TOLERANCE, measure, open_exported

    if paths[0].suffix == ".onnx" and find_spec("onnxruntime") is None:
        log.warning(
            "onnxruntime is not installed: the graphs were checked, their answers were not compared "
            "with torch; pip install 'promptseg[onnx]'"
        )
        return None
    try:
        parity = measure(reference, open_exported(*paths))
    except Exception as error:  # whatever an engine may raise
        raise ExportError("exported files that run", _line(error)) from error
    if not parity.good:
        raise ExportError(
            f"exported files within {TOLERANCE:g} of torch in float32",
            str(parity),
            "nothing was written; please report it with the versions of the packages",
        )
    return parity


def _line(error: Exception) -> str:
    """What an exception says, on one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"[:300]
