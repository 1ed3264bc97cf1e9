"""fastai's part of the training benchmark, run by its own interpreter: NAME FOLDER STEPS WORKERS -> images a second.

The recipe of fastai's vision tutorial with the same augmentation as the others': items are resized one by one (PIL),
batches are augmented as tensors.
"""

from __future__ import annotations

import sys
import time

import fastai.callback.progress
import fastai.callback.schedule  # noqa: F401  # these two give Learner no_bar and fit_one_cycle
from fastai.callback.core import Callback, CancelFitException
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import Adam
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageDataLoaders

from benchmarks.training import CONFIG, config, plain_network


class Clock(Callback):
    """Marks the end of each batch, and ends the training after so many."""

    def __init__(self, steps: int):
        self.steps, self.marks = steps, []

    def after_batch(self):
        self.marks.append(time.perf_counter())
        if len(self.marks) > self.steps:
            raise CancelFitException


def main() -> None:
    name, folder, steps, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    augmentation = aug_transforms(
        flip_vert=True, max_rotate=CONFIG.rotation, min_zoom=1 - CONFIG.scale, max_zoom=1 + CONFIG.scale,
        max_lighting=CONFIG.color, max_warp=0, p_affine=1.0, p_lighting=1.0,
    )  # fmt: skip
    loaders = ImageDataLoaders.from_folder(
        folder, valid_pct=0.01, seed=0, bs=CONFIG.batch_size, num_workers=workers,
        item_tfms=Resize(config(name).image_size, method=ResizeMethod.Squish), batch_tfms=augmentation,
    )  # fmt: skip
    clock = Clock(steps)
    learner = Learner(loaders, plain_network(name), loss_func=CrossEntropyLossFlat(), opt_func=Adam, cbs=[clock])
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1, 1e-3)
    print((len(clock.marks) - 1) * CONFIG.batch_size / (clock.marks[-1] - clock.marks[0]))


if __name__ == "__main__":
    main()
