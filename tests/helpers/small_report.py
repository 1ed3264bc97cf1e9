"""A notebook and a run in which there is everything that pages show: figures, tables, progress, an error, metrics."""

import base64
import json

import nbformat
import numpy as np
import pytest

from skinlesion.core.config import Config
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import HAM7
from skinlesion.report import render_notebook
from small import encoded

new = nbformat.v4


def png(width=60, height=40, noise=False):
    shape = (height, width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape) if noise else np.full(shape, 90)
    return base64.b64encode(encoded(pixels.astype(np.uint8))).decode()


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


@pytest.fixture(name="render")
def renderer(tmp_path):
    """Render cells, return the page; ``page.path`` is where it lies."""

    def render(*cells, **how):
        nbformat.write(new.new_notebook(cells=list(cells)), tmp_path / "01_eda.ipynb")
        render.path = tmp_path / "01_eda.html"
        render.size = render_notebook(tmp_path / "01_eda.ipynb", render.path, **how)
        return render.path.read_text(encoding="utf-8")

    return render


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


def measured() -> dict:
    """Metrics as an evaluation leaves them; of one class there was no image."""
    per_class = {code: {"sensitivity": metric(0.5)} for code in HAM7.codes}
    per_class["df"]["sensitivity"] = metric(None, None, None, 0)
    return {
        "balanced_accuracy": metric(0.7312), "macro_auroc": metric(0.943), "accuracy": metric(0.8),
        "ece": metric(0.041, None, None), "per_class": per_class,
    }  # fmt: skip
