"""A family that is nothing like SAM goes through the house: one line in a table, no other change."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import promptseg
from fakes import ball
from promptseg.cli.main import main
from promptseg.errors import InputError, ModelError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.families import FAMILIES
from promptseg.train.setting import StartingWeights
from pyramid import CARD, PyramidModel, build_pyramid

SHAPE = (9, 48, 64)
CENTRE = (4, 24, 32)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the family, which is registered as any other."""
    monkeypatch.setitem(FAMILIES, CARD.family, "pyramid")
    monkeypatch.setitem(CARDS, CARD.name, CARD)
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    path = tmp_path / "pyramid.safetensors"
    save_file({f"net.{k}": v for k, v in build_pyramid().state_dict().items()}, path)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 40, SHAPE).astype(np.int16)
    values[ball(SHAPE, CENTRE, 4)] += 180
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 2.0, 1.0])), path)
    return path


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_checkpoint_says_whose_it_is(weights: Path) -> None:
    predictor = Predictor.load(weights, "cpu")
    assert predictor.card is CARD
    assert isinstance(predictor.model, PyramidModel)
    assert predictor.engine == "eager"
    torch.save({"levels.0.weight": torch.zeros(1)}, weights.with_name("other.pth"))
    with pytest.raises(ModelError, match="closest to pyramid-net"):
        Predictor.load(weights.with_name("other.pth"), "cpu")
    with pytest.raises(ModelError, match="name that model instead"):
        Predictor.load(f"lite-medsam={weights}", "cpu")


def test_what_needs_a_sam_is_refused_by_name(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"engine eager for pyramid-net.*got 'openvino-bf16'"):
        Predictor.load(weights, "cpu", engine="openvino-bf16")
    with pytest.raises(ModelError, match=r"a model that can be exported.*got pyramid-net"):
        Predictor.load(weights, "cpu").require_rewrite("can be exported")
    assert main(["benchmark", "--model", str(weights), "--quiet"]) == 2
    with pytest.raises(ModelError, match="SAM 2 or SAM 3 family to train, got pyramid-net"):
        StartingWeights.load(str(weights), True).network()


def test_it_segments_volumes_and_pictures(weights: Path, scan: Path, tmp_path: Path) -> None:
    segmenter = promptseg.load(weights, device="cpu")
    image = promptseg.read(scan, modality="MR")
    result = segmenter.segment(
        image, promptseg.Box((28, 20, 36, 28), slice=4, name="ball"), window="minmax"
    )
    assert dsc(result["ball"], ball(SHAPE, CENTRE, 4)) > 0.8
    picture = promptseg.Image.from_array(np.asarray(image.voxels[4]), "US")
    assert segmenter.segment(picture, promptseg.Box((28, 20, 36, 28))).segments[0].crop.any()
    out = tmp_path / "mask.nii.gz"
    command = ["segment", "-i", scan, "-o", out, "--model", weights, "--box", "28,20,36,28@4"]
    assert main([*map(str, command), "--quiet", "--device", "cpu"]) == 0
    facts = json.loads(out.with_name(f"{out.name}.json").read_text())
    assert facts["model"]["name"] == "pyramid-net"


def test_it_works_in_a_session(weights: Path, scan: Path, tmp_path: Path) -> None:
    segmenter = promptseg.load(weights, device="cpu")
    image = promptseg.read(scan, modality="MR")
    options = promptseg.SegmentOptions(window="minmax")
    session = promptseg.Session(segmenter, image, options)
    first = session.add_box((28, 20, 36, 28), slice=4)
    session.add_point((32, 24), slice=5)
    session.add_point((4, 4), slice=4, positive=False)
    assert session.undo()
    session.save(tmp_path / "a.session.npz")
    again = promptseg.Session.resume(tmp_path / "a.session.npz", segmenter, image)
    assert again.result().sha256() == session.result().sha256()
    assert not first.is_empty
    model = segmenter.predictor.model
    assert isinstance(model, PyramidModel)
    assert model.encoded <= SHAPE[0]


def test_its_embeddings_are_kept_and_found_again(weights: Path, scan: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    how = ["--model", str(weights), "--quiet", "--device", "cpu"]
    assert main(["embed", "-i", str(scan), "-o", str(kept), *how]) == 0
    assert len(list(kept.iterdir())) == SHAPE[0]
    masks = []
    for name, more in (("fresh", []), ("recalled", ["--embeddings", str(kept)])):
        out = tmp_path / f"{name}.nii.gz"
        command = ["segment", "-i", str(scan), "-o", str(out), "--box", "28,20,36,28@4"]
        assert main([*command, *how, *more]) == 0
        facts = json.loads(out.with_name(f"{out.name}.json").read_text())
        masks.append(facts["masks_sha256"])
        assert facts["timings"]["slices_encoded"] == (0 if more else 9)
    assert masks[0] == masks[1]


def test_it_is_evaluated(weights: Path, scan: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "mr__ball"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    image = nib.load(scan)
    truth = ball(SHAPE, CENTRE, 4).astype(np.uint8)
    nib.save(image, data / "images" / "p1.nii.gz")
    nib.save(nib.Nifti1Image(truth.T, image.affine), data / "masks" / "p1.nii.gz")
    for protocol in ("2d", "interactive-2d", "3d"):
        out = tmp_path / protocol
        command = ["evaluate", "-i", data, "-o", out, "--model", weights, "--protocol", protocol]
        done = main([*map(str, command), "--quiet", "--device", "cpu", "--window", "minmax"])
        assert done == 0
        rows = (out / "rows.csv").read_text().splitlines()
        assert len(rows) > 1
