"""Programs over the Model Context Protocol, driven by the protocol's own client library."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PilImage

import promptseg
from promptseg.cli.main import main
from promptseg.errors import InputError, MissingPackageError
from promptseg.formats.masks import read_masks
from promptseg.serve import mcp as adapter
from promptseg.serve.folder import Folder
from promptseg.serve.mcp import McpJob, server_of
from promptseg.serve.programs import Programs
from serve.conftest import BOX_A, BOX_B, SHAPE, A, B
from serve.fake_server import bright, words

mcp = pytest.importorskip("mcp")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    values = np.where(A | B, 1000, -800).astype(np.int16)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), affine), folder / "ct.nii.gz")
    (tmp_path / "secret.nii.gz").write_bytes((folder / "ct.nii.gz").read_bytes())
    (folder / "out.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    return folder


def programs(root: Path, **how: Any) -> Programs:
    return Programs(Folder(root), {"bright": bright()}, modality="CT", **how)


def talking(tools: Programs, talk: Callable[[Any], Awaitable[None]]) -> None:
    """Run a conversation between the protocol's client and a server in this process."""

    async def begin() -> None:
        async with mcp.Client(server_of(tools)) as client:
            await talk(client)

    in_a_thread(begin)


def in_a_thread(begin: Callable[[], Any]) -> None:
    """Run to the end in a loop of its own: a browser of other tests may have left one running here."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(begin())).result()


def content_of(answer: Any) -> dict[str, Any]:
    assert not answer.is_error, answer.content[0].text
    found: dict[str, Any] = json.loads(answer.content[0].text)
    return found


def picture_of(answer: Any) -> PilImage.Image:
    import base64

    return PilImage.open(io.BytesIO(base64.b64decode(answer.content[1].data)))


def test_a_program_looks_segments_corrects_measures_and_converts(root: Path) -> None:
    box = ",".join(map(str, BOX_A)) + "@10=first"
    image = promptseg.read(root / "ct.nii.gz", modality="CT")
    alone = bright().segment(image, promptseg.Box(tuple(map(float, BOX_A)), slice=10))
    expected = alone.segments[0].mask(SHAPE)
    assert (expected & A).sum() > 0.99 * A.sum()

    async def talk(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {
            *("list_images", "models", "info", "segment", "correct", "measure", "convert")
        }
        assert "pixels counted from 0" in tools["segment"].description
        listed = content_of(await client.call_tool("list_images", {}))
        assert [entry["path"] for entry in listed["entries"]] == ["ct.nii.gz"]
        seen = await client.call_tool("info", {"image": "ct.nii.gz", "slice": 10, "axis": "z"})
        assert content_of(seen)["size_xyz"] == [48, 40, 20]
        assert min(picture_of(seen).size) > 100
        request = {"image": "ct.nii.gz", "output": "masks/a.nii.gz", "boxes": [box]}
        done = await client.call_tool("segment", request)
        [one] = content_of(done)["objects"]
        assert one["name"] == "first"
        assert one["voxels"] == int(expected.sum())
        assert picture_of(done).mode == "RGB"
        sizes = content_of(await client.call_tool("measure", {"mask": "masks/a.nii.gz"}))
        volume = sizes["objects"][0]["volume_ml"]
        assert volume == pytest.approx(expected.sum() * 2 / 1000, abs=0.005)
        turned = {"mask": "masks/a.nii.gz", "output": "masks/a.nrrd"}
        assert content_of(await client.call_tool("convert", turned))["objects"] == ["first"]
        more = {**request, "mask": "masks/a.nii.gz", "output": "masks/b.nii.gz"}
        more["boxes"] = [",".join(map(str, BOX_B)) + "@10=first"]
        moved = content_of(await client.call_tool("correct", more))
        assert [one["name"] for one in moved["objects"]] == ["first"]

    talking(programs(root), talk)
    moved = read_masks(root / "masks" / "b.nii.gz").segments[0].mask(SHAPE)
    assert (moved[10] == B[10]).all(), "on the slice that was corrected"
    mask = read_masks(root / "masks" / "a.nii.gz").segments[0]
    assert np.array_equal(mask.mask(SHAPE), expected)


@pytest.mark.parametrize(
    ("tool", "request_", "said"),
    [
        ("info", {"image": "../secret.nii.gz"}, "an image in the folder"),
        ("info", {"image": "out.nii.gz"}, "an image in the folder"),
        ("info", {"image": "none.nii.gz"}, "an image in the folder"),
        ("measure", {"mask": "/etc/passwd"}, "an image in the folder"),
        (
            "segment",
            {"image": "ct.nii.gz", "output": "../x.nii.gz", "boxes": ["1,1,5,5"]},
            "folder",
        ),
        ("segment", {"image": "ct.nii.gz", "output": "x.py", "boxes": ["1,1,5,5"]}, "mask file"),
        ("segment", {"image": "ct.nii.gz", "output": "ct.nii.gz", "boxes": ["1,1,5,5"]}, "exists"),
        ("segment", {"image": "ct.nii.gz", "output": "x.nii.gz"}, "prompts"),
        ("segment", {"image": "ct.nii.gz", "output": "x.nii.gz", "boxes": ["1,1,5"]}, "box"),
        (
            "segment",
            {"image": "ct.nii.gz", "output": "x.nii.gz", "boxes": ["1,1,5,5"], "model": "sam9"},
            "a model out of",
        ),
    ],
)
def test_what_is_refused_is_said_in_one_line_and_nothing_is_written(
    root: Path, tool: str, request_: dict[str, Any], said: str
) -> None:
    before = {p: p.stat().st_mtime_ns for p in root.parent.rglob("*")}

    async def talk(client: Any) -> None:
        answer = await client.call_tool(tool, request_)
        assert answer.is_error
        text = answer.content[0].text
        assert said in text, text
        assert "\n" not in text.strip()
        assert "Traceback" not in text

    talking(programs(root), talk)
    assert {p: p.stat().st_mtime_ns for p in root.parent.rglob("*")} == before


def test_an_image_is_never_replaced(root: Path) -> None:
    before = (root / "ct.nii.gz").read_bytes()

    async def talk(client: Any) -> None:
        request = {"image": "ct.nii.gz", "output": "ct.nii.gz", "boxes": ["1,1,5,5@10"]}
        answer = await client.call_tool("segment", {**request, "overwrite": True})
        assert answer.is_error

    talking(programs(root), talk)
    assert (root / "ct.nii.gz").read_bytes() == before


def test_without_pictures_there_are_none(root: Path) -> None:
    async def talk(client: Any) -> None:
        for name, request in (
            ("info", {"image": "ct.nii.gz"}),
            ("segment", {"image": "ct.nii.gz", "output": "a.nii.gz", "boxes": ["7,15,17,25@10"]}),
        ):
            answer = await client.call_tool(name, request)
            content_of(answer)
            assert len(answer.content) == 1

    talking(programs(root, pictures=False), talk)
    assert not list(root.glob("*.png"))


def test_no_patient_field_is_told(tmp_path: Path) -> None:
    from formats.helpers import GRIDS, write_dicom_series

    folder = tmp_path / "images"
    write_dicom_series(
        folder / "series", GRIDS["oblique"], PatientName="Doe^Jane", PatientID="Kx4711qZ"
    )
    text = json.dumps(programs(folder).info("series").content)
    assert "Doe" not in text
    assert "Kx4711qZ" not in text
    assert str(tmp_path) not in text


def test_images_beyond_the_limit_are_refused(root: Path) -> None:
    tools = programs(root, image_mib=1)
    large = np.zeros((100, 100, 100), np.int16)
    nib.save(nib.Nifti1Image(large, np.eye(4)), root / "large.nii.gz")
    with pytest.raises(InputError, match="--image-mib"):
        tools.segment("large.nii.gz", "x.nii.gz", boxes=["1,1,5,5@3"])


def test_the_command_talks_over_standard_input_and_output(root: Path) -> None:
    """In a process of its own, as clients start it; nothing but the protocol goes to its output."""
    script = (
        "from pathlib import Path; from serve.fake_server import bright; "
        "from promptseg.serve import mcp; mcp.load_models = lambda job: {'bright': bright()}; "
        f"mcp.serve_mcp(mcp.McpJob(root=Path({str(root)!r})))"
    )

    async def begin() -> None:
        parameters = mcp.StdioServerParameters(
            command=sys.executable, args=["-c", script], env={"PYTHONPATH": ":".join(sys.path)}
        )
        async with mcp.Client(mcp.stdio_client(parameters)) as client:
            listed = content_of(await client.call_tool("list_images", {}))
            assert listed["entries"][0]["name"] == "ct.nii.gz"

    in_a_thread(begin)


def test_a_package_or_a_folder_that_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp", "--root", str(tmp_path / "none")]) == 2
    assert "a folder with images" in capsys.readouterr().err
    assert main(["mcp", "--root", str(tmp_path), "--modality", "CTX"]) == 2

    def missing() -> None:
        raise MissingPackageError("mcp", "for programs that speak its protocol", "mcp")

    monkeypatch.setattr(adapter, "_require_package", missing)
    with pytest.raises(MissingPackageError, match="promptseg\\[mcp\\]"):
        adapter.serve_mcp(McpJob(root=tmp_path))


def test_words_are_listed_found_and_said_to_be_absent(root: Path) -> None:
    tools = Programs(Folder(root), {"bright": bright(), "words": words()}, modality="CT")
    plain, able = tools.describe_models().content["models"]
    assert plain["words"] is None
    assert [word["name"] for word in able["words"]["known"]] == ["bright", "liver", "spleen"]
    answer = tools.segment(
        "ct.nii.gz", "found.nii.gz", texts=["light patch", "spleen"], model="words"
    ).content
    found, absent = answer["objects"]
    assert (found["name"], absent["voxels"]) == ("light patch", 0)
    assert found["score"] > 0.5
    assert any("nothing was found for 'spleen'" in note for note in answer["notes"])
    np.testing.assert_array_equal(read_masks(root / "found.nii.gz").segments[0].mask(SHAPE), A | B)
