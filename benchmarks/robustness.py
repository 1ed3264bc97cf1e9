"""How the shipped model's answers hold under corruptions and movements, on images that it has not seen:

    python benchmarks/robustness.py --data "$HAM10000_DIR" --run reports/shipped/final

Takes at most --most images a class of the run's test split, writes benchmarks/robustness/<model name>.csv and says what
hurts most. Needs about 70 predictions an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from skinlesion.core import images
from skinlesion.core.runs import Run, atomic
from skinlesion.data.sources import load_table
from skinlesion.data.splits import load_split
from skinlesion.evaluation import robustness
from skinlesion.serving.predictor import Predictor

RESULTS = Path(__file__).resolve().parent / "robustness"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True, help="the training that the model is from: whose split")
    parser.add_argument("--split", default="test", choices=("test", "validation"), help="images that it has not seen")
    parser.add_argument("--model", type=Path, help="an exported model's folder; by default, the shipped one")
    parser.add_argument("--most", type=int, default=140, help="images a class")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    predictor = Predictor.load(arguments.model, threads=arguments.threads)
    split = load_split(Run(arguments.run).split)
    split = split[split["split"] == arguments.split]
    codes = predictor.manifest.labels.codes
    y = split["label"].map({code: i for i, code in enumerate(codes)}).to_numpy()
    rows = robustness.sample_evenly(y, arguments.most)
    ids = split["image_id"].to_numpy(str)[rows]
    place = load_table(arguments.data, len(codes)).frame.set_index("image_id")["path"]
    table = robustness.measure(
        predictor,
        [images.read(place[image]) for image in ids],
        ids,
        y[rows],
        split["lesion_id"].to_numpy(str)[rows],
        prior=np.array([predictor.manifest.content["prior"][code] for code in codes]),
        progress=True,
    )
    RESULTS.mkdir(exist_ok=True)
    with atomic(RESULTS / f"{predictor.manifest.name}.csv") as temporary:
        table.round(5).to_csv(temporary, index=False, lineterminator="\n")
    print(robustness.weakest(table)[["kind", "level", "balanced_accuracy", "relative", "in_domain"]].to_string())


if __name__ == "__main__":
    main()
