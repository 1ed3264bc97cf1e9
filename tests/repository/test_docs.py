"""``make docs``: the site builds without a broken link; pages give the figures of the committed results, which hold."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmarks.tables import quantity
from conftest import REPOSITORY
from experiments import figures, recipes, shipped, storage, tables, tested
from shared import made_once
from skinlesion.core.config import Config
from skinlesion.core.taxonomy import HAM7
from skinlesion.data.sources import KINDS
from skinlesion.export.card import model_card
from skinlesion.serving.manifest import PRETRAINED

LOADING = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


class Loaded(HTMLParser):
    """Addresses of what a page loads; links that a reader may follow are none."""

    def __init__(self):
        super().__init__()
        self.addresses = set()

    def handle_starttag(self, tag, attrs):
        if address := dict(attrs).get(LOADING.get(tag)):
            self.addresses.add(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    def make(folder):
        subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
            cwd=REPOSITORY, check=True, capture_output=True, text=True,
        )  # fmt: skip

    return made_once(tmp_path_factory, "documentation", make)


def test_every_page_is_rendered_and_the_reference_documents_what_is_exported(site):
    import skinlesion

    assert {page.stem for page in REPOSITORY.glob("docs/*.md")} == {page.stem for page in site.glob("*.html")} - {"404"}
    assert not list(site.rglob("*.py*")), "what renders the pages is none of them"
    reference = (site / "api.html").read_text(encoding="utf-8")
    exported = set(skinlesion.__all__) - {"__version__", "SkinLesionError"}
    assert not [name for name in exported if f'id="skinlesion.{name}"' not in reference]
    assert 'id="skinlesion.core.errors.SkinLesionError"' in reference
    assert not re.search(r":(func|class|data|meth|mod):", reference)


def test_the_page_of_data_sets_lists_every_kind():
    table = (REPOSITORY / "docs/data.md").read_text(encoding="utf-8").partition("\n## ")[0]
    first_cells = "".join(re.findall(r"^\|([^|]+)\|", table, re.M))
    assert set(re.findall(r"`([a-z0-9-]+)`", first_cells)) == {*KINDS, "demo"}


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses and not [one for one in parser.addresses if re.match(r"(https?:)?//", one)]
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8"), "the theme fetches mermaid from a CDN"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8"))


def test_a_link_to_a_file_that_is_gone_stops_the_build(tmp_path):
    """By the hooks of the whole site, on a page of its own: rendering all others takes long."""
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.md", "*.png"))
    few = {name: config[name] for name in ("site_name", "docs_dir", "exclude_docs", "hooks")}
    (tmp_path / "mkdocs.yml").write_text(json.dumps(few))
    (tmp_path / "docs/data.md").write_text("# Data sets\n\n## Terms of the data\n\n[gone](../lib/gone.py)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1 and "lib/gone.py" in done.stderr


RESULTS = REPOSITORY / "experiments"
MANIFEST = json.loads((PRETRAINED / "manifest.json").read_text(encoding="utf-8"))


def test_pages_have_the_figures_of_the_results():
    assert not figures.changed(), "run `python -m experiments.figures`, or restore the page"


def test_figures_go_between_their_marks_in_blocks_and_sentences():
    known = {"two": lambda: "| a |\n| --- |\n", "one-2": lambda: "0.5 (0.4 to 0.6)"}
    text = (
        "It is <!-- figures: one-2 -->old<!-- end --> or\n"
        "<!-- figures: two -->\nold\n\nrows\n<!-- end -->\nafter `<!-- figures: NAME -->`\n"
    )
    once = figures.rewritten(text, known)
    assert once == (
        "It is <!-- figures: one-2 -->0.5 (0.4 to 0.6)<!-- end --> or\n"
        "<!-- figures: two -->\n\n| a |\n| --- |\n\n<!-- end -->\nafter `<!-- figures: NAME -->`\n"
    )
    assert figures.rewritten(once, known) == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- figures: three -->x<!-- end -->", "no figures 'three'; known are one"),
        ("<!-- figures: one -->x", "no <!-- end -->"),
        ("<!-- figures: one -->x\n<!-- figures: one -->y<!-- end -->", "no <!-- end -->"),
    ],
)
def test_marks_that_do_not_fit_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        figures.rewritten(text, {"one": lambda: "1"})


def test_the_check_fails_where_a_page_differs_and_the_command_mends_it(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("x <!-- figures: one -->old<!-- end -->")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "FIGURES", {"one": lambda: "1"})
    monkeypatch.setattr(figures, "pages", lambda: [page])
    with pytest.raises(SystemExit, match=r"page.md differ from the results; run"):
        figures.main(["--check"])
    assert "old" in page.read_text()
    figures.main([])
    assert page.read_text() == "x <!-- figures: one -->1<!-- end -->"
    figures.main(["--check"])


@pytest.mark.parametrize(
    ("value", "ladder", "text"),
    [
        (2.7e12, ((1e12, "TB"), (1e9, "GB")), "2.7 TB"),
        (135e9, ((1e12, "TB"), (1e9, "GB")), "135 GB"),
        (0.0853, ((1, ""),), "0.085"),
        (0.004, ((1, ""),), "< 0.01"),
        (1016.3, ((1, ""),), "1,016"),
        (90, ((3600, "h"), (60, "min")), "1.5 min"),
    ],
)
def test_quantities_have_two_digits_and_a_fitting_unit(value, ladder, text):
    assert quantity(value, ladder) == text


@pytest.mark.parametrize("name", ["quick", "classic", "ham10000"])
def test_metrics_on_the_test_split_are_those_of_the_stored_predictions(name):
    metrics, _ = tables.on_test(name)
    frame = pd.read_parquet(tested.STORED, filters=[("recipe", "==", name)])
    predicted = frame.filter(like="score_").rename(columns=lambda column: column[6:]).idxmax(axis=1)
    expected = balanced_accuracy_score(frame["label"], predicted)
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(expected, abs=1e-9)
    ranked = [roc_auc_score(frame["label"] == code, frame[f"p_{code}"]) for code in HAM7.codes]
    assert metrics["macro_auroc"]["value"] == pytest.approx(sum(ranked) / 7, abs=1e-9)


@pytest.mark.parametrize("name", ["quick", "classic"])
def test_stored_predictions_are_of_the_recipe_as_it_is(name):
    config = tables.on_test(name)[1]["config"]
    recipe = Config.from_file(recipes.packaged(name)).but(stress=config["stress"])
    assert Config().but(**config).but(data=recipe.data) == recipe


def test_every_reading_of_the_test_split_is_listed():
    read = pd.read_csv(RESULTS / "test_reads.csv")
    assert MANIFEST["evaluation"]["test_reads"] == len(read)
    for name in ("quick", "classic", "ham10000", "shipped"):
        last = tables.on_test(name)[0]["balanced_accuracy"]
        listed = read[read["recipe"] == name].iloc[-1]
        assert listed["balanced_accuracy"] == pytest.approx(last["value"], abs=1e-4)
        assert listed["balanced_accuracy_low"] == pytest.approx(last["low"], abs=1e-4)


@pytest.mark.parametrize(
    ("part", "source"), [("validation", "ham10000"), ("test", "milk10k"), ("test", "isic2017_msk")]
)
def test_figures_by_source_follow_from_the_stored_outputs(part, source):
    """By pandas and scikit-learn alone: eight labels summed to seven, what seven codes lack left out, no twins."""
    frame, _ = storage.read_parquet(shipped.STORED, shipped.NAME)
    group = pd.read_csv(shipped.SPLIT, dtype=str).set_index("image_id")
    home = set(group.loc[group["source"] == "ham10000", "group"])
    rows = frame[(frame["part"] == part) & (frame["source"] == source) & frame["in_seven"].astype(bool)]
    if source != "ham10000":
        rows = rows[~group.loc[rows["image_id"], "group"].isin(home).to_numpy()]
    logits = rows.filter(like="logit_").rename(columns=lambda name: name[6:]).astype(float).round(4)
    p = np.exp(logits / MANIFEST["temperature"] + pd.Series(MANIFEST["prior_shift"]))
    p = p.div(p.sum(axis=1), axis=0)
    scores = p * pd.Series(MANIFEST["decision_weights"])
    truth = rows["label"].replace({"ak": "akiec", "scc": "akiec"})
    seven = [one.rename(columns={"ak": "akiec", "scc": "akiec"}).T.groupby(level=0).sum().T for one in (p, scores)]
    found = tables.by_source().loc[(part, source, "all", "shipped")]["value"]
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(truth, seven[1].idxmax(axis=1)), abs=1e-4
    )
    ranked = [roc_auc_score(truth == code, seven[0][code]) for code in sorted(set(truth))]
    assert found["macro_auroc"] == pytest.approx(np.mean(ranked), abs=1e-4)


def test_figures_of_small_frames_follow_from_the_stored_predictions():
    frame, _ = storage.read_parquet(tested.STORED, "shipped_full_frames")
    scores = frame.filter(like="score_").rename(columns=lambda name: name[6:]).astype(float)
    found = tables.by_source().loc[("validation", "ham10000_full_frames", "all", "shipped")]["value"]
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(frame["label"], scores.idxmax(axis=1)), abs=1e-4
    )
    melanoma = frame["label"] == "mel"
    assert found["mel.auroc"] == pytest.approx(roc_auc_score(melanoma, frame["p_mel"]), abs=1e-4)
    with_histology = tables.by_source().loc[("validation", "ham10000", "histology", "shipped", "macro_auroc"), "n"]
    histology = tables.by_source().loc[
        ("validation", "ham10000_full_frames", "histology", "shipped", "macro_auroc"), "n"
    ]
    assert histology == with_histology and len(frame) == 1665


def test_the_model_card_is_the_manifests():
    assert (PRETRAINED / "MODEL_CARD.md").read_text(encoding="utf-8") == model_card(MANIFEST)


def test_trainings_that_were_killed_ended_with_the_same_weights():
    found = json.loads((RESULTS / "soak.json").read_text())["sigkill"]
    assert found["kills"] == found["struck"] == 20 and found["final weights bit-identical"]


def test_the_limits_in_security_held_when_they_were_measured():
    found = json.loads((RESULTS / "soak.json").read_text())["fuzz"]
    limits = found["limits"]
    text = " ".join((REPOSITORY / "SECURITY.md").read_text(encoding="utf-8").split())
    assert "no 300 MB" in text and limits["memory, MB"] == 300
    assert "no second of computing" in text and limits["seconds of computing"] == 1
    assert found["slowest, seconds of computing"] < limits["seconds of computing"]
    assert found["memory above the start, MB"] < limits["memory, MB"]
