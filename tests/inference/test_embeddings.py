"""Embeddings on disk: never made twice, never stale, never in the way of anything else."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import BrightPredictor, ball
from promptseg.errors import InputError, NoSpaceError, OutputError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference import embeddings
from promptseg.inference.embeddings import EmbeddingKey, EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.models.preprocess import Preprocessing
from promptseg.prompts import Box
from promptseg.segment.segmenter import Segmenter

ENCODED = 13  # the ball's 11 slices and an empty one on either side
BOX = Box((19, 15, 29, 25), 10, "ball")


def scan(spacing: tuple[float, float, float] = (1, 1, 2), level: int = 200) -> Image:
    """A ball; made anew each time, as another process would read it."""
    values = np.where(ball((20, 40, 48), (10, 20, 24), 5), level, 0).astype(np.int16)
    values[:, 0, 0] = level + 5 * np.arange(20)  # no two slices are equal
    return Image(values, Geometry.from_spacing(values.shape, spacing), "MR")


def segmented(
    folder: Path, predictor: Predictor | None = None, image: Image | None = None, **options: Any
) -> tuple[np.ndarray, int]:
    """Mask, and slices encoded, of a run that knows nothing but the folder."""
    segmenter = Segmenter(predictor or BrightPredictor(level=40), EmbeddingStore(folder))
    options = {"window": "400/200", "min_iou": 0, "min_area": 0, **options}
    result = segmenter.segment(image or scan(), BOX, **options)
    return result["ball"], result.provenance.timings["slices_encoded"]


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.embedding.safetensors"))


def key(number: int) -> EmbeddingKey:
    return EmbeddingKey(f"facts {number}")


@pytest.fixture
def warnings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[], str]:
    """What was logged; the command line turns propagation off."""
    monkeypatch.setattr(logging.getLogger("promptseg"), "propagate", True)
    return lambda: caplog.text


def test_a_second_prompt_encodes_nothing_in_another_process(tmp_path: Path) -> None:
    first, encoded = segmented(tmp_path)
    assert encoded == len(kept(tmp_path)) == ENCODED
    second, encoded = segmented(tmp_path)
    assert encoded == 0
    np.testing.assert_array_equal(first, second)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from test_embeddings import *; print(segmented(Path(sys.argv[2]))[1])"
    )
    paths = os.pathsep.join([p for p in sys.path if p.endswith(("tests", "src"))])
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"


def test_what_came_from_the_disk_is_in_the_provenance(tmp_path: Path) -> None:
    segmented(tmp_path)
    segmenter = Segmenter(BrightPredictor(level=40), EmbeddingStore(tmp_path))
    image = scan()
    options: dict[str, Any] = {"window": "400/200", "min_iou": 0, "min_area": 0}
    timings = segmenter.segment(image, BOX, **options).provenance.timings
    assert (timings["slices_encoded"], timings["cache_hits"]) == (0, ENCODED)
    timings = segmenter.segment(image, BOX, **options).provenance.timings  # from memory
    assert (timings["slices_encoded"], timings["cache_hits"]) == (0, 0)


def test_batches_encode_only_what_is_missing(tmp_path: Path) -> None:
    mask, _ = segmented(tmp_path)
    for path in kept(tmp_path)[::3]:
        path.unlink()
    missing = ENCODED - len(kept(tmp_path))
    predictor = BrightPredictor(level=40)
    again, encoded = segmented(tmp_path, predictor, batch=4)
    np.testing.assert_array_equal(mask, again)
    beyond = len(kept(tmp_path)) - ENCODED  # a batch may reach past the end of the object
    assert encoded == len(predictor.encoded) == missing + beyond
    assert 0 not in predictor.batches


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[:-100],
    "header alone": lambda content: content[:60],
    "one wrong bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "another file": lambda _: b"this is not a tensor" * 100,
    "a huge header": lambda content: b"\xff" * 8 + content[8:],
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_reported_and_made_again(
    how: str, tmp_path: Path, warnings: Callable[[], str]
) -> None:
    mask, _ = segmented(tmp_path)
    victim = kept(tmp_path)[4]
    victim.write_bytes(DAMAGE[how](victim.read_bytes()))
    again, encoded = segmented(tmp_path)
    np.testing.assert_array_equal(mask, again)
    assert encoded == 1
    assert f"{victim} is ignored and made again" in warnings()
    assert segmented(tmp_path)[1] == 0


def test_a_file_under_the_wrong_name_is_not_used(
    tmp_path: Path, warnings: Callable[[], str]
) -> None:
    segmented(tmp_path)
    first, second = kept(tmp_path)[:2]
    first.write_bytes(second.read_bytes())
    assert segmented(tmp_path)[1] == 1
    assert "another slice or by another model" in warnings()


def other_weights(predictor: BrightPredictor) -> None:
    predictor.weights_sha256 = "1" * 64


def other_precision(predictor: BrightPredictor) -> None:
    predictor.dtype = torch.bfloat16


def other_preprocessing(predictor: BrightPredictor) -> None:
    predictor.card = replace(predictor.card, preprocessing=Preprocessing(256, "imagenet"))


@pytest.mark.parametrize("change", [other_weights, other_precision, other_preprocessing])
def test_another_model_never_gets_them(
    change: Callable[[BrightPredictor], None], tmp_path: Path
) -> None:
    segmented(tmp_path)
    predictor = BrightPredictor(level=40)
    change(predictor)
    assert segmented(tmp_path, predictor)[1] == ENCODED
    assert segmented(tmp_path)[1] == 0
    assert len(kept(tmp_path)) == 2 * ENCODED


def test_another_window_image_or_pixel_shape_never_gets_them(tmp_path: Path) -> None:
    segmented(tmp_path)
    assert segmented(tmp_path, window="500/250")[1] == ENCODED
    assert segmented(tmp_path, image=scan(level=193))[1] == ENCODED
    assert segmented(tmp_path, image=scan(spacing=(1, 2, 2)))[1] == ENCODED
    assert segmented(tmp_path, image=scan(spacing=(3, 3, 9)))[1] == 0  # the same slices


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_features_come_back_bit_for_bit_and_in_their_layout(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    features = torch.randn(1, 8, 4, 4).to(dtype)
    store = EmbeddingStore(tmp_path)
    for number, layout in enumerate((torch.contiguous_format, torch.channels_last)):
        given = features.to(memory_format=layout)
        store.put(key(number), {"features": given})
        found = store.get(key(number))["features"]  # type: ignore[index]
        assert torch.equal(found, given)
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=layout)
    assert store.get(key(2)) is None


def test_the_limit_removes_the_least_recently_used_and_nothing_else(tmp_path: Path) -> None:
    features = torch.zeros(1, 4, 16, 16)
    store = EmbeddingStore(tmp_path)
    others = [tmp_path / "notes.txt", tmp_path / "x.safetensors", tmp_path / "image.nii.gz"]
    for path in others:
        path.write_bytes(b"x" * 100_000)
    for number in range(10):
        store.put(key(number), {"x": features})
    for number, path in enumerate(store._path(key(k)) for k in range(10)):
        os.utime(path, (1000 + number, 1000 + number))
    size = kept(tmp_path)[0].stat().st_size
    assert store.get(key(0)) is not None  # used just now

    small = EmbeddingStore(tmp_path, limit=10.5 * size / 2**30)
    small.put(key(10), {"x": features})
    there = [k for k in range(11) if small._path(key(k)).exists()]
    assert there == [0, 3, 4, 5, 6, 7, 8, 9, 10]  # 11 are one too many; a tenth more goes
    assert all(path.exists() for path in others)
    small.check()


def test_a_limit_below_what_is_asked_for_is_noticed(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, limit=10_000 / 2**30)
    for number in range(5):
        store.put(key(number), {"x": torch.zeros(1, 1, 32, 32)})
    assert 0 < len(kept(tmp_path)) < 3
    with pytest.raises(OutputError, match="raise --embeddings-limit"):
        store.check()
    with pytest.raises(InputError, match="above 0 GiB"):
        EmbeddingStore(tmp_path, limit=0)


def put(store: EmbeddingStore, *numbers: int) -> None:
    for number in numbers:
        store.put(key(number), {"x": torch.zeros(1, 1, 32, 32)})


def test_what_a_job_has_used_counts_whichever_of_its_stores_used_it(tmp_path: Path) -> None:
    """Every process, and every image of an earlier version, has a store of its own."""
    limit, begun = 10_000 / 2**30, time.time()  # room for two
    first, second = (EmbeddingStore(tmp_path, limit, begun) for _ in range(2))
    put(first, 0)
    put(second, 1)
    first.check()
    second.check()
    put(second, 2)
    with pytest.raises(NoSpaceError, match="pushed 1 of them out"):
        second.check()
    time.sleep(0.1)
    later = EmbeddingStore(tmp_path, limit)  # of another job, which needs the room
    put(later, 3)
    later.check()
    for number in (1, 2):
        later.get(key(number))
    put(later, 4, 5)
    with pytest.raises(NoSpaceError, match="raise --embeddings-limit"):
        later.check()


@pytest.mark.parametrize("ahead", [-5000, 5000])
def test_clocks_of_storage_and_machine_need_not_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    real, limit = time.time, 10_000 / 2**30
    monkeypatch.setattr(embeddings.time, "time", lambda: real() + ahead)
    put(EmbeddingStore(tmp_path, limit), 0)
    time.sleep(0.1)
    store = EmbeddingStore(tmp_path, limit)
    put(store, 1, 2)
    assert not store._path(key(0)).exists()
    store.check()
    put(store, 3)
    with pytest.raises(NoSpaceError):
        store.check()


def test_images_of_a_job_share_the_room_and_not_their_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    files = embeddings._Room._files

    def looked(room: Any) -> Any:
        looks.append(room)
        return files(room)

    monkeypatch.setattr(embeddings._Room, "_files", looked)
    store = EmbeddingStore(tmp_path / "kept")
    for number in range(5):
        put(store.of_next_image(), number)
    assert len(looks) == 1, "once, and not for every image"
    failing = store.of_next_image()
    failing._keep(key(5), {"x": torch.zeros(2)})
    (tmp_path / "kept").rename(tmp_path / "moved")
    (tmp_path / "kept").touch()
    failing._keep(key(6), {"x": torch.zeros(2)})
    with pytest.raises(OutputError):
        failing.check()
    store.of_next_image().check()


def test_links_are_left_alone_and_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    (tmp_path / "mine").write_bytes(b"x" * 50_000)
    link = folder / ("0" * 64 + ".embedding.safetensors")
    link.symlink_to(tmp_path / "mine")
    old, fresh = (folder / f".part-7-{n}.safetensors" for n in ("0" * 8, "1" * 8))
    for path in (old, fresh):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    EmbeddingStore(folder, limit=1e-5).put(key(0), {"x": torch.zeros(1, 1, 32, 32)})
    assert link.is_symlink()
    assert (tmp_path / "mine").exists()
    assert not old.exists()
    assert fresh.exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, warnings: Callable[[], str]
) -> None:
    (tmp_path / "file").touch()
    store = EmbeddingStore(tmp_path / "file" / "below")
    result = Segmenter(BrightPredictor(40), store).segment(scan(), BOX, window="400/200")
    assert result["ball"].any()
    assert warnings().count("embeddings are not kept") == 1
    with pytest.raises(OutputError, match="an output that can be written"):
        store.check()
    with pytest.raises(OutputError, match="a folder for embeddings"):
        EmbeddingStore(tmp_path / "file")


def test_many_writers_and_readers_share_a_folder(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            store = EmbeddingStore(tmp_path, limit=30_000 / 2**30)  # room for 6 of 12
            for number in np.random.default_rng(seed).integers(0, 12, 60):
                kept = store.get(key(int(number)))
                if kept is None:
                    store.put(key(int(number)), {"x": torch.full((1, 1, 32, 32), float(number))})
                else:
                    assert torch.all(kept["x"] == number)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert all(path in kept(tmp_path) for path in tmp_path.iterdir())


@pytest.mark.weights
def test_the_encoder_gives_the_numbers_it_gave_when_the_version_was_set(
    lite_medsam: Predictor,
) -> None:
    """If this fails because the numbers changed for a reason, raise `embeddings._VERSION`."""
    y, x = np.indices((96, 128))
    slice_ = (100 + 60 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)
    features = lite_medsam.encode([slice_])[0].tensors()["features"]
    got = [features.mean(), features.std(), features[0, 7, 20, 30], features[0, 200, 5, 60]]
    assert [float(v) for v in got] == pytest.approx([-0.0015, 0.1074, -0.0079, 0.1741], abs=1e-3)


def test_only_what_says_of_itself_that_it_is_ours_is_pushed_out(tmp_path: Path) -> None:
    """The name alone, even an embedding's, does not make a file one of ours."""
    mine = tmp_path / ("f" * 64 + ".embedding.safetensors")
    mine.write_bytes(b"x" * 9000)
    store = EmbeddingStore(tmp_path, limit=10_000 / 2**30)
    store.put(key(0), {"x": torch.zeros(1, 1, 32, 32)})
    moved = tmp_path / ("e" * 64 + ".embedding.safetensors")
    moved.write_bytes(kept(tmp_path)[0].read_bytes())  # of ours, under another name
    for path in (mine, moved):
        os.utime(path, (0, 0))
    for number in range(1, 4):
        store.put(key(number), {"x": torch.zeros(1, 1, 32, 32)})
    assert mine.read_bytes() == b"x" * 9000
    assert moved.exists()
    assert len(kept(tmp_path)) == 3  # both, and the newest


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), OSError(5, "I/O error")]
)
def test_a_result_does_not_hang_on_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError, warnings: Callable[[], str]
) -> None:
    stored = EmbeddingStore.put
    count = iter(range(100))

    def put(self: EmbeddingStore, *arguments: Any) -> None:
        if next(count) >= 5:  # some way into a long run
            raise failure
        stored(self, *arguments)

    monkeypatch.setattr(EmbeddingStore, "put", put)
    store = EmbeddingStore(tmp_path / "kept")
    result = Segmenter(BrightPredictor(40), store).segment(scan(), BOX, window="400/200")
    result.save(tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.nii.gz").exists()
    assert result["ball"].sum() > 0
    assert warnings().count("embeddings are not kept") == 1
    with pytest.raises(OutputError):  # for who asked for the embeddings themselves
        store.check()
