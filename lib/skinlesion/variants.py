"""Smaller files of an exported model: weights in 16-bit floats, or convolutions in 8-bit integers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from skinlesion.runs import atomic

LARGE = 256  # smaller tensors stay as they are: they weigh nothing and some carry exact arithmetic


def half_weights(source: Path, target: Path) -> None:
    """Store the weights in 16 bits; a runtime widens them while it loads and computes in 32 bits as before.

    Parameters
    ----------
    source, target : ONNX files
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
    with atomic(target) as temporary:
        temporary.write_bytes(model.SerializeToString())


def integer_convolutions(source: Path, target: Path, frames: Iterable[np.ndarray]) -> None:
    """Quantise the convolutions to 8 bits, their ranges measured on ``frames``; preprocessing and classifier stay.

    Parameters
    ----------
    source, target : ONNX files
    frames : uint8 [H, W, 3] each
        A few hundred training images, of any sizes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared, written = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, written, _Frames(frames), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        with atomic(target) as temporary:
            temporary.write_bytes(written.read_bytes())


class _Frames(CalibrationDataReader):
    def __init__(self, frames: Iterable[np.ndarray]):
        self._frames = iter(frames)

    def get_next(self) -> dict | None:
        frame = next(self._frames, None)
        return None if frame is None else {"image": frame[None]}
