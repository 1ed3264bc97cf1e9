"""The diagnoses of ``diagnoses.toml``, the two label sets, and what a data set's own words stand for.

Seven codes are those of HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161, table 2). Eight are those of the
ISIC Archive, where ``akiec`` splits into actinic keratosis (``ak``) and squamous cell carcinoma (``scc``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from skinlesion.core.errors import ConfigError, DataError

KIND_SEPARATOR = " + "  # between the kinds of data of a table of several sources


@dataclass(frozen=True)
class Diagnosis:
    """One class; ``malignant`` includes pre-malignant keratoses."""

    code: str
    name: str
    malignant: bool
    color: str
    description: str


_TABLE = tomllib.loads(Path(__file__).with_name("diagnoses.toml").read_text(encoding="utf-8"))
_CODES = {word: code for code, entry in _TABLE.items() for word in entry.pop("words")}
_ALL = {code: Diagnosis(code, **entry) for code, entry in _TABLE.items() if entry}


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

#: How a diagnosis was confirmed, the surest first; HAM10000's words, and one for what is not stated.
CONFIRMED = ("histo", "confocal", "follow_up", "consensus", "unknown")

#: Column order of the ISIC 2018 Task 3 submission format (challenge.isic-archive.com, 2018, task 3).
ISIC2018_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def label_set(which: int | str | tuple[str, ...] | list[str]) -> LabelSet:
    """The label set with 7 or 8 classes, or the one whose codes are given in order.

    Raises ConfigError for anything that is neither.
    """
    codes = () if isinstance(which, (int, str)) else tuple(which)
    for known in (HAM7, ISIC8):
        if which in (len(known), str(len(known))) or codes == known.codes:
            return known
    raise ConfigError(f"labels must be 7 (HAM10000 codes) or 8 (ISIC Archive labels), not {which!r}")


#: Invasive squamous cell carcinoma and keratoacanthoma: ``scc`` of the eight labels, none of the seven codes.
INVASIVE = "invasive scc"

#: British spelling first, then plurals.
_SINGULAR = (
    (re.compile(r"seborrhoeic"), "seborrheic"),
    (re.compile(r"haem"), "hem"),
    (re.compile(r"\bn(?:a)?ev(?:us|i|uses)\b"), "nevus"),
    (re.compile(r"\bkeratoses\b"), "keratosis"),
    (re.compile(r"\blentig(?:ine|o)s\b|\blentigoes\b"), "lentigo"),
    (re.compile(r"oma(?:s|ta)\b"), "oma"),
    (re.compile(r"\b(lesion|mole|hemorrhage|proliferation)s\b"), r"\1"),
    (re.compile(r"\bbowens?\b"), "bowen"),
)

#: A diagnosis that is doubted, or denied.
_DOUBT = re.compile(r"\?|\b(?:not?|non|excluded?|ruled out|susp\w*|possibl[ey]|probabl[ey]|versus|vs)\b", re.IGNORECASE)
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
#: In the plural it is HAM10000's word for its class, Bowen's disease included; in the singular the ISIC Archive's.
_ACTINIC_KERATOSES = re.compile(r"actinic[\s_-]*keratoses", re.IGNORECASE)


def _plain(text: object) -> str:
    """A diagnosis in the form that the words of ``diagnoses.toml`` have."""
    word = re.sub(r"['’`´]", "", str(text).lower())
    word = re.sub(r"[^a-z0-9]+", " ", word).strip()
    for pattern, singular in _SINGULAR:
        word = pattern.sub(singular, word)
    return word


def diagnosis(text: object) -> str | None:
    """The class that a data set's own word stands for, whatever the label set; None where it is not known.

    Case, hyphens, underscores, plurals, British spelling, ``NOS`` and what stands in brackets don't matter:
    ``Melanocytic naevi (NV)`` is ``nv``. Where the words and the brackets disagree, a code in brackets decides, and
    nothing else does. A word of doubt (``melanoma?``, ``nevus (excluded)``) makes it unknown. Besides the codes of both
    label sets this can be ``invasive scc``.
    """
    words = str(text).strip()
    if _DOUBT.search(words):
        return None
    if _ACTINIC_KERATOSES.fullmatch(words):
        return "akiec"
    whole = _CODES.get(_plain(words))
    if whole:
        return whole
    inside = [_plain(re.split(r"[,;/]", bracket)[-1]) for bracket in _BRACKETS.findall(words)]
    written = [code for code in inside if code in _ALL]
    bare = _plain(_BRACKETS.sub(" ", words))
    found = {_CODES.get(word) for word in (*inside, bare, re.sub(r" (nos|unspecified|primary)\b", "", bare))} - {None}
    return written[0] if len(written) == 1 else found.pop() if len(found) == 1 else None


def to_label(code: str | None, labels: LabelSet) -> str | None:
    """The code in ``labels`` for what :func:`diagnosis` found, None where the label set has no class for it.

    With seven labels, ``ak`` and ``scc`` fold into ``akiec``, but invasive carcinoma and keratoacanthoma are none of
    the seven. With eight, those are ``scc``, and ``akiec`` is unknown, since it may be either.
    """
    if labels is HAM7 and code in ("ak", "scc"):
        return "akiec"
    if labels is ISIC8 and code == INVASIVE:
        return "scc"
    return code if code in labels.codes else None


def normalise_label(text: object, labels: LabelSet) -> str | None:
    """The code in ``labels`` that a data set's own word stands for (:func:`diagnosis`, then :func:`to_label`)."""
    return to_label(diagnosis(text), labels)


def nearest_words(text: object) -> list[str]:
    """Known words that look like an unknown one, the nearest first."""
    return get_close_matches(_plain(text), [word for word in _CODES if len(word) > 2], 2, 0.6)


def parse_words(pairs: str | Iterable[str]) -> dict[str, str]:
    """``["Spitz naevus=nv"]``, or the same separated by commas, as a mapping from word to code.

    Raises ConfigError for a text that is not written ``WORD=CODE``, or a word with two codes, however it is written.
    """
    found: dict[str, str] = {}
    codes: dict[str, str] = {}
    # a word may hold a comma itself: "Nevus, NOS=nv,wart=bkl"
    for text in re.findall(r"[^=]+=[^,=]*|[^=]+$", pairs) if isinstance(pairs, str) else pairs:
        if not text.strip():
            continue
        word, mark, code = (part.strip(" ,") for part in text.rpartition("="))
        if not (mark and word and code):
            raise ConfigError(f"{text!r} must be written WORD=CODE, as in 'Spitz nevus=nv'")
        found[word] = code = code.lower()
        if (other := codes.setdefault(_plain(word) or word, code)) != code:
            raise ConfigError(f"{word!r} is given two classes, {other} and {code}; keep one of them")
    return found


def label_finder(
    labels: LabelSet,
    words: Mapping[str, str] | None = None,
    known: Callable[[object, LabelSet], str | None] = normalise_label,
) -> Callable[[object], str | None]:
    """``known`` for one label set, with the words of ``words`` before all others.

    Raises DataError where ``words`` gives a class that the label set does not have.
    """
    unknown = sorted(set((words or {}).values()) - set(labels.codes))
    if unknown:
        raise DataError(f"there is no class {', '.join(unknown)}; the classes are {', '.join(labels.codes)}")
    own = {_plain(word) or word.strip(): code for word, code in (words or {}).items()}

    @cache
    def find(text: object) -> str | None:
        return own.get(_plain(text) or str(text).strip()) or known(text, labels)

    return find
