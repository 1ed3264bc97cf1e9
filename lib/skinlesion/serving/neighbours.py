"""Similar cases: the images of a local index whose features are nearest to an image's, one per lesion.

An index is a folder that ``skinlesion index`` makes of data sets with one model. It holds people's images, so it stays
where they may be seen; without one, nothing here is used.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from skinlesion.core.errors import ModelError, SkinLesionError
from skinlesion.core.images import folded, image_name
from skinlesion.core.similarity import NEAREST, unit
from skinlesion.core.taxonomy import label_set
from skinlesion.core.writing import new_folder, write_json
from skinlesion.serving.manifest import Manifest

INDEX = "SKINLESION_INDEX"  # the environment variable that names an index's folder, for the apps; empty for none
FORMAT = 1
FACTS, ROWS, FEATURES, PICTURES = "index.json", "rows.npz", "features.npy", "pictures.bin"
#: Grey levels (root mean square over 8 x 8 squares) within which two pictures are one, perhaps stored anew or made
#: smaller. Taken by hand, on 900 images of HAM10000: such copies differ by 2.1 at most, two lesions by 6.0 at least.
COPY = 3.0
SKETCH = 64  # directions of the largest energy: products along them alone choose the candidates
CANDIDATES = 200  # rows whose full features are then compared
SAMPLE = 20_000  # rows that the directions are computed from
COLUMNS = ("image_id", "lesion_id", "source", "label", "confirmed")


@dataclass(frozen=True)
class Case:
    """One image of the index."""

    image_id: str  # as in the data set's table
    lesion_id: str
    source: str
    label: str  # the code of its diagnosis
    confirmed: str  # how that was confirmed, one of :data:`skinlesion.core.taxonomy.CONFIRMED`
    similarity: float  # cosine similarity of its features and the image's; 1 where they are the same
    picture: bytes  # a small JPEG

    def to_dict(self) -> dict:
        """Everything but ``picture``, as JSON can hold it."""
        return {name: value for name, value in vars(self).items() if name != "picture"}


class Neighbours:
    """An index in memory: less than 1 KB an image; features and pictures stay on disk until they are needed.

    ``facts`` is what ``index.json`` says: ``model``, ``labels``, ``data`` with its ``sources``, ``images``,
    ``lesions``. Safe to share between threads.
    """

    def __init__(self, folder: Path, facts: dict):
        self.facts = facts
        with np.load(folder / ROWS, allow_pickle=False) as stored:
            self._columns = {name: stored[name] for name in COLUMNS}
            self._group, self._ends = stored["group"], stored["ends"]
            self._directions, self._sketch = stored["directions"], stored["sketch"]
            self._thumbnails = stored["looks"].astype(np.float32)
        self._squared_lengths = (self._thumbnails**2).sum(1)
        # Read, not mapped: mapped files count as this process's memory, the more the longer it runs.
        self._features, self._pictures = (folder / FEATURES).open("rb"), (folder / PICTURES).open("rb")
        self._reading = threading.Lock()
        features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
        self._width, self._start = features.shape[1], features.offset
        self._names = [np.array([_key(name) for name in self._columns[column]]) for column in ("image_id", "lesion_id")]
        label_set(facts["labels"])  # which refuses unknown ones
        if lacking := set(self._columns["source"]) - set(facts["data"]["sources"]):
            raise ValueError(f"it does not describe the source {min(lacking)}")
        if not len(features) == len(self._sketch) == len(self._ends) == facts["images"]:
            raise ValueError("its files are of different lengths")
        if self._ends[-1] != (folder / PICTURES).stat().st_size:
            raise ValueError(f"{PICTURES} is not the file that {ROWS} describes")

    @classmethod
    def load(cls, folder: str | Path, manifest: Manifest) -> Neighbours:
        """Open the index in ``folder``, which must be of the manifest's model.

        Raises ModelError if there is no index, it is damaged, or of another model.
        """
        place = Path(folder).expanduser()
        mend = f"make one with this model: skinlesion index --data PATH --output {place} (--model DIR for your own)"
        facts = _facts(place)
        if not facts:
            raise ModelError(f"{place} holds no index of similar cases; {mend}")
        if facts["model"] != manifest.sha256:
            raise ModelError(f"the index {place} is of another model ({facts['model'][:12]}…); {mend}")
        try:
            return cls(place, facts)
        except Exception as error:  # NumPy's readers raise many kinds on broken files
            raise ModelError(f"the index {place} is damaged ({error}); {mend}") from None

    def nearest(
        self, features: np.ndarray, frame: np.ndarray, *, own: Collection[str] = (), count: int = NEAREST
    ) -> list[Case]:
        """The most similar images of other lesions, at most one per lesion, the nearest first.

        ``features``, float [D], are those of :meth:`skinlesion.serving.predictor.Predictor.features` for ``frame``,
        uint8 [H, W, 3]. Lesions of images that are copies of the frame are left out, and so are images and lesions with
        a name in ``own``, with whatever folder, ending and case they are written.
        """
        query = unit(np.asarray(features)[None])[0]
        rough = self._sketch @ (query @ self._directions)
        most = min(CANDIDATES, len(rough))
        rows = np.sort(np.argpartition(rough, -most)[-most:])
        exact = self._rows(rows) @ query
        seen = set(self._group[self._excluded(frame, own)])
        found: list[Case] = []
        for i in np.argsort(-exact, kind="stable"):
            row, group = int(rows[i]), self._group[rows[i]]
            if group not in seen and len(found) < count:
                seen.add(group)
                found.append(self._case(row, float(exact[i])))
        return found

    def _excluded(self, frame: np.ndarray, names: Collection[str]) -> np.ndarray:
        """Whether each row is a copy of the frame, or has one of the names; bool [N]."""
        small = thumbnail(frame).astype(np.float32)
        difference = (self._squared_lengths + small @ small - 2 * (self._thumbnails @ small)) / len(small)
        excluded = difference <= COPY**2
        for name in filter(None, map(_key, names)):
            for column in self._names:
                excluded |= column == name
        return excluded

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        """The features of rows, float32 [len(rows), D]."""
        size = 2 * self._width
        parts = [self._read(self._features, self._start + size * int(row), size) for row in rows]
        return np.frombuffer(b"".join(parts), np.float16).reshape(len(rows), -1).astype(np.float32)

    def _read(self, file: BinaryIO, start: int, size: int) -> bytes:
        with self._reading:
            file.seek(start)
            return file.read(size)

    def _case(self, row: int, similarity: float) -> Case:
        start = int(self._ends[row - 1]) if row else 0
        picture = self._read(self._pictures, start, int(self._ends[row]) - start)
        columns = {name: str(self._columns[name][row]) for name in COLUMNS}
        return Case(**columns, similarity=min(1.0, similarity), picture=picture)


def _key(name: str) -> str:
    return folded(image_name(name))


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """The grey levels of a frame's 8 x 8 squares, uint8 [64]."""
    return np.asarray(Image.fromarray(frame).convert("L").resize((8, 8), Image.Resampling.BOX)).ravel()


def write(
    folder: str | Path,
    rows: Mapping[str, Iterable[str]],
    group: np.ndarray,
    images: Iterable[tuple[np.ndarray, np.ndarray, bytes]],
    facts: dict,
) -> dict:
    """Write an index, whole or not at all; an older one in that folder is replaced. Returns what ``index.json`` says.

    ``rows`` holds N texts for each of :data:`COLUMNS`; in ``group``, int [N], rows of one lesion share a number.
    ``images`` gives features (float [D]), :func:`thumbnail` and JPEG of each row, taken one by one while the index is
    written. ``facts``: ``model``, its SHA-256; ``labels``, the codes of the classes; ``data`` with the kind of each of
    its ``sources``. Raises SkinLesionError if the folder holds something else, or cannot be written.
    """
    place = Path(folder).expanduser().resolve()
    if place.exists() and not (place.is_dir() and (_facts(place) or not any(place.iterdir()))):
        raise SkinLesionError(f"{place} holds something else than an index; choose another --output, or empty it")
    facts = {"format": FORMAT, **facts, "images": len(group), "lesions": len(np.unique(group))}
    with new_folder(place) as new:
        _fill(new, rows, np.asarray(group), images)
        write_json(new / FACTS, facts)
    return facts


def _fill(folder: Path, rows: Mapping[str, Iterable[str]], group: np.ndarray, images) -> None:
    ends = np.empty(len(group), np.int64)
    thumbnails = np.empty((len(group), 64), np.uint8)
    features = None
    with (folder / PICTURES).open("wb") as pictures:
        for number, (found, thumbnails[number], picture) in enumerate(images):
            if features is None:
                features = np.lib.format.open_memmap(
                    folder / FEATURES, "w+", np.float16, (len(group), len(found))
                )  # not in memory: 100,000 images have 256 MB
            features[number] = unit(found[None])[0]
            pictures.write(picture)
            ends[number] = pictures.tell()
    if features is None or number + 1 != len(group):
        raise ValueError("an index needs one image a row, and one row or more")
    features.flush()
    directions = _directions(features)
    sketch = np.concatenate([part.astype(np.float32) @ directions for part in _blocks(features)])
    columns = {name: np.array(list(rows[name]), str) for name in COLUMNS}
    arrays = {"group": group, "ends": ends, "looks": thumbnails, "directions": directions, "sketch": sketch}
    np.savez(folder / ROWS, **columns, **arrays)  # type: ignore[arg-type]


def _blocks(features: np.ndarray) -> Iterable[np.ndarray]:
    return (features[start : start + 4096] for start in range(0, len(features), 4096))


def _directions(features: np.ndarray) -> np.ndarray:
    """The orthonormal directions [D, :data:`SKETCH`] that hold most of the features' energy, float32."""
    sample = features[:: max(1, len(features) // SAMPLE)]
    energy = sum(np.matmul(part.T, part, dtype=np.float32) for part in _blocks(sample))
    return np.linalg.eigh(energy)[1][:, ::-1][:, :SKETCH].astype(np.float32)


def _facts(folder: Path) -> dict | None:
    """What an index says of itself; None where there is none."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return facts if facts["format"] == FORMAT and isinstance(facts["model"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
