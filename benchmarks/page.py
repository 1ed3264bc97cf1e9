"""The results as one self-contained page with bars, and as the tables of docs/performance.md."""

from __future__ import annotations

import html

WIDTH, NAME, VALUE, ROW = 860, 230, 270, 26  # pixels: the drawing, room for names and for values, a bar's row
COLORS = {"ours": "#0072b2", "other": "#b8b8b8"}  # distinguishable for colour-blind readers, and by their names
OURS = ("ours", "our", "http", "skinlesion")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 900px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-top: 1px solid #ddd; padding-top: 1rem; }
figure { margin: 1.2rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: #222; } p.note { color: #555; font-size: .9rem; margin: .2rem 0; }
"""


def number(value: float, chart: dict) -> str:
    """Two decimals of a ratio, three of a figure that stands for itself (an accuracy), three digits of little ones."""
    if abs(value) < 0.0005 or abs(value) >= 0.1 or not chart["against"]:
        digits = 2 if chart["against"] else 3
        return f"{round(value, digits) + 0.0:,.{digits}f}"  # no minus before a zero
    return f"{value:.3g}"


def written(bar: dict, chart: dict) -> str:
    """A bar's value, and the least and the largest of its pairs or its interval where there is one."""
    low, high = (number(bar[key], chart) for key in ("low", "high"))
    return number(bar["value"], chart) + ("" if bar["low"] == bar["high"] else f" ({low} to {high})")


def is_ours(bar: dict) -> bool:
    return bar.get("ours", bar["name"].lower().startswith(OURS))


def drawing(chart: dict) -> str:
    """A chart's bars as SVG, with a line at 1.0 where it is a ratio."""
    bars, room = chart["bars"], WIDTH - NAME - VALUE
    line = 1.0 if chart["against"] else None
    most = max([b["high"] for b in bars] + ([line] if line else [])) or 1.0
    height = ROW * len(bars) + 22
    words = "; ".join(f"{b['name']}: {number(b['value'], chart)}" for b in bars)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(chart["title"] + ": " + words)}">'
    ]
    for i, bar in enumerate(bars):
        y, middle = i * ROW, i * ROW + ROW / 2
        length, low, high = (max(0.0, bar[key]) / most * room for key in ("value", "low", "high"))
        parts.append(f'<text x="{NAME - 8}" y="{middle + 4}" text-anchor="end">{html.escape(bar["name"])}</text>')
        color = COLORS["ours" if is_ours(bar) else "other"]
        parts.append(f'<rect x="{NAME}" y="{y + 4}" width="{length:.1f}" height="{ROW - 8}" fill="{color}"/>')
        if high > low:
            parts.append(f'<path d="M{NAME + low:.1f} {middle}H{NAME + high:.1f}" stroke="#222" stroke-width="1.5"/>')
        words = number(bar["value"], chart) + (f" · {bar['says']}" if bar["says"] else "")
        parts.append(f'<text x="{NAME + max(length, high) + 6:.1f}" y="{middle + 4}">{html.escape(words)}</text>')
    if line:
        x = NAME + line / most * room
        bottom = ROW * len(bars)
        parts.append(f'<path d="M{x:.1f} 0V{bottom}" stroke="#d55e00" stroke-width="1.5" stroke-dasharray="4 3"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">1 = {html.escape(chart["against"])}</text>'
        )
    return "".join([*parts, "</svg>"])


def facts(results: dict) -> str:
    """When, on what and how long, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{results['date']}, {results['machine']}; {versions}. Load when begun {results['load when begun']}; "
        f"{results['minutes']:.1f} minutes in all."
    )


def page(results: dict) -> str:
    """One HTML page; nothing in it comes from elsewhere."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>How fast Skin Lesion Lab is</title><style>{STYLE}</style><h1>How fast Skin Lesion Lab is</h1>"
        f"<p>{html.escape(facts(results))} Bars are medians of repeated pairs, lines reach from the least to the "
        "largest pair; ratios are to what ran beside it in the same call. Blue is ours.</p>"
    ]
    for name, section in results["sections"].items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        for chart in section["charts"]:
            direction = {"more": "longer is better", "less": "shorter is better"}[chart["better"]]
            parts.append(
                f"<figure><figcaption>{html.escape(chart['title'])} ({direction})</figcaption>{drawing(chart)}"
            )
            if chart["note"]:
                parts.append(f"<p class=note>{html.escape(chart['note'])}</p>")
            parts.append("</figure>")
    return "\n".join(parts) + "\n"


def tables(results: dict) -> str:
    """The same as Markdown: a table a section."""
    parts = [f"Measured {facts(results)} Raw values: [bench.json](../benchmarks/results/bench.json)."]
    for name, section in results["sections"].items():
        parts += [
            "",
            f"### {name}",
            "",
            "| | | value (range) | measured | 1.0 is |",
            "|---|---|---|---|---|",
        ]
        for chart in section["charts"]:
            for i, bar in enumerate(chart["bars"]):
                title = f"{chart['title']}{', less is better' if chart['better'] == 'less' else ''}" if not i else ""
                against = chart["against"] if not i else ""
                cells = (title, bar["name"], written(bar, chart), bar["says"], against)
                parts.append(f"| {' | '.join(cells)} |")
        notes = dict.fromkeys(chart["note"] for chart in section["charts"] if chart["note"])
        parts += ["", *notes]
    return "\n".join(parts).strip() + "\n"
