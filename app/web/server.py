"""waitress, with what an upload server needs beside it: bounded memory, a bounded queue, and a stop that loses nothing.

waitress reads requests in one thread and hands whole ones to others. Here uploads go to ``workers`` threads, and wait
for them in a queue of bounded length; everything else has threads of its own, so that pages and ``/healthz`` answer at
once however many uploads wait. What has no place in the queue gets an error 503 with ``Retry-After``.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from functools import partial

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, create_server
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from app.web.body_limits import Intake, Parser, TooBusy
from app.web.problems import as_problem, problem_page
from app.web.security import HEADERS, SAFE_METHODS
from skinlesion.core.errors import SkinLesionError

QUEUE = 32  # uploads that wait
CONNECTIONS = 500
PAGE_THREADS = 2
IDLE = 30  # seconds without a byte until a connection is closed
GRACE = 10  # seconds that a stop gives to what has begun
RETRY_AFTER = 2  # seconds


class RefusedTask(ErrorTask):
    """What is refused before the application is asked, with the application's headers and error formats."""

    def execute(self) -> None:
        error = self.request.error
        problem = as_problem(error.code, error.body)
        if "text/html" in self.request.headers.get("ACCEPT", ""):
            media, text = "text/html; charset=utf-8", self.channel.adj.error_page(problem)
        else:
            media, text = "application/problem+json", json.dumps(problem)
        body = text.encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend({**HEADERS, "Content-Type": media}.items())
        if isinstance(error, TooBusy):
            self.response_headers.append(("Retry-After", str(RETRY_AFTER)))
        else:
            self.set_close_on_finish()  # where the next request would begin is not known
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """A connection."""

    parser_class = Parser
    request: Parser | None
    error_task_class = RefusedTask

    def handle_close(self) -> None:
        with self.requests_lock:
            if self.request is not None:
                self.request.close()  # gives back the memory of what was half received
                self.request = None
        super().handle_close()

    @property
    def busy(self) -> bool:
        """Whether something of it is being received, answered or sent."""
        return bool(self.request or self.requests or self.total_outbufs_len)


class Dispatcher:
    """Hands uploads to the workers, and everything else to threads that never work for long."""

    def __init__(self, workers: int, queue: int):
        self._queue = queue
        self._work, self._rest = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._work.set_thread_count(workers)
        self._rest.set_thread_count(PAGE_THREADS)

    def add_task(self, channel: Channel) -> None:
        request = channel.requests[0]
        if request.error is None and request.command.upper() not in SAFE_METHODS:
            if len(self._work.queue) < self._queue:
                self._work.add_task(channel)
                return
            request.error = TooBusy("too many images are waiting; try again in a moment")
        self._rest.add_task(channel)

    def shutdown(self) -> None:
        for threads in (self._work, self._rest):
            threads.shutdown(timeout=1)


class Server:
    """The application on an address, from the construction on; :meth:`run` answers.

    Parameters
    ----------
    app : Flask
    host : str
        Address to listen on.
    port : int
        0 takes a free one.
    max_body : int
        Bytes of a request's body that are accepted.
    workers : int
        Uploads that are answered at once.
    queue : int
        Uploads that wait for a worker.

    Raises
    ------
    SkinLesionError
        If the address cannot be listened on.
    """

    def __init__(self, app: Flask, host: str, port: int, *, max_body: int, workers: int, queue: int = QUEUE):
        self._map: dict = {}
        self._dispatcher = Dispatcher(workers, queue)
        intake = Intake(max_body)
        try:
            server = create_server(
                app,
                map=self._map,
                _dispatcher=self._dispatcher,
                host=host,
                port=port,
                ident=None,
                connection_limit=CONNECTIONS,
                channel_timeout=IDLE,
                cleanup_interval=5,
                max_request_header_size=2**15,
                max_request_body_size=intake.drained,  # the intake stops earlier, more politely
                recv_bytes=2**17,
                inbuf_overflow=2**40,  # never spool an upload to a temporary file
                outbuf_overflow=2**40,  # nor a result, which shows the image
            )
        except (OSError, ValueError) as error:  # waitress makes a ValueError of a host that cannot be resolved
            reason = getattr(error, "strerror", None) or error
            raise SkinLesionError(
                f"cannot listen on {host}:{port} ({reason}); choose another --port or --host"
            ) from None
        self._servers = [entry for entry in self._map.values() if isinstance(entry, TcpWSGIServer)]
        for entry in self._servers:
            entry.channel_class = Channel
            entry.adj.intake = intake  # where the parser finds it
            entry.adj.error_page = partial(problem_page, app)
        self.addresses = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
        self._stopping = False

    def run(self) -> None:
        """Answer until SIGINT or SIGTERM, then finish what has begun; a second signal ends it at once."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that uploads wait is nothing to warn of
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        while not self._stopping:
            self._turn(timeout=1)
        for server in self._servers:
            wasyncore.dispatcher.close(server)  # not its trigger, by which the threads wake this one
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and self._close_idle():
            self._turn(timeout=0.1)
        self._dispatcher.shutdown()

    def _turn(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)

    def _stop(self, *_signal) -> None:
        self._stopping = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self._servers[0].pull_trigger()

    def _close_idle(self) -> bool:
        """Close the connections on which nothing happens; whether there are others."""
        channels = [entry for entry in self._map.values() if isinstance(entry, Channel)]
        for channel in channels:
            if not channel.busy:
                channel.will_close = True
        return bool(channels)
