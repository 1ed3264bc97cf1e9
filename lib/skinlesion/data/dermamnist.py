"""DermaMNIST: HAM10000 as one npz file of 28 to 224 pixels (Yang et al. 2023, doi:10.1038/s41597-022-01721-8).

Its corrected and extended versions, DermaMNIST-C and -E (Abhishek, Jain, Hamarneh 2025,
doi:10.1038/s41597-025-04382-5), have the same arrays. They differ in how many images each part has.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from skinlesion.core.errors import DataError
from skinlesion.core.taxonomy import HAM7, LabelSet
from skinlesion.data.files import Files, ImageIndex
from skinlesion.data.table import LesionTable
from skinlesion.data.tabulate import tabulate

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
CORRECTED = (
    "This is DermaMNIST-C: the lesions of training have no images in its validation and test parts. Only its own split "
    "promises that, for the file names no lesions."
)
EXTENDED = (
    "This is DermaMNIST-E: all of HAM10000 for training, and the validation and test images of ISIC 2018 Task 3. Only "
    "its own split promises that no lesion is in two parts, for the file names no lesions."
)
TERMS = (
    "Images: DermaMNIST (doi:10.5281/zenodo.10519652), made from HAM10000 (doi:10.1038/sdata.2018.161), CC BY-NC 4.0."
)
#: What each version has to say, by the number of images in training, validation and test.
_VERSIONS: dict[tuple[int, ...], str] = {
    (7007, 1003, 2005): LEAK,
    (8215, 573, 1227): CORRECTED,
    (10015, 193, 1511): EXTENDED,
}


def is_dermamnist(path: Path) -> bool:
    """Whether a file holds DermaMNIST's arrays."""
    try:
        return len(_read(path)) > 0
    except DataError:
        return False


def load(files: Files, labels: LabelSet = HAM7, words: Mapping[str, str] | None = None) -> LesionTable:
    """Read DermaMNIST, -C or -E, from the file or the folder that holds it. Pixels stay in the file.

    Raises DataError for eight labels, which it does not have; where the file is missing, damaged, or another
    set's.
    """
    if labels is not HAM7:
        raise DataError("DermaMNIST has seven labels, not eight; choose 7 labels or another data set")
    path = _find(files.place)
    rows = _read(path)
    return tabulate(
        rows.drop(columns="split"),
        ImageIndex(Files(path, {})),
        labels,
        words,
        source="dermamnist",
        map_word=lambda number, _: CODES[int(str(number))],
        notes=(_version(path, rows["split"]), TERMS),
        official_split=dict(zip(rows["image_id"], rows["split"].map(SPLITS), strict=True)),
    )


def _version(path: Path, part: pd.Series) -> str:
    """What this version has to say: by its counts, else (a part of one, say) by the file's name."""
    name = path.name.lower()
    by_name = CORRECTED if "corrected" in name else EXTENDED if "extended" in name else LEAK
    return _VERSIONS.get(tuple(int((part == split).sum()) for split in SPLITS), by_name)


def _find(place: Path) -> Path:
    if place.is_file():
        return place
    found = [path for path in sorted(place.glob("*.npz")) if is_dermamnist(path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{place} holds {', '.join(path.name for path in found)}; name the file you mean")
    raise DataError(f"{place} holds no DermaMNIST; get it with: skinlesion data download dermamnist --to {place}")


def _read(path: Path) -> pd.DataFrame:
    """Split, id, path and class number of every image. Raises DataError where the file is damaged or another set's.

    Of all MedMNIST sets only DermaMNIST has RGB images and just the seven classes 0 to 6: the others are grey, or have
    another number of classes.
    """
    parts, rgb = [], True
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for split in SPLITS:
                words = arrays[f"{split}_labels"].reshape(-1).astype(np.int64).astype(str)
                shape, kind = _header(arrays.zip, f"{split}_images.npy")
                rgb = rgb and len(shape) == 4 and shape[3] == 3 and shape[0] == len(words) and kind == np.uint8
                names = [f"{split}_{i:05d}" for i in range(len(words))]
                paths = [f"{path.resolve()}!{split}/{i}" for i in range(len(words))]
                parts.append(pd.DataFrame({"split": split, "image_id": names, "path": paths, "word": words}))
    except KeyError as error:
        raise DataError(f"{path} is not a DermaMNIST file: it lacks images or labels of a part ({error})") from None
    except Exception as error:  # a damaged archive raises what its decompressor does
        raise DataError(f"{path} is damaged ({error}); download it again") from None
    rows = pd.concat(parts, ignore_index=True)
    if not rgb or set(rows["word"]) != set(map(str, range(len(CODES)))):
        raise DataError(
            f"{path} is not a DermaMNIST file: its images must be RGB of 8 bits, its labels 0 to 6 and as many; other "
            "MedMNIST sets show no skin lesions"
        )
    return rows


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in an npz file, from its header: the pixels themselves may take a gigabyte."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
        return shape, kind
