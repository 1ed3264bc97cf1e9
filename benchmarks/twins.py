"""How long the search for twins takes, and how much memory: 25,000 images, simulated, and the first step for 1,000,000.

    python -m benchmarks.twins              # about half an hour on two idle cores
    python -m benchmarks.twins --brief      # 2,000 and 5,000 images, to see that it works

Writes ``benchmarks/results/twins.json``. What is measured begins after decoding and features. Features are drawn as in
:mod:`benchmarks.neighbours`; squares are those of drawn lesions, each turned, mirrored and moved at random, so that
pairs take as long to align as real ones that are no twins. One image in fifty shows another's square, turned and with
noise, with nearly its features: these pairs should be found. The shortlist is compared with scikit-learn's
exact nearest neighbours on the same features. With 1,000,000 images FAISS makes the shortlist, and a sample of its
pairs is confirmed.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks.measure import CORES, ROOT, apart, circumstances, memory
from benchmarks.neighbours import draw
from skinlesion.core.taxonomy import HAM7
from skinlesion.core.writing import write_json
from skinlesion.data import twins
from skinlesion.data.demo.dataset import draw_example

WIDTH = 160  # features of a square that are drawn: as many as are compared
DIFFERENT = 500  # lesions that are drawn
EVERY = 50  # one image in so many is a twin
SAMPLE = 5_000  # pairs of the large set that are confirmed


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares uint8 [count, SIDE, SIDE] and features float32 [count, 1, WIDTH].

    Row i * EVERY + 1 is a twin of row i * EVERY.
    """
    rng, side = np.random.default_rng(0), twins.SIDE
    drawn = np.stack([twins.grey_square(draw_example(HAM7.codes[i % 7], seed=i)) for i in range(DIFFERENT)])
    squares = np.empty((count, side, side), np.uint8)
    features = np.concatenate([draw(min(5000, count - at), at)[:, None, :WIDTH] for at in range(0, count, 5000)])
    for i in range(count):
        turned = np.rot90(drawn[rng.integers(DIFFERENT)], rng.integers(4))[:, :: rng.choice((-1, 1))]
        squares[i] = np.roll(turned, rng.integers(-side // 4, side // 4, 2), (0, 1))
    first = np.arange(0, count - 1, EVERY)
    noisy = np.rot90(squares[first], 1, (1, 2)) + rng.normal(0, 3, (len(first), side, side))
    squares[first + 1] = np.clip(noisy, 0, 255).astype(np.uint8)
    spread = features[:, 0].std(axis=0)
    features[first + 1] = features[first] + 0.2 * rng.normal(size=(len(first), 1, WIDTH)) * spread
    return squares, features


def exact_neighbours(features: np.ndarray) -> float:
    """Seconds that scikit-learn takes for as many neighbours of every image, by the cosine."""
    unit = features[:, 0] / np.linalg.norm(features[:, 0], axis=1, keepdims=True)
    began = time.perf_counter()
    NearestNeighbors(n_neighbors=twins.NEIGHBOURS + 1, algorithm="brute", n_jobs=CORES).fit(unit).kneighbors(unit)
    return time.perf_counter() - began


def whole(count: int) -> dict:
    """The whole search in ``count`` images, in a process of its own."""
    squares, features = images(count)
    before, began = memory("VmRSS"), time.perf_counter()
    twins.shortlist(features)
    short = time.perf_counter() - began
    began = time.perf_counter()
    pairs = twins.find_twins(squares, features)
    took, most = time.perf_counter() - began, memory("VmHWM")
    found = set(pairs[["a", "b"]].itertuples(index=False, name=None))
    made = {(row, row + 1) for row in range(0, count - 1, EVERY)}
    return {
        "images": count,
        "search, s": took,
        "of that the shortlist, s": short,
        "scikit-learn's exact neighbours alone, s": exact_neighbours(features),
        "memory, MB": {"squares and features": before, "the most": most},
        "made twins that are found": len(found & made) / len(made),
    }


def large(count: int, sample: int) -> dict:
    """The shortlist of ``count`` images and the confirmation of ``sample`` of its pairs, in a process of its own."""
    twins.LARGE = min(twins.LARGE, count - 1)
    squares, features = images(count)
    before, began = memory("VmRSS"), time.perf_counter()
    short = twins.shortlist(features)
    took, most = time.perf_counter() - began, memory("VmHWM")
    pairs = short[["a", "b"]].to_numpy()
    chosen = pairs[np.random.default_rng(1).permutation(len(pairs))[:sample]]
    began = time.perf_counter()
    twins.confirm(squares, chosen)
    a_pair = (time.perf_counter() - began) / len(chosen)
    made = {(row, row + 1) for row in range(0, count - 1, EVERY)}
    return {
        "images": count,
        "shortlist, s": took,
        "pairs": len(pairs),
        "confirmation of a pair, ms": 1000 * a_pair,
        "confirmation of all pairs at that rate, s": a_pair * len(pairs),
        "memory, MB": {"squares and features": before, "the most": most},
        "made twins on the shortlist": len(made & set(map(tuple, pairs.tolist()))) / len(made),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brief", action="store_true", help="2,000 and 5,000 images, into build/bench")
    brief = parser.parse_args().brief
    target = (ROOT / "build" / "bench" if brief else ROOT / "benchmarks" / "results") / "twins.json"
    found = circumstances() | {"whole": apart(whole, 2_000 if brief else 25_000)}
    write_json(target, found)
    print(f"{found['whole']['search, s']:.0f} s for {found['whole']['images']:,} images", flush=True)
    found["large"] = apart(large, 5_000 if brief else 1_000_000, 100 if brief else SAMPLE)
    write_json(target, found)
    print(f"{found['large']['shortlist, s']:.0f} s for the shortlist of {found['large']['images']:,}; wrote {target}")


if __name__ == "__main__":
    main()
