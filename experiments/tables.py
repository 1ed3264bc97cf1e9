"""The tables and phrases that :mod:`experiments.figures` writes into pages, computed from the committed results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from statistics import median

import numpy as np
import pandas as pd

from benchmarks import measure
from experiments import storage, tested
from experiments.domain import SOURCES, counted
from experiments.recipes import OUTPUTS, ROOT
from skinlesion.evaluation.intervals import describe, proportion
from skinlesion.evaluation.metrics import evaluate
from skinlesion.evaluation.reference_results import published_table
from skinlesion.export.card import headline_parts
from skinlesion.serving.manifest import PRETRAINED, Manifest

HERE = ROOT / "experiments"
#: What a column of experiments/candidates.csv is called on the model's page.
CANDIDATES = {
    "first": "Lite0, the frame squashed",
    "centre": "Lite0, the centre crop",
    "ham10000": "Lite0, left and right crop: shipped before",
    "mobilenet": "MobileNetV2, the centre crop",
    "mobilenet_squares": "MobileNetV2, left and right crop; folds 3 and 4 alone",
    "labels_8": "Lite0 with eight labels, left and right crop; merged into seven",
}
ARCHITECTURES = {"tf_efficientnet_lite0": "EfficientNet-Lite0", "mobilenetv2_100": "MobileNetV2"}
#: The cost model of docs/scale.md beside the measured rates: bytes an image, side in pixels, epochs, prices.
COSTS = {"b": 0.27e6, "s": 128, "e": 15, "p": 0.04, "g": 0.0004, "x": 0.09}
SIZES = (
    ("10 thousand: HAM10000", 1e4, 2),
    ("500 thousand: the ISIC Archive", 5e5, 32),
    ("10 million: a country's clinics", 1e7, 256),
)  # images, cores


@cache
def manifest() -> dict:
    return json.loads((PRETRAINED / "manifest.json").read_text(encoding="utf-8"))


@cache
def result(path: str) -> dict:
    """A committed JSON file of results, by its place in the repository."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


@cache
def on_test(recipe: str) -> tuple[dict, dict]:
    """Metrics of a recipe on the test split, and the facts of its training."""
    if recipe == "shipped":
        return manifest()["metrics"], manifest()
    predictions, facts = tested.read(recipe)
    return evaluate(predictions), facts


@cache
def candidates() -> pd.DataFrame:
    return pd.read_csv(HERE / "candidates.csv", index_col=["recipe", "set", "metric"])


def candidate(recipe: str, which: str, metric: str) -> dict:
    """A metric of experiments/candidates.csv."""
    return candidates().loc[(recipe, which, metric)].to_dict()


def signed(metric: dict) -> str:
    """``+0.012 (0.003 to 0.021)``."""
    return re.sub(r"^[+-]0\.000", "0.000", "{value:+.3f} ({low:.3f} to {high:.3f})".format(**metric))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" for cells in lines)


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
    names = ("balanced_accuracy", "macro_auroc", "mel.sensitivity")
    plain = on_test("classic")[0]
    recall = plain["per_class"]["mel"]["sensitivity"]
    network = ARCHITECTURES.get(manifest()["architecture"], manifest()["architecture"])
    size = f"{network}, {manifest()['image_size']} px, {manifest()['bytes'] / 1e6:.0f} MB"
    rows = [
        [
            f"{title} ({source_count('test', source, images)} images)",
            *source_figures("test", source, images, model, names),
        ]
        for title, source, images, model in (
            (f"**the shipped model** ({size}), HAM10000", "ham10000", "all", "shipped"),
            ("the same, HAM10000 with histology only", "ham10000", "histology", "shipped"),
            ("the same, MILK10k with histology only", "milk10k", "histology", "shipped"),
            ("the model before (HAM10000 alone), the same of MILK10k", "milk10k", "histology", "before"),
        )
    ]
    about = f"the plain CNN (`classic`, 128 px), HAM10000 ({plain['n_images']:,} images)"
    rows += [
        [about, describe(plain["balanced_accuracy"]), describe(plain["macro_auroc"]), describe(recall)],
        ["*published:* PanDerm ViT-L, linear probe, another split of HAM10000",
         panderm["value"], "", panderm["melanoma recall"]],
        ["*published:* winner of ISIC 2018 Task 3, ten networks, official test set",
         winner["value"], "", ""],
    ]  # fmt: skip
    header = [
        "test parts, seven classes, 95% intervals over lesions",
        "balanced accuracy",
        "macro AUROC",
        "melanoma recall",
    ]
    return table(header, rows)


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
    """Short trainings, tested on a source that they were not trained on."""
    lines = pd.read_csv(HERE / "across.csv").set_index(["row", "metric"])
    names = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC", "mel.auroc": "melanoma AUROC",
             "mel.sensitivity": "melanoma recall"}  # fmt: skip
    rows = []
    for row in lines.index.unique("row"):
        rows.append([f"`{row}`", *(describe(lines.loc[(row, name)].to_dict()) for name in names)])
        if lines.loc[(row, "macro_auroc"), "base"] in lines.index.unique("row"):
            more = [lines.loc[(row, name), ["difference", "difference_low", "difference_high"]] for name in names]
            rows.append(["difference", *(signed(dict(zip(("value", "low", "high"), x, strict=True))) for x in more)])
    return table(["on MILK10k, not trained on", *names.values()], rows)


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


def recipes() -> str:
    """Recipes trained on HAM10000 alone on its test split, metric by metric."""
    names = ("ham10000", "quick", "classic")
    metrics, facts = zip(*(on_test(name) for name in names), strict=True)
    configs = [one["config"] for one in facts]
    rows = [
        ["network", *(f"{one['model']}, {one['image_size']} px" for one in configs)],
        ["trained on", *("folds 0 to 4" if one["fold"] == -1 else "folds 1 to 4" for one in configs)],
    ]
    titles = {"balanced_accuracy": "balanced accuracy", "macro_auroc": "macro AUROC", "accuracy": "accuracy",
              "ece": "calibration error (ECE)"}  # fmt: skip
    rows += [[title, *(describe(one[key]) for one in metrics)] for key, title in titles.items()]
    for code in metrics[0]["per_class"]:
        recall = [one["per_class"][code]["sensitivity"] for one in metrics]
        rows.append([f"recall {code} (n = {recall[0]['n']:,})", *map(describe, recall)])
    return table(["", *(f"`{name}`" for name in names)], rows)


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


def coverage() -> str:
    """How often intervals of proportions hold the true one, over cluster sizes and correlations."""
    lines = pd.read_csv(HERE / "coverage.csv").groupby("images")
    rows = []
    for images, of in lines:
        bootstrap = (
            f"{of['bootstrap'].min():.2f} to {of['bootstrap'].max():.2f}" if of["bootstrap"].notna().all() else ""
        )
        rows.append([f"{images:,}", f"{of['mean'].min():.3f} to {of['mean'].max():.3f}", f"{of['least'].min():.3f}",
                     f"{of['narrowest'].min():.3f}", bootstrap])  # fmt: skip
    return table(["images", "mean coverage", "least, one error or more expected", "narrowest interval",
                  "the bootstrap's mean"], rows)  # fmt: skip


def same_at_any_size() -> str:
    """How often an image resized keeps its label."""
    sizes = manifest()["evaluation"]["same_at_any_size"]
    widths = sorted(int(size.partition("x")[0]) for size in sizes)
    least = min(one["same_label"] for one in sizes.values())
    return f"{widths[0]} to {widths[-1]:,} pixels wide, gets the same label in {least * 100:.0f} of 100 cases"


def chosen_against() -> str:
    """What recipes reach out of fold on HAM10000 alone."""
    reads = pd.read_csv(HERE / "test_reads.csv").dropna().set_index("recipe")
    rows = []
    for name, about in CANDIDATES.items():
        which = "as_seven_labels" if name == "labels_8" else "out_of_fold"
        reached = {
            metric: candidate(name, which, metric) for metric in ("balanced_accuracy", "macro_auroc", "accuracy")
        }
        more = signed(candidate(name, "minus_ham10000", "balanced_accuracy")) if name != "ham10000" else ""
        read = {end: reads.loc[name, f"balanced_accuracy{mark}"] for end, mark in
                (("value", ""), ("low", "_low"), ("high", "_high"))} if name in reads.index else None  # fmt: skip
        rows.append([
            f"**{name}**" if name == "ham10000" else name, about, f"{reached['accuracy']['n']:,.0f}",
            describe(reached["balanced_accuracy"]), more, f"{reached['macro_auroc']['value']:.3f}",
            describe(candidate(name, which, "mel.sensitivity")), describe(read) if read else "",
        ])  # fmt: skip
    return table(["recipe", "network and input", "images", "balanced accuracy", "minus `ham10000`",
                  "macro AUROC", "melanoma recall", "test split"], rows)  # fmt: skip


def differences() -> str:
    """The differences that decided, paired, on the same images."""
    rows = []
    for title, name, other, sign in (
        ("two crops instead of the centre crop (Lite0)", "centre", "ham10000", -1),
        ("MobileNetV2 instead of Lite0 (centre crop)", "mobilenet", "centre", 1),
        ("MobileNetV2 (centre crop) instead of `ham10000`", "mobilenet", "ham10000", 1),
        ("eight labels instead of seven (merged into seven)", "labels_8", "ham10000", 1),
    ):
        found = [candidate(name, f"minus_{other}", key) for key in
                 ("balanced_accuracy", "macro_auroc", "accuracy", "mel.sensitivity")]  # fmt: skip
        if sign < 0:
            found = [{"value": -one["value"], "low": -one["high"], "high": -one["low"]} for one in found]
        rows.append([title, *map(signed, found)])
    return table(["difference", "balanced accuracy", "macro AUROC", "accuracy", "melanoma recall"], rows)


def eight_labels() -> str:
    """Out-of-fold recall of the eight classes."""
    found = candidates().loc[("labels_8", "out_of_fold")]
    rows = [["balanced accuracy", describe(found.loc["balanced_accuracy"].to_dict())]]
    rows += [[f"recall {name.partition('.')[0]} (n = {one.n:,.0f})", describe(one.to_dict())]
             for name, one in found.iterrows() if name.endswith(".sensitivity")]  # fmt: skip
    return table(["eight labels, out of fold", ""], rows)


def smaller_files() -> str:
    """What smaller files would cost, on training images, so that the test split chooses nothing."""
    rows = []
    for name, title in (("fp16", "16-bit weights (`model.fp16.onnx`)"), ("int8", "8-bit convolutions (not shipped)")):
        one = manifest()["variants_measured"][name]
        loss = {"value": one["loss"], "low": one["loss_low"], "high": one["loss_high"]}
        size = manifest()["variants"].get(name, {}).get("bytes")
        rows.append([title, f"{size / 1e6:.1f} MB" if size else "", describe(loss)])
    return table(["file", "size", "loss of balanced accuracy"], rows)


def accuracy_for_compute() -> str:
    """Recipes of rising cost on validation folds 0 to 2."""
    names = {"linear_probe": "linear probe, 96 px", "classic": "classic, 96 px, short",
             "proxy": "fine-tune, 96 px, short", "size_160": "fine-tune, 160 px, short"}  # fmt: skip
    lines = pd.read_csv(HERE / "table.csv", index_col="row").loc[list(names)]
    points = [(line.cpu_minutes, names[row], {"value": line.balanced_accuracy, "low": line.balanced_accuracy_low,
               "high": line.balanced_accuracy_high}) for row, line in lines.iterrows()]  # fmt: skip
    outputs = storage.read(OUTPUTS / "recipes.parquet", "ham10000")
    whole = outputs.decided(outputs.decision(0.9))
    minutes = np.mean([outputs.facts[f"fold-{fold}"]["seconds"] for fold in (0, 1, 2)]) / 60
    points.append((minutes, "`ham10000`", evaluate(whole.take(whole.fold <= 2))["balanced_accuracy"]))
    base = lines.loc["classic", "cpu_minutes"]
    rows = [[name, f"{cost:.1f}", f"{cost / base:.1f}", describe(figure)]
            for cost, name, figure in sorted(points, key=lambda point: point[0])]  # fmt: skip
    return table(["recipe", "core minutes a fold", "times classic's", "balanced accuracy"], rows)


def ph2() -> str:
    """The shipped model beside sklesion on another clinic's images."""
    models = result("experiments/ph2.json")["models"]
    rows = [[name, one["says"], describe(one["mel_nv_auroc"])] for name, one in models.items()]
    return table(["on PH2", "", "AUROC, melanoma against nevus"], rows)


def classic_twice() -> str:
    """How far a second training of one recipe moved its figure."""
    reads = pd.read_csv(HERE / "test_reads.csv")
    first, second = reads.loc[reads["recipe"] == "classic", "balanced_accuracy"]
    return f"`classic`, trained a second time, went from {first:.3f} to {second:.3f}"


# ---- how fast, at what scale


def bench() -> str:
    """All of `make bench`."""
    return measure.tables(result("benchmarks/results/bench.json"))


def steps() -> str:
    """What makes a training step quicker."""
    networks = result("benchmarks/results/steps.json")["networks"]
    ways = ("bfloat16", "torch.compile", "two stages frozen")
    rows = [[name, *("{ratio:.2f} ({low:.2f} to {high:.2f})".format(**found[way]) if way in found else ""
             for way in ways)] for name, found in networks.items()]  # fmt: skip
    return table(["images/s against the plain step", *ways], rows)


def steps_accuracy() -> str:
    """What two of these do to balanced accuracy."""
    lines = pd.read_csv(HERE / "table.csv", index_col="row")
    said = [f"{title} {line.difference:.3f} ({line.difference_low:.3f} to {line.difference_high:.3f})"
            for title, line in (("bfloat16 on the plain CNN", lines.loc["classic_bfloat16"]),
                                ("two stages frozen", lines.loc["freeze_2"]))]  # fmt: skip
    return ", ".join(said)


def device() -> str:
    """The on-device page beside native code."""
    found = result("benchmarks/results/device.json")
    change, weights, two = (
        found[name] for name in ("largest change of a probability", "weights in 16 bits", "one image, 2 threads")
    )
    size = sum(found["download, MB"][part] for part in ("model", "runtime", "page"))
    native = f"{change['page against native, same frames']:.0e}".replace("e-0", "e-")
    return table(["the on-device page", ""], [
        ["to download", f"{size:.0f} MB"],
        [f"largest change of a probability against native ONNX Runtime ({change['images']} images)", native],
        ["loss of balanced accuracy by 16-bit weights, test split", describe(weights["loss"])],
        ["an image in headless Chromium, two cores", f"{two['page, ms']:.0f} ms, "
         f"{two['page / native, median']:.1f} times native"],
    ])  # fmt: skip


def photographs() -> str:
    """What a photograph of 12 megapixels takes on every way."""
    found = result("benchmarks/results/photographs.json")
    rows = [[name, f"{seconds:.2f} s", f"{found['of the first'][name]:.2f}"]
            for name, seconds in found["seconds, median"].items()]  # fmt: skip
    return table([f"4000 x 3000 px, medians of {found['rounds']}, {found['machine'].partition(' ')[0]} cores", "takes",
                  "of the first"], rows)  # fmt: skip


def similar_cases() -> str:
    """What a query of an index of similar cases costs."""
    found = result("benchmarks/results/neighbours.json")
    return (
        f"{found['lesions']:,} lesions a query takes {found['query, ms']['median']:.0f} ms and "
        f"{found['memory, MB']['all']:.0f} MB ({found['machine'].partition(' ')[0]} cores, "
        f"{found['load before']:.0f} other processes at work)"
    )


def processes() -> str:
    """Two processes minus one."""
    found = result("experiments/processes.json")
    titles = {"val_loss": "loss", "val_balanced_accuracy": "balanced accuracy", "val_macro_auroc": "macro AUROC"}
    rows = []
    for key, title in titles.items():
        one = found["metrics"][key]
        rows.append([title, describe(one["difference"]), f"{one['deviation of differences']:.3f}",
                     f"{one['deviation between seeds']:.3f}"])  # fmt: skip
    return table([f"two processes minus one, {found['seeds']} seeds", "mean difference, 95% t-interval",
                  "standard deviation of a pair's difference", "of one process between seeds"], rows)  # fmt: skip


def rates() -> dict[str, float]:
    """Images a second and core: scored, trained on, decoded."""
    sections = {name: one["charts"] for name, one in result("benchmarks/results/bench.json")["sections"].items()}
    cores = int(result("benchmarks/results/bench.json")["machine"].partition(" ")[0])
    (lite0,) = [chart for chart in sections["Training"] if "EfficientNet-Lite0" in chart["title"]]
    (ours,) = [bar for bar in sections["Decode and resize"][0]["bars"] if bar["name"] == "ours"]
    return {
        "r": round(sections["Batch scoring"][0]["measured"]["images a second and core"]),
        "t": round(median(one["ours"] for one in lite0["rounds"]) / cores),
        "d": round(float(ours["says"].split()[0]) / cores, -1),
    }


def quantity(value: float, ladder: tuple[tuple[float, str], ...] = ((1, ""),)) -> str:
    """Two significant digits (more before the point) with the largest unit that fits: ``2.7 GB``, ``0.09``."""
    size, unit = next((step for step in ladder if value >= step[0]), ladder[-1])
    value /= size
    if value < 0.01:
        return f"< 0.01 {unit}".strip()
    digits = max(0, 1 - int(np.floor(np.log10(value)))) if value < 10 else 0
    return f"{value:,.{digits}f} {unit}".strip()


def costs() -> str:
    """What three sizes of data cost."""
    c, bytes_, hours = COSTS | rates(), ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")), ((3600, "h"), (60, "min"))
    lines: list[tuple[str, Callable[[float, int], str]]] = [
        ("to read (`N · b`)", lambda n, cores: quantity(n * c["b"], bytes_)),
        ("scoring, core-hours (`N / r`)", lambda n, cores: quantity(n / c["r"] / 3600)),
        ("… by the clock", lambda n, cores: f"{quantity(n / c['r'] / cores, hours)} on {cores} cores"),
        ("… cores", lambda n, cores: quantity(n / c["r"] / 3600 * c["p"])),
        ("… single reads (`g`)", lambda n, cores: quantity(n / 1000 * c["g"])),
        ("… leaving the region (`x`)", lambda n, cores: quantity(n * c["b"] / 1e9 * c["x"])),
        ("cache, core-hours (`N / d`)", lambda n, cores: quantity(n / c["d"] / 3600)),
        ("cache on disk (`3 · s² · N`)", lambda n, cores: quantity(n * 3 * c["s"] ** 2, bytes_)),
        ("training, core-hours (`N · e / t`)", lambda n, cores: quantity(n * c["e"] / c["t"] / 3600)),
        ("… by the clock", lambda n, cores: f"{quantity(n * c['e'] / c['t'] / cores, hours)} on {cores} cores"),
    ]
    rows = [[name, *(line(n, cores) for _, n, cores in SIZES)] for name, line in lines]
    return table(["", *(title for title, _, _ in SIZES)], rows)


def rate(letter: str) -> Callable[[], str]:
    """A measured rate of the cost model."""
    return lambda: f"{rates()[letter]:.0f}"


FIGURES: dict[str, Callable[[], str]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        results, recipes, shipped, before_and_now, full_frames, across, cases, recolored, notices, same_at_any_size,
        chosen_against, differences, eight_labels, smaller_files, accuracy_for_compute, coverage, ph2, classic_twice,
        bench, steps, steps_accuracy, device, photographs, similar_cases, processes, costs,
    )
} | {"rate-scoring": rate("r"), "rate-training": rate("t"), "rate-decoding": rate("d")}  # fmt: skip
