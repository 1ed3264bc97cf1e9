"""One predictor for every front end: frames in, predictions out, from an exported model folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from skinlesion.core.errors import ModelError
from skinlesion.core.framing import join_maps
from skinlesion.core.images import read_image
from skinlesion.decision import NOT_DERMATOSCOPIC, OTHER_CAMERA, Outcomes
from skinlesion.serving.manifest import DOMAIN_SCORES, Manifest, model_folder

# Frames a call of the network. More would not be faster, and slower where a tensor passes 32 MB: glibc takes such
# blocks from the kernel anew for every layer, which zeroes their pages (docs/performance.md).
BATCH_PIXELS = 1_000_000
BATCH_FRAMES = 3
FILES = 64  # decoded at once by predict_files


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, or for several of one lesion.

    Attributes
    ----------
    label, name : str
        The code and plain name of the class that the decision rule picks: the largest of ``scores``.
    probability : float
        The calibrated probability of ``label``; another class may have a larger one.
    probabilities : dict code -> float
        Calibrated for the manifest's class prior; sum to 1.
    scores : dict code -> float
        Probabilities times the decision weights, normalised to sum to 1: they decide on the label, and are no
        probabilities.
    malignant_probability : float
        Sum of the probabilities of the malignant classes.
    referral : str
        The advice: ``"refer"`` where ``malignant_probability`` reaches the referral threshold or ``label`` is
        malignant; ``"borderline"`` in the grey zone below the threshold; ``"below"`` under that, which does not rule
        out cancer; ``"none"`` where the image is not dermatoscopic.
    in_domain : bool
        Whether ``domain_score`` reaches its threshold; if not, the image does not count as dermatoscopic.
    domain_score : float
        Higher looks more dermatoscopic; its scale is the model's (see :mod:`skinlesion.training.domain`).
    notices : tuple of str
        ``"not_dermatoscopic"``, alone; or ``"other_camera"``, where camera or light differ from the training images',
        and ``"melanoma_not_excluded"``, where melanoma reaches the manifest's level though another class is likelier.
    prediction_set : tuple of str, or None
        Codes of classes of which one is the true one in the share of images that the manifest states as level; other
        classes are not ruled out. None for models without such sets.
    map : ndarray, float32 [h, w], or None
        Class activation map of ``label``, over the network's part of the frame
        (:func:`skinlesion.core.framing.region`); None for networks that export none.
    features : ndarray, float32 [D], or None
        As of :meth:`Predictor.features`, where they were asked for.
    """

    label: str
    name: str
    probability: float
    probabilities: dict[str, float]
    scores: dict[str, float]
    malignant_probability: float
    referral: str
    in_domain: bool
    domain_score: float
    notices: tuple[str, ...] = ()
    prediction_set: tuple[str, ...] | None = None
    map: np.ndarray | None = field(default=None, compare=False, repr=False)
    features: np.ndarray | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict:
        """Everything but ``map`` and ``features``, as JSON can hold it."""
        values = {name: value for name, value in vars(self).items() if name not in ("map", "features")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


class Predictor:
    """Predicts with ``model.onnx`` and the decision in ``manifest.json``. Safe to share between threads.

    Attributes
    ----------
    manifest : Manifest
    """

    def __init__(self, manifest: Manifest, session: onnxruntime.InferenceSession):
        self.manifest = manifest
        self._session = session

    @classmethod
    def load(cls, folder: str | Path | None = None, *, threads: int = 0) -> Predictor:
        """Load a model folder; the shipped model where ``folder`` is None. As :func:`skinlesion.load_model`."""
        manifest = Manifest.read(folder)
        path = model_folder(folder) / manifest.file
        try:
            weights = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}); export the model again") from None
        if hashlib.sha256(weights).hexdigest() != manifest.sha256:
            raise ModelError(
                f"{path} is not the file its manifest describes (SHA-256 differs): it was changed or cut short; "
                "take the folder from its source again, or export the model again"
            )
        predictor = cls(manifest, _session(weights, path, threads))
        predictor._check_graph(path)
        return predictor

    def predict(self, images: Sequence[np.ndarray], *, maps: bool = True, features: bool = False) -> list[Prediction]:
        """Predict frames of any sizes, in order.

        Parameters
        ----------
        images : sequence of uint8 [H, W, 3]
            As :func:`skinlesion.core.images.decode` returns them.
        maps : bool
            Whether to make activation maps, which take memory where many predictions are stored.
        features : bool
            Whether to give the network's features, which do, too.

        Raises
        ------
        ValueError
            If this is no list, or a frame has another shape or dtype.
        ModelError
            If the network fails or an output is not finite.
        """
        decision, thresholds = self.manifest.decision, self.manifest.domain_thresholds
        names = ["logits", *DOMAIN_SCORES]
        if maps and "map" in self.manifest.outputs:
            names.append("map")
        if features:
            names.append("features")
        predictions: dict[int, Prediction] = {}
        for batch, outputs in self._outputs(images, names):
            # compared as the 64-bit numbers that the thresholds are written as
            flags = {name: outputs[name].astype(np.float64) < thresholds[name] for name in DOMAIN_SCORES}
            outcomes = decision.decide(decision.probabilities(outputs["logits"]), **flags)
            for row, i in enumerate(batch):
                arrays: dict[str, np.ndarray] = {}
                if "map" in outputs:
                    arrays["map"] = self._map(outputs["map"][row, outcomes.label[row]], images[i].shape)
                if "features" in outputs:
                    arrays["features"] = outputs["features"][row].copy()
                domain_score = float(outputs[NOT_DERMATOSCOPIC][row])
                predictions[i] = _prediction(self.manifest, outcomes, row, domain_score, **arrays)
        return [predictions[i] for i in range(len(images))]

    def predict_files(
        self,
        paths: Sequence[str | Path],
        *,
        read: Callable[[str | Path], np.ndarray] | None = None,
        progress: bool = False,
    ) -> list[Prediction]:
        """Predict image files in order, without maps; :data:`FILES` of them are decoded at a time.

        Parameters
        ----------
        paths : as :func:`skinlesion.core.images.read_image` takes them
        read : what makes a frame, uint8 [H, W, 3], of a path; by default
            :func:`skinlesion.core.images.read_image` with the manifest's ``sufficient_side``
        progress : show a bar on standard error

        Raises
        ------
        ImageError
            If a file cannot be read.
        ValueError
            If this is one path, no list.
        ModelError
            As :meth:`predict`.
        """
        from tqdm import tqdm  # which predictions alone do not need

        if isinstance(paths, str | Path):
            raise ValueError("give a list of paths: [path]")
        read = read or partial(read_image, sufficient_side=self.manifest.sufficient_side)
        predictions: list[Prediction] = []
        with tqdm(total=len(paths), desc="predict", unit="image", disable=not progress) as bar:
            for start in range(0, len(paths), FILES):
                frames = [read(path) for path in paths[start : start + FILES]]
                predictions += self.predict(frames, maps=False)
                bar.update(len(frames))
        return predictions

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """The network's features of frames, in order: what its last layer, and the domain score, are computed from.

        Parameters
        ----------
        images : sequence of uint8 [H, W, 3], of any sizes

        Returns
        -------
        ndarray, float32 [N, D]
            Means over the model's crops and mirror images, as its logits are.

        Raises
        ------
        ValueError, ModelError
            As :meth:`predict`.
        """
        found = np.empty((len(images), self._width), np.float32)
        for batch, outputs in self._outputs(images, ("features",)):
            found[batch] = outputs["features"]
        return found

    def _outputs(
        self, images: Sequence[np.ndarray], names: Sequence[str]
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """Indices of the frames of each batch, and the network's outputs for them."""
        _check_frames(images)
        for batch in _batches(images):
            frames = np.stack([images[i] for i in batch])
            try:
                outputs = dict(zip(names, self._session.run(names, {"image": frames}), strict=True))
            except Exception as error:  # ONNX Runtime raises its own kinds, RuntimeError among them
                size = f"{frames.shape[2]} x {frames.shape[1]} pixels"
                raise ModelError(f"the network failed on {size} ({error}); try a smaller image") from None
            if not all(np.isfinite(outputs[name]).all() for name in names if name != "map"):
                raise ModelError("the network's output is not finite; export the model again")
            yield batch, outputs

    @property
    def _width(self) -> int:
        """The number of features."""
        return next(value.shape[1] for value in self._session.get_outputs() if value.name == "features")

    def _map(self, maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        crops = self.manifest.crops
        if len(maps) % crops:
            raise ModelError(f"a map of {len(maps)} rows is not one of {crops} crops; export the model again")
        joined = join_maps(maps.reshape(crops, -1, maps.shape[1]), *shape[:2])
        return joined.copy()  # not a view, which would keep all of the batch's

    def _check_graph(self, path: Path) -> None:
        """Refuse a graph whose inputs and outputs are not those the manifest promises."""
        inputs = {value.name: (value.type, len(value.shape)) for value in self._session.get_inputs()}
        if inputs != {"image": ("tensor(uint8)", 4)}:
            raise ModelError(f"{path} must take one input, image, uint8 [N, H, W, 3]; it takes {inputs}")
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        if set(outputs) != set(self.manifest.outputs):
            raise ModelError(
                f"{path} has the outputs {', '.join(outputs)}, its manifest says {', '.join(self.manifest.outputs)}; "
                "export the model again"
            )
        classes = len(self.manifest.labels)
        wanted = {"logits": (2, classes), "map": (4, classes), "features": (2, None)}
        for name, shape in outputs.items():
            rank, size = wanted.get(name, (1, None))  # a domain score
            if len(shape) != rank or (size and isinstance(shape[1], int) and shape[1] != size):
                raise ModelError(
                    f"{path}: {name} has the shape {shape}, which does not fit the manifest's {classes} labels; "
                    "export the model again"
                )


def _check_frames(images: Sequence[np.ndarray]) -> None:
    """Raise ValueError unless this is a list, or one array, of frames."""
    several = isinstance(images, Sequence) and not isinstance(images, str)
    if not several and not (isinstance(images, np.ndarray) and images.ndim == 4):
        raise ValueError("give a list of frames, each uint8 [H, W, 3] as skinlesion.read_image makes it: [image]")
    for frame in images:
        if not isinstance(frame, np.ndarray):
            kind = type(frame).__name__
            raise ValueError(f"a frame must be uint8 [H, W, 3], as skinlesion.read_image makes it, not {kind}")
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(f"a frame must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")


def mean_prediction(predictions: Sequence[Prediction], manifest: Manifest) -> Prediction:
    """One prediction from several images of one lesion: their mean probabilities, decided as those of one image.

    ``domain_score`` is the lowest of the images', and one image that is not dermatoscopic, or from another camera,
    flags the whole; there is no map.

    ``predictions``: sequence of Prediction, one or more, by the model of ``manifest``.
    """
    probabilities = [list(prediction.probabilities.values()) for prediction in predictions]
    lowest = min(prediction.domain_score for prediction in predictions)
    outcomes = manifest.decision.decide_mean(
        np.array(probabilities),
        not_dermatoscopic=lowest < manifest.domain_threshold,
        other_camera=any(OTHER_CAMERA in prediction.notices for prediction in predictions),
    )
    return _prediction(manifest, outcomes, 0, lowest)


def _prediction(manifest: Manifest, outcomes: Outcomes, row: int, domain_score: float, **arrays) -> Prediction:
    codes, best = manifest.labels.codes, int(outcomes.label[row])
    probabilities = outcomes.probabilities[row].tolist()
    return Prediction(
        label=codes[best],
        name=manifest.labels.names[best],
        probability=probabilities[best],
        probabilities=dict(zip(codes, probabilities, strict=True)),
        scores=dict(zip(codes, outcomes.scores[row].tolist(), strict=True)),
        malignant_probability=float(outcomes.malignant_probability[row]),
        referral=outcomes.referral[row],
        in_domain=NOT_DERMATOSCOPIC not in outcomes.notices[row],
        domain_score=domain_score,
        notices=outcomes.notices[row],
        prediction_set=outcomes.prediction_set[row],
        **arrays,
    )


def _session(weights: bytes, path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # An arena never shrinks: one large image would hold its hundreds of megabytes for good. Without, nothing is slower.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    # Threads that spin while they wait take the cores from other requests (benchmarks/serve.py).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; warnings about graph details are nothing a user can mend
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own kinds
        raise ModelError(f"ONNX Runtime cannot load {path} ({error}); export the model again") from None


def _batches(images: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Indices of frames that go through the network together: of one size, few enough for the memory."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for i, frame in enumerate(images):
        sizes.setdefault(frame.shape[:2], []).append(i)
    for (height, width), indices in sizes.items():
        count = max(1, min(BATCH_FRAMES, BATCH_PIXELS // (height * width)))
        for start in range(0, len(indices), count):
            yield indices[start : start + count]
