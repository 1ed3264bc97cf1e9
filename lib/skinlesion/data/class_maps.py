"""What the classes of each published data set are here: one map a source, by the finer diagnosis where there is one.

Values are codes of either label set, ``invasive scc``, or "" for what is no class of ours (set aside and counted);
:func:`skinlesion.core.taxonomy.to_label` makes a code of a label set of them.
"""

from __future__ import annotations

from skinlesion.core.taxonomy import INVASIVE, diagnosis

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


def derm7pt(word: str) -> str:
    """The class of one of Derm7pt's diagnoses."""
    return "" if word.strip().lower() in DERM7PT_SET_ASIDE else diagnosis(word) or ""
