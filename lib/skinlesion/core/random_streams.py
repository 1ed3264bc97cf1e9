"""One random source: everything random is a function of (seed, epoch, index), never of what ran before."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, epoch: int, *, stream: str) -> np.random.Generator:
    """A NumPy generator for one purpose in one epoch; ``stream`` keeps purposes independent of each other."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, zlib.crc32(stream.encode())])))


def _mix(x: np.ndarray) -> np.ndarray:
    # the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, doi:10.1145/2660193.2660195)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, epoch: int, index: np.ndarray, draws: int, *, stream: str = "") -> np.ndarray:
    """Independent uniform numbers for each sample, whichever batch or process it is in: float32 [N, draws] in [0, 1).

    ``index``, int [N], is the sample's position in the epoch; ``stream`` keeps purposes independent of each other.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):  # 64-bit arithmetic wraps on purpose
        key = _mix(np.array([seed ^ zlib.crc32(stream.encode()) << 32, epoch], dtype=np.uint64) * golden + golden)
        state = _mix(key[0] ^ _mix(key[1] ^ np.asarray(index, dtype=np.uint64) * golden))
        bits = _mix(state[:, None] + golden * np.arange(1, draws + 1, dtype=np.uint64)[None, :])
    return ((bits >> np.uint64(40)).astype(np.float32)) / np.float32(1 << 24)
