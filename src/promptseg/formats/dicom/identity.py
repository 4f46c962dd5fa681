"""Elements of a DICOM header that say who the patient is, and headers without them.

They are those of the basic profile of PS3.15 (table E.1-1) that images carry as a whole, and whole
groups about the patient, trials, visits and results, to which DICOM goes on adding. UIDs stay: without
them a mask could not refer to its image. Pixels are not looked at.
"""

from __future__ import annotations

import copy
from typing import Any

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import BaseTag

from promptseg.formats.dicom.derived import BELONGING

__all__ = [
    "IDENTIFYING",
    "holds_own_facts",
    "identifying_fields",
    "removed_here",
    "without_identity",
]

_KEYWORDS = """
    PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex
    PatientAge PatientSize PatientWeight OtherPatientIDs OtherPatientIDsSequence
    OtherPatientNames PatientBirthName PatientMotherBirthName PatientAddress
    PatientTelephoneNumbers PatientTelecomInformation EthnicGroup Occupation
    AdditionalPatientHistory PatientComments PatientReligiousPreference MilitaryRank
    BranchOfService CountryOfResidence RegionOfResidence MedicalRecordLocator MedicalAlerts
    Allergies SmokingStatus PregnancyStatus LastMenstrualDate PatientInsurancePlanCodeSequence
    ResponsiblePerson ResponsibleOrganization PatientState SpecialNeeds
    PatientInstitutionResidence ReferencedPatientPhotoSequence ReferencedPatientSequence
    ReferencedStudySequence ReferencedPerformedProcedureStepSequence StudyDate StudyTime StudyID
    StudyDescription StudyComments AccessionNumber IssuerOfAccessionNumberSequence
    ReferringPhysicianName ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers
    ReferringPhysicianIdentificationSequence ConsultingPhysicianName
    ConsultingPhysicianIdentificationSequence PhysiciansOfRecord
    PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
    PhysiciansReadingStudyIdentificationSequence RequestingPhysician RequestingService
    RequestedProcedureDescription RequestedProcedureID ReasonForStudy ReasonForVisit AdmissionID
    IssuerOfAdmissionIDSequence AdmittingDate AdmittingTime AdmittingDiagnosesDescription
    AdmittingDiagnosesCodeSequence DischargeDiagnosisDescription ServiceEpisodeID
    ServiceEpisodeDescription VisitComments CurrentPatientLocation SeriesDate SeriesTime
    SeriesDescription PerformingPhysicianName PerformingPhysicianIdentificationSequence
    OperatorsName OperatorIdentificationSequence ProtocolName PerformedProcedureStepID
    PerformedProcedureStepStartDate PerformedProcedureStepStartTime
    PerformedProcedureStepEndDate PerformedProcedureStepEndTime
    PerformedProcedureStepDescription ScheduledProcedureStepID RequestAttributesSequence
    CommentsOnThePerformedProcedureStep ScheduledProcedureStepDescription AcquisitionDate
    AcquisitionTime AcquisitionDateTime ContentDate ContentTime InstanceCreationDate
    InstanceCreationTime AcquisitionComments ImageComments FrameComments ContentCreatorName
    ContentCreatorIdentificationCodeSequence DerivationDescription InstitutionName
    InstitutionAddress InstitutionalDepartmentName InstitutionCodeSequence StationName
    DeviceSerialNumber DeviceDescription GantryID DetectorID PlateID CassetteID
    DateOfLastCalibration TimeOfLastCalibration ContributingEquipmentSequence
    OriginalAttributesSequence ClinicalTrialSponsorName ClinicalTrialProtocolID
    ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription
    ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID ClinicalTrialSeriesDescription
    SpecimenDescriptionSequence ContainerIdentifier ContainerDescription IconImageSequence
    ProcedureCodeSequence PositionReferenceIndicator
"""
IDENTIFYING = frozenset(_KEYWORDS.split())
"""Keywords of elements that may say who the patient is; more of them are known by their groups."""

_GROUPS = {0x0010, 0x0012, 0x0032, 0x0038, 0x4000, 0x4008}
_ABOUT_REMOVAL = {
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    "LongitudinalTemporalInformationModified",
}

_METHOD = "promptseg: attributes of PS3.15 E.1-1 removed, UIDs retained"
_OF_THE_MASK = {  # what a mask says of its own making, which the profile would remove from an image
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
    *("SeriesDescription", "DeviceSerialNumber"),
}


def identifying_fields(header: pydicom.Dataset) -> list[str]:
    """Return the keywords of the identifying elements that have a value, in order of their tags.

    Private elements, which may hold anything, are counted as one: "private elements".
    """
    found = []
    private = False
    for tag in header.keys():  # noqa: SIM118 - iterating a data set decodes every element
        if tag.is_private:
            private = True
        elif _identifies(tag) and header.get_item(tag).value not in (None, "", b"", []):
            found.append((tag, keyword_for_tag(tag) or str(tag)))
    names = [keyword for _, keyword in sorted(found)]
    return [*names, "private elements"] if private else names


def removed_here(header: pydicom.Dataset) -> bool:
    """Tell whether a header says that `without_identity` was applied to it, or to its source."""
    said = header.get("PatientIdentityRemoved"), header.get("DeidentificationMethod")
    return said == ("YES", _METHOD)


def holds_own_facts(header: pydicom.Dataset) -> bool:
    """Tell whether all that identifies in a de-identified mask was written for the mask itself."""
    return removed_here(header) and set(identifying_fields(header)) <= _OF_THE_MASK


def without_identity(header: FileDataset) -> FileDataset:
    """Return a copy of a header without identifying elements; required ones are left empty."""
    kept: dict[Any, Any] = {
        tag: copy.copy(header.get_item(tag))  # its own: the given header stays as it is
        for tag in header.keys()  # noqa: SIM118
        if not tag.is_private and not _identifies(tag)
    }
    meta = header.file_meta if isinstance(header.file_meta, FileMetaDataset) else FileMetaDataset()
    implicit, little = header.original_encoding
    clean = FileDataset("", kept, b"", meta, bool(implicit), little is not False)
    clean.set_original_encoding(implicit, little, header.original_character_set)
    for keyword in BELONGING:
        setattr(clean, keyword, "")
    clean.PatientIdentityRemoved, clean.DeidentificationMethod = "YES", _METHOD
    return clean


def _identifies(tag: BaseTag) -> bool:
    keyword = keyword_for_tag(tag)
    return keyword in IDENTIFYING or (tag.group in _GROUPS and keyword not in _ABOUT_REMOVAL)
