"""``skinlesion data twins``: the shipped model's features, files of pairs and groups, what is said."""

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from skinlesion import cli
from skinlesion.core.errors import ModelError
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving import features as serving


def data_set(folder, pictures):
    """A folder with ``labels.csv``: {image id: (frame, label)}."""
    folder.mkdir()
    for name, (frame, _) in pictures.items():
        Image.fromarray(frame).save(folder / f"{name}.png")
    rows = [(f"{name}.png", name, label, f"L{name}") for name, (_, label) in pictures.items()]
    table = pd.DataFrame(rows, columns=["path", "image_id", "label", "lesion_id"])
    table.to_csv(folder / "labels.csv", index=False)
    return f"csv:{folder / 'labels.csv'}"


@pytest.fixture(scope="module")
def two_clinics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinics")
    drawn = [draw_example(("nv", "mel", "bkl")[number % 3], seed=number) for number in range(9)]
    darker = np.clip(drawn[0][:, ::-1] * (0.9, 0.8, 0.85), 0, 255).astype(np.uint8)
    turned = np.ascontiguousarray(np.rot90(drawn[1]))
    first = data_set(folder / "vienna", {f"v{n}": (drawn[n], ("nv", "mel", "bkl")[n % 3]) for n in range(6)})
    second = data_set(
        folder / "porto",
        {"p0": (darker, "nv"), "p1": (turned, "nv"), "p2": (drawn[2], "bkl"), "p3": (drawn[7], "mel")},
    )
    return first, second


def test_it_finds_twins_copies_and_contradictions(two_clinics, tmp_path, capsys):
    assert cli.main(["data", "twins", *two_clinics, "--output", str(tmp_path / "out")]) == 0
    pairs = pd.read_csv(tmp_path / "out" / "pairs.csv")
    found = {(a, b): (kind, bad) for a, b, kind, bad in
             pairs[["image_id_a", "image_id_b", "kind", "contradiction"]].itertuples(index=False)}  # fmt: skip
    assert found == {("v2", "p2"): ("copy", False), ("v0", "p0"): ("twin", False), ("v1", "p1"): ("twin", True)}
    groups = pd.read_csv(tmp_path / "out" / "groups.csv").set_index("image_id")["group"]
    assert groups["v0"] == groups["p0"] and groups["v1"] == groups["p1"] and groups["v2"] == groups["p2"]
    assert groups.nunique() == 7
    assert Image.open(tmp_path / "out" / "gallery.jpg").size[0] > 0
    said = capsys.readouterr().out
    assert "10 images of 10 lesion ids: 7 groups" in said
    assert "1 byte-identical copy in" in said and "2 twin pairs in" in said
    assert "1 picture under two labels" in said


def test_features_do_not_change_where_a_picture_is_turned_or_mirrored():
    square = np.stack([draw_example("nv", seed)[43:107, 68:132] for seed in (3, 4)])
    compute = serving.Features()
    features = compute(square)
    assert features.shape[0] == 2 and features.dtype == np.float32 and np.abs(features[0] - features[1]).max() > 0.1
    for changed in (np.rot90(square, axes=(1, 2)), square[:, :, ::-1], square[:, ::-1]):
        np.testing.assert_allclose(compute(changed), features, atol=1e-4)


def test_a_model_without_a_network_is_refused(model):
    with pytest.raises(ModelError, match="no network whose features can be compared"):
        serving.Features(str(model))


def test_the_cut_does_not_depend_on_the_names_in_the_file():
    part, (start, mean, scale), end = serving.cut(onnx.load(serving.PRETRAINED / "model.onnx"))
    assert [value.name for value in part.graph.input] == [start]
    assert [value.name for value in part.graph.output] == [end]
    assert mean.size == scale.size == 1 or mean.shape == scale.shape


def test_one_data_set_given_twice_is_refused(two_clinics, capsys):
    assert cli.main(["data", "twins", two_clinics[0], two_clinics[0]]) == 2
    assert "give each of them once" in capsys.readouterr().err
