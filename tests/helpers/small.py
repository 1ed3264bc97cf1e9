"""What tests make for themselves: files of data sets, a small data set, a series of tiny notebooks."""

import csv
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image

from skinlesion.core.config import Config
from skinlesion.core.errors import ConfigError
from skinlesion.core.taxonomy import HAM7, LabelSet
from skinlesion.data.table import LesionTable, Origin

#: A training of seconds.
CONFIG = Config(image_size=24, epochs=8, batch_size=16, learning_rate=3e-3, average=0.5, checkpoint_every=2)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(data, kind, **options)
    return data.getvalue()


def jpeg(seed=0, size=(40, 30)):
    return encoded(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8), "JPEG")


def write_csv(path, columns, rows, delimiter=",", quoting=csv.QUOTE_MINIMAL):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter, quoting=quoting)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(jpeg(seed))


def small_table(
    folder: Path, *, lesions: int = 8, labels: LabelSet = HAM7, shape=(30, 40), seed: int = 0
) -> LesionTable:
    """``lesions`` lesions a class with one or two JPEGs each in ``folder``: noise with a class-dependent colour."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    colors = rng.integers(60, 200, (len(labels), 3))
    rows = []
    for number, code in enumerate(labels.codes):
        for lesion in range(lesions):
            for view in range(1 + lesion % 2):
                name = f"{code}_{lesion}_{view}"
                pixels = np.clip(colors[number] + rng.normal(0, 25, (*shape, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=90)
                rows.append((name, f"{code}_{lesion}", code, 20.0 + lesion, "female", "back", "histo", name))
    frame = pd.DataFrame(rows, columns=["image_id", "lesion_id", "label", "age", "sex", "site", "dx_type", "path"])
    frame["path"] = [str(folder / f"{name}.jpg") for name in frame["image_id"]]
    return LesionTable(frame, labels, {"folder": Origin("folder", str(folder))})


def small_csv(folder: Path, *, lesions: int) -> LesionTable:
    """:func:`small_table`, and ``table.csv`` beside its images: a data set of the kind ``csv``."""
    table = small_table(folder, lesions=lesions)
    table.frame[["path", "label", "image_id", "lesion_id"]].to_csv(folder / "table.csv", index=False)
    return table


#: What a change of a parameter takes besides: crops are not taken of a frame that is squashed.
NEEDED = {"crops": {"fit": "center_crop"}}


def another(name: str) -> object:
    """A possible value of a parameter that is not its default."""
    value, declared = getattr(Config(), name), Config.__dataclass_fields__[name].metadata
    if isinstance(value, tuple):
        return [*value, "x"]
    if isinstance(value, bool):
        return not value
    for choice in declared["one_of"] or (("x",) if isinstance(value, str) else (value + 1, 8, 0.5, 0.25)):
        if type(choice) is type(value) and choice != value:
            try:
                Config().but(**NEEDED.get(name, {}) | {name: choice})
                return choice
            except ConfigError:
                continue
    raise AssertionError(f"no other value of {name} is known here: add one above, or what it takes besides to NEEDED")


HEAD = '# which run\nrun: str = "../reports/demo"  # the run\'s folder\n'


def write_notebook(folder, name, *code, parameters=HEAD, prose="# A title\n\nA *question*?"):
    cell = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell(prose),
        cell(parameters, metadata={"tags": ["parameters"]}),
        *map(cell, code),
    ]
    for number, one in enumerate(cells):
        one["id"] = f"cell-{number}"  # the default is random
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


def summary(folder):
    return json.loads((folder / "run.json").read_text())


def states(folder):
    return {entry["name"]: entry["status"] for entry in summary(folder)["notebooks"]}
