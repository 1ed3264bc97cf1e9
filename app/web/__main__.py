"""``python -m app.web [--host 127.0.0.1] [--port 5000] [--model DIR] [--index DIR]``: serve the page and the API."""

from __future__ import annotations

import argparse
import sys

from app.web import create_app
from app.web.server import open_server, run
from skinlesion.core.errors import SkinLesionError


def serve(host: str, port: int, model: str | None, index: str | None = None) -> None:
    """Serve until SIGINT or SIGTERM, which let it finish what it has begun.

    Raises SkinLesionError if the model or the index cannot be loaded, the environment is wrong, or the address cannot
    be listened on.
    """
    config = {"MODEL": model, "HOST": host} | ({"INDEX": index} if index else {})
    server = open_server(create_app(config), host, port)
    address, port = server.bind_addr[:2]
    address = f"[{address}]" if ":" in address else address
    print(f"Skin Lesion Lab is at http://{address}:{port}/  (stop with Ctrl+C)", flush=True)
    run(server)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:  # the system takes it modulo 65536
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {text!r}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.web", description="Serve the upload page and its API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_port, default=5000, help="port to listen on; 0 takes a free one")
    parser.add_argument("--model", metavar="DIR", help="an exported model's folder (default: the shipped model)")
    parser.add_argument("--index", metavar="DIR", help="similar cases to show, made by `skinlesion index`")
    chosen = parser.parse_args(arguments)
    try:
        serve(chosen.host, chosen.port, chosen.model or None, chosen.index)
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
