"""One configuration: a frozen dataclass, validated, written as JSON beside every run."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from skinlesion.core.errors import ConfigError
from skinlesion.core.images import CROPS, FITS

BALANCES = ("none", "classic", "sqrt", "weighted", "loss")
OPTIMIZERS = ("adam", "adamw")
PRECISIONS = ("float32", "bfloat16")
LOSSES = ("cross_entropy", "focal", "balanced_softmax", "ldam_drw")
MIXES = ("none", "mixup", "cutmix", "both")
KEEPS = ("best", "last")
VIEWS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. The comments give unit and meaning; the ``parameters`` cells show the same.

    Examples
    --------
    >>> config = Config(model="tf_efficientnet_lite0", pretrained=True, image_size=160)
    >>> config.but(epochs=5).epochs
    5
    >>> Config(epochs=0)
    Traceback (most recent call last):
    skinlesion.core.errors.ConfigError: epochs=0 is out of range; it must be at least 1
    """

    # data
    data: str = "demo"  # "demo", or the place of a data set: folder, .csv or .npz
    labels: int = 7  # 7 HAM10000 codes, or 8 ISIC Archive labels
    max_images: int = 0  # keep about this many images, whole lesions of every class; 0: all
    exclude_official_test: bool = True  # leave out the ids of the ISIC 2018 test set
    seed: int = 0  # of split, balancing, augmentation and initial weights
    split_file: str = ""  # CSV with image_id and split, used instead of a new split
    fold: int = 0  # which of the five folds validates; -1: none, all five train. The sixth part is the test set

    # preprocessing
    image_size: int = 128  # side of the network's square input, pixels
    fit: str = "squash"  # how a frame becomes a square: squash, center_crop, random_crop
    balance: str = "classic"  # none, classic, sqrt, weighted, loss
    target_count: int = 0  # images a class and epoch, on average; 0: as many as there are

    # augmentation, drawn anew for every sample in every epoch
    rotation: float = 180.0  # at most this many degrees either way
    flip: bool = True  # mirror left-right and top-bottom, each with probability 1/2
    scale: float = 0.2  # zoom between 1 - scale and 1 + scale
    shift: float = 0.0  # at most this fraction of the side, either way
    shear: float = 0.0  # at most this many degrees either way
    color: float = 0.0  # brightness, contrast and saturation between 1 - color and 1 + color
    degrade: float = 0.0  # chance of a poorer camera: fewer pixels, JPEG, blur, noise, colour cast, dark corners
    rand_augment: float = 0.0  # strength of two random colour operations a sample; 0: none
    erase: float = 0.0  # chance of a patch of noise
    mix: str = "none"  # none, mixup, cutmix, both

    # model and training
    model: str = "classic"  # "classic", or any timm model with a classifier
    pretrained: bool = False  # start from ImageNet weights
    start: str = ""  # folder of a trained run whose weights to start from instead
    freeze: int = 0  # first stages of the network that keep the weights they start with
    epochs: int = 30  # passes over the balanced training split
    first_epochs: int = 0  # of these, how many begin the training with smaller inputs, which is quicker
    first_size: int = 112  # side of the network's input in the first epochs, pixels
    batch_size: int = 64  # samples a step, over all processes
    optimizer: str = "adam"  # adam, adamw
    learning_rate: float = 1e-3  # peak
    weight_decay: float = 0.0  # of adamw; L2 penalty for adam
    warmup: float = 0.0  # fraction of all steps with rising learning rate
    cosine: bool = False  # let the learning rate fall to zero along a cosine
    precision: str = "float32"  # of a training step: float32, bfloat16
    loss: str = "cross_entropy"  # cross_entropy, focal, balanced_softmax, ldam_drw
    label_smoothing: float = 0.0  # of cross_entropy and balanced_softmax
    teachers: str = ""  # folders of trained runs to learn from, separated by commas
    distill: float = 0.5  # share of the loss that is the teachers' word
    average: float = 0.0  # decay a step of the exponential moving average of weights; 0: none
    keep: str = "best"  # which epoch's weights: best on validation, or last
    patience: int = 8  # stop after this many epochs without a better validation score; 0: never
    checkpoint_every: int = 0  # steps between checkpoints; 0: once an epoch

    # evaluation
    views: int = 1  # mirror images whose answers are averaged, in evaluation and in the exported model: 1, 2, 4, 8
    crops: int = 1  # squares that they are taken of, in turn: 1, the centre, or 2, both ends of the frame
    replicates: int = 2000  # bootstrap replicates behind every interval
    referral_sensitivity: float = 0.9  # for malignant lesions, on validation: where "refer" begins
    prevalence: float = 0.02  # share of malignant lesions where the thresholds would be used
    stress: int = 10  # images a class that are corrupted, moved and mapped, to see when the model fails; 0: none
    elsewhere: str = ""  # place of images from elsewhere that the finished model is judged on; nothing is chosen there

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not _has_type(value, str(field.type)):
                raise ConfigError(f"{field.name} must be {field.type}, not {value!r}")
            if field.type == "float" and not math.isfinite(value):
                raise ConfigError(f"{field.name}={value!r} is out of range; it must be a finite number")
        rules = {  # name: (whether it holds, what it asks for)
            "labels": (self.labels in (7, 8), "7 or 8"),
            "seed": (0 <= self.seed < 2**32, "from 0 to below 2**32"),
            "fold": (-1 <= self.fold <= 4, "from -1 to 4"),
            "max_images": (self.max_images >= 0, "at least 0"),
            "image_size": (16 <= self.image_size <= 1024, "from 16 to 1024"),
            "fit": (self.fit in FITS, f"one of {FITS}"),
            "balance": (self.balance in BALANCES, f"one of {BALANCES}"),
            "target_count": (self.target_count >= 0, "at least 0"),
            "rotation": (0 <= self.rotation <= 180, "from 0 to 180"),
            "scale": (0 <= self.scale < 1, "from 0 to below 1"),
            "shift": (0 <= self.shift < 1, "from 0 to below 1"),
            "shear": (0 <= self.shear < 90, "from 0 to below 90"),
            "color": (0 <= self.color < 1, "from 0 to below 1"),
            "degrade": (0 <= self.degrade <= 1, "from 0 to 1"),
            "rand_augment": (0 <= self.rand_augment <= 1, "from 0 to 1"),
            "erase": (0 <= self.erase <= 1, "from 0 to 1"),
            "mix": (self.mix in MIXES, f"one of {MIXES}"),
            "freeze": (self.freeze >= 0, "at least 0"),
            "loss": (self.loss in LOSSES, f"one of {LOSSES}"),
            "distill": (0 <= self.distill <= 1, "from 0 to 1"),
            "keep": (self.keep in KEEPS, f"one of {KEEPS}"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "first_epochs": (0 <= self.first_epochs <= self.epochs, f"from 0 to {self.epochs}"),
            "first_size": (16 <= self.first_size <= 1024, "from 16 to 1024"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"one of {OPTIMIZERS}"),
            "precision": (self.precision in PRECISIONS, f"one of {PRECISIONS}"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "warmup": (0 <= self.warmup < 1, "from 0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "average": (0 <= self.average < 1, "from 0 to below 1"),
            "patience": (self.patience >= 0, "at least 0"),
            "checkpoint_every": (self.checkpoint_every >= 0, "at least 0"),
            "views": (self.views in VIEWS, f"one of {VIEWS}"),
            "crops": (self.crops in CROPS, f"one of {CROPS}"),
            "replicates": (self.replicates >= 0, "at least 0"),
            "prevalence": (0 < self.prevalence < 1, "above 0 and below 1"),
            "stress": (self.stress >= 0, "at least 0"),
            "referral_sensitivity": (0 < self.referral_sensitivity <= 1, "above 0 and at most 1"),
        }
        for name, (holds, wanted) in rules.items():
            if not holds:
                raise ConfigError(f"{name}={getattr(self, name)!r} is out of range; it must be {wanted}")
        if self.crops > 1 and self.fit == "squash":
            raise ConfigError(f"crops={self.crops} cuts squares from a frame: fit must be center_crop or random_crop")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all parameters, in the order of the fields."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def check_names(cls, names) -> None:
        """Raise ConfigError where a name is none of ours, with the nearest one as a hint."""
        from difflib import get_close_matches

        for name in names:
            if name not in cls.names():
                near = get_close_matches(name, cls.names(), 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(cls.names())}"
                raise ConfigError(f"unknown parameter {name!r}; {hint}")

    def but(self, **changes) -> Config:
        """This configuration with some values changed; whole numbers are accepted for fractions."""
        self.check_names(changes)
        types_ = {field.name: field.type for field in fields(self)}
        changes = {
            name: float(value) if types_[name] == "float" and type(value) is int else value
            for name, value in changes.items()
        }
        return replace(self, **changes)

    def to_dict(self) -> dict:
        """All parameters by name, as ``config.json`` holds them."""
        return asdict(self)

    @classmethod
    def from_file(cls, path: str | Path, *, _above: tuple[Path, ...] = ()) -> Config:
        """Read a JSON file; names it leaves out keep their defaults.

        ``about`` says in words what the recipe is for; ``base`` names another recipe, relative to this file, whose
        values hold where this one says nothing.

        Raises
        ------
        ConfigError
            If it is missing, no JSON object, or holds an unknown name or a wrong type.
        """
        values = _read_object(path)
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


def _read_object(path: str | Path) -> dict:
    try:
        values = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration at {path}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable JSON ({error})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object")
    return values


def _has_type(value: object, name: str) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (float, int)}
    wanted = kinds[name]
    return isinstance(value, wanted) and (name == "bool" or not isinstance(value, bool))


def parse_setting(text: str) -> tuple[str, object]:
    """``"epochs=3"`` -> ``("epochs", 3)``, by the field's type.

    Raises
    ------
    ConfigError
        For an unknown name or a value of another type.
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
        return name, {"int": int, "float": float, "str": str}[kind](value)
    except (KeyError, ValueError):
        raise ConfigError(f"{name} must be {kind}, not {value!r}") from None


def listed(text: str) -> list[str]:
    """``"one, two"`` -> ``["one", "two"]``: the places in a value such as ``teachers``."""
    return [place.strip() for place in text.split(",") if place.strip()]


def split_kind(data: str) -> tuple[str, Path]:
    """``"folder:my/images"`` -> ``("folder", Path("my/images"))``; the kind is empty where none is written before."""
    written = re.fullmatch(r"([a-z][a-z0-9-]+):(.+)", data)  # two letters at least: C:\images is a place
    if written and not Path(data).exists():
        return written[1], Path(written[2]).expanduser()
    return "", Path(data).expanduser()
