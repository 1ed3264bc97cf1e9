"""The pages of a report in a browser: they never ask the network, and can be read, printed and used by keyboard."""

import http.server
import itertools
import re
import threading

import pytest

from browser import LOW_CONTRAST, chromium, strangers, violations, watch  # noqa: F401  (the fixture `browser`)
from skinlesion.report import SYNTHETIC, write_index
from small_report import code, make_run, measured, new, renderer, shown, typical_cells  # noqa: F401

pytestmark = pytest.mark.browser


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


def test_no_request_leaves_the_index(tmp_path, server, browser):
    write_index(make_run(tmp_path / "demo", **measured()))
    page = open_page(browser, f"{server.address}/demo/index.html")
    page.wait_for_timeout(300)
    assert server.asked == ["/demo/index.html"]
    width = page.evaluate("document.querySelector('.thumbnails img').naturalWidth")
    assert width == 640, "the thumbnail is inside the page"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_width(tmp_path, render, browser, scheme):
    render(*typical_cells(), banner=SYNTHETIC, notice="Out of date.", run="demo", links={"next": ("b.html", "Next")})
    run = make_run(tmp_path / "demo", status="failed", **measured())
    write_index(run)
    for path in (render.path, run.folder / "index.html"):
        page = open_page(browser, path.as_uri(), color_scheme=scheme, viewport={"width": 375, "height": 800})
        assert violations(page) == []
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate(LOW_CONTRAST) == []
        for width in (320, 375, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} at {width} px"


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


def test_a_tap_enlarges_a_figure_on_a_phone(render, browser):
    render(*typical_cells())
    page = open_page(browser, render.path.as_uri(), viewport={"width": 375, "height": 800})
    assert page.locator("figure img").bounding_box()["width"] < 375
    page.locator("figure img").click()
    large = page.get_by_role("dialog", name="Figure 1, enlarged")
    assert large.locator("img").bounding_box()["width"] == pytest.approx(max(900 / 2, 0.96 * 375), abs=1)
    assert large.locator("img").get_attribute("alt") == "Bars: mel 3, nv 9"
    assert violations(page) == []
    page.keyboard.press("Escape")
    assert not large.is_visible()
    page.get_by_role("button", name="Enlarge figure 1").press("Enter")
    page.get_by_role("button", name="Close").click()
    assert not page.get_by_role("dialog").is_visible()


def test_without_script(render, browser):
    render(*typical_cells())
    page = open_page(browser, render.path.as_uri(), java_script_enabled=False)
    assert page.get_by_role("button").count() == 0, "no button that does nothing"
    page.locator("details.code summary").nth(2).click()
    assert page.get_by_text("class Reader").is_visible()


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
