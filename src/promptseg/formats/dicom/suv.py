"""PET activity -> standardised uptake value by body weight (SUVbw, g/ml).

After the vendor-neutral pseudo-code of the QIBA FDG-PET group: activity concentration times body
weight over the injected dose, both referred to the same instant. Philips scanners that store counts
give the factor themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pydicom
from pydicom.valuerep import DA, DT, TM

from promptseg.errors import InputError
from promptseg.formats.dicom.instances import Instance

__all__ = ["suv_factor"]

_PHILIPS = (0x7053, "Philips PET Private Group")
_SUV_PER_COUNT, _ACTIVITY_PER_COUNT = 0x00, 0x09


def suv_factor(instances: Sequence[Instance]) -> float:
    """Return the factor that turns the rescaled values of a PET series into SUV.

    Args:
        instances: every slice of the volume.

    Raises:
        InputError: no PET, or attributes missing, which are named.
    """
    header = instances[0].header
    if header.get("Modality") != "PT":
        raise InputError(
            "a PET for --suv", f"modality {header.get('Modality') or '?'}", "leave --suv out"
        )
    units = header.get("Units") or ""
    if units == "GML":
        return 1.0
    if units == "CNTS":
        if per_count := _philips(header, _SUV_PER_COUNT):
            return per_count
        if activity := _philips(header, _ACTIVITY_PER_COUNT):
            return activity * _per_activity(instances)
        raise _missing(["SUV factor (7053,1000)"], "counts (Units CNTS) of unknown activity")
    if units == "BQML":
        return _per_activity(instances)
    raise InputError(
        "a PET in Bq/ml, g/ml or Philips counts", f"Units {units or 'absent'}", "leave --suv out"
    )


def _per_activity(instances: Sequence[Instance]) -> float:
    """Body weight in g over the dose in Bq at the time to which the decay is corrected."""
    header = instances[0].header
    tracer = (header.get("RadiopharmaceuticalInformationSequence") or [pydicom.Dataset()])[0]
    weight, dose = _positive(header, "PatientWeight"), _positive(tracer, "RadionuclideTotalDose")
    half_life = _positive(tracer, "RadionuclideHalfLife")
    correction = header.get("DecayCorrection") or ""
    absent = [
        name
        for name, value in (
            ("PatientWeight", weight),
            ("RadionuclideTotalDose", dose),
            ("RadionuclideHalfLife", half_life),
            ("DecayCorrection", correction),
        )
        if not value
    ]
    scan = _scan_start(instances)
    injection = _injection(tracer, scan) if scan else None
    if correction != "ADMIN":
        absent += [] if scan else ["SeriesDate and SeriesTime"]
        absent += [] if injection or not scan else ["RadiopharmaceuticalStartTime"]
    if absent or weight is None or dose is None or half_life is None:
        raise _missing(absent)
    corrected = set(header.get("CorrectedImage") or ())
    if correction not in ("START", "ADMIN") or (corrected and "DECY" not in corrected):
        raise InputError(
            "a PET corrected for decay to the START of the scan or to ADMIN",
            f"DecayCorrection {correction}, CorrectedImage {sorted(corrected)}",
            "leave --suv out",
        )
    if correction == "ADMIN":
        return weight * 1000 / dose
    assert scan is not None
    assert injection is not None
    elapsed = (scan - injection).total_seconds()
    if not 0 <= elapsed <= 20 * half_life:
        raise InputError(
            "a scan after the injection",
            f"{elapsed:g} s between RadiopharmaceuticalStart and the scan",
            "repair the times in the header or leave --suv out",
        )
    return float(weight * 1000 / (dose * 2 ** (-elapsed / half_life)))


def _scan_start(instances: Sequence[Instance]) -> datetime | None:
    """Start of the series or, if that lies after it (a series made later), of the acquisition."""
    header = instances[0].header
    series = _moment(header.get("SeriesDate"), header.get("SeriesTime"))
    acquired = [
        moment
        for i in instances
        if (moment := _moment(i.header.get("AcquisitionDate"), i.header.get("AcquisitionTime")))
    ]
    first = min(acquired, default=None)
    if series is None or (first is not None and series > first):
        return first
    return series


def _injection(tracer: pydicom.Dataset, scan: datetime) -> datetime | None:
    """Start of the injection: a date with time, or a time on the day of the scan or the one before."""
    if stated := tracer.get("RadiopharmaceuticalStartDateTime"):
        return DT(str(stated)).replace(tzinfo=None)
    moment = _moment(scan.strftime("%Y%m%d"), tracer.get("RadiopharmaceuticalStartTime"))
    if moment is not None and moment > scan:
        moment -= timedelta(days=1)
    return moment


def _moment(date: Any, time: Any) -> datetime | None:
    try:
        day, clock = DA(str(date or "")), TM(str(time or ""))
    except ValueError:
        return None
    return datetime.combine(day, clock) if day and clock else None


def _positive(data: pydicom.Dataset, keyword: str) -> float | None:
    try:
        value = float(data.get(keyword) or 0)
    except (TypeError, ValueError):
        return None
    return value if value > 0 else None


def _philips(header: pydicom.Dataset, offset: int) -> float | None:
    group, maker = _PHILIPS
    try:
        value = float(header.private_block(group, maker)[offset].value)
    except (KeyError, TypeError, ValueError):
        return None
    return value if value > 0 else None


def _missing(absent: list[str], got: str = "a PET without them") -> InputError:
    return InputError(
        f"{', '.join(absent)} for the SUV", got, "leave --suv out, or restore it in the header"
    )
