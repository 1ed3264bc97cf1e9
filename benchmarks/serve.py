"""How fast and light the app is, as ratios to what runs beside it: the model alone, on the same cores.

    python -m benchmarks.serve                # everything, about ten minutes; wants an idle machine
    python -m benchmarks.serve --brief        # the same in about two, to see that it works

Writes ``benchmarks/results/serve.json``. The clients run on the same cores as the server, so what they cost counts
against it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from benchmarks.measure import CORES, ROOT, bar, circumstances, drawn, memory
from skinlesion.core import images
from skinlesion.core.writing import write_json
from skinlesion.serving.predictor import Predictor

PATH = "/api/v1/predict"
# The app with other numbers of threads than it chooses itself.
CHOSEN = (
    "import sys; from app.web import create_app; from app.web.server import open_server, run\n"
    "threads, workers = map(int, sys.argv[1:])  # 0 threads: as the app chooses\n"
    "server = open_server(create_app({'THREADS': threads or None, 'WORKERS': workers}), '127.0.0.1', 0)\n"
    "print('http://%s:%s/' % server.bind_addr[:2], flush=True)\n"
    "run(server)"
)
# A Python that predicts one image from its input, prints its resident memory in kB and ends, and imports no more.
ONCE = (
    "import sys; from pathlib import Path; from skinlesion.core import images\n"
    "from skinlesion.serving.predictor import Predictor\n"
    "Predictor.load().predict([images.decode(sys.stdin.buffer.read())])\n"
    "lines = Path('/proc/self/status').read_text().splitlines()\n"
    "print(next(line.split()[1] for line in lines if 'VmRSS' in line))"
)

DATA = drawn(1, 600, 450)  # as large as HAM10000's
BODY = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + DATA + b"\r\n--edge--\r\n"
HEADERS = {"Content-Type": "multipart/form-data; boundary=edge"}


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self) -> tuple[int, str | None]:
        """Send the image; status and Retry-After."""
        self._connection.request("POST", PATH, BODY, HEADERS)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, answer.headers["Retry-After"]


@contextmanager
def app(*command: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """The app in a process of its own, from when it says that it listens; gives process and port."""
    command = command or ("-m", "app.web", "--port", "0")
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process, int(re.search(r":(\d+)/", process.stdout.readline())[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def start(rounds: int) -> dict:
    """Seconds from the command to the first answer, and what the process then holds."""
    seconds, held, heavy = [], [], set()
    for _ in range(rounds):
        began = time.perf_counter()
        with app() as (process, port):
            status, _ = Client(port).ask()
            seconds.append(time.perf_counter() - began)
            if status != 200:
                raise SystemExit(f"the app answered {status}")
            held.append(memory("VmRSS", process.pid))
            heavy |= set(re.findall(r"torch|pandas|matplotlib", Path(f"/proc/{process.pid}/maps").read_text()))
    return {
        "first answer, seconds": statistics.median(seconds),
        "resident after it, MB": statistics.median(held),
        "torch, pandas or matplotlib loaded": sorted(heavy),
    }


def latency(rounds: int) -> dict:
    """One image at a time: through HTTP, and decoded and predicted right here, in turn."""
    alone = {threads: Predictor.load(threads=threads) for threads in (1, CORES)}
    taken: dict[str, list[float]] = {"http": [], **{f"{threads} threads": [] for threads in alone}}
    with app() as (_, port):
        client = Client(port)
        ways: dict[str, Callable] = {"http": client.ask}
        for threads, predictor in alone.items():
            ways[f"{threads} threads"] = lambda predictor=predictor: predictor.predict([images.decode(DATA)])
        for number in range(rounds + 5):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                if number >= 5:
                    taken[name].append(time.perf_counter() - began)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    best = min(value for name, value in middle.items() if name != "http")
    return {"p50, http / decode and model alone": middle["http"] / best, "p50, seconds": middle}


def repeat(work: Callable[[], object], threads: int, seconds: float) -> tuple[float, list[float]]:
    """Calls a second of ``work`` in so many threads, and how many seconds each call took."""
    taken, until = [], time.perf_counter() + seconds

    def run() -> None:
        while (now := time.perf_counter()) < until:
            work()
            taken.append(time.perf_counter() - now)

    began = time.perf_counter()
    everybody = [threading.Thread(target=run) for _ in range(threads)]
    for thread in everybody:
        thread.start()
    for thread in everybody:
        thread.join()
    return len(taken) / (time.perf_counter() - began), taken


def served(port: int, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Images a second through HTTP, and the seconds of each request."""
    local = threading.local()

    def ask() -> None:
        if not hasattr(local, "client"):
            local.client = Client(port)
        if local.client.ask()[0] != 200:
            raise SystemExit("an image was refused below the limits of the queue")

    return repeat(ask, clients, seconds)


def throughput(rounds: int, seconds: float) -> dict:
    """Many images: through HTTP, and the model alone with ready frames right before, in the arrangement that suits it.

    Twice as many clients as workers keep these busy; more would only take time from them.
    """
    frame = images.decode(DATA)
    alone = {(1, CORES): Predictor.load(threads=1), (CORES, 1): Predictor.load(threads=CORES)}
    default = (0, CORES)  # what the app takes
    settings = sorted({default, (1, CORES), (CORES, 1), (CORES, CORES)})
    ratios: dict[str, list[float]] = {}
    rates: list[dict] = []
    for _ in range(rounds):
        for threads, workers in settings:
            rate = {}
            for (model_threads, callers), predictor in alone.items():
                rate[f"model alone, {model_threads} threads x {callers}"], _ = repeat(
                    lambda predictor=predictor: predictor.predict([frame]), callers, seconds
                )
            best = max(rate.values())
            with app("-c", CHOSEN, str(threads), str(workers)) as (_, port):
                served(port, 2 * CORES, 1)
                name = f"http, {threads or 'free'} threads x {workers} workers"
                rate[name], _ = served(port, 2 * CORES, seconds)
            ratios.setdefault(name, []).append(rate[name] / best)
            rates.append(rate)
    return {
        "images a second, http / model alone": statistics.median(ratios[f"http, free threads x {CORES} workers"]),
        "by threads of a prediction and workers": {name: statistics.median(found) for name, found in ratios.items()},
        "every pair": ratios,
        "images a second": rates,
    }


def overload(clients: int, seconds: float) -> dict:
    """Far more clients than can be served; each asks again as soon as it has an answer."""
    statuses: Counter = Counter()
    unhelpful, pages, until = 0, [], time.perf_counter() + seconds
    with app() as (process, port):
        before = memory("VmRSS", process.pid)

        def hammer() -> None:
            nonlocal unhelpful
            client = Client(port)
            while time.perf_counter() < until:
                status, retry = client.ask()
                statuses[status] += 1
                unhelpful += status == 503 and not retry
                if status == 503:
                    time.sleep(0.1)

        everybody = [threading.Thread(target=hammer) for _ in range(clients)]
        for thread in everybody:
            thread.start()
        while time.perf_counter() < until:
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            pages.append(time.perf_counter() - began)
            time.sleep(0.5)
        for thread in everybody:
            thread.join()
        after = memory("VmRSS", process.pid)
    return {
        "clients": clients,
        "seconds": seconds,
        "answers by status": {str(status): count for status, count in sorted(statuses.items())},
        "answers 503 without Retry-After": unhelpful,
        "answers 5xx other than 503": sum(n for status, n in statuses.items() if status >= 500 and status != 503),
        "answered / model alone": statuses[200] / seconds,
        "healthz meanwhile, p50 and most, seconds": [statistics.median(pages), max(pages)],
        "memory growth, MB": after - before,
    }


def growth(requests: int) -> dict:
    """Memory before and after many requests, with as many clients as cores."""
    with app() as (process, port):
        clients = [Client(port) for _ in range(CORES)]

        def ask(client: Client, count: int) -> None:
            for _ in range(count):
                client.ask()

        def everybody(count: int) -> float:
            threads = [threading.Thread(target=ask, args=(client, count // CORES)) for client in clients]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return memory("VmRSS", process.pid)

        first = everybody(CORES)
        last = everybody(requests)
    return {"requests": requests, "after the first, MB": first, "memory growth, MB": last - first}


def p99(taken: list[float]) -> float:
    """The time within which 99 of 100 calls were done."""
    return sorted(taken)[min(len(taken) - 1, int(0.99 * len(taken)))]


def under_load(seconds: float) -> dict[str, float]:
    """One pair: p99 and rate of as many clients as cores, and of as many callers of decoder and model."""
    predictor = Predictor.load(threads=1)
    alone, alone_taken = repeat(lambda: predictor.predict([images.decode(DATA)]), CORES, seconds)
    with app() as (_, port):
        served(port, CORES, 1)
        _, taken = served(port, CORES, seconds)
        rate, _ = served(port, 2 * CORES, seconds)
    return {"rate": rate, "rate, alone": alone, "p99": p99(taken), "p99, alone": p99(alone_taken)}


def charts(*, brief: bool = False) -> list[dict]:
    """The section of `make bench`: less of the same, against decoder and model alone in the same minute."""
    os.environ["SKINLESION_RATE"] = "0"
    rounds, seconds = (1, 2) if brief else (4, 6)
    pairs = [under_load(seconds) for _ in range(rounds)]
    single, begun = latency(rounds=5 if brief else 60), start(rounds=1 if brief else 3)
    alone = loaded()

    def middle(key: str) -> float:
        return statistics.median(pair[key] for pair in pairs)

    less, same = {"against": "decode and model alone", "better": "less"}, "600 x 450 px, clients on the same cores."
    return [
        {"title": "Requests/s", "against": "decode and model alone", "better": "more", "note": same, "pairs": pairs,
         "bars": [bar("http", [p["rate"] / p["rate, alone"] for p in pairs], f"{middle('rate'):.1f} requests/s")]},
        {"title": "Latency", **less, "note": "p50 of one client; p99 with as many clients as cores. " + same, "bars": [
            bar("http, p50", [single["p50, http / decode and model alone"]],
                f"{single['p50, seconds']['http'] * 1000:.1f} ms"),
            bar("http, p99", [p["p99"] / p["p99, alone"] for p in pairs], f"{middle('p99') * 1000:.1f} ms"),
        ]},
        {"title": "Start and memory", "against": "the model alone in Python", "better": "less",
         "measured": [begun, alone],
         "note": "From the command to the first answer, and what is resident after it.", "bars": [
             bar("http, seconds to the first answer", [begun["first answer, seconds"] / alone["seconds"]],
                 f"{begun['first answer, seconds']:.2f} s"),
             bar("http, resident", [begun["resident after it, MB"] / alone["MB"]],
                 f"{begun['resident after it, MB']:.0f} MB"),
         ]},
    ]  # fmt: skip


def loaded() -> dict[str, float]:
    """Seconds and memory of a Python that predicts once and ends."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", ONCE], input=DATA, capture_output=True, check=True, cwd=ROOT)
    return {"seconds": time.perf_counter() - began, "MB": int(done.stdout) / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--brief", action="store_true", help="a tenth of everything; writes no result")
    brief = parser.parse_args().brief
    os.environ["SKINLESION_RATE"] = "0"
    scale = 0.1 if brief else 1
    result = circumstances() | {
        "onnxruntime": onnxruntime.__version__,
        "image": f"600 x 450 JPEG, {len(DATA):,} bytes",
    }
    for name, measure in (
        ("start", lambda: start(rounds=max(2, round(5 * scale)))),
        ("one image", lambda: latency(rounds=round(200 * scale))),
        ("many images", lambda: throughput(rounds=max(1, round(5 * scale)), seconds=max(3, 8 * scale))),
        ("overload", lambda: overload(clients=100, seconds=60 * scale)),
        ("5,000 requests", lambda: growth(requests=round(5000 * scale))),
    ):
        result[name] = measure()
        print(name, json.dumps(result[name], indent=1), flush=True)
    rate = max(value for name, value in result["many images"]["images a second"][-1].items() if "alone" in name)
    result["overload"]["answered / model alone"] /= rate
    if not brief:
        write_json(ROOT / "benchmarks" / "results" / "serve.json", result)


if __name__ == "__main__":
    main()
