"""The model card: text and tables from the manifest's numbers, so that every figure is one that a run computed."""

from __future__ import annotations

from pathlib import Path

from skinlesion.core.framing import seen
from skinlesion.core.runs import write_json, write_text
from skinlesion.core.taxonomy import label_set
from skinlesion.decision import REFERRALS
from skinlesion.export.checklist import about, clear_derm, described_split, figure, mix, number, share
from skinlesion.serving.manifest import FILE, Manifest, external_evidence

__all__ = ["CARD", "attach", "clear_derm", "model_card"]

CARD = "MODEL_CARD.md"


def attach(folder: str | Path, **blocks: object) -> dict:
    """Put evaluations that come after the export into a model folder's manifest, and write its card anew.

    Returns a dict, the new manifest. Raises ModelError if there is no valid model in the folder.

    Parameters
    ----------
    folder : the model's folder
    blocks : what goes into the manifest's ``evaluation``, replacing blocks of the same name
        ``population`` {attribute: {group: images}} of the data (``subgroups.population``); ``subgroups``, as
        ``subgroups.for_card`` returns it; ``shortcuts``, ``read_border`` and ``recoloring`` of
        :mod:`skinlesion.evaluation.shortcut`; ``external``, a list of ``external.json``; ``test_reads``, how often the
        test part has been read so far, where that was counted.
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

    Evaluations that have not been run for the model, and figures without a value, are called not measured.
    """
    labels = label_set(manifest["labels"])
    synthetic = manifest["data"]["synthetic"]
    warning = "**Trained on synthetic demo data: no image of skin was used.**\n\n" if synthetic else ""
    parts = [
        f"# Model card: {manifest['name']} {manifest['version']}\n",
        f"{warning}Classifies a dermatoscopic image of one skin lesion into {len(labels)} classes. **Research "
        "software, not a\nmedical device**: it must not be used to diagnose, to rule out cancer, or to decide on "
        "treatment.\n",
        _use(labels),
        _made(manifest),
        _data(manifest, labels),
        _performance(manifest, labels),
        _subgroups(manifest),
        _shortcuts(manifest),
        _external(manifest),
        _limits(),
        _terms(manifest),
        _checklist(manifest),
    ]
    return "\n".join(part for part in parts if part)


def _use(labels) -> str:
    return f"""## Intended use
Research and teaching on dermatoscopic images of single lesions, centred and in focus, whose diagnosis is one of the
{len(labels)} classes below.

## Must not be used
- for decisions about a person: not to diagnose, not to rule out cancer, not to put off a visit to a doctor;
- on photographs taken without a dermatoscope, on nails, mucosa or scars, on several lesions in one image;
- for other skin diseases: it predicts one of these {len(labels)} classes for any image;
- on dark skin, or on patients unlike those below, without evaluating it on them first.
"""


def _start(config: dict, before: dict | None = None) -> str:
    if before:
        apart = [name for name in ("image_size", "fit", "mix") if before.get(name) != config.get(name)]
        other = ", ".join(f"{name} {before.get(name)}" for name in apart) or "the same recipe"
        return f"from a network trained for {before.get('epochs')} epochs ({other}; {_start(before)})"
    if config.get("start"):
        return f"from the network of the run {config['start']}"
    return "from ImageNet weights" if config.get("pretrained") else "from random weights"


def _made(manifest: dict) -> str:
    config, size = manifest["config"], manifest["image_size"]
    views = max(manifest["views"], manifest["crops"])
    turns = ", alternating between the two crops" if manifest["crops"] > 1 else ""
    return f"""## How it was made
{manifest["architecture"]} at {size} x {size} px ({seen(manifest["fit"], manifest["crops"])}), balancing
`{config["balance"]}`, {_start(config, manifest.get("started_from"))}, {config["epochs"]} epochs, seed {config["seed"]}.
{f"Outputs are means over {views} mirror images{turns}." if views > 1 else "One view of each image."}
"""


def _data(manifest: dict, labels) -> str:
    data, facts = manifest["data"], about(manifest)
    lines = [
        f"{data['source']}, {number(data['images'])} images of {number(data['lesions'])} lesions; fingerprint\n"
        f"`{data['fingerprint'][:16]}`. {data['citation'].rstrip('.')}.",
        f"- Split: {described_split(manifest)}",
        f"- Origin: {facts['place']}",
        f"- Ground truth: {facts['truth']}",
        f"- Skin types: {facts['skin']}",
        f"- Classes: these {len(labels)} only; clinics see many more.",
    ]
    population = manifest.get("evaluation", {}).get("population", {})
    for attribute, groups in population.items():
        lines.append(f"- By {attribute}: {mix(groups)} of the images.")
    return "## Data and their limits\n" + "\n".join(lines) + "\n"


def _performance(manifest: dict, labels) -> str:
    metrics, referral = manifest["metrics"], manifest["referral"]
    where = manifest["measured_on"]
    size = f"{number(metrics['n_images'])} images of {number(metrics['n_lesions'])} lesions"
    measured = {
        "test": f"On a test split of {size} that nothing was chosen on",
        "validation": f"On a validation fold of {size} that the network was not trained on. **Temperature,\n"
        "rule and thresholds were chosen on these images among others, so the figures are optimistic**; the test split "
        "was not read",
    }[where]
    histology = metrics.get("histology_only")
    of_histology = {} if histology is None else histology["per_class"]
    extra, rule = (" sensitivity, histology only |", "---|") if histology else ("", "")
    classes = "\n".join(
        f"| `{d.code}` | {d.name} | {'malignant' if d.malignant else 'benign'} | {manifest['prior'][d.code]:.1%} | "
        f"{figure(metrics['per_class'][d.code]['sensitivity'], 100)} |"
        + (f" {figure(of_histology[d.code]['sensitivity'], 100)} |" if histology else "")
        for d in labels
    )
    return f"""## How good it is
{measured};
95% intervals over lesions. In place of an interval, the calibration error has what chance alone would show.

{_headlines(metrics, manifest.get("validation"), where)}

| code | class | | share in the data | sensitivity |{extra}
|---|---|---|---|---|{rule}
{classes}

A specialist assessment is suggested from a malignant probability of {referral["threshold"]:.3f} on (the referral
threshold), or where the label is malignant; {_grey_zone(referral)}, chosen on {referral["chosen_on"]}.
On the {where} images this advice, label included, has for malignant lesions a sensitivity of
{figure(referral["sensitivity"], 100)} and a specificity of {figure(referral["specificity"], 100)};
in {figure(referral["by_label"], 100)} of the images the label alone leads to it.
{_zones(manifest)}"""


def _zones(manifest: dict) -> str:
    """How many images of each kind and source get each advice."""
    rows = "".join(
        f"| {row['source']}, {row['part']} | {kind} | {number(row[kind])} | "
        + " | ".join(f"{row[f'{kind}_{advice}'] / row[kind]:.1%}" for advice in REFERRALS)
        + f" | {row[f'{kind}_by_label'] / row[kind]:.1%} |\n"
        for row in [*manifest["evidence"], *external_evidence(manifest)]
        for kind in ("malignant", "benign")
        if row[kind]
    )
    if not rows:
        return ""
    return f"""
| images | lesions | | assessment suggested | borderline | below | no advice | by the label alone |
|---|---|---|---|---|---|---|---|
{rows}"""


def _grey_zone(referral: dict) -> str:
    if referral["borderline"] == referral["threshold"]:
        return "no result is borderline"
    return f"from {referral['borderline']:.3f} on a result is borderline"


def headline_parts(metrics: dict, validation: dict | None, where: str) -> dict[str, dict]:
    """All images, those with histology and each source, of ``where`` and of validation: {part: metrics}."""
    parts = {}
    for name, whole in ((where, metrics), ("validation", validation)):
        if whole is None:
            continue
        parts[name] = whole
        if histology := whole.get("histology_only"):
            parts[f"{name}, histology only"] = histology
        sources = whole.get("by_source", {})
        if len(sources) > 1:
            parts |= {f"{name}, {source}": part for source, part in sources.items()}
    return parts


def _headlines(metrics: dict, validation: dict | None, where: str) -> str:
    """The headline figures as a table, a row a part."""
    measures = (
        ("balanced_accuracy", "balanced accuracy", 100),
        ("macro_auroc", "macro AUROC", 1),
        ("malignant_auroc", "AUROC, malignant against benign", 1),
        ("accuracy", "accuracy", 100),
        ("ece", "expected calibration error", 100),
    )
    lines = [f"| part | images | {' | '.join(words for _, words, _ in measures)} |", "|---|" + "---|" * 6]
    for name, part in headline_parts(metrics, validation, where).items():
        cells = [figure(part.get(measure), factor) for measure, _, factor in measures]
        lines.append(f"| {name} | {number(part['n_images'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _subgroups(manifest: dict) -> str:
    subgroups = manifest.get("evaluation", {}).get("subgroups")
    if not subgroups:
        return "## Subgroups\nNot measured for this model.\n"
    rows = "\n".join(
        f"| {one['attribute']} | {one['group']} | {number(one['images'])} | "
        f"{figure(one['metrics'].get('sensitivity'), 100)} | {figure(one['metrics'].get('specificity'), 100)} | "
        f"{figure(one['metrics'].get('malignant_auroc'))} |"
        for one in subgroups["groups"]
    )
    return f"""## Subgroups
Sensitivity and specificity for malignant lesions at the referral threshold. Groups with too few lesions have no figure.
Border colour is the individual typology angle of the image's border: cameras change it as much as skin does, and nearly
all malignant lesions are in the lightest group, so its groups are probably groups of devices, not of people. Rated skin
tone is what a source's raters saw.

| | group | images | sensitivity | specificity | AUROC, malignant |
|---|---|---|---|---|---|
{rows}

{subgroups["words"]}
"""


def _shortcuts(manifest: dict) -> str:
    found = manifest.get("evaluation", {}).get("shortcuts")
    if not found:
        return ""
    auroc = found["auroc"]
    rows = "\n".join(
        f"| {row['images']} | {row['border']} | {number(row['change']['n'])} | {figure(row['before'], 100)} | "
        f"{figure(row['after'], 100)} | {figure(row['change'], 100)} |"
        for row in found.get("recolored", [])
    )
    return f"""## Shortcuts
The border of an image shows skin and camera, hardly ever the lesion. From the colours of border and corners alone, a
logistic regression tells malignant from benign with an AUROC of {figure(auroc["border"])};
the network, from the whole image, with {figure(auroc["network"])}. What it does to the referral of malignant images
if their border gets the mean colour that benign images of a group have:

| images | group | number | referred before | after | change |
|---|---|---|---|---|---|
{rows}
"""


def _external(manifest: dict) -> str:
    records = manifest.get("evaluation", {}).get("external", [])
    if not records:
        return "## External images\nNot measured on images of another clinic.\n"
    parts = []
    for record in records:
        found = record["metrics"]
        counts = ", ".join(f"{code} {count:,}" for code, count in record["counts"].items())
        stale = "" if record["model"]["sha256"] == manifest["sha256"] else " **Measured with another model file.**"
        parts.append(
            f"**{record['name']}**, {number(record['n_images'])} images ({counts}), on which nothing was chosen:"
            f"{stale}\nAUROC malignant against benign {figure(found['malignant_auroc'])}, melanoma against nevus "
            f"{figure(found['mel_nv_auroc'])};\nat the referral threshold sensitivity "
            f"{figure(found['sensitivity'], 100)}, specificity {figure(found['specificity'], 100)};\n"
            f"mean predicted probability of malignancy {share(found['predicted'])} where {share(found['observed'])} "
            f"are malignant; {share(found['in_domain'])} counted as dermatoscopic.\n"
        )
    return "## External images\n" + "\n".join(parts)


def _limits() -> str:
    return """## Limits
- `probabilities` are calibrated for the class shares above; where disease is rarer, they are too high.
- `label` follows a decision rule chosen for balanced accuracy, so it need not be the most probable class.
- An image unlike the training data may get a confident wrong prediction; the notices flag some of these, not all.
- Below the threshold does not rule out cancer.
- The figures are from one data set: another clinic's cameras, patients and share of disease change them.
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
The 25 items of Daneshjou et al., JAMA Dermatol. 158(1):90-96 (2022), doi:10.1001/jamadermatol.2021.4915, paraphrased.

| | topic | item | answer |
|---|---|---|---|
{rows}
"""
