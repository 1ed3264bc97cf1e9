"""The demo set: HAM10000's layout and proportions, the same bytes every time, and never half a set."""

import csv
import io
import json
import re
import shutil
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.data.demo import dataset as demo
from skinlesion.data.demo.classes import LOOKALIKES, draw_lesion
from skinlesion.data.sources import load_table

N = 100
FILES = {
    "HAM10000_images_part_1.zip",
    "HAM10000_images_part_2.zip",
    "HAM10000_segmentations_lesion_tschandl.zip",
    "HAM10000_metadata.csv",
    "isic2019_labels.csv",
    "demo.json",
}
# Of 10,015 images in HAM10000 (Tschandl et al. 2018, table 2).
HAM10000 = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}
SITES = {
    *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck"),
    *("scalp", "trunk", "unknown", "upper extremity"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return demo.make_demo(tmp_path_factory.mktemp("demo") / "set", N, seed=0)


def rows(folder, name="HAM10000_metadata.csv"):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def images(folder):
    return {
        name.removesuffix(".jpg"): data
        for part in (1, 2)
        for name, data in members(folder / f"HAM10000_images_part_{part}.zip").items()
    }


@pytest.fixture(scope="module")
def plan():
    """What the default set will hold; drawing it would take a while."""
    return demo._plan(demo.IMAGES, 0)


# -- layout


def test_the_folder_is_laid_out_as_the_ham10000_download(folder):
    assert {path.name for path in folder.iterdir()} == FILES
    for part in (1, 2):
        with zipfile.ZipFile(folder / f"HAM10000_images_part_{part}.zip") as archive:
            assert len(archive.namelist()) == N // 2
            assert all(re.fullmatch(r"ISIC_\d{7}\.jpg", name) for name in archive.namelist())
            assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    table = rows(folder)
    assert list(table[0]) == ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    assert {row["image_id"] for row in table} == set(images(folder))
    assert len(table) == N
    for data in images(folder).values():
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (200, 150))


def test_every_image_has_a_mask_of_its_lesion(folder):
    name = "HAM10000_segmentations_lesion_tschandl"
    masks = members(folder / f"{name}.zip")
    assert set(masks) == {f"{name}/{image_id}_segmentation.png" for image_id in images(folder)}
    contrasts = []
    for image_id, data in images(folder).items():
        mask = np.asarray(Image.open(io.BytesIO(masks[f"{name}/{image_id}_segmentation.png"])))
        assert mask.shape == (150, 200) and set(np.unique(mask)) <= {0, 255} and (mask == 255).sum() > 60
        green = np.asarray(Image.open(io.BytesIO(data)))[..., 1]
        outside = (mask == 0) & (green > 60)
        if outside.sum() > 500:
            contrasts.append(np.median(green[outside]) - np.median(green[mask == 255]))
    assert np.median(contrasts) > 20  # a mask that sits elsewhere would give none
    assert np.mean(np.array(contrasts) > 0) > 0.85


def test_the_ham10000_reader_reads_it_with_seven_and_eight_labels(folder):
    seven, eight = load_table(str(folder)), load_table(str(folder), labels=8)
    assert len(seven) == len(eight) == N and seven.synthetic and seven.problems.empty
    assert (seven.counts() > 0).all() and (eight.counts() > 0).all()
    assert eight.counts()["ak"] + eight.counts()["scc"] == seven.counts()["akiec"]


def test_demo_json_says_how_it_was_made(folder):
    said = json.loads((folder / "demo.json").read_text())
    assert (said["version"], said["n"], said["seed"]) == (demo.VERSION, N, 0)


# -- determinism


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    again = demo.make_demo(tmp_path / "again", N, seed=0)
    other = demo.make_demo(tmp_path / "other", 60, seed=1)
    for name in FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    mine, theirs = images(folder), images(other)
    assert set(theirs) <= set(mine) and not set(mine.values()) & set(theirs.values())


def test_no_image_appears_twice(folder):
    assert len(set(images(folder).values())) == N


# -- proportions


def test_classes_are_as_imbalanced_as_in_ham10000(plan):
    counts = Counter()
    for lesion in plan:
        counts[lesion.dx] += len(lesion.image_ids)
    assert sum(counts.values()) == demo.IMAGES
    for dx, real in HAM10000.items():
        assert counts[dx] == pytest.approx(demo.IMAGES * real / 10015, rel=0.02, abs=1), dx
        assert counts[dx] >= 11


@pytest.mark.parametrize("n", [60, 61, 240, 1000])
def test_small_sets_hold_every_label_in_six_lesions_or_more(n):
    lesions = demo._plan(n, 4)
    assert sum(len(lesion.image_ids) for lesion in lesions) == n
    by_label = Counter(lesion.label for lesion in lesions)
    assert set(by_label) == set(LOOKALIKES) and min(by_label.values()) >= 6
    assert by_label.most_common(1)[0][0] == "nv"


def test_lesions_have_one_to_several_images_in_ham10000s_proportion(plan):
    sizes = Counter(len(lesion.image_ids) for lesion in plan)
    assert len(plan) / demo.IMAGES == pytest.approx(7470 / 10015, rel=0.03)
    assert sizes[1] / len(plan) == pytest.approx(5514 / 7470, abs=0.06)
    assert sizes[3] > 0 and max(sizes) <= 6


def test_images_of_a_lesion_share_all_but_the_picture(folder):
    by_lesion = defaultdict(list)
    for row in rows(folder):
        by_lesion[row["lesion_id"]].append(row)
    assert any(len(group) > 1 for group in by_lesion.values())
    for group in by_lesion.values():
        assert len({tuple(v for k, v in row.items() if k != "image_id") for row in group}) == 1


def test_actinic_keratoses_and_carcinomas_split_as_in_isic_2019(plan, folder):
    counts = Counter()
    for lesion in plan:
        counts[lesion.label] += len(lesion.image_ids)
    assert counts["ak"] / (counts["ak"] + counts["scc"]) == pytest.approx(0.4, abs=0.03)
    labels = {row["image_id"]: row["isic2019_label"] for row in rows(folder, "isic2019_labels.csv")}
    for row in rows(folder):
        allowed = {"AK", "SCC"} if row["dx"] == "akiec" else {row["dx"].upper()}
        assert labels[row["image_id"]] in allowed


def test_ids_cannot_be_real_ones(folder, plan):
    numbers = [int(row["image_id"].removeprefix("ISIC_")) for row in rows(folder)]
    numbers += [int(image_id.removeprefix("ISIC_")) for lesion in plan for image_id in lesion.image_ids]
    assert min(numbers) > 36064  # the last image of the official test set
    assert all(row["lesion_id"].startswith("DEMO_") for row in rows(folder))


def test_ids_do_not_tell_the_class(plan):
    melanomas = [int(i[5:]) - demo.FIRST_ID for lesion in plan if lesion.label == "mel" for i in lesion.image_ids]
    assert np.mean(melanomas) == pytest.approx(demo.IMAGES / 2, abs=4 * 0.29 * demo.IMAGES / len(melanomas) ** 0.5)


def test_patients_are_as_in_ham10000(plan, folder):
    assert any(row["age"] == "" for row in rows(folder))
    missing = sum(len(lesion.image_ids) for lesion in plan if not lesion.age)
    assert 4 <= missing <= 25
    ages = defaultdict(list)
    for lesion in plan:
        if lesion.age:
            ages[lesion.dx].append(float(lesion.age))
            assert 0 <= ages[lesion.dx][-1] <= 85 and ages[lesion.dx][-1] % 5 == 0
    assert np.mean(ages["nv"]) == pytest.approx(46.5, abs=3) and np.mean(ages["bcc"]) > 60
    assert {lesion.sex for lesion in plan} == {"male", "female", "unknown"}
    assert {lesion.site for lesion in plan} <= SITES
    assert {lesion.dx_type for lesion in plan if lesion.dx in ("mel", "bcc", "akiec")} == {"histo"}
    assert {lesion.dx_type for lesion in plan if lesion.dx == "nv"} == {"histo", "follow_up", "consensus"}
    dermatofibromas = [lesion.site for lesion in plan if lesion.dx == "df"]
    assert Counter(dermatofibromas).most_common(1)[0][0] == "lower extremity"


# -- files


def count_calls(monkeypatch, limit, error):
    """Count the drawings, and let every one after ``limit`` raise ``error``."""
    calls = []

    def draw(label, rng):
        calls.append(label)
        if len(calls) > limit:
            raise error
        return draw_lesion(label, rng)

    monkeypatch.setattr(demo, "draw_lesion", draw)
    return calls


@pytest.mark.parametrize(
    ("error", "shown"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left"), SkinLesionError)]
)
def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch, error, shown):
    calls = count_calls(monkeypatch, 5, error)
    with pytest.raises(shown):
        demo.make_demo(tmp_path / "set", 60)
    assert 6 <= len(calls) <= demo.BLOCK and list(tmp_path.iterdir()) == []


def test_a_set_that_is_there_is_not_drawn_again(folder, monkeypatch):
    calls = count_calls(monkeypatch, 0, AssertionError("drawn again"))
    assert demo.make_demo(folder, N, seed=0) == folder and not calls


def test_a_folder_with_anything_else_is_refused_and_left_alone(folder, tmp_path):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(DataError, match=rf"n={N}, seed=0.*choose another folder"):
        demo.make_demo(folder, N, seed=1)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="other files.*choose another folder"):
        demo.make_demo(tmp_path, 60)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert demo.make_demo(tmp_path / "empty", 60) == tmp_path / "empty"
    assert {path.name for path in (tmp_path / "empty").iterdir()} == FILES


@pytest.mark.parametrize("same", [True, False])
def test_another_process_may_be_faster(folder, tmp_path, monkeypatch, same):
    target = tmp_path / "set"

    def slow(*_):
        shutil.copytree(folder, target)  # the other process has moved its set into place meanwhile
        if not same:
            (target / "demo.json").write_text("{}")

    monkeypatch.setattr(demo, "_write", slow)
    if same:
        assert demo.make_demo(target, N, seed=0) == target
    else:
        with pytest.raises(DataError, match="other files"):
            demo.make_demo(target, N, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_cached_set_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINLESION_CACHE", str(tmp_path))
    first = demo.demo_folder(60, 2)
    assert first == tmp_path / f"demo-v{demo.VERSION}-60-2" and (first / "demo.json").exists()
    calls = count_calls(monkeypatch, 0, AssertionError("drawn again"))
    assert demo.demo_folder(60, 2) == first and not calls


@pytest.mark.parametrize(("n", "seed", "said"), [(59, 0, "60 images or more"), (60, -1, "seed must be 0 or more")])
def test_impossible_sizes_and_seeds_are_refused(tmp_path, n, seed, said):
    with pytest.raises(ConfigError, match=said):
        demo.make_demo(tmp_path / "set", n, seed)
    assert list(tmp_path.iterdir()) == []


# -- against the real thing


@pytest.mark.real
def test_counts_and_words_are_those_of_the_real_metadata(ham10000_dir, plan):
    labels = {row["image_id"]: row["isic2019_label"].lower() for row in rows(ham10000_dir, "isic2019_labels.csv")}
    counts, lesions = Counter(), defaultdict(set)
    real = rows(ham10000_dir)
    for row in real:
        counts[labels[row["image_id"]]] += 1
        lesions[labels[row["image_id"]]].add(row["lesion_id"])
    for label, known in demo._CLASSES.items():
        assert (known.images, known.lesions) == (counts[label], len(lesions[label])), label
    assert {row["localization"] for row in real} == SITES
    assert {row["dx_type"] for row in real} == {"histo", "follow_up", "consensus", "confocal"}
    assert not {row["image_id"] for row in real} & {i for lesion in plan for i in lesion.image_ids}
