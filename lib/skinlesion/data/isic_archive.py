"""What ``isic image download --collections 212`` leaves: ``metadata.csv`` and ``ISIC_<7 digits>.jpg`` in one folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.images import is_image
from skinlesion.core.taxonomy import ISIC8, LabelSet, normalise_label
from skinlesion.data.reading import (
    NOT_DERMATOSCOPIC,
    find_csv,
    list_files,
    need_columns,
    read_csv,
    stem,
    tabulate,
)
from skinlesion.data.table import LesionTable

METADATA = "metadata"
LEVELS = tuple(f"diagnosis_{level}" for level in range(5, 0, -1))  # the most specific first

# Words of the archive's own vocabulary beyond skinlesion.core.taxonomy. The vascular lesions of HAM10000 carry a second
# level only. Level two is used where all of it is one class; "benign epidermal proliferations", say, is not.
_WORDS = {
    "benign soft tissue proliferations - vascular": "vasc",
    "hemorrhagic lesions": "vasc",
    "angioma": "vasc",
    "angiokeratoma": "vasc",
    "pyogenic granuloma": "vasc",
    "malignant melanocytic proliferations (melanoma)": "mel",
    "melanoma metastasis": "mel",
    "lichenoid keratosis": "bkl",
    "blue nevus": "nv",
}

# The archive's ways to confirm a diagnosis, in the words of HAM10000.
_CONFIRMED_BY = {
    "histopathology": "histo",
    "serial imaging showing no change": "follow_up",
    "single image expert consensus": "consensus",
    "confocal microscopy with consensus dermoscopy": "confocal",
}


def code_of(word: str, labels: LabelSet) -> str | None:
    """The code that one of the archive's diagnoses stands for: ``"Nevus, NOS, Compound"`` -> ``"nv"``.

    What follows the first comma (NOS, in situ, invasive, a subtype) qualifies the diagnosis before it.
    """
    word = word.strip().lower()
    plain = word.partition(",")[0].removesuffix(" nos").strip()
    found = _WORDS.get(word) or _WORDS.get(plain)
    return found or normalise_label(word, labels) or normalise_label(plain, labels)


def load(place: Path, labels: LabelSet = ISIC8) -> LesionTable:
    """Read a folder that the ISIC Archive's command line tool filled.

    Both forms of the metadata are known: one column ``diagnosis``, and ``diagnosis_1`` to ``diagnosis_5``, of which
    the most specific one with a known class decides.

    Raises
    ------
    DataError
        Where the metadata or all images are missing.
    """
    files = list_files(place)
    path = find_csv(files, METADATA)
    if path is None:
        raise DataError(f"{place} holds no metadata.csv; fill it with: isic image download --collections 212 {place}")
    metadata = read_csv(path)
    need_columns(metadata, ("isic_id",), path)
    levels = [name for name in (*LEVELS, "diagnosis") if name in metadata]
    if not levels:
        raise DataError(f"{path} has neither a column diagnosis nor diagnosis_1 to diagnosis_5; download it again")
    images = {stem(name): name for name in files if is_image(name)}
    if not images:
        raise DataError(f"{place} holds no images beside its metadata.csv; let the download run to its end")
    rows = _rows(metadata, images).assign(
        label=_labels(metadata[levels], labels), word=metadata[levels].apply(_first, axis=1)
    )
    return tabulate(
        rows,
        labels=labels,
        source="isic-archive",
        location=place,
        has_lesions="lesion_id" in metadata,
        notes=_notes(metadata),
        images=images,
    )


def _first(words: pd.Series) -> str:
    return next((word for word in words if word.strip()), "")


def _labels(words: pd.DataFrame, labels: LabelSet) -> pd.Series:
    """The first known class in every row, or None."""
    known = {word: code_of(word, labels) for name in words for word in words[name].unique()}
    found = [next((known[word] for word in row if known[word]), None) for row in words.itertuples(index=False)]
    return pd.Series(found, index=words.index, dtype=object)


def _rows(metadata: pd.DataFrame, images: dict[str, str]) -> pd.DataFrame:
    site = next((name for name in ("anatom_site_general", "anatom_site_1") if name in metadata), None)
    empty = pd.Series("", index=metadata.index)
    confirmed = metadata.get("diagnosis_confirm_type", empty)
    kind = metadata.get("image_type", empty).str.strip().str.lower()
    strange = (kind != "") & ~kind.str.startswith("dermoscopic")
    return pd.DataFrame(
        {
            "image_id": metadata["isic_id"],
            "lesion_id": metadata.get("lesion_id", empty),
            "age": metadata.get("age_approx", empty),
            "sex": metadata.get("sex", empty),
            "site": metadata[site] if site else empty,
            "dx_type": confirmed.replace(_CONFIRMED_BY),
            "path": [images.get(name.strip(), "") for name in metadata["isic_id"]],
            "problem": empty.mask(strange, NOT_DERMATOSCOPIC),
            "detail": empty.mask(strange, kind),
        }
    )


def _notes(metadata: pd.DataFrame) -> tuple[str, ...]:
    owners = sorted({word.strip() for word in metadata.get("attribution", ())} - {""})
    return ("Images: ISIC Archive" + (f", by {'; '.join(owners)}." if owners else "."),)
