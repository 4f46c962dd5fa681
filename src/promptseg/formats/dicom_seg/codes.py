"""Names of objects -> the coded concepts that DICOM wants: what it is, where, on which side.

The codes are SNOMED CT's, as DICOM part 16 lists them. A name that is not known is called tissue,
which claims the least, as 3D Slicer does; its own words stay in the label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Concept", "Meaning", "meaning_of"]


@dataclass(frozen=True)
class Concept:
    """A concept of SNOMED CT."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Meaning:
    """What an object is.

    Attributes:
        category: the kind of thing it is.
        type: what it is.
        side: left or right, if the name says so.
        region: the organ an abnormality lies in, if the name says so.
    """

    category: Concept
    type: Concept
    side: Concept | None = None
    region: Concept | None = None


TISSUE = Concept("85756007", "Tissue")
ANATOMY = Concept("91723000", "Anatomical Structure")
ABNORMAL = Concept("49755003", "Morphologically Abnormal Structure")
SIDES = {"left": Concept("7771000", "Left"), "right": Concept("24028007", "Right")}

STRUCTURES = {
    "adrenal gland": Concept("23451007", "Adrenal gland"),
    "aorta": Concept("15825003", "Aorta"),
    "bladder": Concept("89837001", "Bladder"),
    "bone": Concept("272673000", "Bone"),
    "brain": Concept("12738006", "Brain"),
    "brain stem": Concept("119238007", "Brain Stem"),
    "breast": Concept("76752008", "Breast"),
    "bronchus": Concept("955009", "Bronchus"),
    "carotid artery": Concept("69105007", "Carotid Artery"),
    "cartilage": Concept("309312004", "Cartilage"),
    "cerebellum": Concept("113305005", "Cerebellum"),
    "clavicle": Concept("51299004", "Clavicle"),
    "colon": Concept("71854001", "Colon"),
    "duodenum": Concept("38848004", "Duodenum"),
    "esophagus": Concept("32849002", "Esophagus"),
    "eye": Concept("81745001", "Eye"),
    "femur": Concept("71341001", "Femur"),
    "gallbladder": Concept("28231008", "Gallbladder"),
    "heart": Concept("80891009", "Heart"),
    "hippocampus": Concept("5366008", "Hippocampus"),
    "humerus": Concept("85050009", "Humerus"),
    "inferior vena cava": Concept("64131007", "Inferior vena cava"),
    "kidney": Concept("64033007", "Kidney"),
    "larynx": Concept("4596009", "Larynx"),
    "lateral ventricle": Concept("66720007", "Lateral Ventricle"),
    "left atrium": Concept("82471001", "Left atrium"),
    "left ventricle": Concept("87878005", "Left ventricle"),
    "liver": Concept("10200004", "Liver"),
    "lung": Concept("39607008", "Lung"),
    "lymph node": Concept("59441001", "Lymph Node"),
    "mandible": Concept("91609006", "Mandible"),
    "meniscus": Concept("74135004", "Meniscus"),
    "muscle": Concept("71616004", "Muscle"),
    "optic nerve": Concept("18234004", "optic nerve"),
    "ovary": Concept("15497006", "Ovary"),
    "pancreas": Concept("15776009", "Pancreas"),
    "parotid gland": Concept("45289007", "Parotid gland"),
    "placenta": Concept("78067005", "Placenta"),
    "portal vein": Concept("32764006", "Portal vein"),
    "prostate": Concept("41216001", "Prostate"),
    "pulmonary artery": Concept("81040000", "Pulmonary artery"),
    "rectum": Concept("34402009", "Rectum"),
    "retina": Concept("5665001", "Retina"),
    "rib": Concept("113197003", "Rib"),
    "right atrium": Concept("73829009", "Right atrium"),
    "right ventricle": Concept("53085002", "Right ventricle"),
    "scapula": Concept("79601000", "Scapula"),
    "skin": Concept("39937001", "Skin"),
    "skull": Concept("89546000", "Skull"),
    "small intestine": Concept("30315005", "Small intestine"),
    "spinal cord": Concept("2748008", "Spinal cord"),
    "spine": Concept("421060004", "Spine"),
    "spleen": Concept("78961009", "Spleen"),
    "sternum": Concept("56873002", "Sternum"),
    "stomach": Concept("69695003", "Stomach"),
    "testis": Concept("40689003", "Testis"),
    "tongue": Concept("21974007", "Tongue"),
    "tooth": Concept("38199008", "Tooth"),
    "trachea": Concept("44567001", "Trachea"),
    "ureter": Concept("87953007", "Ureter"),
    "uterus": Concept("35039007", "Uterus"),
    "vertebra": Concept("51282000", "Vertebra"),
}
ABNORMALITIES = {
    "abscess": Concept("44132006", "Abscess"),
    "aneurysm": Concept("85659009", "aneurysm"),
    "cyst": Concept("367643001", "Cyst"),
    "edema": Concept("79654002", "Edema"),
    "hematoma": Concept("35566002", "Hematoma"),
    "hemorrhage": Concept("50960005", "Hemorrhage"),
    "lesion": Concept("52988006", "Lesion"),
    "mass": Concept("4147007", "Mass"),
    "metastasis": Concept("14799000", "Neoplasm, Secondary"),
    "necrosis": Concept("6574001", "Necrosis"),
    "neoplasm": Concept("108369006", "Neoplasm"),
    "nodule": Concept("27925004", "Nodule"),
    "pleural effusion": Concept("60046008", "Pleural effusion"),
    "primary tumor": Concept("372087000", "Neoplasm, Primary"),
    "thrombus": Concept("396339007", "Thrombus"),
    "tumor": Concept("108369006", "Neoplasm"),
    "ulcer": Concept("56208002", "Ulcer"),
}
_OTHER_WORDS = {
    "brainstem": "brain stem",
    "cancer": "neoplasm",
    "gtv": "neoplasm",
    "haematoma": "hematoma",
    "haemorrhage": "hemorrhage",
    "kidneys": "kidney",
    "lungs": "lung",
    "neoplasia": "neoplasm",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "thymoma": "neoplasm",
    "tumour": "tumor",
    "urinary bladder": "bladder",
}


def meaning_of(name: str) -> Meaning:
    """What the name of an object says; tissue if it is not known.

    A number at the end does not count ("node 2"), "left" and "right" name a side, and before an
    abnormality an organ names the place of it ("liver lesion").
    """
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    phrase = " ".join(_OTHER_WORDS.get(word, word) for word in words)
    phrase = _OTHER_WORDS.get(phrase, phrase)
    if phrase in STRUCTURES:  # the left atrium has no side
        return Meaning(ANATOMY, STRUCTURES[phrase])
    side = next((SIDES[word] for word in phrase.split() if word in SIDES), None)
    phrase = " ".join(word for word in phrase.split() if word not in SIDES)
    if phrase in STRUCTURES:
        return Meaning(ANATOMY, STRUCTURES[phrase], side)
    for abnormality, concept in ABNORMALITIES.items():
        if phrase == abnormality:
            return Meaning(ABNORMAL, concept, side)
        if phrase.endswith(f" {abnormality}"):
            place = STRUCTURES.get(phrase.removesuffix(f" {abnormality}"))
            return Meaning(ABNORMAL, concept, side, place)
    return Meaning(TISSUE, TISSUE, side)
