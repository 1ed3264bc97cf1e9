"""The model card: ``card.md.j2`` filled in from the manifest, so that every figure is one that a run computed."""

from __future__ import annotations

from pathlib import Path

from skinlesion.core.framing import seen
from skinlesion.core.runs import write_json, write_text
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import label_set
from skinlesion.decision import REFERRALS
from skinlesion.export.checklist import about, clear_derm, described_split, figure, mix, share, size
from skinlesion.serving.manifest import FILE, Manifest, external_evidence

CARD = "MODEL_CARD.md"


def attach(folder: str | Path, **blocks: object) -> dict:
    """Put evaluations that come after the export into a model folder's manifest, and write its card anew.

    Returns a dict, the new manifest. Raises ModelError if there is no valid model in the folder.

    Parameters
    ----------
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
    import jinja2

    zones = [  # how many images of each kind and source get each advice
        (row, kind)
        for row in [*manifest["evidence"], *external_evidence(manifest)]
        for kind in ("malignant", "benign")
        if row[kind]
    ]
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
        trim_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    return pages.get_template("card.md.j2").render(
        m=manifest, labels=label_set(manifest["labels"]), evaluation=manifest.get("evaluation", {}),
        facts=about(manifest), split=described_split(manifest), checklist=clear_derm(manifest), zones=zones,
        parts=headline_parts(manifest["metrics"], manifest.get("validation"), manifest["measured_on"]),
        REFERRALS=REFERRALS, counted=counted, figure=figure, mix=mix, seen=seen, share=share, size=size, start=_start,
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
