"""In company: what others report on HAM10000 and ISIC 2018 Task 3, and what of it may be compared with what.

Values are as their authors give them; sources are named so that they can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes
    ----------
    who, method : str
    metric : str, value : float
    images : str
        What it was measured on, and how that was parted from the training images.
    learned_from : str
    source : str
        DOI or address.
    mind : str
        Why it is not simply better or worse than another figure here.
    """

    who: str
    method: str
    metric: str
    value: float
    images: str
    learned_from: str
    source: str
    mind: str


PUBLISHED = (
    Published(
        "MetaOptima, winner of ISIC 2018 Task 3", "average of its ten best networks", "balanced accuracy", 0.885,
        "the official ISIC 2018 Task 3 test set (1,511 images that count)", "HAM10000 and large outside data",
        "https://challenge.isic-archive.com/landing/2018/47; https://www.dermengine.com/blog/metaoptima-awarded-isic-2018-challenge",
        "Other people's training images: what HAM10000 alone allows is lower.",
    ),
    Published(
        "Yan et al. 2025, PanDerm", "linear probe on a frozen ViT-L", "balanced accuracy", 0.797,
        "a cleaned split of HAM10000 by lesion", "2 million skin images without labels, then HAM10000",
        "https://doi.org/10.1038/s41591-025-03747-y; https://arxiv.org/abs/2410.15038",
        "Another split, another test part: of the same kind as a split by lesion here, not the same images.",
    ),
    Published(
        "Yang et al. 2023, MedMNIST v2", "ResNet-18 at 224 px", "accuracy", 0.754,
        "DermaMNIST's test split", "DermaMNIST's training split",
        "https://doi.org/10.1038/s41597-022-01721-8",
        "That split puts images of one lesion on both sides (Abhishek et al., https://arxiv.org/abs/2401.14497), so it "
        "flatters; and plain accuracy rewards calling everything a nevus.",
    ),
    Published(
        "Tschandl et al. 2020, readers alone", "physicians and other raters", "accuracy", 0.636,
        "a reader study on images of the same seven kinds", "their profession",
        "https://doi.org/10.1038/s41591-020-0942-0",
        "A selection of cases with a class mix of its own: neither accuracy nor balanced accuracy on a test set.",
    ),
    Published(
        "Tschandl et al. 2020, readers with AI support", "the same raters, shown a network's probabilities", "accuracy",
        0.770, "the same reader study", "their profession, and a ResNet-34 trained on HAM10000",
        "https://doi.org/10.1038/s41591-020-0942-0",
        "The gain of 13 points was largest for the least experienced; a misleading network misled experts as well.",
    ),
)  # fmt: skip

CAUTION = (
    "Do not read this table as a ranking. Two figures can be compared only where they share the test images, the "
    "metric and what was allowed for training; here that holds for the two rows of the reader study and for no "
    "others. A figure from a split of HAM10000 by lesion, as this project's own, is none on the official test set. "
    "One from a split by image has seen its test lesions in training and says little about new ones. Accuracy is "
    "not balanced accuracy: two thirds of the images are nevi. With the official test set at hand, skinlesion "
    "evaluate --official measures what the first row measures."
)


def published_table() -> pd.DataFrame:
    """:data:`PUBLISHED` as a table for people, one row a figure; read :data:`CAUTION` with it."""
    return pd.DataFrame(
        {
            one.who: {
                "method": one.method,
                "metric": one.metric,
                "value": f"{one.value:.3f}",
                "measured on": one.images,
                "learned from": one.learned_from,
                "mind": one.mind,
                "source": one.source,
            }
            for one in PUBLISHED
        }
    ).T
