"""The tables and phrases that :mod:`experiments.figures` writes into pages, computed from the committed results.

Those of recipes on HAM10000 alone stand in :mod:`experiments.recipe_tables`, of speed in :mod:`benchmarks.tables`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd

from benchmarks.tables import result, table
from experiments import storage, tested
from experiments.across import MEAN
from experiments.domain import SOURCES, counted
from experiments.recipes import OUTPUTS, ROOT
from skinlesion.evaluation.intervals import describe, from_columns, proportion
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.reference_results import published_table
from skinlesion.evaluation.retrieval import compare_vote
from skinlesion.export.card import headline_parts
from skinlesion.serving.manifest import PRETRAINED, Manifest

HERE = ROOT / "experiments"
ARCHITECTURES = {"tf_efficientnet_lite0": "EfficientNet-Lite0", "mobilenetv2_100": "MobileNetV2"}


@cache
def manifest() -> dict:
    return json.loads((PRETRAINED / "manifest.json").read_text(encoding="utf-8"))


@cache
def on_test(recipe: str) -> tuple[dict, dict]:
    """Metrics of a recipe on the test split, and the facts of its training."""
    if recipe == "shipped":
        return manifest()["metrics"], manifest()
    predictions, facts = tested.read(recipe)
    return evaluate(predictions), facts


def signed(metric: dict) -> str:
    """``+0.012 (0.003 to 0.021)``."""
    return re.sub(r"^[+-]0\.000", "0.000", "{value:+.3f} ({low:.3f} to {high:.3f})".format(**metric))


# ---- the model


@cache
def by_source() -> pd.DataFrame:
    return pd.read_csv(HERE / "by_source.csv", index_col=["part", "source", "images", "model", "metric"])


def source_figures(part: str, source: str, images: str, model: str, names: tuple[str, ...]) -> list[str]:
    """Metrics of experiments/by_source.csv as text; a difference with its sign."""
    found = [by_source().loc[(part, source, images, model, name)].to_dict() for name in names]
    return [signed(one) if model == "difference" else describe(one) for one in found]


def results() -> str:
    """README's first table: the shipped model by source, the plain CNN, and two published results."""
    published = published_table()
    winner, panderm = (published.filter(like=name, axis=0).iloc[0] for name in ("MetaOptima", "PanDerm"))
    plain, model = on_test("classic")[0], manifest()
    network = ARCHITECTURES.get(model["architecture"], model["architecture"])
    shipped = f"**the shipped model** ({network}, {model['image_size']} px, {model['bytes'] / 1e6:.0f} MB), HAM10000"
    rows = []
    for title, source, images, which in (
        (shipped, "ham10000", "all", "shipped"),
        ("the same, HAM10000 with histology only", "ham10000", "histology", "shipped"),
        ("the same, MILK10k with histology only", "milk10k", "histology", "shipped"),
        ("the model before (HAM10000 alone), the same of MILK10k", "milk10k", "histology", "before"),
    ):
        found = source_figures("test", source, images, which, ("balanced_accuracy", "macro_auroc", "mel.sensitivity"))
        rows.append([f"{title} ({source_count('test', source, images)} images)", *found])
    found = plain["balanced_accuracy"], plain["macro_auroc"], plain["per_class"]["mel"]["sensitivity"]
    about = "*published:* PanDerm ViT-L, linear probe, another split of HAM10000"
    rows += [
        [f"the plain CNN (`classic`, 128 px), HAM10000 ({plain['n_images']:,} images)", *map(describe, found)],
        [about, panderm["value"], "", panderm["melanoma recall"]],
        ["*published:* winner of ISIC 2018 Task 3, ten networks, official test set", winner["value"], "", ""],
    ]
    header = "test parts, seven classes, 95% intervals over lesions", "balanced accuracy", "macro AUROC"
    return table([*header, "melanoma recall"], rows)


def source_count(part: str, source: str, images: str) -> str:
    return f"{by_source().loc[(part, source, images, 'shipped', 'macro_auroc'), 'n']:,.0f}"


def before_and_now() -> str:
    """The shipped model beside the one before, on the same images of each source."""
    names = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC",
             "malignant_auroc": "malignant AUROC", "mel.auroc": "melanoma AUROC"}  # fmt: skip
    known, rows = SOURCES | {"ham10000_full_frames": "HAM10000 at 200 x 150 px"}, []
    for (part, source, images), _ in by_source().groupby(level=["part", "source", "images"], sort=False):
        about = f"{known[source]}, {part}" + (", histology only" if images == "histology" else "")
        for model, title in (("before", "before"), ("shipped", "now"), ("difference", "difference")):
            rows.append([f"{about} ({source_count(part, source, images)})" if model == "before" else "", title,
                         *source_figures(part, source, images, model, tuple(names))])  # fmt: skip
    return table(["images", "model", *names.values()], rows)


def full_frames() -> str:
    """Melanoma recall on HAM10000's frames of 200 x 150 px, now and before."""
    now, before = (source_figures("validation", "ham10000_full_frames", "all", model, ("mel.sensitivity",))[0]
                   for model in ("shipped", "before"))  # fmt: skip
    return f"{now}, and was {before}"


def across() -> str:
    """Recipes on the sources that they were not trained on, and the mean over these."""
    names = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC", "mel.auroc": "melanoma AUROC",
             "mel.sensitivity": "melanoma recall"}  # fmt: skip
    rows = []
    for (held, row), of in pd.read_csv(HERE / "across.csv").groupby(["held", "row"], sort=False):
        lines = of.set_index("metric")
        title = {**SOURCES, MEAN: "mean of the three"}[held]
        rows.append([f"{title}, `{row}`", *(describe(lines.loc[name].to_dict()) for name in names)])
        if lines["difference"].notna().any():
            more = (from_columns(lines.loc[name], "difference") for name in names)
            rows.append([f"less `{lines['base'].iloc[0]}`", *map(signed, more)])
    return table(["on a source not trained on", *names.values()], rows)


def _rate(hit: pd.Series) -> str:
    return describe(proportion(hit.to_numpy(bool), np.arange(len(hit))))


def notices() -> str:
    """How often the domain notices come on images that did not fit the probe."""
    frame, _ = storage.read_parquet(OUTPUTS / "domain.parquet")
    rows = [[f"{title} ({len(of):,})", _rate(of["not_dermatoscopic"]), _rate(of["other_camera"])]
            for name, title in (("close-ups", "clinical close-ups of MILK10k"), ("PH2", "PH2"),
                                ("BCN20000", "BCN20000 at 84 x 84 px"))
            for of in [frame[(frame["set"] == name) & ~frame["fitted"]]]]  # fmt: skip
    return table(["images that the probe was not fitted on", "not dermatoscopic", "other camera"], rows)


def cases() -> str:
    """What people are shown for every stored output of the shipped model, counted."""
    found = counted(Manifest.read())
    return table([*found], found.astype(str).to_numpy().tolist())


def recolored() -> str:
    """Melanomas still referred with another camera's border colour, at a referral threshold of sensitivity 0.90."""
    frame, _ = storage.read_parquet(OUTPUTS / "recolored.parquet")
    rows = []
    for (source, row), of in frame.groupby(["source", "row"]):
        threshold = of["before"].quantile(0.1)
        rows.append([f"{SOURCES[source]} ({len(of)})", f"`{row}`", _rate(of["after"] >= threshold)])
    return table(["melanomas, 0.90 of them referred as they are", "recipe", "with the other border colour"], rows)


def shipped() -> str:
    """The shipped model by source and with histology only, and on another clinic's images."""
    header = ["95% intervals over lesions", "images", "balanced accuracy", "macro AUROC", "malignant AUROC",
              "melanoma recall", "sensitivity", "specificity"]  # fmt: skip
    rows = []
    for name, part in headline_parts(manifest()["metrics"], manifest()["validation"], "test").items():
        referral = manifest()["referral"] if part is manifest()["metrics"] else part
        figures = [part[key] for key in ("balanced_accuracy", "macro_auroc", "malignant_auroc")]
        figures.append(part["per_class"]["mel"]["sensitivity"])
        advice = [describe(referral[key]) if key in referral else "" for key in ("sensitivity", "specificity")]
        rows.append([name, f"{part['n_images']:,}", *map(describe, figures), *advice])
    (ph2,) = (one for one in manifest()["evaluation"]["external"] if one["name"] == "ph2")
    elsewhere = [
        ["AUROC, melanoma against nevus", describe(ph2["metrics"]["mel_nv_auroc"])],
        ["sensitivity for melanoma at the referral threshold", describe(ph2["metrics"]["sensitivity"])],
    ]
    return table(header, rows) + "\n\n" + table([f"PH2, {ph2['n_images']} images of another clinic", ""], elsewhere)


def out_of_fold() -> str:
    """The shipped recipe by source, on images that its networks were not trained on: the folds that are stored."""
    lines, rows = pd.read_csv(HERE / "folds.csv"), []
    names = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC", "malignant_auroc":
             "malignant AUROC", "mel.sensitivity": "melanoma recall", "sensitivity": "sensitivity",
             "specificity": "specificity"}  # fmt: skip
    for (source, images), of in lines.groupby(["source", "images"], sort=False):
        metrics = of.set_index("metric")
        about = SOURCES.get(source, "all sources") + (", histology only" if images == "histology" else "")
        rows.append([about, f"{metrics.loc['balanced_accuracy', 'n']:,}",
                     *(describe(metrics.loc[name].to_dict()) for name in names)])  # fmt: skip
    return table([f"{lines['folds'].iloc[0]} of five folds, seven classes", "images", *names.values()], rows)


def twins() -> str:
    """How many twins the search finds, and how many pairs that are none."""
    found = result("experiments/twins.json")
    rows = [[name, f"{share['value'] * share['n']:.0f} of {share['n']:,}", describe(share)]
            for name, share in found["found"].items()]  # fmt: skip
    counts = found["counts"]
    rows.append([f"pairs in all {counts['images']:,} images: within a source", f"{counts['pairs within']:,}", ""])
    rows.append(["pairs across sources", f"{counts['pairs across']:,}", ""])
    return table(["", "found", "share"], rows)


def coverage() -> str:
    """How often intervals of proportions hold the true one, over cluster sizes and correlations."""
    rows = []
    for images, of in pd.read_csv(HERE / "coverage.csv").groupby("images"):
        drawn = of["bootstrap"]
        rows.append([f"{images:,}", f"{of['mean'].min():.3f} to {of['mean'].max():.3f}", f"{of['least'].min():.3f}",
                     f"{of['narrowest'].min():.3f}",
                     f"{drawn.min():.2f} to {drawn.max():.2f}" if drawn.notna().all() else ""])  # fmt: skip
    return table(["images", "mean coverage", "least, one error or more expected", "narrowest interval",
                  "the bootstrap's mean"], rows)  # fmt: skip


def same_at_any_size() -> str:
    """How often an image resized keeps its label."""
    sizes = manifest()["evaluation"]["same_at_any_size"]
    widths = sorted(int(size.partition("x")[0]) for size in sizes)
    least = min(one["same_label"] for one in sizes.values())
    return f"{widths[0]} to {widths[-1]:,} pixels wide, gets the same label in {least * 100:.0f} of 100 cases"


def second_stage() -> str:
    """How long the second stage of the shipped model was trained."""
    facts = storage.read(OUTPUTS / "shipped.parquet", "shipped").facts["validation"]
    return f"{facts['seconds'] / 60:.0f} minutes"


def retrieval() -> str:
    """What the vote of the most similar training images achieves, beside the shipped model's label."""
    outputs = storage.read(OUTPUTS / "shipped.parquet", "shipped").take(["validation"])
    own, vote = outputs.decided(Manifest.read(PRETRAINED).decision), outputs.images["vote"]
    called = vote.map({code: i for i, code in enumerate(own.labels.codes)}).to_numpy()
    found, cases = compare_vote(own, called), outputs.facts["validation"]["cases"]
    return (
        f"({len(own):,} images; {cases:,} training images as cases), the vote of six has a balanced accuracy of "
        f"{describe(found['balanced_accuracy'])}, {describe(found['difference'])} less than the label"
    )


def smaller_files() -> str:
    """What smaller files would cost, on training images, so that the test split chooses nothing."""
    rows = []
    for name, title in (("fp16", "16-bit weights (`model.fp16.onnx`)"), ("int8", "8-bit convolutions (not shipped)")):
        loss = from_columns(manifest()["variants_measured"][name], "loss")
        size = manifest()["variants"].get(name, {}).get("bytes")
        rows.append([title, f"{size / 1e6:.1f} MB" if size else "", describe(loss)])
    return table(["file", "size", "loss of balanced accuracy"], rows)


def ph2() -> str:
    """The shipped model beside sklesion on another clinic's images."""
    models = result("experiments/ph2.json")["models"]
    rows = [[name, one["says"], describe(one["mel_nv_auroc"])] for name, one in models.items()]
    return table(["on PH2", "", "AUROC, melanoma against nevus"], rows)


FIGURES: dict[str, Callable[[], str]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        results, shipped, out_of_fold, before_and_now, full_frames, across, cases, recolored, notices,
        same_at_any_size, second_stage, retrieval, smaller_files, coverage, twins, ph2,
    )
}  # fmt: skip
