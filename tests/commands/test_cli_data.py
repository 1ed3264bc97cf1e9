"""The `data` commands: what they print, what they write, and their exit status."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skinlesion.cli import main
from skinlesion.data import download


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
    assert "undecodable image 1 image set aside" in rows and "duplicate id 0 row set aside" in rows
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


def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "skinlesion.cli", "data", "check", str(tmp_path / "nowhere")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.startswith("error: ")
