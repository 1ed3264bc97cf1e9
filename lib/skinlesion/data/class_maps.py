"""What the words of each source of data stand for, and how a diagnosis was confirmed.

The words themselves are in ``diagnoses.toml``; here is in what a source means them otherwise. Each function takes a
word and a label set, and gives a code of the set, or None for what is no class of it.
"""

from __future__ import annotations

import re

from skinlesion.core.taxonomy import INVASIVE, LabelSet, diagnosis, normalise_label, to_label

_IN_SITU = re.compile(r"in[\s_-]*situ|sccis|bowen", re.IGNORECASE)
#: Between ``akiec``, which the eight labels lack, and another table's finer word for the same image.
FINER = ", more precisely "

#: How a diagnosis was confirmed, in the words of HAM10000's ``dx_type``: histo, follow_up, consensus, confocal.
CONFIRMED_BY = {
    # the ISIC Archive, and so MILK10k's supplement and ISIC 2018's lesion groupings
    "histopathology": "histo",
    "serial imaging showing no change": "follow_up",
    "single image expert consensus": "consensus",
    "single contributor clinical assessment": "consensus",  # of one: a clinician's word without histology
    "confocal microscopy with consensus dermoscopy": "confocal",
    # what people write in tables of their own
    "histology": "histo",
    "biopsy": "histo",
    "follow-up": "follow_up",
    "follow up": "follow_up",
}


def own_label(word: object, labels: LabelSet) -> str | None:
    """In data that are not HAM10000, whose SCC is Bowen's disease: SCC includes invasive, unless it says in situ."""
    return _own(word, diagnosis(word), labels)


def archive_label(word: object, labels: LabelSet, ham10000: bool = False) -> str | None:
    """In the ISIC Archive: ``"Nevus, NOS, Compound"`` -> ``"nv"``; ``ham10000`` for the images of that set.

    What follows the first comma (NOS, in situ, invasive, a subtype) qualifies the diagnosis before it. The vascular
    lesions of HAM10000 carry a second level only; a level is used where all of it is one class, so not
    "benign epidermal proliferations".
    """
    code = diagnosis(word) or diagnosis(str(word).partition(",")[0])
    return to_label(code, labels) if ham10000 else _own(word, code, labels)


def finer_label(word: object, labels: LabelSet) -> str | None:
    """In HAM10000 and MILK10k: ``akiec`` by the finer word behind it, as far as that is one of the two it stands for.

    MILK10k's SCCKA is invasive carcinoma or keratoacanthoma.
    """
    word, _, finer = str(word).partition(FINER)
    label = archive_label(finer, labels, ham10000=True)
    return label if label in ("ak", "scc") else normalise_label(word, labels)


def _own(word: object, code: str | None, labels: LabelSet) -> str | None:
    return to_label(INVASIVE if code == "scc" and not _IN_SITU.search(str(word)) else code, labels)
