"""Images are reduced while they are decoded: they look the same, and take no more memory than was said before."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from r1sgg.data.images import open_image, webp_size
from r1sgg.errors import ImageError
from r1sgg.serving.reducing import reduce

Size = tuple[int, int]


def _picture(size: Size = (900, 600)) -> Image.Image:
    """Something smooth with a colour in each corner."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return Image.fromarray((255 * np.stack([x, y, (x + y) / 2], -1)).astype(np.uint8))


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _third(size: Size) -> Size:
    return size[0] // 3, size[1] // 3


def _reduced(data: bytes, fit: object = _third) -> tuple[Image.Image, Size, int]:
    needed: list[int] = []
    image, size = reduce(io.BytesIO(data), "a", 10**9, fit, needed.append)  # type: ignore[arg-type]
    (needs,) = needed
    return image, size, needs


GREY = np.asarray(_picture().convert("L"))
CASES = {
    "PNG": _file(_picture(), "PNG"),
    "grey": _file(_picture().convert("L"), "PNG"),
    "black and white": _file(_picture().convert("L").point(lambda v: 255 * (v > 100)).convert("1", dither=0), "PNG"),
    "palette": _file(_picture().quantize(200, dither=Image.Dither.NONE), "PNG"),
    "palette with transparency": _file(_picture().quantize(200, dither=Image.Dither.NONE), "PNG", transparency=3),
    "grey with transparency": _file(_picture().convert("L"), "PNG", transparency=77),
    "RGBA": _file(Image.merge("RGBA", (*_picture().split(), Image.linear_gradient("L").resize((900, 600)))), "PNG"),
    "LA": _file(_picture().convert("LA"), "PNG"),
    "16 bit": _file(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "dark 16 bit": _file(Image.fromarray(GREY.astype(np.uint16)), "PNG"),
    "32 bit": _file(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "float": _file(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"),
    "float, compressed": _file(Image.fromarray(GREY.astype(np.float32)), "TIFF", compression="tiff_adobe_deflate"),
    "JPEG": _file(_picture(), "JPEG", quality=95),
    "progressive JPEG": _file(_picture(), "JPEG", quality=95, progressive=True),
    "grey JPEG": _file(_picture().convert("L"), "JPEG", quality=95),
    "CMYK JPEG": _file(_picture().convert("CMYK"), "JPEG", quality=95),
    "WebP": _file(_picture(), "WEBP", quality=95),
    "GIF": _file(_picture().quantize(200, dither=Image.Dither.NONE), "GIF"),
    "BMP": _file(_picture(), "BMP"),
    "TIFF, JPEG inside": _file(_picture(), "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("by", [1, 3, 7])
def test_a_reduced_image_looks_like_one_that_was_resized_afterwards(kind: str, by: int) -> None:
    def fit(size: Size) -> Size:
        return size[0] // by, size[1] // by

    image, size, _ = _reduced(CASES[kind], fit)
    whole = open_image(CASES[kind])
    assert (image.mode, image.size, size) == ("RGB", fit(size), whole.size)
    expected = np.asarray(whole.resize(image.size, Image.Resampling.BICUBIC), dtype=float)
    difference = np.abs(np.asarray(image, dtype=float) - expected)
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.99) < (60 if kind == "black and white" else 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_reduced_image_is_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _file(_picture(), kind, exif=exif)
    asked: list[Size] = []

    def fit(size: Size) -> Size:
        asked.append(size)
        return _third(size)

    image, size, _ = _reduced(data, fit)
    whole = open_image(data)
    # how a WebP is turned is known when it is open, and then its memory is taken
    assert set(asked) == ({whole.size, (900, 600)} if kind == "WEBP" else {whole.size})
    assert (image.size, size) == (_third(whole.size), whole.size)
    expected = np.asarray(whole.resize(image.size, Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(np.asarray(image, dtype=float) - expected).mean() < 2


def test_an_orientation_behind_the_pixels_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _file(_picture(), "PNG", exif=exif)
    at = data.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", data[at : at + 4])[0]
    end = data.index(b"IEND") - 4
    late = data[:at] + data[at + length : end] + data[at : at + length] + data[end:]
    image, size, _ = _reduced(late)
    assert (image.size, size) == ((200, 300), (600, 900)) == (_third(open_image(late).size), open_image(late).size)


def test_a_small_image_stays_as_it_is() -> None:
    image, size, _ = _reduced(CASES["PNG"], lambda size: size)
    assert size == (900, 600)
    assert image.tobytes() == _picture().tobytes()


def test_what_decoding_needs_goes_by_the_header() -> None:
    pixels = 900 * 600
    assert _reduced(CASES["PNG"])[2] >= 4 * pixels
    assert _reduced(CASES["black and white"])[2] < _reduced(CASES["palette with transparency"])[2] + 1
    assert _reduced(CASES["WebP"])[2] >= 16 * pixels
    # decoded at a half, a JPEG takes less, but for a progressive one, whose coefficients are all held
    small = _reduced(CASES["JPEG"], lambda size: (100, 66))[2]
    assert small < pixels
    assert _reduced(CASES["progressive JPEG"], lambda size: (100, 66))[2] >= small + 3 * pixels


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 80},
        {"lossless": True},
        {"xmp": b"<x/>"},
        {"save_all": True, "append_images": [Image.new("L", (301, 77))]},
    ],
    ids=["VP8", "VP8L", "VP8X", "animated"],
)
def test_the_size_of_a_webp_is_read_before_it_is_opened(options: dict[str, Any]) -> None:
    data = _file(Image.new("RGB", (301, 77), (200, 100, 50)), "WEBP", **options)
    source = io.BytesIO(data)
    assert webp_size(source) == (301, 77)
    assert source.tell() == 0
    assert webp_size(io.BytesIO(data[:29])) is None
    with pytest.raises(ImageError, match="expected at most 1,000 pixels, found 301x77; shrink it"):
        reduce(source, "a", 1000, lambda size: size, lambda needs: pytest.fail("was asked"))
    assert _reduced(data)[1] == (301, 77)


def test_a_tile_larger_than_the_image_counts() -> None:
    data = _file(Image.new("RGB", (64, 64)), "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 64})
    lie = data
    for kind in (3, 4):  # a short, a long
        lie = lie.replace(struct.pack("<HHII", 278, kind, 1, 64), struct.pack("<HHII", 278, 4, 1, 10_000_000))
    assert lie != data

    def room(needs: int) -> None:
        raise ImageError("a", expected="less", found=str(needs))

    with pytest.raises(ImageError, match="expected less, found 25600"):
        reduce(io.BytesIO(lie), "a", 10**9, lambda size: size, room)


def progressive(scans: int, side: int = 64) -> bytes:
    """A progressive JPEG with about so many scans."""
    data = _file(_picture((side, side)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - 10) + data[-2:]


def sequential(scans: int, side: int = 64) -> bytes:
    """A JPEG that is not progressive, with a scan for each channel in turn."""
    data = _file(_picture((side, side)).convert("L"), "JPEG")
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    channels = b"".join(bytes([channel, 0x11, 0]) for channel in (1, 2, 3))
    head = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, side, side, 3) + channels
    begin = b"\xff\xda" + struct.pack(">HB", 8, 1)
    one = [begin + bytes([channel]) + data[scan + 6 : -2] for channel in (1, 2, 3)]
    return data[:frame] + head + data[frame + 13 : scan] + b"".join(one[k % 3] for k in range(scans)) + data[-2:]


@pytest.mark.parametrize("scans", [progressive, sequential])
def test_a_jpeg_of_very_many_scans_is_refused(scans: Callable[[int], bytes]) -> None:
    assert _reduced(scans(12))[1] == (64, 64)
    for read in (_reduced, open_image):
        with pytest.raises(ImageError, match="expected at most 64 scans, found a JPEG with more; save it again"):
            read(scans(1000))


def test_what_looks_like_a_scan_is_not_always_one(tmp_path: Path) -> None:
    """A thumbnail in a segment, and the film that phones write behind a photo."""
    photo = _file(_picture(), "JPEG")
    inside = b"\xff\xe5" + struct.pack(">H", 2002) + b"\xff\xda" * 1000
    data = photo[:2] + inside + photo[2:] + b"\xff\xda\0\4ab" * 1000
    (tmp_path / "a.jpg").write_bytes(data)
    expected = open_image(photo).tobytes()
    assert open_image(data).tobytes() == open_image(tmp_path / "a.jpg").tobytes() == expected
    assert _reduced(data)[0].tobytes() == _reduced(photo)[0].tobytes()


def test_the_memory_of_all_scans_counts() -> None:
    """libjpeg holds the coefficients of an image of several scans, two bytes each."""
    at_once = _file(_picture((640, 640)), "JPEG", subsampling=0)
    for scans in (progressive, sequential):
        assert _reduced(scans(12, 640), lambda size: size)[2] >= _reduced(at_once, lambda size: size)[2] + 640 * 640


def test_nothing_is_decoded_where_there_is_no_room() -> None:
    def room(needs: int) -> None:
        raise ImageError("a", expected="less", found=str(needs))

    damaged = CASES["PNG"][:-3000]
    with pytest.raises(ImageError, match="expected less"):
        reduce(io.BytesIO(damaged), "a", 10**9, _third, room)
    with pytest.raises(ImageError, match="expected at most 1,000 pixels, found 900x600"):
        reduce(io.BytesIO(damaged), "a", 1000, lambda size: pytest.fail("was asked"), room)
