"""How fast we really are: every figure a ratio to something run beside it in the same call.

    make bench                                   # everything; about 20 minutes on two idle cores
    python -m benchmarks.bench --only decode score # some sections; today's others stay
    python -m benchmarks.bench --brief           # a glimpse of each, into build/bench, to see that it works
    make bench-full                              # measures growth with the data again first

Writes ``benchmarks/results/bench.json`` and the figures in docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version

import experiments.figures  # first of all: without .venv, experiments ends with the line that names the fix
from benchmarks.measure import CORES, ROOT
from benchmarks.tables import written
from skinlesion.core.writing import write_json

RESULTS = ROOT / "benchmarks" / "results"
#: Title and about how many minutes, by module: what is measured each time, and what is read from committed results.
SECTIONS = {
    "decode": ("Decode and resize", 1),
    "training": ("Training", 9),
    "inference": ("Inference", 3.5),
    "score": ("Batch scoring", 4.5),
    "serve": ("The app", 2),
    "growth": ("Growth with the data", 0),
}
VERSIONS = ("torch", "torchvision", "timm", "onnxruntime", "pillow", "numpy")


def section(name: str, *, brief: bool) -> list[dict]:
    """The charts of one section; none where a committed result is missing."""
    module = importlib.import_module(f"benchmarks.{name}")
    if name == "growth":
        return module.charts(json.loads(module.RESULTS.read_text())) if module.RESULTS.exists() else []
    return module.charts(brief=brief)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--brief", action="store_true", help="a glimpse of each, into build/bench; no figure is valid")
    given = parser.parse_args()
    folder = ROOT / "build" / "bench" if given.brief else RESULTS
    target, today = folder / "bench.json", f"{datetime.now(UTC):%Y-%m-%d}"
    before = json.loads(target.read_text()) if given.only and target.exists() else {}
    results = {
        "date": today,
        "machine": f"{CORES} x {platform.machine()}, {platform.system()}",
        "versions": {"Python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "load when begun": round(os.getloadavg()[0], 2),
        "brief": given.brief,
    }
    found = before.get("sections", {}) if before.get("date") == today else {}
    folder.mkdir(parents=True, exist_ok=True)
    for name in given.only or SECTIONS:
        title, most = SECTIONS[name]
        print(
            f"== bench: {title}" + (f", about {most:g} minutes when idle" if most and not given.brief else ""),
            flush=True,
        )
        began = time.perf_counter()
        charts = section(name, brief=given.brief)
        found[title] = {"minutes": (time.perf_counter() - began) / 60, "charts": charts}
        for chart in charts:
            for bar in chart["bars"]:
                print(f"   {chart['title']}: {bar['name']} {written(bar, chart)} [{bar['says']}]", flush=True)
        measured = {title: found[title] for title, _ in SECTIONS.values() if found.get(title, {}).get("charts")}
        minutes = sum(part["minutes"] for part in found.values())
        write_json(target, results | {"sections": measured, "minutes": minutes})  # --only goes on from a failure
    if not given.brief and all(title in measured for title, most in SECTIONS.values() if most):
        experiments.figures.write()
    print(f"== bench: {minutes:.1f} minutes; wrote {target}")


if __name__ == "__main__":
    main()
