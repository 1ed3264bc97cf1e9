"""A model folder small enough to compute by hand: mean colour -> linear -> logits."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skinlesion.core.taxonomy import HAM7, LabelSet


def weights(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The linear layer, float32 [3, K] and [K]: large enough that different colours get different classes."""
    draw = np.random.default_rng(3)
    return draw.normal(0, 5, (3, classes)).astype(np.float32), draw.normal(0, 1, classes).astype(np.float32)


def graph(classes: int, *, with_map: bool = True, output: str = "logits") -> onnx.ModelProto:
    """``image`` uint8 [N, H, W, 3] -> logits, features (mean colour, -0.5 to 0.5), domain scores, by choice a 1:1 map.

    ``other_camera`` is minus the distance of the red features from middle grey, ``not_dermatoscopic`` the green ones
    above black, 0 to 1.
    """
    linear, bias = weights(classes)
    constants = {
        "linear": linear,
        "bias": bias,
        "white": np.float32(255),
        "middle": np.float32(0.5),
        "rows_columns": np.array([1, 2], np.int64),
        "first": np.array(0, np.int64),
        "second": np.array(1, np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["bright"]),
        helper.make_node("Sub", ["bright", "middle"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "rows_columns"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "linear", "bias"], [output]),
        helper.make_node("Gather", ["features", "first"], ["red"], axis=1),
        helper.make_node("Abs", ["red"], ["distance"]),
        helper.make_node("Neg", ["distance"], ["other_camera"]),
        helper.make_node("Gather", ["features", "second"], ["green"], axis=1),
        helper.make_node("Add", ["green", "middle"], ["not_dermatoscopic"]),
    ]
    outputs = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", classes]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("other_camera", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("not_dermatoscopic", TensorProto.FLOAT, ["N"]),
    ]
    if with_map:
        nodes += [
            helper.make_node("MatMul", ["scaled", "linear"], ["evidence"]),
            helper.make_node("Transpose", ["evidence"], ["map"], perm=[0, 3, 1, 2]),
        ]
        outputs.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", classes, "h", "w"]))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [image], outputs, initializers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def manifest(labels: LabelSet, model: bytes, *, with_map: bool = True) -> dict:
    """A manifest whose every number matters: none of them leaves the logits as they are."""
    codes = labels.codes
    draw = np.random.default_rng(5)
    prior = draw.dirichlet(np.ones(len(codes)) * 5)
    figure = {"value": 0.9, "low": 0.84, "high": 0.95, "n": 123}
    unknown = {"value": None, "low": None, "high": None, "n": 0}
    return {
        "format": 2,
        "name": "tiny",
        "version": "2026.01.02-0123abcd",
        "created": "2026-01-02T03:04:05+00:00",
        "file": "model.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "bytes": len(model),
        "labels": list(codes),
        "architecture": "linear",
        "image_size": 128,
        "fit": "squash",
        "views": 1,
        "crops": 1,
        "outputs": ["logits", "features", "other_camera", "not_dermatoscopic", *(["map"] if with_map else [])],
        "temperature": 1.7,
        "prior_shift": dict(zip(codes, draw.normal(0, 1, len(codes)).tolist(), strict=True)),
        "prior": dict(zip(codes, prior.tolist(), strict=True)),
        "decision_weights": dict(zip(codes, (1 / prior).tolist(), strict=True)),
        "decision_tau": 1.0,
        "referral": {
            "threshold": 0.4,
            "borderline": 0.2,
            "sensitivity": figure,
            "specificity": figure,
            "by_label": figure,
            "chosen_on": "validation",
        },
        "melanoma_level": 0.05,
        "prediction_set": None,
        "domain": {
            "other_camera": {"method": "distance of red", "threshold": -0.3, "kept": 0.95, "kept_in_training": 0.96},
            "not_dermatoscopic": {"method": "green", "threshold": 0.1, "kept": 0.995, "kept_in_training": 0.999},
        },
        "evidence": [
            {"source": "demo", "part": "test"}
            | {
                "malignant": 40,
                "malignant_refer": 36,
                "malignant_borderline": 3,
                "malignant_below": 1,
                "malignant_none": 0,
            }
            | {"benign": 50, "benign_refer": 12, "benign_borderline": 8, "benign_below": 30, "benign_none": 0}
            | {"malignant_by_label": 1, "benign_by_label": 0}
        ],
        "data": {
            "source": "demo",
            "synthetic": True,
            "fingerprint": "ab" * 32,
            "citation": "generated",
            "images": 90,
            "lesions": 80,
        },
        "metrics": dict.fromkeys(("balanced_accuracy", "macro_auroc", "accuracy", "ece"), figure)
        | {"n_images": 123, "n_lesions": 99, "per_class": {code: {"sensitivity": unknown} for code in codes}},
        "measured_on": "test",
        "config": {"balance": "none", "epochs": 1, "seed": 0, "split_file": "", "start": "", "pretrained": False},
        "versions": {},
        "licence": "Apache-2.0",
    }


def write(folder: Path, classes: LabelSet = HAM7, *, with_map: bool = True, model=None, **changes) -> Path:
    """Write the folder; ``changes`` replace entries of the manifest, ``model`` the graph."""
    folder.mkdir(parents=True, exist_ok=True)
    data = (model or graph(len(classes), with_map=with_map)).SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    content = manifest(classes, data, with_map=with_map) | changes
    (folder / "manifest.json").write_text(json.dumps(content))
    (folder / "MODEL_CARD.md").write_text("# tiny\n")
    return folder
