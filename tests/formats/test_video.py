"""Videos: the frames and times that were put in come out, one by one, from either side."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from formats.dicom_makers import write_object
from formats.video_makers import SHAPE, cut, textured, uneven, write_video
from promptseg.errors import InputError, MissingPackageError, PromptError
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.formats.options import ReadOptions
from promptseg.formats.video import Video, open_video, parse_frames
from promptseg.formats.video.container import open_container
from promptseg.formats.video.encode import lossless, viewable
from promptseg.image import Image
from promptseg.intensity import choose_intensity

FRAMES = textured()
TWENTY_FIFTH = Fraction(1, 25)


def frames_of(path: Path, frames: str | None = None) -> list[NDArray[Any]]:
    selection = open_video(path, ReadOptions(frames=frames))
    with selection.video:
        return [selection.frame(k) for k in range(len(selection))]


@pytest.mark.parametrize("ending", [".mkv", ".avi"])
def test_lossless_frames_are_the_ones_put_in(tmp_path: Path, ending: str) -> None:
    stamps = {"stamps": range(12), "unit": TWENTY_FIFTH}
    path = write_video(tmp_path / f"clip{ending}", FRAMES, **stamps)  # type: ignore[arg-type]
    selection = open_video(path)
    assert (len(selection), selection.video.facts.size) == (12, SHAPE)
    assert selection.video.rate == pytest.approx(25)
    for k, frame in enumerate(frames_of(path)):
        np.testing.assert_array_equal(frame, FRAMES[k])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "ffv1"), ("a.mp4", "mpeg4"), ("a.mov", "mpeg4"), ("a.webm", "libvpx-vp9")],
)
def test_uneven_times_are_kept(tmp_path: Path, name: str, codec: str) -> None:
    pixels = "bgr0" if codec == "ffv1" else "yuv420p"
    path = write_video(tmp_path / name, FRAMES, codec, pixels, uneven(12))
    selection = open_video(path)
    times = selection.video.facts.times
    assert times is not None
    np.testing.assert_allclose(times, np.array(uneven(12)) / 1000, atol=1e-6)
    assert not selection.video.even
    assert selection.time(5) == times[5]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "ffv1", {"g": "5"}),
        ("a.mp4", "libx264", {"bf": "3", "g": "6", "qp": "0"}),
        ("a.mp4", "libx265", {"x265-params": "log-level=none:keyint=5:open-gop=1"}),
        ("a.avi", "libx264", {"bf": "2"}),
        ("a.webm", "libvpx-vp9", {"g": "4"}),
        ("a.gif", "gif", {}),
    ],
)
def test_frames_in_any_order_are_those_in_order(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    pixels = {"ffv1": "bgr0", "gif": "rgb8"}.get(codec, "yuv420p")
    unit = Fraction(1, 100) if codec == "gif" else TWENTY_FIFTH
    stamps = [4 * k if codec == "gif" else k for k in range(24)]
    path = write_video(tmp_path / name, textured(24), codec, pixels, stamps, unit, **options)
    with av.open(str(path)) as container:  # from the first to the last, nothing sought
        theirs = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    video = open_video(path).video
    assert len(video) == len(theirs) == 24
    video.cache_bytes = 3 * theirs[0].nbytes
    order = [*range(24), *reversed(range(24)), *random.Random(3).sample(range(24), 24)]
    for k in order:
        np.testing.assert_array_equal(video.frame(k), theirs[k])
        assert sum(f.nbytes for f in video._cache.values()) <= video.cache_bytes
    video.close()


def test_going_back_decodes_from_key_frames_and_not_from_the_start(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(60), g="10")
    video = open_video(path).video
    video.cache_bytes = 10 * FRAMES[0].nbytes
    for k in reversed(range(60)):
        video.frame(k)
    assert video.decoded <= 60


def test_a_gif_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    pictures = [PilImage.fromarray(f).quantize(64) for f in FRAMES]
    waits = [50, 120, 80] * 4
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=waits, loop=0
    )
    selection = open_video(tmp_path / "a.gif")
    with PilImage.open(tmp_path / "a.gif") as theirs:
        assert theirs.n_frames == len(selection)
        for k in range(len(selection)):
            theirs.seek(k)
            np.testing.assert_array_equal(selection.frame(k), np.array(theirs.convert("RGB")))
    times = selection.video.facts.times
    assert times is not None
    np.testing.assert_allclose(np.diff(times), np.array(waits[:-1]) / 1000)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_frames_are_turned_as_the_file_says(tmp_path: Path, turned: int, mirrored: bool) -> None:
    path = write_video(tmp_path / "a.mov", FRAMES, "png", "rgb24", turned=turned, mirrored=mirrored)
    expected = [np.rot90(frame, turned // 90) for frame in FRAMES]
    if mirrored:
        expected = [frame[:, ::-1] for frame in expected]
    np.testing.assert_array_equal(frames_of(path), expected)
    assert open_video(path).video.facts.turned == (bool(turned) or mirrored)


def test_the_matrix_of_a_phone_held_upright(tmp_path: Path) -> None:
    """The numbers that phones write (0 1 -1 0) turn clockwise: ISO 14496-12, 6.2.2."""
    path = write_video(tmp_path / "a.mov", FRAMES, "png", "rgb24")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version 0
    one, minus = (1 << 16).to_bytes(4, "big"), (-1 << 16).to_bytes(4, "big", signed=True)
    assert content[at : at + 4] == one
    content[at : at + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(frames_of(path), [np.rot90(f, -1) for f in FRAMES])


@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114)])
def test_colours_follow_the_matrix_that_the_file_names(
    tmp_path: Path, matrix: int, red: float, blue: float
) -> None:
    """BT.709 and BT.601 by their formulas, for one colour of limited range."""
    y, u, v = 100, 90, 180
    luma, of_blue, of_red = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = luma + 2 * (1 - red) * of_red, luma + 2 * (1 - blue) * of_blue
    g = (luma - red * r - blue * b) / (1 - red - blue)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv444p"
        stream.codec_context.colorspace = matrix
        frame = av.VideoFrame(16, 16, "yuv444p")
        frame.colorspace, frame.color_range, frame.pts = matrix, 1, 0
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (found,) = frames_of(tmp_path / "a.mkv")
    np.testing.assert_allclose(found[8, 8], np.array([r, g, b]) * 255, atol=1.5)


def test_gray_stays_gray(tmp_path: Path) -> None:
    grays = [frame[..., 1] for frame in FRAMES]
    path = write_video(tmp_path / "a.mkv", grays, pixels="gray")
    np.testing.assert_array_equal(frames_of(path), grays)
    assert not open_video(path).image().is_colour


def test_a_range_and_a_stride(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", FRAMES)
    selection = open_video(path, ReadOptions(frames="2:9:3"))
    assert list(selection.numbers) == [2, 5, 8]
    np.testing.assert_array_equal(selection.frame(1), FRAMES[5])
    assert selection.time(2) == pytest.approx(0.32)
    assert selection.place(8) == 2
    with pytest.raises(PromptError, match=r"a prompt on the frames 2:8:3, got frame 6"):
        selection.place(6)
    with pytest.raises(PromptError, match=r"a frame from 0 to 11, got a prompt on 12"):
        selection.place(12)


@pytest.mark.parametrize("text", ["3", "a:b", "5:3", "0:12", "-1:4", "0:5:0", "0:1:2:3"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="frames FIRST:LAST"):
        parse_frames(text, 12)


def test_numbered_pictures_by_number_and_not_by_name(tmp_path: Path) -> None:
    for k, frame in enumerate(FRAMES):
        PilImage.fromarray(frame).save(tmp_path / f"f{k}_l.png")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / ".f99_l.png").write_bytes(b"x")
    np.testing.assert_array_equal(frames_of(tmp_path), FRAMES)
    image = read(tmp_path)
    assert (image.kind, image.source.format) == ("video", "video")
    np.testing.assert_array_equal(image.voxels, FRAMES)
    assert open_video(tmp_path).time(3) is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1.png", "01.png"], "a number of their own.*01.png and 1.png"),
        (["1.png", "1.jpg"], "a number of their own"),
        (["1.png", "cover.png"], "cover.png, without a number"),
        (["left_1.png", "right_2.png"], "left_1.png and right_2.png"),
    ],
)
def test_names_that_do_not_say_the_order(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        PilImage.fromarray(FRAMES[0]).save(tmp_path / name)
    with pytest.raises(InputError, match=said):
        read(tmp_path)


def test_pictures_of_other_sizes_and_kinds_are_no_frames(tmp_path: Path) -> None:
    first = PilImage.fromarray(FRAMES[0])
    for folder, other in (("a", first.resize((40, 30))), ("b", first.convert("L"))):
        (tmp_path / folder).mkdir()
        first.save(tmp_path / folder / "1.png")
        other.save(tmp_path / folder / "2.png")
    with pytest.raises(InputError, match=r"one size, 32 x 24 .* frame 1 of 40 x 30"):
        read(tmp_path / "a")
    np.testing.assert_array_equal(
        frames_of(tmp_path / "b")[1][..., 0], np.array(first.convert("L"))
    )
    first.convert("L").save(tmp_path / "b" / "0.png")
    with pytest.raises(InputError, match="all gray or all in colour"):
        read(tmp_path / "b")
    (tmp_path / "b" / "0.png").write_bytes(b"no 2D image")
    with pytest.raises(InputError, match=r"frames that can be read, got .*0\.png"):
        read(tmp_path / "b")


@pytest.mark.parametrize(
    ("colour", "dtype"), [(False, np.uint8), (True, np.uint8), (False, np.uint16)]
)
def test_a_cine_is_what_its_reader_makes_of_it(tmp_path: Path, colour: bool, dtype: type) -> None:
    shape = (6, 10, 12, 3)[: 3 + colour]
    stored = np.random.default_rng(2).integers(0, 200, shape).astype(dtype)
    photometric = {} if dtype is np.uint8 else {"PhotometricInterpretation": "MONOCHROME1"}
    path = write_object(
        tmp_path / "us.dcm",
        stored,
        frames=True,
        Modality="US",
        FrameTimeVector=[0, 30, 50, 20, 20, 10],
        **photometric,  # type: ignore[arg-type]
    )
    selection, whole = open_video(path), read(path)
    for k in (3, 0, 5, 1):
        np.testing.assert_array_equal(selection.frame(k), whole.voxels[k])
    times = selection.video.facts.times
    assert times is not None
    np.testing.assert_allclose(times, [0, 0.03, 0.08, 0.1, 0.12, 0.13])
    assert selection.video.facts.modality == "US"
    assert [i.frame for i in selection.video.facts.header.slices] == list(range(6))


def test_a_volume_is_no_video(tmp_path: Path) -> None:
    path = write_object(tmp_path / "ct.dcm", np.zeros((4, 5, 6), np.int16), True, Modality="CT")
    with pytest.raises(InputError, match="a video: frames in time"):
        open_video(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "ffv1"), ("a.webm", "libvpx-vp9"), ("a.gif", "gif")]
)
def test_a_file_that_was_cut_off_says_what_can_be_decoded(
    tmp_path: Path, name: str, codec: str
) -> None:
    pixels = {"ffv1": "bgr0", "gif": "rgb8"}.get(codec, "yuv420p")
    unit = Fraction(1, 100) if codec == "gif" else TWENTY_FIFTH
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (*SHAPE, 3)).astype(np.uint8) for _ in range(20)]
    stamps = [4 * k if codec == "gif" else k for k in range(20)]
    whole = write_video(tmp_path / name, noise, codec, pixels, stamps, unit)
    short = cut(whole, 0.6)
    with pytest.raises(InputError, match=r"cut off: its first \d+ frames can be decoded") as error:
        open_video(short)
    good = int(error.value.got.rpartition("first ")[2].split()[0])
    assert 6 < good < 16
    assert f"--frames 0:{good - 1}" in error.value.do
    expected = frames_of(whole)[: good - 1]
    np.testing.assert_array_equal(frames_of(short, f"0:{good - 1}")[: good - 1], expected)
    with pytest.raises(InputError, match="frames FIRST:LAST"):
        open_video(short, ReadOptions(frames=f"0:{good}"))


@pytest.mark.parametrize("fast", [False, True])
def test_an_mp4_that_was_cut_off(tmp_path: Path, fast: bool) -> None:
    options = {"movflags": "faststart"} if fast else {}
    path = write_video(tmp_path / "a.mp4", FRAMES, "mpeg4", "yuv420p", **options)
    said = r"its first \d+ frames can be decoded" if fast else "no frame of it can be decoded"
    with pytest.raises(InputError, match=f"cut off: {said}"):
        open_video(cut(path, 0.8))


def test_a_damaged_frame_is_named_and_no_other_is_shown_for_it(tmp_path: Path) -> None:
    stamps = {"stamps": range(40), "unit": TWENTY_FIFTH}
    path = write_video(tmp_path / "a.mp4", textured(40), "libx264", "yuv420p", g="40", **stamps)  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    victim = packets[20]
    at = victim.pos + victim.size // 3
    content[at : at + victim.size // 2] = bytes(victim.size // 2)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"frame [0-9]+ is damaged") as error:
        frames_of(path)
    good = int(error.value.do.rpartition(":")[2])
    assert 15 <= good <= 21
    assert f"frame {good + 1} is damaged" in str(error.value)
    assert len(frames_of(path, f"0:{good}")) == good + 1


def test_frames_of_changing_size(tmp_path: Path) -> None:
    """Two MPEG streams one after the other: the decoder follows the second header."""
    for name, shape in (("a", (32, 48)), ("b", (64, 48))):
        write_video(tmp_path / f"{name}.mkv", textured(4, shape), "mjpeg", "yuvj420p")
    with av.open(str(tmp_path / "c.mkv"), "w") as made:
        stream = made.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p"
        stamp = 0
        for name in ("a", "b"):
            with av.open(str(tmp_path / f"{name}.mkv")) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        packet.pts = packet.dts = stamp
                        stamp += 40
                        made.mux(packet)
    with pytest.raises(InputError, match=r"one size, 48 x 32 .* frame 4 of 48 x 64; .*0:3"):
        frames_of(tmp_path / "c.mkv")
    assert len(frames_of(tmp_path / "c.mkv", "0:3")) == 4


def test_what_is_no_video_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_bytes(b"#EXTM3U\nhttp://example.org/secret.ts\n")
    (tmp_path / "empty.mkv").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate, sound.pts = 44100, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for name, said in (
        ("text.mp4", "something else"),
        ("empty.mkv", "an empty file"),
        ("sound.mp4", "sound alone"),
        ("absent.avi", "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)


def test_what_a_header_asks_for_is_checked_before_a_frame_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mkv", FRAMES)
    monkeypatch.setattr("promptseg.formats.memory.available_bytes", lambda: 10_000)
    with pytest.raises(InputError, match=r"an image that fits into .* 24 x 32 x 3 voxels"):
        open_video(path)
    monkeypatch.setattr("promptseg.formats.memory.available_bytes", lambda: 50_000)
    assert len(open_video(path)) == 12
    with pytest.raises(InputError, match=r"fits into .* 12 x 24 x 32 x 3 voxels.* with --frames"):
        read(path)


def test_reading_a_whole_clip_and_one_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", FRAMES)
    image = read(path, frames="1:10:3")
    np.testing.assert_array_equal(image.voxels, FRAMES[1:11:3])
    assert (image.kind, image.geometry.unit) == ("video", "pixel")
    assert "frames 1 to 10 of 12, every 3." in image.source.notes
    picture = read(path, frame=7)
    assert picture.kind == "picture"
    np.testing.assert_array_equal(picture.voxels, FRAMES[7])


def test_frames_as_an_image_are_decoded_when_they_are_looked_at(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", FRAMES)
    lazy, whole = open_video(path).image(), read(path)
    assert isinstance(lazy, Image)
    assert lazy.voxels.shape == whole.voxels.shape
    assert lazy.sha256() == whole.sha256()
    np.testing.assert_array_equal(lazy.slice(4), whole.slice(4))
    assert choose_intensity(whole).rule == "values within 0..255 unchanged"


def test_other_formats_have_no_choice_of_frames(tmp_path: Path) -> None:
    PilImage.fromarray(FRAMES[0]).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a choice of frames"):
        read(tmp_path / "a.png", frames="0:3")


def test_without_pyav_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mkv", FRAMES)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"promptseg\[video\]"):
        open_container(path)


def test_frames_cannot_be_changed_by_who_looks_at_them(tmp_path: Path) -> None:
    video: Video = open_video(write_video(tmp_path / "a.mkv", FRAMES)).video
    with pytest.raises(ValueError, match="read-only"):
        video.frame(0)[:] = 0


@pytest.mark.parametrize("shape", [(49, 63), (16, 17), (1, 1)])
def test_what_is_written_has_the_size_and_times_of_what_was_read(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    pictures = [np.full((*shape, 3), 60 + 10 * k, np.uint8) for k in range(5)]
    seconds = [0.0, 0.04, 0.0401, 0.5, 2.0]
    with viewable(tmp_path / "a.webm", shape, "title") as made:
        for picture, second in zip(pictures, seconds, strict=True):
            made.add([picture], second)
    selection = open_video(tmp_path / "a.webm")
    assert selection.video.facts.size == shape
    times = selection.video.facts.times
    assert times is not None
    np.testing.assert_allclose(times, [0, 0.04, 0.041, 0.5, 2.0])
    for k, picture in enumerate(pictures):
        assert np.abs(selection.frame(k).astype(int) - picture).mean() < 6


@pytest.mark.parametrize("wide", [False, True])
def test_label_videos_are_lossless_in_every_stream(tmp_path: Path, wide: bool) -> None:
    rng = np.random.default_rng(4)
    kind = np.uint16 if wide else np.uint8
    planes = rng.integers(0, np.iinfo(kind).max, (4, 2, 21, 33)).astype(kind)
    with lossless(tmp_path / "a.mkv", (21, 33), ["one", "two"], wide, "title") as made:
        for k, both in enumerate(planes):
            made.add(list(both), 0.1 * k)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert [s.metadata["title"] for s in container.streams.video] == ["one", "two"]
    for number in range(2):
        with av.open(str(tmp_path / "a.mkv")) as container:
            for k, frame in enumerate(container.decode(video=number)):
                np.testing.assert_array_equal(frame.to_ndarray(), planes[k, number])


def test_label_videos_of_overlapping_objects_are_read_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((2, 4, 21, 33)) < 0.5
    with lossless(tmp_path / "a.mkv", (21, 33), ["one", "two"], False, "1 one, 2 two") as made:
        for k, both in enumerate(truth.swapaxes(0, 1)):
            made.add([np.where(m, n, 0).astype(np.uint8) for n, m in enumerate(both, 1)], 0.1 * k)
    found = read_masks(tmp_path / "a.mkv")
    assert [(s.name, s.label) for s in found.segments] == [("one", 1), ("two", 2)]
    for segment, mask in zip(found.segments, truth, strict=True):
        np.testing.assert_array_equal(segment.mask((4, 21, 33)), mask)


def test_label_videos_keep_numbers_above_255_and_names(tmp_path: Path) -> None:
    planes = np.random.default_rng(6).integers(0, 301, (3, 21, 33)).astype(np.uint16)
    names = ["a, b", *(f"cell {n}" for n in range(2, 301))]
    title = ", ".join(f"{n} {name}" for n, name in enumerate(names, 1))
    with lossless(tmp_path / "a.mkv", (21, 33), ["labels"], True, title) as made:
        for k, plane in enumerate(planes):
            made.add([plane], 0.1 * k)
    found = read_masks(tmp_path / "a.mkv")
    assert [s.name for s in found.segments] == names
    for segment in found.segments:
        np.testing.assert_array_equal(segment.mask((3, 21, 33)), planes == segment.label)


def test_a_label_video_whose_streams_differ_is_refused(tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(np.ones((21, 33), np.uint8), "gray")
    frame.time_base = Fraction(1, 10)
    with av.open(str(tmp_path / "a.mkv"), "w") as made:
        streams = [made.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 21, 33, "gray"
        for number, frame.pts in ((0, 0), (1, 0), (0, 1)):
            made.mux(streams[number].encode(frame))
        for stream in streams:
            made.mux(stream.encode())
    with pytest.raises(InputError, match="streams of one size"):
        read_masks(tmp_path / "a.mkv")
