"""sklesion 0.2.2 as a worker, run by its own interpreter: ``python -m benchmarks.sklesion_way FOLDER``.

A Keras Xception of 254 px that also wants age, sex and place; where they are unknown it is told so. One image goes
through its ``predict_P`` as its author wrote it; many are decoded and resized as that does, and predicted as one batch.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklesion.model import SkinLesionClassifier

from benchmarks.measure import answer_forever, median_seconds, memory

UNKNOWN = {"age": None, "sex": "unknown", "location": "unknown"}
BATCH = 16


def prepared(classifier: SkinLesionClassifier, data: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Its inputs: float32 [N, 254, 254, 3] in 0-255 and float32 [N, 10]."""
    props = classifier.model_props
    shape = [int(side) for side in props["img_shape"]]
    frames = np.stack([tf.image.resize(tf.image.decode_jpeg(d, channels=3), shape).numpy() for d in data])
    mean_age = props["age_mean"] / props["age_max"]
    row = [*props["oh_map"]["sex"]["unknown"], *props["oh_map"]["loc"]["unknown"], mean_age, 1]
    return frames, np.tile(np.array(row, np.float32), (len(data), 1))


def main() -> None:
    folder = Path(sys.argv[1])
    data = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    began = time.perf_counter()
    classifier = SkinLesionClassifier()

    def one(image: bytes = data[0]) -> np.ndarray:
        return classifier.predict_P({"image": image, "meta": dict(UNKNOWN)})

    def many(images: list[bytes]) -> np.ndarray:
        return np.concatenate([
            classifier.model.predict(prepared(classifier, images[i : i + BATCH]), batch_size=BATCH, verbose=0)
            for i in range(0, len(images), BATCH)
        ])  # fmt: skip

    first = one()
    ready = time.perf_counter() - began
    if not np.allclose(first, many(data[:1]), atol=1e-4):
        raise SystemExit("error: sklesion predicts a batch otherwise than an image")
    many((data * BATCH)[:BATCH])
    codes = [classifier.model_props["i_cl_map"][i] for i in range(7)]
    answer_forever(
        {"ready, seconds": ready, "model, MB": Path(classifier.model_path).stat().st_size / 1e6, "codes": codes},
        {
            "latency": lambda times: median_seconds(one, times),
            "throughput": lambda count: count / median_seconds(lambda: many((data * count)[:count]), 1),
            "memory": lambda: memory("VmHWM"),
            "probabilities": lambda: many(data).astype(float).tolist(),
        },
    )


if __name__ == "__main__":
    main()
