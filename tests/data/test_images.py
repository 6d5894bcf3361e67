"""Images as cameras and archives leave them."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from r1sgg.data.images import formats, image_size, open_image
from r1sgg.errors import ImageError

RED_GREEN = np.zeros((4, 8, 3), dtype=np.uint8)
RED_GREEN[:, :4, 0] = 255
RED_GREEN[:, 4:, 1] = 255


def near(pixel, colour, tolerance=40):
    return all(abs(int(a) - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image"


def opened(path):
    image = open_image(path)
    assert image.mode == "RGB"
    assert image.size == image_size(path)
    return image


def test_plain(path):
    Image.fromarray(RED_GREEN).save(path, "PNG")
    assert np.array_equal(np.asarray(opened(path)), RED_GREEN)


def test_cmyk_jpeg(path):
    wide = Image.fromarray(RED_GREEN).resize((64, 32), Image.Resampling.NEAREST)
    wide.convert("CMYK").save(path, "JPEG", quality=95)
    image = opened(path)
    assert near(image.getpixel((8, 16)), (255, 0, 0))
    assert near(image.getpixel((56, 16)), (0, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(path, kind):
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(path, kind)
    assert np.asarray(opened(path))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_dark_16_bit_picture_stays_dark(path):
    Image.fromarray(np.full((2, 2), 200, dtype=np.uint16)).save(path, "PNG")
    assert np.asarray(opened(path)).max() == 0


@pytest.mark.parametrize(("top", "white"), [(1.0, 1.0), (255.0, 255.0), (65535.0, 65535.0)])
def test_float_tiff(path, top, white):
    Image.fromarray(np.array([[-3.0, top / 2, top]], dtype=np.float32)).save(path, "TIFF")
    assert np.asarray(opened(path))[0, :, 0].tolist() == [0, 127, 255]


def test_palette_with_transparency_is_put_on_white(path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(path, "PNG", transparency=b"\xff\x00")  # the second colour is transparent
    assert np.asarray(opened(path)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))])
def test_transparent_is_white(path, mode, colour):
    Image.new(mode, (2, 2), colour).save(path, "PNG")
    assert np.asarray(opened(path)).min() == 255


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_black_and_white(path, mode):
    Image.new(mode, (3, 2), 1 if mode == "1" else 77).save(path, "PNG")
    assert len(set(np.asarray(opened(path)).ravel().tolist())) == 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (8, 4)), (3, (8, 4)), (6, (4, 8)), (8, (4, 8))])
def test_exif_rotation(path, orientation, size, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RED_GREEN).save(path, kind, exif=exif)
    image = opened(path)
    assert image.size == size
    first = {1: (255, 0, 0), 3: (0, 255, 0), 6: (255, 0, 0), 8: (0, 255, 0)}[orientation]
    assert image.getpixel((0, 0)) == first


def test_animation_gives_its_first_frame(path):
    frames = [Image.new("RGB", (3, 3), c) for c in ("red", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    assert opened(path).getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_off(path, kind):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, kind)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match="expected a whole image, found damaged data"):
        open_image(path)


def test_not_an_image(path):
    path.write_text("hello")
    for read in (open_image, image_size):
        with pytest.raises(ImageError, match="found a file of another kind"):
            read(path)


def test_empty_file(path):
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="found a file of another kind"):
        open_image(path)


def test_missing(path):
    with pytest.raises(ImageError, match=r"image: expected an image file, found no such file; check the path"):
        open_image(path)


def test_a_folder(tmp_path):
    with pytest.raises(ImageError, match="directory"):
        open_image(tmp_path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("side", [12_000, 100_000])
def test_a_decompression_bomb_is_refused_by_its_header(path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    for read in (open_image, image_size):
        with pytest.raises(ImageError, match=r"expected at most 100,000,000 pixels, found .*; shrink it"):
            read(path)


def test_the_limit_is_the_callers(path):
    Image.new("RGB", (20, 20)).save(path, "PNG")
    assert open_image(path, max_pixels=400).size == (20, 20)
    with pytest.raises(ImageError, match="at most 399 pixels, found 20x20"):
        open_image(path, max_pixels=399)


def test_damaged_bytes_never_escape(path):
    """Flipped bytes give a picture or an ImageError, whatever the decoder thinks of them."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    for kind in (name for name in formats() if name != "HEIF"):
        picture.save(path, kind)
        whole = path.read_bytes()
        for _ in range(40):
            data = np.frombuffer(whole, dtype=np.uint8).copy()
            data[rng.integers(0, min(len(data), 200), 4)] = rng.integers(0, 255, 4)
            path.write_bytes(data.tobytes())
            with contextlib.suppress(ImageError):
                assert open_image(path).mode == "RGB"


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
0 0 20 20 rectfill
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A `gs` that only notes that it was called; returns the file in which it does."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    (folder / "gs").write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit 0\n')
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what Pillow remembers of an earlier look
    return calls


@pytest.mark.parametrize("name", ["image", "image.eps", "image.png"])
def test_postscript_never_reaches_an_interpreter(tmp_path, ghostscript, name):
    (tmp_path / name).write_bytes(EPS)
    for read in (open_image, image_size):
        for source in (tmp_path / name, EPS):
            with pytest.raises(ImageError, match="found a file of another kind"):
                read(source)
    assert not ghostscript.exists()
    with pytest.raises(OSError), Image.open(tmp_path / name) as image:  # what Pillow does if it may
        image.load()
    assert ghostscript.exists()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_formats_that_are_opened(path, kind):
    Image.fromarray(RED_GREEN).save(path, kind)
    assert kind in formats()
    assert opened(path).size == (8, 4)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "SGI", "IM", "PDF", "EPS", "XBM", "MSP", "DDS", "ICNS"])
def test_the_formats_that_are_not(path, kind):
    picture = Image.fromarray(RED_GREEN).resize((16, 16))
    picture.convert("1" if kind in ("XBM", "MSP") else "RGB").save(path, kind)
    with pytest.raises(ImageError, match=r"image .JPEG, PNG, WEBP, GIF, BMP, TIFF.*found a file of another kind"):
        open_image(path)
