"""``skinlesion data twins``: images of one lesion in one or several data sets, as pairs, groups and a gallery."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx.utils import Extractor
from PIL import Image
from tqdm import tqdm

from skinlesion.core import images
from skinlesion.core.errors import DataError, ModelError
from skinlesion.core.runs import atomic
from skinlesion.data.sources import load_table
from skinlesion.data.twins import (
    SIDE,
    contradictions,
    copies,
    feature_squares,
    find_twins,
    grey_square,
    twin_groups,
)
from skinlesion.serving.manifest import PRETRAINED, Manifest

BATCH = 16  # images that go through the network together
SHOWN = 60  # pairs in the gallery

Features = Callable[[np.ndarray], np.ndarray]


def twins(
    paths: Sequence[str],
    model: str | None = None,
    output: str = "twins",
    labels: int = 7,
    words: Sequence[str] = (),
    progress: bool = False,
) -> int:
    """Look for twins within and across data sets and write down what was found.

    The folder ``output`` gets ``pairs.csv`` (the most similar first), ``groups.csv`` (what splits keep together) and
    ``gallery.jpg``, which shows people's skin: it is for the eyes of those who may see the images.

    Parameters
    ----------
    paths : sequence of str
        Data sets as :func:`skinlesion.data.sources.load_table` takes them.
    model : str or None
        A model folder, whose network computes the features; the shipped one where None.
    output : str
        A folder.
    labels : 7 or 8
    words : sequence of ``word=code``
        The class that an unknown label of the data stands for.
    progress : bool
        Show bars.

    Returns
    -------
    int, the exit status

    Raises
    ------
    SkinLesionError
        For data that cannot be read, a model that has no features, or a folder that cannot be written.
    """
    rows = _rows(paths, labels, words)
    squares, features, digests = look(rows["path"], features_of(model), progress=progress)
    pairs = find_twins(squares, features, sources=rows["source"], lesions=rows["lesion"])
    pairs = _with_copies(pairs, digests)
    rows["group"] = twin_groups(rows["lesion"], pairs[["a", "b"]].itertuples(index=False))
    pairs["contradiction"] = contradictions(pairs, rows["label"])
    folder = Path(output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("pairs.csv", _named(pairs, rows)), ("groups.csv", rows.drop(columns=["path", "lesion"]))):
        with atomic(folder / name) as temporary:
            table.to_csv(temporary, index=False)
    with atomic(folder / "gallery.jpg") as temporary:
        gallery(pairs[:SHOWN], rows["path"]).save(temporary, "JPEG", quality=85)
    _tell(pairs, rows, folder)
    return 0


def _rows(paths: Sequence[str], labels: int, words: Sequence[str]) -> pd.DataFrame:
    """One row an image: source, image_id, lesion_id, label, path; ``lesion`` is a lesion id unique over all sources."""
    tables = [load_table(path, labels, words=words) for path in paths]
    names = [table.source for table in tables]
    names = [
        name if names.count(name) == 1 else f"{name}:{table.location}"
        for name, table in zip(names, tables, strict=True)
    ]
    if len(set(names)) < len(names):
        raise DataError(f"a data set is given twice: {', '.join(paths)}; give each of them once")
    columns = ["image_id", "lesion_id", "label", "path"]
    parts = [table.frame[columns].assign(source=name) for name, table in zip(names, tables, strict=True)]
    rows = pd.concat(parts, ignore_index=True)[["source", *columns]]
    return rows.assign(lesion=rows["source"] + "/" + rows["lesion_id"])


def features_of(model: str | None) -> Features:
    """Features that do not change where a picture is turned or mirrored: uint8 [N, S, S, 3] -> float32 [N, D].

    The model's network is cut out of its exported file, after the third last of its residual sums (the last convolution
    of a network without them), and its pooled values are averaged over the eight symmetries of a square.

    Raises
    ------
    ModelError
        Where the file holds no such network.
    """
    folder = Path(model).expanduser() if model is not None else PRETRAINED
    path = folder / Manifest.read(folder).file
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the threads that decode need the cores
    try:
        network, (start, mean, scale), end = _network(onnx.load(path))
        session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnx and ONNX Runtime raise kinds of their own
        raise ModelError(f"{path} holds no network whose features can be compared ({error})") from None

    def compute(squares: np.ndarray) -> np.ndarray:
        x = ((squares.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / scale).astype(np.float32)
        total: np.ndarray | float = 0.0
        for number in range(8):
            view = np.rot90(x if number < 4 else x[..., ::-1], number, (2, 3))
            total = total + session.run([end], {start: np.ascontiguousarray(view)})[0].mean((2, 3))
        return np.asarray(total) / 8

    return compute


def _network(whole: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, np.ndarray, np.ndarray], str]:
    """The part from the first convolution to the maps that are pooled; its input with mean and scale; its output."""
    nodes = list(whole.graph.node)
    maker = {name: node for node in nodes for name in node.output}
    constant = {one.name: onnx.numpy_helper.to_array(one) for one in whole.graph.initializer}
    convolutions = [number for number, node in enumerate(nodes) if node.op_type == "Conv"]
    start = nodes[convolutions[0]].input[0]
    divided = maker[start]
    less = maker[divided.input[0]]
    if (divided.op_type, less.op_type) != ("Div", "Sub"):
        raise ValueError("its pixels are not normalised by a mean and a spread")
    sums = [node for node in nodes[convolutions[0] : convolutions[-1]] if node.op_type == "Add"]
    end = (sums[-3:] or [nodes[convolutions[-1]]])[0].output[0]
    part = Extractor(whole).extract_model([start], [end])
    for value in (*part.graph.input, *part.graph.output):  # any number of squares of any size
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    return part, (start, constant[less.input[1]], constant[divided.input[1]]), end


def look(
    paths: Sequence[str] | pd.Series, features: Features, *, progress: bool = False
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Decode every image once: grey squares uint8 [N, SIDE, SIDE], features float32 [N, 2, D], SHA-256 of the file.

    Raises
    ------
    ImageError
        Where an image cannot be read: ``skinlesion data check`` lists those.
    """

    def one(path: str) -> tuple[np.ndarray, np.ndarray, str]:
        frame = images.read(path)
        digest = frame.tobytes() if ".npz!" in path else images.read_bytes(path)
        return grey_square(frame), feature_squares(frame), hashlib.sha256(digest).hexdigest()

    paths = list(paths)
    squares, found, digests = np.empty((len(paths), SIDE, SIDE), np.uint8), [], []
    bar = tqdm(total=len(paths), desc="looking", unit="image", disable=not progress)
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        for start in range(0, len(paths), BATCH):
            grey, coloured, digest = zip(*pool.map(one, paths[start : start + BATCH]), strict=True)
            squares[start : start + len(grey)] = grey
            values = features(np.concatenate(coloured))
            found.append(values.reshape(len(grey), 2, -1))
            digests += digest
            bar.update(len(grey))
    return squares, np.concatenate(found or [np.zeros((0, 2, 1), np.float32)]), digests


def _with_copies(pairs: pd.DataFrame, digests: list[str]) -> pd.DataFrame:
    """The pairs with a column ``kind``: ``copy`` where two files are the same to the byte, of one lesion id or not."""
    same = pd.DataFrame(copies(digests), columns=["a", "b"], dtype=int)
    same = same.assign(cosine=1.0, similarity=1.0, overlap=1.0)
    both = pd.concat([same.assign(kind="copy"), pairs.assign(kind="twin")], ignore_index=True)
    digest = np.array(digests, object)
    both.loc[digest[both["a"].to_numpy(int)] == digest[both["b"].to_numpy(int)], "kind"] = "copy"
    return both.drop_duplicates(["a", "b"], ignore_index=True)


def _named(pairs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    sides = [
        rows.loc[pairs[side], ["source", "image_id", "lesion_id", "label"]]
        .add_suffix(f"_{side}")
        .reset_index(drop=True)
        for side in ("a", "b")
    ]
    return pd.concat([*sides, pairs.drop(columns=["a", "b"]).round(4)], axis=1)


def gallery(pairs: pd.DataFrame, paths: Sequence[str] | pd.Series, side: int = 128, across: int = 12) -> Image.Image:
    """The pairs' centre squares one above the other, ``across`` pairs a row."""
    paths = list(paths)
    sheet = Image.new("RGB", (across * (side + 4), max(1, -(-len(pairs) // across)) * (2 * side + 12)), "white")
    for number, pair in enumerate(pairs.itertuples(index=False)):
        for lower, row in enumerate((pair.a, pair.b)):
            square = Image.fromarray(images.fit(images.read(paths[row]), side, "center_crop"))
            sheet.paste(square, (number % across * (side + 4), number // across * (2 * side + 12) + lower * (side + 2)))
    return sheet


def _tell(pairs: pd.DataFrame, rows: pd.DataFrame, folder: Path) -> None:
    print(f"{len(rows):,} images of {rows['lesion'].nunique():,} lesion ids: {rows['group'].nunique():,} groups")
    source = rows["source"].to_numpy(object)
    where = [" and ".join(sorted({source[a], source[b]})) for a, b in zip(pairs["a"], pairs["b"], strict=True)]
    for (kind, place), count in pairs.assign(where=where).groupby(["kind", "where"]).size().items():
        print(f"{count:,} {'byte-identical copies' if kind == 'copy' else 'pairs of twins'} in {place}")
    print(f"{int(pairs['contradiction'].sum()):,} pairs are one picture under two labels")
    print(f"made {folder}: pairs.csv, groups.csv, gallery.jpg (it shows the images: keep it where they may be seen)")
