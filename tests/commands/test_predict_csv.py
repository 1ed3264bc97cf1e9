"""Rows of ``predict --format csv`` are distinct, and are joined with the truth."""

import pytest

from datafiles import write_images
from skinlesion.cli import main
from skinlesion.evaluation.predictions import read


@pytest.mark.parametrize("names", [["mel/0.jpg", "nv/0.jpg"], ["mel/0.jpg", "nv/1.JPEG"]])
def test_images_of_one_name_keep_their_folders(tmp_path, monkeypatch, model, names):
    for name in names:
        write_images(tmp_path / name.partition("/")[0], [name.partition("/")[2]])
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *names, "--model", str(model), "--format", "csv", "--output", "p.csv"]) == 0
    (tmp_path / "truth.csv").write_text("image,dx\n" + "".join(f"{name},{name.partition('/')[0]}\n" for name in names))
    predictions = read("p.csv", "truth.csv")
    expected = names if names[1].endswith("0.jpg") else ["0", "1"]
    assert list(predictions.image_ids) == expected
    assert [predictions.labels.codes[i] for i in predictions.y] == ["mel", "nv"]
