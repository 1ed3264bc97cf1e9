"""``python -m app [--host 127.0.0.1] [--port 5000] [--model DIR]``: serve the page and the API with waitress."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from app import create_app
from app.problems import as_problem
from app.security import HEADERS
from skinlesion.errors import SkinLesionError


class RefusedTask(ErrorTask):
    """What waitress refuses before the application is asked, with the application's headers and error format."""

    def execute(self) -> None:
        error = self.request.error
        body = json.dumps(as_problem(error.code, error.body)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend({**HEADERS, "Content-Type": "application/problem+json"}.items())
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


def serve(host: str, port: int, model: str | None) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises
    ------
    SkinLesionError
        If the model cannot be loaded or the address cannot be listened on.
    """
    app = create_app({"MODEL": model})
    body = app.config["MAX_CONTENT_LENGTH"] + 1  # waitress refuses from here on
    HTTPChannel.error_task_class = RefusedTask
    try:
        server = create_server(
            app,
            host=host,
            port=port,
            ident=None,
            max_request_body_size=body,
            inbuf_overflow=2 * body,  # never spool an upload to a temporary file
            outbuf_overflow=2 * body,  # nor a result, which shows the image
        )
    except (OSError, ValueError) as error:  # waitress makes a ValueError of a host that cannot be resolved
        reason = getattr(error, "strerror", None) or error
        raise SkinLesionError(f"cannot listen on {host}:{port} ({reason}); choose another --port or --host") from None
    listening = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    address, port = listening[0]
    address = f"[{address}]" if ":" in address else address
    print(f"Skin Lesion Lab is at http://{address}:{port}/  (stop with Ctrl+C)", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # waitress then finishes what it has begun
    server.run()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:  # the system takes it modulo 65536
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {text!r}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description="Serve the upload page and its API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_port, default=5000, help="port to listen on; 0 takes a free one")
    parser.add_argument("--model", metavar="DIR", help="an exported model's folder (default: the shipped model)")
    chosen = parser.parse_args(arguments)
    try:
        serve(chosen.host, chosen.port, chosen.model or None)
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
