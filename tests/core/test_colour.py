"""Colours of embedded profiles become sRGB; a profile that cannot be used does no harm."""

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import ImageCms

from profiles import ADOBE_RGB, DISPLAY_P3, profile, to_srgb
from skinlesion.core import colour, container, images
from small import encoded


@pytest.fixture
def colours():
    """Colours of skin and lesions, none outside sRGB once converted."""
    draw = np.random.default_rng(0)
    return draw.integers((120, 70, 60), (235, 170, 150), (48, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("space", [DISPLAY_P3, ADOBE_RGB], ids=["p3", "adobe"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {"quality": 100, "subsampling": 0})],
)
def test_profiles_of_phones_and_cameras_are_converted(colours, space, kind, options):
    flat = np.repeat(np.repeat(colours[::8, ::8], 8, axis=0), 8, axis=1)  # which JPEG keeps
    data = encoded(flat, kind, icc_profile=profile(space), **options)
    frame = images.decode(data, formats=images.FILE_FORMATS)
    assert np.abs(frame - to_srgb(flat, space)).max() <= (4 if kind == "JPEG" else 2)
    assert np.abs(frame.astype(int) - flat).max() > 8, "it changes something"
    if kind in ("PNG", "JPEG"):
        assert colour.profile_use(data) == colour.CONVERTED


def test_srgb_under_any_name_stays_as_it_is(colours):
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(colours, icc_profile=own)
    assert np.array_equal(images.decode(data), colours) and colour.profile_use(data) == colour.SRGB
    assert colour.profile_use(encoded(colours)) == colour.SRGB


def spoilt():
    good = profile(DISPLAY_P3)
    yield from (
        b"",
        b"x",
        good[:100],
        good[:-40],
        bytes(200),
        profile(DISPLAY_P3, b"CMYK"),
        profile(DISPLAY_P3, b"GRAY"),
    )
    yield struct.pack(">I", 2**31) + good[4:]
    yield good + bytes(container.PROFILE_BYTES)  # too large
    draw = random.Random(1)
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(draw.randint(1, 6)):
            bad[draw.randrange(len(bad))] = draw.choice((0, 1, 127, 128, 255))
        yield bytes(bad)


def test_a_hostile_profile_is_ignored_or_used_and_never_an_error(colours):
    uses = set()
    for bad in spoilt():
        data = encoded(colours, icc_profile=bad or None)
        assert images.decode(data).shape == colours.shape
        uses.add(colour.profile_use(data))
    assert uses == {colour.SRGB, colour.CONVERTED, colour.IGNORED}


def test_a_profile_that_inflates_to_gigabytes_is_not_inflated(colours):
    data = encoded(colours)
    packed = b"x\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I4s", len(packed), b"iCCP") + packed
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    bomb = data[:33] + chunk + data[33:]  # after IHDR
    assert container.picture(bomb).profile is None
    assert np.array_equal(images.decode(bomb), colours)


def test_a_profile_in_several_segments_of_a_jpeg(colours):
    large = profile(DISPLAY_P3)
    large = struct.pack(">I", len(large) + 100_000) + large[4:] + bytes(100_000)  # more than one segment holds
    data = encoded(colours, "JPEG", icc_profile=large)
    assert data.count(b"ICC_PROFILE\0") == 2 and container.picture(data).profile == large
    assert colour.profile_use(data) == colour.CONVERTED


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIC file"),
        (b"\0\0\0\x1cftypavif" + bytes(20), "an AVIF file"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip-compressed data"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)
def test_common_formats_that_are_not_read_are_called_by_name(data, words):
    with pytest.raises(images.ImageError, match=f"this is {words}.*save it as JPEG or PNG") as caught:
        images.decode(data)
    assert caught.value.code == "unsupported-format"
