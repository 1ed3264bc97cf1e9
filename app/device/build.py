"""Build the on-device page: files for any web server.

They are the sources in ``app/device``, ONNX Runtime Web from npm as ``package-lock.json`` pins it, and the model.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image, ImageDraw

from app import present
from app.device.page import MODEL, SITE, SOURCES, model_facts, node_needed
from app.headers import DEVICE_POLICY, STORED_HEADERS
from app.pictures import EXAMPLE_FOLDER, EXAMPLES
from app.words import in_words, section, text
from skinlesion.core.errors import SkinLesionError
from skinlesion.core.writing import lock
from skinlesion.export.variants import half_weights, without_framing
from skinlesion.serving.manifest import Manifest, model_folder
from skinlesion.serving.predictor import Predictor

APP = Path(__file__).resolve().parents[1]
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
#: The runtime with WebGPU, for who chooses it.
GRAPHICS = ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
PAGE = (
    "decision.js", "download.js", "engine.js", "fault.js", "fit.js", "frame.js", "overlay.js", "page.js", "view.js",
    "words.js", "worker.js",
)  # fmt: skip
#: What it shares with the Flask page.
STATIC = (
    "bitmap.js", "cards.js", "collect.js", "crop.js", "report.js", "say.js", "viewer.js", "icon.svg",
    "page.css", "report.css", "result.css",
)  # fmt: skip
PACKED = (".br", ".gz")

# The icon: static/icon.svg drawn again as PNG, since home screens take no SVG.
BLUE = "#0b5cad"
GRID = 32  # units a side, as in the SVG
FINE = 8  # drawn so many times larger, then reduced, for smooth edges
SAFE = 0.8  # of a maskable icon's side: systems may cut off what is outside this circle

#: The lesion's outline: cubic curves from a start, each as two control points and an end.
START = (16.0, 7.0)
CURVES = (
    ((21, 7), (25, 10.4), (25, 15.5)),
    ((25, 20.6), (21, 25), (15.5, 25)),
    ((10, 25), (7, 21), (7, 16)),
    ((7, 11), (11, 7), (16, 7)),
)
DOTS = ((14, 14, 2.6), (19, 18, 2))  # x, y, radius


def build_site(model: Path | None = None, output: Path = SITE) -> dict[str, int]:
    """Build the page for a model folder (the shipped model where None) into ``output``, which is replaced as a whole.

    Returns the bytes to download, brotli-compressed: ``model``, ``runtime`` and ``page`` at the first visit,
    ``graphics`` by who chooses the graphics processor. Raises SkinLesionError if Node is missing, its packages cannot
    be installed, or ``output`` holds anything but such a page, and ModelError if there is no model, or it cannot be
    trusted.
    """
    model = model_folder(model)
    manifest = Predictor.load(model).manifest
    if output.exists() and not (output.is_dir() and ((output / "sw.js").exists() or not any(output.iterdir()))):
        raise SkinLesionError(f"{output} holds something else, which would be replaced; name a new folder")
    install()
    fresh = output.with_name(output.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for folder in ("ort", "examples"):
        (fresh / folder).mkdir(parents=True)
    _copy(fresh)
    weights = _model(manifest, model, fresh)
    write_icons(fresh)
    _pack(fresh)
    for name, content in _written(manifest, weights, sizes(fresh)).items():
        (fresh / name).write_text(content, encoding="utf-8")
    (fresh / "sw.js").write_text(service_worker(fresh), encoding="utf-8")
    _pack(fresh)
    shutil.rmtree(output, ignore_errors=True)
    fresh.rename(output)
    return sizes(output)


def install() -> None:
    """Install the locked npm packages, unless they are there already; a second process waits for the first.

    Raises SkinLesionError if Node or npm is missing or too old, or the packages cannot be had.
    """
    needed = node_needed()
    if not shutil.which("node") or not shutil.which("npm"):
        raise SkinLesionError(f"the on-device page is built with Node.js {needed} or newer and npm; install them first")
    found = _run("node", "--version").strip()
    if int(found.removeprefix("v").partition(".")[0]) < int(needed):
        raise SkinLesionError(f"the on-device page needs Node.js {needed} or newer, not {found}; install a newer one")
    locked, stamp = SOURCES / "package-lock.json", SOURCES / "node_modules" / ".installed"
    with lock(SITE.parent, wait=True):  # two at once delete each other's packages
        if not stamp.exists() or stamp.read_bytes() != locked.read_bytes():
            _run("npm", "ci", "--no-progress", cwd=SOURCES)
            shutil.copyfile(locked, stamp)


def sizes(site: Path) -> dict[str, int]:
    """Bytes to download, by part; see :func:`build`."""
    parts = {"model": 0, "runtime": 0, "page": 0, "graphics": 0}
    for path in _files(site):
        if path.parent.name == "ort":
            part = "graphics" if path.name in GRAPHICS else "runtime"
        else:
            part = "model" if path.suffix == ".onnx" else "page"
        packed = path.with_name(path.name + ".br")
        parts[part] += (packed if packed.exists() else path).stat().st_size
    return parts


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SkinLesionError(f"`{' '.join(command)}` failed in {cwd or Path.cwd()}:\n{done.stderr.strip()}")
    return done.stdout


def _pack(site: Path) -> None:
    """Compress what is not compressed yet."""
    _run("node", str(SOURCES / "pack.js"), str(site))


def _files(site: Path) -> list[Path]:
    """Every file that a visitor may need, in order."""
    return sorted(path for path in site.rglob("*") if path.is_file() and path.suffix not in PACKED)


def _copy(site: Path) -> None:
    for folder, names, target in (
        (SOURCES, PAGE, site),
        (APP / "static", STATIC, site),
        (EXAMPLE_FOLDER, [example.path.name for example in EXAMPLES], site / "examples"),
        (SOURCES / "node_modules" / "onnxruntime-web" / "dist", RUNTIME + GRAPHICS, site / "ort"),
    ):
        for name in names:
            shutil.copyfile(folder / name, target / name)


def _model(manifest: Manifest, folder: Path, site: Path) -> str:
    """Write the network and ``model.json``; returns how its weights differ from the server's, in words."""
    half = manifest.content.get("variants_measured", {}).get("fp16", {"kept": True})["kept"]
    path = site / "network.onnx"
    without_framing(folder / manifest.file, path, manifest.crops)
    if half:  # unless it was found to cost balanced accuracy
        half_weights(path, path)
    large = (path, *(site / "ort").glob("*.wasm"))
    content = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "downloads": {file.relative_to(site).as_posix(): file.stat().st_size for file in large},
        **model_facts(manifest),
    }
    (site / MODEL).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return text("device.half" if half else "device.whole")


def _written(manifest: Manifest, weights: str, parts: dict[str, int]) -> dict[str, str]:
    """The files that hold words: the page, and what a home screen says of it."""
    environment = Environment(loader=FileSystemLoader([SOURCES, APP / "templates"]), autoescape=True)
    environment.globals["t"] = text
    environment.filters |= {"in_words": in_words, "percent": present.percent}
    locked = json.loads((SOURCES / "package-lock.json").read_text(encoding="utf-8"))
    page = environment.get_template("index.html").render(
        policy=DEVICE_POLICY,
        manifest=manifest,
        weights=weights,
        runtime=locked["packages"]["node_modules/onnxruntime-web"]["version"],
        megabytes=round((sum(parts.values()) - parts["graphics"]) / 1e6),
        more=round(parts["graphics"] / 1e6, 1),
        examples=EXAMPLES,
        script_words=section("device") | section("entry") | section("fault"),
        result=present.Result(title="", evidence=present.evidence(manifest)),  # its card is the script's to fill
    )
    name = "manifest.webmanifest"
    return {"index.html": page, name: environment.get_template(name).render()}


def service_worker(site: Path) -> str:
    """The service worker's source, with what it must store: any other file or header makes another version of it."""
    digests = {
        path.relative_to(site).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in _files(site)
        if path.name != "sw.js"
    }
    source = (SOURCES / "sw.js").read_text(encoding="utf-8")
    files = {name: "sha256-" + base64.b64encode(digest).decode() for name, digest in digests.items()}
    version = hashlib.sha256(json.dumps([source, files, STORED_HEADERS]).encode()).hexdigest()[:16]
    del files["index.html"]
    later = {f"ort/{name}": files.pop(f"ort/{name}") for name in GRAPHICS}
    known = {"version": version, "headers": STORED_HEADERS, "files": {"./": None, **files}, "later": later}
    return f"const SITE = {json.dumps(known, indent=1)};\n\n{source}"


def write_icons(folder: Path) -> None:
    """Write ``icon-<side>.png`` with round corners, and ``icon-full-<side>.png``, which systems cut to shape."""
    for side in (192, 512):
        draw_icon(side, full=False).save(folder / f"icon-{side}.png", optimize=True)
        draw_icon(side, full=True).save(folder / f"icon-full-{side}.png", optimize=True)


def draw_icon(side: int, *, full: bool) -> Image.Image:
    """The icon, RGBA, ``side`` pixels wide; ``full`` fills the square and keeps the drawing within the safe circle."""
    large = side * FINE
    scale = large / GRID * (SAFE if full else 1)
    middle = large / 2

    def at(points: np.ndarray) -> list[tuple[float, float]]:
        return [tuple(point) for point in (points - GRID / 2) * scale + middle]

    picture = Image.new("RGBA", (large, large))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, large - 1, large - 1), 0 if full else 7 * scale, fill=BLUE)
    pen.polygon(at(_outline()), fill="white")
    for x, y, radius in DOTS:
        pen.ellipse([*at(np.array([[x - radius, y - radius]]))[0], *at(np.array([[x + radius, y + radius]]))[0]], BLUE)
    return picture.resize((side, side), Image.Resampling.BOX)


def _outline(steps: int = 64) -> np.ndarray:
    """Points along the curves, float [n, 2]."""
    t = np.linspace(0, 1, steps)[:, None]
    start, points = np.array(START), []
    for first, second, end in (map(np.array, curve) for curve in CURVES):
        points.append((1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second + t**3 * end)
        start = end
    return np.concatenate(points)
