"""From a request to frames, without touching the disk."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from flask import Request, abort, current_app, g, request
from werkzeug.datastructures import FileStorage

from app.web.problems import problem_response
from app.words import text
from skinlesion.core import images
from skinlesion.core.errors import ImageError

NAME = 40  # characters of a lesion's name
FORMS = ("", "multipart/form-data", "application/x-www-form-urlencoded")  # media types that hold fields, or no body


class MemoryRequest(Request):
    """Stores uploaded files in memory; Werkzeug's own request spools larger ones to a temporary file."""

    def _get_file_stream(self, *_details, **_more) -> io.BytesIO:
        return io.BytesIO()


@dataclass(frozen=True)
class Upload:
    """One uploaded file: a ``frame`` (uint8 [H, W, 3]), or the ``error`` that says why there is none.

    ``lesion`` is what the user calls the lesion it shows, empty where unsaid.
    """

    name: str
    frame: np.ndarray | None = None
    error: ImageError | None = None
    lesion: str = ""


def receive() -> list[Upload]:
    """Decode the request's ``image`` files, in order.

    Raises ImageError, code ``missing``, where the request holds no file, and HTTPException with the response 400 where
    the name of a lesion is too long, 413 where there are more files than the configuration allows, 415 where the body
    is no form.
    """
    if request.mimetype not in FORMS or request.content_encoding not in (None, "identity"):
        abort(problem_response(415, text("upload.type")))
    files = [file for file in request.files.getlist("image") if file.filename or _bytes_of(file).getbuffer().nbytes]
    if not files:
        raise ImageError("missing", text("upload.missing"))
    most = current_app.config["MAX_IMAGES"]
    if len(files) > most:
        abort(problem_response(413, text("upload.count", count=len(files), most=most)))
    room = current_app.config["MAX_REQUEST_PIXELS"]
    lesions = [name.strip() for name in request.form.getlist("lesion")]
    for name in lesions:
        if len(name) > NAME:  # cut off, it could be another lesion's
            abort(problem_response(400, text("upload.lesion", length=len(name), most=NAME, start=name[:NAME])))
    received = []
    for number, file in enumerate(files, 1):
        upload = _decode(file.filename or text("upload.unnamed", number=number), _bytes_of(file).getvalue(), room)
        if len(lesions) == len(files):
            upload = replace(upload, lesion=lesions[number - 1])
        received.append(upload)
        if upload.frame is not None:
            room -= upload.frame.shape[0] * upload.frame.shape[1]
    return received


def _bytes_of(file: FileStorage) -> io.BytesIO:
    """Its bytes, where :class:`MemoryRequest` put them."""
    return cast(io.BytesIO, file.stream)


def _decode(name: str, data: bytes, room: int) -> Upload:
    """Decode one file into at most ``room`` pixels: what is left of what a request may hold in memory."""
    most = current_app.config["MAX_PIXELS"]
    try:
        side = g.predictor.manifest.sufficient_side
        return Upload(name, frame=images.decode(data, max_pixels=min(most, room), sufficient_side=side))
    except ImageError as error:
        why = str(error)
        if error.code == "too-many-pixels" and room < most:
            together = current_app.config["MAX_REQUEST_PIXELS"]
            why = text("upload.together", pixels=f"{together:,}")
        return Upload(name, error=ImageError(error.code, why))  # a new one: a traceback keeps the file in memory
