"""A headless Chromium for tests that use a page as people do: importing ``chromium`` gives the fixture ``browser``."""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ARGUMENTS = [
    "--no-sandbox",  # tests may run as root; they open our own pages only
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--use-fake-device-for-media-stream",  # a camera that shows a test picture; pages still have to ask for it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOW = "no Chromium found: `apt-get install chromium`, or `.venv/bin/playwright install chromium`"

PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True}

# The contrast of every text against what is painted behind it (WCAG 2.2, 1.4.3), as [ratio, text] where it is too low.
LOW_CONTRAST = """() => {
  const rgba = text => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const luminance = c => {
    const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = node => {
    for (; node; node = node.parentElement) {
      const color = rgba(getComputedStyle(node).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const low = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
    if (!text || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const pair = [luminance(rgba(style.color)), luminance(background(node))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) low.push([ratio, text]);
  }
  return low;
}"""


def program(kind) -> str:
    """The system's Chromium, else where Playwright would put its own."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), kind.executable_path)


@contextmanager
def launched():
    """A Playwright browser; the test is skipped where there is none, and fails in CI."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = program(playwright.chromium)
        if not Path(path).exists():
            (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW)
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        started.new_page, started.new_context = _patient(started.new_page), _patient(started.new_context)
        yield started
        started.close()


def _patient(make):
    """``make``, whose pages wait as long as a busy machine may need: no test depends on its speed."""

    def made(**how):
        found = make(**how)
        found.set_default_timeout(300_000)
        return found

    return made


@pytest.fixture(scope="module", name="browser")
def chromium():
    """A Playwright browser. A module's own, since Playwright keeps an event loop running in the thread meanwhile."""
    with launched() as browser:
        yield browser


def watch(page) -> list[str]:
    """Collect the address of everything a page asks for, answered or not."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    return requests


def strangers(requests: list[str], home: str) -> list[str]:
    """The requests that leave ``home``'s host."""
    own = urlsplit(home).netloc
    return [url for url in requests if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != own]


def violations(page) -> list[tuple[str, str]]:
    """What axe-core finds wrong with a page as it stands: the rule, and the element that breaks it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]


def pages(report, paper: str) -> int:
    """How many sheets of ``A4`` or ``Letter`` a page prints on."""
    return len(re.findall(rb"/Type\s*/Page\b", report.pdf(format=paper)))


def faults(paths: list[Path], wide: list[Path]) -> list[tuple]:
    """What is wrong with pages on a phone and a desktop: low contrast, and more width than the window has.

    And axe's violations: of all pages on a phone, of those in ``wide`` on a desktop, too.
    """
    found: list[tuple] = []
    with launched() as browser:
        for path in paths:
            page = browser.new_page()
            page.goto(path.as_uri())
            for width in (375, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                wrong = [*page.evaluate(LOW_CONTRAST)]
                wrong += violations(page) if width == 375 or path in wide else []
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    wrong.append("wider than the window")
                found += [(path.name, width, one) for one in wrong]
            page.close()
    return found
