"""Patients: whom a case shows, and who is the same person in another dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from promptseg.datasets.options import DatasetOptions
from promptseg.errors import InputError
from promptseg.formats import format_by_suffix, is_dicom_file

__all__ = ["is_telling", "patient_of", "person_of"]

_USUAL = (
    r"(STS_\d+)",  # soft-tissue sarcoma
    r"(patient_?\d+)",  # ACDC and many others: patient101_frame01
    r"CT_Lesion_(\d+)_\d+_\d+_",  # DeepLesion
    r"(TCGA-\w{2}-\w{4})",
    r"(LIDC-IDRI-\d+)",
    r"(sub-[A-Za-z0-9]+)",  # BIDS
)

_GLOBAL = (
    r"STS_\d{3}",  # Soft-tissue-Sarcoma
    r"TCGA-\w{2}-\w{4}",
    r"C3[LN]-\d{5}",  # CPTAC
    r"LIDC-IDRI-\d{4}",
    r"LUNG1-\d{3}",  # NSCLC-Radiomics
    r"QIN-[A-Z]+(-\d+)+",
    r"ACRIN-[A-Z]+(-[A-Z]+)*-\d+",
    r"ProstateX-\d{4}",
    r"HN-(CHUM|CHUS|HGJ|HMR)-\d{3}",  # Head-Neck-PET-CT
    r"PETCT_[0-9a-f]{10}",  # AutoPET
    r"UPENN-GBM-\d{5}",
    r"UCSF-PDGM-\d{4}",
    r"BraTS(\d{2,4}|-[A-Z]+)[-_](Training_)?\d{3,5}",
    r"ISPY[12][-_]\d+",
    r"\d{3}_S_\d{4}",  # ADNI
    r"OAS\d_?\d{4}",  # OASIS
    r"IXI\d{3}",
    r"ISIC_\d{7}",
)
"""Ids that a collection gives out once, so that they mean the same person wherever they turn up."""

_NOBODY = re.compile(r"(anon\w*|unknown|none|n/?a|de-?identified|patient|test|[0\W_]*)", re.I)


def patient_of(
    name: str, patients: Mapping[str, str], options: DatasetOptions, image: Path | None = None
) -> str:
    """Find the patient of a case: by the options' pattern, the dataset's table, usual names, DICOM.

    Without any of them, every case is a patient of its own.

    Args:
        name: of the case.
        patients: case -> patient, of the dataset.
        options: `patient_pattern` comes before everything else.
        image: its file, or the folder of its series; the header of a DICOM file is looked at.

    Raises:
        InputError: a pattern that does not match the name.
    """
    if options.patient_pattern is not None:
        match = re.search(options.patient_pattern, name)
        if match is None or match[1] is None:
            raise InputError(
                "a patient pattern that matches every case",
                f"{options.patient_pattern!r} for {name!r}",
                "correct --patient-pattern",
            )
        return match[1]
    if name in patients:
        return patients[name]
    found = (match[1] for rule in _USUAL if (match := re.search(rule, name, re.I)))
    return next(found, "") or (_dicom_patient(image) if image else "") or name


def is_telling(patient: str) -> bool:
    """Tell whether an id is one of a known collection (`TCGA-2Z-A9J9`), and so of one person
    everywhere.

    A word and a number ("patient001", "sub-01") is not: every dataset counts its own.
    """
    return any(re.fullmatch(scheme, patient, re.I) for scheme in _GLOBAL)


def person_of(dataset: str, patient: str) -> str:
    """Return one word for a person: an id that is known everywhere, or else dataset and id."""
    return patient.casefold() if is_telling(patient) else f"{dataset}/{patient}"


def _dicom_patient(image: Path) -> str:
    """The PatientID of a DICOM file, or of a file of a series; "" where it names nobody."""
    files = sorted(image.iterdir()) if image.is_dir() else [image]
    path = next((each for each in files if _may_be_dicom(each)), None)
    if path is None or not is_dicom_file(path):
        return ""
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
        said = str(header.get("PatientID") or "").strip()
    except Exception:  # a broken file: its reader says it better
        return ""
    return "" if _NOBODY.fullmatch(said) else said


def _may_be_dicom(path: Path) -> bool:
    """By the name alone: listing a dataset must not open thousands of 2D images."""
    known = format_by_suffix(path)
    return not path.name.startswith(".") and (known is None or known.name == "dicom")
