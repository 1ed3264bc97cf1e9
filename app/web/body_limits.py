"""How many uploads are received and predicted at once, and how much memory their bodies may take."""

from __future__ import annotations

import threading

from flask import Flask, Response, g, request

from app.web.problems import problem_response
from app.web.security import SAFE_METHODS
from app.words import text

BODIES = 4  # largest bodies that are in memory at once; there is room for hundreds of usual ones
RETRY_AFTER = 2  # seconds


class Admission:
    """Counts the uploads inside, and the bytes of their bodies together; both have a limit."""

    def __init__(self, uploads: int, size: int):
        self._uploads, self._size = uploads, size
        self._lock = threading.Lock()

    def enter(self, size: int) -> bool:
        """Whether there is room for another upload with a body of ``size`` bytes, which is then taken."""
        with self._lock:
            if not self._uploads or size > self._size:
                return False
            self._uploads, self._size = self._uploads - 1, self._size - size
            return True

    def leave(self, size: int) -> None:
        """Give back what :meth:`enter` took."""
        with self._lock:
            self._uploads, self._size = self._uploads + 1, self._size + size


def init_app(app: Flask) -> None:
    """Admit ``WORKERS`` + ``QUEUE`` uploads, of which ``WORKERS`` are decoded and predicted at once."""
    largest = app.config["MAX_CONTENT_LENGTH"]
    admission = Admission(app.config["WORKERS"] + app.config["QUEUE"], BODIES * largest)
    workers = threading.Semaphore(app.config["WORKERS"])

    @app.before_request
    def admit() -> Response | None:
        if request.method in SAFE_METHODS or request.endpoint is None:
            return None
        size = largest if request.content_length is None else request.content_length
        if size > largest:
            return problem_response(413, text("refused.bytes", most=f"{largest:,}"))
        if not admission.enter(size):
            response = problem_response(503, text("refused.busy"))
            response.headers["Retry-After"] = RETRY_AFTER
            return response
        g.admitted = size
        request.files  # noqa: B018  (read now: a slow sender must not occupy a worker)
        workers.acquire()
        g.working = True
        return None

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        if g.pop("working", False):
            workers.release()
        if (size := g.pop("admitted", None)) is not None:
            admission.leave(size)
