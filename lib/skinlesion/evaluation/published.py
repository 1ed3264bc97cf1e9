"""Published results on HAM10000 and ISIC 2018 Task 3, and which of them can be compared.

Values are as their authors give them, with the sources to check them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Published:
    """One published figure."""

    who: str
    method: str
    metric: str
    value: float
    images: str  # what it was measured on, and how those images were separated from the training images
    trained_on: str
    source: str  # DOI or address
    caution: str  # why it is not simply better or worse than another figure here
    #: About 95%, estimated here from the number of images of each class; the authors give none.
    interval: tuple[float, float] | None = None
    melanoma_recall: float | None = None

    @property
    def figure(self) -> str:
        """``0.797 (about 0.744 to 0.849)``."""
        interval = "" if self.interval is None else " (about {:.3f} to {:.3f})".format(*self.interval)
        return f"{self.value:.3f}{interval}"


PUBLISHED = (
    Published(
        "MetaOptima, winner of ISIC 2018 Task 3", "average of its ten best networks", "balanced accuracy", 0.885,
        "the official ISIC 2018 Task 3 test set (1,511 images that count)", "HAM10000 and large outside data",
        "https://challenge.isic-archive.com/landing/2018/47; https://www.dermengine.com/blog/metaoptima-awarded-isic-2018-challenge",
        "Trained on more images than HAM10000 has.",
    ),
    Published(
        "Yan et al. 2025, PanDerm", "linear probe on a frozen ViT-L", "balanced accuracy", 0.797,
        "a cleaned split of HAM10000 by lesion: 1,232 test images, 8 of them dermatofibromas",
        "2 million skin images without labels, then HAM10000",
        "https://doi.org/10.1038/s41591-025-03747-y; https://arxiv.org/abs/2410.15038",
        "Another split: by lesion, as here, but with other test images. One dermatofibroma is worth 0.018.",
        interval=(0.744, 0.849), melanoma_recall=0.63,
    ),
    Published(
        "Yang et al. 2023, MedMNIST v2", "ResNet-18 at 224 px", "accuracy", 0.754,
        "DermaMNIST's test split", "DermaMNIST's training split",
        "https://doi.org/10.1038/s41597-022-01721-8",
        "That split puts images of one lesion on both sides (Abhishek et al., https://arxiv.org/abs/2401.14497), so "
        "the result is too high; and a model that always predicts nevus has a high accuracy.",
    ),
    Published(
        "Tschandl et al. 2020, readers alone", "physicians and other raters", "accuracy", 0.636,
        "a reader study on images of the same seven kinds", "their profession",
        "https://doi.org/10.1038/s41591-020-0942-0",
        "Selected cases with another class mix than any test set.",
    ),
    Published(
        "Tschandl et al. 2020, readers with AI support", "the same raters, with a network's probabilities", "accuracy",
        0.770, "the same reader study", "their profession, and a ResNet-34 trained on HAM10000",
        "https://doi.org/10.1038/s41591-020-0942-0",
        "The gain of 13 points was largest for the least experienced; a misleading network misled experts as well.",
    ),
)  # fmt: skip

CAUTION = (
    "Do not read this table as a ranking. Two figures can be compared only if they share the test images, the metric "
    "and the training data; here only the two rows of the reader study do. A split of HAM10000 by lesion, as in this "
    "project, is not the official test set. With a split by image, test lesions are also in training. Accuracy is not "
    "balanced accuracy: two thirds of the images are nevi. With the official test set, skinlesion evaluate --official "
    "measures what the first row measures."
)


def published_table() -> pd.DataFrame:
    """:data:`PUBLISHED` as a table for people, one row a figure; read :data:`CAUTION` with it."""
    return pd.DataFrame(
        {
            one.who: {
                "method": one.method,
                "metric": one.metric,
                "value": one.figure,
                "melanoma recall": "" if one.melanoma_recall is None else f"{one.melanoma_recall:.2f}",
                "measured on": one.images,
                "trained on": one.trained_on,
                "caution": one.caution,
                "source": one.source,
            }
            for one in PUBLISHED
        }
    ).T
