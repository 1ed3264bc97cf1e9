"""``make docs``: the site is built without a broken link, and its pages load nothing from other servers."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from conftest import REPOSITORY

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
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return folder


def test_every_page_is_rendered_and_the_reference_documents_what_is_exported(site):
    import skinlesion

    assert {page.stem for page in REPOSITORY.glob("docs/*.md")} == {page.stem for page in site.glob("*.html")} - {"404"}
    reference = (site / "api.html").read_text(encoding="utf-8")
    exported = set(skinlesion.__all__) - {"__version__", "SkinLesionError"}
    assert not [name for name in exported if f'id="skinlesion.{name}"' not in reference]
    assert 'id="skinlesion.core.errors.SkinLesionError"' in reference
    assert not re.search(r":(func|class|data|meth|mod):", reference)


def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses and not [one for one in parser.addresses if re.match(r"(https?:)?//", one)]
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8"), "the theme fetches mermaid from a CDN"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8"))


def test_a_link_to_a_file_that_is_gone_stops_the_build(tmp_path):
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    shutil.copy(REPOSITORY / "mkdocs.yml", tmp_path)
    (tmp_path / "docs/data.md").write_text("# Data sets\n\n## Terms of the data\n\n[gone](../lib/gone.py)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1 and "lib/gone.py" in done.stderr
