"""The napari plugin without napari: layers are arrays with a transform; here and on a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

import promptseg
from fakes import BrightPredictor, ball
from promptseg.formats.masks import read_masks
from promptseg.segment.segmenter import Segmenter
from promptseg_napari import files, samples
from promptseg_napari.backends import Local, Remote
from promptseg_napari.layers import Target, labels_for
from promptseg_napari.problems import Problem
from promptseg_napari.work import Work
from serve.conftest import SHAPE, TOKEN, A, B, Running
from serve.fake_server import OPTIONS, words

PLUGIN = Path(__file__).resolve().parents[2] / "apps" / "napari"
VOXELS = np.where(A | B, 200, 0).astype(np.uint8)
AXIAL, SAGITTAL = (1, 2), (0, 1)


class _Affine:
    def __init__(self, matrix: NDArray[np.float64]) -> None:
        self.affine_matrix = matrix


@dataclass
class PlainLayer:
    """An array with a transform, as a layer has them."""

    data: Any
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    name: str = "scan"
    dimensions: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    units: str = "mm"

    @property
    def ndim(self) -> int:
        return self.dimensions or self.data.ndim

    @property
    def matrix(self) -> NDArray[np.float64]:
        found = np.eye(self.ndim + 1)
        found[:-1, :-1] = np.diag(self.scale or (1,) * self.ndim)
        found[:-1, -1] = self.translate or (0,) * self.ndim
        return found

    @property
    def _data_to_world(self) -> _Affine:
        return _Affine(self.matrix)

    def data_to_world(self, place: Any) -> NDArray[np.float64]:
        return (self.matrix @ [*place, 1])[:-1]

    def world_to_data(self, place: Any) -> NDArray[np.float64]:
        return np.linalg.solve(self.matrix, [*place, 1])[:-1]

    def refresh(self) -> None:
        pass


def local(card: str = "mobile-sam") -> Local:
    return Local(lambda _: Segmenter(BrightPredictor(card=card)), OPTIONS)


def begun(backend: Any, voxels: NDArray[Any] = VOXELS, moving: bool = False, **layer: Any) -> Work:
    target = Target.of(PlainLayer(voxels, **layer), moving)
    made = labels_for(target)
    labels = PlainLayer(made["data"], metadata=made["metadata"], name=made["name"])
    return Work(target, labels, backend, backend.models[0])


def done(work: Work, do: Callable[[Callable[[str], None]], None]) -> list[str]:
    said: list[str] = []
    do(said.append)
    work.show()
    return said


@pytest.fixture(params=["local", "server"])
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "local":
        return local()
    return remote_on(request.getfixturevalue("server"))


def remote_on(server: Running) -> Remote:
    return Remote(f"http://127.0.0.1:{server.client.port}/?token={TOKEN}")


def test_click_box_undo_paint_and_save(backend: Any, tmp_path: Path) -> None:
    work = begun(backend, scale=(2.5, 0.5, 0.7), translate=(10, 20, 30))
    # a layer of its own scale: places count in the world
    prompts = PlainLayer(
        np.zeros((0, 3)), scale=(5.0, 1.0, 1.4), translate=(10, 20, 30), dimensions=3
    )
    corners = np.array([[10, y, x] for y, x in ((15, 7), (15, 17), (25, 17), (25, 7))]) / 2
    said = done(work, work.box(prompts, corners, AXIAL))
    assert any("opening scan" in text for text in said)
    np.testing.assert_array_equal(work.labels.data == 1, A)
    done(work, work.clicks(prompts, np.array([[10, 20, 36]]) / 2, True, AXIAL))
    np.testing.assert_array_equal(work.labels.data[10] == 1, (A | B)[10])
    done(work, work.undo(0))
    np.testing.assert_array_equal(work.labels.data == 1, A)
    work.new_object("node")
    done(work, work.clicks(prompts, np.array([[10, 20, 36]]) / 2, True, SAGITTAL, False))
    assert (work.labels.data[:, :, 36] == 2).any()
    assert not (work.labels.data[:, :, 35] == 2).any()
    done(work, work.redo(0))
    work.labels.data[3, 2:5, 2:5] = 2
    done(work, work.painted(AXIAL))
    assert (work.labels.data[3, 2:5, 2:5] == 2).all()
    assert set(work.numbers) == {"object 1", "node"}
    target = tmp_path / "out.nrrd"
    done(work, work.save(str(target), 0))
    assert {s.name for s in read_masks(target).segments} == {"object 1", "node"}
    np.testing.assert_allclose(sorted(promptseg.read(target).geometry.spacing), [0.5, 0.7, 2.5])
    work.close()


def test_painting_waits_for_its_commit_whatever_is_answered(backend: Any) -> None:
    """A click on another object and an undo leave it; committed, it is the session's."""
    work = begun(backend)
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    labels = work.labels
    done(work, work.box(layer, [[10, 15, 7], [10, 25, 17]], AXIAL))
    labels.data[3, 2:5, 2:5] = 1
    labels.data[10, 20, 12] = 0
    expected = A.copy()
    expected[3, 2:5, 2:5] = True
    expected[10, 20, 12] = False
    work.new_object()
    done(work, work.clicks(layer, [[10, 20, 36]], True, AXIAL))
    np.testing.assert_array_equal(labels.data == 1, expected)
    np.testing.assert_array_equal(labels.data[10] == 2, B[10])
    done(work, work.undo(0))
    np.testing.assert_array_equal(labels.data, expected)

    do = work.painted(AXIAL)
    labels.data[5, 30:33, 2:5] = 1  # painted while the answer is under way
    done(work, do)
    np.testing.assert_array_equal(work.sessions[0].masks["object 1"], expected)
    expected[5, 30:33, 2:5] = True
    np.testing.assert_array_equal(labels.data, expected)
    done(work, work.painted(AXIAL))
    np.testing.assert_array_equal(work.sessions[0].masks["object 1"], expected)
    with pytest.raises(Problem, match="something painted"):
        work.painted(AXIAL)
    work.close()


def test_what_lies_below_an_erased_object_is_seen(backend: Any) -> None:
    """Two objects on the same voxels: the upper one is erased there, and the lower one is seen."""
    work = begun(backend)
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    for _ in range(2):
        done(work, work.clicks(layer, [[10, 20, 12]], True, AXIAL, False))
        work.new_object()
    assert set(np.unique(work.labels.data)) == {0, 2}
    work.labels.data[10, 20, 12] = 0
    done(work, work.painted(AXIAL))
    assert work.labels.data[10, 20, 12] == 1
    work.close()


def test_a_box_with_a_first_and_a_last_slice(backend: Any) -> None:
    work = begun(backend)
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    corners = [[9, 15, 7], [9, 25, 17]]
    done(work, work.box(layer, corners, AXIAL, depth=(13, 8)))
    expected = A.copy()
    expected[:8] = expected[14:] = False
    np.testing.assert_array_equal(work.labels.data == 1, expected)
    work.close()


def test_a_picture_in_time_is_carried_on(backend: Any) -> None:
    balls = [ball((3, 40, 60), (1, 20, 15 + t), 6)[1] for t in range(5)]
    voxels = np.where(np.stack(balls), 200, 0).astype(np.uint8)
    work = begun(backend, voxels, moving=True)
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    done(work, work.box(layer, [[0, 13, 8], [0, 27, 22]], (1, 2)))
    np.testing.assert_array_equal(work.labels.data[0], balls[0])
    assert not work.labels.data[1:].any()
    done(work, work.carry_on(0))
    np.testing.assert_array_equal(work.labels.data, np.stack(balls))
    with pytest.raises(Problem, match="one time point"):
        work.box(layer, [[0, 13, 8], [1, 27, 22]], (1, 2))
    with pytest.raises(Problem, match="an object at this time point"):
        begun(backend, voxels, moving=True).carry_on(2)
    work.close()


def test_volumes_in_time() -> None:
    work = begun(local(), np.stack([VOXELS, VOXELS[:, :, ::-1]]), moving=True)
    layer = PlainLayer(np.zeros((0, 4)), dimensions=4)
    done(work, work.box(layer, [[1, 10, 15, 30], [1, 10, 25, 40]], (2, 3)))
    np.testing.assert_array_equal(work.labels.data[1] == 1, A[:, :, ::-1])
    assert not work.labels.data[0].any()


def test_colours_and_pictures() -> None:
    voxels = np.repeat(VOXELS[10][..., None], 3, axis=-1)
    work = begun(local(), voxels, dimensions=2)
    layer = PlainLayer(np.zeros((0, 2)), dimensions=2)
    done(work, work.clicks(layer, [[20, 12]], True, (0, 1)))
    np.testing.assert_array_equal(work.labels.data == 1, A[10])


@pytest.mark.parametrize("where", ["here", "server"])
def test_words(where: str, server: Running) -> None:
    server.desk.models["promptseg-words"] = words()
    backend = Local(lambda _: words(), OPTIONS) if where == "here" else remote_on(server)
    work = begun(backend)
    work.model = "promptseg-words"
    done(work, work.words("bright", AXIAL, [10, 0, 0], spread=False))
    np.testing.assert_array_equal(work.labels.data[10] > 0, (A | B)[10])
    assert not work.labels.data[[9, 11]].any()
    done(work, work.undo(0))
    done(work, work.words("light patch", AXIAL, [10, 0, 0]))
    np.testing.assert_array_equal(work.labels.data > 0, A | B)
    assert work.current == "light patch"
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    done(work, work.clicks(layer, [[10, 20, 36]], False, AXIAL))
    np.testing.assert_array_equal(work.labels.data[10] > 0, A[10])
    done(work, work.words("spleen", AXIAL))
    assert "nothing was found for 'spleen'" in work.said
    with pytest.raises(Exception, match="the nearest is 'bright'"):
        done(work, work.words("brigth one", AXIAL))
    if where == "server":
        assert backend.words_of("promptseg-words") == [
            "bright", "light patch", "liver", "LIV", "spleen"
        ]  # fmt: skip


def test_words_for_a_model_that_takes_none(server: Running) -> None:
    plain = begun(local())
    with pytest.raises(Problem, match="a model that takes words, got mobile-sam; choose"):
        done(plain, plain.words("liver", AXIAL))
    with pytest.raises(Problem, match="write what"):
        plain.words(" ", AXIAL)
    assert local().words_of("mobile-sam") is None
    assert "fetal head" in (local().words_of("promptseg-words") or [])
    assert local().words_of("mine.pt") == []
    assert remote_on(server).words_of("bright") is None


def test_stopping_leaves_the_answer_on_its_slice() -> None:
    work = begun(local())
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    do = work.box(layer, [[10, 15, 7], [10, 25, 17]], AXIAL)
    work.stopped = True
    done(work, do)
    np.testing.assert_array_equal(work.labels.data[10], A[10])
    assert not work.labels.data[[5, 15]].any()


def test_what_cannot_be_done_is_said(server: Running) -> None:
    work = begun(local())
    layer = PlainLayer(np.zeros((0, 3)), dimensions=3)
    flat = PlainLayer(np.zeros((0, 2)), dimensions=2)
    for places, do, text in (
        ([[0, 0, 99]], lambda p: work.clicks(layer, p, True, AXIAL), "places in the image"),
        ([[0, 50, 50], [0, 60, 60]], lambda p: work.box(layer, p, AXIAL), "touches the image"),
        ([[0, 5, 5], [3, 9, 9]], lambda p: work.box(layer, p, AXIAL), "on one slice"),
        ([[0, 5, 5]], lambda p: work.clicks(layer, p, True, (0, 1, 2)), "press 2D/3D"),
        ([[5, 5]], lambda p: work.clicks(flat, p, True, AXIAL), "3 axes"),
    ):  # fmt: skip
        with pytest.raises(Problem, match=text):
            do(places)
    with pytest.raises(Problem, match="something painted"):
        work.painted(AXIAL)
    with pytest.raises(Problem, match="without; tick time"):
        work.carry_on(0)
    work.labels.data = np.zeros((2, 2, 2), np.int32)
    with pytest.raises(Problem, match="open the image again"):
        work.painted(AXIAL)
    with pytest.raises(Problem, match="two or three axes"):
        Target.of(PlainLayer(np.zeros((2, 2, 2, 2))), False)
    with pytest.raises(Problem, match="start it: promptseg serve"):
        Remote("http://127.0.0.1:9/?token=x")
    with pytest.raises(Problem, match="paste its whole address"):
        Remote(f"http://127.0.0.1:{server.client.port}/?token=wrong")


def test_another_version_of_the_server(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.serve.describe.__version__", "7.3.0")
    with pytest.raises(Problem, match=r"got 7\.3\.0; install that one there"):
        Remote(f"http://127.0.0.1:{server.client.port}/?token={TOKEN}")


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "promptseg_client", None)
    with pytest.raises(Problem, match=r"pip install 'promptseg-napari\[server\]'"):
        Remote("http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "promptseg", None)
    with pytest.raises(Problem, match=r"pip install 'promptseg-napari\[local\]'"):
        files.read_image("scan.nii.gz")


# Files.


def test_reading_and_writing(tmp_path: Path) -> None:
    affine = np.diag([-0.7, -0.5, 2.5, 1.0])
    affine[:3, 3] = 5, 6, 7
    source = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(VOXELS.T, affine), source)
    reader = files.get_reader(str(source))
    assert reader is not None
    ((voxels, facts, kind),) = reader(str(source))
    assert kind == "image"
    np.testing.assert_array_equal(voxels, VOXELS)
    np.testing.assert_allclose(facts["scale"], [2.5, 0.5, 0.7], rtol=1e-6)
    np.testing.assert_allclose(facts["translate"], [7, -6, -5], rtol=1e-6)
    labels = A.astype(np.int32) + 2 * B
    facts["metadata"]["promptseg_names"] = {1: "Liver"}
    (written,) = files.write_labels(str(tmp_path / "out.seg.nrrd"), labels, facts)
    image = promptseg.read(source)
    found = read_masks(written, image)
    assert found.geometry.agrees_with(image.geometry)
    np.testing.assert_array_equal(found.segments[0].mask(SHAPE), A)
    assert [s.name for s in found.segments] == ["Liver", "label 2"]
    ((again, facts, kind),) = files.read_layers(written)
    assert kind == "labels"
    np.testing.assert_array_equal(again, labels)
    assert facts["metadata"]["promptseg_names"] == {1: "Liver", 2: "label 2"}
    (plain,) = files.write_labels(str(tmp_path / "p.nii.gz"), labels, {"scale": (3, 1, 2)})
    np.testing.assert_allclose(promptseg.read(plain).geometry.spacing, [2, 1, 3])
    with pytest.raises(promptseg.PromptsegError, match="exists"):
        files.write_labels(str(tmp_path / "p.nii.gz"), labels, {})


def test_a_file_keeps_its_place_on_a_server(server: Running, tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1, 2, 1])
    affine[:3, 3] = 11, 12, 13
    source = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(VOXELS.T, affine), source)
    voxels, facts, _ = files.read_image(str(source))
    remote = Remote(f"http://127.0.0.1:{server.client.port}/?token={TOKEN}")
    work = begun(remote, voxels, scale=tuple(facts["scale"]), metadata=facts["metadata"])
    points = PlainLayer(np.zeros((0, 3)), dimensions=3, scale=tuple(facts["scale"]))
    done(work, work.clicks(points, [[10, 20, 12]], True, AXIAL))
    done(work, work.save(str(tmp_path / "out.nii.gz"), 0))
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii.gz").affine, affine, atol=1e-5)
    work.close()


def test_samples() -> None:
    ((voxels, facts, kind),) = samples.balls()
    assert (voxels.shape, kind) == ((24, 96, 128), "image")
    assert facts["scale"] == [3.0, 1.0, 1.0]


# The package.


def test_the_manifest_names_what_there_is() -> None:
    from importlib import import_module

    manifest = yaml.safe_load((PLUGIN / "src/promptseg_napari/napari.yaml").read_text("utf-8"))
    commands = {c["id"]: c["python_name"] for c in manifest["contributions"]["commands"]}
    for name in commands.values():
        module, _, attribute = name.partition(":")
        if module.endswith("panel"):  # needs a Qt
            assert f"class {attribute}(" in (PLUGIN / "src/promptseg_napari/panel.py").read_text(
                "utf-8"
            )
            continue
        assert callable(getattr(import_module(module), attribute))
    for kind in ("widgets", "readers", "writers", "sample_data"):
        for entry in manifest["contributions"][kind]:
            assert entry["command"] in commands


def test_it_is_imported_in_less_than_a_second() -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[1:]; import numpy; t = time.perf_counter(); "
        "import promptseg_napari.files, promptseg_napari.work, promptseg_napari.samples; "
        "print(time.perf_counter() - t, 'torch' in sys.modules, 'promptseg' in sys.modules)"
    )
    here = [str(PLUGIN / "src"), str(PLUGIN.parents[1] / "src")]
    ran = subprocess.run(
        [sys.executable, "-c", code, *here], capture_output=True, text=True, check=True
    )
    seconds, torch, ours = ran.stdout.split()
    assert float(seconds) < 1
    assert (torch, ours) == ("False", "False")
