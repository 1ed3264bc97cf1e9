"""The pages of a report: what a notebook's page and the index show, and what they leave out."""

import base64
import html
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skinlesion.core.errors import DataError, SkinLesionError
from skinlesion.core.taxonomy import HAM7
from skinlesion.report import SIZE_LIMIT, SYNTHETIC, notice, render_notebook, write_index
from skinlesion.report.tables import table_html
from small_report import code, failure, make_run, measured, metric, new, png, renderer, shown, stream, typical_cells  # noqa: F401

# --- a notebook's page ------------------------------------------------------------------------------------------------


def test_title_contents_and_links(render):
    page = render(
        *typical_cells(), run="demo", links={"previous": ("00.html", "Before"), "next": ("02.html", "After <b>")}
    )
    assert "<title>What &amp; why? · demo</title>" in page
    assert page.count("<h1") == 1
    for anchor, text in [("Counts", "Counts"), ("By-age", "By age"), ("By-age-2", "By age"), ("Answer", "Answer")]:
        assert page.count(f'id="{anchor}"') == 1
        assert page.count(f'<a href="#{anchor}">{text}</a>') == 2  # in the sidebar and in the fold
    assert '<a class="home" href="index.html">demo</a>' in page
    assert re.search(r'rel="prev" href="00.html"><small>Previous</small>Before', page)
    assert re.search(r'rel="next" href="02.html"><small>Next</small>After &lt;b&gt;', page)
    assert "Research software, not a medical device." in page
    assert '<html lang="en">' in page


def test_a_notebook_without_a_heading_is_called_by_its_file(render):
    page = render(new.new_markdown_cell("Just prose."))
    assert "<h1>01_eda</h1>" in page
    assert 'class="contents' not in page


def test_banner_and_notice_are_escaped_and_only_there_when_asked_for(render):
    page = render(*typical_cells(), banner=SYNTHETIC, notice="stopped in <cell>")
    assert SYNTHETIC in page
    assert "stopped in &lt;cell&gt;" in page
    page = render(*typical_cells()[:-1])
    assert 'class="banner"' not in page
    assert 'class="notice"' not in page


def test_figures_keep_their_description(render):
    page = render(
        code("a", shown(alt='Bars: "mel" <3', **{"image/png": png()})),
        code("b", shown(**{"image/png": png()})),
        code("c", shown(**{"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>"})),
    )
    alts = [html.unescape(alt) for _, alt in re.findall(r"<img alt=(['\"])(.*?)\1", page)]
    assert alts[0] == 'Bars: "mel" <3'
    assert "description" in alts[1]
    assert "description" in alts[2]
    assert len(re.findall(r"<figure>", page)) == 3


def test_a_figure_has_its_caption_and_its_width(render):
    caption = "Bars by class. Compare <them>."
    figure = shown(alt="Bars", **{"image/jpeg": "AAAA"})
    figure.metadata["image/jpeg"] = {"alt": "Bars", "width": 600, "height": 400}
    text = new.new_output("display_data", data={"text/markdown": f"*{caption}*"}, metadata={"caption": caption})
    page = render(code("a", figure, text))
    found = re.search(r"<figure>(.*?)</figure>", page, re.DOTALL)[1]
    assert re.search(r'<img alt="Bars" src="data:image/jpeg;base64,AAAA" width="600"/>', found)
    assert "<figcaption>Bars by class. Compare &lt;them&gt;.</figcaption>" in found
    assert page.count("Bars by class") == 1, "the text below the figure became its caption"


def test_the_summary_stands_below_the_question_and_code_below_its_output(render):
    summary = code("tell()", stream("42 lesions"), tags=["summary"])
    cells = [*typical_cells()[:-1], new.new_markdown_cell("## Summary"), summary]
    page = render(*cells)
    question, heading, answer, its_code, next_code, first = (
        page.index(text)
        for text in (
            "A <strong>question</strong>",
            'id="Summary"',
            "42 lesions",
            "tell",
            "../reports/demo",
            'id="Counts"',
        )
    )
    assert question < heading < answer < its_code < next_code < first
    assert page.count("42 lesions") == page.count('id="Summary"') == 1
    figure, source = page.index("Bars: mel 3, nv 9"), page.index('<span class="k">class</span>')
    assert figure < source, "what a cell shows comes before its code"


@pytest.mark.parametrize("outputs", [(), (failure(),)], ids=["not run", "failed"])
def test_a_summary_that_tells_nothing_stays_where_it_is(render, outputs):
    page = render(*typical_cells()[:4], new.new_markdown_cell("## Summary"), code("tell()", *outputs, tags=["summary"]))
    assert page.index('id="Counts"') < page.index('id="Summary"')


def test_progress_is_folded_and_shown_as_it_ended(render):
    page = render(*typical_cells())
    log = re.search(r'<details class="log">(.*?)</details>', page, re.DOTALL)[1]
    assert "100%|#####| 2/2" in log
    assert "1/2" not in page
    assert "1 line<" in log
    assert '<span class="ansi-green-fg">done</span> in 3 s' in page
    assert "<details open" not in page


def test_widgets_and_scripts_are_left_out(render):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "  0%|     | 0/9"}
    page = render(
        code("a", shown(**widget)),
        code("b", shown(**{"application/javascript": "alert('js')", "text/plain": "plain"})),
    )
    assert "0/9" not in page
    assert "alert" not in page


def test_tables_scroll_by_keyboard_and_lose_pandas_style(render):
    page = render(*typical_cells())
    boxes = re.findall(r'<div ([^>]*class="scroll"[^>]*)>\s*<table aria-label', page)
    assert len(boxes) == page.count("<table") == 2
    assert all('tabindex="0"' in box and 'role="region"' in box and "aria-label" in box for box in boxes)
    assert "<style scoped" not in page
    assert 'border="1"' not in page
    names = re.findall(r'role="region" aria-label="([^"]*)"', page)
    assert names == ["Counts", "Counts (2)"], "each by the heading above it"
    assert "<th></th>" not in page


def test_a_table_for_people(render):
    frame = pd.DataFrame(
        {"n": [1234, 5], "auroc": [0.98765, np.nan], "ci": ["0.7 (0.6 to 0.8)", "<b>"]}, index=["mel", "nv"]
    )
    page = render(code("t", shown(**{"text/html": table_html(frame.rename_axis("class"), "Metrics <1>", digits=2)})))
    assert (
        '<p class="caption">Metrics &lt;1&gt;</p><div class="scroll" role="region" aria-label="Metrics &lt;1&gt;"'
        in page
    )
    assert re.findall(r'<th scope="col">(.*?)</th>', page) == ["class", "n", "auroc", "ci"]
    assert re.findall(r'<th scope="row">(.*?)</th>', page) == ["mel", "nv"]
    together = '0.7 <span class="together">(0.6 to 0.8)</span>'
    assert re.findall(r"<td>(.*?)</td>", page) == ["1,234", "0.99", together, "5", "–", "&lt;b&gt;"]


def test_pandas_headers_are_one_row_without_empty_cells(render):
    frame = pd.DataFrame({"a": [1, 2], "split": ["x", "y"], "n": [3, 4]})
    for shape, expected in (
        (frame.set_index(["a", "split"]), ["a", "split", "n"]),
        (pd.crosstab(frame["a"], frame["split"]), ["a", "x", "y"]),
        (frame, ["a", "split", "n"]),
    ):
        page = render(code("t", shown(**{"text/html": shape.to_html(notebook=True)})))
        assert re.findall(r'<th scope="col">(.*?)</th>', page) == expected
        assert page.count("<tr", page.index("<thead>"), page.index("</thead>")) == 1


def test_the_error_that_ended_the_run_is_linked(render):
    page = render(*typical_cells(), notice="This notebook failed")
    assert page.count('id="error"') == 1
    assert 'href="#error"' in page
    assert "'mel &lt;b&gt;'" in page
    page = render(code("1 / 0", failure(), tags=["raises-exception"]), notice="Out of date")
    assert 'href="#error"' not in page
    assert "KeyError" in page


def test_papermills_own_error_notes_are_dropped(render):
    mark = new.new_markdown_cell(
        '<span style="color:red">Exception</span>', metadata={"tags": ["papermill-error-cell-tag"]}
    )
    assert "color:red" not in render(mark, *typical_cells())


def test_an_unreadable_notebook_is_named(tmp_path):
    (tmp_path / "a.ipynb").write_text("{")
    for name in ("a.ipynb", "b.ipynb"):
        with pytest.raises(SkinLesionError, match=name):
            render_notebook(tmp_path / name, tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_the_size_is_told(render):
    render(*typical_cells())
    assert render.size == render.path.stat().st_size < 200_000
    render(code("a", shown(**{"image/png": png(1600, 1200, noise=True)})))
    assert render.size > SIZE_LIMIT


@pytest.mark.parametrize("status", ["done", "current"])
def test_no_notice_where_all_is_well(status):
    assert notice({"status": status, "error": None}, ran=True) == ""


# --- the index --------------------------------------------------------------------------------------------------------


def test_the_index_shows_the_run_at_a_glance(tmp_path):
    run = make_run(tmp_path / "demo", **measured())
    write_index(run)
    page = (run.folder / "index.html").read_text(encoding="utf-8")
    for piece in (
        "0.731", "95% interval 0.400 to 0.600", "n = 1,503", "Melanoma", "3 images of 2 lesions", "abc123-dirty", "9.9",
        "f" * 64, "2 min 11 s", "2.4 MB", "What &amp; why?", "A question.", "Note &lt;1&gt;.", SYNTHETIC, "23.5 GiB",
        'href="01_eda.html"', 'href="metrics.json"', "2026-01-02 03:04 UTC",
    ):  # fmt: skip
        assert piece in page, piece
    assert all(d.color in page and d.name in page for d in HAM7)
    assert "n/a" in page, "a class without test images"
    assert "Not every notebook is up to date" not in page
    assert 'href="predictions.csv"' not in page, "only files that exist are linked"
    thumbnail = re.search(r'src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', page)
    assert Image.open(io.BytesIO(base64.b64decode(thumbnail[1]))).size == (640, 213)
    assert thumbnail[2] == "Mostly &#34;nv&#34; &lt;right&gt;."


def test_histology_stands_beside_each_headline_and_sources_below_them(tmp_path):
    def part(value, n):
        names = ("balanced_accuracy", "macro_auroc", "accuracy", "ece")
        return {name: metric(value, n=n) for name in names} | {"n_images": n}

    both = {"here": part(0.8127, 801), "there": part(0.7123, 702)}
    metrics = measured() | {"by_source": both}
    metrics["histology_only"] = part(0.6543, 603) | {"by_source": {"there": part(0.6012, 604)}}
    metrics["ece"] |= {"by_chance": 0.0214, "p": 0.0321}
    run = make_run(tmp_path / "parts", **metrics)
    write_index(run)
    words = " ".join(re.sub("<[^>]+>", " ", (run.folder / "index.html").read_text()).split())
    assert words.count("0.654 with histology only 95% interval 0.400 to 0.600 n = 603") == 4
    assert "by chance 0.021, p = 0.032" in words
    for row in ("here 801 0.813", "there 702 0.712", "there, histology only 604 0.601"):
        assert row in words
    write_index(make_run(tmp_path / "bare", **measured()))
    assert "histology only" not in (tmp_path / "bare/index.html").read_text()


def test_the_index_of_real_and_of_unfinished_runs(tmp_path):
    run = make_run(tmp_path / "real", source="ham10000", status="stale")
    write_index(run)
    page = (run.folder / "index.html").read_text(encoding="utf-8")
    assert SYNTHETIC not in page
    assert "Not every notebook is up to date" in page
    assert "has not written its metrics yet" in page
    run.metrics.write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json is damaged"):
        write_index(run)
