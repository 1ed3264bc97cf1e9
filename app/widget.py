"""The Voila view: the Flask page's answers inside a notebook. ``python -m app.widget`` serves ``widget.ipynb``."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

import ipywidgets
from jinja2 import Environment, FileSystemLoader

from app import present
from skinlesion import images
from skinlesion.errors import SkinLesionError
from skinlesion.serving.predictor import Predictor

HERE = Path(__file__).resolve().parent
MODEL = "SKINLESION_MODEL"  # the environment variable that names the model's folder; empty for the shipped model

_templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
_templates.filters["percent"] = present.percent


def view() -> ipywidgets.Widget:
    """The view for the environment's model; where there is none, what to do about it."""
    try:
        predictor = Predictor.load(os.environ.get(MODEL) or None)
    except SkinLesionError as error:
        return ipywidgets.HTML(_render("_widget_error.html", error=error))
    return build(predictor)


def build(predictor: Predictor) -> ipywidgets.Widget:
    """A file chooser, and below it the answer for each chosen image."""
    manifest = predictor.manifest
    upload = ipywidgets.FileUpload(
        accept=",".join(f"image/{name.lower()}" for name in images.FORMATS),
        multiple=True,
        description="Choose images",
        layout=ipywidgets.Layout(width="auto", max_width="16rem"),
    )
    answers = ipywidgets.HTML()

    def answer(change: dict) -> None:
        results = [_result(predictor, file["name"], bytes(file["content"])) for file in change["new"]]
        answers.value = _render("_widget_answers.html", results=results, explanation=present.SCORES)

    upload.observe(answer, "value")
    head = _render(
        "_widget_head.html",
        style=(HERE / "static" / "result.css").read_text(encoding="utf-8"),
        manifest=manifest,
        synthetic=present.SYNTHETIC,
        research=present.RESEARCH,
    )
    return ipywidgets.VBox([ipywidgets.HTML(head), upload, answers])


def _result(predictor: Predictor, name: str, data: bytes) -> present.Result:
    try:
        frame = images.decode(data)
        return present.result(name, frame, predictor.predict([frame])[0], predictor.manifest)
    except SkinLesionError as error:  # raised in a callback, anything would go unseen
        return present.Result(name, error=str(error))


def _render(template: str, **values) -> str:
    return _templates.get_template(template).render(**values)


def _check_port(port: int) -> None:
    """Voila reports a taken port among its log lines, and lingers."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SkinLesionError(f"cannot listen on 127.0.0.1:{port} ({reason}); choose another --port") from None


def main(arguments: list[str] | None = None) -> int:
    """Check model and port, then become Voila, with a template that asks no other host for anything."""
    parser = argparse.ArgumentParser(prog="python -m app.widget", description="Serve the notebook view with Voila.")
    parser.add_argument("--port", type=int, default=8866, help="port to listen on, on this machine only")
    parser.add_argument("--model", metavar="DIR", help="an exported model's folder (default: the shipped model)")
    chosen = parser.parse_args(arguments)
    folder = str(Path(chosen.model).expanduser().resolve()) if chosen.model else ""
    try:
        Predictor.load(folder or None)
        _check_port(chosen.port)
    except SkinLesionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ[MODEL] = folder
    for name in ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH"):  # where voila.json and the template are found
        os.environ[name] = os.pathsep.join(filter(None, [str(HERE / "jupyter"), os.environ.get(name)]))
    command = [sys.executable, "-m", "voila", str(HERE / "widget.ipynb"), f"--port={chosen.port}"]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    sys.exit(main())
