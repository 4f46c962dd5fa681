"""Weights where other tools look: the loader lines of each tool, written anew, find and load them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from json_answers import answer
from models.peer import MOBILE_SAM, SEGMENT_ANYTHING, import_peer, official_lite_medsam
from models.sam2_peer import official_sam2
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError, OutputError
from promptseg.export.tools import TOOLS, tools_for
from promptseg.export.transformers_sam import transformers_folder
from promptseg.jobs.place import RECORD, place_for
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import Sam, build_mobile_sam, build_sam_vit_b
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.vit import ViT
from promptseg.models.families.sam2.build import build_sam2

Tensors = dict[str, torch.Tensor]
Loader = Callable[[Path], Any]


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensors]:
    """A fine-tuned MedicoSAM, as a plain file."""
    torch.manual_seed(0)
    state = build_sam_vit_b().state_dict()
    path = tmp_path_factory.mktemp("vit_b") / "mine.pth"
    torch.save(state, path)
    return path, state


@pytest.fixture(scope="module")
def vit_t(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensors]:
    torch.manual_seed(0)
    state = build_mobile_sam().state_dict()
    path = tmp_path_factory.mktemp("vit_t") / "mine.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)
    return path, state


def by_segment_anything(kind: str, file: Path) -> Any:
    return import_peer(*SEGMENT_ANYTHING).sam_model_registry[kind](checkpoint=str(file))


def by_mobile_sam(file: Path) -> Any:
    return import_peer(*MOBILE_SAM).sam_model_registry["vit_t"](checkpoint=str(file))


def by_micro_sam(folder: Path) -> Any:
    """It takes a path, and tells the encoder by the width of its tokens."""
    (file,) = folder.glob("*.pth")
    tensors = torch.load(file, weights_only=True)
    width = tensors["image_encoder.patch_embed.proj.weight"].shape[0]
    return by_segment_anything({768: "vit_b", 1024: "vit_l", 1280: "vit_h"}[width], file)


TOOLS_OF_VIT_B: dict[str, Loader] = {
    "segment-anything": lambda folder: by_segment_anything("vit_b", next(folder.glob("*.pth"))),
    "micro-sam": by_micro_sam,
    "napari-sam": lambda folder: by_segment_anything(
        "vit_b", folder / "sam_vit_b_01ec64_medsam.pth"
    ),
    "samm": lambda folder: by_segment_anything("vit_b", folder / "medsam_vit_b.pth"),
    "segmentwithsam": lambda folder: by_segment_anything("vit_b", folder / "sam_vit_b_01ec64.pth"),
    "medsam": lambda folder: by_segment_anything("vit_b", folder / "medsam_vit_b.pth"),
}


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS_OF_VIT_B)
def test_a_vit_b_is_loaded_by(tool: Any, tmp_path: Path, vit_b: tuple[Path, Tensors]) -> None:
    file, state = vit_b
    placed = place_for(f"medicosam-vit-b={file}", tool, tmp_path)
    assert equal(TOOLS_OF_VIT_B[tool](tmp_path), state)
    assert any("scales pixels" in note for note in placed.notes) == (tool == "medsam")
    placed.file.unlink()


@pytest.mark.peer
@pytest.mark.parametrize("tool", ["micro-sam", "samm"])
def test_a_mobile_sam_is_loaded_by(tool: Any, tmp_path: Path, vit_t: tuple[Path, Tensors]) -> None:
    file, state = vit_t
    place_for(f"promptseg-lite={file}", tool, tmp_path)
    name = {"micro-sam": "promptseg-lite.pth", "samm": "mobile_sam.pt"}[tool]
    rounded = {k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}
    assert equal(by_mobile_sam(tmp_path / name), rounded), "float16 files are written as float32"


@pytest.mark.peer
@pytest.mark.weights
def test_medsam_loads_lite_medsam(tmp_path: Path, lite_medsam_weights: Path) -> None:
    placed = place_for(f"lite-medsam={lite_medsam_weights}", "medsam", tmp_path)
    official_lite_medsam(tmp_path / "lite_medsam.pth")
    assert placed.notes == ()


@pytest.mark.peer
@pytest.mark.slow
def test_segmentwithsam_loads_a_sam_2_of_the_first_version(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = build_sam2("sam2-t").state_dict()
    torch.save({"model": state}, tmp_path / "mine.pt")
    place_for(f"sam2-t={tmp_path / 'mine.pt'}", "segmentwithsam", tmp_path / "there")
    network = official_sam2("sam2/sam2_hiera_t")
    file = tmp_path / "there" / "sam2_hiera_tiny.pt"
    found = network.load_state_dict(torch.load(file, weights_only=True)["model"], strict=True)
    assert not found.missing_keys + found.unexpected_keys


def test_transformers_gives_our_masks(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    ours = Sam(ViT(32, depth=2, heads=2, whole=(1,)), PromptEncoder(1024)).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    for name, content in transformers_folder(ours.image_encoder, ours.state_dict()).items():
        (tmp_path / name).write_bytes(content)
    theirs = transformers.SamModel.from_pretrained(tmp_path).eval()
    slices = torch.randn(1, 3, 1024, 1024)
    box, click = torch.tensor([[200.0, 300, 700, 800]]), torch.tensor([[[400.0, 500]]])
    with torch.inference_mode():
        embedding = ours.encode(slices)
        assert torch.allclose(theirs.get_image_embeddings(slices), embedding, atol=1e-4)
        logits, iou = ours.decode(embedding, (click, torch.ones(1, 1)), box, multimask=True)
        answer = theirs(
            image_embeddings=embedding,
            input_points=click[None],
            input_labels=torch.ones(1, 1, 1, dtype=torch.int),
            input_boxes=box[None],
            multimask_output=True,
        )
    assert torch.allclose(answer.pred_masks[0], logits, atol=1e-4)
    assert torch.allclose(answer.iou_scores[0], iou, atol=1e-5)


def test_transformers_prepares_pictures_as_we_do(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from promptseg.models.preprocess import Preprocessing

    encoder = ViT(32, depth=1, heads=2, whole=(0,))
    content = transformers_folder(encoder, Sam(encoder, PromptEncoder(1024)).state_dict())
    (tmp_path / "preprocessor_config.json").write_bytes(content["preprocessor_config.json"])
    processor = transformers.SamImageProcessorPil.from_pretrained(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (1024, 768, 3), dtype=np.uint8)
    theirs = processor(images=picture, return_tensors="np")["pixel_values"]
    ours, _ = Preprocessing(1024, "imagenet").apply(picture)
    assert np.abs(np.asarray(ours).reshape(3, 1024, 1024) - theirs[0]).max() < 1e-4


def test_what_a_tool_cannot_load_is_refused_with_what_can(
    tmp_path: Path, vit_t: tuple[Path, Tensors]
) -> None:
    with pytest.raises(ModelError, match=r"ViT-B, ViT-L and ViT-H only; .* micro-sam, samm"):
        place_for(f"mobile-sam={vit_t[0]}", "napari-sam", tmp_path)
    with pytest.raises(InputError, match="did you mean micro-sam"):
        place_for(f"mobile-sam={vit_t[0]}", "microsam", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="samm-workspace"):
        place_for(f"mobile-sam={vit_t[0]}", "samm")
    assert not list(tmp_path.iterdir())


def test_nothing_of_somebody_else_is_replaced(tmp_path: Path, vit_t: tuple[Path, Tensors]) -> None:
    theirs = tmp_path / "mobile_sam.pt"
    theirs.write_bytes(b"the published weights")
    model = f"mobile-sam={vit_t[0]}"
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            place_for(model, "samm", tmp_path, overwrite)
    assert theirs.read_bytes() == b"the published weights"
    theirs.unlink()
    first = place_for(model, "samm", tmp_path)
    assert "sam_vit_h_4b8939.pth" in first.notes[0], "SAMM does not start without it"
    with pytest.raises(OutputError, match="exists"):
        place_for(model, "samm", tmp_path)
    assert place_for(model, "samm", tmp_path, overwrite=True).sha256 == first.sha256
    theirs.write_bytes(b"changed since")
    with pytest.raises(OutputError, match="changed since"):
        place_for(model, "samm", tmp_path, overwrite=True)


def test_the_input_is_never_the_output(tmp_path: Path, vit_t: tuple[Path, Tensors]) -> None:
    own = tmp_path / "mobile-sam.pth"
    own.write_bytes(vit_t[0].read_bytes())
    with pytest.raises(OutputError, match="which is read"):
        place_for(f"mobile-sam={own}", "micro-sam", tmp_path, overwrite=True)


def test_the_command_says_what_is_left_to_do(
    tmp_path: Path,
    vit_t: tuple[Path, Tensors],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = ["export", "--model", f"mobile-sam={vit_t[0]}", "--for"]
    assert main([*options, "micro-sam", "-o", str(tmp_path / "out")]) == 0
    assert "mobile_sam package" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / f"mobile-sam.pth{RECORD}").read_text())
    assert (record["model"], record["tool"]) == ("mobile-sam", "micro-sam")
    assert main([*options, "micro-sam", "-o", str(tmp_path / "again"), "--json"]) == 0
    said = answer("export", capsys.readouterr().out)
    assert said["sha256"] == record["files"]["mobile-sam.pth"]
    assert main([*options, "micro-sam", "--format", "openvino", "-o", "x"]) == 2
    assert main([*options, "micro"]) == 2
    assert main(["export", "--model", "mobile-sam"]) == 2


def test_a_place_that_is_the_same_everywhere_needs_no_output(
    tmp_path: Path, vit_b: tuple[Path, Tensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    placed = place_for(f"sam-vit-b={vit_b[0]}", "napari-sam")
    assert placed.file.parent == tmp_path / ".cache/napari-segment-anything"


def test_the_table_in_the_docs_is_the_one_in_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (head,) = (row for row in rows if row[:2] == ["model", "segment-anything"])
    said = {
        model: [tool for tool, cell in zip(head[1:], row[1:], strict=True) if cell == "yes"]
        for row in rows
        if len(row) == len(head) and row[0].startswith("`")
        for model in re.findall("`([^`]+)`", row[0])
        if "*" not in model
    }
    assert head[1:] == list(TOOLS)
    assert {name for name in CARDS if tools_for(CARDS[name])} <= set(said)
    for model, tools in said.items():
        assert tools == tools_for(CARDS[model]), model


def equal(network: Any, expected: Tensors) -> bool:
    found = network.state_dict()
    return all(torch.equal(found[name], value) for name, value in expected.items())
