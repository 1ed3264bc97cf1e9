"""Download HAM10000 from Harvard Dataverse or DermaMNIST from Zenodo, safe to interrupt and to run again.

A file gets its name only when it is whole: until then it lies beside it as ``<name>.partial``, from which the next
attempt goes on. Its size and SHA-256 are then stored in ``registry.json`` and hold for every later run.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skinlesion.core.errors import ConfigError, DataError
from skinlesion.core.tables import need_columns, need_rows, read_table
from skinlesion.core.writing import write_errors, write_json

REGISTRY = "registry.json"
MIRROR = "SKINLESION_DOWNLOAD_URL"  # environment variable: where to download from instead
ATTEMPTS = 3  # in one run, each of which goes on where the last one was cut off
PAUSE = 2.0  # seconds between them
TIMEOUT = (15, 60)  # seconds until the connection stands, and between two pieces of data
CHUNK = 1 << 16  # bytes; at most as many are lost where a connection breaks off

DATAVERSE = "https://dataverse.harvard.edu"
ZENODO = "https://zenodo.org"

_HAM10000_TERMS = """HAM10000 is licensed CC BY-NC 4.0: non-commercial use, with attribution. Cite
  Tschandl P., Rosendahl C., Kittler H.: The HAM10000 dataset, a large collection of multi-source dermatoscopic
  images of common pigmented skin lesions. Sci. Data 5:180161 (2018). doi:10.1038/sdata.2018.161
  Data: Harvard Dataverse, doi:10.7910/DVN/DBW86T"""
TERMS = {
    "ham10000": _HAM10000_TERMS,
    "dermamnist": """DermaMNIST is licensed CC BY-NC 4.0: non-commercial use, with attribution. Cite
  Yang J. et al.: MedMNIST v2, a large-scale lightweight benchmark for 2D and 3D biomedical image classification.
  Sci. Data 10:41 (2023). doi:10.1038/s41597-022-01721-8. Data: Zenodo, doi:10.5281/zenodo.10519652
It was made from HAM10000. """
    + _HAM10000_TERMS,
}


@dataclass(frozen=True)
class Remote:
    """A file to download. ``md5`` is known for some; a ``.csv`` has at least ``columns``."""

    name: str
    site: str
    path: str
    md5: str | None = None
    columns: tuple[str, ...] = ()


def _datafile(name: str, number: int, *columns: str) -> Remote:
    # Dataverse turns tables into its own tab-delimited form unless the request names the original.
    query = "?format=original" if columns else ""
    return Remote(name, DATAVERSE, f"/api/access/datafile/{number}{query}", columns=columns)


HAM10000_PARTS = {
    "images": (
        _datafile("HAM10000_images_part_1.zip", 3172585),
        _datafile("HAM10000_images_part_2.zip", 3172584),
    ),
    "metadata": (_datafile("HAM10000_metadata.csv", 4338392, "image_id", "lesion_id", "dx"),),
    "segmentations": (_datafile("HAM10000_segmentations_lesion_tschandl.zip", 3838943),),
    "test": (
        _datafile("ISIC2018_Task3_Test_Images.zip", 3855824),
        _datafile("ISIC2018_Task3_Test_GroundTruth.csv", 6924466, "image_id", "dx"),
    ),
}
# MD5 sums by size, as medmnist/info.py has them
_DERMAMNIST_MD5 = {
    28: "0744692d530f8e62ec473284d019b0c7",
    64: "b70a2f5635c6199aeaa28c31d7202e1f",
    128: "2defd784463fa5243564e855ed717de1",
    224: "8974907d8e169bef5f5b96bc506ae45d",
}


def _dermamnist(size: int, md5: str) -> Remote:
    name = "dermamnist.npz" if size == 28 else f"dermamnist_{size}.npz"
    return Remote(name, ZENODO, f"/records/10519652/files/{name}", md5)


DERMAMNIST = {size: _dermamnist(size, md5) for size, md5 in _DERMAMNIST_MD5.items()}


def download_ham10000(
    folder: str | Path, parts: tuple[str, ...] = ("images", "metadata"), say: Callable[[str], None] = print
) -> list[Path]:
    """Download ``images`` (2.6 GB), ``metadata``, ``segmentations`` or ``test`` of HAM10000; see :func:`download`.

    Raises ConfigError for an unknown part.
    """
    unknown = [part for part in parts if part not in HAM10000_PARTS]
    if unknown or not parts:
        raise ConfigError(f"unknown part {', '.join(unknown) or 'of no name'}; parts are {', '.join(HAM10000_PARTS)}")
    files = [remote for part in HAM10000_PARTS if part in parts for remote in HAM10000_PARTS[part]]
    return download(files, folder, TERMS["ham10000"], say)


def download_dermamnist(folder: str | Path, size: int = 128, say: Callable[[str], None] = print) -> list[Path]:
    """Download DermaMNIST with frames of 28, 64, 128 or 224 pixels; see :func:`download`.

    Raises ConfigError for any other size.
    """
    if size not in DERMAMNIST:
        raise ConfigError(f"DermaMNIST comes with {', '.join(map(str, DERMAMNIST))} pixels, not {size}")
    return download([DERMAMNIST[size]], folder, TERMS["dermamnist"], say)


def download(files: list[Remote], folder: str | Path, terms: str, say: Callable[[str], None] = print) -> list[Path]:
    """Bring files into ``folder``; those that are there already and match the registry are left alone.

    ``terms``, licence and citation, are shown first, by ``say`` as all other lines. A file without an entry in the
    registry is verified by its size, its MD5 sum where that is known, and by being a whole archive or table, and then
    entered. One that someone else put there is taken over in the same way. The environment variable
    ``SKINLESION_DOWNLOAD_URL`` takes the place of the site's address. Raises DataError if a server fails or sends
    something else than expected, SkinLesionError if the disk is full or the folder cannot be written.
    """
    say(terms)
    folder = Path(folder).expanduser()
    registry = _read_registry(folder / REGISTRY)
    done = []
    for remote in files:
        path = folder / remote.name
        known = registry.get(remote.name)
        with write_errors(path):
            if _is_whole(path, remote, known, say):
                say(f"{path} is there already")
            else:
                _fetch(remote, path, known)
                say(f"{path}: {path.stat().st_size:,} bytes")
            if known is None:
                registry[remote.name] = {"size": path.stat().st_size, "sha256": _digest(path, "sha256")}
                write_json(folder / REGISTRY, registry)
        done.append(path)
    return done


def _read_registry(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    try:
        registry = json.loads(path.read_text())
        return {str(name): {"size": int(entry["size"]), "sha256": entry["sha256"]} for name, entry in registry.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is not a registry of downloads ({error}); delete it, and the files are verified again"
        ) from None


def _is_whole(path: Path, remote: Remote, known: dict | None, say: Callable[[str], None]) -> bool:
    """Whether the file is there and right. One that is not is reported, and replaced."""
    if not path.exists():
        return False
    try:
        _verify(path, remote, known)
    except DataError as error:
        say(f"{error}; it is downloaded again")
        return False
    return True


def _verify(path: Path, remote: Remote, known: dict | None) -> None:
    """Raise DataError unless the file is what it should be."""
    if known:
        if path.stat().st_size != known["size"] or _digest(path, "sha256") != known["sha256"]:
            raise DataError(f"{path} is not the file that {REGISTRY} describes")
    elif remote.md5 and _digest(path, "md5") != remote.md5:
        raise DataError(f"{path} has another MD5 sum than {remote.md5}")
    elif remote.columns:
        need_columns(need_rows(read_table(path), path), remote.columns, path)
    else:
        _verify_archive(path)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _verify_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise DataError(f"{path} is not a complete zip archive ({error})") from None
    if broken:
        raise DataError(f"{path} is not a complete zip archive ({broken} in it is damaged)")


def _fetch(remote: Remote, path: Path, known: dict | None) -> None:
    """Download a file, going on where an interrupted download stopped, a few times if need be."""
    import requests

    url = (os.environ.get(MIRROR) or remote.site).rstrip("/") + remote.path
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _stream(url, partial, remote.name)
            break
        except requests.HTTPError as error:
            refusal = error.response
            assert refusal is not None  # raise_for_status always gives it
            status = f"{refusal.status_code} {refusal.reason}"
            raise DataError(f"the server responded with {status} to {url}; try again later") from None
        except requests.RequestException as error:
            if attempt < ATTEMPTS:
                time.sleep(PAUSE)
                continue
            have = partial.stat().st_size if partial.exists() else 0
            raise DataError(
                f"the download of {remote.name} from {url} broke off after {have:,} bytes ({type(error).__name__}); "
                "run the same command again, and it continues from there"
            ) from None
    try:
        _verify(partial, remote, known)
    except DataError as error:
        partial.unlink()
        raise DataError(f"{url} sent another file than {remote.name}: {error}. Try again later") from None
    partial.replace(path)


def _stream(url: str, partial: Path, name: str) -> None:
    import requests
    from tqdm import tqdm

    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing beyond what is here: perhaps all of it, perhaps too much
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            partial.unlink()
            raise requests.ConnectionError("what was downloaded before does not fit this file")
        response.raise_for_status()
        going_on = response.status_code == 206
        if going_on and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            partial.unlink(missing_ok=True)
            raise requests.ConnectionError("the server sent another part of the file than the missing one")
        have = have if going_on else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, desc=name, unit="B", unit_scale=True, disable=None)
        with bar, partial.open("ab" if going_on else "wb") as stream:
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
            os.fsync(stream.fileno())
    if total is not None and partial.stat().st_size != total:
        raise requests.ConnectionError("the connection was closed early")
