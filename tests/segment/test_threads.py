"""Many users of one model: every answer is that of a session alone, bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import BrightPredictor, ball
from promptseg.errors import InputError, PromptError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.prompts import Box
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from runtime.small import plain

USERS, PROMPTS = 8, 100
SIDE = 40


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_predictor(folder: Path) -> Predictor:
    """A SAM of random weights, in eager float32."""
    from dataclasses import replace

    weights = folder / "weights.pth"
    weights.write_bytes(b"")
    torch.manual_seed(0)
    card = CARDS["sam-vit-b"]
    card = replace(card, preprocessing=replace(card.preprocessing, size=64))
    return Predictor.of_network(card, plain(64), torch.device("cpu"), weights, "eager")


def image_of(user: int) -> Image:
    rng = np.random.default_rng(user)
    voxels = rng.integers(0, 60, (4, SIDE, SIDE)).astype(np.uint8)
    voxels[ball(voxels.shape, (2, 20, 15 + user), 9)] += 150
    return Image(voxels, Geometry.from_spacing(voxels.shape), "MR")


def work(session: Session, user: int) -> list[str]:
    """Boxes and clicks on slices, corrections and steps back; a hash of what is there after each."""
    rng = np.random.default_rng(100 + user)
    seen = []
    for number in range(PROMPTS):
        x, y = (int(v) for v in rng.integers(3, SIDE - 12, 2))
        k = int(rng.integers(0, 4))
        if number % 10 == 0:
            session.new_object()
            segment = session.add_box((x, y, x + 8, y + 8), slice=k)
        elif number % 10 == 5:
            session.undo()
            segment = session.add_box((x, y, x + 6, y + 9), slice=k)
        else:
            segment = session.add_point((x, y), True, slice=k)
        region = [(r.start, r.stop) for r in segment.region]
        seen.append(repr((region, segment.quality, segment.crop.tobytes())))
    return seen


@pytest.mark.slow
def test_eight_sessions_at_once_answer_as_each_alone(tmp_path: Path, one_thread: None) -> None:
    segmenter = Segmenter(small_predictor(tmp_path))
    options = SegmentOptions(propagate="none")
    alone = [work(Session(segmenter, image_of(u), options), u) for u in range(USERS)]
    together: list[list[str]] = [[] for _ in range(USERS)]
    faults: list[BaseException] = []
    begin = threading.Barrier(USERS)

    def user(number: int) -> None:
        try:
            session = Session(segmenter, image_of(number), options)
            begin.wait()
            together[number] = work(session, number)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=user, args=(n,)) for n in range(USERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert together == alone
    assert len({tuple(each) for each in alone}) == USERS
    assert all(len(set(each)) > PROMPTS / 2 for each in alone)


def test_sessions_do_not_push_each_other_out_of_memory() -> None:
    predictor = BrightPredictor(card="mobile-sam")
    segmenter = Segmenter(predictor)
    sessions = [Session(segmenter, image_of(u), SegmentOptions()) for u in range(2)]
    for _ in range(3):
        for u, session in enumerate(sessions):
            session.new_object()
            session.add_box((10 + u, 14, 20 + u, 26), slice=2)
    assert len(predictor.encoded) == 8
    opened = segmenter.open(image_of(0))
    shared = [Session(segmenter, opened) for _ in range(2)]
    for session in shared:
        session.add_box((10, 14, 20, 26), slice=2)
    assert len(predictor.encoded) == 12


def test_each_run_is_told_of_its_own_slices() -> None:
    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    opened = segmenter.open(image_of(0))
    told: dict[str, list[tuple[int, str]]] = {"a": [], "b": []}
    for name in told:
        box = Box((10, 14, 20, 26), 2, name)
        result = segmenter.segment(
            opened, box, progress=lambda *what, name=name: told[name].append(what)
        )
        assert result.provenance.timings["slices_encoded"] == len(told[name])
    assert [done for done, _ in told["a"]] == [1, 2, 3, 4]
    assert told["b"] == []


def test_a_click_asks_nothing_of_the_image_again(monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(0)
    session = Session(Segmenter(BrightPredictor(card="mobile-sam")), image)
    session.add_box((10, 14, 20, 26), slice=2)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed for a click")

    for name in ("opened.choose_intensity", "segmenter.describe", "measure.measure"):
        monkeypatch.setattr(f"promptseg.segment.{name}", never)
    monkeypatch.setattr(Image, "sha256", never)
    assert not session.add_point((15, 20), slice=1).is_empty
    assert not session.add_point((15, 20), slice=3, positive=False).is_empty
    session.new_object()
    session.add_box((11, 14, 20, 26), slice=1)


def test_an_opened_image_wants_what_it_was_opened_with() -> None:
    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    image, box = image_of(0), Box((10, 14, 20, 26), 2, "a")
    opened = segmenter.open(image, window="minmax")
    assert segmenter.segment(opened, box).segments[0].crop.any()
    segmenter.segment(opened, box, window="minmax")
    with pytest.raises(InputError, match="window minmax, as the image was opened, got percentile"):
        segmenter.segment(opened, box, window="percentile")
    with pytest.raises(PromptError, match="slices along z, as the image was opened, got axis y"):
        segmenter.segment(opened, box, axis="y")
    with pytest.raises(PromptError, match="slices of one axis, got y and z"):
        segmenter.segment(opened, Box((10, 1, 20, 3), 20, "a", axis="y"))
    with pytest.raises(InputError, match="open it with this segmenter"):
        Segmenter(BrightPredictor()).segment(opened, box)
