"""The model card, written from the manifest's own numbers: nothing is typed by hand that a run computes."""

from __future__ import annotations

from pathlib import Path

from skinlesion.core.images import seen
from skinlesion.core.runs import write_json, write_text
from skinlesion.core.taxonomy import label_set
from skinlesion.export.checklist import clear_derm
from skinlesion.export.facts import about, figure, mix, number, parted, share, subgroup_rows
from skinlesion.serving.manifest import FILE, Manifest

__all__ = ["CARD", "attach", "clear_derm", "model_card"]

CARD = "MODEL_CARD.md"


def attach(folder: str | Path, **blocks: object) -> dict:
    """Put evaluations that come after the export into a model folder's manifest, and write its card anew.

    Parameters
    ----------
    folder : the model's folder
    blocks : what goes into the manifest's ``evaluation``, replacing blocks of the same name
        ``population`` {attribute: {group: images}} of the data (``people.population``); ``subgroups``, as
        ``gaps.for_card`` makes it; ``external``, a list of ``external.json``; ``test_reads``, how often the
        test part has been read so far, where that was counted.

    Returns
    -------
    dict, the new manifest

    Raises
    ------
    ModelError
        If there is no valid model in the folder.
    """
    content = dict(Manifest.read(folder).content)
    content["evaluation"] = content.get("evaluation", {}) | blocks
    place = Path(folder).expanduser()
    card = model_card(content)  # before anything is written: it may refuse
    write_json(place / FILE, content)
    write_text(place / CARD, card)
    return content


def model_card(manifest: dict) -> str:
    """A Markdown model card (after Mitchell et al. 2019, doi:10.1145/3287560.3287596) for a manifest.

    What an older or smaller manifest does not hold is called not recorded or not measured.
    """
    labels = label_set(manifest["labels"])
    synthetic = manifest["data"]["synthetic"]
    warning = "**Trained on synthetic demo data: it has never seen skin.**\n\n" if synthetic else ""
    parts = [
        f"# Model card: {manifest['name']} {manifest['version']}\n",
        f"{warning}Classifies a dermatoscopic image of one skin lesion into {len(labels)} kinds. **Research software, "
        "no medical\ndevice**: it must not be used to diagnose, to rule out cancer, or to decide on treatment.\n",
        _use(labels),
        _made(manifest),
        _data(manifest, labels),
        _performance(manifest, labels),
        _people(manifest),
        _elsewhere(manifest),
        _mind(manifest),
        _terms(manifest),
        _checklist(manifest),
    ]
    return "\n".join(part for part in parts if part)


def _use(labels) -> str:
    return f"""## Intended use
Research and teaching on dermatoscopic images of single lesions, centred and in focus, whose diagnosis is one of the
{len(labels)} kinds below.

## Must not be used
- for decisions about a person: not to diagnose, not to rule out cancer, not to put off a visit to a doctor;
- on photographs taken without a dermatoscope, on nails, mucosa or scars, on several lesions in one image;
- for other skin diseases: it knows these {len(labels)} kinds and names one of them whatever it is shown;
- on dark skin, or on patients unlike those below, without measuring it on them first.
"""


def _start(config: dict, before: dict | None = None) -> str:
    if before:
        apart = [name for name in ("image_size", "fit", "mix") if before.get(name) != config.get(name)]
        other = ", ".join(f"{name} {before.get(name)}" for name in apart) or "the same recipe"
        return f"a network to start from that had {before.get('epochs')} epochs ({other}; {_start(before)})"
    if config.get("start"):
        return f"the network of the run {config['start']} to start from"
    return "ImageNet weights to start from" if config.get("pretrained") else "from random weights"


def _made(manifest: dict) -> str:
    config = manifest.get("config", {})
    frame = seen(manifest["fit"], manifest.get("crops", 1))
    start = _start(config, manifest.get("started_from"))
    views = max(manifest.get("views", 1), manifest.get("crops", 1))
    turns = ", of the two squares in turn" if manifest.get("crops", 1) > 1 else ""
    recipe = (
        f", balancing\n`{config['balance']}`, {start}, {config['epochs']} epochs, seed {config['seed']}"
        if {"balance", "epochs", "seed"} <= config.keys()
        else ""
    )
    return f"""## How it was made
{manifest.get("architecture", "A network")} at {manifest["image_size"]} x {manifest["image_size"]} px ({frame}){recipe}.
{f"Answers are means over {views} mirror images{turns}." if views > 1 else "One look at each image."}
"""


def _data(manifest: dict, labels) -> str:
    data, facts = manifest["data"], about(manifest)
    lines = [
        f"{data['source']}, {number(data.get('images'))} images of {number(data.get('lesions'))} lesions; fingerprint\n"
        f"`{data['fingerprint'][:16]}`. {data['citation'].rstrip('.')}.",
        f"- How they were parted: {parted(manifest)}",
        f"- Where from: {facts['place']}",
        f"- How the truth is known: {facts['truth']}",
        f"- Whose skin: {facts['skin']}",
        f"- Kinds: these {len(labels)} and no other; a real clinic sees many more.",
    ]
    population = manifest.get("evaluation", {}).get("population", {})
    for attribute, groups in population.items():
        lines.append(f"- By {attribute}: {mix(groups)} of the images.")
    return "## Data and their gaps\n" + "\n".join(lines) + "\n"


def _performance(manifest: dict, labels) -> str:
    metrics, referral = manifest["metrics"], manifest["referral"]
    where = manifest.get("measured_on", "test")
    size = f"{number(metrics.get('n_images'))} images of {number(metrics.get('n_lesions'))} lesions"
    measured = {
        "test": f"On a test split of {size} that nothing was chosen on",
        "validation": f"On a validation fold of {size} that the network was not trained on. **Temperature,\n"
        "rule and thresholds were chosen on these images among others, so the figures flatter**; no test was read",
    }[where]
    by_class = metrics.get("per_class", {})
    classes = "\n".join(
        f"| `{d.code}` | {d.name} | {'malignant' if d.malignant else 'benign'} | {manifest['prior'][d.code]:.1%} | "
        f"{figure(by_class.get(d.code, {}).get('sensitivity'), 100)} |"
        for d in labels
    )
    return f"""## How good it is
{measured};
95% intervals from a bootstrap over lesions.

| measure | value |
|---|---|
| balanced accuracy | {figure(metrics.get("balanced_accuracy"), 100)} |
| macro AUROC | {figure(metrics.get("macro_auroc"))} |
| accuracy | {figure(metrics.get("accuracy"), 100)} |
| expected calibration error | {figure(metrics.get("ece"), 100)} |

| code | kind | | share in the data | sensitivity |
|---|---|---|---|---|
{classes}

"Refer" begins at a malignant probability of {referral["threshold"]:.3f}, chosen on {referral.get("chosen_on", where)}.
On the {where} images that gives, for malignant lesions, a sensitivity of {figure(referral["sensitivity"], 100)}
and a specificity of {figure(referral["specificity"], 100)}.
"""


def _people(manifest: dict) -> str:
    subgroups = manifest.get("evaluation", {}).get("subgroups")
    if not subgroups:
        return "## Who it works for\nNot measured by group for this model.\n"
    rows = "\n".join(
        f"| {row['attribute']} | {row['group']} | {number(row['images'])} | {figure(row['sensitivity'], 100)} | "
        f"{figure(row['specificity'], 100)} | {figure(row['malignant_auroc'])} |"
        for row in subgroup_rows(subgroups["groups"])
    )
    return f"""## Who it works for
Sensitivity and specificity are those of "refer" for malignant lesions. Groups with too few lesions have no figure. Skin
tone is estimated from the image (individual typology angle), without a truth to check it by.

| | group | images | sensitivity | specificity | AUROC, malignant |
|---|---|---|---|---|---|
{rows}

{subgroups["words"]}
"""


def _elsewhere(manifest: dict) -> str:
    records = manifest.get("evaluation", {}).get("external", [])
    if not records:
        return "## Elsewhere\nNot measured on images of another place.\n"
    parts = []
    for record in records:
        found = record["metrics"]
        counts = ", ".join(f"{code} {count:,}" for code, count in record["counts"].items())
        stale = "" if record["model"]["sha256"] == manifest["sha256"] else " **Measured with an earlier version.**"
        parts.append(
            f"**{record['name']}**, {number(record['n_images'])} images ({counts}), on which nothing was chosen:"
            f"{stale}\nAUROC malignant against benign {figure(found['malignant_auroc'])}, melanoma against nevus "
            f"{figure(found['mel_nv_auroc'])};\nat the model's threshold sensitivity "
            f"{figure(found['sensitivity'], 100)}, specificity {figure(found['specificity'], 100)};\n"
            f"mean predicted probability of malignancy {share(found['predicted'])} where {share(found['observed'])} "
            f"are malignant; {share(found['in_domain'])} called in domain.\n"
        )
    return "## Elsewhere\n" + "\n".join(parts)


def _mind(manifest: dict) -> str:
    return """## What to mind
- `probabilities` hold for a population with the class shares above; where disease is rarer, they are too high.
- `label` follows a decision rule chosen for balanced accuracy, so it need not be the most probable class.
- An image unlike the training data may get a confident wrong answer; `in_domain` catches some of these, not all.
- The figures are of one data set: another clinic's cameras, patients and share of disease change them.
"""


def _terms(manifest: dict) -> str:
    return f"""## Terms
Weights: {manifest["licence"]}. File `{manifest["file"]}`, {manifest["bytes"] / 1e6:.1f} MB,
SHA-256 `{manifest["sha256"]}`. Code: Apache-2.0.
"""


def _checklist(manifest: dict) -> str:
    rows = "\n".join(
        f"| {i} | {topic} | {item} | {answer} |" for i, (topic, item, answer) in enumerate(clear_derm(manifest), 1)
    )
    return f"""## CLEAR Derm checklist
The 25 items of Daneshjou et al., JAMA Dermatol. 158(1):90-96 (2022), doi:10.1001/jamadermatol.2021.4915, in our words.

| | topic | item | answer |
|---|---|---|---|
{rows}
"""
