"""What model card and checklist share: how figures are written, and facts from the publications of known data sets."""

from __future__ import annotations

from collections.abc import Iterable

from skinlesion.core.taxonomy import TOGETHER

_HAM10000 = {
    "place": "the Department of Dermatology of the Medical University of Vienna, Austria, and a skin cancer practice "
    "in Queensland, Australia, over 20 years.",
    "truth": "histopathology for all malignant lesions and about half of the images; the rest by follow-up, expert "
    "consensus or confocal microscopy, which concern lesions that looked benign.",
    "skin": "patients of two clinics with mostly light skin; no skin type is recorded. Performance on dark skin is "
    "not known.",
    "acquisition": "film slides that were scanned, and several digital dermatoscopes, with immersion or polarised "
    "light; cropped around the lesion and partly corrected in contrast and colour by the publishers.",
    "vendors": "Several: film cameras, MoleMax systems and hand-held dermatoscopes on digital cameras. Which one took "
    "an image is not recorded.",
    "meta": "Age, sex and body site, incomplete; no patient identifier, ethnicity, skin type or history. Images of one "
    "lesion are linked, lesions of one patient are not.",
}
_OWN = {
    "place": "the user's own data; nothing but their numbers is recorded.",
    "truth": "not recorded.",
    "skin": "not recorded. Performance on dark skin is not known.",
    "acquisition": "not recorded.",
    "vendors": "Not recorded.",
    "meta": "The columns of the data set's table; see the data check of the run.",
}
_DEMO = {
    "place": "a program: no image shows a lesion.",
    "truth": "the class that the program drew.",
    "skin": "drawn. Performance on real skin is not known.",
    "acquisition": "drawn at 200 x 150 px with simulated lighting, hair, bubbles and compression.",
    "vendors": "None: one simulated camera.",
    "meta": "Drawn ages, sexes and sites.",
}
_SOURCES = {"ham10000": _HAM10000, "isic-archive": _HAM10000, "dermamnist": _HAM10000, "demo": _DEMO}


def about(manifest: dict) -> dict[str, str]:
    """What is published about the data set that a model was trained on (HAM10000: doi:10.1038/sdata.2018.161)."""
    kinds = manifest["data"]["source"].split(TOGETHER)
    if len(kinds) == 1:
        return _SOURCES.get(kinds[0], _OWN)
    return {topic: " ".join(f"{kind}: {_SOURCES.get(kind, _OWN)[topic]}" for kind in kinds) for topic in _OWN}


def described_split(manifest: dict) -> str:
    """How images were assigned to training, validation and test: by lesion, by image, or by another file or source."""
    data = manifest["data"]
    if manifest["config"]["split_file"]:
        return f"given in {manifest['config']['split_file']}."
    if data["source"] == "dermamnist":
        return "the source's own, by image: a lesion may have images in training and test, so figures may be too high."
    if data["lesions"] == data["images"]:
        return "by image. If the data have lesions with several images but no lesion ids, figures may be too high."
    return (
        "by lesion, near-duplicates counted as one lesion, stratified by diagnosis: a test part and five folds, one of "
        "them for validation."
    )


def number(value: int | None) -> str:
    """``1,234``, or words where it is not recorded."""
    return "an unrecorded number of" if value is None else f"{value:,}"


def figure(metric: dict | None, factor: int = 1) -> str:
    """``0.912 (0.900 to 0.930)``; with a factor of 100 in per cent; words where nothing was measured.

    Of a calibration error, what a perfectly calibrated model would show stands in place of the interval.
    """
    if not metric or metric.get("value") is None:
        return "not measured"
    unit, digits = ("%", 1) if factor == 100 else ("", 3)
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if metric.get("by_chance") is not None:
        return f"{value * factor:.{digits}f}{unit} (by chance {metric['by_chance'] * factor:.{digits}f})"
    if low is None or high is None:
        return f"{value * factor:.{digits}f}{unit}"
    return f"{value * factor:.{digits}f}{unit} ({low * factor:.{digits}f} to {high * factor:.{digits}f})"


def mix(groups: dict[str, int]) -> str:
    """``male 54%, female 46%, unknown under 1%``: how many of all are of each group."""
    total = sum(groups.values())
    return ", ".join(
        f"{name} {'under 1%' if 0 < count < 0.005 * total else f'{count / total:.0%}'}"
        for name, count in groups.items()
        if count or name != "unknown"
    )


def share(metric: dict | None) -> str:
    """``12.3%``, or words where nothing was measured."""
    return "not measured" if not metric or metric.get("value") is None else f"{metric['value']:.1%}"


def subgroup_rows(groups: Iterable[dict], names=("sensitivity", "specificity", "malignant_auroc")) -> list[dict]:
    """A row a group with the named metrics (None where there is none)."""
    return [
        {key: group[key] for key in ("attribute", "group", "images")}
        | {name: group["metrics"].get(name) for name in names}
        for group in groups
    ]
