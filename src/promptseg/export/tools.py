"""Annotation tools that load SAM's weights from a file of a fixed name: which, where, and how.

MedicoSAM's third criterion (Table I): a model runs unchanged in the tools that people annotate
with. They load by a name in a folder of their own, so that is where the weights have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from promptseg.models.card import ModelCard

__all__ = ["TOOLS", "Entry", "Tool", "ToolName", "tools_for"]

ToolName = Literal[
    "segment-anything",
    "micro-sam",
    "napari-sam",
    "samm",
    "segmentwithsam",
    "medsam",
    "transformers",
    "anylabeling",
    "x-anylabeling",
]
"""Tools that `promptseg export --for` knows."""

_VIT: Mapping[str, tuple[str, str]] = {
    "build_sam_vit_b": ("vit_b", "sam_vit_b_01ec64.pth"),
    "build_sam_vit_l": ("vit_l", "sam_vit_l_0b3195.pth"),
    "build_sam_vit_h": ("vit_h", "sam_vit_h_4b8939.pth"),
}
"""Network -> its name in `segment_anything.sam_model_registry`, and the published file's name."""

_SAM2: Mapping[str, str] = {
    "sam2-t": "sam2_hiera_tiny.pt",
    "sam2-s": "sam2_hiera_small.pt",
    "sam2-b": "sam2_hiera_base_plus.pt",
    "sam2-l": "sam2_hiera_large.pt",
}


@dataclass(frozen=True)
class Entry:
    """One network as a tool knows it.

    Attributes:
        file: the weights in the tool's folder; `{model}` stands for the model's name.
        step: what is left to do, in the tool's own words; `{file}` stands for the written file,
            `{folder}` for the folder it is in.
        wrapped: whether the tool wants the weights under the key "model" (SAM 2's files).
        companions: files that the tool reads beside the weights.
    """

    file: str
    step: str
    wrapped: bool = False
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool and what it can load.

    Attributes:
        title: the tool and the version whose loader was read or run.
        entries: network (`ModelCard.build`) -> what the tool knows it as.
        scaling: how the tool scales pixels whatever the weights were trained with; empty where the
            weights bring it along.
        differs: what else it does to pixels, which changes masks.
        place: the tool's own folder, if it is the same on every machine; `~` is the user's.
        where: which folder `--output` has to name, otherwise.
        why: why other networks are refused.
        wants: files that the tool refuses to start without, besides.
        onnx: whether it runs ONNX files, made for it, in place of the weights.
    """

    title: str
    entries: Mapping[str, Entry]
    why: str
    scaling: str = "imagenet"
    differs: str = ""
    place: Path | None = None
    where: str = "a folder of your choice"
    wants: tuple[str, ...] = field(default=())
    onnx: bool = False


def _registry(step: str) -> dict[str, Entry]:
    """SAM's three encoders, under the model's own name."""
    return {
        build: Entry("{model}.pth", step.replace("{type}", kind))
        for build, (kind, _) in _VIT.items()
    }


def _published(step: str) -> dict[str, Entry]:
    """SAM's three encoders, under the names of the published files."""
    return _vit(lambda kind, file: Entry(file, step.replace("{type}", kind)))


def _vit(entry: Callable[[str, str], Entry]) -> dict[str, Entry]:
    return {build: entry(kind, file) for build, (kind, file) in _VIT.items()}


def _pairs(step: str) -> dict[str, Entry]:
    """An encoder and a decoder for each SAM; weights beyond 1.5 GB lie beside the first."""
    builds = (*_VIT, "build_mobile_sam", "build_lite_medsam")
    return {
        build: Entry(
            "{model}/config.yaml",
            step,
            companions=(
                *("encoder.onnx", "decoder.onnx"),
                *(("encoder.onnx.data",) if build == "build_sam_vit_h" else ()),
            ),
        )
        for build in builds
    }


_ONLY_SAM = "it runs encoders and decoders of SAM, MobileSAM and LiteMedSAM as ONNX"
_ONLY_VIT = "it builds SAM's ViT-B, ViT-L and ViT-H only"

TOOLS: Mapping[str, Tool] = {
    "segment-anything": Tool(
        "segment_anything, the code of SAM, and what is built on it",
        _registry('sam_model_registry["{type}"](checkpoint="{file}")'),
        _ONLY_VIT,
    ),
    "micro-sam": Tool(
        "micro-sam 1.8",
        {
            **_registry(
                'choose {type} and give {file} as "custom weights path", or '
                'get_sam_model("{type}", checkpoint_path="{file}")'
            ),
            "build_mobile_sam": Entry(
                "{model}.pth",
                "pip install the mobile_sam package beside micro-sam, then predictor = get_sam_model("
                '"vit_t", checkpoint_path="{file}") and predictor.model.eval(), without which 1.8.14 '
                "leaves out what the weights say of attention",
            ),
        },
        "it builds SAM's encoders and MobileSAM's, at 1024 pixels",
        differs="it stretches every channel of an image to 0..255 by its own minimum and maximum",
    ),
    "napari-sam": Tool(
        "napari-sam 0.4",
        {
            **_published('choose "{type} (Cached)" as model type and press "Load model"'),
            "build_sam_vit_b": Entry(
                "sam_vit_b_01ec64_medsam.pth",
                'choose "MedSAM (Cached)" as model type and press "Load model"',
            ),
        },
        _ONLY_VIT,
        place=Path("~/.cache/napari-segment-anything"),
    ),
    "samm": Tool(
        "SAMM for 3D Slicer (2024-03)",
        {
            **_published('choose "{type}" in the module'),
            "build_sam_vit_b": Entry("medsam_vit_b.pth", 'choose "medsam_vit_b" in the module'),
            "build_mobile_sam": Entry("mobile_sam.pt", 'choose "mobile_vit_t" in the module'),
        },
        "it builds SAM's encoders and MobileSAM's, at 1024 pixels",
        where="samm-python-terminal/samm-workspace of your copy of SAMM",
        wants=("sam_vit_h_4b8939.pth",),
    ),
    "segmentwithsam": Tool(
        "SegmentWithSAM for 3D Slicer (2024-09)",
        {
            **_published('choose SAM "{type}" in the module; decline the download it offers'),
            **{
                build: Entry(file, "choose its size of SAM 2 in the module", wrapped=True)
                for build, file in _SAM2.items()
            },
        },
        "it builds SAM's ViT-B, ViT-L and ViT-H, and SAM 2.0 (not 2.1, nor at 512 pixels)",
        where="model_checkpoints of the installed extension",
    ),
    "medsam": Tool(
        "MedSAM's own scripts",
        {
            "build_sam_vit_b": Entry(
                "medsam_vit_b.pth", "python MedSAM_Inference.py -chk {file}, or gui.py"
            ),
            "build_lite_medsam": Entry(
                "lite_medsam.pth", "LiteMedSAM's scripts with -lite_medsam_checkpoint_path {file}"
            ),
        },
        "they build SAM's ViT-B and LiteMedSAM only",
        scaling="minmax",
        where="work_dir/MedSAM, or work_dir/LiteMedSAM, of your copy of MedSAM",
    ),
    "transformers": Tool(
        "transformers 4 and 5 (SamModel)",
        {
            build: Entry(
                "{model}/model.safetensors",
                'SamModel.from_pretrained("{folder}")',
                companions=("config.json", "preprocessor_config.json"),
            )
            for build in _VIT
        },
        "its SamModel has SAM's ViT-B, ViT-L and ViT-H only",
    ),
    "anylabeling": Tool(
        "AnyLabeling 0.4",
        _pairs('choose "Load Custom Model" and open {file}'),
        _ONLY_SAM,
        scaling="",
        onnx=True,
    ),
    "x-anylabeling": Tool(
        "X-AnyLabeling 4.0",
        _pairs('choose "Load Custom Model" in the list of models and open {file}'),
        _ONLY_SAM,
        scaling="",
        onnx=True,
    ),
}
"""Name -> tool. docs/tools.md has the table of every model against every tool."""

assert tuple(TOOLS) == get_args(ToolName)


def tools_for(card: ModelCard) -> list[str]:
    """Return the names of the tools that load a model's weights.

    Args:
        card: of the model.

    Examples:
        >>> from promptseg.models.cards import CARDS
        >>> tools_for(CARDS["lite-medsam"])
        ['medsam', 'anylabeling', 'x-anylabeling']
    """
    return [name for name, tool in TOOLS.items() if card.build in tool.entries]
