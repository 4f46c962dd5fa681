"""The pair for AnyLabeling and X-AnyLabeling: their loader's steps, written anew, and our masks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage

from json_answers import answer
from promptseg import Box, Image, Points, load
from promptseg.cli.main import main
from promptseg.errors import ModelError
from promptseg.export.anylabeling import CANVAS, resizing
from promptseg.jobs.place import RECORD, place_for
from promptseg.models.families.sam import build_mobile_sam
from promptseg.models.families.sam2.build import build_sam2

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Loader:
    """What both tools do with a configuration of type `segment_anything`, step by step."""

    def __init__(self, config: Path) -> None:
        said = yaml.safe_load(config.read_text(encoding="utf-8"))
        assert {"type", "name", "display_name"} <= set(said)
        assert said["type"] == "segment_anything"
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", said["name"])
        assert {said[key] for key in ("input_size", "max_width", "max_height")} == {1024, 682}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        encoder, decoder = (
            onnxruntime.InferenceSession(
                config.parent / said[f"{part}_model_path"],
                options,
                providers=["CPUExecutionProvider"],
            )
            for part in ("encoder", "decoder")
        )
        self.encoder, self.decoder = encoder, decoder
        self.input = encoder.get_inputs()[0]
        names = {one.name for one in decoder.get_inputs()}
        assert not names & {"high_res_feats_0", "backbone_fpn_0", "language_mask"}, "so it is a SAM"

    def encode(self, picture: NDArray[np.uint8]) -> None:
        rows, columns = picture.shape[:2]
        self.shape = (rows, columns)
        self.scale = min(CANVAS[1] / columns, CANVAS[0] / rows)
        canvas = np.stack(
            [
                ndimage.affine_transform(
                    picture[..., k].astype(np.float64),
                    np.full(2, 1 / self.scale),
                    output_shape=CANVAS,
                    order=1,
                    mode="constant",
                )
                for k in range(3)
            ],
            axis=-1,
        )
        assert self.input.type == "tensor(float)"
        canvas = np.round(canvas).astype(np.float32)
        (self.embedding,) = self.encoder.run(None, {self.input.name: canvas})

    def mask(self, *marks: tuple[str, list[float], int]) -> NDArray[np.bool_]:
        points: list[list[float]] = []
        labels: list[int] = []
        for kind, data, label in marks:
            if kind == "point":
                points.append(data)
                labels.append(label)
            else:
                points += [data[:2], data[2:]]
                labels += [2, 3]
        xy = np.array([*points, [0.0, 0.0]])[None] * self.scale
        inputs = {
            "image_embeddings": self.embedding,
            "point_coords": xy.astype(np.float32),
            "point_labels": np.array([[*labels, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(CANVAS, np.float32),
        }
        masks, _, _ = self.decoder.run(None, inputs)
        back = ndimage.affine_transform(
            masks[0, 0].astype(np.float64), np.full(2, self.scale), output_shape=self.shape, order=1
        )
        return np.asarray(back > 0)


def picture(rows: int, columns: int) -> NDArray[np.uint8]:
    """A bright disc and a gray one on noise."""
    y, x = np.indices((rows, columns))
    values = np.random.default_rng(0).normal(60, 8, (rows, columns))
    values[(y - 0.4 * rows) ** 2 + (x - 0.35 * columns) ** 2 < (0.18 * rows) ** 2] += 130
    values[(y - 0.7 * rows) ** 2 + (x - 0.7 * columns) ** 2 < (0.15 * rows) ** 2] += 60
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(
    ("tool", "name"), [("anylabeling", "lite-medsam"), ("x-anylabeling", "promptseg-lite")]
)
def test_the_tools_find_our_masks(tool: Any, name: str, tmp_path: Path, request: Any) -> None:
    model: Any = name
    if name == "lite-medsam":
        model = f"lite-medsam={request.getfixturevalue('lite_medsam_weights')}"
    placed = place_for(model, tool, tmp_path)
    assert placed.file == tmp_path / name / "config.yaml"
    assert str(placed.file) in placed.step
    assert any("label -1" in note for note in placed.notes)
    loader = Loader(placed.file)
    ours = load(model, engine="eager", threads=1)
    for shape in ((342, 512), (300, 300)):
        pixels = picture(*shape)
        loader.encode(pixels)
        image = Image.from_array(pixels)
        rows, columns = shape
        box = [0.35 * columns - 0.2 * rows, 0.2 * rows, 0.35 * columns + 0.2 * rows, 0.6 * rows]
        expected = ours.segment(image, Box(tuple(box))).segments[0].mask(shape)  # type: ignore[arg-type]
        assert expected.sum() > 0.5 * np.pi * (0.18 * rows) ** 2
        assert iou(loader.mask(("rectangle", box, 1)), expected) > 0.93
        if name == "promptseg-lite":
            click = [0.35 * columns, 0.4 * rows]
            expected = ours.segment(image, Points((tuple(click),), (1,))).segments[0].mask(shape)  # type: ignore[arg-type]
            assert iou(loader.mask(("point", click, 1)), expected) > 0.93


def test_resizing_is_pillows() -> None:
    line = np.random.default_rng(1).integers(0, 256, (1, 684), dtype=np.uint8)
    theirs = np.array(PilImage.fromarray(line).resize((171, 1), PilImage.Resampling.BILINEAR))
    assert np.abs(line @ resizing(684, 171).T - theirs).max() < 1
    np.testing.assert_array_equal(resizing(9, 9), np.eye(9, dtype=np.float32))


def test_what_is_there_stays_and_what_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "promptseg.export.anylabeling.canvas_files",
        lambda card, network: {
            "config.yaml": b"a: 1\n",
            "encoder.onnx": b"e",
            "decoder.onnx": b"d",
        },
    )
    torch.manual_seed(0)
    torch.save(build_mobile_sam().state_dict(), tmp_path / "mine.pth")
    out = tmp_path / "out"
    command = ["export", "--model", f"mobile-sam={tmp_path / 'mine.pth'}", "--for", "anylabeling"]
    assert main([*command, "-o", str(out), "--json"]) == 0
    said = answer("export", capsys.readouterr().out)
    assert Path(said["file"]) == out / "mobile-sam/config.yaml"
    record = json.loads((out / f"mobile-sam/config.yaml{RECORD}").read_text())
    assert set(record["files"]) == {"config.yaml", "encoder.onnx", "decoder.onnx"}
    assert main([*command, "-o", str(out)]) == 2, "it exists"
    assert main([*command, "-o", str(out), "--overwrite"]) == 0
    (out / "mobile-sam/encoder.onnx").write_bytes(b"somebody else's")
    assert main([*command, "-o", str(out), "--overwrite"]) == 2
    assert (out / "mobile-sam/encoder.onnx").read_bytes() == b"somebody else's"
    assert main(command) == 2, "without a folder"
    torch.save({"model": build_sam2("sam2-t").state_dict()}, tmp_path / "sam2.pt")
    with pytest.raises(ModelError, match="SAM, MobileSAM and LiteMedSAM"):
        place_for(f"sam2-t={tmp_path / 'sam2.pt'}", "x-anylabeling", tmp_path / "no")
    assert not (tmp_path / "no").exists()
