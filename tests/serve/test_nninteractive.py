"""nnInteractive's own client package, unmodified, against the server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fakes import BrightModel, BrightPredictor
from promptseg.cli.main import main
from promptseg.errors import PromptsegError
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.segment.session import Session
from promptseg.serve.limits import Limits
from promptseg.serve.packing import pack, unpack
from promptseg.serve.web import nninteractive
from serve.conftest import SHAPE, TOKEN, A, B, Running
from serve.fake_server import OPTIONS, bright

remote = pytest.importorskip("nnInteractive.inference.remote")
serialization = pytest.importorskip("nnInteractive.inference.remote.serialization")

VALUES = np.where(A | B, 200, 0).astype(np.int16)
SPACING = [2.0, 1.0, 1.0]
PAIRS_A = [[10, 11], [15, 26], [7, 18]]  # half-open
Remote = Any


def connected(server: Running) -> Remote:
    url = f"http://127.0.0.1:{server.client.port}"
    return remote.nnInteractiveRemoteInferenceSession(url, api_key=TOKEN)


@pytest.fixture
def session(server: Running) -> Iterator[Remote]:
    with connected(server) as found:
        found.set_image(VALUES[None], {"spacing": SPACING})
        found.set_target_buffer(np.zeros(SHAPE, np.uint8))
        yield found


def test_box_click_undo_and_reset(session: Remote) -> None:
    buffer = session.target_buffer
    assert session.original_image_shape == (1, *SHAPE)
    assert session.supported_interactions == dict.fromkeys(
        ("points", "scribble", "lasso", "bbox2d", "bbox3d"), True
    )
    changed = session.add_bbox_interaction(PAIRS_A, True)
    assert changed == [[5, 16], [15, 26], [7, 18]]
    np.testing.assert_array_equal(buffer, A)
    session.add_point_interaction([10, 20, 36], True)
    np.testing.assert_array_equal(buffer[10], (A | B)[10])
    assert session.undo()
    np.testing.assert_array_equal(buffer, A)
    assert session.undo(), "as many as there were"
    assert not buffer.any()
    assert not session.undo()
    session.add_point_interaction([10, 20, 36], True)
    np.testing.assert_array_equal(buffer, B)
    session.reset_interactions()
    session.add_bbox_interaction(PAIRS_A, True)
    np.testing.assert_array_equal(buffer, A)


def test_an_answer_that_lacks_its_other_slices_is_an_error(
    session: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread, failed = Session.spread, [1]

    def without_memory(one: Session) -> list[str]:
        if one.unspread and failed:
            failed.pop()
            raise PromptsegError("a device with enough memory", "none left")
        return spread(one)

    monkeypatch.setattr(Session, "spread", without_memory)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        session.add_bbox_interaction(PAIRS_A, True)
    assert not session.target_buffer.any()
    session.add_bbox_interaction(PAIRS_A, True)
    np.testing.assert_array_equal(session.target_buffer, A)


@pytest.mark.parametrize("axis", range(3))
def test_boxes_in_any_of_the_three_planes(session: Remote, axis: int) -> None:
    """A bright ball is the same from every side; its shells may differ where slices end."""
    pairs = [[5, 16], [15, 26], [7, 18]]
    middle = (10, 20, 12)[axis]
    pairs[axis] = [middle, middle + 1]
    session.add_bbox_interaction(pairs, True)
    np.testing.assert_array_equal(session.target_buffer, A)


def test_a_box_in_space_and_what_is_run_later(session: Remote) -> None:
    session.add_bbox_interaction([[5, 16], [15, 26], [7, 18]], True, run_prediction=False)
    assert not session.target_buffer.any()
    assert session._predict() == [[5, 16], [15, 26], [7, 18]]
    np.testing.assert_array_equal(session.target_buffer, A)
    assert session._predict() is None


def test_scribbles_and_lassos(session: Remote) -> None:
    scribble = np.zeros(SHAPE, np.uint8)
    scribble[10, 20, 9:15] = 1
    session.add_scribble_interaction(scribble, True)
    np.testing.assert_array_equal(session.target_buffer, A)
    lasso = np.zeros((1, 6, 20), np.uint8)
    lasso[:] = 1
    session.add_lasso_interaction(lasso, False, interaction_bbox=[[10, 11], [15, 21], [5, 25]])
    wanted = A[10].copy()
    wanted[15:21, 5:25] = False
    np.testing.assert_array_equal(session.target_buffer[10], wanted)


def test_an_initial_mask_is_corrected(session: Remote) -> None:
    start = A.copy()
    start[10] |= B[10]
    session.add_initial_seg_interaction(start.astype(np.uint8))
    session.add_point_interaction([10, 20, 36], False)
    np.testing.assert_array_equal(session.target_buffer[10], A[10])
    assert session.undo()
    np.testing.assert_array_equal(session.target_buffer, start)


def test_a_lease_is_lost_and_regained(server: Running, session: Remote) -> None:
    session.add_bbox_interaction(PAIRS_A, True)
    before = session.target_buffer.copy()
    assert session.heartbeat() > 0
    assert session.lease_status()["idle_timeout_seconds"] == server.desk.limits.idle_s
    (work,) = server.desk.works
    start = server.desk.clock()
    server.desk.clock = lambda: start  # of leases to come
    work.lease.clock = lambda: start + 1e6
    with pytest.raises(remote.SessionExpiredError):
        session.add_point_interaction([10, 20, 36], True)
    with connected(server) as again:
        again.set_image(VALUES[None], {"spacing": SPACING})
        again.set_target_buffer(before)
        again.add_initial_seg_interaction(before)
        again.add_point_interaction([10, 20, 36], True)
        np.testing.assert_array_equal(again.target_buffer[10], (A | B)[10])


def test_refusals_reach_the_user(server: Running, session: Remote) -> None:
    def detail(do: Any) -> str:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            do()
        assert caught.value.response.status_code == 400
        return str(caught.value.response.json()["detail"])

    far = detail(lambda: session.add_point_interaction([10, 20, 99], True))
    assert "inside the image" in far
    assert "around the object" in detail(lambda: session.add_bbox_interaction(PAIRS_A, False))
    outside = [[10, 11], [0, 99], [0, 9]]
    assert "within [20, 40, 48]" in detail(lambda: session.add_bbox_interaction(outside, True))
    assert "shape [20, 40, 48]" in detail(lambda: session.set_target_buffer(np.zeros((2, 2, 2))))
    assert "empty mask" in detail(
        lambda: session.add_scribble_interaction(np.zeros(SHAPE, np.uint8), True)
    )
    flat = np.zeros((1, 4, 4, 4), np.int16)
    assert "more than one value" in detail(lambda: session.set_image(flat))
    server.desk.limits = Limits(sessions=1)
    with pytest.raises(remote.ServerAtCapacityError):
        connected(server)
    wrong = remote.nnInteractiveRemoteInferenceSession
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        wrong(f"http://127.0.0.1:{server.client.port}", api_key="wrong")


def test_capabilities_grey_out_what_the_model_does_not_take(server: Running) -> None:
    server.desk.models = {"lite-medsam": bright("lite-medsam")}
    with connected(server) as session:
        assert session.ping()
        assert session.supported_interactions == {
            "points": False,
            "scribble": False,
            "lasso": False,
            "bbox2d": True,
            "bbox3d": True,
        }
        session.set_image(VALUES[None])
        session.set_target_buffer(np.zeros(SHAPE, bool))
        session.set_do_autozoom(True)
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            session.add_point_interaction([10, 20, 12], True)


def test_what_is_left_of_an_answer_comes_with_the_next(server: Running, session: Remote) -> None:
    """With no time at all only the prompted slice is answered."""
    (work,) = server.desk.works
    waited = work.wait
    work.wait = lambda seconds: False  # type: ignore[method-assign]
    session.add_bbox_interaction(PAIRS_A, True)
    first = session.target_buffer.copy()
    np.testing.assert_array_equal(first[10], A[10])
    work.wait = waited  # type: ignore[method-assign]
    session._predict()
    np.testing.assert_array_equal(session.target_buffer, A)
    assert nninteractive.BUDGET_S < 45


def test_the_time_of_an_answer_counts_from_its_request(server: Running, session: Remote) -> None:
    (work,) = server.desk.works
    answer, waited = work.prompt, []

    def slow(*asked: Any) -> Any:
        time.sleep(0.3)
        return answer(*asked)

    work.prompt = slow  # type: ignore[method-assign]
    work.wait = lambda seconds: bool(waited.append(seconds))  # type: ignore[method-assign]
    session.add_bbox_interaction(PAIRS_A, True)
    assert 0 <= waited[0] <= nninteractive.BUDGET_S - 0.3


@pytest.mark.slow
def test_a_ct_of_300_slices_comes_in_answers_of_limited_time(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower than an answer may take: all of it is there in the end, as the command line gives it."""
    from promptseg.serve import remote as ours

    shape, budget = (300, 64, 64), 1.0
    depth, rows, columns = np.ogrid[:300, :64, :64]
    inside = ((depth - 150) / 120) ** 2 + ((rows - 30) / 20) ** 2 + ((columns - 34) / 16) ** 2 <= 1
    values = np.where(inside, 200, 0).astype(np.int16)
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 2.0, 1.0])), scan)
    box = "18,10,50,50@150=object 1"
    asked = ["segment", "-i", str(scan), "-o", str(tmp_path / "cli.nii.gz"), "--quiet"]
    choices = ["--model", "mobile-sam", "--propagate", "box", "--min-iou", "0", "--min-area", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "load", lambda *_: BrightPredictor(card="mobile-sam"))
        assert main([*asked, *choices, "--box", box]) == 0
    theirs = read_masks(tmp_path / "cli.nii.gz", read(scan)).segments[0].mask(shape)

    monkeypatch.setattr(
        *(nninteractive, "RemoteClient"),
        lambda desk, lease, _: ours.RemoteClient(desk, lease, budget),
    )
    encode = BrightModel.encode

    def slow(model: BrightModel, slices: Any, *how: Any) -> Any:
        time.sleep(0.02 * len(slices))
        return encode(model, slices, *how)

    monkeypatch.setattr(BrightModel, "encode", slow)
    with connected(server) as session:
        session.set_image(values[None], {"spacing": SPACING})
        session.set_target_buffer(np.zeros(shape, np.uint8))
        took, begun = [], time.monotonic()
        session.add_bbox_interaction([[150, 151], [10, 51], [18, 51]], True)
        took.append(time.monotonic() - begun)
        np.testing.assert_array_equal(session.target_buffer[150], theirs[150])
        while server.desk.works[0].propagating:
            begun = time.monotonic()
            session._predict()
            took.append(time.monotonic() - begun)
        session._predict()
        np.testing.assert_array_equal(session.target_buffer, theirs)
    assert len(took) > 1, "more than one answer was needed"
    assert max(took) < budget + 15, "on a busy machine, too"


def test_eight_clients_at_once(server: Running) -> None:
    rng = np.random.default_rng(1)
    inputs = []
    for k in range(8):
        values = rng.integers(0, 100, SHAPE).astype(np.int16)
        values[A] = 200
        values[10, 2:6, 2 : 4 + k] = 200
        inputs.append(values)
    found: dict[int, NDArray[Any]] = {}

    def work(k: int) -> None:
        with connected(server) as session:
            session.set_image(inputs[k][None], {"spacing": SPACING})
            session.set_target_buffer(np.zeros(SHAPE, np.uint8))
            session.add_bbox_interaction(PAIRS_A, True)
            session.add_point_interaction([10, 3, 3], True)
            found[k] = session.target_buffer

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    for k in range(8):
        image = Image.from_array(inputs[k], "unknown", (1.0, 1.0, 2.0))
        alone = Session(bright(), image, OPTIONS)
        alone.add_box((7, 15, 17, 25), slice=10)
        alone.add_point((3, 3), slice=10)
        np.testing.assert_array_equal(found[k], alone.result().segments[0].mask(SHAPE))


PLAIN = arrays.arrays(
    st.sampled_from(["uint8", "int16", "float32", "bool", "uint64"]),
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
)


@settings(max_examples=25)
@given(PLAIN)
def test_arrays_are_packed_as_the_client_packs_them(array: NDArray[Any]) -> None:
    for packed in (pack(array), serialization.pack_array(array)):
        for unpacked in (lambda b: unpack(b, 1 << 20), serialization.unpack_array):
            found = unpacked(packed)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()


@settings(max_examples=50)
@given(st.data())
def test_damaged_arrays_are_refused(data: st.DataObject) -> None:
    packed = bytearray(pack(np.arange(24, dtype=np.int16).reshape(2, 3, 4)))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(packed[: data.draw(st.integers(0, len(packed)))])
    for content in (cut, bytes(packed)):
        with contextlib.suppress(PromptsegError):
            assert unpack(content, 1 << 20).nbytes <= 1 << 20
