"""Where files are: local folders and, through fsspec, object stores and web servers.

Credentials and endpoints are those that each store's own tools take from the environment (``AWS_PROFILE``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, …); none is read or stored here.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from skinlesion.core.errors import SkinLesionError
from skinlesion.core.writing import write_bytes

#: What reaches a kind of place, where that is not part of the ``scale`` extra.
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "adl": "adlfs"}


def is_url(place: str | Path) -> bool:
    return "://" in str(place)


def resolve(place: str | Path):
    """The fsspec file system of a path or URL, and the path in it.

    Raises SkinLesionError if fsspec, or what it needs for this kind of URL, is not installed; if there is no such kind.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise SkinLesionError("fsspec is not installed; pip install 'skin-lesion-lab[scale]'") from None
    place = str(place) if is_url(place) else str(Path(place).expanduser())
    protocol = place.partition("://")[0]
    if "::" in place:
        raise SkinLesionError(f"{place}: chained URLs are not taken; name the archive itself, it is opened")
    try:
        return url_to_fs(place, use_listings_cache=False)  # it would grow with the store, and hide what changes
    except ImportError as error:
        package = _PACKAGES.get(protocol, "'skin-lesion-lab[scale]'")
        raise SkinLesionError(
            f"{protocol}:// needs a package that is missing ({error}); pip install {package}"
        ) from None
    except ValueError as error:
        raise SkinLesionError(
            f"{place} cannot be reached ({error}); paths and s3://, gs://, https:// and fsspec's other URLs can"
        ) from None


def is_local(files) -> bool:
    """Whether an fsspec file system is this machine's."""
    return "file" in ([files.protocol] if isinstance(files.protocol, str) else files.protocol)


class Folder:
    """A folder to write to. Files appear whole or not at all; SkinLesionError where the place refuses.

    Locally they are written aside and moved into place; object stores show an object only once all of it has arrived.
    """

    def __init__(self, place: str | Path):
        self.files, self.root = resolve(place)
        self.local = is_local(self.files)

    def __str__(self) -> str:
        return self.root if self.local else self.files.unstrip_protocol(self.root)

    def path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def names(self) -> set[str]:
        """Names of what lies in it; empty where there is no such folder."""
        with self._refusing("listed"):
            try:
                return {path.rstrip("/").rpartition("/")[2] for path in self.files.ls(self.root, detail=False)}
            except FileNotFoundError:
                return set()

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""
        with self._refusing("read"):
            try:
                return self.files.cat_file(self.path(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing it."""
        if self.local:
            write_bytes(self.path(name), data)
            return
        with self._refusing("written to"):
            self.files.pipe_file(self.path(name), data)

    def put(self, name: str, path: Path) -> None:
        """Copy a file of this machine there, as :meth:`write` would; object stores derive its type from its suffix."""
        if self.local:
            self.write(name, path.read_bytes())
            return
        with self._refusing("written to"):
            self.files.put_file(str(path), self.path(name))

    @contextmanager
    def _refusing(self, what: str):
        try:
            yield
        except Exception as error:  # stores have their own kinds
            raise SkinLesionError(
                f"{self} cannot be {what} ({str(error) or type(error).__name__}); check that the place exists, its "
                "permissions and your credentials"
            ) from error
