"""What the shipped model makes of the border of an image, by source: skin and camera, hardly ever the lesion.

    python -m experiments.shortcuts --data "ham10000:$HAM10000_256_DIR" "milk10k:$MILK10K_DIR" "csv:$ISIC2017_DIR"

On the validation part of each source: how well the border's colours alone tell malignant from benign, beside the
network, and how the referral changes where a malignant image gets the mean border colour of another source's benign
images, or of HAM10000's follow-up nevi, which come from one device. Writes both into the installed manifest and card.
The threshold is the model's; nothing is chosen here.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import pandas as pd

from experiments import shipped, storage
from experiments.domain import SOURCES
from skinlesion.core import framing, images
from skinlesion.core.errors import SkinLesionError
from skinlesion.data.sources import load_table
from skinlesion.evaluation import shortcut
from skinlesion.evaluation.predictions import Predictions
from skinlesion.export.card import attach
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor

FOLLOW_UP = "follow-up nevi of HAM10000"


def validation() -> Predictions:
    """The shipped model's predictions on its validation part."""
    known = storage.read(shipped.STORED, shipped.NAME).take(["validation"])
    return known.decided(shipped.choose(known, 0.9))


def camera(known: Predictions) -> np.ndarray:
    """What goes with the camera, str [N]: the source, and HAM10000's follow-up nevi apart."""
    follow_up = (known.source == shipped.HOME) & (known.dx_type == "follow_up")
    return np.where(follow_up, FOLLOW_UP, pd.Series(known.source).map(SOURCES))


def measure(model: Predictor, known: Predictions, frames: list[np.ndarray]) -> dict:
    """``auroc`` of all images, and per source (``by_source``); ``recolored``, per source and colour.

    ``frames``: uint8 [H, W, 3] each, of ``known``.
    """
    own = model.manifest.content["config"]
    squares = [framing.fit_crops(frame, own["image_size"], own["fit"], 1)[0] for frame in frames]
    colors = shortcut.border_colors(squares, ~known.is_malignant, camera(known))
    threshold = model.manifest.decision.referral_threshold
    by_source, recolored = {}, []
    for source, title in SOURCES.items():
        rows = np.flatnonzero(known.source == source)
        of = known.take(rows)
        by_source[source] = shortcut.border_auroc([squares[row] for row in rows], of)
        others = {name: color for name, color in colors.items() if name != title}
        pictures, own_squares = ([every[row] for row in rows] for every in (frames, squares))
        found = shortcut.recoloring(model, pictures, own_squares, of, others, threshold=threshold)
        recolored += [row | {"images": f"{row['images']}, {title}"} for row in found]
    return {"auroc": shortcut.border_auroc(squares, known), "by_source": by_source, "recolored": recolored}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="the sources that the model was trained on")
    given = parser.parse_args(argv)
    try:
        model, known = Predictor.load(), validation()
        path = load_table(given.data, 8).frame.set_index("image_id")["path"]
        frames = [images.read_image(place) for place in path[known.image_ids]]
        attach(PRETRAINED, shortcuts=measure(model, known, frames))
    except SkinLesionError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
