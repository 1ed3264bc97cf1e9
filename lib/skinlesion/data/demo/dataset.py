"""The built-in demo data: drawn dermatoscopic images in HAM10000's file layout, so that its reader reads them.

Nothing is downloaded, and no image shows a person. Class sizes, images per lesion, ages, sexes, sites and kinds of
diagnosis follow HAM10000's own figures (``classes.toml``).
"""

from __future__ import annotations

import json
import os
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from skinlesion.core import writing
from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.core.images import encode
from skinlesion.data.demo.camera import Sitting
from skinlesion.data.demo.classes import draw_lesion
from skinlesion.data.demo.drawing import tiles

VERSION = 1  # of the drawings; a change that alters any image raises it
IMAGES = 1000  # unless asked for more or fewer: enough for prediction sets of nevi, melanomas and keratoses
SMALLEST = 60  # images; fewer leave too few lesions a class to split
BLOCK = 16  # lesions drawn at once: after an interruption, no more than these
FIRST_ID = 9_000_000  # beyond every id of the ISIC Archive's HAM10000 images and official test set
JPEG_QUALITY = 80
MASKS = "HAM10000_segmentations_lesion_tschandl"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")


class _Class(NamedTuple):
    """A label in HAM10000: its counts, ages in years, share of men, and weights of diagnosis types and sites."""

    images: int
    lesions: int
    age: tuple[float, float]  # mean and standard deviation
    male: float
    dx_types: dict[str, float]
    sites: dict[str, float]


_FIGURES = tomllib.loads(Path(__file__).with_name("classes.toml").read_text(encoding="utf-8"))
_CLASSES = {label: _Class(**figures) for label, figures in _FIGURES.items()}
_HAM_IMAGES = sum(c.images for c in _CLASSES.values())
_NO_AGE = 57 / _HAM_IMAGES  # share of images without an age


class _Lesion(NamedTuple):
    number: int
    label: str
    image_ids: list[str]
    dx_type: str
    age: str
    sex: str
    site: str

    @property
    def dx(self) -> str:
        return "akiec" if self.label in ("ak", "scc") else self.label


def demo_folder(n: int = IMAGES, seed: int = 0) -> Path:
    """The cached demo set of ``n`` images, drawn first where there is none yet. See :func:`make_demo`."""
    return make_demo(writing.cache_folder() / f"demo-v{VERSION}-{n}-{seed}", n, seed)


def make_demo(folder: str | Path, n: int = IMAGES, seed: int = 0, progress: bool = False) -> Path:
    """Draw a demo set of ``n`` images, 60 or more, into ``folder``: whole, or not at all. Returns it as an absolute
    path.

    The files are those of the HAM10000 download, with lesion masks, ``isic2019_labels.csv`` for eight labels, and
    ``demo.json``, by which a reader tells drawn data from real. The same ``n`` and ``seed`` give the same images on the
    same machine: every lesion draws from a generator of its own, seeded by ``seed`` and the lesion's number.

    ``folder`` must not exist yet, be empty, or hold this very demo set, which is then left alone: DataError if it holds
    anything else. Raises ConfigError if ``n`` or ``seed`` is out of range, SkinLesionError if it cannot be written.
    """
    if n < SMALLEST:
        raise ConfigError(f"the demo set needs {SMALLEST} images or more to have every class in every split, not {n}")
    if seed < 0:
        raise ConfigError(f"the demo set's seed must be 0 or more, not {seed}")
    folder = Path(folder).expanduser().absolute()
    identity = {"version": VERSION, "n": n, "seed": seed}
    if _is_there(folder, identity):
        return folder
    about = "Synthetic demo data drawn by Skin Lesion Lab; no image shows a real lesion."
    try:
        with writing.new_folder(folder, move=Path.rename) as temporary:
            _write(temporary, n, seed, progress)
            writing.write_json(temporary / "demo.json", {"about": about, **identity})
    except SkinLesionError:  # perhaps since another process was faster
        if not _is_there(folder, identity):
            raise
    return folder


def draw_example(dx: str, seed: int) -> np.ndarray:
    """One drawn image of a diagnosis, for front ends that show what an upload may look like.

    Parameters
    ----------
    dx : str
        One of the seven codes of HAM10000, or ``ak`` or ``scc``.
    seed : int
        Zero or more.

    Returns
    -------
    ndarray, uint8 [150, 200, 3]

    Raises
    ------
    DataError
        If there is no such diagnosis.

    Examples
    --------
    >>> image = draw_example("mel", seed=5)
    >>> image.shape, image.dtype
    ((150, 200, 3), dtype('uint8'))
    """
    rng = np.random.default_rng(seed)
    label = ("ak" if rng.random() < 0.4 else "scc") if dx == "akiec" else dx
    if label not in _CLASSES:
        raise DataError(f"the demo draws no {dx!r}; it draws akiec, {', '.join(_CLASSES)}")
    return Sitting(draw_lesion(label, rng)).photograph()[0]


def _is_there(folder: Path, identity: dict) -> bool:
    """Whether ``folder`` holds this demo set; raises DataError if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / "demo.json").read_text())
        if {key: found[key] for key in identity} == identity:
            return True
        what = f"another demo set (version {found['version']}, n={found['n']}, seed={found['seed']})"
    except (OSError, ValueError, KeyError, TypeError):
        what = "other files"
    raise DataError(f"{folder} already holds {what}; choose another folder, or delete this one first")


def _write(folder: Path, n: int, seed: int, progress: bool) -> None:
    import pandas as pd  # drawing one image, where only predicting is installed, needs neither
    from tqdm import tqdm

    lesions = _plan(n, seed)
    rows, labels = [], []
    names = ("HAM10000_images_part_1", "HAM10000_images_part_2", MASKS)
    files = [folder / f"{name}.zip" for name in names]
    halfway = f"ISIC_{FIRST_ID + n // 2:07d}"
    first, second, masks = (zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) for file in files)
    bar = tqdm(total=n, desc="drawing demo images", unit="image", disable=not progress)
    tiles()  # else every thread would compute them
    with first, second, masks, bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = (lesions[start : start + BLOCK] for start in range(0, len(lesions), BLOCK))
        drawings = (zip(block, pool.map(partial(_draw, seed=seed), block), strict=True) for block in blocks)
        for lesion, drawn in chain.from_iterable(drawings):
            for image_id, (picture, mask) in zip(lesion.image_ids, drawn, strict=True):
                _add(first if image_id < halfway else second, f"{image_id}.jpg", picture)
                _add(masks, f"{MASKS}/{image_id}_segmentation.png", mask)
                about = (lesion.dx, lesion.dx_type, lesion.age, lesion.sex, lesion.site)
                rows.append((f"DEMO_{lesion.number:07d}", image_id, *about))
                labels.append((image_id, lesion.label.upper()))
                bar.update()
    writing.write_csv(folder / "HAM10000_metadata.csv", pd.DataFrame(sorted(rows), columns=COLUMNS))
    eight = pd.DataFrame(sorted(labels), columns=["image_id", "isic2019_label"])
    writing.write_csv(folder / "isic2019_labels.csv", eight)
    for file in files:
        with file.open("rb+") as written:
            os.fsync(written.fileno())


def _draw(lesion: _Lesion, seed: int) -> list[tuple[bytes, bytes]]:
    """Picture (JPEG) and mask (PNG) of every image of a lesion."""
    sitting = Sitting(draw_lesion(lesion.label, np.random.default_rng((seed, lesion.number))))
    return [
        (
            encode(Image.fromarray(picture), "JPEG", quality=JPEG_QUALITY),
            encode(Image.fromarray(mask * np.uint8(255)), "PNG", compress_level=1),
        )
        for picture, mask in (sitting.photograph() for _ in lesion.image_ids)
    ]


def _add(archive: zipfile.ZipFile, name: str, encoded: bytes) -> None:
    """Store a file under a fixed date, so that the archive's bytes depend on the pixels alone."""
    entry = zipfile.ZipInfo(name, date_time=(2018, 8, 14, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, encoded)


def _plan(n: int, seed: int) -> list[_Lesion]:
    """All lesions with their pictures' ids and what the metadata hold about their patients; indices count from 1."""
    rng = np.random.default_rng(seed)
    sizes = _sizes(n, rng)
    rng.shuffle(sizes)
    numbers = iter((FIRST_ID + rng.permutation(n)).tolist())
    incomplete = set(rng.choice(len(sizes), max(2, round(_NO_AGE * n)), replace=False).tolist())
    lesions = []
    for index, (label, images) in enumerate(sizes):
        ids = [f"ISIC_{next(numbers):07d}" for _ in range(images)]
        dx_type, age, sex, site = _patient(_CLASSES[label], rng)
        if index in incomplete:
            age = ""
            if rng.random() < 0.8:  # in HAM10000 too, sex and site are mostly missing where the age is
                sex = site = "unknown"
        lesions.append(_Lesion(index + 1, label, ids, dx_type, age, sex, site))
    return lesions


def _sizes(n: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Label and number of images of every lesion: HAM10000's proportions, but 8 images and 6 lesions a label at least
    (6 images where ``n`` is below 80)."""
    least = min(8, n // 10)
    counts = {label: max(least, round(n * c.images / _HAM_IMAGES)) for label, c in _CLASSES.items()}
    counts["nv"] += n - sum(counts.values())
    sizes = []
    for label, images in counts.items():
        ratio = _CLASSES[label].lesions / _CLASSES[label].images
        lesions = max(6, round(images * ratio))
        more = rng.multinomial(images - lesions, np.full(lesions, 1 / lesions))
        sizes += [(label, 1 + int(extra)) for extra in more]
    return sizes


def _patient(c: _Class, rng: np.random.Generator) -> tuple[str, str, str, str]:
    """Diagnosis type, age in HAM10000's steps of five years, sex and site."""

    def pick(weights: dict[str, float]) -> str:
        shares = np.array(list(weights.values()))
        return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]

    age = float(np.clip(5 * round(rng.normal(*c.age) / 5), 0, 85))
    return pick(c.dx_types), str(age), "male" if rng.random() < c.male else "female", pick(c.sites)
