"""Batch scoring of what lies elsewhere: an object store on this machine, and web servers with and without ranges."""

import re
import shutil
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from batch import pictures, refused, score, zipped  # noqa: F401  (pictures is the fixture `folder`)
from skinlesion import cli
from skinlesion.serving import score_local
from skinlesion.serving.listing import Item
from skinlesion.serving.predictor import Predictor


def test_an_object_store(bucket, folder, model, tmp_path, capsys):
    import fsspec

    paths = sorted(folder.glob("[!.]*.jpg"))[:60]
    for path in paths[:55]:
        bucket.upload_file(str(path), "skin", f"images/{path.name}")
    bucket.put_object(Bucket="skin", Key="images/bad.jpg", Body=b"no image")
    bucket.put_object(Bucket="skin", Key="images/", Body=b"")  # as some tools mark folders
    bucket.upload_file(str(zipped(paths[55:], tmp_path / "a.zip")), "skin", "images/z/a.zip")
    arguments = ["score", "s3://skin/images", "--output", "s3://skin/scores", "--model", str(model)]
    assert cli.main(arguments) == 1
    store = fsspec.filesystem("s3", use_listings_cache=False)
    parts = sorted(store.glob("skin/scores/part-*"))
    found = pd.concat([pq.read_table(store.open(part)).to_pandas() for part in parts])
    assert set(found["path"]) == {
        *(f"s3://skin/images/{path.name}" for path in paths[:55]), "s3://skin/images/bad.jpg",
        *(f"s3://skin/images/z/a.zip!part/{path.name}" for path in paths[55:]),
    }  # fmt: skip
    assert list(found["image_id"][found["error"].notna()]) == ["bad"]
    local = score(folder, output=tmp_path / "out", model=model).set_index("image_id")
    both = found[found["error"].isna()].set_index("image_id")
    assert np.abs(both["p_mel"] - local.loc[both.index, "p_mel"]).max() < 1e-6
    before = [store.info(part)["LastModified"] for part in parts]
    assert cli.main(arguments) == 1, "everything is there, and one image failed"
    assert [store.info(part)["LastModified"] for part in parts] == before
    bucket.put_object(Bucket="skin", Key="images/bad.jpg", Body=b"another")
    assert "which are not these 61 any more" in refused(capsys, *arguments[1:])
    assert "cannot be" in refused(capsys, folder, "--output", "s3://nobody/x", "--model", model)


def test_an_object_that_vanishes_is_a_row(bucket, model):
    item = Item("s3://skin/images/gone.jpg", "", 100, "x")
    _, missed = score_local.score_part([item], Predictor.load(model), lambda count: None)
    assert missed == 1


class Ranges(SimpleHTTPRequestHandler):
    """A web server that gives parts of files, which Python's own does not."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted:
            return super().do_GET()
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])
        return None

    def end_headers(self):
        if type(self) is Ranges:
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


class Whole(Ranges):
    def do_GET(self):
        return SimpleHTTPRequestHandler.do_GET(self)


@pytest.fixture
def site(tmp_path):
    """Starts a web server for a folder; gives its address."""
    servers = []

    def serve(handler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()


def test_a_web_server(site, folder, model, tmp_path, capsys):
    paths = sorted(folder.glob("mel*.jpg"))
    zipped(paths, tmp_path / "a.zip")
    shutil.copy(paths[0], tmp_path / "one.jpg")
    address = site(Ranges)
    found = score(f"{address}/a.zip", f"{address}/one.jpg", output=tmp_path / "out", model=model)
    assert list(found["path"]) == [*(f"{address}/a.zip!part/{path.name}" for path in paths), f"{address}/one.jpg"]
    assert found["error"].isna().all()
    out = ("--output", tmp_path / "other", "--model", model)
    assert "nothing at" in refused(capsys, f"{address}/none.zip", *out)
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("large.bin", bytes(9_000_000))  # a small one comes whole
    assert "download it first" in refused(capsys, f"{site(Whole)}/a.zip", *out)
    assert "nothing at" in refused(capsys, "http://127.0.0.1:1/a.zip", *out)
