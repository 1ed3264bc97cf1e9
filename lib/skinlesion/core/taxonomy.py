"""The diagnoses: codes, names, malignancy, colours and the two label sets.

Seven codes are those of HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161, table 2). Eight are those of the
ISIC Archive, where ``akiec`` splits into actinic keratosis (``ak``) and squamous cell carcinoma (``scc``).
Colours are the Okabe-Ito set, which colour-blind readers can tell apart; a class has one colour everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from skinlesion.core.errors import ConfigError, DataError


@dataclass(frozen=True)
class Diagnosis:
    """One class. ``malignant`` includes pre-malignant keratoses, which dermatologists treat as cancer in situ."""

    code: str
    name: str
    malignant: bool
    color: str
    description: str


_ALL = {
    d.code: d
    for d in (
        Diagnosis(
            "akiec", "Actinic keratosis / intraepithelial carcinoma", True, "#D55E00",
            "Sun-induced precursor or in-situ form of squamous cell carcinoma; rough, scaly, often on the face.",
        ),
        Diagnosis(
            "ak", "Actinic keratosis", True, "#D55E00",
            "Sun-induced precursor of squamous cell carcinoma; rough and scaly, often on the face.",
        ),
        Diagnosis(
            "scc", "Squamous cell carcinoma", True, "#767676",
            "Cancer of the keratinocytes, here mostly in situ (Bowen's disease); scaly, may ulcerate.",
        ),
        Diagnosis(
            "bcc", "Basal cell carcinoma", True, "#E69F00",
            "The most common skin cancer; rarely spreads but grows locally; arborising vessels, blue-grey nests.",
        ),
        Diagnosis(
            "bkl", "Benign keratosis", False, "#F0E442",
            "Seborrhoeic keratosis, solar lentigo or lichen-planus-like keratosis; harmless.",
        ),
        Diagnosis(
            "df", "Dermatofibroma", False, "#009E73",
            "Harmless firm nodule, often on the legs; central white patch with a fine network around it.",
        ),
        Diagnosis(
            "mel", "Melanoma", True, "#CC79A7",
            "Cancer of the pigment cells; may spread early; asymmetric, irregular in colour and border.",
        ),
        Diagnosis(
            "nv", "Melanocytic nevus", False, "#0072B2",
            "Common mole; harmless; symmetric, regular network or globules.",
        ),
        Diagnosis(
            "vasc", "Vascular lesion", False, "#56B4E9",
            "Angioma, angiokeratoma, pyogenic granuloma or haemorrhage; harmless; red to purple lacunae.",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of classes; ``codes[i]`` is the class that column ``i`` of every logit array stands for."""

    codes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, code: str) -> Diagnosis:
        if code not in self.codes:
            raise DataError(f"unknown label {code!r}; this label set has {', '.join(self.codes)}")
        return _ALL[code]

    def __iter__(self):
        return (_ALL[code] for code in self.codes)

    def index(self, code: str) -> int:
        """The column that stands for ``code``. Raises DataError for a code of none of the classes."""
        return self.codes.index(self[code].code)

    @property
    def malignant(self) -> tuple[str, ...]:
        """Codes of the malignant classes, in order."""
        return tuple(d.code for d in self if d.malignant)

    @property
    def colors(self) -> tuple[str, ...]:
        """The classes' colours as ``#RRGGBB``, in order."""
        return tuple(d.color for d in self)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' full names, in order."""
        return tuple(d.name for d in self)


HAM7 = LabelSet(("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"))
ISIC8 = LabelSet(("ak", "bcc", "bkl", "df", "mel", "nv", "scc", "vasc"))

#: Column order of the ISIC 2018 Task 3 submission format (challenge.isic-archive.com, 2018, task 3).
ISIC2018_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def label_set(which: int | str | tuple[str, ...] | list[str]) -> LabelSet:
    """The label set with 7 or 8 classes, or the one whose codes are given in order.

    Raises
    ------
    ConfigError
        For anything that is neither.
    """
    if which in (7, "7"):
        return HAM7
    if which in (8, "8"):
        return ISIC8
    for known in (HAM7, ISIC8):
        if not isinstance(which, (int, str)) and tuple(which) == known.codes:
            return known
    raise ConfigError(f"labels must be 7 (HAM10000 codes) or 8 (ISIC Archive labels), not {which!r}")


_ALIASES = {
    "akiec": "akiec", "actinic keratoses": "akiec", "bowen's disease": "akiec",
    "actinic keratosis / bowen's disease": "akiec", "actinic keratosis / intraepithelial carcinoma": "akiec",
    "ak": "ak", "actinic keratosis": "ak", "solar or actinic keratosis": "ak",
    "scc": "scc", "squamous cell carcinoma": "scc", "squamous cell carcinoma in situ": "scc",
    "bcc": "bcc", "basal cell carcinoma": "bcc",
    "bkl": "bkl", "benign keratosis": "bkl", "pigmented benign keratosis": "bkl", "seborrheic keratosis": "bkl",
    "solar lentigo": "bkl", "lichen planus like keratosis": "bkl", "lichen planus-like keratosis": "bkl",
    "df": "df", "dermatofibroma": "df",
    "mel": "mel", "melanoma": "mel", "melanoma in situ": "mel", "melanoma invasive": "mel",
    "nv": "nv", "nevus": "nv", "melanocytic nevus": "nv", "melanocytic nevi": "nv", "common nevus": "nv",
    "atypical nevus": "nv",
    "vasc": "vasc", "vascular lesion": "vasc", "vascular lesions": "vasc", "hemangioma": "vasc",
}  # fmt: skip


def normalise_label(text: object, labels: LabelSet) -> str | None:
    """The code in ``labels`` that a data set's own word stands for, or None where there is none.

    Case, underscores and outer spaces don't matter. With seven labels, ``ak`` and ``scc`` fold into ``akiec``; with
    eight, a bare ``akiec`` stays unknown, since which of the two it was cannot be told.
    """
    code = _ALIASES.get(str(text).strip().lower().replace("_", " "))
    if labels is HAM7 and code in ("ak", "scc"):
        return "akiec"
    return code if code in labels.codes else None
