"""Options of opening datasets, defined once: Python, command line and YAML share them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from promptseg.errors import InputError
from promptseg.formats.options import Resample
from promptseg.image import MODALITIES

__all__ = ["DatasetOptions"]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Choices that a dataset leaves open.

    Examples:
        >>> from promptseg.datasets import DatasetOptions
        >>> DatasetOptions(split="train", patient_pattern="P[0-9]+").split
        'train'
    """

    split: Literal["test", "train"] = "test"
    """Which cases of an nnU-Net dataset: imagesTs with labelsTs, or imagesTr with labelsTr."""

    channel: int = 0
    """Which channel of images that have several, counted from 0 (nnU-Net's _0000, MSD's 4D)."""

    dataset_modality: str | None = None
    """Modality of the images, over what dataset.json and file names say."""

    patient_pattern: str | None = None
    """Regular expression with one group that finds the patient in the name of a case."""

    resample: Resample = "never"
    """Labels and masks whose voxels are not those of their image: refuse them (never), or take the
    nearest voxel (nearest). The image's own voxels, in another order or a part, need neither."""

    keep_going: bool = False
    """Leave cases out that lack their image or their truth, and count them, in place of an error."""

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            InputError: as the message says.
        """
        if self.channel < 0:
            raise InputError("a channel counted from 0", str(self.channel), "correct --channel")
        if self.dataset_modality is not None and self.dataset_modality not in MODALITIES:
            raise InputError(
                f"a modality out of {', '.join(MODALITIES)}",
                self.dataset_modality,
                "correct --dataset-modality",
            )
        if self.patient_pattern is None:
            return
        try:
            groups = re.compile(self.patient_pattern).groups
        except re.error as error:
            raise InputError(
                "a regular expression as patient pattern",
                f"{self.patient_pattern!r} ({error})",
                "correct --patient-pattern",
            ) from None
        if groups != 1:
            raise InputError(
                "a patient pattern with one group",
                f"{self.patient_pattern!r} with {groups}",
                "put brackets around the part that names the patient, as in '(patient[0-9]+)_'",
            )
