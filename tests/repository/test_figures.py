"""The figures that pages for readers give are those of the committed results that they come from."""

import json
import re
from statistics import median

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from conftest import REPOSITORY
from skinlesion.core.config import Config
from skinlesion.core.taxonomy import HAM7
from skinlesion.evaluation.published import published_table
from skinlesion.export.card import model_card
from skinlesion.serving.manifest import PRETRAINED

RESULTS = REPOSITORY / "benchmarks"
MANIFEST = json.loads((PRETRAINED / "manifest.json").read_text(encoding="utf-8"))
RECALL = {code: MANIFEST["metrics"]["per_class"][code]["sensitivity"] for code in HAM7.codes}


def words(page: str) -> str:
    return " ".join((REPOSITORY / page).read_text(encoding="utf-8").split())


def newest(folder: str) -> dict:
    """The last committed result of a benchmark at full length."""
    files = sorted(path for path in (RESULTS / folder).glob("20*.json") if "brief" not in path.name)
    return json.loads(files[-1].read_text(encoding="utf-8"))


def given(metric: dict) -> str:
    return "{value:.3f} ({low:.3f} to {high:.3f})".format(**metric)


def signed(metric: dict) -> str:
    return re.sub(r"^[+-]0\.000", "0.000", "{value:+.3f} ({low:.3f} to {high:.3f})".format(**metric))


def less(differences: dict) -> dict:
    """What one has more than the other, as what the other has more."""
    return {name: {"value": -of["value"], "low": -of["high"], "high": -of["low"]} for name, of in differences.items()}


def table(page: str, title: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading, by their first cell."""
    section = (REPOSITORY / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    lines = re.search(r"(^\|.*\|\n)+", section, re.M)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def rounds_to(text: str, value: float) -> bool:
    """Whether ``value`` can be written so: to as many digits as there are but for the zeros at a whole number's end."""
    number = re.match(r"(< )?([\d,]+(?:\.\d+)?)", text)
    printed, digits = float(number[2].replace(",", "")), number[2].replace(",", "")
    if number[1]:
        return value < printed
    decimals = len(digits.partition(".")[2])
    zeros = 0 if decimals else len(digits) - len(digits.rstrip("0"))
    return abs(value - printed) <= 0.5 * 10 ** (zeros - decimals) * (1 + 1e-9)


def test_the_rounding_that_is_asked_of_figures():
    assert rounds_to("490 GB", 491.5) and rounds_to("0.5", 0.463) and rounds_to("1,984", 1984.1) and rounds_to("9", 8.7)
    assert not rounds_to("490", 496) and not rounds_to("0.50", 0.463) and not rounds_to("0.741", 0.7402)
    assert rounds_to("< 0.01", 0.004) and not rounds_to("< 0.01", 0.02)


def test_the_readme_says_of_the_shipped_model_what_its_manifest_says():
    text, metrics, before = words("README.md"), MANIFEST["metrics"], MANIFEST["out_of_fold"]
    ph2 = next(one for one in MANIFEST["evaluation"]["external"] if one["name"] == "ph2")
    sizes = json.loads((RESULTS / "shipped/shipped/metrics.json").read_text())["same_answer_at_any_size"]
    widths = sorted(int(size.partition("x")[0]) for size in sizes)
    for said in (
        f"an EfficientNet-Lite0 at {MANIFEST['image_size']} px",
        f"balanced accuracy of {given(metrics['balanced_accuracy'])}",
        f"macro AUROC of {given(metrics['macro_auroc'])}",
        f"melanoma recall of {given(RECALL['mel'])}",
        f"threshold refers {given(MANIFEST['referral']['sensitivity'])} of the malignant lesions",
        f"spares {given(MANIFEST['referral']['specificity'])} of the benign ones",
        f"the fold it has not seen ({before['n_images']:,} images)",
        f"{given(before['balanced_accuracy'])}, {before['macro_auroc']['value']:.3f} and "
        f"{before['per_class']['mel']['sensitivity']['value']:.3f}.",
        f"On PH2, {ph2['n_images']} images",
        f"with an AUROC of {given(ph2['metrics']['mel_nv_auroc'])}",
        f"refers only {given(ph2['metrics']['sensitivity'])} of these melanomas",
        f"{widths[0]} to {widths[-1]:,} pixels wide, keeps its label in "
        f"{min(one['same_label'] for one in sizes.values()) * 100:.0f} of 100",
    ):
        assert said in text


MODEL = "docs/model.md"


def test_the_models_page_says_the_same():
    text, ph2 = words(MODEL), next(one for one in MANIFEST["evaluation"]["external"] if one["name"] == "ph2")
    for said in (
        f"an EfficientNet-Lite0 at {MANIFEST['image_size']} px ({MANIFEST['bytes'] / 1e6:.0f} MB)",
        f"On PH2, {ph2['n_images']} images",
        f"with an AUROC of {given(ph2['metrics']['mel_nv_auroc'])}",
        f"refers only {given(ph2['metrics']['sensitivity'])} of these melanomas",
    ):
        assert said in text
    seconds = [json.loads(path.read_text())["seconds"] for path in (RESULTS / "shipped/shipped").glob("fold-*.json")]
    seconds.append(json.loads((RESULTS / "shipped/shipped/metrics.json").read_text())["seconds_of_the_final_network"])
    assert "about an hour a network on one core" in text and median(seconds) == pytest.approx(3600, rel=0.25)


def test_the_models_page_lists_what_it_was_chosen_against():
    columns, _, *rows = table(MODEL, "What it was chosen against").items()
    columns, rows = columns[1], {re.match(r"\W*(\w+)", name)[1]: cells for name, cells in rows}
    assert [*rows] == ["first", "centre", "shipped", "mobilenet", "mobilenet_squares", "labels_8"]
    for name, cells in rows.items():
        found = json.loads((RESULTS / f"shipped/{name}/metrics.json").read_text())
        reached = found.get("as_seven_labels", found["out_of_fold"])
        more = less(found["shipped_has_more"])["balanced_accuracy"] if name != "shipped" else None
        expected = {
            "images": f"{reached['n_images']:,}",
            "balanced accuracy": given(reached["balanced_accuracy"]),
            "more than the shipped recipe": signed(more) if more else "",
            "macro AUROC": f"{reached['macro_auroc']['value']:.3f}",
            "melanoma recall": given(reached["per_class"]["mel"]["sensitivity"]),
            "test split": given(found["test"]["balanced_accuracy"]) if "test" in found else "",
        }
        assert {column: cells[columns.index(column)] for column in expected} == expected, name
        assert more is None or more["low"] < 0, "one that is better for certain would be the one that is shipped"
    assert rows["shipped"][1:3] == [
        f"{MANIFEST['out_of_fold']['n_images']:,}", given(MANIFEST["out_of_fold"]["balanced_accuracy"])
    ]  # fmt: skip


def test_the_models_page_says_what_two_squares_are_worth():
    more = json.loads((RESULTS / "shipped/centre/metrics.json").read_text())["shipped_has_more"]
    assert MANIFEST["crops"] == 2
    assert (
        f"gain {given(more['balanced_accuracy'])} of balanced accuracy and {given(more['mel.sensitivity'])} of "
        "melanoma recall over the centre"
    ) in words(MODEL)


def test_the_models_page_says_how_mobilenet_compares():
    found = json.loads((RESULTS / "shipped/mobilenet/metrics.json").read_text())
    alike, more = less(found["centre_has_more"]), less(found["shipped_has_more"])["balanced_accuracy"]
    assert alike["balanced_accuracy"]["low"] > 0 and more["low"] < 0 < more["high"]
    assert (
        f"has {signed(alike['balanced_accuracy'])} more balanced accuracy, and {signed(alike['accuracy'])} more "
        "accuracy, than EfficientNet-Lite0 asked the same. Against the shipped model with its two squares the "
        "difference cannot be told from nothing"
    ) in words(MODEL)


def test_the_models_page_says_what_smaller_files_cost():
    fp16, int8 = (
        {end: MANIFEST["variants_judged"][name][f"loss{end and '_'}{end}"] for end in ("", "low", "high")}
        for name in ("fp16", "int8")
    )
    assert [*MANIFEST["variants"]] == ["fp16"] and MANIFEST["variants"]["fp16"]["bytes"] < 0.51 * MANIFEST["bytes"]
    assert (
        f"half the size, for {given(fp16 | {'value': fp16['']})} of balanced accuracy on images that it knows; 8-bit "
        f"convolutions would cost {given(int8 | {'value': int8['']})}."
    ) in words(MODEL)


def test_every_reading_of_the_test_split_is_listed():
    read = pd.read_csv(RESULTS / "shipped/test_reads.csv")
    for name in ("first", "shipped", "mobilenet"):
        last = json.loads((RESULTS / "shipped" / name / "metrics.json").read_text())["test"]
        listed = read[read["recipe"] == name].iloc[-1]
        assert listed["balanced_accuracy"] == pytest.approx(last["balanced_accuracy"]["value"], abs=1e-4)
    assert MANIFEST["evaluation"]["test_reads"] == len(read)
    first, second = read.loc[read["recipe"] == "classic", "balanced_accuracy"]
    assert f"`classic`, trained a second time, went from {first:.3f} to {second:.3f}." in words("README.md")


def test_the_models_page_says_of_eight_labels_what_was_measured():
    place = RESULTS / "shipped/labels_8"
    found = json.loads((place / "metrics.json").read_text())
    eight, more = found["out_of_fold"], less(found["shipped_has_more"])
    folds = {4: "Four", 5: "Five"}[len(list(place.glob("fold-*.json")))]
    ak, scc, mel = (f"{eight['per_class'][code]['sensitivity']['value']:.3f}" for code in ("ak", "scc", "mel"))
    assert more["mel.sensitivity"]["high"] < 0, "why it is not shipped"
    assert (
        f"{folds} folds ({eight['n_images']:,} images) reach a balanced accuracy of "
        f"{given(eight['balanced_accuracy'])} over eight classes: actinic keratosis is named in {ak}, "
        f"squamous cell carcinoma in {scc} and melanoma in {mel}. Taken as seven labels, they have against the shipped "
        f"recipe, paired, {signed(more['balanced_accuracy'])} of balanced accuracy, {signed(more['macro_auroc'])} of "
        f"macro AUROC and {signed(more['mel.sensitivity'])} of melanoma recall. For the last, no such model is shipped"
    ) in words(MODEL)


def test_the_readmes_table_says_of_the_shipped_model_what_its_manifest_says():
    rows = table("README.md", "What the recipes reach on HAM10000")
    shipped = {name: cells[0] for name, cells in rows.items()}
    metrics, config = MANIFEST["metrics"], MANIFEST["config"]
    expected = {
        "network": f"{MANIFEST['architecture']}, {MANIFEST['image_size']} px",
        "trained on": "folds 0 to 4" if config["fold"] == -1 else "",
        "epochs, the one kept": f"{MANIFEST['started_from']['epochs']} + {config['epochs']}, the {config['keep']}",
        "balanced accuracy": given(metrics["balanced_accuracy"]),
        "macro AUROC": given(metrics["macro_auroc"]),
        "accuracy": given(metrics["accuracy"]),
        "calibration error (ECE)": given(metrics["ece"]),
        **{f"recall {code} (n = {recall['n']:,})": given(recall) for code, recall in RECALL.items()},
    }
    assert {name: shipped.get(name) for name in expected} == expected
    text = words("README.md")
    counts = re.search(
        r"All ([\d,]+) images, 7 codes.*? ([\d,]+) images of .+? train, ([\d,]+) of .+? validate, ([\d,]+) of", text
    )
    images, *parts = (int(count.replace(",", "")) for count in counts.groups())
    assert images == MANIFEST["data"]["images"] == sum(parts) and parts[-1] == metrics["n_images"]


@pytest.mark.parametrize(("name", "column"), [("quick", 1), ("classic", 2)])
def test_the_readmes_table_says_of_a_recipe_what_its_run_said(name, column):
    kept = json.loads((RESULTS / f"accuracy/{name}.json").read_text())
    metrics, config = kept["metrics"], kept["config"]
    rows = table("README.md", "What the recipes reach on HAM10000")
    assert rows[""][column] == f"`{name}`"
    expected = {
        "network": f"{config['model']}, {config['image_size']} px",
        "epochs, the one kept": f"{kept['epochs']}, the {config['keep']} ({kept['best_epoch']})",
        "balanced accuracy": given(metrics["balanced_accuracy"]),
        "macro AUROC": given(metrics["macro_auroc"]),
        "accuracy": given(metrics["accuracy"]),
        "calibration error (ECE)": given(metrics["ece"]),
    }
    expected |= {
        f"recall {code} (n = {of['sensitivity']['n']:,})": given(of["sensitivity"])
        for code, of in metrics["per_class"].items()
    }
    assert {row: cells[column] for row, cells in rows.items() if row in expected} == expected
    recipe = Config.from_file(REPOSITORY / f"lib/skinlesion/recipes/{name}.json").but(stress=config["stress"])
    assert Config().but(**config).but(data=recipe.data) == recipe, "made by the recipe as it is"

    answers = pd.read_csv(RESULTS / f"accuracy/{name}.csv.gz")  # and the figures are those of the answers
    said = answers[[f"score_{code}" for code in HAM7.codes]].to_numpy().argmax(1)
    recalled = balanced_accuracy_score(answers["label"], np.array(HAM7.codes)[said])
    assert recalled == pytest.approx(metrics["balanced_accuracy"]["value"], abs=1e-9)
    probabilities = answers[[f"p_{code}" for code in HAM7.codes]].to_numpy()
    ranked = [roc_auc_score(answers["label"] == code, probabilities[:, i]) for i, code in enumerate(HAM7.codes)]
    assert np.mean(ranked) == pytest.approx(metrics["macro_auroc"]["value"], abs=1e-9)
    assert set(answers["image_id"]) == set(pd.read_csv(RESULTS / "shipped/shipped/test.csv")["image_id"])


def test_the_readme_opens_with_the_same_figures():
    text = words("README.md")
    opening = text.partition("## ")[0]
    size, metrics = f"{MANIFEST['image_size']} px, {MANIFEST['bytes'] / 1e6:.0f} MB", MANIFEST["metrics"]
    figures = " | ".join(given(one) for one in (metrics["balanced_accuracy"], metrics["macro_auroc"], RECALL["mel"]))
    assert size in opening and f"test split by lesion | {figures} |" in opening
    below = table("README.md", "What the recipes reach on HAM10000")
    classic = below[""].index("`classic`")
    rows = ("balanced accuracy", "macro AUROC", f"recall mel (n = {RECALL['mel']['n']})")
    assert f"the same test split | {' | '.join(below[row][classic] for row in rows)} |" in opening
    quoted = re.findall(r"\*published:\*[^|]*\| ([\d.]+) \|", opening)
    assert quoted and set(quoted) <= set(published_table()["value"])


def test_the_model_card_is_the_manifests():
    assert (PRETRAINED / "MODEL_CARD.md").read_text(encoding="utf-8") == model_card(MANIFEST)


def test_the_readme_says_of_the_page_on_the_device_what_was_measured():
    text, found = words("README.md"), newest("device")
    change, weights, two = (
        found[name] for name in ("largest change of a probability", "weights in 16 bits", "one image, 2 threads")
    )
    native = f"{change['page against native, same frames']:.0e}".replace("e-0", "e-")
    for said in (
        f"{sum(found['download, MB'][part] for part in ('model', 'runtime', 'page')):.0f} MB to download",
        f"within {native} of native ONNX Runtime's ({change['images']} images)",
        f"16-bit weights cost {given(weights['loss'])} of balanced accuracy",
        f"an image takes {two['page, ms']:.0f} ms of two cores in headless Chromium, "
        f"{two['page / native, median']:.1f} times as long as native",
    ):
        assert said in text


def test_the_page_on_scale_says_how_near_two_processes_come_to_one():
    found, text = newest("processes"), words("docs/scale.md")
    loss, accuracy, auroc = (found["metrics"][f"val_{name}"] for name in ("loss", "balanced_accuracy", "macro_auroc"))
    assert found["seeds"] == 8 and f"{found['validation images']} validation images" in text
    assert (
        f"loss {given(loss['difference'])}, balanced accuracy {given(accuracy['difference'])}, macro AUROC "
        f"{given(auroc['difference'])}, means with 95% t-intervals"
    ) in text
    spread = ("difference is {:.3f}, {:.3f} and {:.3f}", "between seeds {:.3f}, {:.3f} and {:.3f}")
    for key, said in zip(("deviation of differences", "deviation between seeds"), spread, strict=True):
        assert said.format(*(one[key] for one in (loss, accuracy, auroc))) in text


def test_the_readme_says_how_often_a_training_was_killed():
    found = json.loads((RESULTS / "soak/sigkill.json").read_text())
    assert "killed twenty times" in words("README.md") and found["kills"] == found["struck"] == 20
    assert found["final weights bit-identical"]


def test_the_limits_in_security_held_when_they_were_measured():
    found = json.loads((RESULTS / "soak/fuzz.json").read_text())
    limits = found["limits"]
    assert "no second of computing, no 300 MB" in words("SECURITY.md") and limits["memory, MB"] == 300
    assert found["slowest, seconds of computing"] < limits["seconds of computing"] == 1
    assert found["memory above the start, MB"] < limits["memory, MB"]


@pytest.fixture(scope="module")
def cost():
    """The cost model's values by their letters, as docs/scale.md gives them."""
    values = {name.strip("`"): cells[1] for name, cells in table("docs/scale.md", "The cost model").items()}
    return {name: float(re.match(r"[\d.]+", value)[0]) for name, value in values.items() if len(name) == 1}


def test_the_rates_of_the_cost_model_are_the_measured_ones(cost):
    results = newest("results")
    cores = int(results["machine"].partition(" ")[0])
    sections = {name: section["charts"] for name, section in results["sections"].items()}
    (lite0,) = [chart for chart in sections["Training"] if "EfficientNet-Lite0" in chart["title"]]
    trained = median(one["ours"] for one in lite0["rounds"]) / cores
    assert "128 px" in lite0["note"] and cost["s"] == 128 and cost["t"] == pytest.approx(trained, rel=0.05)
    scored = sections["Batch scoring"][0]["measured"]["images a second and core"]
    assert cost["r"] == pytest.approx(scored, rel=0.05)
    (ours,) = [bar for bar in sections["Decode and resize"][0]["bars"] if bar["name"] == "ours"]
    assert cost["d"] == pytest.approx(float(ours["says"].split()[0]) / cores, rel=0.05)
    held = newest("serve")["start"]["resident after it, MB"]
    assert "some 190 MB once it has answered" in words("docs/scale.md") and held == pytest.approx(190, rel=0.1)


def test_the_costs_follow_from_the_model(cost):
    section = (REPOSITORY / "docs/scale.md").read_text(encoding="utf-8")
    lines = re.search(r"^\| \| 10 thousand.*?\n\n", section, re.M | re.S)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    unit = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "min": 60, "h": 3600}
    size = {"b": cost["b"] * 1e6, "s": 3 * cost["s"] ** 2}
    checked = 0
    for column, (n, cores) in enumerate(((1e4, 2), (5e5, 32), (1e7, 256)), start=1):
        score, train = n / cost["r"], n * cost["e"] / cost["t"]
        begun = ""
        for name, *cells in rows:
            begun = name if not name.startswith("…") else begun
            training = begun.startswith("training")
            value = {
                "to read (`N · b`)": n * size["b"],
                "scoring, core-hours (`N / r`)": score / 3600,
                "… by the clock": (train if training else score) / cores,
                "… cores": score / 3600 * cost["p"],
                "… single reads (`g`)": n / 1000 * cost["g"],
                "… leaving the region (`x`)": n * size["b"] / 1e9 * cost["x"],
                "cache, core-hours (`N / d`)": n / cost["d"] / 3600,
                "cache on disk (`3 · s² · N`)": n * size["s"],
                "training, core-hours (`N · e / t`)": train / 3600,
            }.get(name)
            if value is not None:
                cell = cells[column - 1]
                named = re.search(r"\d (MB|GB|TB|min|h)\b", cell)
                assert rounds_to(cell, value / (unit[named[1]] if named else 1)), (name, cell, value)
                assert "by the clock" not in name or cell.endswith(f" on {cores}" + " cores" * (column == 1))
                checked += 1
    assert checked == 30


def test_what_makes_a_step_quicker_is_told_as_it_was_measured():
    found = newest("steps")["networks"]
    rows = table("docs/performance.md", "What makes a training step quicker, and what does not")
    ways = rows.pop("images/s against the plain step")
    rows.pop("---")
    assert set(rows) == set(found)
    for name, cells in rows.items():
        for way, cell in zip(ways, cells, strict=True):
            ratio = found[name].get(way)
            assert cell == ("{ratio:.2f} ({low:.2f} to {high:.2f})".format(**ratio) if ratio else "")
    text = words("docs/performance.md")
    assert all(ways["torch.compile"]["ratio"] < 1 for ways in found.values()), "makes no network quicker here"
    quicker = {name for name, ways in found.items() if ways["bfloat16"]["ratio"] > 1}
    assert quicker == {"classic"}, "dense convolutions gain, depthwise ones lose"
    experiments = pd.read_csv(RESULTS / "experiments/table.csv", index_col="row")
    for row, before in (("classic_bfloat16", "bfloat16 on the plain CNN"), ("freeze_2", "two stages frozen")):
        value, low, high = experiments.loc[row, ["difference", "difference_low", "difference_high"]]
        assert f"{before} {value:.3f} ({low:.3f} to {high:.3f})" in text and low < 0 < high
