"""What ``isic image download --collections 212`` leaves: ``metadata.csv`` and ``ISIC_<7 digits>.jpg`` in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.tables import known
from skinlesion.core.taxonomy import ISIC8, LabelSet, diagnosis, label_finder, to_label
from skinlesion.data import class_maps
from skinlesion.data.files import ImageIndex, find_files
from skinlesion.data.overlap import trained_ids
from skinlesion.data.plain import LEVELS, first_known
from skinlesion.data.reading import NOT_DERMATOSCOPIC, tabulate
from skinlesion.data.table import LesionTable

METADATA = "metadata"


def code_of(word: object, labels: LabelSet) -> str | None:
    """The code that one of the archive's diagnoses stands for: ``"Nevus, NOS, Compound"`` -> ``"nv"``.

    What follows the first comma (NOS, in situ, invasive, a subtype) qualifies the diagnosis before it. The vascular
    lesions of HAM10000 carry a second level only; a level is used where all of it is one class, so not
    "benign epidermal proliferations".
    """
    return to_label(_diagnosis(word), labels)


def other_code_of(word: object, labels: LabelSet) -> str | None:
    """:func:`code_of` for images that are not HAM10000's: squamous cell carcinoma is Bowen's disease in those alone."""
    return to_label(class_maps.own(word, _diagnosis(word)), labels)


def _diagnosis(word: object) -> str | None:
    return diagnosis(word) or diagnosis(str(word).partition(",")[0])


def load(place: Path, labels: LabelSet = ISIC8, words: Mapping[str, str] | None = None) -> LesionTable:
    """Read a folder that the ISIC Archive's command line tool filled.

    Both forms of the metadata are known: one column ``diagnosis``, and ``diagnosis_1`` to ``diagnosis_5``, of which the
    most specific one with a known class decides. Raises DataError where the metadata or all images are missing.
    """
    files = find_files(place)
    fill = f"fill it with: isic image download --collections 212 {place}"
    metadata = files.read(METADATA, ("isic_id",), fill)
    if not any(name in metadata for name in LEVELS):
        raise DataError(
            f"{files.table(METADATA)} has neither a column diagnosis nor diagnosis_1 to diagnosis_5; download it again"
        )
    if not files.images:
        raise DataError(f"{place} holds no images beside its metadata.csv; let the download run to its end")
    index = ImageIndex(files, files.images)
    label, word = first_known(metadata, label_finder(labels, words, code_of))
    other_label, other_word = first_known(metadata, label_finder(labels, words, other_code_of))
    home = trained_ids(metadata["isic_id"], "ham10000")
    label, word = label.where(home, other_label), word.where(home, other_word)
    return tabulate(
        _rows(metadata, index).assign(label=label, word=word),
        labels=labels,
        source="isic-archive",
        location=place,
        has_lesions="lesion_id" in metadata,
        notes=_notes(metadata),
        index=index,
    )


def _rows(metadata: pd.DataFrame, index: ImageIndex) -> pd.DataFrame:
    site = next((name for name in ("anatom_site_general", "anatom_site_1") if name in metadata), None)
    empty = pd.Series("", index=metadata.index)
    confirmed = metadata.get("diagnosis_confirm_type", empty)
    kind = known(metadata.get("image_type", empty)).str.lower()
    strange = (kind != "") & ~kind.str.startswith("dermoscopic")
    return pd.DataFrame(
        {
            "image_id": metadata["isic_id"],
            "lesion_id": metadata.get("lesion_id", empty),
            "age": metadata.get("age_approx", empty),
            "sex": metadata.get("sex", empty),
            "site": metadata[site] if site else empty,
            "dx_type": confirmed,
            "path": [index.find(name) for name in metadata["isic_id"]],
            "problem": empty.mask(strange, NOT_DERMATOSCOPIC),
            "detail": empty.mask(strange, kind),
        }
    )


def _notes(metadata: pd.DataFrame) -> tuple[str, ...]:
    owners = sorted(set(metadata.get("attribution", ())) - {""})
    return ("Images: ISIC Archive" + (f", by {'; '.join(owners)}." if owners else "."),)
