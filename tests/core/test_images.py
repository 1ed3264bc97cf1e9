import io
import struct
import zipfile
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from skinlesion.core import framing, images
from skinlesion.core.errors import ImageError
from small import encoded


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.mark.parametrize("path", [None, 7, np.zeros((20, 20, 3), np.uint8)], ids=lambda value: type(value).__name__)
def test_what_is_no_path_is_named_by_its_type(path):
    with pytest.raises(ImageError, match=f"give the path of a file, not {type(path).__name__}"):
        images.read_image(path)


def test_lossless_formats_come_back_as_they_were(noise):
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(images.decode(encoded(noise, kind), formats=images.FILE_FORMATS), noise)


def test_exif_orientation_is_applied(noise):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to look at it
    assert np.array_equal(images.decode(encoded(noise, "PNG", exif=exif)), np.rot90(noise, -1))


def test_other_modes(noise):
    grey = noise[..., 0]
    assert np.array_equal(images.decode(encoded(grey)), np.repeat(grey[..., None], 3, 2))
    half_clear = np.dstack([noise, np.repeat([[0], [255]], [20, 17], axis=0).repeat(53, axis=1).astype(np.uint8)])
    found = images.decode(encoded(half_clear))
    assert (found[:20] == 255).all() and np.array_equal(found[20:], noise[20:])
    with pytest.raises(ImageError, match="every pixel of the image is transparent"):
        images.decode(encoded(half_clear[:18]))
    assert images.decode(encoded(Image.fromarray(noise).convert("P"))).shape == noise.shape
    assert images.decode(encoded(Image.fromarray(noise).convert("CMYK"), "JPEG")).shape == noise.shape


@pytest.mark.parametrize("bits", (8, 16))
@pytest.mark.parametrize(("kind", "white"), [("PNG", 1), ("TIFF", 1), ("TIFF", 0)])
def test_every_grey_level_becomes_the_nearest_of_256(bits, kind, white):
    levels = np.arange(2**bits).reshape(-1, 2 ** (bits // 2))
    data = encoded(levels.astype(f"uint{bits}"), kind)
    tags = [struct.pack("<HHII", 262, 3, 1, value) for value in (1, white)]  # of TIFF: whether zero is white (0)
    found = images.decode(data.replace(*tags), formats=images.FILE_FORMATS)
    nearest = levels if bits == 8 else (levels + 128) // 257
    assert np.array_equal(found, np.stack([nearest if white else 255 - nearest] * 3, axis=2))


def test_a_picture_as_large_and_as_small_as_accepted_is_read():
    assert images.decode(encoded(np.zeros((16, 16, 3), np.uint8)), max_pixels=256).shape == (16, 16, 3)
    for shape in ((16, 15), (15, 16)):
        with pytest.raises(ImageError, match="each side needs 16 or more"):
            images.decode(encoded(np.zeros(shape, np.uint8)))
    images.check_size(20 * 2**20)
    with pytest.raises(ImageError, match="at most 20,971,520 are accepted"):
        images.check_size(20 * 2**20 + 1)


def test_a_file_too_short_for_its_pixels_is_refused_before_they_are_decoded():
    """JPEG (T.81) has a bit or more for each block of 64 pixels: 512 a byte; other formats have no such limit."""
    flat = encoded(np.full((2048, 512), 77, np.uint8), "JPEG", progressive=True, optimize=True)
    most, more = (flat.replace(*(struct.pack(">HH", height, 512) for height in (2048, len(flat) + i))) for i in (0, 1))
    assert images.decode(most).shape == (len(flat), 512, 3)
    with pytest.raises(ImageError, match="too short for its number of pixels"):
        images.decode(more)
    bare = encoded(Image.new("1", (1000, 1000)))
    assert images.decode(bare).max() == 0 and 512 * len(bare) < 10**6


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (r"C:\data\mel\0.JPG", "0"),
        (" ./a/ISIC_1.tiff ", "ISIC_1"),
        ("ISIC_1.v2", "ISIC_1.v2"),
        ("a.b.PNG", "a.b"),
        (".jpg", ".jpg"),
        ("jpg", "jpg"),
    ],
)
def test_a_name_is_what_stands_before_the_ending_of_an_image(path, name):
    assert images.image_name(path) == name


def test_colours_apart_in_tiff_files_are_read_or_refused():
    """By tifffile: Pillow mixes up the colours of 16 bits that are not compressed."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for bits, compression in ((8, None), (8, "zlib"), (16, "zlib"), (16, None)):
        planes, data = np.moveaxis(pixels.astype(f"uint{bits}") * (257 if bits == 16 else 1), 2, 0), io.BytesIO()
        tifffile.imwrite(data, planes, photometric="rgb", planarconfig="separate", compression=compression)
        if bits == 16 and not compression:
            with pytest.raises(ImageError, match="each colour apart; save it as"):
                images.decode(data.getvalue(), formats=images.FILE_FORMATS)
        else:
            assert np.array_equal(images.decode(data.getvalue(), formats=images.FILE_FORMATS), pixels)


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("unreadable", lambda n: b""),
        ("unsupported-format", lambda n: b"not an image at all"),
        ("unsupported-format", lambda n: encoded(n, "BMP")),
        ("unreadable", lambda n: encoded(n, "PNG")[:300]),
        ("unreadable", lambda n: encoded(n, "JPEG")[:400]),
        ("too-small", lambda n: encoded(n[:8])),
        ("too-large", lambda n: encoded(n) + b"\0" * 3000),
        ("too-many-pixels", lambda n: encoded(np.zeros((101, 100), np.uint8))),
    ],
)
def test_what_is_refused(noise, code, make):
    with pytest.raises(ImageError) as error:
        images.decode(make(noise), max_bytes=len(encoded(noise)) + 2000, max_pixels=10_000)
    assert error.value.code == code


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Detail at every scale down to the pixel: smooth shapes, lines and noise."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    pixels[draw.integers(0, height, 20)] = 20
    pixels[:, draw.integers(0, width, 20)] = 20
    return Image.fromarray(np.clip(pixels + draw.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_has_not_twice_enough_is_decoded_whole(kind):
    data = encoded(photograph(639, 700), kind)
    assert np.array_equal(images.decode(data, sufficient_side=320), images.decode(data))


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 700), 2), ((1279, 1400), 2), ((1400, 1280), 4), ((4000, 3000), 8)]
)
def test_a_large_jpeg_is_decoded_at_a_fraction_that_leaves_enough(size, expected):
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = photograph(*size)
    data = encoded(whole, "JPEG", quality=95, subsampling=0, exif=turned)
    found = images.decode(data, sufficient_side=320)
    height, width = (-(-side // expected) for side in size)  # turned: height and width change places
    assert found.shape == (height, width, 3) and min(found.shape[:2]) >= 320
    blocks = np.rot90(np.asarray(whole.reduce(expected)), -1).astype(int)
    assert np.abs(found - blocks)[8:-8, 8:-8].mean() < 3


@pytest.mark.parametrize(
    "options", [{"quality": 92}, {"quality": 75, "subsampling": 2}, {"quality": 90, "progressive": True}]
)
def test_a_network_gets_the_same_frame_from_a_fraction_of_a_photograph(options):
    data = encoded(photograph(2400, 1800), "JPEG", **options)
    whole, less = (
        framing.fit_crops(images.decode(data, sufficient_side=side), 160, "random_crop", 2).astype(int)
        for side in (0, 640)
    )
    apart = np.abs(whole - less)  # grey levels; lines of one pixel are where they differ most
    assert apart.mean() < 0.5 and np.quantile(apart, 0.99) <= 4


def test_twelve_bits_in_sixteen_are_not_almost_black(noise):
    def tiff(pixels, **options):
        tifffile.imwrite(data := io.BytesIO(), pixels, **options)
        return data.getvalue()

    grey, colours = noise[..., 0].astype(np.uint16), noise.astype(np.uint16)
    for pixels, write in (
        (grey, encoded), (grey, tiff), (colours, tiff), (colours, partial(tiff, photometric="rgb", compression="zlib")),
    ):  # fmt: skip
        for factor in (257, 64):  # all 16 bits, and 14 of them: a dark picture
            found = images.decode(write(pixels * factor), formats=images.FILE_FORMATS)
            expected = noise * (factor * 255 / 65535) if pixels is colours else grey[..., None] * (factor * 255 / 65535)
            assert np.abs(found - expected).max() <= 1
        with pytest.raises(ImageError, match="uses 12 or fewer"):
            images.decode(write(pixels * 16), formats=images.FILE_FORMATS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_animations_are_refused(noise, kind):
    data = encoded(Image.fromarray(noise), kind, save_all=True, append_images=[Image.fromarray(255 - noise)])
    with pytest.raises(ImageError, match="several frames"):
        images.decode(data, formats=images.FILE_FORMATS)


@pytest.mark.parametrize("shape", [(100, 80), (150, 200), (451, 600), (40, 37), (1000, 3)])
def test_resize_agrees_with_pillow(shape):
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(frame).resize((128, 96), Image.Resampling.BILINEAR))
    # Pillow rounds once between its two passes, we only at the end
    assert np.abs(framing.resize(frame, (96, 128)).astype(int) - theirs).max() <= 1


def test_box_agrees_with_pillow():
    frame = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    top, left, bottom, right = framing.center_square(90, 120)
    theirs = np.asarray(
        Image.fromarray(frame).resize((64, 64), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    )
    assert np.abs(framing.fit_square(frame, 64, "center_crop").astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (100, 100), (100, 110), (90, 300), (300, 90)])
def test_two_squares_cover_the_middle_of_a_frame_and_overlap_by_half(shape):
    first, second = (
        np.array(box).reshape(2, 2) for box in framing.crop_boxes(*shape, 2)
    )  # [[top, left], [bottom, right]]
    seen = np.array(framing.region(*shape, "random_crop", 2)).reshape(2, 2)
    sides = seen[1] - seen[0]
    assert np.allclose([np.ptp(first, axis=0), np.ptp(second, axis=0)], min(shape))
    assert np.allclose(np.minimum(first, second)[0], seen[0]) and np.allclose(np.maximum(first, second)[1], seen[1])
    assert np.allclose(seen.mean(0), np.array(shape) / 2), "in the middle"
    assert max(sides) / min(sides) == pytest.approx(min(4 / 3, max(shape) / min(shape)))
    assert (first[1] - second[0]).min() >= 0.66 * min(shape), "what is in the middle is in both"


def test_squares_of_one_crop_are_what_fit_gives(noise):
    for how in framing.FITS:
        assert np.array_equal(framing.fit_crops(noise, 24, how, 1), framing.fit_square(noise, 24, how)[None])
        assert framing.region(*noise.shape[:2], how) == pytest.approx(
            (0, 0, *noise.shape[:2]) if how == "squash" else framing.center_square(*noise.shape[:2])
        )


def test_resize_matrix_keeps_brightness():
    for source, target in ((200, 128), (17, 128), (4000, 64)):
        assert np.allclose(framing.resize_matrix(source, target).sum(1), 1, atol=1e-5)


def test_reading_from_files_zips_and_arrays(tmp_path, noise):
    (tmp_path / "a.png").write_bytes(encoded(noise))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("deep/a.png", encoded(noise))
    odd = {f"{kind}_images": noise[None].astype(kind) for kind in ("int8", "uint16", "float32")}
    np.savez(tmp_path / "m.npz", train_images=noise[None], val_images=noise[None, ..., 0], **odd)
    assert np.array_equal(images.read_image(tmp_path / "a.png"), noise)
    assert np.array_equal(images.read_image(f"{tmp_path}/z.zip!deep/a.png"), noise)
    assert np.array_equal(images.read_image(f"{tmp_path}/m.npz!train/0"), noise)
    assert np.array_equal(images.read_image(f"{tmp_path}/m.npz!val/0")[..., 2], noise[..., 0])
    for gone in ("b.png", "z.zip!b.png", "y.zip!a.png", "m.npz!train/1", "m.npz!test/0"):
        with pytest.raises(ImageError) as error:
            images.read_image(f"{tmp_path}/{gone}")
        assert error.value.code == "missing"
    for kind in ("int8", "uint16", "float32"):
        with pytest.raises(ImageError, match=f"numbers of the kind {kind}"):
            images.read_image(f"{tmp_path}/m.npz!{kind}/0")
    (tmp_path / "a.jpg").write_bytes(data := encoded(photograph(640, 480), "JPEG"))
    for whole in (images.read_image(tmp_path / "a.jpg"), images.read_with_bytes(tmp_path / "a.jpg")[0]):
        assert np.array_equal(whole, np.asarray(Image.open(io.BytesIO(data))))


def test_an_archive_is_what_is_a_file(tmp_path, noise):
    """In folders, and beside files, whose own names look like archives."""
    for folder in ("plain", "odd.zip!x"):
        place = tmp_path / folder
        place.mkdir()
        with zipfile.ZipFile(place / "a.ZIP", "w") as archive:
            archive.writestr("b/c.zip!d.png", encoded(noise))
        (place / "e.zip!f.png").write_bytes(encoded(noise))
        assert images.split_member(f"{place}/a.ZIP!b/c.zip!d.png") == (f"{place}/a.ZIP", "b/c.zip!d.png")
        assert images.split_member(place / "e.zip!f.png") == ("", f"{place}/e.zip!f.png")
        for name in ("a.ZIP!b/c.zip!d.png", "e.zip!f.png"):
            assert np.array_equal(images.read_image(f"{place}/{name}"), noise)
            assert images.stamp(f"{place}/{name}")


def test_a_zip_that_is_replaced_is_read_anew(tmp_path, noise):
    path = tmp_path / "z.zip"
    for content in (noise, 255 - noise):
        path.unlink(missing_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", encoded(content))
        assert np.array_equal(images.read_image(f"{path}!a.png"), content)


def test_stamp_changes_with_the_content(tmp_path, noise):
    path = tmp_path / "a.png"
    (tmp_path / "moved").mkdir()
    path.write_bytes(encoded(noise))
    before = images.stamp(path)
    assert images.stamp(path) == before
    assert images.stamp(path.rename(tmp_path / "moved" / "a.png")) == before, "wherever it lies"
    path.write_bytes(encoded(noise[:30]))
    assert images.stamp(path) != before
    np.savez(tmp_path / "m.npz", train_images=noise[None].repeat(2, 0))
    assert images.stamp(f"{tmp_path}/m.npz!train/0") != images.stamp(f"{tmp_path}/m.npz!train/1")


def test_one_squares_map_stays_as_it_is():
    one = np.random.default_rng(0).normal(size=(1, 5, 5)).astype(np.float32)
    assert np.array_equal(framing.join_maps(one, 300, 400), one[0])


@pytest.mark.parametrize("shape", [(450, 600), (600, 450), (500, 500), (400, 450), (300, 900)])
def test_what_both_squares_show_of_one_scene_is_that_scene(shape):
    """A plane over the frame, seen in each square's cells: linear interpolation gives it back inside."""

    def plane(rows, columns):
        return 2.0 + 0.01 * rows[:, None] - 0.02 * columns[None, :]

    def cells(start, stop, count):
        return start + (np.arange(count) + 0.5) / count * (stop - start)

    maps = [
        plane(cells(top, bottom, 5), cells(left, right, 5))
        for top, left, bottom, right in framing.crop_boxes(*shape, 2)
    ]
    joined = framing.join_maps(np.array(maps, np.float32), *shape)
    top, left, bottom, right = framing.region(*shape, "random_crop", 2)
    expected = plane(cells(top, bottom, joined.shape[0]), cells(left, right, joined.shape[1]))
    assert joined.shape == (7, 7)
    assert joined.dtype == np.float32
    inner = (slice(1, -1), slice(1, -1))  # beyond the outermost cells' middles nothing is known of the slope
    along = int(shape[1] > shape[0])
    assert np.abs(joined - expected)[inner].max() < 0.6 * np.ptp(expected) / 7
    middle = np.take(joined, 3, axis=1 - along)[2:5], np.take(expected, 3, axis=1 - along)[2:5]
    assert np.abs(middle[0] - middle[1]).max() < 1e-3


def test_each_end_shows_its_own_squares_map():
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), -3.0)]).astype(np.float32)
    joined = framing.join_maps(maps, 300, 400)
    assert np.allclose(joined[:, 0], 1) and np.allclose(joined[:, -1], -3)
    assert np.allclose(joined[:, 2:4], -1), "in the middle both count alike"
    upright = framing.join_maps(maps, 400, 300)
    assert np.array_equal(upright, joined.T)


def tags_first(data: bytes) -> bytes:
    """A TIFF file of one strip, as Pillow writes it, with its tags before the pixels: as many programs write it."""
    (tags,) = struct.unpack_from("<I", data, 4)
    moved, last = bytearray(data[tags:]), data[8:tags]
    for at in range(2, 2 + 12 * struct.unpack_from("<H", moved)[0], 12):
        tag, kind, count, value = struct.unpack_from("<HHII", moved, at)
        if tag == 273:
            value = 8 + len(moved)
        elif {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}[kind] * count > 4:  # what it points at moves, too
            value += 8 - tags if value >= tags else len(moved)
        else:
            continue
        struct.pack_into("<I", moved, at + 8, value)
    return struct.pack("<2sHI", b"II", 42, 8) + moved + last


@pytest.mark.parametrize(
    "options",
    [
        *({"kind": kind} for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")),
        {"kind": "WEBP", "lossless": True},
        *({"kind": "TIFF", "compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_file_that_ends_too_early_is_never_another_picture(options):
    """Nor is one whose end was never written, unless its pixels are not compressed: black ones are zeros."""
    y, x = np.mgrid[0:90, 0:120]
    noise = np.random.default_rng(0).normal(8, 2, (90, 120, 3))
    picture, refused = (np.stack([2 * x, 2 * y, x + y], axis=2) + noise).astype(np.uint8), []
    data = encoded(picture, **options)
    if compressed := options != {"kind": "BMP"} and options != {"kind": "TIFF"}:
        data = tags_first(data) if options["kind"] == "TIFF" else data
    good = images.decode(data, formats=images.FILE_FORMATS)
    assert np.abs(good.astype(int) - picture).mean() < 6
    for cut in np.linspace(len(data) // 3, len(data) - 200, 20).astype(int):
        for end in (0, len(data) - cut) if compressed else (0,):
            try:
                frame = images.decode(data[:cut] + bytes(end), formats=images.FILE_FORMATS)
                assert np.array_equal(frame, good)
            except ImageError as error:
                refused.append(error.code)
    assert len(refused) > 10 and set(refused) == {"unreadable"}


def test_a_jpeg_without_its_end_is_refused_though_zeros_make_up_a_picture():
    data = encoded(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8), "JPEG", quality=95)
    with Image.open(io.BytesIO(data[:-9000] + bytes(9000))) as image:
        image.load()  # as Pillow does
    for cut in range(1000, len(data), 1000):
        with pytest.raises(ImageError, match="cut short"):
            images.decode(data[:cut] + bytes(len(data) - cut))
    assert np.array_equal(images.decode(data + bytes(1000)), images.decode(data)), "after its end they do no harm"


@pytest.mark.parametrize("options", [{"quality": 80, "method": 0}, {"quality": 100, "method": 2}, {"lossless": True}])
def test_a_flat_end_of_a_webp_is_no_missing_one(options):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    pixels[200:] = 255
    data = encoded(pixels, "WEBP", **options)
    assert images.decode(data)[210:].min() >= 250
    assert options.get("lossless") or data.endswith(bytes(64)), "its end are zeros"


def test_masks_are_no_images():
    for name in ("segmentation", "Mask", "SEG", "superpixels", "attribute_milia_like_cyst"):
        assert not images.is_image(f"part/ISIC_0000001_{name}.png")
    assert images.is_image("segmentation.png") and images.is_image("ISIC_1_masked.JPG") and not images.is_image("a.gif")
