"""`promptseg export`: files that answer as the model does, or none."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage

import promptseg
from json_answers import answer
from promptseg.cli.main import main
from promptseg.export.write import write_onnx
from promptseg.inference.predictor import Predictor
from promptseg.jobs.export import ExportError, export_model
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import Sam
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.vit import ViT
from promptseg.models.preprocess import Preprocessing
from promptseg.runtime.engines import Part
from promptseg.runtime.openvino import core, export_ir

SIZE = 64
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "export.md"

Array = NDArray[np.float32]
Run = Callable[[dict[str, Array]], list[Array]]


def tiny_network() -> Sam:
    torch.manual_seed(3)
    encoder = ViT(48, depth=2, heads=3, whole=(1,), image_size=SIZE, window=3)
    return Sam(encoder, PromptEncoder(SIZE, grid=4)).eval().requires_grad_(False)


def predictor_of(network: Sam, folder: Path) -> Predictor:
    weights = folder / "tiny.pth"
    weights.write_bytes(b"weights")
    card = replace(CARDS["sam-vit-b"], preprocessing=Preprocessing(SIZE, "imagenet"))
    return Predictor.of_network(card, network, torch.device("cpu"), weights, "eager")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A ViT of 64 pixels with random weights."""
    return predictor_of(tiny_network(), tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def exported(tiny: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that the command writes for it, by format; made once."""
    root = tmp_path_factory.mktemp("exported")

    def make(form: str) -> Path:
        pytest.importorskip("onnxruntime" if form == "onnx" else "openvino")
        folder = root / "below" / form
        if not folder.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Predictor, "load", lambda *_: tiny)
                assert main(["export", "--format", form, "-o", str(folder)]) == 0
        return folder

    return make


@pytest.fixture
def quick(
    tiny: Predictor, exported: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> list[Predictor]:
    """Exports that take what is exported already; the list's last is the model that is loaded."""
    models = [tiny]
    monkeypatch.setattr(Predictor, "load", lambda *_: models[-1])
    source = exported("onnx")

    def copy(part: Part, folder: Path, form: str) -> Path:
        return Path(shutil.copy(source / f"{part.name}.onnx", folder))

    monkeypatch.setattr("promptseg.export.write.write_part", copy)
    return models


def opened(folder: Path, part: str) -> Run:
    """A part as a user opens it: inputs by name, outputs in the card's order."""
    card = json.loads((folder / "card.json").read_text())
    names = list(card["tensors"][part]["outputs"])
    if card["format"] == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / f"{part}.onnx")
        return lambda inputs: session.run(names, inputs)
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core().compile_model(folder / f"{part}.xml", "CPU", hint)

    def run(inputs: dict[str, Array]) -> list[Array]:
        answer = model(inputs)
        return [answer[name] for name in names]

    return run


def distance(found: Array, expected: Array) -> float:
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_files_answer_any_number_of_prompts_of_any_length_as_the_network_does(
    tiny: Predictor, exported: Callable[[str], Path], form: str
) -> None:
    folder, network, rng = exported(form), tiny_network(), np.random.default_rng(1)
    encode, decode = opened(folder, "encoder"), opened(folder, "decoder")
    slices = rng.normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    [embedding] = encode({"slices": slices})
    assert distance(embedding, network.encode(torch.from_numpy(slices)).numpy()) < 1e-4
    for objects, clicks in ((1, 1), (1, 4), (3, 2), (7, 9)):
        xy = rng.uniform(0, SIZE, (objects, clicks, 2)).astype(np.float32)
        labels = rng.integers(0, 2, (objects, clicks)).astype(np.float32)
        masks = rng.normal(0, 5, (objects, 1, 16, 16)).astype(np.float32)
        found, _ = decode(
            {
                "embedding": embedding,
                "points": np.pad(xy, ((0, 0), (0, 1), (0, 0))),
                "labels": np.pad(labels, ((0, 0), (0, 1)), constant_values=-1),
                "mask_logits": masks,
                "has_mask": np.ones(objects, np.float32),
            }
        )
        given = torch.from_numpy(embedding), (torch.from_numpy(xy), torch.from_numpy(labels))
        expected, _ = network.decode(*given, masks=torch.from_numpy(masks), multimask=True)
        assert distance(found[:, 1:], expected.numpy()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_the_references_are_answered_as_stored(exported: Callable[[str], Path], form: str) -> None:
    folder = exported(form)
    card = json.loads((folder / "card.json").read_text())
    assert card["parity"]["checked"]
    assert max(card["parity"][key] for key in ("embedding", "logits", "iou")) < 1e-4
    assert {p.name for p in folder.iterdir()} == {*card["files"], "card.json"}
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")]
    with np.load(folder / "reference.npz") as file:
        stored = dict(file)
    [embedding] = opened(folder, "encoder")({"slices": stored["slices"]})
    assert distance(embedding, stored["embedding"]) < 1e-4
    inputs = [name for name in card["tensors"]["decoder"]["inputs"] if name != "embedding"]
    for case in ("box", "click", "mask", "three"):
        given = {name: stored[f"{case}_{name}"] for name in inputs}
        found = opened(folder, "decoder")({"embedding": stored["embedding"], **given})
        for array, name in zip(found, ("logits", "iou"), strict=True):
            assert distance(array, stored[f"{case}_{name}"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_nothing_in_the_files_names_this_machine(
    exported: Callable[[str], Path], form: str
) -> None:
    places = {str(Path(m.__file__ or "").parent).encode() for m in (promptseg, torch, np)}
    for file in exported(form).iterdir():
        content = file.read_bytes()
        assert not [place for place in places if place in content]
        assert b"site-packages" not in content


@pytest.mark.slow
def test_a_folder_is_replaced_on_request_only_and_never_somebodys_own(
    quick: list[Predictor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["export", "-o", str(out)]
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr().out
    assert answer("export", printed) == json.loads((out / "card.json").read_text())
    old = json.dumps(json.loads(printed) | {"model": "old"})
    (out / "card.json").write_text(old)
    assert main(command) == 2
    assert "exists; choose another or --overwrite" in capsys.readouterr().err
    assert (out / "card.json").read_text() == old
    (out / "card.json").write_text("mine")  # no export any more
    assert main([*command, "--overwrite"]) == 2
    assert "which holds card.json" in capsys.readouterr().err
    (out / "card.json").write_text(old)
    assert main([*command, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads((out / "card.json").read_text())["model"] == "sam-vit-b"
    (out / "thesis.doc").touch()
    assert main([*command, "--overwrite"]) == 2
    assert "which holds thesis.doc" in capsys.readouterr().err
    assert (out / "thesis.doc").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_files_that_disagree_with_the_model_are_not_kept(
    quick: list[Predictor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = deepcopy(tiny_network())
    network.mask_decoder.iou_token.weight *= 1.5
    quick.append(predictor_of(network, tmp_path))
    before = sorted(tmp_path.iterdir())
    assert main(["export", "-o", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert "error: expected exported files within 0.0001 of torch" in printed
    assert "nothing was written" in printed
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_a_failed_replacement_leaves_the_old_export(
    quick: list[Predictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_model("sam-vit-b", tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def fail(*_: Any) -> Path:
        raise RuntimeError("no such operation\nand more")

    monkeypatch.setattr("promptseg.export.write.write_part", fail)
    with pytest.raises(ExportError, match=r"got RuntimeError: no such operation$"):
        export_model("sam-vit-b", tmp_path / "out", overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_without_onnxruntime_the_card_says_that_nothing_was_compared(
    quick: list[Predictor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "note: onnxruntime is not installed" in printed.err
    assert "not checked" in printed.out
    parity = json.loads((tmp_path / "out" / "card.json").read_text())["parity"]
    assert parity["checked"] is False
    assert "onnxruntime" in parity["why"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onnx"], "pip install 'promptseg[onnx]'"),
        (["--format", "openvino"], "pip install openvino"),
        (["--model", "auto"], "expected a model by name"),
        (["--format", "coreml"], "the options of promptseg export"),
    ],
)
def test_what_cannot_be_done_is_one_error_before_any_work(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in ("onnxscript", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(Predictor, "load", lambda *_: pytest.fail("loaded"))
    assert main(["export", *arguments, "-o", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("error:") == 1
    assert not list(tmp_path.iterdir())


class Doubling(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.linear(x)


def test_weights_too_large_for_one_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr("promptseg.export.write._IN_ONE_FILE", 10)
    module, x = Doubling().eval().requires_grad_(False), torch.ones(1, 64)
    path = write_onnx(Part("part", module, (x,), inputs=("x",), outputs=("y",)), tmp_path)
    assert (tmp_path / "part.onnx.data").stat().st_size >= 4 * 64 * 64
    [found] = onnxruntime.InferenceSession(path).run(["y"], {"x": x.numpy()})
    assert distance(found, module(x).numpy()) < 1e-5


def test_openvino_files_carry_the_names_of_their_tensors(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    part = Part("part", Doubling().eval(), (torch.ones(1, 64),), inputs=("x",), outputs=("y",))
    model = core().read_model(export_ir(part, tmp_path, "mine"))
    assert (tmp_path / "mine.bin").exists()
    assert [port.any_name for port in (*model.inputs, *model.outputs)] == ["x", "y"]


def bilinear(values: Array, rows: int, columns: int) -> Array:
    """The last two axes to another size: pixel centres, no antialiasing."""
    for axis, wanted in ((-2, rows), (-1, columns)):
        n = values.shape[axis]
        place = np.clip((np.arange(wanted) + 0.5) * n / wanted - 0.5, 0, n - 1)
        low = place.astype(int)
        weight = (place - low).astype(np.float32)
        weight = weight[:, None] if axis == -2 else weight
        below, above = (values.take(k, axis) for k in (low, np.minimum(low + 1, n - 1)))
        values = below * (1 - weight) + above * weight
    return values


def follow(folder: Path, picture: NDArray[np.uint8], xy: Any, labels: list[float]) -> Any:
    """A mask by what card.json says, without torch and without our code."""
    card = json.loads((folder / "card.json").read_text())
    steps = card["preprocessing"]
    size, (height, width) = steps["size"], picture.shape[:2]
    assert (steps["fit"], steps["scaling"]) == ("longest", "minmax")
    scale = size / max(height, width)
    rows, columns = int(height * scale + 0.5), int(width * scale + 0.5)
    image = PilImage.fromarray(picture).resize((columns, rows), PilImage.Resampling.BILINEAR)
    values = np.array(image, np.float32)
    values = (values - values.min()) / max(values.max() - values.min(), 1e-8)
    slices = np.zeros((1, 3, size, size), np.float32)
    slices[0, :, :rows, :columns] = values
    [embedding] = opened(folder, "encoder")({"slices": slices})
    side = card["tensors"]["decoder"]["inputs"]["mask_logits"]["shape"][-1]
    logits, iou = opened(folder, "decoder")(
        {
            "embedding": embedding,
            "points": np.array([xy], np.float32) * np.float32(scale),
            "labels": np.array([labels], np.float32),
            "mask_logits": np.zeros((1, 1, side, side), np.float32),
            "has_mask": np.zeros(1, np.float32),
        }
    )
    answer = 1 + int(iou[0, 1:].argmax()) if labels == [1, -1] else 0
    fine = bilinear(logits[0, answer], size, size)[:rows, :columns]
    return bilinear(fine, height, width) > 0


def made_picture(rows: int, columns: int) -> NDArray[np.uint8]:
    rng, (y, x) = np.random.default_rng(rows), np.mgrid[:rows, :columns] / min(rows, columns)
    grey = 60 + 90 * ((x - 0.5) ** 2 + 1.5 * (y - 0.4) ** 2 < 0.04) + rng.normal(0, 8, x.shape)
    return grey.clip(0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_lite_medsam_gives_the_same_masks_without_torch(
    lite_medsam: Predictor, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime" if form == "onnx" else "openvino")
    folder = tmp_path / "lite-medsam-onnx"
    card = export_model("lite-medsam", folder, form)  # type: ignore[arg-type]
    assert max(card["parity"][key] for key in ("embedding", "logits", "iou")) < 1e-4
    for shape in ((300, 220), (90, 120)):
        picture, short = made_picture(*shape), min(shape)
        low, high = (0.28 * short, 0.22 * short), (0.72 * short, 0.58 * short)
        box = [[round(v) for v in low], [round(v) for v in high]]
        middle = [round(0.5 * short), round(0.4 * short)]
        [embedding] = lite_medsam.encode([picture])
        for prompt, xy, labels in (
            ({"boxes": [np.ravel(box)]}, box, [2, 3]),
            ({"points": ([[middle]], [[1]])}, [middle, [0, 0]], [1, -1]),
        ):
            expected = lite_medsam.decode(embedding, **prompt).masks[0]
            found = follow(folder, picture, xy, labels)
            assert expected.any() or "points" in prompt  # it was trained on boxes alone
            assert np.count_nonzero(found != expected) <= 2  # a value of 0 up to rounding
    if form == "onnx":
        example_agrees(lite_medsam, tmp_path, monkeypatch)


def example_agrees(predictor: Predictor, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Run the documentation's first example of Python on a synthetic phantom."""
    picture = made_picture(300, 220)
    PilImage.fromarray(picture).save(folder / "slice.png")
    found = re.search(r"```python\n(import json.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert found
    patch.chdir(folder)
    names: dict[str, Any] = {}
    exec(found[1], names)
    [embedding] = predictor.encode([picture])
    expected = predictor.decode(embedding, boxes=[names["box"].ravel()]).masks[0]
    assert expected.any()
    assert np.count_nonzero(names["mask"] != expected) <= 2
