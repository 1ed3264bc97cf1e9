"""Which score notices an image that is no dermatoscopic image of a lesion? Candidates on the shipped model:

    python benchmarks/out_of_domain.py --data "$HAM10000_DIR" --run reports/shipped/final

In domain are the run's test images; statistics come from its training images, at most 700 a class; foreign images from
skinlesion.data.demo.not_dermatoscopic, whose sets need no download, and, apart from them, the synthetic demo set, which
is made to look like the domain.
Writes benchmarks/out_of_domain/<model name>.csv and, for the score that is served, whom it would
turn away: <model name>-kept.csv. The choice among the scores was made on validation images (--split validation).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from scipy.special import logsumexp, softmax
from sklearn.covariance import ShrunkCovariance
from sklearn.neighbors import NearestNeighbors

from skinlesion.core import images
from skinlesion.core.runs import Run, atomic
from skinlesion.data.demo.not_dermatoscopic import foreign_sets
from skinlesion.data.sources import load_table
from skinlesion.data.splits import load_split
from skinlesion.evaluation.bootstrap import resample, summarise
from skinlesion.evaluation.metrics import ratio
from skinlesion.evaluation.out_of_domain import detection
from skinlesion.evaluation.robustness import sample_evenly
from skinlesion.serving.manifest import PRETRAINED, Manifest
from skinlesion.training.domain import MOST_OF_A_CLASS, fit_gaussian

RESULTS = Path(__file__).resolve().parent / "out_of_domain"
SERVED = "mahalanobis, low rank, classes alike"
NEIGHBOUR = 10  # whose distance counts
SHRINKAGE = 0.002  # as Ledoit and Wolf's formula finds for these features; the same for both covariances
COUNT = 200  # foreign images a set
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]  # logits [N, K], features [N, D] -> [N], higher: in domain


def look(session: onnxruntime.InferenceSession, frames: Sequence[np.ndarray]) -> tuple:
    """Logits and features of frames of any sizes."""
    said = [session.run(["logits", "features"], {"image": frame[None]}) for frame in frames]
    return tuple(np.concatenate(part).astype(np.float64) for part in zip(*said, strict=True))


def candidates(features: np.ndarray, y: np.ndarray) -> dict[str, tuple[Score, int]]:
    """Every score, and how many numbers it would add to the model file."""
    d, classes = features.shape[1], np.unique(y)
    means = np.stack([features[y == c].mean(0) for c in classes])
    own_mean = means[np.searchsorted(classes, y)]
    within = ShrunkCovariance(shrinkage=SHRINKAGE, assume_centered=True).fit(features - own_mean).precision_
    around = ShrunkCovariance(shrinkage=SHRINKAGE).fit(features)
    domain = fit_gaussian(features, y)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOUR, algorithm="brute").fit(directions)

    def mahalanobis(x: np.ndarray) -> np.ndarray:
        return -np.min([((x - mean) @ within * (x - mean)).sum(1) for mean in means], axis=0)

    def nearest(x: np.ndarray) -> np.ndarray:
        return -neighbours.kneighbors(x / np.linalg.norm(x, axis=1, keepdims=True))[0][:, -1]

    return {
        "energy": (lambda logits, x: logsumexp(logits, axis=1), 0),
        "maximum softmax": (lambda logits, x: softmax(logits, axis=1).max(1), 0),
        "mahalanobis, a mean a class": (lambda logits, x: mahalanobis(x), d * (d + len(classes))),
        "relative mahalanobis": (lambda logits, x: mahalanobis(x) + around.mahalanobis(x), 2 * d * (d + 1)),
        f"nearest neighbour {NEIGHBOUR}": (lambda logits, x: nearest(x), features.size),
        SERVED: (lambda logits, x: domain.score(x), domain.components.size + d),
    }


def kept_by_class(in_domain: np.ndarray, y: np.ndarray, codes: Sequence[str], lesions: np.ndarray) -> dict[str, dict]:
    """Fraction of each class's images that count as in domain, with its interval over lesions."""
    resamples, classes = resample(lesions), np.eye(len(codes))[y]
    fractions = ratio(resamples.totals(classes * in_domain[:, None]), resamples.totals(classes))
    return {code: summarise(fractions[:, i], int(classes[:, i].sum())) for i, code in enumerate(codes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True, help="the training that the model is from: whose split")
    parser.add_argument("--split", default="test", choices=("test", "validation"), help="images that it has not seen")
    parser.add_argument("--model", type=Path, default=PRETRAINED, help="an exported model's folder")
    arguments = parser.parse_args()
    manifest = Manifest.read(arguments.model)
    session = onnxruntime.InferenceSession(arguments.model / manifest.file, providers=["CPUExecutionProvider"])
    codes = manifest.labels.codes
    place = load_table(arguments.data, len(codes)).frame.set_index("image_id")["path"]
    split = load_split(Run(arguments.run).split)
    split = split.assign(y=split["label"].map({code: i for i, code in enumerate(codes)}))
    training, unseen = (split[split["split"] == name] for name in ("train", arguments.split))
    training = training.iloc[sample_evenly(training["y"].to_numpy(), MOST_OF_A_CLASS)]

    def answers(part: pd.DataFrame) -> tuple:
        return look(session, [images.read(place[image]) for image in part["image_id"]])

    inside, lesions = answers(unseen), unseen["lesion_id"].to_numpy(str)
    foreign = {name: (one.frames, one.sources) for name, one in foreign_sets(COUNT).items()}
    outside = {name: (look(session, frames), sources) for name, (frames, sources) in foreign.items()}
    demo = load_table(f"demo:{COUNT}").frame
    drawn = look(session, [images.read(path) for path in demo["path"]])
    tables, kept = [], None
    for name, (score, numbers) in candidates(answers(training)[1], training["y"].to_numpy()).items():
        found = {which: (score(*said), sources) for which, (said, sources) in outside.items()}
        near = score(*inside)
        apart = detection(near, lesions, {"demo images": (score(*drawn), demo["lesion_id"].to_numpy(str))})
        table = pd.concat([detection(near, lesions, found), apart[:1]])
        tables.append(table.assign(score=name, kilobytes=round(4 * numbers / 1000)))
        print(name, table[["set", "auroc", "fpr95"]].round(3).to_string(index=False), sep="\n")
        if name == SERVED:
            in_domain = near >= np.quantile(near, 0.05)
            kept = kept_by_class(in_domain, unseen["y"].to_numpy(), codes, lesions)
    RESULTS.mkdir(exist_ok=True)
    for suffix, table in {
        "": pd.concat(tables).set_index("score"),
        "-kept": pd.DataFrame(kept).T.rename_axis("class").astype({"n": int}),
    }.items():
        with atomic(RESULTS / f"{manifest.name}{suffix}.csv") as temporary:
            table.round(5).to_csv(temporary, lineterminator="\n")


if __name__ == "__main__":
    main()
