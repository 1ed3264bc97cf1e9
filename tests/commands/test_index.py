"""``skinlesion index``: from a data set to an index whose cases the predictor finds."""

import json

import numpy as np
import pytest
from PIL import Image

import tiny_model
from skinlesion.cli import main
from skinlesion.core import images
from skinlesion.core.taxonomy import HAM7, ISIC8
from skinlesion.serving.neighbours import Neighbours
from skinlesion.serving.predictor import Predictor
from small import small_table

HOW = {"histo": "Histopathology", "follow_up": "follow-up", "consensus": "consensus", "unknown": ""}


@pytest.fixture
def data(tmp_path):
    """A table in which each way of confirmation takes its turn, lesion by lesion."""
    table = small_table(tmp_path / "data", lesions=8)
    number = table.frame["lesion_id"].str.partition("_")[2].astype(int)
    words = number.map(lambda n: list(HOW.values())[n % 4])
    frame = table.frame[["path", "label", "image_id", "lesion_id"]].assign(dx_type=words)
    frame.to_csv(tmp_path / "data" / "labels.csv", index=False)
    return frame.assign(how=number.map(lambda n: list(HOW)[n % 4]))


@pytest.mark.parametrize("chosen", [(), ("consensus", "unknown")])
def test_the_index_holds_the_images_that_are_confirmed_so(tmp_path, data, capsys, chosen):
    model, place = tiny_model.write(tmp_path / "model"), tmp_path / "index"
    more = ["--confirmed", *chosen] if chosen else []
    assert main(["index", "--data", str(tmp_path / "data"), "--model", str(model), "--output", str(place), *more]) == 0
    taken = data[data["how"].isin(chosen or ("histo", "follow_up", "confocal"))]
    told = capsys.readouterr().out
    assert f"{len(taken):,} images of {taken['lesion_id'].nunique():,} lesions" in told
    assert f"{(data['how'] == 'consensus').sum()} consensus" in told
    predictor = Predictor.load(model)
    index = Neighbours.load(place, predictor.manifest)
    query = images.read_image(taken["path"].iloc[0])
    found = index.nearest(predictor.features([query])[0], query, count=len(taken))
    assert {case.lesion_id for case in found} == set(taken["lesion_id"]) - {taken["lesion_id"].iloc[0]}
    by_image = taken.set_index("image_id")
    for case in found:
        row = by_image.loc[case.image_id]
        assert (case.label, case.confirmed, case.source) == (row["label"], row["how"], "data")
        (tmp_path / "small.jpg").write_bytes(case.picture)
        small, whole = Image.open(tmp_path / "small.jpg"), images.read_image(row["path"])
        assert np.abs(np.asarray(small, float).mean((0, 1)) - whole.mean((0, 1))).max() < 4
    facts = json.loads((place / "index.json").read_text())
    assert facts["model"] == predictor.manifest.sha256
    assert facts["data"]["images"] == len(taken)


def test_pictures_are_small(tmp_path, data):
    wide = np.full((300, 900, 3), 30, np.uint8)
    Image.fromarray(wide).save(data["path"].iloc[0])
    model, place = tiny_model.write(tmp_path / "model"), tmp_path / "index"
    assert main(["index", "--data", str(tmp_path / "data"), "--model", str(model), "--output", str(place)]) == 0
    predictor = Predictor.load(model)
    (case,) = [
        case
        for case in Neighbours.load(place, predictor.manifest).nearest(np.full(3, -0.5), wide + 90, count=99)
        if case.image_id == data["image_id"].iloc[0]
    ]
    (tmp_path / "small.jpg").write_bytes(case.picture)
    assert Image.open(tmp_path / "small.jpg").size == (160, 53)


def test_without_a_proven_case_the_error_says_what_to_do(tmp_path, data, capsys):
    data.drop(columns="dx_type").to_csv(tmp_path / "data" / "labels.csv", index=False)
    model = tiny_model.write(tmp_path / "model")
    given = ["--data", str(tmp_path / "data"), "--model", str(model), "--output", str(tmp_path / "index")]
    assert main(["index", *given]) == 2
    assert "--confirmed takes others" in capsys.readouterr().err
    assert not (tmp_path / "index").exists()


def test_labels_are_the_models_or_seven_where_that_leaves_more_images(tmp_path, data, capsys):
    place = tmp_path / "index"
    given = ["--model", str(tiny_model.write(tmp_path / "model", ISIC8)), "--output", str(place)]

    def labels(*options: str) -> list[str]:
        assert main(["index", *options, *given]) == 0
        return json.loads((place / "index.json").read_text())["labels"]

    assert labels("--data", "demo:80") == list(ISIC8.codes)
    assert labels("--data", "demo:80", "--labels", "7") == list(HAM7.codes)
    assert labels("--data", str(tmp_path / "data")) == list(HAM7.codes), "its akiec is neither ak nor scc"
    assert "so cases have seven" in capsys.readouterr().out
    taken = data[data["how"].isin(("histo", "follow_up"))]
    assert json.loads((place / "index.json").read_text())["images"] == len(taken)
