"""One configuration: a frozen dataclass, validated, written as JSON beside every run.

A field is declared once, by :func:`parameter`: type, default, help, unit, the range it may have and the stage of the
series that takes it. The checks, the key of a checkpoint, the comments in notebooks and ``--help`` come from there.
"""

from __future__ import annotations

import json
import math
import operator
import re
from dataclasses import Field, asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from skinlesion.core.errors import ConfigError
from skinlesion.core.framing import CROPS, FITS

BALANCES = ("none", "classic", "sqrt", "weighted", "loss")
LOSSES = ("cross_entropy", "focal", "balanced_softmax", "ldam_drw")
VIEWS = (1, 2, 4, 8)
CONSTANCIES = ("none", "grey_world", "shades_of_grey")
STAGES = ("data", "preprocessing", "augmentation", "training", "evaluation")
_HOLDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}
_SEVERAL = "tuple[str, ...]"  # the type of a field with several values, which files and notebooks write as a list


def parameter(
    default: Any,
    help: str,
    *,
    stage: str,
    unit: str = "",
    one_of: tuple = (),
    in_training_key: bool | None = None,
    **limits: float,
) -> Any:
    """Declare a field of :class:`Config`: its default, what it is in a few words, and the ``stage`` whose notebook
    takes it.

    ``unit`` is that of the value, as in ``pixels``; ``limits`` are a number's range, by the names in :data:`_HOLDS`,
    ``one_of`` the only values that there are. ``in_training_key`` says whether another value makes another
    training, whose checkpoints must not be mixed with these: by default every parameter before evaluation does.
    """
    key = stage != "evaluation" if in_training_key is None else in_training_key
    facts = {"help": help, "unit": unit, "stage": stage, "key": key, "range": limits, "one_of": one_of}
    return field(default=default, metadata=facts)


_data, _preprocessing, _augmentation, _training, _evaluation = (partial(parameter, stage=stage) for stage in STAGES)
_fraction: dict[str, Any] = {"at_least": 0, "at_most": 1}
_below_one: dict[str, Any] = {"at_least": 0, "below": 1}


@dataclass(frozen=True)
class Config:
    """Everything a run depends on; ``print(list_parameters())`` explains each parameter.

    Examples
    --------
    >>> config = Config(model="tf_efficientnet_lite0", pretrained=True, image_size=160)
    >>> config.but(epochs=5).epochs
    5
    >>> Config(epochs=0)
    Traceback (most recent call last):
    skinlesion.core.errors.ConfigError: epochs=0 is out of range; it must be at least 1
    """

    # What the training key holds instead of the fields that opt out of it: the pixels, targets and split themselves.
    data: tuple[str, ...] = _data(
        ("demo",), '"demo", or the places of one or more data sets: folder, .csv or .npz', in_training_key=False
    )
    labels: int = _data(7, "label set, of HAM10000 (7) or of the ISIC Archive (8)", one_of=(7, 8))
    max_images: int = _data(
        0, "about how many images to use of each source, nine lesions or more of every class; 0: all", at_least=0,
        in_training_key=False,
    )  # fmt: skip
    exclude_official_test: bool = _data(
        True, "leave out the images of the ISIC 2018 test set, by id", in_training_key=False
    )
    label_words: tuple[str, ...] = _data((), "own names of classes, each as WORD=CODE", in_training_key=False)
    twins: bool = _data(
        True, "find images of one lesion by what they show, and keep them in one part of a split", in_training_key=False
    )
    seed: int = _data(0, "seed of split, balancing, augmentation and initial weights", at_least=0, below=2**32)

    split_file: str = _preprocessing(
        "", "CSV with image_id and split, used instead of a new split", in_training_key=False
    )
    fold: int = _preprocessing(
        0, "number of the validation fold, 0 to 4; -1: none, all five train. The sixth part is the test set",
        at_least=-1, at_most=4,
    )  # fmt: skip
    holdout_source: str = _preprocessing(
        "", "name of the source that is the whole test set; none: a part of every source", in_training_key=False
    )
    image_size: int = _preprocessing(
        128, "side of the network's square input", unit="pixels", at_least=16, at_most=1024
    )
    fit: str = _preprocessing("squash", "how a frame becomes a square", one_of=FITS)
    # Which crops predictions are averaged over; training draws its own from the same frame.
    crops: int = _preprocessing(
        1, "crops of a frame that predictions are averaged over, the centre (1) or left and right (2)", one_of=CROPS,
        in_training_key=False,
    )  # fmt: skip
    balance: str = _preprocessing("classic", "how the classes are balanced in training", one_of=BALANCES)
    target_count: int = _preprocessing(0, "images per class and epoch, on average; 0: as many as there are", at_least=0)

    rotation: float = _augmentation(180.0, "largest rotation, either way", unit="degrees", at_least=0, at_most=180)
    flip: bool = _augmentation(True, "mirror left-right and top-bottom, each with probability 1/2")
    scale: float = _augmentation(0.2, "zoom between 1 - scale and 1 + scale", **_below_one)
    shift: float = _augmentation(0.0, "largest shift, either way, as a fraction of the side", **_below_one)
    shear: float = _augmentation(0.0, "largest shear, either way", unit="degrees", at_least=0, below=90)
    color: float = _augmentation(
        0.0, "brightness, contrast and saturation between 1 - color and 1 + color", **_below_one
    )
    degrade: float = _augmentation(
        0.0, "probability of a poorer camera: fewer pixels, JPEG, blur, noise, colour cast, dark corners", **_fraction
    )
    recolor: float = _augmentation(
        0.0, "probability of an image's border taking the colour of another image's border", **_fraction
    )
    rand_augment: float = _augmentation(0.0, "strength of two random colour operations a sample; 0: none", **_fraction)
    erase: float = _augmentation(0.0, "probability of a patch of noise", **_fraction)
    mix: str = _augmentation("none", "how two samples are blended", one_of=("none", "mixup", "cutmix", "both"))

    model: str = _training("classic", '"classic", or any timm model with a classifier')
    pretrained: bool = _training(False, "start from ImageNet weights")
    constancy: str = _training("none", "how the colour of the light is taken out of an image first", one_of=CONSTANCIES)
    # The weights that it names are in the key.
    start: str = _training(
        "", "start from the weights of a trained run's folder, or of a recipe, which is trained first",
        in_training_key=False,
    )  # fmt: skip
    freeze: int = _training(0, "first stages of the network whose weights stay as they are", at_least=0)
    epochs: int = _training(30, "passes over the balanced training split", at_least=1)
    first_epochs: int = _training(0, "of these, how many begin the training with a smaller input", at_least=0)
    first_size: int = _training(
        112, "side of the network's input in the first epochs", unit="pixels", at_least=16, at_most=1024
    )
    batch_size: int = _training(64, "samples per step, over all processes", at_least=2)
    optimizer: str = _training("adam", "optimizer", one_of=("adam", "adamw"))
    learning_rate: float = _training(1e-3, "peak learning rate", above=0)
    weight_decay: float = _training(0.0, "weight decay of adamw; L2 penalty of adam", at_least=0)
    warmup: float = _training(0.0, "fraction of all steps with rising learning rate", **_below_one)
    cosine: bool = _training(False, "let the learning rate fall to zero along a cosine")
    precision: str = _training("float32", "number format of a training step", one_of=("float32", "bfloat16"))
    loss: str = _training("cross_entropy", "loss function", one_of=LOSSES)
    label_smoothing: float = _training(0.0, "label smoothing of cross_entropy and balanced_softmax", **_below_one)
    teachers: str = _training("", "folders of trained runs to distil from, separated by commas")
    distill: float = _training(0.5, "weight of distillation in the loss", **_fraction)
    average: float = _training(0.0, "decay per step of the moving average of weights; 0: no average", **_below_one)
    keep: str = _training("best", "which epoch's weights are used, best on validation or last", one_of=("best", "last"))
    patience: int = _training(8, "stop after this many epochs without a better validation score; 0: never", at_least=0)
    checkpoint_every: int = _training(
        0, "steps between checkpoints; 0: one per epoch", at_least=0, in_training_key=False
    )
    # After the training: of the predictions on validation and test images, and of the exported model.
    views: int = _training(1, "mirror images that predictions are averaged over", one_of=VIEWS, in_training_key=False)

    replicates: int = _evaluation(2000, "bootstrap replicates behind every interval", at_least=0)
    referral_sensitivity: float = _evaluation(
        0.9, "sensitivity for malignant lesions at the referral threshold, on validation", above=0, at_most=1
    )
    prevalence: float = _evaluation(
        0.02, "fraction of malignant lesions in the population that the thresholds are for", above=0, below=1
    )
    stress: int = _evaluation(
        10, "images per class for the tests with corrupted, moved and mapped images; 0: none", at_least=0
    )
    external_data: str = _evaluation("", "place of an external data set to evaluate the finished model on")

    def __post_init__(self):
        object.__setattr__(self, "data", _several(self.data))
        # a word may hold a comma itself, as in "Nevus, NOS=nv,wart=bkl"
        object.__setattr__(self, "label_words", _several(self.label_words, r"[^=,][^=]*=[^,=]*|[^=,][^=]*$"))
        for declared in fields(self):
            _check(declared, getattr(self, declared.name))
        if not all(self.data) or not self.data:
            raise ConfigError("data names no data set; give demo, or the place of one or more")
        if self.first_epochs > self.epochs:
            raise ConfigError(
                f"first_epochs={self.first_epochs} is out of range; it must be from 0 to epochs, which is {self.epochs}"
            )
        if self.holdout_source and self.split_file:
            raise ConfigError("a split_file says what is tested: leave it out, or holdout_source")
        if self.crops > 1 and self.fit == "squash":
            raise ConfigError(f"crops={self.crops} takes crops of a frame: fit must be center_crop or random_crop")

    @classmethod
    def names(cls, *stages: str) -> tuple[str, ...]:
        """The names of all parameters, or of those of some stages, in the order of the fields."""
        return tuple(one.name for one in fields(cls) if not stages or one.metadata["stage"] in stages)

    @classmethod
    def check_names(cls, names) -> None:
        """Raise ConfigError where a name is not a parameter's, with the nearest one as a hint."""
        from difflib import get_close_matches

        for name in names:
            if name not in cls.names():
                near = get_close_matches(name, cls.names(), 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(cls.names())}"
                raise ConfigError(f"unknown parameter {name!r}; {hint}")

    def but(self, **changes) -> Config:
        """This configuration with some values changed; whole numbers are accepted for fractions."""
        self.check_names(changes)
        types_ = {one.name: one.type for one in fields(self)}
        changes = {
            name: float(value) if types_[name] == "float" and type(value) is int else value
            for name, value in changes.items()
        }
        return replace(self, **changes)

    def to_dict(self) -> dict:
        """All parameters by name, as ``config.json`` holds them: several texts are a list."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_file(cls, path: str | Path, *, _above: tuple[Path, ...] = ()) -> Config:
        """Read a JSON file; names it leaves out keep their defaults.

        ``about`` says in words what the recipe is for; ``base`` names another recipe, relative to this file, whose
        values hold where this one says nothing. Raises ConfigError if the file is missing, not a JSON object, or holds
        an unknown name or a wrong type.
        """
        try:
            values = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise ConfigError(f"there is no configuration at {path}") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is not readable JSON ({error})") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path} must hold one JSON object")
        values.pop("about", None)
        base = values.pop("base", "")
        if not isinstance(base, str):
            raise ConfigError(f"{path}: base must be the name of a recipe file, not {base!r}")
        path = Path(path).resolve()
        if path in _above:
            raise ConfigError(f"{path} is based on itself: {' -> '.join(p.name for p in (*_above, path))}")
        start = cls.from_file(path.parent / base, _above=(*_above, path)) if base else cls()
        try:
            return start.but(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


#: What the trained weights depend on, besides pixels, targets, split and the weights of parent runs.
TRAINING_FIELDS = tuple(one.name for one in fields(Config) if one.metadata["key"])


def describe(name: str) -> str:
    """A parameter's help with its unit or its choices: the comment in the notebooks' parameters cells."""
    declared = next(one.metadata for one in fields(Config) if one.name == name)
    words = declared["help"] + (f", {declared['unit']}" if declared["unit"] else "")
    choices = [str(choice) for choice in declared["one_of"]]
    return words + ("" if all(choice in words for choice in choices) else f": {', '.join(choices)}")


def list_parameters() -> str:
    """All parameters as text: by stage, a line each with type, default and range, and one that says what it is."""
    lines = []
    for stage in STAGES:
        lines.append(f"{stage}:")
        for one in fields(Config):
            if one.metadata["stage"] == stage:
                allowed = _allowed(one)
                default = Config().to_dict()[one.name]
                lines.append(f"  {one.name}: {_kind(one)} = {default!r}" + (f", {allowed}" if allowed else ""))
                lines.append(f"      {describe(one.name)}")
    return "\n".join(lines)


def _check(declared: Field, value: Any) -> None:
    """Raise ConfigError where a value has the wrong type or is out of range."""
    name, kind, rule = declared.name, str(declared.type), declared.metadata
    if not _has_type(value, kind):
        raise ConfigError(f"{name} must be {_kind(declared)}, not {value!r}")
    if kind == "float" and not math.isfinite(value):
        raise ConfigError(f"{name}={value!r} is out of range; it must be a finite number")
    within = all(_HOLDS[name](value, limit) for name, limit in rule["range"].items())
    if not within or (rule["one_of"] and value not in rule["one_of"]):
        raise ConfigError(f"{name}={value!r} is out of range; it must be {_allowed(declared)}")


def _several(value: Any, pattern: str = r".+") -> Any:
    """A list as a tuple; one text may stand for a list of what the pattern finds in it. Types are checked later."""
    if isinstance(value, str):
        return tuple(re.findall(pattern, value))
    return tuple(value) if isinstance(value, list) else value


def _kind(declared: Field) -> str:
    """A field's type in words."""
    return "list of str" if declared.type == _SEVERAL else str(declared.type)


def _allowed(declared: Field) -> str:
    """The range of a parameter in words; empty where there is none."""
    rule = declared.metadata
    if rule["one_of"]:
        return f"one of {', '.join(map(str, rule['one_of']))}"
    return " and ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in rule["range"].items())


def _has_type(value: object, name: str) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (float, int)}
    if name == _SEVERAL:
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    wanted = kinds[name]
    return isinstance(value, wanted) and (name == "bool" or not isinstance(value, bool))


def parse_setting(text: str) -> tuple[str, object]:
    """``"epochs=3"`` -> ``("epochs", 3)``, by the field's type; of a list, the one text that stands for it.

    Raises ConfigError for an unknown name or a value of another type.
    """
    name, mark, value = text.partition("=")
    name = name.strip()
    if not mark:
        raise ConfigError(f"{text!r} must be written name=value")
    Config.check_names([name])
    kind = next(str(field.type) for field in fields(Config) if field.name == name)
    try:
        if kind == "bool":
            return name, {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        return name, {"int": int, "float": float, "str": str, _SEVERAL: str}[kind](value)
    except (KeyError, ValueError):
        raise ConfigError(f"{name} must be {kind}, not {value!r}") from None


def comma_list(text: str) -> list[str]:
    """``"one, two"`` -> ``["one", "two"]``: the places in a value such as ``teachers``."""
    return [place.strip() for place in text.split(",") if place.strip()]


def parse_place(data: str) -> tuple[str, Path]:
    """``"folder:my/images"`` -> ``("folder", Path("my/images"))``; the kind is empty where none is written before."""
    written = re.fullmatch(r"([a-z][a-z0-9-]+):(.+)", data)  # two letters at least: C:\images is a place
    if written and not Path(data).exists():
        return written[1], Path(written[2]).expanduser()
    return "", Path(data).expanduser()
