"""Colours of an embedded ICC profile become sRGB, the space of the training images.

Phones save Display P3 and cameras Adobe RGB; read as sRGB, such images look pale. Little CMS does the conversion. A
profile comes from a stranger, so its size is bounded (:data:`skinlesion.core.container.PROFILE_BYTES`), only profiles
of RGB pixels are opened, and one that cannot be used is ignored: the pixels then count as sRGB, as without a profile.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from skinlesion.core import container

#: Where images are recoloured, in training and in the test for shortcuts: the border is the outer eighth of each side,
#: and a channel is made at most this much brighter or darker.
BORDER, GAIN = 8, 2.0
#: A profile that changes no colour by more than this (of 255) is sRGB under another name: pixels stay as they are.
SAME = 2
_STEPS = np.linspace(0, 255, 6).round().astype(np.uint8)
_PROBE = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS, indexing="ij"), axis=-1).reshape(36, 6, 3)

SRGB, CONVERTED, IGNORED = "sRGB", "converted to sRGB", "unusable profile ignored"


def to_srgb(frame: np.ndarray, profile: bytes | None) -> np.ndarray:
    """A frame, uint8 [H, W, 3], of the ICC ``profile`` in sRGB; itself where nothing is to be converted."""
    transform = _transform(profile)[0] if profile and len(profile) <= container.PROFILE_BYTES else None
    if transform is None:
        return frame
    return np.asarray(transform.apply(Image.fromarray(frame)))


def profile_use(data: bytes) -> str:
    """What becomes of the profile of an encoded JPEG or PNG: ``SRGB`` (or none), ``CONVERTED`` or ``IGNORED``."""
    profile = container.picture(data).profile
    return _transform(profile)[1] if profile else SRGB


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """The conversion to sRGB and what it means; None where there is nothing to convert."""
    try:
        size, space = struct.unpack_from(">I", profile)[0], profile[16:20]
        if size > len(profile) or profile[36:40] != b"acsp":
            return None, IGNORED
        if space != b"RGB ":  # grey and CMYK pixels are converted by Pillow, without their profile
            return None, IGNORED
        transform = ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            "RGB",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        changed = np.asarray(transform.apply(Image.fromarray(_PROBE))).astype(int)
    except Exception:  # Little CMS refuses broken profiles in many ways
        return None, IGNORED
    return (None, SRGB) if np.abs(changed - _PROBE).max() <= SAME else (transform, CONVERTED)
