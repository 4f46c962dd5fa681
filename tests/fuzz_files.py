"""Changes small valid files a user may give: masks, prompts, checkpoints, sessions and others.

What reads them must come to an end with a result or with one of our errors; anything else, a crash of
a library included, is a fault. `fuzz_headers.py` does the same for images. Changes are made to bytes
anywhere and, where a file has a structure (ZIP archives, JSON, DICOM), to the parts within. They hang
on the name of the target and a number alone: what was found once is found again.

For longer than the tests do it:
`python tests/fuzz_files.py FOLDER --examples 5000 --targets mask-seg mask-npz`.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import io
import json
import logging
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from promptseg.errors import PromptsegError

MEMORY = 3 << 30
SEED = 20
Kind = Literal["bytes", "gzip", "zip", "session", "json", "dicom"]


@dataclass
class Target:
    """A valid file and what reads it.

    Attributes:
        path: the file; it is overwritten with every change of it.
        kind: how it can be changed besides its bytes.
        use: reads it.
        content: of the valid file.
    """

    path: Path
    kind: Kind
    use: Callable[[Path], Any]
    content: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.content = self.path.read_bytes()


# --- changes ------------------------------------------------------------------------------------

_PIECES = (
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x80", b"\x01"),
    *(
        b"999999999",
        b"-1",
        b"0",
        b"nan",
        b"1e308",
        b"\n",
        b"\r\n",
        b" ",
        b"\xed\xa0\x80",
        b"\\",
        b'"',
    ),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63),
    *(
        10**400,
        "",
        " ",
        "x",
        "\ud800",
        "a\0b",
        "=1+1",
        "\r\n",
        "\u2028",
        "../..",
        "/",
        "**",
        "{case}",
    ),
    *("n" * 70_000, "9" * 5_000, [], {}, [[]], [None], {"": None}, [1, 2, 3, 4], ["a", "b"]),
)


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """Some bytes overwritten, put in, taken out or doubled, or the file cut short."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        near = rng.random() < 0.5  # headers are at the start
        at = rng.randrange(max(1, min(len(made), 256) if near else len(made)))
        piece = rng.choice((*_PIECES, rng.randbytes(rng.randint(1, 8))))
        match rng.randrange(5):
            case 0:
                made[at:at] = piece
            case 1:
                del made[at : at + rng.randint(1, 64)]
            case 2:
                made[at:at] = made[at : at + rng.randint(1, 64)]
            case _:
                made[at : at + len(piece)] = piece
    return bytes(made[: rng.randrange(len(made))] if made and rng.random() < 0.1 else made)


def changed_zip(content: bytes, rng: random.Random) -> bytes:
    """A member changed, doubled, renamed or left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        members = old.infolist()
        chosen = rng.randrange(len(members))
        for k, member in enumerate(members):
            data, name = old.read(member), member.filename
            action = rng.randrange(8) if k == chosen else None
            if action == 0:
                continue
            if action == 1:
                name = rng.choice(members).filename
            elif action == 2:
                data = data * 2
            elif action is not None:
                data = changed_bytes(data, rng)
            new.writestr(name, data, member.compress_type)
    return out.getvalue()


def changed_json(content: bytes, rng: random.Random) -> bytes:
    """A value anywhere replaced, left out or doubled, or a key renamed."""
    whole = [json.loads(content)]
    places = list(_places(whole))
    for _ in range(rng.randint(1, 2)):
        holder, key = rng.choice(places)
        action = rng.randrange(6)
        if action == 0 and isinstance(holder, dict):
            holder[rng.choice(["", "name", "size", "\ud800", "k" * 300])] = holder.pop(key, None)
        elif action == 1 and isinstance(holder, dict):
            holder.pop(key, None)
        elif action == 2:
            deep: Any = holder[key] if isinstance(holder, list) else holder.get(key)
            for _ in range(rng.choice([1, 50])):
                deep = [deep]
            holder[key] = deep
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(whole[0]).encode()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def changed_dicom(content: bytes, rng: random.Random) -> bytes:
    """An element anywhere emptied, replaced, left out or doubled in length."""
    import pydicom

    ds = pydicom.dcmread(io.BytesIO(content))
    elements = [(e, holder) for holder, e in _elements(ds)]
    for _ in range(rng.randint(1, 2)):
        element, holder = rng.choice(elements)
        match rng.randrange(5):
            case 0:
                if element.tag in holder:
                    del holder[element.tag]
            case 1:
                element.value = None
            case 2 if isinstance(element.value, bytes):
                element.value = element.value[: len(element.value) // 2 * rng.choice([0, 1])]
            case 2 if element.VR == "SQ":
                element.value = [*element.value[: rng.randrange(len(element.value) + 1)]]
            case 3 if element.VR in ("US", "UL", "SS"):
                element.value = rng.choice([0, 1, 3, 255, 65_535])
            case 3 if element.VR in ("IS", "DS"):
                element.value = rng.choice(["0", "-1", "1", "99999", "1e9"])
            case _:
                if element.VR in ("UI", "LO", "CS", "SH", "PN", "LT", "ST", "UT", "DA", "TM"):
                    element.value = rng.choice(["", "X", "1.2.3", "a\\b", "\ud800"[:0], "LABELMAP"])
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return out.getvalue()


def changed_session(content: bytes, rng: random.Random) -> bytes:
    """The JSON in a session changed, or any member."""
    if rng.random() < 0.3:
        return changed_zip(content, rng)
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    text = changed_json(arrays["session"].tobytes(), rng)
    arrays["session"] = np.frombuffer(text, dtype=np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _elements(ds: Any) -> Iterator[tuple[Any, Any]]:
    for element in ds:
        yield ds, element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


_STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "zip": changed_zip,
    "session": changed_session,
    "json": changed_json,
    "dicom": changed_dicom,
}


def changed(target: Target, number: int) -> bytes:
    """The file, changed in a way that hangs on its name and the number alone."""
    rng = random.Random(f"{SEED} {target.path.name} {number}")
    structured = _STRUCTURED.get(target.kind)
    if structured and rng.random() < 0.6:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return structured(target.content, rng)
            except Exception:  # the change cannot be written: change bytes instead
                pass
    if target.kind == "gzip":
        return gzip.compress(changed_bytes(gzip.decompress(target.content), rng), 1)
    return changed_bytes(target.content, rng)


# --- targets ------------------------------------------------------------------------------------


def targets(folder: Path, wanted: list[str] | None = None) -> dict[str, Target]:
    """One valid file of every kind, by name; only those wanted, if any are named."""
    groups = {
        _masks: ("mask", "provenance"),
        _prompts: ("prompts",),
        _weights: ("weights",),
        _datasets: ("dataset",),
        _others: ("session", "engines", "config", "splits", "manifest"),
    }
    found: dict[str, Target] = {}
    for make, starts in groups.items():
        if wanted is None or any(name.startswith(starts) for name in wanted):
            found |= make(folder)
    return {name: found[name] for name in wanted or found}


def _masks(folder: Path) -> dict[str, Target]:
    from formats.helpers import GRIDS, segmentation_of, two_overlapping, write_dicom_series
    from promptseg import read
    from promptseg.formats.files import provenance_path
    from promptseg.formats.masks import read_masks
    from promptseg.image import Image
    from promptseg.jobs.convert import ConvertJob, convert

    write_dicom_series(folder / "ct", GRIDS["oblique"])
    image = read(folder / "ct")
    one = segmentation_of(image)
    two = segmentation_of(image, two_overlapping())
    flat = Image.from_array(np.arange(42, dtype=np.uint8).reshape(6, 7))

    def use(path: Path) -> None:
        try:
            read_masks(path, image)
        finally:
            read_masks(path)

    def use_placed(path: Path) -> None:
        read_masks(path, image)

    def convert_again(path: Path) -> None:
        again = folder / "again.nii"
        convert(ConvertJob(input=path, output=again, overwrite=True, quiet=True))

    def use_flat(path: Path) -> None:
        read_masks(path, flat)

    kinds: dict[str, Kind] = {
        ".nii": "bytes",
        ".nii.gz": "gzip",
        ".seg.nrrd": "bytes",
        ".mha": "bytes",
        ".mgz": "gzip",
        ".npz": "zip",
        ".seg.dcm": "dicom",
        ".rtstruct.dcm": "dicom",
    }
    found = {}
    for ending, kind in kinds.items():
        if ending == ".rtstruct.dcm":  # cannot be read without its image
            use_this: Callable[[Path], Any] = use_placed
        else:
            use_this = use
        for name, masks in (("one", one), ("two", two)):
            path = masks.save(folder / f"{name}{ending}")
            found[f"mask{ending}-{name}"] = Target(path, kind, use_this)
    overlapping = segmentation_of(flat, two_overlapping((6, 7)))
    for ending in (".tif", ".png"):
        masks = overlapping if ending == ".tif" else segmentation_of(flat)
        path = masks.save(folder / f"flat{ending}")
        found[f"mask{ending}"] = Target(path, "bytes", use_flat)
    found |= _label_pictures(folder, use_flat)
    mask = one.save(folder / "told.nii")
    told = {
        "output": "told.nii",
        "notes": ["a"],
        "window": [0, 1],
        "objects": [{"label": 1, "name": "thing", "voxels": 3, "prompted_slices": [2]}],
    }
    beside = provenance_path(mask)
    beside.write_text(json.dumps(told))
    found["provenance"] = Target(beside, "json", lambda _: convert_again(mask))
    return {**found, **_unusual_segs(folder, use)}


def _unusual_segs(folder: Path, use: Callable[[Path], Any]) -> dict[str, Target]:
    """A fractional SEG and a label map, which others write."""
    import pydicom

    ds = pydicom.dcmread(folder / "one.seg.dcm")
    frames, rows, columns = int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.SegmentationType, ds.MaximumFractionalValue = 7, "FRACTIONAL", 255
    ds.PixelData = bytes(range(256)) * (frames * rows * columns // 256) + bytes(
        range(frames * rows * columns % 256)
    )
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds.save_as(folder / "fractional.dcm")
    ds.SegmentationType, ds.SOPClassUID = "LABELMAP", "1.2.840.10008.5.1.4.1.1.66.7"
    ds.PixelData = bytes(b % 2 for b in ds.PixelData)
    ds.save_as(folder / "labelmap.dcm")
    return {
        f"mask-{name}": Target(folder / f"{name}.dcm", "dicom", use)
        for name in ("fractional", "labelmap")
    }


def _label_pictures(folder: Path, use: Callable[[Path], Any]) -> dict[str, Target]:
    """Pictures that show something else than they store, and stacks that say what they are."""
    from PIL import Image as PilImage

    from promptseg import read
    from promptseg.formats.masks import read_masks
    from promptseg.image import Image

    labels = np.arange(42, dtype=np.uint8).reshape(6, 7) % 3
    palette = PilImage.frombytes("P", (7, 6), labels.tobytes())
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 759)
    palette.save(folder / "palette.png")
    found = {"mask-palette": Target(folder / "palette.png", "bytes", use)}
    try:
        import tifffile
    except ImportError:
        return found

    def use_stack(path: Path) -> None:
        try:
            read(path, frame=0)
        finally:
            read_masks(path, volume)

    volume = Image.from_array(np.arange(84, dtype=np.uint8).reshape(2, 6, 7))
    stack = np.stack([labels % 2] * 4).reshape(2, 2, 6, 7)
    for name, how in (("imagej", {"imagej": True}), ("ome", {"ome": True}), ("json", {})):
        path = folder / f"{name}.tif"
        tifffile.imwrite(path, stack, metadata={"axes": "ZCYX"}, photometric="minisblack", **how)
        found[f"mask-tif-{name}"] = Target(path, "bytes", use_stack)
    return found


def _prompts(folder: Path) -> dict[str, Target]:
    from promptseg.formats.promptfile import read_prompt_file
    from promptseg.geometry import Geometry
    from promptseg.prompts import group_by_object

    geometry = Geometry.from_spacing((5, 6, 7), (1.0, 1.0, 2.0))

    def use(path: Path) -> None:
        for file in read_prompt_file(path):
            group_by_object(file.prompts, geometry, file.axis or "z")

    objects = [
        {"name": "a", "boxes": [{"xyxy": [1, 1, 4, 4], "slice": 2}]},
        {
            "name": "b",
            "points": [{"xy": [1, 1], "slice": 2, "label": 1}],
            "box3d": [1, 1, 1, 3, 3, 3],
        },
        {
            "name": "c",
            "masks": [{"slice": 1, "size": [6, 7], "rle": "3:4 10:2", "as_drawn": True}],
        },
        {"name": "d", "markers": [{"slice": k, "long": [[1, 1], [4, 4]]} for k in (1, 3)]},
        {"name": "e", "points": [{"xyz_mm": [1.0, 1.0, 2.0], "label": 0}]},
    ]
    markups = {
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "controlPoints": [{"label": "F-1", "position": [1, 2, 4], "selected": True}],
            },
            {"type": "ROI", "center": [2, 2, 4], "size": [2, 2, 2]},
        ]
    }
    contents = {
        "prompts": {"image": "a.nii", "axis": "z", "objects": objects},
        "prompts-many": {"images": [{"image": "a.nii", "objects": objects[:2]}]},
        "prompts-slicer": markups,
        "prompts-provenance": {"software": {}, "prompts": {"axis": "z", "objects": objects[:1]}},
    }
    found = {}
    for name, content in contents.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content))
        found[name] = Target(path, "json", use)
    return found


def _weights(folder: Path) -> dict[str, Target]:
    import torch
    from safetensors.torch import save_file

    from promptseg.models.checkpoint import build_network, open_checkpoint
    from train.tiny import build_tiny, register

    register()
    state = build_tiny().half().state_dict()
    torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}}, folder / "new.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "plain.safetensors")

    def use(path: Path) -> None:
        card, file, tensors = open_checkpoint(path)
        build_network(card, tensors, file)

    kinds: dict[str, Kind] = {"new.pth": "zip", "old.pth": "bytes", "plain.safetensors": "bytes"}
    return {f"weights-{k}": Target(folder / k, kind, use) for k, kind in kinds.items()}


def _datasets(folder: Path) -> dict[str, Target]:
    from datasets import dataset_makers as make
    from promptseg.datasets.opening import open_datasets

    def use(root: Path) -> None:
        for dataset in open_datasets(root):
            dataset.cases[0].load()

    found = {}
    places = {
        "coco": (make.coco(folder / "coco"), None),
        "saco": (make.saco(folder / "saco"), None),
        "nnunet": (make.nnunet(folder / "nnunet"), None),
        "patterns": (
            make.volume_pairs(folder / "patterns"),
            {
                "image_files": "{case}_image.nii.gz",
                "label_files": "{case}_label.nii.gz",
                "targets": {"1": "a", "2": "b"},
                "patients": {"a": "p"},
                "modality": "CT",
            },
        ),
    }
    for name, (made, said) in places.items():
        root = made if made.is_dir() else made.parent
        if said is not None:
            (root / "dataset.json").write_text(json.dumps(said))
        path = next(p for p in [made, *sorted(root.rglob("*.json"))] if p.suffix == ".json")
        found[f"dataset-{name}"] = Target(path, "json", lambda _, root=root: use(root))
    return found


def _others(folder: Path) -> dict[str, Target]:
    from fakes import BrightPredictor
    from promptseg.cli.options import parse
    from promptseg.datasets.manifest import read_manifest
    from promptseg.datasets.splits import read_splits
    from promptseg.geometry import Geometry
    from promptseg.image import Image
    from promptseg.models.cards import CARDS
    from promptseg.runtime.choose import remembered
    from promptseg.segment.options import SegmentJob, SegmentOptions
    from promptseg.segment.segmenter import Segmenter
    from promptseg.segment.session import Session
    from train.tiny import TINY

    voxels = np.zeros((5, 12, 14), np.uint8)
    voxels[1:4, 3:9, 3:9] = 200
    image = Image(voxels, Geometry.from_spacing(voxels.shape, (1.0, 1.0, 2.0)), "CT")
    CARDS.setdefault("tiny", TINY)
    segmenter = Segmenter(BrightPredictor(card="tiny"))
    session = Session(segmenter, image, SegmentOptions(min_iou=0, min_area=0, propagate="box"))
    session.add_box((2, 2, 10, 10), slice=2, object="a")
    session.add_point((5, 5), slice=2, object="a", positive=True)
    found = {
        "session": Target(
            session.save(folder / "work.npz"),
            "session",
            lambda path: Session.resume(path, segmenter, image).result(),
        )
    }
    cache = folder / "cache"
    cache.mkdir()
    os.environ["PROMPTSEG_HOME"] = str(cache)
    trial = {"engine": "eager", "encode_ms": 1.0, "decode_ms": 1.0, "embedding": 0.0, "note": ""}
    verdict = {
        "engine": "eager",
        "model": "tiny",
        "device": "cpu",
        "threads": 1,
        "trials": [trial],
        "created": "2026-01-01",
    }
    texts: dict[str, tuple[str, str, Kind, Callable[[Path], Any]]] = {
        "engines": (
            "cache/engines.json",
            json.dumps({"k": verdict}),
            "json",
            lambda _: remembered(),
        ),
        "config": (
            "config.yaml",
            "input: a.nii\noutput: b.nii\nbox: ['1,2,3,4@5']\nwindow: [-1, 2]\noverlay: true\n",
            "bytes",
            lambda path: parse(SegmentJob, "segment", [f"--config={path}"]),
        ),
        "splits": ("splits.csv", "dataset,case,part\na,b,train\na,c,test\n", "bytes", read_splits),
        "manifest": (
            "manifest.csv",
            "dataset,case,patient,sha256,phash\na,b,p,," + "0123456789abcdef" * 4 + "\n",
            "bytes",
            read_manifest,
        ),
    }
    for name, (file, text, kind, use) in texts.items():
        (folder / file).write_text(text)
        found[name] = Target(folder / file, kind, use)
    return found


# --- running ------------------------------------------------------------------------------------


def fuzz(target: Target, examples: int, first: int = 0) -> tuple[int, int, dict[str, int]]:
    """Use changed files.

    Returns:
        How many were taken and how many refused, and the number of an example for each other end.
    """
    taken = refused = 0
    faults: dict[str, int] = {}
    for number in range(first, first + examples):
        target.path.write_bytes(changed(target, number))
        try:
            target.use(target.path)
            taken += 1
        except PromptsegError:
            refused += 1
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            ours = [f for f in where if "promptseg" in f.filename and "fuzz" not in f.filename]
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
            faults.setdefault(f"{type(error).__name__} at {place}: {str(error)[:100]}", number)
    target.path.write_bytes(target.content)
    return taken, refused, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the file just read lies")
    parser.add_argument("--targets", nargs="+", help="names of targets; all if none")
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="number of the first change")
    parser.add_argument("--list", action="store_true")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(dir=chosen.folder))
    every = targets(folder, chosen.targets)
    if chosen.list:
        print("\n".join(every))
        return 0
    for target in every.values():
        target.use(target.path)  # valid, and everything it needs is imported
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bad = 0
    for name in every:
        print(name, end=" ", flush=True)
        taken, refused, faults = fuzz(every[name], chosen.examples, chosen.first)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) >> 10
        print(f"taken {taken} refused {refused} faults {len(faults)} peak {peak} MiB", flush=True)
        for text, number in faults.items():
            print(f"  {number}: {text}", flush=True)
        bad += len(faults)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
