"""The client of apps/client, which needs no torch, against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from promptseg_client import Server, ServerError, SessionEndedError
from serve.conftest import BOX_A, BOX_B, SHAPE, TOKEN, A, B, Running

SOURCE = Path(__file__).resolve().parent.parent.parent / "apps" / "client" / "src"


@pytest.fixture
def there(server: Running) -> Server:
    return Server(f"http://127.0.0.1:{server.client.port}/?token={TOKEN}")


def test_open_prompt_correct_undo_save(there: Server, root: Path, tmp_path: Path) -> None:
    assert [e["path"] for e in there.images()] == ["scan.nii.gz"]
    with there.open("scan.nii.gz") as session:
        session.box(BOX_A, slice=10, object="a")
        np.testing.assert_array_equal(session.masks["a"][10], A[10])
        session.wait()
        np.testing.assert_array_equal(session.masks["a"], A)
        session.point((36, 20), slice=10)
        session.wait()
        np.testing.assert_array_equal(session.masks["a"][10], (A | B)[10])
        session.undo()
        np.testing.assert_array_equal(session.masks["a"], A)
        session.new_object("b", (1, 2, 3))
        session.box(np.array(BOX_B), slice=10)
        session.wait()
        assert session.objects == ["a", "b"]
        session.change_object("b", name="c")
        np.testing.assert_array_equal(session.masks["c"], B)
        assert "b" not in session.masks
        assert session.measurements()["c"]["voxels"] == B.sum()
        assert session.save("out.nii.gz") == "out.nii.gz"
        with pytest.raises(ServerError, match="which exists") as refused:
            session.save("out.nii.gz")
        assert refused.value.status == 409
        assert session.download(tmp_path / "out.nrrd").stat().st_size
        with pytest.raises(FileExistsError):
            session.download(tmp_path / "out.nrrd")
        np.testing.assert_array_equal(session.slices(10)[0] > 100, (A | B)[10])
    with pytest.raises(SessionEndedError):
        session.undo()
    with there.open("scan.nii.gz") as again:
        assert list(again.masks) == ["a", "c"]
        np.testing.assert_array_equal(again.masks["a"], A)


def test_an_array_is_brushed(there: Server) -> None:
    with there.upload(np.where(A, 200, 0).astype(np.int16), spacing=np.array([1, 1, 2])) as session:
        session.mask(A[10], slice=10, object="a", spread=False)
        np.testing.assert_array_equal(session.masks["a"][10], A[10])
        assert session.masks["a"].shape == SHAPE
        assert session.state["image"]["spacing"] == [1, 1, 2]


def test_the_steps_are_whole_though_only_changes_travel(there: Server) -> None:
    with there.open("scan.nii.gz", window="percentile") as session:
        for name in ("a", "b", "c"):
            session.new_object(name)
        assert session.state["steps"] == ["start", "new a", "new b", "new c"]
        session.undo()
        session.undo()
        session.new_object("d")
        session.refresh()
        assert session.state["steps"] == ["start", "new a", "new d"]
    with (
        pytest.warns(UserWarning, match="window lung is not used"),
        there.open("scan.nii.gz", window="lung") as session,
    ):
        assert session.state["steps"] == ["start", "new a", "new d"]


def test_what_goes_wrong_is_one_line(there: Server, server: Running) -> None:
    with pytest.raises(ServerError, match="an image in the folder"):
        there.open("none.nii.gz")
    wrong = Server(f"http://127.0.0.1:{server.client.port}", token="x")
    with pytest.raises(ServerError, match="the token of this server"):
        _ = wrong.info
    with pytest.raises(ServerError, match="expected a server at"):
        Server("http://127.0.0.1:9/?token=x").images()
    with pytest.raises(ServerError, match="expected an address"):
        Server("localhost")


def test_it_needs_numpy_alone() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import promptseg_client; "
        "known = sys.stdlib_module_names | {'numpy', 'promptseg_client'}; "
        "print({m.partition('.')[0] for m in sys.modules} - known)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}; {code}", str(SOURCE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torch" not in done.stdout
    assert "promptseg'" not in done.stdout


def test_several_clicks_at_once(there: Server) -> None:
    with there.open("scan.nii.gz") as session:
        session.points([[12, 20, 1], [36, 20, 1]], slice=10, object="both", spread=False)
        np.testing.assert_array_equal(session.masks["both"][10], (A | B)[10])
