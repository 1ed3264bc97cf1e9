"""What the words of each published data set are here: classes, one map a source, by the finer diagnosis where there is
one; and how a diagnosis was confirmed.

Values are codes of either label set, ``invasive scc``, or "" for what is no class of ours (set aside and counted);
:func:`skinlesion.core.taxonomy.to_label` makes a code of a label set of them.
"""

from __future__ import annotations

import re

from skinlesion.core.taxonomy import INVASIVE, LabelSet, diagnosis, to_label

_IN_SITU = re.compile(r"in[\s_-]*situ|sccis|bowen", re.IGNORECASE)

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

#: ISIC 2018 Task 3: the seven codes of HAM10000.
ISIC2018 = {name: name.lower() for name in ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")}

#: ISIC 2019. Its SCC does not tell in situ from invasive; HAM10000's are Bowen's disease, see :func:`isic2019`.
ISIC2019 = {name: name.lower() for name in ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")} | {"UNK": ""}

#: MILK10k. AKIEC is actinic keratosis or Bowen's disease, which its supplement tells apart; see :func:`milk10k`.
MILK10K = {name: name.lower() for name in ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")}
MILK10K |= {"SCCKA": INVASIVE, "INF": "", "BEN_OTH": "", "MAL_OTH": ""}

#: Derm7pt's diagnoses that are no class of ours; the others are words that skinlesion.core.taxonomy knows.
DERM7PT_SET_ASIDE = ("lentigo", "melanosis", "miscellaneous")


def isic2019(word: str, of_ham10000: bool) -> str:
    """The class of an ISIC 2019 column; its SCC counts as invasive, but for HAM10000's images, which are Bowen's."""
    return INVASIVE if word == "SCC" and not of_ham10000 else ISIC2019.get(word, "")


def milk10k(word: str, supplement: str) -> str:
    """The class of a MILK10k column; AKIEC by the supplement's full diagnosis, where that tells."""
    finer = diagnosis(supplement) or diagnosis(supplement.partition(",")[0]) if word == "AKIEC" else None
    return finer if finer in ("ak", "scc") else MILK10K.get(word, "")


def own(word: object, code: str | None = None) -> str | None:
    """The class of a word in data that are not HAM10000, or of the ``code`` that it was found to be.

    HAM10000's SCC is Bowen's disease. In other data SCC includes invasive carcinoma, unless it says in situ.
    """
    code = code or diagnosis(word)
    return INVASIVE if code == "scc" and not _IN_SITU.search(str(word)) else code


def own_label(word: object, labels: LabelSet) -> str | None:
    """:func:`own` as a code of ``labels``."""
    return to_label(own(word), labels)


def derm7pt(word: str) -> str:
    """The class of one of Derm7pt's diagnoses."""
    return "" if word.strip().lower() in DERM7PT_SET_ASIDE else own(word) or ""
