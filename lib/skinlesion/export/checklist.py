"""The CLEAR Derm checklist, filled in from a manifest.

Daneshjou et al., Checklist for Evaluation of Image-Based Artificial Intelligence Reports in Dermatology, JAMA Dermatol.
158(1):90-96 (2022), doi:10.1001/jamadermatol.2021.4915: 25 items under data, technique, technical assessment and
application. Topics and items are paraphrased.
"""

from __future__ import annotations

from skinlesion.core.framing import seen
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import label_set
from skinlesion.export.facts import about, described_split, figure, mix, number, share


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
        "sizes of the parts": f"{number(data['images'])} images of {number(data['lesions'])} lesions in all; "
        f"the figures are of {number(metrics['n_images'])} images of {number(metrics['n_lesions'])} lesions of "
        f"the {where} part.",
        "external test set": "; ".join(
            f"{record['name']}, {number(record['n_images'])} images, on which nothing was chosen" for record in external
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
