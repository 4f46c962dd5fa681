"""The clips that promptseg-memory is trained on, of a small pool made here, and its options."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

from curate.made import disc
from promptseg.train.options import TrainOptions

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "memory"
VOLUME, VIDEO, MOVED = (
    "ct__ibsi_sts_more",
    "endoscopy__vocalfolds_patient1",
    "mr__sunnybrook_slices",
)


def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_clips", RECIPE / "clips.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def volume(folder: Path, case: str) -> None:
    """A bright body on all of 20 slices, and a tumour in it on slices 4 to 13."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.full((40, 48, 20), -900, dtype=np.int16)
    values[6:34, 8:40] = 40
    label = np.zeros(values.shape, dtype=np.uint8)
    label[14:24, 16:28, 4:14] = 1
    for kind, array in (("image", values), ("label", label)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{case}_{kind}.nii.gz")


def picture(folder: Path, case: str, centre: int) -> None:
    mask = disc((48, 48), 24, centre, 9).astype(np.uint8)
    for kind, array in (("images", 60 + 120 * mask), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{case}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips."""
    root = tmp_path_factory.mktemp("memory")
    pool, data = root / "pool", root / "data"
    data.mkdir()
    rows = []
    for case, part in (("STS_1", "train"), ("STS_2", "test"), ("STS_3", "validation")):
        volume(pool / "volume" / VOLUME, case)
        rows.append((VOLUME, case, case, part))
    for k in range(5):
        picture(pool / "picture" / VIDEO, f"patient1_seq1_{k:04d}_l", 16 + 3 * k)
    for case, part in (("a", "train"), ("b", "validation")):
        picture(pool / "picture" / MOVED, case, 24)
        rows.append((MOVED, case, case, part))
    with (pool / "split.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([("dataset", "case", "patient", "part"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTSEG_POOL", str(pool))
        patch.setenv("PROMPTSEG_DATA", str(data))
        recipe().main(["-o", str(root / "clips"), "--step", "1"])
    return root / "clips"


def masks(clip: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(p)) for p in sorted((clip / "masks").iterdir())])


def test_no_clip_is_of_the_test_part(made: Path) -> None:
    with (made / "splits.csv").open(newline="") as stream:
        rows = {(r["dataset"], r["case"]): r["part"] for r in csv.DictReader(stream)}
    of_volumes = {case: part for (dataset, case), part in rows.items() if dataset == "volumes_ct"}
    assert of_volumes == {
        f"{VOLUME}_{case}_{which}": part
        for case, part in (("STS_1", "train"), ("STS_3", "validation"))
        for which in ("middle", "end")
    }
    assert rows["vocalfolds", "patient1_seq1"] == "train"  # all its frames are one clip
    assert len(masks(made / "vocalfolds" / "patient1_seq1")) == 5
    assert rows[f"moved_{MOVED}", "a"] == "train"
    assert (f"moved_{MOVED}", "b") not in rows


def test_a_clip_over_the_end_has_the_object_gone_and_what_is_around_it_still_there(
    made: Path,
) -> None:
    found = masks(made / "volumes_ct" / f"{VOLUME}_STS_1_end")
    assert [bool((m == 1).any()) for m in found] == [True] * 4 + [False] * 2
    assert all((m == 2).sum() > 500 for m in found)
    middle = masks(made / "volumes_ct" / f"{VOLUME}_STS_1_middle")
    assert set(np.unique(middle)) == {0, 1}
    assert all((m == 1).any() for m in middle)


def test_a_picture_moves_with_its_mask(made: Path) -> None:
    clip = made / f"moved_{MOVED}" / "a"
    found = masks(clip) > 0
    shown = [np.array(Image.open(p)) for p in sorted((clip / "frames").iterdir())]
    centres = np.array([np.argwhere(m).mean(0) for m in found])
    assert np.linalg.norm(centres[-1] - centres[0]) > 1
    for values, mask in zip(shown, found, strict=True):
        assert values[mask].mean() > values[~mask].mean() + 60


def test_its_options_are_those_of_a_training() -> None:
    said = yaml.safe_load((RECIPE / "train.yaml").read_text(encoding="utf-8"))
    options = TrainOptions(input=Path("data"), output=Path("run"), **said)
    options.check()
    strategy = options.preset_values()
    assert strategy.trains == "memory"
    assert strategy.objective.guess  # type: ignore[attr-defined]
    assert strategy.objective.turns  # type: ignore[attr-defined]
