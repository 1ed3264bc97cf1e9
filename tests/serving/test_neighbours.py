"""The index of similar cases against scikit-learn's neighbours, and what it refuses."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import tiny_model
from skinlesion.core.errors import ModelError, SkinLesionError
from skinlesion.core.similarity import NEAREST
from skinlesion.core.taxonomy import HAM7
from skinlesion.serving import neighbours
from skinlesion.serving.manifest import Manifest
from skinlesion.serving.neighbours import Neighbours

ROWS, WIDTH = 2500, 300  # more rows than candidates, more features than directions of the sketch
DRAW = np.random.default_rng(7)
FEATURES = DRAW.normal(size=(ROWS, 30)) @ DRAW.normal(size=(30, WIDTH)) + DRAW.normal(0, 0.3, (ROWS, WIDTH))
LESION = DRAW.integers(0, 1200, ROWS)


def a_frame(seed: int, side: int = 200) -> np.ndarray:
    """A smooth picture of its own, uint8 [side, side, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def made(place, model: str, features=FEATURES, lesion=LESION, **changes) -> dict:
    rows = {
        "image_id": [f"image-{i}" for i in range(len(lesion))],
        "lesion_id": [f"lesion-{group}" for group in lesion],
        "source": ["here"] * len(lesion),
        "label": ["mel" if group % 3 else "nv" for group in lesion],
        "confirmed": ["histo"] * len(lesion),
    }
    images = ((found, neighbours.thumbnail(a_frame(i, 40)), b"jpeg %d" % i) for i, found in enumerate(features))
    facts = {"model": model, "labels": list(HAM7.codes), "data": {"sources": {"here": {"kind": "csv"}}}}
    return neighbours.write(place, rows, lesion, images, facts | changes)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    return Manifest.read(tiny_model.write(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def index(tmp_path_factory, manifest) -> Neighbours:
    place = tmp_path_factory.mktemp("cases") / "index"
    facts = made(place, manifest.sha256)
    assert (facts["images"], facts["lesions"]) == (ROWS, len(np.unique(LESION)))
    return Neighbours.load(place, manifest)


def expected(query: np.ndarray, without: set[int]) -> tuple[list[str], list[float]]:
    """The six nearest images, one per lesion, by scikit-learn's full comparison."""
    nearest = NearestNeighbors(n_neighbors=ROWS, metric="cosine", algorithm="brute").fit(FEATURES)
    distances, rows = nearest.kneighbors(query[None])
    seen, names, values = set(without), [], []
    for distance, row in zip(distances[0], rows[0], strict=True):
        if LESION[row] not in seen:
            seen.add(LESION[row])
            names.append(f"image-{row}")
            values.append(1 - distance)
    return names[:NEAREST], values[:NEAREST]


@pytest.mark.parametrize("seed", range(5))
def test_cases_are_the_nearest_images_of_six_lesions(index, seed):
    query = FEATURES[seed] + np.random.default_rng(seed).normal(0, 0.5, WIDTH)
    found = index.nearest(query, a_frame(-seed + 10**6))
    names, values = expected(query, set())
    assert [case.image_id for case in found] == names
    assert [case.similarity for case in found] == pytest.approx(values, abs=1e-3)
    assert len({case.lesion_id for case in found}) == NEAREST
    for case in found:
        row = int(case.image_id.removeprefix("image-"))
        assert case.picture == b"jpeg %d" % row
        assert (case.lesion_id, case.label) == (f"lesion-{LESION[row]}", "mel" if LESION[row] % 3 else "nv")


@pytest.mark.parametrize("how", ["itself", "stored anew", "half the size"])
def test_the_lesion_of_a_copy_is_left_out(index, how):
    """Whatever its features are: those of another of its lesion's images, here."""
    row = next(i for i in range(ROWS) if (LESION[i] == LESION).sum() > 2)
    other = np.flatnonzero(LESION[row] == LESION)[-1]
    picture = Image.fromarray(a_frame(row))
    if how == "stored anew":
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=60)
        picture = Image.open(data)
    if how == "half the size":
        picture = picture.resize((100, 100))
    found = index.nearest(FEATURES[other], np.asarray(picture))
    assert [case.image_id for case in found] == expected(FEATURES[other], {LESION[row]})[0]
    unknown = index.nearest(FEATURES[other], a_frame(10**6))
    assert unknown[0].image_id == f"image-{other}", "of a picture that is no copy, nothing is left out"


def test_what_the_user_calls_the_image_or_its_lesion_is_left_out(index):
    for name in ("image-3", f"lesion-{LESION[3]}", r"C:\scans\IMAGE-3.JPG", "north/image-3.jpg"):
        found = index.nearest(FEATURES[3], a_frame(10**6), own=["", name])
        assert [case.image_id for case in found] == expected(FEATURES[3], {LESION[3]})[0]


@pytest.mark.parametrize("change", [{"labels": ["wart"]}, {"data": {"sources": {}}}, {"data": None}])
def test_an_index_that_lacks_what_results_show_is_damaged(tmp_path, manifest, change):
    made(tmp_path / "index", manifest.sha256, **change)
    with pytest.raises(ModelError, match="is damaged"):
        Neighbours.load(tmp_path / "index", manifest)


def test_fewer_lesions_than_six_are_all_shown(tmp_path, manifest):
    made(tmp_path / "index", manifest.sha256, FEATURES[:4], np.array([0, 0, 1, 2]))
    found = Neighbours.load(tmp_path / "index", manifest).nearest(FEATURES[0], a_frame(10**6))
    lesions = [case.lesion_id for case in found]
    assert lesions[0] == "lesion-0"
    assert sorted(lesions) == ["lesion-0", "lesion-1", "lesion-2"]


def test_an_index_of_another_model_none_or_a_damaged_one_is_refused(tmp_path, manifest):
    place = tmp_path / "index"
    with pytest.raises(ModelError, match="holds no index.*make one with this model: skinlesion index"):
        Neighbours.load(place, manifest)
    made(place, "0" * 64, FEATURES[:9], np.arange(9))
    with pytest.raises(ModelError, match="of another model.*skinlesion index.*--model"):
        Neighbours.load(place, manifest)
    made(place, manifest.sha256, FEATURES[:9], np.arange(9))
    whole = (place / "rows.npz").read_bytes()
    (place / "rows.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged"):
        Neighbours.load(place, manifest)
    (place / "rows.npz").write_bytes(whole)
    np.save(place / "features.npy", np.zeros((8, WIDTH), np.float16))
    with pytest.raises(ModelError, match="damaged.*lengths"):
        Neighbours.load(place, manifest)
    made(place, manifest.sha256, FEATURES[:9], np.arange(9))
    pictures = (place / "pictures.bin").read_bytes()
    for other in (pictures[:-1], pictures + b"0"):
        (place / "pictures.bin").write_bytes(other)
        with pytest.raises(ModelError, match="damaged.*pictures.bin"):
            Neighbours.load(place, manifest)


def test_an_interrupted_run_leaves_the_older_index_and_nothing_else(tmp_path, manifest):
    place = tmp_path / "index"
    made(place, manifest.sha256, FEATURES[:9], np.arange(9))

    class Interrupted(list):
        def __iter__(self):
            yield FEATURES[0]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(place, manifest.sha256, Interrupted(), np.arange(20))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert json.loads((place / "index.json").read_text())["images"] == 9


def test_a_folder_that_is_no_index_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"dear")
    with pytest.raises(SkinLesionError, match="something else than an index; choose another --output"):
        made(tmp_path / "photos", "0" * 64, FEATURES[:9], np.arange(9))
    assert (tmp_path / "photos" / "mine.jpg").read_bytes() == b"dear"
