"""The `data` commands: what they print, what they write, and their exit status."""

import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from skinlesion import cli
from skinlesion.cli import main
from skinlesion.core.errors import ModelError
from skinlesion.data import download
from skinlesion.data.demo.dataset import draw_example
from skinlesion.serving import features as serving
from skinlesion.serving.manifest import PRETRAINED


@pytest.fixture
def folder(tmp_path):
    """A class folder each for nevi and melanomas, and an image of an unknown class."""
    for seed, name in enumerate(("nv/a", "nv/b", "mel/c", "wart/d")):
        path = tmp_path / "set" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return tmp_path / "set"


def test_check_prints_a_table_and_lists_the_problems(folder, tmp_path, capsys):
    (folder / "nv" / "b.jpg").write_bytes(b"damaged")
    output = tmp_path / "data_check.csv"
    assert main(["data", "check", str(folder), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "2 images can be used" in printed and "mel 1, nv 1" in printed
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    assert "undecodable image 1 image set aside" in rows and not any(row.startswith("duplicate id") for row in rows)
    (absent,) = (row for row in rows if row.startswith("Looked for and not found"))
    assert "duplicate id" in absent and "undecodable" not in absent
    assert f"2 problems, listed in {output}" in printed
    assert pd.read_csv(output)["problem"].tolist() == ["unknown label", "undecodable image"]


def test_check_maps_an_unknown_label(folder, tmp_path, capsys):
    arguments = ["data", "check", str(folder), "--output", str(tmp_path / "out.csv")]
    assert main(arguments) == 0
    assert "Unknown labels: 'wart' (1 image). To use them, add --label 'wart=CODE'." in capsys.readouterr().out
    assert main([*arguments, "--label", "Wart=bkl"]) == 0
    printed = capsys.readouterr().out
    assert "4 images can be used" in printed and "bkl 1" in printed
    assert main([*arguments, "--label", "wart=bump"]) == 2
    assert "there is no class bump" in capsys.readouterr().err


def test_check_without_decoding(folder, tmp_path, capsys):
    (folder / "nv" / "b.jpg").write_bytes(b"damaged")
    assert main(["data", "check", str(folder), "--no-decode", "--output", str(tmp_path / "out.csv")]) == 0
    assert "3 images can be used" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["nowhere"], ["nowhere", "--labels", "8"]])
def test_an_error_is_one_line_and_status_2(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", *words]) == 2
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.startswith("error: there is no data at nowhere; ")
    assert list(tmp_path.iterdir()) == []


def test_nothing_useful_left_is_an_error(folder, tmp_path, capsys):
    (folder / "mel" / "c.jpg").write_bytes(b"damaged")
    assert main(["data", "check", str(folder), "--output", str(tmp_path / "out.csv")]) == 2
    assert "error: nothing useful is left" in capsys.readouterr().err


def test_an_unknown_option_value_is_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["data", "check", "x", "--labels", "9"])
    assert caught.value.code == 2


def test_an_interruption_is_status_130(monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "download_dermamnist", interrupt)
    assert main(["data", "download", "dermamnist"]) == 130


def test_download_passes_its_options_on(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(download, "download_ham10000", lambda *given: asked.append(given))
    monkeypatch.setattr(download, "download_dermamnist", lambda *given: asked.append(given))
    assert main(["data", "download", "ham10000", "--to", "here", "--parts", "metadata, test"]) == 0
    assert main(["data", "download", "ham10000"]) == 0
    assert main(["data", "download", "dermamnist", "--size", "64"]) == 0
    assert asked == [
        ("here", ("metadata", "test")),
        ("data/ham10000", ("images", "metadata")),
        ("data/dermamnist", 64),
    ]
    assert "Next: skinlesion data check here" in capsys.readouterr().out


def test_an_unknown_part_is_status_2(capsys):
    assert main(["data", "download", "ham10000", "--parts", "masks"]) == 2
    assert "error: unknown part masks" in capsys.readouterr().err


def test_demo_is_drawn_into_a_new_folder(tmp_path, capsys):
    target = tmp_path / "new" / "demo"
    assert main(["data", "demo", "--to", str(target), "--images", "60"]) == 0
    assert main(["data", "check", str(target), "--output", str(tmp_path / "check.csv")]) == 0
    assert "60 images" in capsys.readouterr().out
    assert main(["data", "demo", "--to", str(target), "--images", "61"]) == 2
    assert main(["data", "demo", "--to", str(tmp_path / "few"), "--images", "3"]) == 2
    assert "60 images or more" in capsys.readouterr().err


def test_the_command_line_starts_without_heavy_imports():
    code = (
        "import sys, skinlesion.cli; "
        "print([m for m in ('numpy', 'pandas', 'torch', 'sklearn', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_closed_pipe_is_no_error(folder, tmp_path):
    """As in `skinlesion data check … | head -1`."""
    command = [
        sys.executable,
        "-m",
        "skinlesion.cli",
        "data",
        "check",
        str(folder),
        "--output",
        str(tmp_path / "o.csv"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0


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
    part, start, mean, scale, end = serving.cut(onnx.load(PRETRAINED / "model.onnx"))
    assert [value.name for value in part.graph.input] == [start]
    assert [value.name for value in part.graph.output] == [end]
    renamed = onnx.load(PRETRAINED / "model.onnx")
    graph = renamed.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name and f"other {name}" for name in names]
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        value.name = f"other {value.name}"
    other, *rest = serving.cut(renamed)
    assert [node.op_type for node in other.graph.node] == [node.op_type for node in part.graph.node]
    assert (rest[0], rest[3]) == (f"other {start}", f"other {end}")
    assert np.array_equal(rest[1], mean) and np.array_equal(rest[2], scale)


def test_one_data_set_given_twice_is_refused(two_clinics, capsys):
    assert cli.main(["data", "twins", two_clinics[0], two_clinics[0]]) == 2
    assert "give each of them once" in capsys.readouterr().err
