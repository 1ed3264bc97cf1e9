"""How many images of one lesion the search for twins finds, and how many pairs that are none.

    python -m experiments.twins --data "ham10000:$HAM10000_256_DIR" "milk10k:$MILK10K_DIR"

Writes twins.json; about twenty minutes on two cores. Known pairs: those that HAM10000's ``near_duplicates.csv`` lists,
and four that were found by eye (:data:`BY_EYE`). Made pairs: copies of images drawn at random, changed and stored
anew, which are searched for among all images. A pair of a copy and another lesion is wrong; which lesions are one is
taken from split.csv, whose groups rest on such a search, too, so that this share is the best case. Pairs of images of
one lesion id, and of different lesions, are drawn at random and aligned without a shortlist. Features are those of the
shipped model.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from experiments import shipped
from experiments.recipes import ROOT
from skinlesion.core import images
from skinlesion.core.writing import write_json
from skinlesion.data.sources import load_tables
from skinlesion.data.twin_search import decode_all, search
from skinlesion.data.twins import SAME, confirm, find_twins
from skinlesion.evaluation.intervals import proportion
from skinlesion.pipeline.record import commit
from skinlesion.serving.features import Features
from skinlesion.serving.manifest import Manifest

RESULT = ROOT / "experiments" / "twins.json"
BY_EYE = (("0024782", "0030123"), ("0027636", "0027994"), ("0030637", "0029477"), ("0025387", "0029880"))
COPIED, SAME_ID, RANDOM, SEED = 100, 200, 2000, 2


def crop(frame: np.ndarray, share: float) -> np.ndarray:
    """The upper left of the frame's middle: ``share`` of each of its sides."""
    height, width = (round(share * side) for side in frame.shape[:2])
    top, left = (frame.shape[0] - height) // 3, (frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]


def recolour(frame: np.ndarray) -> np.ndarray:
    """Another camera's white balance and gamma: uint8 [H, W, 3]."""
    return np.clip(255 * (frame / 255) ** 0.8 * (0.9, 0.75, 1.0), 0, 255).astype(np.uint8)


def jpeg(frame: np.ndarray, quality: int = 30) -> np.ndarray:
    return images.decode(images.encode(Image.fromarray(frame), "JPEG", quality=quality))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "other colours": recolour,
    "JPEG of quality 30": jpeg,
    "mirrored": lambda frame: frame[:, ::-1],
    "turned by 90 degrees": np.rot90,
    "cropped to 0.8 of a side": lambda frame: crop(frame, 0.8),
    "cropped to 0.65 of a side": lambda frame: crop(frame, 0.65),
    "other colours, cropped to 0.85, turned, mirrored, JPEG of quality 60": lambda frame: jpeg(
        np.ascontiguousarray(np.rot90(crop(recolour(frame), 0.85))[:, ::-1]), 60
    ),
}


def make_copies(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """A changed copy for each of ``rows`` and :data:`CHANGES`: ``path, of, change``; ``of`` is the original's index."""
    made = []
    for number, path in rows["path"].items():
        frame = images.read_image(path)
        for kind, (change, function) in enumerate(CHANGES.items()):
            Image.fromarray(np.ascontiguousarray(function(frame))).save(folder / f"{number}_{kind}.png")
            made.append({"path": str(folder / f"{number}_{kind}.png"), "of": number, "change": change})
    return pd.DataFrame(made)


def pairs_of(found: pd.DataFrame) -> set[tuple[int, int]]:
    return set(found[["a", "b"]].itertuples(index=False, name=None))


def known_pairs(rows: pd.DataFrame, listed: pd.DataFrame) -> list[tuple[int, int]]:
    """Rows of the pairs that are listed, and of those found by eye."""
    place = pd.Series(rows.index, index=rows["image_id"])
    names = [*listed.itertuples(index=False, name=None), *((f"ISIC_{a}", f"ISIC_{b}") for a, b in BY_EYE)]
    return [tuple(sorted((int(place[a]), int(place[b])))) for a, b in names]


def measure(data: list[str], scratch: Path, progress: bool) -> dict:
    """Everything that twins.json holds; the first of ``data`` is HAM10000."""
    tables, rng = load_tables(data), np.random.default_rng(SEED)
    rows = pd.concat([table.frame for table in tables], ignore_index=True)
    own = rows[rows["source"] == rows["source"][0]]
    group = pd.read_csv(shipped.SPLIT, dtype=str).set_index("image_id")["group"]
    lesion = rows["image_id"].map(group).fillna(rows["source"] + "/" + rows["lesion_id"]).to_numpy(object)

    copies = make_copies(own.loc[rng.choice(len(own), min(COPIED, len(own)), replace=False)], scratch)
    paths = [*rows["path"], *copies["path"]]
    ids = np.array([*(rows["source"] + "/" + rows["lesion_id"]), *(f"copy/{name}" for name in copies.index)], object)
    source = np.array([*rows["source"], *["copies"] * len(copies)], object)
    squares, features, _ = decode_all(paths, Features(), progress=progress)
    found = find_twins(
        squares[: len(rows)], features[: len(rows)], sources=source[: len(rows)], lesions=ids[: len(rows)]
    )
    everything = find_twins(squares, features, sources=source, lesions=ids)

    known, whole = known_pairs(own, listed=pd.DataFrame(tables[0].near_duplicates)), pairs_of(found)
    run = pairs_of(search(own.assign(lesion=own["lesion_id"]), Features(views=1), inner=False, progress=progress))
    result = {"known pairs, full search": share([pair in whole for pair in known]),
              "known pairs, as a run searches": share([pair in run for pair in known])}  # fmt: skip

    listed = pairs_of(everything)
    copies["found"] = [(one.of, len(rows) + number) in listed for number, one in enumerate(copies.itertuples())]
    result |= {f"copies, {change}": share(of["found"]) for change, of in copies.groupby("change", sort=False)}
    touched = everything[(everything["b"] >= len(rows)) & (everything["a"] < len(rows))]
    right = lesion[touched["a"]] == lesion[copies["of"].to_numpy()[touched["b"] - len(rows)]]
    result["pairs of a copy that show one lesion"] = share(right)

    two = own.groupby("lesion_id").filter(lambda images: len(images) > 1)
    both = [tuple(of.sample(2, random_state=SEED).index) for _, of in two.groupby("lesion_id")]
    drawn = [both[i] for i in rng.choice(len(both), min(SAME_ID, len(both)), replace=False)]
    result["pairs of one lesion id, aligned"] = share(confirm(squares, np.array(drawn))[:, 0] >= SAME)
    random = rng.integers(0, len(own), (RANDOM, 2))
    random = random[lesion[random[:, 0]] != lesion[random[:, 1]]]
    result["random pairs of different lesions, aligned"] = share(confirm(squares, random)[:, 0] >= SAME)

    across = found[source[found["a"]] != source[found["b"]]]
    counts = {
        "images": len(rows),
        "pairs within": len(found) - len(across),
        "pairs across": len(across),
    }
    return {"found": result, "counts": counts, "model": Manifest.read(None).identity, "commit": commit(ROOT)}


def share(hit) -> dict:
    return proportion(np.asarray(hit, bool), np.arange(len(hit)))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="HAM10000, and a source that holds some of its images")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        write_json(RESULT, measure(given.data, Path(scratch), progress=True))


if __name__ == "__main__":
    main()
