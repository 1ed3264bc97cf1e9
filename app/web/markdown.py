"""The model card and the API's descriptions as HTML, by markdown-it-py; what is not Markdown is escaped."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from app.words import text

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def _open_table(_renderer: RendererHTML, tokens: list[Token], index: int, *_) -> str:
    """A table scrolls by itself on a narrow screen, for the keyboard too, and is named by its columns."""
    end = next(i for i in range(index, len(tokens)) if tokens[i].type == "thead_close")
    name = " ".join(filter(None, (token.content for token in tokens[index:end] if token.type == "inline")))
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escape(text("api.table", columns=name))}"><table>'


_MARKDOWN.add_render_rule("table_open", _open_table)
_MARKDOWN.add_render_rule("table_close", lambda *_: "</table></div>")


def render(content: str) -> Markup:
    """A document inside a page: headings one level down, and no header cells without a word."""
    tokens = _MARKDOWN.parse(content)
    for i, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + 1, 6)}"
        elif token.type == "th_open" and not tokens[i + 1].content:
            token.tag = tokens[i + 2].tag = "td"
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def inline(content: str) -> Markup:
    """Text with its ``code``, **bold** and [links](https://...), without a paragraph around it."""
    return Markup(_MARKDOWN.renderInline(content))
