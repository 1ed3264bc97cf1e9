"""What the tests of batch scoring share: a folder of images (importing ``pictures`` gives ``folder``), and commands."""

import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from skinlesion import cli
from small import small_table


@pytest.fixture(scope="module", name="folder")
def pictures(tmp_path_factory):
    """84 images in two levels of folders, among files that are none."""
    place = tmp_path_factory.mktemp("images")
    small_table(place, lesions=8)
    (place / "b" / "deep").mkdir(parents=True)
    for path in sorted(place.glob("nv*")):
        path.rename(place / "b" / "deep" / path.name)
    (place / "notes.txt").write_text("none")
    (place / ".hidden.jpg").write_bytes(b"none")
    (place / "nv_segmentation.png").write_bytes(b"a mask")
    (place / "up").symlink_to(place, target_is_directory=True)
    return place


def zipped(paths, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in paths:
            archive.write(path, f"part/{path.name}")
        archive.writestr("__MACOSX/part/a.jpg", b"none")
    return target


def score(*sources, output, model, status=0, **options) -> pd.DataFrame:
    """Score through the command line's entry; the table it leaves."""
    extra = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert cli.main(["score", *map(str, sources), "--output", str(output), "--model", str(model), *extra]) == status
    return table(output)


def table(output) -> pd.DataFrame:
    return pd.concat([pq.read_table(path).to_pandas() for path in sorted(Path(output).glob("part-*"))])


def refused(capsys, *arguments) -> str:
    capsys.readouterr()
    assert cli.main(["score", *map(str, arguments)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line
