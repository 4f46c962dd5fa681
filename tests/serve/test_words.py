"""Words over the wire: a new object, slice by slice, with what is refused and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from promptseg.segment.segmenter import Segmenter
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from promptseg_client import Server, ServerError
from serve.conftest import TOKEN, A, B, Running, running
from serve.fake_server import OPTIONS, bright, words


@pytest.fixture
def models() -> dict[str, Segmenter]:
    return {"bright": bright("lite-medsam"), "words": words()}


@pytest.fixture
def server(root: Path, models: dict[str, Segmenter]) -> Iterator[Running]:
    desk = Desk(models, Folder(root), Limits(), OPTIONS)
    with running(desk) as found:
        yield found
    desk.stop()


def server_of(running_: Running) -> Server:
    return Server(f"http://127.0.0.1:{running_.client.port}/?token={TOKEN}")


def test_models_say_which_words_they_know(server: Running) -> None:
    plain, able = server.client.get("/api/info").json["models"]
    assert plain["words"] is None
    assert "text" in able["prompts"]
    assert able["words"]["closed"]
    assert able["words"]["known"][1] == {
        "name": "liver", "synonyms": ["LIV"], "modalities": ["MR"], "code": "10200004"
    }  # fmt: skip


def test_words_begin_an_object_like_any_other(server: Running, root: Path) -> None:
    with server_of(server).open("scan.nii.gz", model="words", modality="CT") as session:
        session.text("light patch", slice=10)
        assert session.objects == ["light patch"]
        np.testing.assert_array_equal(session.masks["light patch"][10], (A | B)[10])
        session.wait()
        np.testing.assert_array_equal(session.masks["light patch"], A | B)
        (entry,) = session.state["objects"]
        assert entry["words"]["text"] == "light patch"
        assert 0.5 < entry["words"]["score"] < 1
        assert entry["prompts"] == [{"kind": "text", "axis": "z", "text": "light patch"}]
        session.point((36, 20), inside=False, slice=10)
        session.wait()
        np.testing.assert_array_equal(session.masks["light patch"][10], A[10])
        session.undo()
        np.testing.assert_array_equal(session.masks["light patch"], A | B)
        assert session.state["steps"][1:] == ["text on light patch", "point on light patch"]
    with server_of(server).open("scan.nii.gz", model="words") as again:
        np.testing.assert_array_equal(again.masks["light patch"], A | B)
        assert again.state["objects"][0]["words"] == entry["words"]
        again.undo()
        again.text("light patch", slice=12, object="one slice", spread=False)
        assert not again.following
        assert np.flatnonzero(again.masks["one slice"].any((1, 2))).tolist() == [12]


def test_what_was_begun_when_the_server_ended_goes_on(
    server: Running, root: Path, models: dict[str, Segmenter]
) -> None:
    at = server.client.open("scan.nii.gz", model="words", modality="CT")
    work = server.desk.works[0]
    work._propagate = lambda: None  # type: ignore[method-assign]
    assert server.client.post(f"{at}/prompts", text="bright", slice=10).status == 200
    assert work.session.unspread == ["bright"]
    server.desk.stop()
    other = Desk(models, Folder(root), Limits(), OPTIONS)
    again = other.open_path("scan.nii.gz", "words")
    assert again.wait(60)
    mask = again.masks["bright"]
    assert mask is not None
    np.testing.assert_array_equal(mask.mask(A.shape), A | B)
    other.stop()


def test_what_is_not_there_and_other_modalities_are_said(server: Running) -> None:
    with server_of(server).open("scan.nii.gz", model="words", modality="CT") as session:

        def look() -> None:
            session.text("spleen")
            session.wait()

        with pytest.warns(UserWarning, match="nothing was found for 'spleen'"):
            look()
        assert session.state["objects"][0]["empty"]
        with pytest.warns(UserWarning, match="trained to find 'liver' in MR, not in CT"):
            session.text("liver")
        session.cancel()
        assert session.state["warning"] == ""


@pytest.mark.parametrize(
    ("phrase", "how", "said"),
    [
        ("brigth one", {}, "the nearest is 'bright'"),
        ("light patches", {"object": "b"}, "means bright, as 'bright' does"),
        ("", {}, "a phrase"),
        ("liver", {"slice": 20}, "a slice from 0 to 19"),
        ("x" * 2000, {}, "at most 1000 characters"),
        ("liver", {"object": "bright"}, "which has one"),
    ],
)
def test_refusals(server: Running, phrase: str, how: dict[str, object], said: str) -> None:
    with server_of(server).open("scan.nii.gz", model="words", modality="CT") as session:
        session.text("bright")
        session.wait()
        with pytest.raises(ServerError, match=said) as refused:
            session.text(phrase, **how)
        assert refused.value.status == 400
        assert session.objects == ["bright"]


def test_a_model_that_takes_no_words_says_which_does(server: Running) -> None:
    with (
        server_of(server).open("scan.nii.gz") as session,
        pytest.raises(ServerError, match="got words; open the image with words"),
    ):
        session.text("bright")
    del server.desk.models["words"]
    with (
        server_of(server).open("scan.nii.gz") as session,
        pytest.raises(ServerError, match="start the server with --model promptseg-words"),
    ):
        session.text("bright")
