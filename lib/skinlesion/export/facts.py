"""What model card and checklist share: how figures read, and what the publications of known data sets say of them."""

from __future__ import annotations

from collections.abc import Iterable

_HAM10000 = {
    "place": "the Department of Dermatology of the Medical University of Vienna, Austria, and a skin cancer practice "
    "in Queensland, Australia, over 20 years.",
    "truth": "histopathology for all malignant lesions and about half of the images; the rest by follow-up, expert "
    "consensus or confocal microscopy, which concern lesions that looked harmless.",
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
    "place": "the user's own data, of which this card knows no more than their numbers.",
    "truth": "not recorded.",
    "skin": "not recorded. Performance on dark skin is not known.",
    "acquisition": "not recorded.",
    "vendors": "Not recorded.",
    "meta": "What the data set's table holds; see the data check of the run.",
}
_DEMO = {
    "place": "a program: no image shows a lesion.",
    "truth": "the program drew what the label says.",
    "skin": "drawn. Nothing can be said about any skin.",
    "acquisition": "drawn at 200 x 150 px with simulated lighting, hair, bubbles and compression.",
    "vendors": "None: one simulated camera.",
    "meta": "Drawn ages, sexes and sites.",
}
_SOURCES = {"ham10000": _HAM10000, "isic-archive": _HAM10000, "dermamnist": _HAM10000, "demo": _DEMO}


def about(manifest: dict) -> dict[str, str]:
    """What is published about the kind of data that a model was trained on (HAM10000: doi:10.1038/sdata.2018.161)."""
    return _SOURCES.get(manifest["data"]["source"], _OWN)


def parted(manifest: dict) -> str:
    """How train, validation and test were parted: by lesion, by image, or as somebody else did."""
    data = manifest["data"]
    if manifest.get("config", {}).get("split_file"):
        return "as a file of the user's says."
    if data["source"] == "dermamnist":
        return "as the source does, by image: lesions may stand on both sides, so figures may be too good."
    if data.get("lesions") == data.get("images"):
        return "by image, for no lesion has two, or none is named: then figures may be too good."
    return (
        "by lesion, near-duplicates counted as one lesion, stratified by diagnosis: a test part and five folds, one of "
        "which validates."
    )


def number(value: int | None) -> str:
    """``1,234``, or words where it is unknown."""
    return "an unrecorded number of" if value is None else f"{value:,}"


def figure(metric: dict | None, factor: int = 1) -> str:
    """``0.912 (0.900 to 0.930)``; with a factor of 100 in per cent; words where nothing was measured."""
    if not metric or metric.get("value") is None:
        return "not measured"
    unit, digits = ("%", 1) if factor == 100 else ("", 3)
    value, low, high = (metric[key] for key in ("value", "low", "high"))
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
