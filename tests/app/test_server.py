"""The real server, in a process of its own: limits, overload, the disk, and how it starts and stops; and its cores."""

import http.client
import json
import re
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from app.web.__main__ import main
from app.web.shared_predictor import SharedPredictor
from skinlesion.serving.manifest import PRETRAINED
from skinlesion.serving.predictor import Predictor
from small import encoded
from webapp import HEADERS, body_of, picture, serving

# Not a byte can be written to any file: neither can a temporary one be made nor an open one grow.
NO_DISK = """
import resource, tempfile
tempfile.tempdir = '/nowhere'
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
# One worker and a queue of two; nothing is predicted before there is the file GATE. No limit in seconds ends anything.
GATED = """
import pathlib, time
import app.web.__main__, app.web.server
from skinlesion.serving.predictor import Predictor
app.web.server.IDLE = app.web.server.GRACE = 10**6
create_app = app.web.__main__.create_app
app.web.__main__.create_app = lambda config: create_app(config | dict(WORKERS=1, QUEUE=2))
quick = Predictor.predict

def predict(*arguments, **options):
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
    return quick(*arguments, **options)

Predictor.predict = predict
"""
PREDICT = "/api/v1/predict"


@pytest.fixture(scope="module")
def server(model):
    with serving(model, prelude=NO_DISK) as started:
        yield started


@pytest.fixture(scope="module")
def ordinary(model):
    """As people start it."""
    with serving(model) as started:
        yield started


def test_server_listens_on_loopback_and_names_nothing_of_itself(server):
    assert server.host == "127.0.0.1"
    answer, _ = server.ask("GET", "/healthz")
    assert answer.status == 200
    assert answer.headers["Server"] == "skin-lesion-lab"
    assert "cheroot" not in str(answer.headers).lower()


def test_server_keeps_large_uploads_and_results_off_the_disk(server):
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    data = encoded(noise)
    assert len(data) > 2**19  # beyond what Werkzeug would leave in memory by itself
    answer, text = server.ask("POST", PREDICT, *body_of(data, count=9))
    assert answer.status == 200, text
    answer, text = server.ask("POST", "/", *body_of(data, count=9))
    assert answer.status == 200, text
    assert len(text) > 2**20  # the page, with its previews
    assert server.errors == []


def memory(server, line: str) -> int:
    """Of the server's process, kB."""
    return int(re.search(rf"{line}:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())[1])


def raw(server, data: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    with socket.create_connection((server.host, server.port), timeout=300) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer, answer.read()


LENGTH = b"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n%s\r\n"
REFUSED = {
    "a body of 100 GB": (LENGTH % (b"99999999999", b""), 413),
    "a body of 300 MB, announced": (LENGTH % (b"300000000", b"Expect: 100-continue\r\n"), 413),
    "a length that is none": (LENGTH % (b"many", b""), 400),
    "a length of 5,000 digits": (LENGTH % (b"9" * 5000, b""), 400),
    "no HTTP at all": (b"hello\r\n\r\n", 400),
    "headers of 50 kB": (LENGTH % (b"1", b"X: " + b"x" * 50_000 + b"\r\n"), 413),
    "a coding nobody knows": (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: rot13\r\n\r\n", 501),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_malformed_http_is_refused_before_the_application(server, data, status):
    answer, text = raw(server, data)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/plain")
    assert len(text) < 200
    assert server.errors == []


@pytest.mark.parametrize("chunked", [False, True])
def test_the_sender_of_too_large_a_body_gets_to_read_why(server, chunked):
    """Although he reads nothing before he has sent it all; and a person gets a page."""
    body, headers = body_of(bytes(10**7), count=8)
    pieces = [body[i : i + 2**16] for i in range(0, len(body), 2**16)]
    for path, media in ((PREDICT, "application/problem+json"), ("/", "text/html; charset=utf-8")):
        answer, text = server.ask("POST", path, iter(pieces) if chunked else body, headers)
        assert (answer.status, answer.headers["Content-Type"]) == (413, media), text
    assert server.errors == []


def test_a_refused_body_is_discarded_piece_by_piece(ordinary):
    """What is refused unread (here for its origin) is never in memory as a whole, however large it is."""
    body, headers = body_of(bytes(2 * 10**7), count=3)
    assert ordinary.ask("POST", PREDICT, *body_of(picture()))[0].status == 200
    Path(f"/proc/{ordinary.process.pid}/clear_refs").write_text("5")  # forgets the peak of other tests
    before = memory(ordinary, "VmRSS")
    for _ in range(3):
        answer, _ = ordinary.ask("POST", PREDICT, body, headers | {"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 403
    assert memory(ordinary, "VmHWM") - before < 20_000


def test_what_an_image_took_is_free_after_it_was_refused(ordinary):
    """A traceback that somebody keeps would keep the image."""
    body, headers = body_of(bytes(2 * 10**7), count=3)
    for _ in range(8):
        assert ordinary.ask("POST", PREDICT, body, headers)[0].status == 415
    assert memory(ordinary, "VmRSS") < 250_000


def test_memory_of_a_start_with_the_shipped_model():
    with serving(PRETRAINED) as started:
        answer, _ = started.ask("POST", PREDICT, *body_of(picture(size=(600, 450), format="JPEG")))
        assert answer.status == 200
        assert memory(started, "VmRSS") < 250_000


@contextmanager
def gated(model, gate: Path, clients: int):
    """A server that predicts nothing before there is the file, and clients; it is there at the end, whatever failed."""
    with serving(model, prelude=GATED.format(gate=str(gate))) as started, ThreadPoolExecutor(clients) as pool:
        try:
            yield started, pool
        finally:
            gate.touch()


def test_overload_is_an_error_503_and_pages_still_answer(model, tmp_path):
    body, gate = body_of(picture()), tmp_path / "gate"
    with gated(model, gate, 12) as (started, clients):
        asked = [clients.submit(started.ask, "POST", PREDICT, *body) for _ in range(12)]
        answered = [future.result() for future in islice(as_completed(asked), 9)]  # three are taken, and wait
        assert started.ask("GET", "/healthz")[0].status == 200
        assert not gate.exists()
        for answer, text in answered:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert json.loads(text)["code"] == "overloaded"
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        gate.touch()
        assert Counter(future.result()[0].status for future in asked) == {503: 9, 200: 3}
        assert started.ask("POST", PREDICT, *body)[0].status == 200  # and it goes on
        assert started.errors == []


def test_a_stop_finishes_what_has_begun(model, tmp_path):
    body, gate = body_of(picture()), tmp_path / "gate"
    with gated(model, gate, 4) as (started, clients):
        asked = [clients.submit(started.ask, "POST", PREDICT, *body) for _ in range(4)]
        refused = next(as_completed(asked))
        assert refused.result()[0].status == 503  # so the other three are inside
        started.process.send_signal(signal.SIGTERM)
        with pytest.raises(OSError):  # nobody new comes in
            while True:
                started.ask("GET", "/healthz")
        gate.touch()
        assert [future.result()[0].status for future in asked if future is not refused] == [200] * 3
        assert started.process.wait(300) == 0
        assert started.errors == []


def test_an_idle_connection_does_not_hold_up_a_stop(model, tmp_path):
    with gated(model, tmp_path / "gate", 1) as (started, _):
        connection = started.connect()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(300) == 0


def test_what_clients_send_at_once_has_a_bound(ordinary):
    """Six clients that each send all of 60 MB but the last byte: the bodies of four are kept, the rest forgotten."""
    body, headers = body_of(bytes(2 * 10**7), count=3)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    start = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
    Path(f"/proc/{ordinary.process.pid}/clear_refs").write_text("5")  # forgets the peak of other tests
    connections = [socket.create_connection((ordinary.host, ordinary.port), timeout=300) for _ in range(6)]

    def send(connection):
        connection.sendall(start + body[:-1])

    senders = [threading.Thread(target=send, args=(connection,)) for connection in connections]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    statuses = []
    for connection in connections:
        connection.sendall(body[-1:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        statuses.append(answer.status)
        connection.close()
    assert set(statuses) == {415, 503}  # zeros are no image
    assert memory(ordinary, "VmHWM") < 200_000 + 4 * 70_000
    assert ordinary.ask("POST", PREDICT, *body_of(picture()))[0].status == 200  # the room is given back
    assert ordinary.errors == []


def test_server_says_in_one_line_what_stops_it(model, server, tmp_path, monkeypatch, capsys):
    for arguments, rate, words in (
        (("--model", str(tmp_path)), "0", "make reports"),
        (("--model", str(model), "--port", str(server.port)), "0", "choose another --port"),
        (("--model", str(model)), "often", "SKINLESION_RATE"),
    ):
        monkeypatch.setenv("SKINLESION_RATE", rate)
        assert main(arguments) == 2
        out, error = capsys.readouterr()
        assert out == "" and words in error
        assert len(error.splitlines()) == 1


def test_server_refuses_a_port_that_is_none(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--port", "70000"])
    assert ended.value.code == 2
    assert "from 0 to 65535" in capsys.readouterr().err


def test_one_request_gets_all_cores_and_several_one_each(model, monkeypatch):
    """Threads of the sessions that were asked, while two requests are inside at once and after they are gone."""
    asked, both, quick = [], threading.Barrier(2, timeout=300), Predictor.predict
    shared = SharedPredictor(model)
    threads = {id(shared._alone): "all", id(shared._together): "one"}
    frame = np.full((40, 60, 3), 90, np.uint8)

    def meet(predictor, images):
        asked.append(threads[id(predictor)])
        both.wait()
        return quick(predictor, images)

    monkeypatch.setattr(Predictor, "predict", meet)
    workers = [threading.Thread(target=shared.predict, args=([frame],)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert sorted(asked) == ["all", "one"]

    monkeypatch.setattr(Predictor, "predict", lambda predictor, _: asked.append(threads[id(predictor)]) or 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            shared.predict([frame])
    assert asked[2:] == ["all", "all"], "a failure frees its cores, too"


def test_both_give_the_same_answers(model):
    shared = SharedPredictor(model)
    frame = np.random.default_rng(0).integers(0, 255, (75, 100, 3), np.uint8)
    one, other = shared._alone.predict([frame])[0], shared._together.predict([frame])[0]
    assert one.label == other.label
    assert max(abs(one.probabilities[c] - other.probabilities[c]) for c in one.probabilities) < 1e-5
