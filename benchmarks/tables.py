"""The tables and phrases of how fast the code is, which :mod:`experiments.figures` writes into pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from statistics import median

import numpy as np

from benchmarks.measure import ROOT
from skinlesion.evaluation.intervals import describe

#: The cost model of docs/scale.md beside the measured rates: bytes an image, side in pixels, epochs, prices.
COSTS = {"b": 0.27e6, "s": 128, "e": 15, "p": 0.04, "g": 0.0004, "x": 0.09}
SIZES = (
    ("10 thousand: HAM10000", 1e4, 2),
    ("500 thousand: the ISIC Archive", 5e5, 32),
    ("10 million: a country's clinics", 1e7, 256),
)  # images, cores


@cache
def result(path: str) -> dict:
    """A committed JSON file of results, by its place in the repository."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" for cells in lines)


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


def sections(results: dict) -> str:
    """All sections of `make bench` as Markdown, a table each."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        f"Measured {results['date']}, {results['machine']}; {versions}. Load when begun {results['load when begun']}; "
        f"{results['minutes']:.1f} minutes in all. Raw values: [bench.json](../benchmarks/results/bench.json)."
    ]
    for name, section in results["sections"].items():
        parts += ["", f"### {name}", "", "| | | value (range) | measured | 1.0 is |", "|---|---|---|---|---|"]
        for chart in section["charts"]:
            for i, bar in enumerate(chart["bars"]):
                title = f"{chart['title']}{', less is better' if chart['better'] == 'less' else ''}" if not i else ""
                against = chart["against"] if not i else ""
                cells = (title, bar["name"], written(bar, chart), bar["says"], against)
                parts.append(f"| {' | '.join(cells)} |")
        notes = dict.fromkeys(chart["note"] for chart in section["charts"] if chart["note"])
        parts += ["", *notes]
    return "\n".join(parts).strip() + "\n"


def bench() -> str:
    """All of `make bench`."""
    return sections(result("benchmarks/results/bench.json"))


def steps() -> str:
    """What makes a training step quicker."""
    networks = result("benchmarks/results/steps.json")["networks"]
    ways = ("bfloat16", "torch.compile", "two stages frozen")
    rows = [[name, *("{ratio:.2f} ({low:.2f} to {high:.2f})".format(**found[way]) if way in found else ""
             for way in ways)] for name, found in networks.items()]  # fmt: skip
    return table(["images/s against the plain step", *ways], rows)


def device() -> str:
    """The on-device page beside native code."""
    found = result("benchmarks/results/device.json")
    change, weights, two = (
        found[name] for name in ("largest change of a probability", "weights in 16 bits", "one image, 2 threads")
    )
    size = sum(found["download, MB"][part] for part in ("model", "runtime", "page"))
    native = f"{change['page against native, same frames']:.0e}".replace("e-0", "e-")
    return table(["the on-device page", ""], [
        ["to download", f"{size:.0f} MB"],
        [f"largest change of a probability against native ONNX Runtime, same weights ({change['images']} images)",
         native],
        ["loss of balanced accuracy by 16-bit weights, test split", describe(weights["loss"])],
        ["an image in headless Chromium, two cores", f"{two['page, ms']:.0f} ms, "
         f"{two['page / native, median']:.1f} times native"],
    ])  # fmt: skip


def photographs() -> str:
    """What a photograph of 12 megapixels takes on every way."""
    found = result("benchmarks/results/photographs.json")
    rows = [[name, f"{seconds:.2f} s", f"{found['of the first'][name]:.2f}"]
            for name, seconds in found["seconds, median"].items()]  # fmt: skip
    return table([f"4000 x 3000 px, medians of {found['rounds']}, {found['machine'].partition(' ')[0]} cores", "takes",
                  "of the first"], rows)  # fmt: skip


def similar_cases() -> str:
    """What a query of an index of similar cases costs."""
    found = result("benchmarks/results/neighbours.json")
    return (
        f"{found['lesions']:,} lesions a query takes {found['query, ms']['median']:.0f} ms and "
        f"{found['memory, MB']['all']:.0f} MB ({found['machine'].partition(' ')[0]} cores, "
        f"{found['load before']:.0f} other processes at work)"
    )


# ---- the cost model of docs/scale.md


def rates() -> dict[str, float]:
    """Images a second and core: scored, trained on, decoded."""
    sections = {name: one["charts"] for name, one in result("benchmarks/results/bench.json")["sections"].items()}
    cores = int(result("benchmarks/results/bench.json")["machine"].partition(" ")[0])
    (lite0,) = [chart for chart in sections["Training"] if "EfficientNet-Lite0" in chart["title"]]
    (ours,) = [bar for bar in sections["Decode and resize"][0]["bars"] if bar["name"] == "ours"]
    return {
        "r": round(sections["Batch scoring"][0]["measured"]["images a second and core"]),
        "t": round(median(one["ours"] for one in lite0["rounds"]) / cores),
        "d": round(float(ours["says"].split()[0]) / cores, -1),
    }


def quantity(value: float, ladder: tuple[tuple[float, str], ...] = ((1, ""),)) -> str:
    """Two significant digits (more before the point) with the largest unit that fits: ``2.7 GB``, ``0.09``."""
    size, unit = next((step for step in ladder if value >= step[0]), ladder[-1])
    value /= size
    if value < 0.01:
        return f"< 0.01 {unit}".strip()
    digits = max(0, 1 - int(np.floor(np.log10(value)))) if value < 10 else 0
    return f"{value:,.{digits}f} {unit}".strip()


def costs() -> str:
    """What three sizes of data cost."""
    c, bytes_, hours = COSTS | rates(), ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")), ((3600, "h"), (60, "min"))
    lines: list[tuple[str, Callable[[float, int], str]]] = [
        ("to read (`N · b`)", lambda n, cores: quantity(n * c["b"], bytes_)),
        ("scoring, core-hours (`N / r`)", lambda n, cores: quantity(n / c["r"] / 3600)),
        ("… by the clock", lambda n, cores: f"{quantity(n / c['r'] / cores, hours)} on {cores} cores"),
        ("… cores", lambda n, cores: quantity(n / c["r"] / 3600 * c["p"])),
        ("… single reads (`g`)", lambda n, cores: quantity(n / 1000 * c["g"])),
        ("… leaving the region (`x`)", lambda n, cores: quantity(n * c["b"] / 1e9 * c["x"])),
        ("cache, core-hours (`N / d`)", lambda n, cores: quantity(n / c["d"] / 3600)),
        ("cache on disk (`3 · s² · N`)", lambda n, cores: quantity(n * 3 * c["s"] ** 2, bytes_)),
        ("training, core-hours (`N · e / t`)", lambda n, cores: quantity(n * c["e"] / c["t"] / 3600)),
        ("… by the clock", lambda n, cores: f"{quantity(n * c['e'] / c['t'] / cores, hours)} on {cores} cores"),
    ]
    rows = [[name, *(line(n, cores) for _, n, cores in SIZES)] for name, line in lines]
    return table(["", *(title for title, _, _ in SIZES)], rows)


def rate(letter: str) -> Callable[[], str]:
    """A measured rate of the cost model."""
    return lambda: f"{rates()[letter]:.0f}"


FIGURES: dict[str, Callable[[], str]] = {
    "bench": bench,
    "steps": steps,
    "device": device,
    "photographs": photographs,
    "similar-cases": similar_cases,
    "costs": costs,
    "rate-scoring": rate("r"),
    "rate-training": rate("t"),
    "rate-decoding": rate("d"),
}
