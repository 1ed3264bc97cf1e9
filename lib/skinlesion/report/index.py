"""``index.html``: the run at a glance, made from the files in its folder."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from PIL import Image

from skinlesion.core.config import Config
from skinlesion.core.errors import DataError
from skinlesion.core.images import encode
from skinlesion.core.runs import Run
from skinlesion.core.tables import counted
from skinlesion.core.taxonomy import label_set
from skinlesion.core.writing import write_text
from skinlesion.report.page import SIZE_LIMIT, SYNTHETIC, environment, page_parts

THUMBNAIL = (640, 480)  # pixels, at most


def write_index(run: Run) -> None:
    """Write the run's ``index.html`` from ``run.json``, ``metrics.json``, ``table.csv`` and ``figures/``.

    Raises DataError if the run has no ``run.json``.
    """
    facts = json.loads(run.need(run.summary, "run_all.py").read_text())
    metrics = _metrics(run)
    page = environment().get_template("run.html.j2").render(
        facts=facts,
        banner=SYNTHETIC if facts["synthetic"] else "",
        present={path.name for path in run.folder.iterdir()},
        size_limit=SIZE_LIMIT,
        thumbnails=[_figure(path) for path in _by_weight(run.figures.glob("*.png"))],
        default=Config().to_dict(),
        counts=_counts(run),
        counted=counted,
        metrics=metrics,
        diagnoses=label_set(list(metrics["per_class"])) if metrics.get("per_class") else (),
        moment=lambda text: f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC",
        **page_parts(),
    )  # fmt: skip
    write_text(run.folder / "index.html", page)


def _metrics(run: Run) -> dict:
    """``metrics.json``; empty before there is one."""
    try:
        return json.loads(run.metrics.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise DataError(f"{run.metrics} is damaged; run 04_evaluation again") from None


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
    return f"data:image/webp;base64,{base64.b64encode(encode(small, 'WEBP', quality=80)).decode()}"


def _counts(run: Run) -> str:
    """``"10,015 images of 7,470 lesions"``, counted in the table; empty before there is one."""
    if not run.table_file.exists():
        return ""
    with open(run.table_file, newline="", encoding="utf-8") as file:
        lesions = [row["lesion_id"] for row in csv.DictReader(file)]
    return f"{counted(len(lesions), 'image')} of {counted(len(set(lesions)), 'lesion')}"
