"""Whether the shipped model's activation maps look at the lesion, on images with masks that it has not seen:

    python benchmarks/attention.py --data "$HAM10000_DIR" --run reports/shipped/final

Takes at most --most images a class of the run's test split and writes benchmarks/attention/<model name>.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from skinlesion.core import images
from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run, atomic
from skinlesion.data.skin_tone import lesion_masks
from skinlesion.data.sources import load_table
from skinlesion.data.splits import load_split
from skinlesion.evaluation import attention
from skinlesion.evaluation.robustness import sample_evenly
from skinlesion.export.onnx import shuffled
from skinlesion.serving.predictor import Predictor

RESULTS = Path(__file__).resolve().parent / "attention"
SHUFFLES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True, help="the training that the model is from: whose split")
    parser.add_argument("--split", default="test", choices=("test", "validation"), help="images that it has not seen")
    parser.add_argument("--model", type=Path, help="an exported model's folder; by default, the shipped one")
    parser.add_argument("--most", type=int, default=75, help="images a class")
    arguments = parser.parse_args()
    predictor = Predictor.load(arguments.model)
    manifest = predictor.manifest
    table = load_table(arguments.data, len(manifest.labels))
    place, masks = table.frame.set_index("image_id")["path"], lesion_masks(table.location)
    split = load_split(Run(arguments.run).split)
    split = split[(split["split"] == arguments.split) & split["image_id"].isin(list(masks))]
    if split.empty:
        raise DataError(f"not run: {table.location} holds no lesion masks of {arguments.split} images")
    y = split["label"].map({code: i for i, code in enumerate(manifest.labels.codes)}).to_numpy()
    rows = sample_evenly(y, arguments.most)
    ids = split["image_id"].to_numpy(str)[rows]
    frames = [images.read(place[image]) for image in ids]
    table = attention.judge(
        attention.maps_of(predictor, frames),
        np.stack([attention.fit_mask(images.read(masks[image]), manifest.fit, manifest.crops) for image in ids]),
        y[rows],
        manifest.labels.codes,
        split["lesion_id"].to_numpy(str)[rows],
        shuffled=[attention.maps_of(shuffled(arguments.model, seed), frames) for seed in range(SHUFFLES)],
    )
    RESULTS.mkdir(exist_ok=True)
    with atomic(RESULTS / f"{manifest.name}.csv") as temporary:
        table.round(5).to_csv(temporary, index=False, lineterminator="\n")
    print(table[["class", "map", "n_images", "energy", "pointing", "energy_gain", "likeness"]].round(3).to_string())


if __name__ == "__main__":
    main()
