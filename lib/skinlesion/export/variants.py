"""Other files of an exported model: weights in 16 bits, 8-bit convolutions, no framing; and their loss of accuracy."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from skinlesion.core.errors import ModelError
from skinlesion.core.writing import write_bytes, write_json
from skinlesion.evaluation.intervals import in_columns, resample, summarise
from skinlesion.evaluation.metrics import balanced_accuracy
from skinlesion.serving.manifest import FILE, Manifest
from skinlesion.serving.predictor import Predictor

#: What a smaller file may lose in balanced accuracy, and the share of labels that it must keep, or it is deleted.
LOSS, SAME_LABEL = 0.005, 0.99
LARGE = 256  # smaller tensors stay as they are: they weigh nothing and some carry exact arithmetic


def half_weights(source: Path, target: Path) -> None:
    """Store the weights in 16 bits; a runtime widens them while it loads and computes in 32 bits as before.

    ``source``, ``target``: ONNX files.
    """
    model = onnx.load(source)
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.size >= LARGE and np.abs(weights).max() < np.finfo(np.float16).max:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    write_bytes(target, model.SerializeToString())


def without_framing(source: Path, target: Path, crops: int = 1) -> None:
    """Cut the framing off an exported model: what is left takes what :func:`skinlesion.core.framing.fit_crops` made.

    For runtimes that lack the 64-bit arithmetic of the framing. Framed here or there, a pixel is the same to the byte.
    Raises ModelError if the model does not frame images as :mod:`skinlesion.export.onnx` writes it.
    ``source``, ``target``: ONNX files; the target's only input is ``levels``, float32 [crops N, S, S, 3], whole grey
    levels, 0 to 255. ``crops``: how many of a frame an output is the mean of.
    """
    model = onnx.load(source)
    graph = model.graph
    floors = {node.output[0] for node in graph.node if node.op_type == "Floor"}
    found = [node.input[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] in floors]
    if len(found) != 1:
        raise ModelError(f"{source} was exported in another way than here; export the model again")
    nodes = []
    for node in graph.node:
        node.input[:] = ["levels" if name == found[0] else name for name in node.input]
        node.output[:] = ["levels" if name == found[0] else name for name in node.output]
        nodes.append(node)
        if node.op_type == "Shape" and node.input[0] == "image":  # after the cut, only the number of frames is needed
            frames, squares = node.output[0], f"{node.output[0]}.squares"
            node.input[0], node.output[0] = "levels", squares
            nodes.append(helper.make_node("Div", [squares, "crops"], [frames]))
    graph.initializer.append(numpy_helper.from_array(np.array([crops]), "crops"))
    del graph.node[:]
    graph.node.extend(nodes)
    for value in graph.value_info:
        value.name = "levels" if value.name == found[0] else value.name
    network = Extractor(model).extract_model(["levels"], [output.name for output in graph.output])
    onnx.checker.check_model(network, full_check=True)
    write_bytes(target, network.SerializeToString())


def integer_convolutions(source: Path, target: Path, frames: Iterable[np.ndarray]) -> None:
    """Quantise the convolutions to 8 bits, their ranges measured on ``frames``; preprocessing and classifier stay.

    ``source``, ``target``: ONNX files; ``frames``: uint8 [H, W, 3] each, a few hundred training images, of any sizes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared, written = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, written, _Frames(frames), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        write_bytes(target, written.read_bytes())


class _Frames(CalibrationDataReader):
    def __init__(self, frames: Iterable[np.ndarray]):
        self._frames = iter(frames)

    def get_next(self) -> dict | None:
        frame = next(self._frames, None)
        return None if frame is None else {"image": frame[None]}


def add_variants(
    folder: Path,
    frames: Sequence[np.ndarray],
    y: np.ndarray,
    lesions: np.ndarray,
    ranges_from: Sequence[np.ndarray],
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Make the smaller files of a model folder, evaluate them, and store those that are good enough (:data:`LOSS`).

    The folder's manifest gets an entry ``variants``. Evaluated on ``frames`` (uint8 [H, W, 3] each) with their classes
    ``y`` (int [N]) and ``lesions`` ([N]); ``ranges_from``: training images, that the integer ranges are measured on.
    Returns a row per file: megabytes, milliseconds (median of one image), largest_change (in a probability), same_label
    (fraction), balanced_accuracy, loss (of it, paired) with loss_low and loss_high (95% interval), kept.
    """
    manifest = Manifest.read(folder)
    makers = {
        "fp16": lambda target: half_weights(folder / manifest.file, target),
        "int8": lambda target: integer_convolutions(folder / manifest.file, target, ranges_from),
    }
    resamples = resample(lesions, replicates, seed)
    whole = _evaluate(manifest, folder, frames, y, resamples)
    rows, kept = {"fp32": _row(whole, whole, len(y), folder / manifest.file)}, {}
    for name, make in makers.items():
        path = folder / f"model.{name}.onnx"
        make(path)
        row = _row(_evaluate(replace(manifest, file=path.name), folder, frames, y, resamples), whole, len(y), path)
        rows[name] = row
        if row["kept"]:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            kept[name] = {"file": path.name, "sha256": digest, "bytes": path.stat().st_size, **row}
        else:
            path.unlink()
    write_json(folder / FILE, manifest.content | {"variants": kept, "variants_measured": rows})
    return pd.DataFrame(rows).T


def _evaluate(manifest: Manifest, folder: Path, frames: Sequence[np.ndarray], y: np.ndarray, resamples) -> dict:
    predictor = Predictor(
        manifest, onnxruntime.InferenceSession(folder / manifest.file, providers=["CPUExecutionProvider"])
    )
    predictions = predictor.predict(frames)
    codes = manifest.labels.codes
    predicted = np.array([codes.index(one.label) for one in predictions])
    times = []
    for frame in [*frames[:3], *frames[:20]]:  # the first three warm up
        start = time.perf_counter()
        predictor.predict([frame])
        times.append(time.perf_counter() - start)
    return {
        "probabilities": np.array([list(one.probabilities.values()) for one in predictions]),
        "predicted": predicted,
        "accuracy": balanced_accuracy(predicted, y, len(codes), resamples),
        "milliseconds": 1000 * statistics.median(times[3:]),
    }


def _row(found: dict, whole: dict, n: int, path: Path) -> dict:
    loss = summarise(whole["accuracy"] - found["accuracy"], n)
    same_label = float((found["predicted"] == whole["predicted"]).mean())
    return {
        "megabytes": path.stat().st_size / 1e6,
        "milliseconds": found["milliseconds"],
        "largest_change": float(np.abs(found["probabilities"] - whole["probabilities"]).max()),
        "same_label": same_label,
        "balanced_accuracy": float(found["accuracy"][0]),
        **in_columns({"loss": loss}),
        "n": n,
        "kept": bool(loss["value"] < LOSS and same_label >= SAME_LABEL),
    }
