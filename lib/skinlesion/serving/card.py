"""The model card, written from the manifest's own numbers; nothing in it is typed by hand that a run computes."""

from __future__ import annotations

from skinlesion.taxonomy import label_set


def _interval(metric: dict | None, percent: bool = True) -> str:
    if not metric or metric.get("value") is None:
        return "not measured"
    factor, unit = (100, " %") if percent else (1, "")
    digits = 1 if percent else 3
    value, low, high = (metric[key] for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value * factor:.{digits}f}{unit}"
    return f"{value * factor:.{digits}f}{unit} ({low * factor:.{digits}f} to {high * factor:.{digits}f})"


def model_card(manifest: dict) -> str:
    """A Markdown model card (after Mitchell et al. 2019, doi:10.1145/3287560.3287596) for a manifest."""
    labels = label_set(manifest["labels"])
    data, metrics, referral = manifest["data"], manifest["metrics"], manifest["referral"]
    warning = "**Trained on synthetic demo data: it has never seen skin.**\n\n" if data["synthetic"] else ""
    classes = "\n".join(
        f"| `{d.code}` | {d.name} | {'malignant' if d.malignant else 'benign'} | "
        f"{manifest['prior'][d.code]:.1%} | {_interval(metrics['per_class'][d.code]['sensitivity'])} |"
        for d in labels
    )
    config = manifest["config"]
    size = f"{metrics['n_images']:,} images of {metrics['n_lesions']:,} lesions"
    where = manifest.get("measured_on", "test")
    measured = {
        "test": f"On a test split of {size} that nothing was chosen on",
        "validation": f"On a validation fold of {size} that the network was not trained on. **Temperature,\n"
        "decision rule and thresholds were chosen on the same images, so these figures flatter**; no test was read",
    }[where]
    return f"""# Model card: {manifest["name"]} {manifest["version"]}

{warning}Classifies a dermatoscopic image of one skin lesion into {len(labels)} kinds. **Research software, no medical
device**: it must not be used to diagnose, to rule out cancer, or to decide on treatment.

## Intended use
Research and teaching on dermatoscopic images of single lesions, centred and in focus. Not for photographs taken without
a dermatoscope, for other skin diseases (it knows these {len(labels)} kinds and no other), for nails or mucosa, or for
decisions about a person.

## How it was made
{manifest["architecture"]} at {manifest["image_size"]} x {manifest["image_size"]} px
({"the whole frame squashed" if manifest["fit"] == "squash" else "the centre square"}), balancing
`{config["balance"]}`, {"ImageNet weights to start from" if config["pretrained"] else "from random weights"},
seed {config["seed"]}.
Data: {data["source"]}, {data["images"]:,} images of {data["lesions"]:,} lesions, split by lesion; fingerprint
`{data["fingerprint"][:16]}`. {data["citation"]}.

## How good it is
{measured};
95% intervals from a bootstrap over lesions.

| measure | value |
|---|---|
| balanced accuracy | {_interval(metrics["balanced_accuracy"])} |
| macro AUROC | {_interval(metrics["macro_auroc"], percent=False)} |
| accuracy | {_interval(metrics["accuracy"])} |
| expected calibration error | {_interval(metrics["ece"])} |

| code | kind | | share in the data | sensitivity |
|---|---|---|---|---|
{classes}

"Refer" begins at a malignant probability of {referral["threshold"]:.3f}, chosen on validation. On the {where} images
that gives, for malignant lesions, a sensitivity of {_interval(referral["sensitivity"])}
and a specificity of {_interval(referral["specificity"])}.

## What to mind
- `probabilities` hold for a population with the class shares above; where disease is rarer, they are too high.
- `label` follows a decision rule chosen for balanced accuracy, so it need not be the most probable class.
- Most images of HAM10000 and the ISIC Archive show light skin; performance on dark skin is not known.
- An image unlike the training data may get a confident wrong answer; `in_domain` catches some of these, not all.

## Terms
Weights: {manifest["licence"]}. File `{manifest["file"]}`, {manifest["bytes"] / 1e6:.1f} MB,
SHA-256 `{manifest["sha256"]}`.
"""
