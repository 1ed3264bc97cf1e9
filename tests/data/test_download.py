"""Downloads against a local server that cuts connections, fails or sends something else: never a false file."""

import hashlib
import io
import json
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from skinlesion.core.errors import ConfigError, DataError, SkinLesionError
from skinlesion.data import download
from skinlesion.data.download import download_dermamnist, download_ham10000

CSV_TEXT = b"lesion_id,image_id,dx\r\nHAM_1,ISIC_0024306,nv\r\nHAM_2,ISIC_0024307,mel\r\n"


def make_zip(seed, size=300_000):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("ISIC_0024306.jpg"), np.random.default_rng(seed).bytes(size))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``files`` {path: bytes}; ``cuts`` says after how many bytes each next answer's connection is closed."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.requests, self.ranges, self.status = {}, [], [], True, 200
        self.honest = True  # else it sends all where the rest is asked for, and calls it the rest
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        body = server.files.get(self.path)
        if body is None or server.status != 200:
            self.send_error(404 if body is None else server.status)
            return
        start = int(wanted[len("bytes=") : -1]) if wanted and server.ranges else 0
        rest = body[start if server.honest else 0 :]
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start if server.honest else 0}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        length = server.cuts.pop(0) if server.cuts else len(body)
        self.wfile.write(rest[:length])
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    server = Server()
    monkeypatch.setenv("SKINLESION_DOWNLOAD_URL", server.url)
    server.files = {
        "/api/access/datafile/3172585": make_zip(1),
        "/api/access/datafile/3172584": make_zip(2),
        "/api/access/datafile/4338392?format=original": CSV_TEXT,
    }
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


PART_1, PART_2, METADATA = (
    "HAM10000_images_part_1.zip",
    "HAM10000_images_part_2.zip",
    "HAM10000_metadata.csv",
)
URL_1 = "/api/access/datafile/3172585"


def get(server, folder, parts=("images", "metadata")):
    said = []
    paths = download_ham10000(folder, parts, said.append)
    return [path.name for path in paths], said


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_full_download_is_entered_in_the_registry(server, tmp_path):
    done, said = get(server, tmp_path)
    assert done == [PART_1, PART_2, METADATA]
    assert names(tmp_path) == [PART_1, PART_2, METADATA, "registry.json"]
    assert (tmp_path / PART_1).read_bytes() == server.files[URL_1]
    assert (tmp_path / METADATA).read_bytes() == CSV_TEXT
    registry = json.loads((tmp_path / "registry.json").read_text())
    assert registry[PART_1] == {
        "size": len(server.files[URL_1]),
        "sha256": hashlib.sha256(server.files[URL_1]).hexdigest(),
    }
    assert "CC BY-NC 4.0" in said[0] and "doi:10.1038/sdata.2018.161" in said[0], "the terms come first"


def test_a_second_call_downloads_nothing(server, tmp_path):
    get(server, tmp_path)
    server.requests.clear()
    _, said = get(server, tmp_path)
    assert server.requests == [] and sum("there already" in line for line in said) == 3


def test_a_cut_connection_is_resumed_where_it_broke_off(server, tmp_path):
    whole = server.files[URL_1]
    server.cuts = [len(whole) // 2]
    get(server, tmp_path, ("images",))
    assert (tmp_path / PART_1).read_bytes() == whole
    (_, first), (again, second), *_ = server.requests
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    assert first is None and again == URL_1 and 0 <= len(whole) // 2 - start < download.CHUNK


def test_a_download_that_keeps_breaking_off_leaves_no_whole_looking_file_and_goes_on_next_time(server, tmp_path):
    whole = server.files[URL_1]
    server.cuts = [200_000, 70_000, 10_000]
    with pytest.raises(DataError, match=r"broke off after 262,144 bytes.*run the same command again"):
        get(server, tmp_path, ("images",))
    assert names(tmp_path) == [PART_1 + ".partial"]
    server.requests.clear()
    get(server, tmp_path, ("images",))
    assert server.requests[0] == (URL_1, "bytes=262144-")
    assert (tmp_path / PART_1).read_bytes() == whole
    assert names(tmp_path) == [PART_1, PART_2, "registry.json"]


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    get(server, tmp_path, ("images",))
    assert (tmp_path / PART_1).read_bytes() == server.files[URL_1]


def test_another_part_of_the_file_than_the_missing_one_is_not_put_behind_the_first(server, tmp_path):
    server.honest = False
    (tmp_path / f"{PART_1}.partial").write_bytes(server.files[URL_1][:1000])
    get(server, tmp_path)
    assert (tmp_path / PART_1).read_bytes() == server.files[URL_1]


def test_an_interruption_by_the_user_can_be_resumed(server, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(download.os, "fsync", interrupt)  # when all bytes are there but none was verified
        get(server, tmp_path, ("images",))
    assert names(tmp_path) == [PART_1 + ".partial"]
    get(server, tmp_path, ("images",))
    assert (tmp_path / PART_1).read_bytes() == server.files[URL_1]


def test_a_leftover_that_is_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / (PART_1 + ".partial")).write_bytes(b"x" * 400_000)
    get(server, tmp_path, ("images",))
    assert (tmp_path / PART_1).read_bytes() == server.files[URL_1]


@pytest.mark.parametrize("status", [403, 503])
def test_a_server_that_refuses(server, tmp_path, status):
    server.status = status
    with pytest.raises(DataError, match=rf"responded with {status} .*{URL_1}; try again later"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_a_file_that_is_not_there(server, tmp_path):
    with pytest.raises(DataError, match="responded with 404 Not Found"):
        get(server, tmp_path, ("segmentations",))


def test_no_server_at_all(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="broke off after 0 bytes"):
        get(server, tmp_path, ("metadata",))


def test_something_else_than_an_archive(server, tmp_path):
    server.files[URL_1] = b"<html>We are down for maintenance</html>"
    with pytest.raises(DataError, match="sent another file than HAM10000_images_part_1.zip.*not a complete zip"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_an_archive_with_a_damaged_member(server, tmp_path):
    body = bytearray(server.files[URL_1])
    body[1000] ^= 0xFF
    server.files[URL_1] = bytes(body)
    with pytest.raises(DataError, match=r"not a complete zip archive \(ISIC_0024306.jpg in it is damaged\)"):
        get(server, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "body, message",
    [
        (b"lesion_id,image,dx\nHAM_1,ISIC_1,nv\n", "lacks the column image_id"),
        (b"<html>We are down\nfor maintenance</html>", "lacks the column image_id and lesion_id and dx"),
        (CSV_TEXT[:-12], "row 3 has 2 values where the header has 3"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_something_else_than_the_metadata(server, tmp_path, body, message):
    server.files["/api/access/datafile/4338392?format=original"] = body
    with pytest.raises(DataError, match=message):
        get(server, tmp_path, ("metadata",))
    assert names(tmp_path) == []


def test_a_file_that_changed_after_its_download_is_replaced(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / PART_1).write_bytes(make_zip(99))
    server.requests.clear()
    _, said = get(server, tmp_path)
    assert [path for path, _ in server.requests] == [URL_1]
    assert any("not the file that registry.json describes; it is downloaded again" in line for line in said)
    assert (tmp_path / PART_1).read_bytes() == server.files[URL_1]


def test_a_server_that_sends_another_file_than_the_registry_knows(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / PART_1).unlink()
    server.files[URL_1] = make_zip(5)
    with pytest.raises(DataError, match=r"not the file that registry\.json describes"):
        get(server, tmp_path)
    assert PART_1 not in names(tmp_path)


def test_a_file_from_elsewhere_is_taken_over_if_whole_and_replaced_if_not(server, tmp_path):
    (tmp_path / PART_1).write_bytes(make_zip(7))
    (tmp_path / PART_2).write_bytes(make_zip(2)[:1000])
    get(server, tmp_path, ("images",))
    assert [path for path, _ in server.requests] == ["/api/access/datafile/3172584"]
    assert (tmp_path / PART_2).read_bytes() == make_zip(2)
    assert set(json.loads((tmp_path / "registry.json").read_text())) == {PART_1, PART_2}


def test_a_damaged_registry_is_named(server, tmp_path):
    (tmp_path / "registry.json").write_text("{")
    with pytest.raises(DataError, match=r"registry\.json is not a registry.*delete it"):
        get(server, tmp_path)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SkinLesionError, match="cannot be written"):
        get(server, tmp_path / "file")


def test_dermamnist_is_verified_by_its_known_md5(server, tmp_path, monkeypatch):
    path = "/records/10519652/files/dermamnist_128.npz"
    server.files[path] = body = make_zip(3)
    said = []
    with pytest.raises(DataError, match="another MD5 sum than 2defd784463fa5243564e855ed717de1"):
        download_dermamnist(tmp_path, say=said.append)
    assert names(tmp_path) == [] and "CC BY-NC 4.0" in said[0]
    right = replace(download.DERMAMNIST[128], md5=hashlib.md5(body).hexdigest())
    monkeypatch.setitem(download.DERMAMNIST, 128, right)
    assert download_dermamnist(tmp_path, say=said.append) == [tmp_path / "dermamnist_128.npz"]
    assert (tmp_path / "dermamnist_128.npz").read_bytes() == body


def test_unknown_parts_and_sizes(tmp_path):
    with pytest.raises(ConfigError, match="unknown part masks; parts are images, metadata, segmentations, test"):
        download_ham10000(tmp_path, ("masks",))
    with pytest.raises(ConfigError, match="28, 64, 128, 224 pixels, not 100"):
        download_dermamnist(tmp_path, 100)


def test_the_addresses_are_those_of_the_publishers():
    """The file numbers of doi:10.7910/DVN/DBW86T, and Zenodo record 10519652."""
    urls = {file.name: file.site + file.path for part in download.HAM10000_PARTS.values() for file in part}
    datafile = "https://dataverse.harvard.edu/api/access/datafile/"
    assert urls == {
        "HAM10000_images_part_1.zip": datafile + "3172585",
        "HAM10000_images_part_2.zip": datafile + "3172584",
        "HAM10000_metadata.csv": datafile + "4338392?format=original",
        "HAM10000_segmentations_lesion_tschandl.zip": datafile + "3838943",
        "ISIC2018_Task3_Test_Images.zip": datafile + "3855824",
        "ISIC2018_Task3_Test_GroundTruth.csv": datafile + "6924466?format=original",
    }
    file = download.DERMAMNIST[128]
    assert file.site + file.path == "https://zenodo.org/records/10519652/files/dermamnist_128.npz"
