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

from jinja2 import Environment, FileSystemLoader

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
    # static/icon.svg as PNG, since home screens take no SVG; "full" ones are cut to shape by the system
    "icon-192.png", "icon-512.png", "icon-full-192.png", "icon-full-512.png",
)  # fmt: skip
#: What it shares with the Flask page.
STATIC = (
    "bitmap.js", "cards.js", "collect.js", "crop.js", "report.js", "say.js", "viewer.js", "icon.svg",
    "page.css", "report.css", "result.css",
)  # fmt: skip
PACKED = (".br", ".gz")


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
    with lock(SITE.parent, wait=True):  # two at once write into each other's page
        _build(manifest, model, output)
        return sizes(output)


def _build(manifest: Manifest, model: Path, output: Path) -> None:
    fresh = output.with_name(output.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for folder in ("ort", "examples"):
        (fresh / folder).mkdir(parents=True)
    _copy(fresh)
    weights = _model(manifest, model, fresh)
    _pack(fresh)
    for name, content in _written(manifest, weights, sizes(fresh)).items():
        (fresh / name).write_text(content, encoding="utf-8")
    (fresh / "sw.js").write_text(service_worker(fresh), encoding="utf-8")
    _pack(fresh)
    shutil.rmtree(output, ignore_errors=True)
    fresh.rename(output)


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
    measured = manifest.content.get("variants_measured", {}).get("fp16")
    half = measured is None or measured["kept"]
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
    words = text("device.half" if half else "device.whole")
    if half and measured:
        words += " " + text("device.change", n=f"{measured['n']:,}", change=f"{measured['largest_change']:.1g}")
    return words


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
