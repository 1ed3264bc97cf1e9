"""The pages: what they show, what they hide, what they never do (ask the network), and how they read in a browser."""

import base64
import html
import http.server
import io
import itertools
import json
import re
import threading

import nbformat
import numpy as np
import pytest
from PIL import Image

from browser import LOW_CONTRAST, chromium, strangers, watch  # noqa: F401
from skinlesion.config import Config
from skinlesion.errors import DataError, SkinLesionError
from skinlesion.report import SIZE_LIMIT, SYNTHETIC, notice, render_notebook, write_index
from skinlesion.runs import Run
from skinlesion.taxonomy import HAM7

new = nbformat.v4


def png(width=60, height=40, noise=False):
    shape = (height, width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape) if noise else np.full(shape, 90)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shown(alt=None, **data):
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return new.new_output("display_data", data=data, metadata=metadata)


def code(source, *outputs, tags=()):
    return new.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)}, execution_count=1)


def stream(text, name="stdout"):
    return new.new_output("stream", name=name, text=text)


def frame_html(columns=12):
    import pandas as pd

    return pd.DataFrame({f"a rather long column {i}": [0.125, 2.5] for i in range(columns)}).to_html(notebook=True)


TRACEBACK = ["\x1b[31m-----\x1b[39m", "\x1b[31mKeyError\x1b[39m: \x1b[38;5;28mreturn\x1b[39m 'mel <b>'"]


def failure(name="KeyError"):
    return new.new_output("error", ename=name, evalue="'mel <b>'", traceback=TRACEBACK)


def typical_cells():
    source = (
        'import os\n\n\nclass Reader:  # reads\n    """Pixels."""\n\n    def size(self):\n        return f"{2 * 64}"'
    )
    return [
        new.new_markdown_cell("# What & why?\n\nA **question** with `code`."),
        code('# which run\nrun: str = "../reports/demo"', tags=["parameters"]),
        code('# Parameters\nrun = "/r/demo"', tags=["injected-parameters"]),
        new.new_markdown_cell("## Counts\n\n| code | n |\n|---|---|\n| mel | 3 |\n\n> quoted\n\n```python\nx = 1\n```"),
        code(source, shown(alt="Bars: mel 3, nv 9", **{"image/png": png(900, 300)})),
        code("table", new.new_output("execute_result", data={"text/html": frame_html(), "text/plain": "…"})),
        new.new_markdown_cell("### By age\n\n### By age\n\n## Answer"),
        code(
            "train()",
            stream("  0%|     | 0/2\r", "stderr"),
            stream(" 50%|##   | 1/2\r100%|#####| 2/2\n", "stderr"),
            stream("\x1b[32mdone\x1b[0m in 3 s\n"),
        ),
        code("open_it()", failure()),
    ]


@pytest.fixture
def render(tmp_path):
    """Render cells, return the page; ``page.path`` is where it lies."""

    def render(*cells, **how):
        nbformat.write(new.new_notebook(cells=list(cells)), tmp_path / "01_eda.ipynb")
        render.path = tmp_path / "01_eda.html"
        render.size = render_notebook(tmp_path / "01_eda.ipynb", render.path, **how)
        return render.path.read_text(encoding="utf-8")

    return render


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
    assert "Research software, no medical device." in page
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
    alts = [html.unescape(alt) for alt in re.findall(r"<img[^>]* alt=[\"']([^>]*?)[\"'] ?(?:src|/?>)", page)]
    assert alts[0] == 'Bars: "mel" <3'
    assert "description" in alts[1]
    assert "description" in alts[2]
    assert len(re.findall(r"<figure>", page)) == 3


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
    boxes = re.findall(r'<div ([^>]*class="scroll"[^>]*)>\s*<table', page)
    assert len(boxes) == page.count("<table") == 2
    assert all('tabindex="0"' in box and 'role="region"' in box and "aria-label" in box for box in boxes)
    assert "<style scoped" not in page
    assert 'border="1"' not in page


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


def metric(value, low=0.4, high=0.6, n=1503):
    return {"value": value, "low": low, "high": high, "n": n}


def make_run(folder, *, source="demo", status="done", **metrics):
    run = Run(folder)
    run.figures.mkdir(parents=True)
    entry = {
        "name": "01_eda", "title": "What & why?", "question": "A question.", "status": status, "stamp": "x",
        "started": "2026-01-02T03:04:05+00:00", "seconds": 131.4, "cells": 5, "error": None, "bytes": 2_500_000,
    }  # fmt: skip
    summary = {
        "run": "demo", "status": "complete", "preset": "quick", "synthetic": source == "demo",
        "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T03:09:05+00:00", "config": Config().to_dict(),
        "versions": {"python": "3.11.0", "torch": "9.9"}, "commit": "abc123-dirty", "notebooks": [entry],
        "machine": {"system": "Linux", "cores": 2, "memory_gib": 23.5},
        "data": {"location": "demo", "files": "0" * 64, "source": source, "fingerprint": "f" * 64,
                 "notes": ["Note <1>."]},
    }  # fmt: skip
    run.summary.write_text(json.dumps(summary))
    (run.folder / "01_eda.html").write_text("x")
    run.table_file.write_text("image_id,lesion_id\na,1\nb,1\nc,2\n")
    if metrics:
        run.metrics.write_text(json.dumps(metrics))
    (run.figures / "confusion_matrix.png").write_bytes(base64.b64decode(png(900, 300)))
    (run.figures / "confusion_matrix.txt").write_text('Mostly "nv" <right>.\n')
    return run


@pytest.fixture
def metrics():
    per_class = {code: {"sensitivity": metric(0.5)} for code in HAM7.codes}
    per_class["df"]["sensitivity"] = metric(None, None, None, 0)
    return {
        "balanced_accuracy": metric(0.7312), "macro_auroc": metric(0.943), "accuracy": metric(0.8),
        "ece": metric(0.041, None, None), "per_class": per_class,
    }  # fmt: skip


def test_the_index_shows_the_run_at_a_glance(tmp_path, metrics):
    run = make_run(tmp_path / "demo", **metrics)
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


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """Serve the test's folder; ``asked`` lists every path that anybody asks for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path)

        def log_request(self, *_):
            asked.append(self.path)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.asked, server.address = asked, f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def open_page(browser, address, **how):
    page = browser.new_context(**how).new_page()
    page.goto(address)
    return page


@pytest.mark.browser
def test_no_request_leaves_a_page_whatever_a_notebook_printed(render, server, browser):
    evil = f"""<img src="{server.address}/img.png"><link rel="stylesheet" href="{server.address}/x.css">
        <script src="{server.address}/x.js"></script><script>fetch("{server.address}/fetch"); window.ran = 1</script>
        <iframe src="{server.address}/frame.html"></iframe><video src="{server.address}/v.mp4"></video>
        <style>body {{ background: url({server.address}/bg.png) }} @import "{server.address}/i.css";</style>
        <img src="data:," onerror="fetch('{server.address}/onerror')"><object data="{server.address}/o"></object>"""
    math = "Text with $x^2$ and\n\n$$\\sum_i x_i$$\n\n```mermaid\ngraph TD\n```\n"
    render(
        *typical_cells(), new.new_markdown_cell(math + evil), code("a", shown(**{"text/html": evil})), banner=SYNTHETIC
    )
    page = browser.new_context().new_page()
    requests = watch(page)
    page.goto(f"{server.address}/01_eda.html", wait_until="load")
    page.wait_for_timeout(500)
    assert server.asked == ["/01_eda.html"]
    assert page.evaluate("window.ran") is None
    assert strangers(requests, server.address) == []


@pytest.mark.browser
def test_no_request_leaves_the_index(tmp_path, metrics, server, browser):
    write_index(make_run(tmp_path / "demo", **metrics))
    page = open_page(browser, f"{server.address}/demo/index.html")
    page.wait_for_timeout(300)
    assert server.asked == ["/demo/index.html"]
    width = page.evaluate("document.querySelector('.thumbnails img').naturalWidth")
    assert width == 640, "the thumbnail is inside the page"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_width(tmp_path, render, metrics, browser, scheme):
    render(*typical_cells(), banner=SYNTHETIC, notice="Out of date.", run="demo", links={"next": ("b.html", "Next")})
    run = make_run(tmp_path / "demo", status="failed", **metrics)
    write_index(run)
    for path in (render.path, run.folder / "index.html"):
        page = open_page(browser, path.as_uri(), color_scheme=scheme, viewport={"width": 375, "height": 800})
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate(LOW_CONTRAST) == []
        for width in (320, 375, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} at {width} px"


@pytest.mark.browser
def test_landmarks_names_and_keyboard(render, browser):
    page_text = render(*typical_cells(), run="demo", links={"next": ("b.html", "Next")})
    page = open_page(browser, render.path.as_uri(), viewport={"width": 1440, "height": 900})
    for role in ("banner", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("navigation", name="Contents").count() == 1, "sidebar; the fold is hidden"
    ids = re.findall(r' id="([^"]+)"', page_text)
    assert len(ids) == len(set(ids))
    levels = [
        int(level) for level in page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => h.tagName[1])")
    ]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.browser
def test_code_and_theme_buttons(render, browser):
    render(*typical_cells())
    page = open_page(browser, render.path.as_uri(), color_scheme="light")
    visible = lambda: page.locator("details.code .highlight:visible").count()  # noqa: E731
    cells = page.locator("details.code").count()
    assert visible() == 0
    page.get_by_role("button", name="Show code").click()
    assert visible() == cells > 4
    page.get_by_role("button", name="Hide code").click()
    assert visible() == 0
    page.locator("details.code summary").first.click()
    assert visible() == 1
    background = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    before = background()
    page.get_by_role("button", name="Dark theme").click()
    dark = background()
    assert dark != before
    page.reload()
    assert background() == dark, "the choice is remembered"
    page.get_by_role("button", name="Light theme").click()
    assert background() == before


@pytest.mark.browser
def test_without_script(render, browser):
    render(*typical_cells())
    page = open_page(browser, render.path.as_uri(), java_script_enabled=False)
    assert page.get_by_role("button").count() == 0, "no button that does nothing"
    page.locator("details.code summary").nth(2).click()
    assert page.get_by_text("class Reader").is_visible()


@pytest.mark.browser
def test_print(render, browser):
    render(*typical_cells(), banner=SYNTHETIC)
    page = open_page(browser, render.path.as_uri(), color_scheme="dark", viewport={"width": 1440, "height": 900})
    page.emulate_media(media="print")
    for hidden in ("details.code", "details.log", "nav.contents", ".tools", ".around"):
        assert page.locator(f"{hidden}:visible").count() == 0, hidden
    for kept in ("h1", "figure img", "table.dataframe", ".banner", ".bottom"):
        assert page.locator(f"{kept}:visible").count() >= 1, kept
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    assert page.evaluate(LOW_CONTRAST) == []
