"""``index.html``: the run at a glance, made from the files in its folder."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from PIL import Image

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run, write_text
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import label_set
from skinlesion.report.page import SIZE_LIMIT, SYNTHETIC, environment, page_parts

THUMBNAIL = (640, 480)  # pixels, at most
HEADLINES = (
    ("balanced_accuracy", "Balanced accuracy"),
    ("macro_auroc", "Macro AUROC"),
    ("malignant_auroc", "AUROC, malignant against benign"),
    ("accuracy", "Accuracy"),
    ("ece", "Calibration error (ECE)"),
)
FILES = (
    ("predictions.csv", "one row an image, with probabilities and scores"),
    ("metrics.json", "every metric with its interval"),
    ("model", "the exported model, its manifest and card"),
    ("split.csv", "which image is in which split"),
    ("data_check.csv", "rows that were set aside, and why"),
    ("config.json", "the configuration"),
    ("run.json", "what this page says, for programs"),
)
STATUS_WORDS = {"done": "ran", "current": "up to date", "stale": "out of date", "missing": "not run"}


def write_index(run: Run) -> None:
    """Write the run's ``index.html`` from ``run.json``, ``metrics.json``, ``table.csv`` and ``figures/``.

    Raises DataError if the run has no ``run.json``.
    """
    facts = json.loads(run.need(run.summary, "run_all.py").read_text())
    states = {entry["status"] for entry in facts["notebooks"]}
    page = environment().get_template("run.html.j2").render(
        facts=facts,
        banner=SYNTHETIC if facts["synthetic"] else "",
        whole=states <= {"done", "current"},
        notebooks=[_shown(run, entry) for entry in facts["notebooks"]],
        size_limit=SIZE_LIMIT,
        thumbnails=[_figure(path) for path in _by_weight(run.figures.glob("*.png"))],
        files=[(name, words) for name, words in FILES if (run.folder / name).exists()],
        parameters=_parameters(facts["config"]),
        counts=_counts(run),
        by_source=_by_source(facts["data"].get("counts", {})),
        minutes=_minutes,
        moment=lambda text: f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC",
        **_metrics(run),
        **page_parts(),
    )  # fmt: skip
    write_text(run.folder / "index.html", page)


def _shown(run: Run, entry: dict) -> dict:
    page = run.folder / f"{entry['name']}.html"
    words = STATUS_WORDS.get(entry["status"], entry["status"])
    size = entry["bytes"] or 0
    size = f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{size / 2**10:.0f} kB"
    return entry | {"page": page.name if page.exists() else None, "words": words, "size": size}


def _parts(metrics: dict) -> list[tuple[str, dict]]:
    """Figures of each source, and of its images with histology, where there are several sources."""
    sources, histology = metrics.get("by_source", {}), metrics.get("histology_only", {}).get("by_source", {})
    if len(sources) < 2:
        return []
    rows = []
    for name, part in sources.items():
        rows.append((name, part))
        if name in histology:
            rows.append((f"{name}, histology only", histology[name]))
    return rows


def _metrics(run: Run) -> dict:
    """Headline figures and sensitivity by class, as far as ``metrics.json`` has them."""
    try:
        metrics = json.loads(run.metrics.read_text())
    except FileNotFoundError:
        return {"headlines": [], "parts": [], "classes": []}
    except ValueError:
        raise DataError(f"{run.metrics} is damaged; run 04_evaluation again") from None
    per_class, histology = metrics.get("per_class", {}), metrics.get("histology_only", {})
    diagnoses = label_set(list(per_class)) if per_class else ()
    return {
        "headlines": [(key, name, metrics[key], histology.get(key)) for key, name in HEADLINES if key in metrics],
        "parts": _parts(metrics),
        "classes": [(d, per_class[d.code]["sensitivity"]) for d in diagnoses if "sensitivity" in per_class[d.code]],
    }


#: The figures that tell most come first, in this order; the others follow as they were made.
_MAIN = ("confusion_matrix", "roc_curves", "by_class", "training_curves", "reliability", "class_counts")


def _by_weight(paths: Iterable[Path]) -> list[Path]:
    rank = {name: number for number, name in enumerate(_MAIN)}
    return sorted(paths, key=lambda path: (rank.get(path.stem, len(rank)), path.stat().st_mtime_ns, path.name))


def _figure(path: Path) -> dict[str, str]:
    """A figure's thumbnail, caption and description, which is in a ``.txt`` beside it."""
    described = path.with_suffix(".txt")
    caption = path.stem.replace("_", " ").strip().capitalize().replace("Roc ", "ROC ")
    return {
        "link": f"figures/{path.name}",
        "caption": caption,
        "alt": described.read_text(encoding="utf-8").strip() if described.exists() else caption,
        "source": _thumbnail(path, path.stat().st_mtime_ns),
    }


@lru_cache(maxsize=64)  # the page is written many times in a run
def _thumbnail(path: Path, _stamp: int) -> str:
    """A figure made small, as a data URL: nothing is loaded when the page opens."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def _parameters(values: dict) -> list[tuple[str, object, bool]]:
    """(name, value, whether it differs from the default) of the whole configuration."""
    default = Config().to_dict()
    return [(name, value, value != default.get(name)) for name, value in values.items()]


def _counts(run: Run) -> str:
    """``"10,015 images of 7,470 lesions"``, counted in the table; empty before there is one."""
    if not run.table_file.exists():
        return ""
    with open(run.table_file, newline="", encoding="utf-8") as file:
        lesions = [row["lesion_id"] for row in csv.DictReader(file)]
    return f"{counted(len(lesions), 'image')} of {counted(len(set(lesions)), 'lesion')}"


def _by_source(counts: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    """Each source with ``"4,806 images: nv 541, mel 389"``."""
    return [
        (
            name,
            f"{counted(sum(classes.values()), 'image')}: "
            + ", ".join(f"{code} {n:,}" for code, n in classes.items() if n),
        )
        for name, classes in counts.items()
    ]


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
