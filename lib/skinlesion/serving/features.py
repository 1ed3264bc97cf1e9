"""Features of pictures, from the middle of an exported network: they distinguish pictures, not diagnoses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

from skinlesion.core.errors import ModelError
from skinlesion.serving.manifest import Manifest, model_folder

SYMMETRIES = 8  # of a square: four turns, mirrored or not


class Features:
    """Features of square pictures: ``Features()(squares)``, uint8 [N, S, S, 3] -> float32 [N, D].

    The network of a model folder (the shipped one where ``model`` is None) is cut out of its exported file, after the
    fifth last of its residual sums (the last convolution of a network without them). Mean and standard deviation of
    each map are averaged over turned and mirrored ``views``; with all :data:`SYMMETRIES`, features do not change where
    a picture is turned or mirrored. Raises ModelError where the file holds no such network.
    """

    def __init__(self, model: str | None = None, *, views: int = SYMMETRIES):
        manifest = Manifest.read(model)
        path = model_folder(model) / manifest.file
        self.views = views
        self.name = f"{manifest.sha256} {views}"  # two features of one name are the same
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        # the threads that decode need the cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._part = cut(onnx.load(path))
            self._session = onnxruntime.InferenceSession(
                self._part.network.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnx and ONNX Runtime raise kinds of their own
            raise ModelError(f"{path} holds no network whose features can be compared ({error})") from None

    def __call__(self, squares: np.ndarray) -> np.ndarray:
        part = self._part
        x = ((squares.transpose(0, 3, 1, 2).astype(np.float32) / 255 - part.mean) / part.scale).astype(np.float32)
        total: np.ndarray | float = 0.0
        for number in range(self.views):
            view = np.rot90(x if number < 4 else x[..., ::-1], number, (2, 3))
            maps = self._session.run([part.output], {part.input: np.ascontiguousarray(view)})[0]
            total = total + np.concatenate([maps.mean((2, 3)), maps.std((2, 3))], axis=1)
        return np.asarray(total) / self.views


class Part(NamedTuple):
    """A network from its first convolution to the maps that are pooled."""

    network: onnx.ModelProto
    input: str  # its name; pixels from 0 to 1, less ``mean``, divided by ``scale``
    mean: np.ndarray
    scale: np.ndarray
    output: str  # its name


def cut(whole: onnx.ModelProto) -> Part:
    """The part of an exported network that features are taken from."""
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
    end = (sums[-5:] or [nodes[convolutions[-1]]])[0].output[0]
    part = Extractor(whole).extract_model([start], [end])
    for value in (*part.graph.input, *part.graph.output):  # any number of squares of any size
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    return Part(part, start, constant[less.input[1]], constant[divided.input[1]], end)
