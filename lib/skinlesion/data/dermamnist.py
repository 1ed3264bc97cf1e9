"""DermaMNIST: HAM10000 as one npz file of 28 to 224 pixels (Yang et al. 2023, doi:10.1038/s41597-022-01721-8)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7, LabelSet
from skinlesion.data.reading import tabulate
from skinlesion.data.table import LesionTable

#: MedMNIST's names of its splits, and ours.
SPLITS = {"train": "train", "val": "validation", "test": "test"}
#: Class ``i`` of the file (medmnist/info.py, "dermamnist").
CODES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")

# Counted by Abhishek, Jain and Hamarneh with the split's image ids, which the file itself does not carry.
LEAK = (
    "DermaMNIST names no lesions, and its official split was drawn image by image: 641 lesions have images in both the "
    "training and the test part, and 773 of its 2,005 test images (39 %) show a lesion that is also in training or "
    "validation (Abhishek, Jain, Hamarneh 2025, doi:10.1038/s41597-025-04382-5). Scores on it, and on any other split "
    "of this file, are too good."
)
TERMS = (
    "Images: DermaMNIST (doi:10.5281/zenodo.10519652), made from HAM10000 (doi:10.1038/sdata.2018.161), CC BY-NC 4.0."
)


def load(place: Path, labels: LabelSet = HAM7) -> LesionTable:
    """Read ``dermamnist*.npz``; ``place`` is the file or the folder that holds it. Pixels stay in the file.

    Raises
    ------
    DataError
        For eight labels, which it does not tell apart; where the file is missing, damaged, or another set's.
    """
    if labels is not HAM7:
        raise DataError("DermaMNIST tells seven labels apart, not eight; choose 7 labels or another data set")
    path = _find(place)
    rows = pd.concat([_rows(path, split) for split in SPLITS], ignore_index=True)
    return tabulate(
        rows,
        labels=labels,
        source="dermamnist",
        location=path,
        has_lesions=False,
        notes=(LEAK, TERMS),
        official_split={name: SPLITS[name.partition("_")[0]] for name in rows["image_id"]},
    )


def _find(place: Path) -> Path:
    if place.is_file():
        return place
    found = sorted(place.glob("dermamnist*.npz"))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{place} holds {', '.join(path.name for path in found)}; name the file you mean")
    raise DataError(f"{place} holds no dermamnist*.npz; get one with: skinlesion data download dermamnist --to {place}")


def _rows(path: Path, split: str) -> pd.DataFrame:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            targets = arrays[f"{split}_labels"].reshape(-1)
        shape = _shape(path, f"{split}_images.npy")
    except KeyError as error:
        raise DataError(f"{path} is no DermaMNIST file ({error}); it needs {split}_images and {split}_labels") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); download it again") from None
    if len(shape) not in (3, 4) or shape[0] != len(targets):
        raise DataError(f"{path} is no DermaMNIST file: {split}_images has shape {shape} for {len(targets)} labels")
    words = [str(target) for target in targets]
    known = {str(i): code for i, code in enumerate(CODES)}
    return pd.DataFrame(
        {
            "image_id": [f"{split}_{i:05d}" for i in range(len(words))],
            "path": [f"{path.resolve()}!{split}/{i}" for i in range(len(words))],
            "word": words,
            "label": pd.Series([known.get(word) for word in words], dtype=object),
        }
    )


def _shape(path: Path, member: str) -> tuple[int, ...]:
    """The shape of an array in an npz file, from its header: the pixels themselves may take a gigabyte."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)[0]
