"""For mkdocs: what the pages hold for readers of the repository and of the code, written as a site needs it."""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_) -> str:
    """Links to files that the site has no page for: ``[text](../path)`` -> ``text (`path`)``, or the path alone.

    Raises
    ------
    PluginError
        Where the repository has no such file.
    """
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)", _name, markdown)


def on_page_content(html: str, **_) -> str:
    """Sphinx's roles in docstrings (``:func:`x```) become plain code."""
    return re.sub(r":(?:class|data|func|meth|mod):(?:`~?([^`<]+)`|(<code>)~?)", r"\1\2", html)


def _name(link: re.Match) -> str:
    text, path = link[1], link[2]
    if not (ROOT / path).exists():
        raise PluginError(f"a page links to ../{path}, which is not there")
    return f"`{path}`" if text.strip("/") in path else f"{text} (`{path}`)"
