"""The model card: ``card.md.j2`` filled in from the manifest, so that every figure is one that a run computed.

``checklist.j2`` in it is that of Daneshjou et al., Checklist for Evaluation of Image-Based Artificial Intelligence
Reports in Dermatology, JAMA Dermatol. 158(1):90-96 (2022), doi:10.1001/jamadermatol.2021.4915.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

from skinlesion.core.framing import region_in_words
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import KIND_SEPARATOR, label_set
from skinlesion.core.writing import new_folder, write_json, write_text
from skinlesion.decision import REFERRALS
from skinlesion.serving.manifest import FILE, Manifest, external_evidence

CARD = "MODEL_CARD.md"
_RECIPE = ("pretrained", "image_size", "balance", "loss", "optimizer", "learning_rate", "epochs", "batch_size", "seed")

TOLERANCE = 1e-3  # largest difference between torch and ONNX Runtime in a logit, relative to 1 + its size
_KNOWN = tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8"))


def release(run: Run) -> dict:
    """Make the evaluated ``candidate`` the run's ``model``, with its evaluation in manifest and card; no torch needed.

    Raises DataError where 04_evaluation has not been run.
    """
    candidate = run.need(run.candidate, "04_evaluation")
    found = json.loads(run.need(run.evaluation, "04_evaluation").read_text())
    with new_folder(run.model) as folder:
        shutil.copytree(candidate, folder, dirs_exist_ok=True)
        return attach(folder, **found)


def attach(folder: str | Path, **blocks: object) -> dict:
    """Put evaluations that come after the export into a model folder's manifest, and write its card anew.

    Returns the new manifest. Raises ModelError if there is no valid model in the folder.
    ``blocks`` go into the manifest's ``evaluation``, replacing those of the same name: ``population`` {attribute:
    {group: images}} of the data (``subgroups.population``); ``subgroups``, of ``subgroup_gaps.for_card``;
    ``shortcuts``, ``border_auroc`` and ``recoloring`` of :mod:`skinlesion.evaluation.shortcut`; ``external``, a list of
    ``external.json``; ``test_reads``, how often the test part has been read so far, where that was counted.
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
    zones = [  # how many images of each kind and source get each advice
        (row, kind)
        for row in [*manifest["evidence"], *external_evidence(manifest)]
        for kind in ("malignant", "benign")
        if row[kind]
    ]
    parts = headline_parts(manifest["metrics"], manifest.get("validation"), manifest["measured_on"])
    return _render("card.md.j2", manifest, zones=zones, parts=parts, checklist=clear_derm(manifest))


def clear_derm(manifest: dict) -> list[tuple[str, ...]]:
    """(topic, item, answer) of each of the 25 items, in the checklist's order."""
    return [tuple(line.split(" | ", 2)) for line in _render("checklist.j2", manifest).splitlines()]


def _render(template: str, manifest: dict, **more: object) -> str:
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
        trim_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    # a text of several sources begins with the name of one
    pages.filters["sentence"] = lambda text: text if re.match(r"\w+: ", text) else text[0].upper() + text[1:]
    return pages.get_template(template).render(
        m=manifest, labels=label_set(manifest["labels"]), evaluation=manifest.get("evaluation", {}),
        facts=facts(manifest["data"]["source"]), split=described_split(manifest), REFERRALS=REFERRALS, RECIPE=_RECIPE,
        counted=counted, figure=figure, mix=mix, share=share, size=size, start=_start,
        region_in_words=region_in_words, **more,
    )  # fmt: skip


def _start(config: dict, before: dict | None = None) -> str:
    if before:
        apart = [name for name in ("image_size", "fit", "mix") if before.get(name) != config.get(name)]
        other = ", ".join(f"{name} {before.get(name)}" for name in apart) or "the same recipe"
        return f"from a network trained for {counted(before['epochs'], 'epoch')} ({other}; {_start(before)})"
    if config.get("start"):
        return f"from the network of the run {config['start']}"
    return "from ImageNet weights" if config.get("pretrained") else "from random weights"


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


def about(kind: str) -> dict[str, str]:
    """What is known of a kind of data, such as ``ham10000``: see ``sources.toml``."""
    found = _KNOWN.get(kind, {})
    return _KNOWN["own"] | _KNOWN.get(found.get("same_images_as"), {}) | found


def of_each(topic: str, source: str) -> str:
    """One topic of :func:`about`, of all kinds of data that a table was read from, every text once."""
    return "; ".join(dict.fromkeys(about(kind)[topic] for kind in source.split(KIND_SEPARATOR)))


def facts(source: str) -> dict[str, str]:
    """Every topic of :func:`about`; where a table was read from several kinds of data, each with its name."""
    kinds = source.split(KIND_SEPARATOR)
    if len(kinds) == 1:
        return about(source)
    return {topic: " ".join(f"{kind}: {about(kind)[topic]}" for kind in kinds) for topic in _KNOWN["own"]}


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
    value, low, high, by_chance = (
        None if metric.get(key) is None else f"{metric[key] * factor:.{digits}f}"
        for key in ("value", "low", "high", "by_chance")
    )
    if by_chance is not None:
        return f"{value}{unit} (by chance {by_chance})"
    return f"{value}{unit}" if low is None or high is None else f"{value}{unit} ({low} to {high})"


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
