"""A trained network -> model/: one ONNX file with the preprocessing inside, its manifest and its model card."""

from __future__ import annotations

import hashlib
import logging
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from skinlesion.core.config import Config, comma_list
from skinlesion.core.errors import ModelError
from skinlesion.core.framing import HALF, PRODUCT_STEPS, WEIGHT_STEPS, WIDEST
from skinlesion.core.machine import versions
from skinlesion.core.runs import Run
from skinlesion.core.taxonomy import LabelSet
from skinlesion.core.writing import new_folder, write_json, write_text
from skinlesion.decision import NOT_DERMATOSCOPIC, OTHER_CAMERA
from skinlesion.export.card import TOLERANCE, model_card, of_each
from skinlesion.serving.manifest import FORMAT, Manifest, model_folder
from skinlesion.serving.predictor import Predictor
from skinlesion.training.domain import Domain, fit_domain
from skinlesion.training.networks.models import Classifier, mean_outputs
from skinlesion.training.parent_runs import recipe_of, start_run
from skinlesion.training.trained import write_features


def _weights(positions: torch.Tensor, target: int, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
    """``framing.resize_matrix``, step by step and in float64 too, in operations that ONNX has: [target, source]."""
    scale = (stop - start) / target
    centers = start + (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    distance = torch.abs(positions[None, :] + 0.5 - centers[:, None]) / torch.clamp(scale, min=1.0)
    weights = torch.clamp(1.0 - distance, min=0.0)
    share = torch.cumsum(weights, 1) / weights.sum(1, keepdim=True)
    steps = torch.floor(share * WEIGHT_STEPS + HALF)
    steps = steps - torch.nn.functional.pad(steps[:, :-1], (1, 0))
    return (steps / WEIGHT_STEPS).to(torch.float32)


class Exported(nn.Module):
    """The network as it is shipped: frames of any size in; logits, features, domain scores and perhaps maps out.

    Activation maps show what speaks for a class more than for the mean of all classes. What speaks for all
    alike changes no probability, but would decide where such a map is positive.
    """

    mean: torch.Tensor
    components: torch.Tensor
    variances: torch.Tensor
    probe: torch.Tensor | None

    def __init__(self, model: Classifier, image_size: int, fit: str, domain: Domain, views: int = 1, crops: int = 1):
        super().__init__()
        self.model, self.image_size, self.squash = model, image_size, fit == "squash"
        self.views, self.crops = views, crops
        self.has_map = ends_in_pooling(model, image_size)
        self.names = ["logits", "features", OTHER_CAMERA, NOT_DERMATOSCOPIC] + ["map"] * self.has_map
        self.noise = domain.noise
        for name, values in (("mean", domain.mean), ("components", domain.components), ("variances", domain.variances)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
        probe = None if domain.probe is None else torch.from_numpy(domain.probe.astype(np.float32))
        self.register_buffer("probe", probe)

    def domain(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """:meth:`skinlesion.training.domain.Domain.scores` of float32 [N, D]: two times float32 [N]."""
        away = features - self.mean
        along = torch.matmul(away, self.components)
        rest = away - torch.matmul(along, self.components.T)  # not by Pythagoras: the difference would lose digits
        within, outside = along.square(), rest.square().sum(1)
        squared = (within / self.variances).sum(1) + outside / self.noise
        if self.probe is not None:
            strong = torch.matmul(features, self.probe[:-1]) + self.probe[-1]
        else:
            energy = torch.clamp(within.sum(1) + outside, min=torch.finfo(torch.float32).tiny)
            strong = within.sum(1) / energy
        return -torch.sqrt(squared / features.shape[1]), strong

    def frame(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 [N, H, W, 3] -> float32 [crops N, 3, S, S] in 0-1, the first crops of all frames, then the second.

        Byte for byte as :func:`skinlesion.core.framing.fit_crops`.
        """
        n, h, w, _ = image.shape
        rows, columns = torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64)
        height, width = rows[-1] + 1, columns[-1] + 1
        boxes = self.boxes(height, width)
        vertical = [_weights(rows, self.image_size, top, bottom) for top, _, bottom, _ in boxes]
        # Of crops side by side the rows are the same, and are computed once: the second's are left out, and the first
        # taken for them. On a large frame this product is nearly all of the work.
        apart = (vertical[-1] != vertical[0]).any()
        more = [weights[apart.expand(self.image_size)] for weights in vertical[1:]]
        x = torch.matmul(torch.cat([vertical[0], *more]), image.to(torch.float32).reshape(n, h, w * 3))
        x = torch.floor(x * PRODUCT_STEPS + 0.5) / PRODUCT_STEPS
        found = []
        for number, (_, left, _, right) in enumerate(boxes):
            own = x[:, torch.arange(self.image_size) + number * self.image_size * apart]
            lines = own.reshape(n, self.image_size, w, 3).transpose(2, 3)  # [N, S, 3, W]: one product, not one a line
            found.append(torch.matmul(lines, _weights(columns, self.image_size, left, right).T).transpose(2, 3))
        return torch.floor(torch.cat(found) + 0.5).permute(0, 3, 1, 2) / 255.0

    def boxes(self, height: torch.Tensor, width: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """:func:`skinlesion.core.framing.crop_boxes` of a frame of any size; all of it where squashed."""
        if self.squash:
            return [(height * 0, width * 0, height, width)]
        side = torch.minimum(height, width)
        if self.crops == 1:
            top, left = (height - side) / 2, (width - side) / 2
            return [(top, left, top + side, left + side)]
        tall, wide = torch.minimum(height, width * WIDEST), torch.minimum(width, height * WIDEST)
        top, left = (height - tall) / 2, (width - wide) / 2
        bottom, right = top + tall, left + wide
        return [(top, left, top + side, left + side), (bottom - side, right - side, bottom, right)]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 [N, H, W, 3] -> logits [N, K], features [N, D], two domain scores [N], perhaps map [N, K, crops h, w].

        The map holds each crop's own, one below the other; :func:`skinlesion.core.framing.join_maps` joins them.
        """
        logits, features, maps = mean_outputs(self.model, self.frame(image), self.views, self.crops)
        outputs = logits, features, *self.domain(features)
        if not self.has_map:
            return outputs
        weights = self.model.backbone.get_classifier().weight
        evidence = torch.einsum("kc,qnchw->nkqhw", weights - weights.mean(0), maps)
        return *outputs, evidence.flatten(2, 3)


@torch.inference_mode()
def ends_in_pooling(model: Classifier, image_size: int) -> bool:
    """Whether the network ends in global average pooling and one linear layer, so that class activation maps exist.

    Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, equation 2.
    """
    classifier = model.backbone.get_classifier()
    if not isinstance(classifier, nn.Linear):
        return False
    probe = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    logits, features, maps = model.outputs(probe)
    if maps.dim() != 4 or features.shape[1] != maps.shape[1]:
        return False
    pooled = maps.mean((2, 3))
    return bool(torch.allclose(pooled, features, atol=1e-4) and torch.allclose(classifier(pooled), logits, atol=1e-3))


def write_onnx(
    model: Classifier, path: Path, *, image_size: int, fit: str, domain: Domain, views: int = 1, crops: int = 1
) -> Exported:
    """Write ``model.onnx`` (opset 18, dynamic batch and frame size); returns the torch module it was made from."""
    model = model.to("cpu").to(memory_format=torch.contiguous_format)
    exported = Exported(model, image_size, fit, domain, views, crops).eval()
    example = (torch.randint(0, 256, (2, 150, 200, 3), dtype=torch.uint8),)
    dynamic = {"image": {0: torch.export.Dim("n"), 1: torch.export.Dim("height"), 2: torch.export.Dim("width")}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
        program = torch.onnx.export(
            exported, example, dynamo=True, input_names=["image"], output_names=exported.names,
            dynamic_shapes=dynamic, opset_version=18, external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None  # what dynamo=True gives
    proto = program.model_proto
    graph = proto.graph
    # without what the exporter notes beside the graph: stack traces, with paths of the machine that it ran on
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    path.write_bytes(proto.SerializeToString())
    return exported


@torch.inference_mode()
def parity(exported: Exported, path: Path, frames: list[np.ndarray]) -> float:
    """Largest difference between torch and ONNX Runtime in a logit or a domain score, relative to 1 + its size.

    ``frames``: uint8 [H, W, 3] of any sizes.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst, compared = 0.0, ["logits", OTHER_CAMERA, NOT_DERMATOSCOPIC]
    for frame in frames:
        found = dict(zip(exported.names, exported(torch.from_numpy(frame.copy())[None]), strict=True))
        for name, theirs in zip(compared, session.run(compared, {"image": frame[None]}), strict=True):
            ours = found[name].numpy()
            worst = max(worst, float((np.abs(ours - theirs) / (1 + np.abs(ours))).max()))
    return worst


def export_model(
    model: Classifier,
    run: Run,
    config: Config,
    labels: LabelSet,
    *,
    decision: dict,
    data: dict,
    metrics: dict,
    frames: list[np.ndarray],
    domain: Domain | None = None,
    validation: dict | None = None,
    measured_on: str = "test",
    name: str | None = None,
    place: Path | None = None,
) -> dict:
    """Write a model folder, whole or not at all, and return its manifest.

    Raises ModelError where torch and ONNX Runtime disagree by more than :data:`TOLERANCE`. Raises DataError where the
    run lacks what the domain is fitted on.
    ``decision``: what 04_evaluation chose on validation, of :meth:`skinlesion.decision.Decision.to_dict`; ``data``:
    ``source``, ``fingerprint``, ``synthetic``, ``images``, ``lesions``; ``metrics``: the run's ``metrics.json``;
    ``frames``: uint8 [H, W, 3] each, images that torch and ONNX Runtime are compared on; ``domain``: the distribution
    of the training images' features, by default fitted here on the run's split and pixels, and the features written to
    the run's ``features.npz``; ``validation``: the same metrics on the images that chose the decision; ``measured_on``:
    the split that ``metrics`` and the referral's figures are from, ``test``, or ``validation`` for a model whose test
    is still to come; ``name``, ``place``: of the model, and its folder; the run's name and its ``model`` by default.
    """
    if domain is None:
        domain, image_ids, features = fit_domain(model, run, config)
        write_features(image_ids, features, run)
    with new_folder(place or run.model) as folder:
        file = folder / "model.onnx"
        exported = write_onnx(
            model, file, image_size=config.image_size, fit=config.fit, domain=domain, views=config.views,
            crops=config.crops,
        )  # fmt: skip
        worst = parity(exported, file, frames)
        if worst > TOLERANCE:
            raise ModelError(
                f"ONNX Runtime and torch differ by {worst:.2g} in an output; this model cannot be exported, "
                "report it with its architecture"
            )
        manifest = {
            **_identity(file, name or run.folder.name),
            "labels": list(labels.codes),
            "architecture": config.model,
            "image_size": config.image_size,
            "fit": config.fit,
            "views": config.views,
            "crops": config.crops,
            "outputs": exported.names,
            "parity": {"largest_logit_difference": worst, "images": len(frames)},
            **decision,
            "domain": domain.to_dict(),
            "data": data | {"citation": of_each("citation", data["source"])},
            "metrics": metrics,
            "measured_on": measured_on,
            **({"validation": validation} if validation else {}),
            **recorded_config(config, data["source"], run),
            "versions": versions(),
            "licence": of_each("licence", data["source"]),
        }
        write_json(folder / "manifest.json", manifest)
        write_text(folder / "MODEL_CARD.md", model_card(manifest))
    return manifest


def _identity(file: Path, name: str) -> dict:
    """What the manifest says of the file itself, first of all."""
    content, now = file.read_bytes(), datetime.now(UTC)
    digest = hashlib.sha256(content).hexdigest()
    return {
        "format": FORMAT,
        "name": name,
        "version": f"{now:%Y.%m.%d}-{digest[:8]}",
        "created": now.isoformat(timespec="seconds"),
        "file": file.name,
        "sha256": digest,
        "bytes": len(content),
    }


def recorded_config(config: Config, source: str, run: Run) -> dict[str, dict]:
    """``config`` of ``run`` and, where it started from another run that is still there, that one's as ``started_from``.

    Of paths only the last name is recorded: no path of this machine leaves it.
    """
    values = config.to_dict() | {"data": source}
    for name in ("split_file", "start", "teachers", "external_data"):
        values[name] = ",".join(Path(place).name for place in comma_list(values[name]))
    start = start_run(config, run)
    earlier = recorded_config(recipe_of(start), source, start)["config"] if start and start.training.exists() else None
    return {"config": values} | ({"started_from": earlier} if earlier else {})


def shuffled(folder: str | Path | None = None, seed: int = 0) -> Predictor:
    """An exported model whose weights are shuffled within each layer: it predicts, but is not trained.

    Biases stay. What activation maps show of this network, too, does not come from training (Adebayo et al. 2018,
    arXiv:1810.03292, "independent randomization" of all layers at once). Raises ModelError if the model cannot be
    loaded, or holds no weights by the names that this module's export gives them.
    """
    manifest = Manifest.read(folder)
    model = onnx.load(model_folder(folder) / manifest.file)
    rng, found = np.random.default_rng(seed), 0
    for tensor in model.graph.initializer:
        if tensor.name.startswith("model.backbone.") and len(tensor.dims) > 1:
            values = onnx.numpy_helper.to_array(tensor)
            mixed = rng.permutation(values.reshape(-1)).reshape(values.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(mixed, tensor.name))
            found += 1
    if not found:
        raise ModelError("the model holds no weights to shuffle: it was not exported here; run notebook 05 again")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return Predictor(manifest, session)
