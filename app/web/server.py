"""The WSGI server: cheroot, on its public settings alone.

cheroot hands a request to a thread once its headers have arrived, and the application reads the body itself. So the
application can refuse an upload before it is in memory (:mod:`app.web.body_limits`), and there are more threads than
uploads that it admits: pages and ``/healthz`` respond however many uploads wait.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable

from cheroot import wsgi
from cheroot.errors import MaxSizeExceeded
from flask import Flask

from skinlesion.core.errors import SkinLesionError

PAGE_THREADS = 8  # beside one for each upload that is admitted
CONNECTIONS = 250  # that wait for a thread; and as many that wait for their next request
IDLE = 30  # seconds without a byte until a connection is closed
GRACE = 10  # seconds that a stop gives to what has begun
DISCARDED = 4  # times the largest body: how much of a larger one is read and discarded so that its sender can read why
CHUNK = 2**16  # bytes


class Server(wsgi.Server):
    """cheroot's server with an error log of its own, which cheroot provides for."""

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Log only what is the server's own fault: the rest would tell who has been here."""
        if level >= logging.ERROR:
            logging.getLogger(__name__).log(level, msg, exc_info=traceback)


def open_server(app: Flask, host: str, port: int) -> Server:
    """Listen on an address; :func:`run` responds. Port 0 takes a free one, which ``bind_addr`` then tells.

    Raises SkinLesionError if the address cannot be listened on.
    """
    threads = app.config["WORKERS"] + app.config["QUEUE"] + PAGE_THREADS
    server = Server(
        (host, port),
        _read_to_the_end(app),
        numthreads=threads,
        max=threads,
        server_name="skin-lesion-lab",
        request_queue_size=128,
        timeout=IDLE,
        shutdown_timeout=GRACE,
        accepted_queue_size=CONNECTIONS,
        accepted_queue_timeout=1,
    )
    server.keep_alive_conn_limit = CONNECTIONS
    server.max_request_header_size = 2**15
    server.max_request_body_size = DISCARDED * app.config["MAX_CONTENT_LENGTH"]  # the application refuses earlier
    try:
        server.prepare()
    except OSError as error:
        cause = error.__cause__ or error  # cheroot's own error lists every address that it tried
        reason = getattr(cause, "strerror", None) or cause
        raise SkinLesionError(f"cannot listen on {host}:{port} ({reason}); choose another --port or --host") from None
    return server


def run(server: Server) -> None:
    """Respond until SIGINT or SIGTERM, then finish what has begun; a second signal ends it at once."""
    stop = threading.Event()

    def on_signal(*_signal) -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    loop = threading.Thread(target=server.serve)
    loop.start()
    stop.wait()
    server.stop()
    loop.join()


def _read_to_the_end(app: Flask) -> Callable:
    """The application, after which nothing of a body is left unread.

    Most clients read no response before they have sent everything. And cheroot reads what is left by itself, but all at
    once into memory.
    """

    def respond(environ: dict, start_response: Callable) -> Iterable[bytes]:
        response = app(environ, start_response)
        try:
            while environ["wsgi.input"].read(CHUNK):
                pass
        except (OSError, ValueError, MaxSizeExceeded):  # gone, or no end to it
            pass
        return response

    return respond
