"""The CLEAR Derm checklist, filled in from a manifest.

Daneshjou et al., Checklist for Evaluation of Image-Based Artificial Intelligence Reports in Dermatology, JAMA Dermatol.
158(1):90-96 (2022), doi:10.1001/jamadermatol.2021.4915: 25 items under data, technique, technical assessment and
application. Topics and items are paraphrased.
"""

from __future__ import annotations

from skinlesion.core.framing import seen
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import TOGETHER, label_set

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


def clear_derm(manifest: dict) -> list[tuple[str, str, str]]:
    """(topic, item, answer) of each of the 25 items, in the checklist's order."""
    return [
        *_images(manifest),
        *_splits(manifest),
        *_technique(manifest),
        *_assessment(manifest),
        *_application(manifest),
    ]


def _topic(name: str, answers: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(name, item, answer) for item, answer in answers.items()]


def _images(manifest: dict) -> list[tuple[str, str, str]]:
    facts, data = about(manifest), manifest["data"]
    population = manifest.get("evaluation", {}).get("population", {})
    borders, rated = population.get("border colour"), population.get("rated skin tone")
    size = manifest["image_size"]
    frame = seen(manifest["fit"], manifest["crops"])
    tone = facts["skin"][0].upper() + facts["skin"][1:]
    if rated:
        tone += f" Rated by the source, from 0 (very dark) to 5 (very light): {mix(rated)}."
    if borders:
        tone += (
            " Colour of the images' borders (individual typology angle), which differs between cameras as much as "
            f"between people: {mix(borders)}."
        )
    return _topic("data", {
        "type of images": "Dermatoscopic images of single lesions; no clinical photographs, no histology.",
        "artefacts in images": "Hair, bubbles, rulers, ink and dark corners; neither removed nor labelled.",
        "how images were taken": facts["acquisition"][0].upper() + facts["acquisition"][1:],
        "preprocessing": f"{frame[0].upper() + frame[1:]}, resized to {size} x {size} px with an antialiased filter; "
        "it is part of the model file, so it is the same in training and use.",
        "synthetic images": "All of them: drawn by a program that comes with the code."
        if data["synthetic"] else "None in training, apart from random changes to real images (augmentation).",
        "references of public images": f"{data['citation'].rstrip('.')}. Fingerprint of the table: "
        f"{data['fingerprint'][:16]}.",
        "patients' metadata": facts["meta"],
        "skin tone, and how it was determined": tone,
        "biases that this may cause": "The mix of sites, ages and skin types is that of the images' clinics. "
        + (f"Of the images, {_largest(population)}." if population else "It was not counted for this model."),
    })  # fmt: skip


def _largest(population: dict[str, dict[str, int]]) -> str:
    """The largest group of every attribute and its share."""
    shares = []
    for attribute, groups in population.items():
        name, count = max(groups.items(), key=lambda item: item[1])
        shares.append(f"{count / sum(groups.values()):.0%} have the {attribute} '{name}'")
    return "; ".join(shares)


def _splits(manifest: dict) -> list[tuple[str, str, str]]:
    labels, data, metrics = label_set(manifest["labels"]), manifest["data"], manifest["metrics"]
    where, domain = manifest["measured_on"], manifest["domain"]
    external = manifest.get("evaluation", {}).get("external", [])
    split = described_split(manifest)
    classes = ", ".join(f"{code} {manifest['prior'][code]:.1%}" for code in labels.codes)
    balance = manifest["config"]["balance"]
    reads = manifest.get("evaluation", {}).get("test_reads")
    read = "The test part was " + ("not read yet." if where == "validation" else "read after everything was chosen.")
    read += f" It has been read {reads} times so far, other recipes included." if reads else ""
    return _topic("data", {
        "how the data were split": f"{split[0].upper() + split[1:]} {read}",
        "sizes of the parts": f"{size(data['images'], data['lesions'])} in all; "
        f"the figures are of {size(metrics['n_images'], metrics['n_lesions'])} of the {where} part.",
        "external test set": "; ".join(
            f"{record['name']}, {counted(record['n_images'], 'image')}, on which nothing was chosen"
            for record in external
        ) + "." if external else "None for this model.",
        "images of several makers' devices": about(manifest)["vendors"],
        "classes and their balance": f"{classes}. Balancing in training: {balance}.",
        "images that belong to no class": "Two scores come with the model: one flags images that are not dermatoscopic "
        f"({domain['not_dermatoscopic']['kept']:.1%} of the validation images pass it), one images unlike the training "
        f"images in camera or light ({domain['other_camera']['kept']:.0%} pass). Neither flags all.",
    })  # fmt: skip


def _technique(manifest: dict) -> list[tuple[str, str, str]]:
    facts, config = about(manifest), manifest["config"]
    names = ", ".join(diagnosis.name for diagnosis in label_set(manifest["labels"]))
    recipe = ", ".join(f"{name}={value}" for name, value in config.items() if name in _RECIPE)
    return _topic("technique", {
        "how labels were made, and by whom": facts["truth"][0].upper() + facts["truth"][1:],
        "labels are accepted diagnoses": f"{names}: the diagnoses of HAM10000 and the ISIC Archive.",
        "histology of malignant lesions": "None: nothing here is a lesion." if manifest["data"]["synthetic"]
        else facts["truth"][0].upper() + facts["truth"][1:],
        "how the algorithm was made": f"{manifest['architecture']}; {recipe}. The whole recipe and all "
        "versions are in the manifest.",
    })  # fmt: skip


_RECIPE = ("pretrained", "image_size", "balance", "loss", "optimizer", "learning_rate", "epochs", "batch_size", "seed")


def _assessment(manifest: dict) -> list[tuple[str, str, str]]:
    metrics, referral = manifest["metrics"], manifest["referral"]
    where = manifest["measured_on"]
    evaluation = manifest.get("evaluation", {})
    subgroups = evaluation.get("subgroups")
    performance = (
        f"On the {where} part, with 95% intervals over lesions: balanced accuracy "
        f"{figure(metrics['balanced_accuracy'], 100)}, macro AUROC {figure(metrics['macro_auroc'])}, ECE "
        f"{figure(metrics['ece'], 100)}; referral: sensitivity {figure(referral['sensitivity'], 100)}, specificity "
        f"{figure(referral['specificity'], 100)}."
    )
    for record in evaluation.get("external", []):
        found = record["metrics"]
        performance += (
            f" {record['name']}: AUROC malignant against benign {figure(found['malignant_auroc'])}, predicted "
            f"malignant {share(found['predicted'])} where {share(found['observed'])} are."
        )
    return _topic("technical assessment", {
        "how anybody can evaluate it": "Weights, manifest and code are open; `skinlesion external --data PATH` "
        "evaluates the model on other images; the page and the API predict single ones.",
        "measures of performance": performance,
        "comparison with others": "Published results with their splits and metrics are in the evaluation's report; few "
        "can be compared. No readers were tested. The method is not new.",
        "bias assessment": f"{counted(len(subgroups['groups']), 'group')} by {_attributes(subgroups)}. "
        + subgroups.get("brief", "") if subgroups else "Not done for this model.",
    })  # fmt: skip


def _attributes(subgroups: dict) -> str:
    return ", ".join(dict.fromkeys(group["attribute"] for group in subgroups["groups"]))


def _application(manifest: dict) -> list[tuple[str, str, str]]:
    k = len(manifest["labels"])
    sensitivity, specificity = manifest["referral"]["sensitivity"], manifest["referral"]["specificity"]
    cost = (
        f" Of 100 malignant lesions like those measured, {100 - round(100 * sensitivity['value'])} would be missed; "
        f"of 100 benign ones, {100 - round(100 * specificity['value'])} would be referred without need."
        if sensitivity["value"] is not None and specificity["value"] is not None
        else ""
    )
    return _topic("application", {
        "use cases and conditions": f"Research and teaching with dermatoscopic images of one of {k} classes. "
        "Not a medical device, not for decisions about a person.",
        "effects on staff and patients": "Not studied: no clinic uses it. A missed cancer is treated late, a false "
        f"alarm costs a visit or an excision.{cost}",
    })  # fmt: skip


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


def size(images: int | None, lesions: int | None) -> str:
    """``1,234 images of 1 lesion``, or words where a number is not recorded."""
    numbers = {"image": images, "lesion": lesions}
    return " of ".join(
        f"an unrecorded number of {word}s" if number is None else counted(number, word)
        for word, number in numbers.items()
    )


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
