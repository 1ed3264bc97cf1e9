"""From a request to frames, without touching the disk."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from flask import Request, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from skinlesion import images
from skinlesion.errors import ImageError


class MemoryRequest(Request):
    """Keeps uploaded files in memory; Werkzeug's own request spools larger ones to a temporary file."""

    def _get_file_stream(self, *_details, **_more) -> io.BytesIO:
        return io.BytesIO()


@dataclass(frozen=True)
class Upload:
    """One uploaded file: a ``frame`` (uint8 [H, W, 3]), or the ``error`` that says why there is none."""

    name: str
    frame: np.ndarray | None = None
    error: ImageError | None = None


def receive() -> list[Upload]:
    """Decode the request's ``image`` files, in order.

    Raises
    ------
    ImageError
        Code ``missing`` where the request holds no file.
    RequestEntityTooLarge
        If it holds more bytes or more files than the configuration allows.
    """
    files = [file for file in request.files.getlist("image") if file.filename or file.stream.getbuffer().nbytes]
    if not files:
        raise ImageError("missing", "no image was sent; send one or several files in the multipart field `image`")
    most = current_app.config["MAX_IMAGES"]
    if len(files) > most:
        raise RequestEntityTooLarge(f"{len(files)} images were sent; at most {most} are accepted at a time")
    return [_decode(file.filename or f"image {i}", file.stream.getvalue()) for i, file in enumerate(files, 1)]


def _decode(name: str, data: bytes) -> Upload:
    try:
        return Upload(name, frame=images.decode(data))
    except ImageError as error:
        return Upload(name, error=error)
