"""Small collections: discs and rectangles of several modalities, patients and parts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Sample, Shard, Split, Target
from promptseg.prompts import box_of_mask

Mask = NDArray[np.bool_]


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> Mask:
    """Pixels whose centre is within a circle."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask: Mask = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return mask


def rectangle(shape: tuple[int, int], box: tuple[int, int, int, int]) -> Mask:
    """Pixels of an XYXY box, both ends inside."""
    mask = np.zeros(shape, dtype=bool)
    mask[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    return mask


class Made:
    """A sample that is to be written.

    Args:
        key: dataset/case or dataset/case/slice.
        masks: name of the class -> its pixels; masks that overlap go to layers of their own.
        split: its part.
        patient: whom it shows; the case if not given.
        modality: of the image.
        seed: of the picture's texture; two samples of one seed look alike.
        licence: as stated.
        colour: three channels in place of one.
        group: what must not be divided; dataset and patient if not given.
    """

    def __init__(
        self,
        key: str,
        masks: dict[str, Mask],
        split: Split = "train",
        patient: str = "",
        modality: str = "CT",
        seed: int | None = None,
        licence: str = "CC BY 4.0",
        colour: bool = False,
        group: str = "",
    ) -> None:
        self.key, self.masks, self.split, self.modality = key, masks, split, modality
        self.patient = patient or key.split("/")[1]
        self.group = group or f"{key.split('/')[0]}/{self.patient}"
        self.licence, self.colour = licence, colour
        self.seed = zlib.crc32(key.encode()) if seed is None else seed
        self.shape = next(iter(masks.values())).shape

    def picture(self) -> NDArray[np.uint8]:
        """A smooth texture of its seed, brighter inside the masks."""
        from scipy import ndimage

        rng = np.random.default_rng(self.seed)
        noise = ndimage.gaussian_filter(rng.normal(size=self.shape), 4)
        noise = (noise - noise.min()) / (noise.max() - noise.min())
        bright = 110 * noise + 30
        for mask in self.masks.values():
            bright = np.where(mask, bright + 90, bright)
        gray = bright.clip(0, 255).astype(np.uint8)
        return np.stack([gray, gray // 2, gray // 3], axis=-1) if self.colour else gray

    def write(self, shard: Shard) -> Sample:
        """Store the 2D image and its labels."""
        layers: list[NDArray[np.uint16]] = []
        targets = []
        for id_, (name, mask) in enumerate(self.masks.items(), 1):
            free = (k for k, layer in enumerate(layers) if not layer[mask].any())
            number = next(free, len(layers))
            if number == len(layers):
                layers.append(np.zeros(self.shape, np.uint16))
            layers[number][mask] = id_
            box = box_of_mask(mask)
            assert box is not None
            x0, y0, x1, y1 = box
            targets.append(
                Target(id_, name, int(mask.sum()), (int(x0), int(y0), int(x1), int(y1)), number)
            )
        name = self.key.replace("/", "-")
        dataset, case, *rest = self.key.split("/")
        return Sample(
            key=self.key,
            dataset=dataset,
            case=case,
            patient=self.patient,
            group=self.group,
            slice=int(rest[0]) if rest else None,
            modality=self.modality,
            shape=(int(self.shape[0]), int(self.shape[1])),
            pixel=(1.0, 1.0),
            targets=tuple(targets),
            split=self.split,
            rule="as it is",
            licence=self.licence,
            shard=shard.path.name,
            image=shard.add(name, self.picture()),
            labels=tuple(shard.add(f"{name}-{k}", layer) for k, layer in enumerate(layers)),
        )


def make_collection(root: Path, samples: Iterable[Made], per_shard: int = 4) -> Collection:
    """Write samples, a few per shard."""
    every = list(samples)
    done = []
    (root / "shards").mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(every), per_shard)):
        with Shard(root / "shards" / f"{number:05}.zip") as shard:
            done += [made.write(shard) for made in every[start : start + per_shard]]
    return Collection.write(root, done, {"made": "by a test"})


def usual(shape: tuple[int, int] = (64, 64)) -> list[Made]:
    """Eleven samples of three datasets: CT slices of four patients, ultrasound, endoscopy."""
    samples = []
    splits: list[Split] = ["train", "train", "validation", "test"]
    for number, split in enumerate(splits):
        for slice_ in (3, 4):
            liver = disc(shape, 30 + number, 24, 12 + slice_)
            masks = {"liver": liver}
            if number % 2 == 0:
                masks["lesion"] = disc(shape, 30 + number, 24, 4)  # inside: a layer of its own
            key = f"abdomen/p{number}/{slice_}"
            samples.append(Made(key, masks, split, seed=10 * number + slice_))
    box = rectangle(shape, (10, 20, 40, 50))
    samples += [
        Made("breast/a", {"lesion": box}, "train", modality="US", seed=100, licence="CC BY-NC 4.0"),
        Made("breast/b", {"lesion": box}, "validation", modality="US", seed=101, licence="unknown"),
        Made("colon/a", {"polyp": box}, "train", modality="endoscopy", seed=102, colour=True),
    ]
    return samples
