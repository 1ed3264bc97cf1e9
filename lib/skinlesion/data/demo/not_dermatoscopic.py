"""Pictures that are no dermatoscopic image of a lesion, which anybody can make from installed packages alone.

They measure whether a model flags images that it is not meant for. Photos and textures are those that scikit-image,
scikit-learn and matplotlib install; everything else is drawn here. The same (set, seed) gives the same pictures.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skinlesion.core import images
from skinlesion.core.errors import DataError
from skinlesion.core.images import image_name
from skinlesion.data.demo.camera import Sitting
from skinlesion.data.demo.drawing import Canvas

HEIGHT, WIDTH = 150, 200  # pixels of what is drawn; crops of photos have sizes of their own

# package and file in it
_PHOTOS = (
    ("skimage", "data/astronaut.png"), ("skimage", "data/chelsea.png"), ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"), ("skimage", "data/camera.png"), ("skimage", "data/rocket.jpg"),
    ("skimage", "data/hubble_deep_field.jpg"), ("sklearn.datasets", "images/china.jpg"),
    ("sklearn.datasets", "images/flower.jpg"), ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)  # fmt: skip
_MEDICAL = tuple(("skimage", f"data/{name}") for name in ("ihc.png", "retina.jpg", "cell.png", "microaneurysms.png"))
_TEXTURES = tuple(("skimage", f"data/{name}.png") for name in ("brick", "grass", "gravel", "coins", "moon"))
_PAGES = (("skimage", "data/page.png"), ("skimage", "data/text.png"))
_FACES = ((_PHOTOS[0], (80, 175, 185, 275)), (_PHOTOS[-1], (150, 180, 320, 345)))  # top, left, bottom, right
_DARK_SKIN, _LIGHT_SKIN = np.array([92.0, 56.0, 42.0]), np.array([236.0, 204.0, 184.0])  # RGB


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one kind."""

    about: str  # a description for people
    frames: list[np.ndarray]  # list of uint8 [H, W, 3]
    sources: list[str]  # the photo that each is from: crops of one photo resemble each other


def picture_sets(count: int = 200, seed: int = 0) -> dict[str, PictureSet]:
    """Every kind of picture that is not dermatoscopic, ``count`` of each.

    Raises DataError where a package that they come from is not installed. Raises ImageError where an installed package
    has lost its sample images.
    """
    result = {}
    for name, (about, make) in _KINDS.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        made = [make(rng, number) for number in range(count)]
        result[name] = PictureSet(about, [frame for _, frame in made], [source for source, _ in made])
    return result


@lru_cache(maxsize=32)
def _installed(package: str, file: str) -> np.ndarray:
    try:
        place = resources.files(package) / file
    except ModuleNotFoundError:
        raise DataError(
            f"{package.partition('.')[0]} is not installed, whose sample images are used here as pictures that are not "
            "dermatoscopic; get it with: pip install 'skin-lesion-lab[lab]'"
        ) from None
    with resources.as_file(place) as path:
        return images.read_image(path)


def _crop(rng: np.random.Generator, frame: np.ndarray, least: float) -> np.ndarray:
    """A random 4:3 piece, turned or mirrored, ``least`` to all of what fits."""
    height, width = frame.shape[:2]
    side = min(height / 3, width / 4) * rng.uniform(least, 1.0)
    h, w = round(3 * side), round(4 * side)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    piece = frame[top : top + h, left : left + w]
    return np.ascontiguousarray(piece[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))])


def _cropped(sources: tuple) -> Callable:
    def make(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
        package, file = sources[number % len(sources)]
        return image_name(file), _crop(rng, _installed(package, file), 0.4)

    return make


def _face(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
    (package, file), (top, left, bottom, right) = _FACES[number % len(_FACES)]
    return image_name(file), _crop(rng, _installed(package, file)[top:bottom, left:right], 0.4)


def _skin(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
    return f"drawn {number}", Sitting(Canvas(rng)).photograph()[0]


def _skin_color(rng: np.random.Generator) -> np.ndarray:
    """A colour between dark and light skin, float64 [3], 0-255."""
    return np.clip(_DARK_SKIN + rng.random() * (_LIGHT_SKIN - _DARK_SKIN) + rng.normal(0, 8, 3), 0, 255)


def _tinted_texture(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
    package, file = _TEXTURES[number % len(_TEXTURES)]
    grey = _crop(rng, _installed(package, file), 0.4)[..., :1] / 255.0
    light = _skin_color(rng)
    return image_name(file), (light * rng.uniform(0.3, 0.7) * (1 - grey) + light * grey).astype(np.uint8)


def _blank(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
    """One colour, any, grey or skin's, for every third also a slope of light."""
    grey, color = np.full(3, rng.choice((0, 255, int(rng.integers(256))))), rng.integers(0, 256, 3)
    plain = (grey, color, _skin_color(rng))[number % 3]
    slope = 1 + rng.uniform(-0.4, 0.4) * np.linspace(-1, 1, WIDTH) * (number % 9 >= 6)
    frame = plain * slope[None, :, None] * np.ones((HEIGHT, 1, 1))
    return f"drawn {number}", np.clip(frame + 0.5, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
    """Noise of grain 1 to 32 px, in colour or not, over all greys or around skin."""
    grain, channels = 2 ** int(rng.integers(6)), int(rng.choice((1, 3)))
    shape = (HEIGHT // grain + 2, WIDTH // grain + 2, channels)
    coarse = np.broadcast_to(rng.normal(0, 1, shape), (*shape[:2], 3)) * rng.uniform(15, 70)
    middle = (np.full(3, 128.0), _skin_color(rng))[number % 2]
    frame = Image.fromarray(np.clip(middle + coarse, 0, 255).astype(np.uint8))
    return f"drawn {number}", np.asarray(frame.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def _text(rng: np.random.Generator, number: int) -> tuple[str, np.ndarray]:
    """Lines of letters on paper or screen; every fifth a scanned page."""
    if number % 5 == 0:
        package, file = _PAGES[number // 5 % 2]
        return image_name(file), _crop(rng, _installed(package, file), 0.5)
    paper = rng.integers(0, 256, 3) if number % 2 else np.array([250, 248, 244])
    ink = tuple(int(c) for c in (paper + 128) % 256) if number % 2 else (20, 20, 30)
    picture = Image.new("RGB", (WIDTH, HEIGHT), tuple(int(c) for c in paper))
    pen, size = ImageDraw.Draw(picture), int(rng.integers(9, 34))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789     ,.;:-"))
    for top in range(int(rng.integers(0, 12)), HEIGHT, round(1.3 * size)):
        pen.text((6, top), "".join(rng.choice(letters, 40)), fill=ink, font=ImageFont.load_default(size))
    return f"drawn {number}", np.asarray(picture)


_KINDS: dict[str, tuple[str, Callable]] = {
    "photos": ("crops of ten photos: people, a cat, a city, machines, stars", _cropped(_PHOTOS)),
    "faces": ("close-ups of two faces", _face),
    "bare skin": ("drawn dermatoscopic skin without a lesion, as the demo set draws it", _skin),
    "other medical": ("crops of histology, retina and cells", _cropped(_MEDICAL)),
    "textures": ("crops of brick, grass, gravel, coins and the moon", _cropped(_TEXTURES)),
    "skin-coloured textures": ("the same textures in colours of skin", _tinted_texture),
    "text": ("rendered letters and scanned pages", _text),
    "blank": ("one colour, some with a slope of light", _blank),
    "noise": ("noise from fine to coarse", _noise),
}
