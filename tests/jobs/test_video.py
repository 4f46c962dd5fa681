"""A video from file to files: what was put in, followed, and read back by others."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import av
import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from fakes import BrightPredictor
from formats.dicom_makers import write_object
from formats.video_makers import uneven, write_video
from json_answers import answer
from promptseg.cli.main import main
from promptseg.datasets.listing import is_image_file
from promptseg.errors import InputError, ModelError, OutputError, PromptError
from promptseg.formats.video import open_video, video
from promptseg.inference.embedded import EmbeddedImage
from promptseg.jobs.batch import find_images
from promptseg.jobs.video import is_video_job, segment_video
from promptseg.jobs.video import job as video_job
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video import propagate

SHAPE = (48, 64)
COUNT = 40
FILES = [".promptseg-files", "areas.csv", "labels.mkv", "masks.zip", "overlay.webm"]


def squares(count: int = COUNT) -> list[NDArray[np.uint8]]:
    """Two bright squares that move one pixel a frame, the second one the other way."""
    frames = []
    for k in range(count):
        frame = np.full((*SHAPE, 3), 40, np.uint8)
        frame[8:16, 4 + k : 12 + k] = 220
        frame[30:40, 50 - k : 60 - k] = 200
        frame[0, 0] = k
        frames.append(frame)
    return frames


def truth(k: int) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:16, 4 + k : 12 + k] = 1
    labels[30:40, 50 - k : 60 - k] = 2
    return labels


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mkv", squares(), stamps=uneven(COUNT))


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> BrightPredictor:
    """In the place of a network."""
    predictor = BrightPredictor(card="mobile-sam")
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(predictor))
    return predictor


BOXES = ("4,8,11,15@0=left", "46,30,55,39@4=right")


def job_of(source: Path, out: Path, **changes: Any) -> SegmentJob:
    values = {"box": BOXES, "margin_pixels": 2.0, "quiet": True, **changes}
    return SegmentJob(input=source, output=out, **values)


def labels_in_zip(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        return {
            name: np.asarray(PilImage.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
        }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_clip_is_followed_into_files_that_others_read(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outputs = segment_video(job_of(clip, out))
    assert sorted(p.name for p in out.iterdir()) == sorted([*FILES, "provenance.json"])
    pictures = labels_in_zip(out / "masks.zip")
    assert list(pictures) == [f"{k:06d}.png" for k in range(COUNT)]
    with av.open(str(out / "labels.mkv")) as made:
        frames = list(made.decode(video=0))
    assert frames[0].format.name == "gray"
    for k in range(COUNT):
        np.testing.assert_array_equal(pictures[f"{k:06d}.png"], truth(k))
        np.testing.assert_array_equal(frames[k].to_ndarray(), truth(k))
    seconds = np.array(uneven(COUNT)) / 1000
    np.testing.assert_allclose([f.time for f in frames], seconds, atol=1e-6)
    rows = rows_of(out / "areas.csv")
    assert len(rows) == 2 * COUNT
    for row in rows:
        k, label = int(row["frame"]), int(row["label"])
        assert float(row["time_s"]) == pytest.approx(seconds[k], abs=1e-6)
        assert int(row["area_px"]) == (truth(k) == label).sum()
        assert row["name"] == ("left", "right")[label - 1]
    facts = json.loads((out / "provenance.json").read_text())
    assert facts == json.loads(json.dumps(outputs.provenance.to_json()))
    assert facts["prompts"]["objects"][1]["boxes"] == [{"xyxy": [46, 30, 55, 39], "slice": 4}]
    assert [o["frames"] for o in facts["objects"]] == [COUNT, COUNT]
    assert "1 left: on 40 of 40 frames, predicted IoU 0.90" in outputs.summary()


def test_the_overlay_is_vp9_at_the_same_times_and_shows_the_objects(
    clip: Path, tmp_path: Path
) -> None:
    segment_video(job_of(clip, tmp_path / "out"))
    with av.open(str(tmp_path / "out" / "overlay.webm")) as made:
        assert made.streams.video[0].codec_context.name == "vp9"
        frames = list(made.decode(video=0))
    np.testing.assert_allclose([f.time for f in frames], np.array(uneven(COUNT)) / 1000, atol=1e-6)
    shown = open_video(tmp_path / "out" / "overlay.webm")
    for k in (1, 20, 39):
        frame, put_in = shown.frame(k).astype(int), squares()[k]
        assert np.abs(frame - put_in)[truth(k) == 0].mean() < 8
        assert frame[12, 8 + k, 0] > frame[12, 8 + k, 2] + 15  # tinted red
        assert frame[35, 55 - k, 2] > frame[35, 55 - k, 0] + 15  # tinted blue


@pytest.mark.parametrize(("chosen", "rate", "lasts"), [(None, 10, 1.2), ("1:9:4", 2.5, 1.2)])
def test_what_is_written_has_the_rate_of_the_clip_and_shows_its_last_frame_as_long(
    tmp_path: Path, chosen: str | None, rate: float, lasts: float
) -> None:
    """Players and OpenCV count frames as duration times rate."""
    slow = write_video(tmp_path / "slow.mkv", squares(12), stamps=range(0, 1200, 100))
    boxes = (BOXES[0],) if chosen is None else ("5,8,12,15@1=left",)
    segment_video(job_of(slow, tmp_path / "out", box=boxes, frames=chosen, margin_pixels=5.0))
    for name in ("overlay.webm", "labels.mkv"):
        with av.open(str(tmp_path / "out" / name)) as made:
            assert made.duration is not None
            assert made.streams.video[0].average_rate == pytest.approx(rate)
            assert made.duration / 1e6 == pytest.approx(lasts, abs=0.002)


def test_a_range_with_a_stride_counts_frames_as_the_clip_does(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    boxes = ("6,8,13,15@2=left", "42,30,51,39@8=right")
    segment_video(job_of(clip, out, box=boxes, frames="2:20:3", margin_pixels=5.0))
    pictures = labels_in_zip(out / "masks.zip")
    assert list(pictures) == [f"{k:06d}.png" for k in range(2, 21, 3)]
    for name, labels in pictures.items():
        np.testing.assert_array_equal(labels, truth(int(name[:-4])))
    rows = rows_of(out / "areas.csv")
    assert float(rows[2]["time_s"]) == pytest.approx(uneven(COUNT)[5] / 1000, abs=1e-6)
    facts = json.loads((out / "provenance.json").read_text())
    assert facts["objects"][1]["prompted_slices"] == [8]
    again = main(["segment", "--config", str(out / "provenance.json"), "-o", str(tmp_path / "b")])
    assert again == 0
    assert (tmp_path / "b" / "masks.zip").read_bytes() == (out / "masks.zip").read_bytes()


def test_objects_that_overlap_have_a_layer_each(clip: Path, tmp_path: Path) -> None:
    boxes = ("4,8,11,15@0=a/b", "4,8,11,15@0=a:b")
    segment_video(job_of(clip, tmp_path / "out", box=boxes, frames="0:3"))
    pictures = labels_in_zip(tmp_path / "out" / "masks.zip")
    assert sorted(pictures) == [f"{n}_a_b/{k:06d}.png" for n in (1, 2) for k in range(4)]
    for k in range(4):
        np.testing.assert_array_equal(pictures[f"1_a_b/{k:06d}.png"], truth(k) == 1)
        np.testing.assert_array_equal(pictures[f"2_a_b/{k:06d}.png"], 2 * (truth(k) == 1))
    with av.open(str(tmp_path / "out" / "labels.mkv")) as made:
        assert [s.metadata["title"] for s in made.streams.video] == ["a/b", "a:b"]
        frame = next(iter(made.decode(video=1)))
        np.testing.assert_array_equal(frame.to_ndarray(), 2 * (truth(0) == 1))
    later = job_of(clip, tmp_path / "c", box=boxes, frames="0:3", overlap="later-wins")
    segment_video(later)
    labels = labels_in_zip(tmp_path / "c" / "masks.zip")["000002.png"]
    np.testing.assert_array_equal(labels, 2 * (truth(2) == 1))


class StoppedError(Exception):
    """In the place of a kill."""


@pytest.mark.parametrize("stop", [1, 33, 44])
def test_a_killed_run_goes_on_from_the_last_finished_part(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: BrightPredictor, stop: int
) -> None:
    monkeypatch.setattr(propagate, "_FRAMES_A_PART", 8)
    boxes = ("19,8,26,15@15=left", "20,30,29,39@30=right")  # both ways
    segment_video(job_of(clip, tmp_path / "whole", box=boxes))
    needed = len(model.boxes)
    kept, calls = propagate._add, []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == stop:
            raise StoppedError
        return kept(*arguments)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(propagate, "_add", dies)
        with pytest.raises(StoppedError):
            segment_video(job_of(clip, out, box=boxes))
    assert not [p.name for p in out.glob("[!.]*")]
    if stop > 8:
        with pytest.raises(OutputError, match="an unfinished run of another request"):
            segment_video(job_of(clip, out, box=boxes, min_iou=0.3))
    model.boxes.clear()
    segment_video(job_of(clip, out, box=boxes))
    if stop > 16:
        assert len(model.boxes) < needed - 10
    for name in ("masks.zip", "areas.csv", "labels.mkv", "overlay.webm"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(p.name for p in out.iterdir()) == sorted([*FILES, "provenance.json"])


@pytest.mark.parametrize(("stop", "more"), [(3, ""), (20, "; the same command goes on from here")])
def test_an_interrupted_run_says_whether_it_can_be_taken_up(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: int,
    more: str,
) -> None:
    monkeypatch.setattr(propagate, "_FRAMES_A_PART", 8)
    kept, calls = propagate._add, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return kept(*arguments)

    command = ["segment", "-i", str(clip), "-o", str(tmp_path / "out"), "--quiet", "--no-overlay"]
    command += ["--box", BOXES[0], "--margin-pixels", "2", "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(propagate, "_add", interrupted)
        assert main(command) == 130
    assert capsys.readouterr().err.endswith(f"interrupted{more}\n")
    assert main(command) == 0
    assert ("going on after 16 frames" in capsys.readouterr().err) is bool(more)


@pytest.mark.parametrize("frames", ["0:5", "0:15"], ids=["within a part", "at the end of one"])
def test_an_interruption_while_results_are_written_can_be_taken_up_and_a_correction_cannot(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    frames: str,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    command = ["segment", "-i", str(clip), "--quiet", "--no-overlay", "--frames", frames]
    command += ["--margin-pixels", "2", "--box", BOXES[0], "-o", str(tmp_path / "out")]
    corrected = [*command[:-1], str(tmp_path / "better"), "--correct", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr("promptseg.jobs.video.results.write_film", interrupted)
        assert main(command) == 130
        assert capsys.readouterr().err.endswith("interrupted; the same command goes on from here\n")
    assert main(command) == 0
    monkeypatch.setattr("promptseg.jobs.video.results.write_film", interrupted)
    assert main(corrected) == 130
    assert capsys.readouterr().err.endswith("\ninterrupted\n")


def test_memory_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames, embeddings and masks that are held, at every frame of a long clip."""
    frames = [squares()[k % 2] for k in range(150)]
    clip = write_video(tmp_path / "long.mkv", frames, g="30")
    limit = 4 * frames[0].nbytes
    monkeypatch.setattr(video, "_CACHE_BYTES", limit)
    monkeypatch.setattr(video_job, "_EMBEDDING_BYTES", limit)
    held: dict[str, list[int]] = {"frames": [], "embeddings": [], "masks": []}
    of_frames, of_embeddings, add = video.Video._forget, EmbeddedImage._forget, propagate._add

    def frames_held(self: Any, newest: int) -> None:
        of_frames(self, newest)
        held["frames"].append(sum(f.nbytes for f in self._cache.values()))

    def embeddings_held(self: Any) -> None:
        of_embeddings(self)
        held["embeddings"].append(sum(e.nbytes for e in self._cache.values()))

    def masks_held(found: Any, masks: Any) -> Any:
        held["masks"].append(sum(len(p.bits) for each in masks.found for p in each.values()))
        return add(found, masks)

    monkeypatch.setattr(video.Video, "_forget", frames_held)
    monkeypatch.setattr(EmbeddedImage, "_forget", embeddings_held)
    monkeypatch.setattr(propagate, "_add", masks_held)
    segment_video(job_of(clip, tmp_path / "out", box=BOXES[:1], overlay=False))
    assert max(held["frames"]) <= limit
    assert max(held["embeddings"]) <= limit
    assert len(held["masks"]) >= 150
    assert held["masks"][-1] < 150 * 100  # bytes; a mask of these frames has 3072 pixels
    assert not (tmp_path / "out" / "overlay.webm").exists()


def cine(folder: Path) -> Path:
    return write_object(
        folder / "us.dcm",
        np.stack(squares(6)),
        frames=True,
        sop="1.2.840.10008.5.1.4.1.1.3.1",
        Modality="US",
        FrameTime=40,
        PatientName="DoeKx47^Jane",
    )


def test_a_cine_without_room_for_its_seg_is_refused_before_the_work(
    tmp_path: Path, model: BrightPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 48 * 64 * 64 * 2  # bytes: enough for a frame at a time, not for 20 objects on six
    monkeypatch.setattr("promptseg.formats.memory.available_bytes", lambda: free)
    many = tuple(f"4,8,11,15@0={n}" for n in range(20))
    with pytest.raises(InputError, match=r"us\.dcm: 20 x 6 x 48 x 64 voxels.* with --frames"):
        segment_video(job_of(cine(tmp_path), tmp_path / "out", box=many))
    assert (model.encoded, (tmp_path / "out").exists()) == ([], False)


def test_a_cine_gets_a_seg_too(tmp_path: Path) -> None:
    source = cine(tmp_path)
    job = job_of(source, tmp_path / "out", box=BOXES[:1], frames="0:4:2", margin_pixels=4.0)
    assert is_video_job(job)
    segment_video(job)
    seg = highdicom.seg.segread(tmp_path / "out" / "masks.dcm")
    image_uid = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    for k in (0, 2, 4):
        pixels = seg.get_pixels_by_source_frame(image_uid.ReferencedSOPInstanceUID, [k + 1])
        np.testing.assert_array_equal(pixels[0, ..., 0], truth(k) == 1)
    assert [r["time_s"] for r in rows_of(tmp_path / "out" / "areas.csv")] == [
        "0.000000",
        "0.080000",
        "0.160000",
    ]
    discreet = job_of(source, tmp_path / "b", box=BOXES[:1], frames="0:2", deidentify=True)
    assert segment_video(discreet).summary()[0].startswith("1 left: on 3 of 3 frames")
    written = b"".join(p.read_bytes() for p in (tmp_path / "b").glob("*.dcm"))
    text = (tmp_path / "b" / "provenance.json").read_text()
    assert b"DoeKx47" not in written
    assert "us.dcm" not in text


def test_numbered_pictures_are_a_video_where_a_prompt_names_a_frame(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for k, frame in enumerate(squares(12)):
        PilImage.fromarray(frame).save(folder / f"{k}.png")
    job = job_of(folder, tmp_path / "out", box=BOXES)
    assert is_video_job(job)
    assert not is_video_job(job_of(folder, tmp_path / "out", box=("4,8,11,15",)))
    segment_video(job)
    np.testing.assert_array_equal(
        labels_in_zip(tmp_path / "out" / "masks.zip")["000010.png"], truth(10)
    )
    assert {row["time_s"] for row in rows_of(tmp_path / "out" / "areas.csv")} == {""}


def test_videos_are_done_one_by_one_and_are_no_pictures_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "b.mp4", squares(3), "mpeg4", "yuv420p")
    with pytest.raises(InputError, match="one video, got 1 in the folder"):
        is_video_job(job_of(folder, tmp_path / "out"))
    PilImage.fromarray(squares()[0]).save(folder / "a.png")
    assert find_images(folder) == [folder / "a.png"]
    assert not is_image_file(folder / "b.mp4")
    assert is_image_file(folder / "a.png")


def test_a_mask_file_as_output_is_written_as_of_any_image(clip: Path, tmp_path: Path) -> None:
    assert not is_video_job(job_of(clip, tmp_path / "labels.nii.gz"))
    assert is_video_job(job_of(clip, tmp_path / "labels"))


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"box": ("4,8,11,15@40",)}, PromptError, "a frame from 0 to 39"),
        ({"box": ("4,8,11,15@9",), "frames": "0:8"}, PromptError, "on the frames 0:8, got frame 9"),
        ({"box": ("4,8,11,15",)}, PromptError, "a frame for a box in a video of 40 frames"),
        ({"box": ("4,8,90,15@0",)}, PromptError, "inside the image"),
        ({"box": ("1,1,1,2,2,2mm",)}, PromptError, "prompts in pixels"),
        ({"box": ()}, PromptError, "at least one prompt"),
        ({"axis": "y"}, InputError, "--axis y for a video"),
        ({"frame": 3}, InputError, "an image for --frame"),
        ({"correct": Path("m.nii.gz")}, InputError, "the results of an earlier run on the video"),
        ({"suffix": "x"}, InputError, "an image for --suffix"),
        ({"slices": "50:60"}, InputError, "slices within 0:39"),
        ({"output": Path("film.mp4")}, OutputError, "a folder for the results"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    clip: Path, tmp_path: Path, changes: dict[str, Any], kind: type, said: str
) -> None:
    out = tmp_path / changes.pop("output", Path("out"))
    with pytest.raises(kind, match=said):
        segment_video(job_of(clip, out, **changes))
    assert not out.exists()


def test_nothing_that_is_there_is_written_over(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "areas.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        segment_video(job_of(clip, out))
    assert [p.name for p in out.iterdir()] == ["areas.csv"]
    (out / "areas.csv").rename(out / "notes.csv")
    segment_video(job_of(clip, out, frames="0:5"))
    with pytest.raises(OutputError, match="exists"):
        segment_video(job_of(clip, out, frames="0:5"))
    segment_video(job_of(clip, out, frames="0:6", overwrite=True))
    assert (out / "notes.csv").read_text() == "mine"
    folder = tmp_path / "frames"
    folder.mkdir()
    PilImage.fromarray(squares()[0]).save(folder / "0.png")
    with pytest.raises(OutputError, match="other than the input folder"):
        segment_video(job_of(folder, folder, box=BOXES[:1]))
    source = out / "overlay.webm"
    content = source.read_bytes()
    with pytest.raises(OutputError, match="which is read"):
        segment_video(job_of(source, out, overwrite=True))
    assert source.read_bytes() == content


def test_files_of_the_run_that_is_replaced_do_not_stay(clip: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    segment_video(job_of(clip, out, frames="0:5"))
    segment_video(job_of(clip, out, frames="0:6", overlay=False, overwrite=True))
    left = {*FILES, "provenance.json"} - {"overlay.webm"}
    assert {p.name for p in out.iterdir()} == left
    assert "overlay.webm" not in (out / ".promptseg-files").read_text()
    other.mkdir()
    (other / "overlay.webm").write_text("mine")
    segment_video(job_of(clip, other, frames="0:6", overlay=False, overwrite=True))
    assert (other / "overlay.webm").read_text() == "mine"


def test_a_disk_that_is_full_leaves_nothing_half_written(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("promptseg.segment.video.write.csv.writer", full)
    with pytest.raises(OutputError, match="no space left"):
        segment_video(job_of(clip, tmp_path / "out", frames="0:5"))
    assert not list((tmp_path / "out").glob("[!.]*"))
    monkeypatch.undo()
    monkeypatch.setattr(
        video_job, "load_prompted", lambda job: Segmenter(BrightPredictor(card="mobile-sam"))
    )
    segment_video(job_of(clip, tmp_path / "out", frames="0:5"))


def test_info_of_a_clip(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["info", "-i", str(clip), "--preview", str(sheet), "--sheet", "6"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "kind video in colour" in said
    assert "size 64 x 48 x 40" in said
    assert "frames 40 frames in time" in said
    assert "codec FFmpeg video codec #1 (ffv1)" in said
    assert "on average: the time stamps are uneven" in said
    assert PilImage.open(sheet).width > 500
    even = write_video(tmp_path / "even.mp4", squares(10), "mpeg4", "yuv420p")
    assert main(["info", "--json", str(even)]) == 0
    facts = answer("info", capsys.readouterr().out)
    assert facts["video"] == {
        "codec": "MPEG-4 part 2 (mpeg4)",
        "rate": 25.0,
        "duration_s": 0.4,
        "even": True,
        "turned": False,
    }
    assert (facts["kind"], facts["size_xyz"], facts["range"]) == ("video", [64, 48, 10], None)


def test_models_of_classes_take_no_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_video(tmp_path / "clip.mp4", squares(4))
    monkeypatch.setattr(video_job, "is_semantic", lambda _: True)
    with pytest.raises(ModelError, match="a folder of images"):
        segment_video(SegmentJob(input=clip, output=tmp_path / "out", quiet=True))
    assert not (tmp_path / "out").exists()
