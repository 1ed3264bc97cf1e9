"""Several data sets as one table."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from skinlesion.core.errors import DataError
from skinlesion.core.runs import Run
from skinlesion.data.check import check_table
from skinlesion.data.sources import load_table, source_names
from skinlesion.data.table import LesionTable
from small import encoded, write_csv, write_images

HAM = ("image_id", "lesion_id", "dx", "dx_type", "age", "sex", "localization")


def ham(folder, ids, size=(40, 30), seed=7):
    """A folder in HAM10000's layout: half nevi, half melanomas, a lesion an image."""
    rows = [(name, f"HAM_{i}", ("nv", "mel")[i % 2], "histo", "50", "male", "back") for i, name in enumerate(ids)]
    write_csv(folder / "HAM10000_metadata.csv", HAM, rows)
    for number, name in enumerate(ids):
        noise = np.random.default_rng([seed, number]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        (folder / f"{name}.jpg").write_bytes(encoded(noise, "JPEG"))
    return f"ham10000:{folder}"


def clinic(folder, ids, lesions=None, words=("nevus", "melanoma")):
    """A folder with labels.csv and images of its own."""
    write_images(folder, [f"{name}.jpg" for name in ids])
    rows = [(name, words[i % 2], lesion) for i, (name, lesion) in enumerate(zip(ids, lesions or ids, strict=True))]
    write_csv(folder / "labels.csv", ("image_id", "label", "lesion_id"), rows)
    return f"csv:{folder}"


@pytest.fixture
def both(tmp_path):
    ours = ham(tmp_path / "ham", ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"])
    theirs = clinic(tmp_path / "north", ["1", "2", "ISIC_0000009"], ["HAM_0", "b", "b2"])
    return [ours, theirs]


def test_rows_follow_each_other_with_their_source(both, tmp_path):
    table = load_table(both)
    assert table.frame["source"].tolist() == ["ham10000"] * 3 + ["north"] * 3
    assert table.frame["dx_type"].tolist() == ["histo"] * 3 + ["unknown"] * 3
    assert table.frame["image_id"].tolist()[3:] == ["1", "2", "ISIC_0000009"], "ids stay as they are"
    lesions = ["ham10000/HAM_0", "HAM_1", "HAM_2", "north/HAM_0", "b", "b2"]
    assert table.frame["lesion_id"].tolist() == lesions, "two sources' lesions are never one"
    assert (table.source, table.has_lesions) == ("ham10000 + csv", True)
    assert [note.partition(":")[0] for note in table.notes] == ["ham10000"]
    assert table.counts_by_source().loc["mel"].to_dict() == {"ham10000": 1, "north": 1}
    table.save(Run(tmp_path / "run"))
    back = LesionTable.load(Run(tmp_path / "run"))
    assert back.origins == table.origins and back.fingerprint() == table.fingerprint()
    alone = load_table(both[1]).frame.assign(lesion_id=["north/HAM_0", "b", "b2"])
    pd.testing.assert_frame_equal(back.of_source("north").frame, alone, check_dtype=False)


@pytest.mark.parametrize("damage", [{"origins": None}, {"origins": {"a": {"kind": "csv"}}}, {"labels": None}, "{"])
def test_a_table_of_another_version_or_damaged_says_which_notebook_makes_it_again(both, tmp_path, damage):
    run = Run(tmp_path / "run")
    load_table(both).save(run)
    told = json.loads(run.table_info.read_text())
    if damage == "{":
        run.table_info.write_text(damage)
    else:
        run.table_info.write_text(
            json.dumps({name: value for name, value in (told | damage).items() if value is not None})
        )
    with pytest.raises(DataError, match=r"table\.json.* run 01_eda again"):
        LesionTable.load(run)


def test_a_source_alone_has_the_fingerprint_that_it_has_always_had(both):
    table = load_table(both[0])
    without = table.frame.drop(columns=["path", "source"]).sort_values("image_id").to_csv(index=False)
    assert table.fingerprint() == hashlib.sha256(without.encode()).hexdigest()


def test_ids_that_collide_get_their_source_in_front(tmp_path):
    north = clinic(tmp_path / "north", ["1", "2"])
    south = clinic(tmp_path / "south", ["2", "3"], ["p", "p2"])
    frame = load_table([north, south]).frame
    assert frame["image_id"].tolist() == ["1", "north/2", "south/2", "3"]
    assert frame["lesion_id"].tolist() == ["1", "north/2", "p", "p2"], "an image without a lesion id is its own lesion"


@pytest.mark.parametrize(("first", "second", "kept"), [(40, 80, "ham10000-large"), (80, 40, "ham10000-small")])
def test_one_version_of_a_picture(tmp_path, first, second, kept):
    """The second one has two of three pictures, and one of its own."""
    ids = ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003", "ISIC_0000004"]
    data = [ham(tmp_path / "small", ids[:3], (first, 30)), ham(tmp_path / "large", ids[1:], (second, 30), seed=1)]
    table = load_table(data)
    assert table.frame["image_id"].is_unique and set(table.frame["image_id"]) == set(ids)
    of = table.frame.set_index("image_id")["source"]
    assert of["ISIC_0000002"] == of["ISIC_0000003"] == kept and of.nunique() == 2
    check = check_table(table)
    assert check.summary.set_index("problem").loc["another version of a picture", "count"] == 2
    assert set(check.problems["source"]) == {"ham10000-small", "ham10000-large"} - {kept}


def test_one_picture_of_the_archive_however_its_id_is_written(tmp_path):
    """An image that trains in one source must not be tested in the other."""
    large = ham(tmp_path / "large", ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"], (80, 60))
    theirs = ["isic_0000001", "ISIC_0000002_downsampled", "ISIC_00000031", "x_ISIC_0000003"]
    check = check_table(load_table([clinic(tmp_path / "north", theirs), large]))
    assert check.table.frame["image_id"].tolist() == [*theirs[2:], "ISIC_0000001", "ISIC_0000002", "ISIC_0000003"]
    assert check.problems["image_id"].tolist() == theirs[:2]


def test_a_lesion_in_two_parts_of_one_published_set_stays_one(tmp_path):
    parts = [ham(tmp_path / name, [f"ISIC_000000{i}"]) for i, name in enumerate(("part_1", "part_2"))]
    assert load_table(parts).frame["lesion_id"].tolist() == ["HAM_0", "HAM_0"]
    north = clinic(tmp_path / "north", ["1"], ["HAM_0"])
    first = "ham10000-part_1/HAM_0"
    assert load_table([*parts, north]).frame["lesion_id"].tolist() == [first, first, "north/HAM_0"]


def test_a_source_that_another_one_holds_whole_is_refused(tmp_path):
    ids = ["ISIC_0000001", "ISIC_0000002"]
    small, large = ham(tmp_path / "small", ids), ham(tmp_path / "large", ids, (80, 60))
    with pytest.raises(DataError, match=r"ham10000-large has all 2 pictures of .*/small, too.*leave out .*/small"):
        load_table([small, large])
    with pytest.raises(DataError, match="given twice"):
        load_table([small, str(tmp_path / "small")])


def test_drawn_sets_hold_other_pictures_under_the_same_ids(tmp_path):
    places = []
    for seed, name in enumerate(("one", "two")):
        places.append(ham(tmp_path / name, ["ISIC_9000001", "ISIC_9000002"], seed=seed))
        (tmp_path / name / "demo.json").write_text("{}")
    table = load_table(places)
    assert table.synthetic and list(table.origins) == ["demo-one", "demo-two"]
    assert table.frame["image_id"].tolist()[0] == "demo-one/ISIC_9000001" and len(table) == 4


def test_the_official_test_set_is_left_out_of_every_source(tmp_path):
    ours = ham(tmp_path / "ham", ["ISIC_0000001", "ISIC_0034524"])
    theirs = clinic(tmp_path / "north", ["ISIC_0034525", "ISIC_0000008", "ISIC_0000009"])
    table = load_table([ours, theirs])
    assert set(table.frame["image_id"]) == {"ISIC_0000001", "ISIC_0000008", "ISIC_0000009"}
    left_out = [note for note in table.notes if "official" in note]
    assert [note.partition(":")[0] for note in left_out] == ["ham10000", "north"]
    assert len(load_table([ours, theirs], exclude_official_test=False)) == 5


def test_sources_are_called_by_kind_or_folder(both, tmp_path):
    assert source_names(both) == ["ham10000", "north"]
    assert source_names(str(tmp_path / "north")) == ["north"], "a folder with labels.csv needs no kind before it"
    assert source_names(str(tmp_path / "north" / "labels.csv")) == ["north"]
    (tmp_path / "far").mkdir()
    (tmp_path / "north").rename(tmp_path / "far" / "north")
    again = clinic(tmp_path / "north", ["5"])
    assert source_names([f"csv:{tmp_path}/far/north", again]) == ["north", "north-2"]


def test_the_check_counts_by_class_and_source(both, tmp_path):
    rows = "image_id,label,lesion_id\n1,nevus,a\n2,melanoma,b\nISIC_0000009,wart,c\n"
    (tmp_path / "north" / "labels.csv").write_text(rows)
    check = check_table(load_table(both))
    counts = check.by_source()
    assert counts.loc["nv"].to_dict() == {"ham10000": 2, "north": 1, "all": 3}
    assert counts.loc["problems"].to_dict() == {"ham10000": 0, "north": 1, "all": 1}
    assert counts.loc["lesions"].to_dict() == {"ham10000": 3, "north": 2, "all": 5}
    wrong = check.summary.set_index("problem").loc["unknown label"]
    assert (wrong["count"], wrong["ham10000"], wrong["north"]) == (1, 0, 1)
    told = check.describe()
    assert f"north at {tmp_path / 'north' / 'labels.csv'}" in told and "5 images of 5 lesions can be used" in told
    check.write(tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")[["image_id", "source"]].to_numpy().tolist() == [["ISIC_0000009", "north"]]


def test_of_two_labels_of_one_file_the_first_source_keeps_its_own(both, tmp_path):
    """So that its split does not depend on other sources."""
    (tmp_path / "north" / "1.jpg").write_bytes((tmp_path / "ham" / "ISIC_0000002.jpg").read_bytes())  # mel there
    (tmp_path / "north" / "2.jpg").write_bytes((tmp_path / "ham" / "ISIC_0000002.jpg").read_bytes())
    check = check_table(load_table(both))
    assert set(check.table.frame["image_id"]) == {"ISIC_0000001", "ISIC_0000002", "ISIC_0000003", "2", "ISIC_0000009"}
    assert check.table.near_duplicates == (("ISIC_0000002", "2"),), "a copy with the same label"


@pytest.mark.parametrize("word", ["SCC", "Squamous cell carcinoma", "squamous cell carcinoma, NOS"])
def test_a_bare_scc_is_set_aside_where_seven_labels_have_no_class_for_invasive_ones(tmp_path, word):
    place = clinic(tmp_path / "north", ["1", "2", "3"], words=(f"{word}", "nevus"))
    table = load_table(place)
    assert table.counts()["akiec"] == 0 and table.problems["problem"].tolist() == ["diagnosis without a class"] * 2
    assert load_table(place, 8).counts()["scc"] == 2
    assert load_table(place, words=[f"{word}=akiec"]).counts()["akiec"] == 2
    assert load_table(clinic(tmp_path / "in situ", ["1"], words=("SCC in situ",))).counts()["akiec"] == 1
