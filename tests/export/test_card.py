"""The model card and the checklist: every figure in them is the manifest's, and what was not measured is stated."""

import json
import re
import subprocess
import sys

import pytest

import tiny_model
from skinlesion.core.errors import ModelError
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.data.sources import KINDS
from skinlesion.export.card import about, attach, clear_derm, mix, model_card
from skinlesion.serving.manifest import Manifest

METRIC = {"value": 0.812, "low": 0.75, "high": 0.875, "n": 40}
NONE = {"value": None, "low": None, "high": None, "n": 0}


def shipped():
    return json.loads(json.dumps(Manifest.read().content))


def evaluation():
    groups = [
        {"attribute": "sex", "group": "female", "images": 791, "lesions": 593, "malignant": 66,
         "metrics": {"sensitivity": METRIC, "specificity": METRIC, "malignant_auroc": NONE}},
        {"attribute": "border colour", "group": "brown", "images": 6, "lesions": 6, "malignant": 1, "metrics": {}},
    ]  # fmt: skip
    record = {
        "name": "ph2", "n_images": 200, "counts": {"mel": 40, "nv": 160}, "model": {"sha256": shipped()["sha256"]},
        "metrics": dict.fromkeys((
            "malignant_auroc", "mel_nv_auroc", "sensitivity", "specificity", "predicted", "observed", "in_domain"
        ), METRIC),
    }  # fmt: skip
    return {
        "population": {"sex": {"male": 600, "female": 400}, "border colour": {"very light": 900, "tan": 100}},
        "subgroups": {
            "groups": groups,
            "words": "84 gaps were tested together.",
            "brief": "84 gaps were tested together.",
        },
        "external": [record],
    }


def test_the_shortcut_probe_is_shown_where_it_ran():
    row = {"border": "follow_up", "images": "melanoma", **dict.fromkeys(("before", "after", "change"), METRIC)}
    found = {"auroc": dict.fromkeys(("border", "network", "difference"), METRIC), "recolored": [row]}
    card = model_card(shipped() | {"evaluation": evaluation() | {"shortcuts": found}})
    shown = card.split("## Shortcuts")[1].split("\n## ")[0]
    assert "AUROC of 0.812 (0.750 to 0.875)" in shown and "| melanoma | follow_up | 40 | 81.2%" in shown
    for missing in ({}, None):
        assert "## Shortcuts" not in model_card(shipped() | {"evaluation": evaluation() | {"shortcuts": missing}})


def test_the_parent_network_is_stated():
    bare = shipped() | {"started_from": None}
    bare["config"] |= {"start": "", "pretrained": False, "epochs": 6, "fit": "random_crop", "mix": "none"}
    assert "from random weights, 6 epochs" in model_card(bare)
    bare["config"]["start"] = "final"
    assert "from the network of the run final, 6 epochs" in model_card(bare)
    bare["started_from"] = bare["config"] | {
        "start": "",
        "pretrained": True,
        "epochs": 8,
        "fit": "squash",
        "mix": "mixup",
    }
    said = "from a network trained for 8 epochs (fit squash, mix mixup; from ImageNet weights), 6 epochs"
    assert said in model_card(bare)


def test_figures_are_the_manifest_s():
    manifest = shipped()
    before = model_card(manifest)
    manifest["metrics"]["balanced_accuracy"] = METRIC
    manifest["metrics"]["per_class"]["mel"]["sensitivity"] = METRIC | {"value": 0.6543}
    manifest["referral"]["threshold"] = 0.4321
    manifest["prior"]["df"] = 0.0777
    card = model_card(manifest)
    for said in ("81.2% (75.0 to 87.5)", "65.4% (75.0 to 87.5)", "0.432", " 7.8%"):
        assert said in card and said not in before
    for heading in ("Intended use", "Must not be used", "Data and their limits", "How good it is", "Subgroups",
                    "External images", "Limits", "Terms", "CLEAR Derm checklist"):  # fmt: skip
        assert f"\n## {heading}\n" in card
    assert manifest["licence"] in card and manifest["sha256"] in card and "not a\nmedical device" in card


def test_a_group_that_is_there_is_never_none_of_the_images():
    assert mix({"light": 990, "tan": 6, "brown": 4, "dark": 0}) == "light 99%, tan 1%, brown under 1%, dark 0%"


def test_evaluations_are_shown_where_there_are_any_and_missed_where_not():
    manifest = shipped() | {"evaluation": {}}
    assert "## Subgroups\nNot measured" in model_card(manifest)
    assert "Not measured on images of another clinic" in model_card(manifest)
    manifest["evaluation"] = evaluation()
    card = model_card(manifest)
    assert "| sex | female | 791 | 81.2% (75.0 to 87.5) | 81.2% (75.0 to 87.5) | not measured |" in card
    assert "| border colour | brown | 6 | not measured |" in card
    assert "- By sex: male 60%, female 40% of the images." in card
    assert "**ph2**, 200 images (mel 40, nv 160)" in card and "another model file" not in card
    manifest["evaluation"]["external"][0]["model"] = {"sha256": "0" * 64}
    assert "Measured with another model file" in model_card(manifest)


def test_the_checklist_has_its_25_items_and_none_without_answer():
    manifest = shipped() | {"evaluation": evaluation()}
    items = clear_derm(manifest)
    assert [sum(topic == name for topic, _, _ in items) for name in
            ("data", "technique", "technical assessment", "application")] == [15, 4, 4, 2]  # fmt: skip
    assert len({item for _, item, _ in items}) == 25 and all(answer.strip() for _, _, answer in items)
    answers = {item: answer for _, item, answer in items}
    assert "very light 90%, tan 10%" in answers["skin tone, and how it was determined"]
    assert "ph2, 200 images" in answers["external test set"]
    assert answers["bias assessment"].startswith("2 groups by sex, border colour. 84 gaps were tested together.")
    missed = round(100 * (1 - manifest["referral"]["sensitivity"]["value"]))
    assert (
        f"Of 100 malignant lesions like those measured, {missed} would be missed"
        in answers["effects on staff and patients"]
    )
    rows = re.findall(r"^\| (\d+) \| ", model_card(manifest), re.M)
    assert [int(row) for row in rows] == list(range(1, 26)), "in the card too, a row each"
    bare = {item: answer for _, item, answer in clear_derm(shipped() | {"evaluation": {}})}
    assert bare["external test set"] == "None for this model." and "Not done" in bare["bias assessment"]


@pytest.mark.parametrize("labels", [HAM7, ISIC8], ids=["7", "8"])
def test_a_model_without_evaluations_has_a_card(labels):
    manifest = tiny_model.manifest(labels, b"model")
    card = model_card(manifest)
    assert (
        "no image of skin was used" in card
        and "not measured" in card
        and "None" not in card.replace("None: ", "").replace("None for this model", "")
    )
    assert len(clear_derm(manifest)) == 25
    manifest["referral"]["sensitivity"] = NONE
    assert "would be missed" not in model_card(manifest)


def test_how_the_data_were_split_depends_on_the_data():
    manifest = shipped() | {"config": shipped()["config"] | {"split_file": ""}}
    assert "by lesion, near-duplicates" in model_card(manifest)
    manifest["data"]["lesions"] = manifest["data"]["images"]
    assert "by lesion, near-duplicates" not in model_card(manifest)
    assert "by image: a lesion may have images in training and test" in model_card(manifest | {
        "data": shipped()["data"] | {"source": "dermamnist"}})  # fmt: skip
    own = shipped()
    own["config"]["split_file"] = "mine.csv"
    assert f"given in {own['config']['split_file']}" in model_card(own)


def test_the_terms_of_every_published_kind_of_data_are_known():
    own = about("folder")
    for kind in {*KINDS, "demo"} - {"folder", "csv"}:
        known = about(kind)
        assert not {name for name in ("citation", "licence", "place") if known[name] == own[name]}, kind


def test_attaching_keeps_the_model_valid_and_writes_its_card_anew(tmp_path):
    place = tiny_model.write(tmp_path / "model")
    sha = Manifest.read(place).sha256
    attach(place, population={"sex": {"male": 1}})
    written = attach(place, subgroups=evaluation()["subgroups"])
    assert Manifest.read(place).content == written and Manifest.read(place).sha256 == sha
    assert set(written["evaluation"]) == {"population", "subgroups"}
    assert (place / "MODEL_CARD.md").read_text() == model_card(written)
    with pytest.raises(ModelError, match="no model in"):
        attach(tmp_path / "nowhere", population={})


def test_the_card_needs_nothing_heavy():
    code = (
        "import sys, skinlesion.export.card; "
        "print([m for m in ('torch', 'pandas', 'scipy', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
