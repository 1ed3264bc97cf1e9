"""Batch scoring: every image once, however often it is killed, in bounded memory."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dying
import tiny_model
from batch import pictures, refused, score, table, zipped  # noqa: F401  (pictures is the fixture `folder`)
from skinlesion.core import images
from skinlesion.core.errors import DataError, ImageError, ModelError
from skinlesion.core.taxonomy import HAM7
from skinlesion.serving import parts, score_local
from skinlesion.serving import score as scoring
from skinlesion.serving.listing import fetch, listing
from skinlesion.serving.predictor import Predictor
from small import encoded

ARCHIVES = {"few.zip": 100, "many.zip": 400, "large.zip": 1000}
PARTS = 40  # of many.zip, where a test cuts parts that small


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Archives of 100, 400 and 1,000 images, each the first of the same ones: plain colours, 58 kB when decoded."""
    place = tmp_path_factory.mktemp("many")
    rng, contents = np.random.default_rng(0), []
    for _ in range(max(ARCHIVES.values())):
        contents.append(encoded(Image.new("RGB", (160, 120), tuple(rng.integers(0, 256, 3).tolist())), "JPEG"))
    for name, count in ARCHIVES.items():
        with zipfile.ZipFile(place / name, "w") as archive:
            for i, content in enumerate(contents[:count]):
                archive.writestr(f"{i:05}.jpg", content)
    return place


def cut_small(patch) -> None:
    """Parts of ten images instead of fifty: as many parts of fewer images."""
    patch.setattr(parts, "SMALLEST", 10)


@pytest.fixture(scope="module")
def whole(many, model, tmp_path_factory):
    """What many.zip leaves that nobody disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        return score(many / "many.zip", output=tmp_path_factory.mktemp("whole"), model=model)


def test_a_folder_answers_as_the_predictor_does(folder, model, tmp_path):
    found = score(folder, output=tmp_path, model=model)
    paths = sorted(str(path) for path in folder.rglob("*.jpg") if not path.name.startswith("."))
    assert sorted(found["path"]) == paths and len(paths) == 84
    assert list(found["image_id"]) == [Path(path).stem for path in found["path"]]
    assert found["error"].isna().all()
    frames = [images.read_image(path) for path in found["path"]]
    for row, answer in zip(found.to_dict("records"), Predictor.load(model).predict(frames), strict=True):
        assert [row[f"p_{code}"] for code in HAM7.codes] == pytest.approx(list(answer.probabilities.values()), abs=1e-5)
        assert [row[f"score_{code}"] for code in HAM7.codes] == pytest.approx(list(answer.scores.values()), abs=1e-5)
        assert row["malignant_probability"] == pytest.approx(answer.malignant_probability, abs=1e-5)
        assert row["domain_score"] == pytest.approx(answer.domain_score, rel=1e-4)  # other batches, other last digits
        assert (row["label"], row["referral"], row["in_domain"]) == (answer.label, answer.referral, answer.in_domain)
    record = json.loads((tmp_path / "_score.json").read_text())
    assert record["images"] == 84 and record["model"]["sha256"] == Predictor.load(model).manifest.sha256
    part = json.loads(pq.read_schema(tmp_path / "part-000000.parquet").metadata[b"model"])
    assert part.items() <= record["model"].items(), "a part that got lost says by which model it was made"
    assert len(pd.read_parquet(tmp_path)) == 84, "the folder is a Parquet data set"


def test_archives_patterns_and_single_images(folder, model, tmp_path):
    flat, deep = sorted(folder.glob("*_0.jpg")), sorted(folder.glob("b/deep/*.jpg"))
    one, two = zipped(flat, tmp_path / "one.zip"), zipped(deep, tmp_path / "two.zip")
    names = [f"{one}!part/{path.name}" for path in flat] + [f"{two}!part/{path.name}" for path in deep]
    assert list(score(tmp_path / "*.zip", output=tmp_path / "a", model=model)["path"]) == names
    assert list(score(one, two, output=tmp_path / "b", model=model)["path"]) == names
    assert list(score(tmp_path, output=tmp_path / "c", model=model)["path"]) == names, "archives in a folder"
    found = score(folder / "*_1.jpg", deep[0], output=tmp_path / "d", model=model)
    assert list(found["path"]) == [*map(str, sorted(folder.glob("*_1.jpg"))), str(deep[0])]
    odd = tmp_path / "a [1] #%41 ü.jpg"
    shutil.copy(deep[0], odd)
    assert list(score(odd, output=tmp_path / "e", model=model)["path"]) == [str(odd)]


@pytest.fixture
def broken(folder, tmp_path):
    """A folder with two good images among everything that can be wrong; what the errors must say, by file name."""
    place = tmp_path / "broken"
    place.mkdir()
    good = sorted(folder.glob("[!.]*.jpg"))[:2]
    data = good[0].read_bytes()
    contents = {
        "cut.jpg": (data[:-100], "damaged"),
        "empty.jpg": (b"", "empty"),
        "page.png": (b"<html>", "is not a JPEG"),
        "tiny.png": (None, "each side needs 16"),
    }
    for name, (content, _) in contents.items():
        (place / name).write_bytes(content or b"")
    Image.new("RGB", (8, 8)).save(place / "tiny.png")
    (place / "lost.jpg").symlink_to(place / "nowhere")
    with open(place / "huge.jpg", "wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    archive = bytearray(zipped(good, place / "z.zip").read_bytes())
    archive[archive.index(data) + len(data) // 2] ^= 255
    (place / "z.zip").write_bytes(archive)
    for path in good:
        shutil.copy(path, place)
    says = {name: text for name, (_, text) in contents.items()}
    return place, {path.name for path in good}, says | {"huge.jpg": "at most", "lost.jpg": "no image"}, good[0].name


def test_broken_images_get_their_rows_and_an_exit_status(broken, model, tmp_path, capsys):
    place, good, says, damaged = broken
    found = score(place, output=tmp_path / "out", model=model, status=1)
    rows = {Path(row["path"].replace("!", "/")).relative_to(place).as_posix(): row for row in found.to_dict("records")}
    for name, text in says.items():
        assert re.search(text, rows[name]["error"]), (name, rows[name]["error"])
        assert pd.isna(rows[name]["label"]) and pd.isna(rows[name]["p_mel"]) and pd.isna(rows[name]["in_domain"])
    assert "cannot be read" in rows[f"z.zip/part/{damaged}"]["error"], "a member with another checksum"
    assert {name for name, row in rows.items() if pd.isna(row["error"]) and "/" not in name} == good
    assert found["error"].notna().sum() == len(says) + 1
    before = (tmp_path / "out" / "part-000000.parquet").stat().st_mtime_ns
    score(place, output=tmp_path / "out", model=model, status=1)
    assert "10 of them before" in capsys.readouterr().out, "called again, it still says that some failed"
    assert (tmp_path / "out" / "part-000000.parquet").stat().st_mtime_ns == before


def test_an_image_that_the_network_fails_on_spoils_no_other():
    class Fussy:
        def predict(self, frames, maps=True):
            if any(frame.max() > 200 for frame in frames):
                raise ModelError("the network answered with numbers that are not finite")
            return ["fine"] * len(frames)

    dark, bright = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    unread = ImageError("missing", "there is none")
    answers = score_local._predicted(Fussy(), [dark, bright, unread, dark])
    assert answers[0] == answers[3] == "fine" and answers[2] is unread
    assert "not finite" in str(answers[1])


def test_what_cannot_be_scored_is_said(folder, model, tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK, but no zip")
    out = ("--output", tmp_path / "out", "--model", model)
    assert "there is nothing at" in refused(capsys, tmp_path / "nowhere", *out)
    assert "nothing matches" in refused(capsys, tmp_path / "*.jpg", *out)
    assert "no images in" in refused(capsys, tmp_path / "nothing", *out)
    assert f"no images in '{tmp_path / 'nothing'}'" in refused(capsys, folder, tmp_path / "nothing", *out)
    assert "cannot be opened" in refused(capsys, tmp_path / "bad.zip", *out)
    assert "pip install gcsfs" in refused(capsys, "gs://bucket/images", *out)
    assert "Protocol not known: gopher" in refused(capsys, "gopher://images", *out)
    assert "chained" in refused(capsys, "zip://*.jpg::s3://bucket/a.zip", *out)
    assert "no model in" in refused(capsys, folder, "--output", tmp_path / "out", "--model", tmp_path)
    for shard in ("0/2", "3/2", "1", "-1/2", "a/b"):
        assert "i from 1 to N" in refused(capsys, folder, *out, f"--shard={shard}")
    (tmp_path / "file").write_text("no folder")
    assert "cannot be" in refused(capsys, folder, "--output", tmp_path / "file" / "out", "--model", model)
    assert not (tmp_path / "out").exists(), "nothing is made before all is found right"


def test_scores_of_other_images_or_models_are_not_mixed(folder, model, tmp_path, capsys):
    place = tmp_path / "images"
    shutil.copytree(folder, place, symlinks=True)
    score(place, output=tmp_path / "out", model=model)
    for change in ({"version": "2027"}, {"temperature": 1.8}):
        other = tiny_model.write(tmp_path / "other", **change)
        said = refused(capsys, place, "--output", tmp_path / "out", "--model", other)
        assert "by tiny 2026" in said and "choose another --output" in said, change
    os.utime(next(place.glob("*.jpg")), (1, 1))
    said = refused(capsys, place, "--output", tmp_path / "out", "--model", model)
    assert "of 84 images, which are not these 84 any more; choose another --output" in said
    for wrong in ("{", json.dumps({"images": 84, "part_size": 50, "fingerprint": "", "model": "tiny"})):
        (tmp_path / "out" / "_score.json").write_text(wrong)
        assert "damaged _score.json" in refused(capsys, place, "--output", tmp_path / "out", "--model", model)
    (tmp_path / "out" / "_score.json").unlink()
    said = refused(capsys, place, "--output", tmp_path / "out", "--model", tiny_model.write(tmp_path / "other"))
    assert "holds parts without _score.json; choose another --output" in said


def test_images_that_change_meanwhile_are_noticed(folder, model, tmp_path, monkeypatch, capsys):
    looks = []

    def changing(sources, *_):
        looks.append(sources)
        return (item._replace(mark=f"{item.mark}{len(looks)}") for item in listing(sources))

    monkeypatch.setattr(scoring, "listing", changing)
    assert "changed while they were scored" in refused(capsys, folder, "--output", tmp_path / "out", "--model", model)


def test_a_torn_part_is_made_again(folder, model, tmp_path):
    whole = score(folder, output=tmp_path, model=model)
    part = tmp_path / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    pd.testing.assert_frame_equal(score(folder, output=tmp_path, model=model), whole)


def test_shards_share_the_work(many, model, whole, tmp_path, monkeypatch):
    cut_small(monkeypatch)
    seen = {}
    for shard in ("2/3", "1/3", "3/3"):
        score(many / "many.zip", output=tmp_path, model=model, shard=shard)
        seen[shard] = {path.name for path in tmp_path.glob("part-*")} - set().union(*seen.values())
    assert {shard: len(names) for shard, names in seen.items()} == {"1/3": 14, "2/3": 13, "3/3": 13}
    assert list(whole["image_id"]) == [f"{i:05}" for i in range(ARCHIVES["many.zip"])]
    pd.testing.assert_frame_equal(table(tmp_path), whole)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    score(many / "many.zip", output=tmp_path, model=model, shard="1/1")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")} == before


def start(source, output, model) -> subprocess.Popen:
    command = [sys.executable, "-m", "skinlesion.cli", "score", source, "--output", output, "--model", model]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_sigkill_at_random_moments_loses_and_doubles_nothing(many, model, whole, tmp_path, monkeypatch):
    cut_small(monkeypatch)
    seed = random.randrange(2**32)
    draw, output, done = random.Random(seed), tmp_path / "out", {}
    command = ["score", str(many / "many.zip"), "--output", str(output), "--model", str(model)]
    for _ in range(5):  # they end well before the last part
        moment = str(draw.randrange(1, 4)), str(draw.randrange(40_000))  # a part takes about 20,000, the first one more
        killed = subprocess.run([sys.executable, dying.__file__, *moment, *command], capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, f"seed {seed}: {killed.stderr}"
        now = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
        assert done.items() <= now.items(), f"a finished part was touched again (seed {seed})"
        done = now
    assert len(done) < PARTS, f"seed {seed}"
    (output / f".part-{PARTS - 1:06}.parquet.{seed}.partial").write_bytes(b"half")
    pd.testing.assert_frame_equal(score(many / "many.zip", output=output, model=model), whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(output.glob("part-*"))) == PARTS
    assert not list(output.glob("*.partial")) and not list(output.glob(".*.partial"))


def test_memory_does_not_grow_with_the_source(many, model, tmp_path):
    peaks = []
    for name in ("few.zip", "large.zip"):
        process = start(many / name, tmp_path / name, model)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 15, f"{peaks[0]:.0f} MB for 100 images, {peaks[1]:.0f} MB for 1,000 (52 MB of pixels)"


def test_an_error_stops_all_workers(many, model, tmp_path, monkeypatch, capsys):
    cut_small(monkeypatch)
    calls = []

    def fetch(items):
        calls.append(len(items))
        raise DataError("the cable was pulled; the same command goes on")

    monkeypatch.setattr(score_local, "fetch", fetch)
    assert "the cable was pulled" in refused(capsys, many / "many.zip", "--output", tmp_path / "out", "--model", model)
    assert len(calls) < 10


def test_a_listing_is_the_same_each_time(folder, many):
    sources = [str(folder), str(many / "*.zip")]
    assert list(listing(sources)) == list(listing(sources))
    assert len({item.path for item in listing(sources)}) == 84 + sum(ARCHIVES.values())


def test_of_two_members_of_one_name_the_last_is_scored_once(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for content in (b"old", b"new"):
            archive.writestr("1.jpg", content)
    passed_over = Counter()
    assert list(fetch(list(listing([str(tmp_path / "a.zip")], passed_over)))) == [b"new"]
    assert passed_over == {"older file of the same name": 1}


def test_what_is_passed_over_is_counted_and_names_of_any_bytes_are_scored(folder, model, tmp_path, capsys):
    place, one = tmp_path / "set", sorted(folder.glob("[!.]*.jpg"))[0]
    (place / ".hidden").mkdir(parents=True)
    for name in (
        b"n\xe6vus.jpg",
        b"a.HEIC",
        b"b.heic",
        b".c.jpg",
        b"._d.zip",
        b".DS_Store",
        b"e_segmentation.png",
        b"E-Mask.PNG",
        b"f",
    ):
        shutil.copy(one, os.fsencode(place) + b"/" + name)
    (place / "linked").symlink_to(folder)
    with zipfile.ZipFile(place / "windows.zip", "w") as archive:
        for name in ("nv\\1.jpg", "__MACOSX\\nv\\._1.jpg", "more.zip", "nv/"):
            archive.writestr(name, one.read_bytes() if name.endswith("jpg") else b"")
    found = score(place, output=tmp_path / "out", model=model)
    assert found["error"].isna().all() and found["image_id"].tolist() == [r"n\xe6vus", "1"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("passed over: ")]
    kinds = ["1 x .zip file", "1 x file", "1 x hidden folder", "1 x hidden image", "1 x linked folder"]
    assert sorted(line.removeprefix("passed over: ").split(", ")) == [*kinds, "2 x .heic file", "2 x mask"]
