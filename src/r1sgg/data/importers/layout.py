"""What a layout of predictions files is, and the options that several of them share.

A layout turns each record of another tool's file into a `Prediction`: the completion as the model wrote it, with the
id of its image, or a detector's rows. Completions are read by `r1sgg.graph.text`, rows by `r1sgg.data.detections`.

To add one: a module beside this one that defines `LAYOUT`, and its name in `registry`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, cast, get_args

from r1sgg.data.predictions import AskedFrame, Prediction
from r1sgg.data.spec import Spec
from r1sgg.errors import ConfigError, InputError, short
from r1sgg.graph.frames import Axes, BoxFrame, Frame, Shape

Form = Literal["folder", "lines", "json"]
"""A folder with a JSON file for each image; JSON Lines; one JSON file."""

Say = Callable[[str], None]
"""Takes a sentence about a whole file, such as what was assumed; a sentence that is repeated is said once."""

Read = Callable[[Spec, Say], Iterator[Prediction]]


class Layout(NamedTuple):
    """How a tool writes what a model predicted.

    Attributes:
        name: as it is written before the colon.
        about: whose it is, in a few words.
        forms: see `Form`.
        keys: what tells a record of it from others: each has one of these sets of keys.
        options: names of the options that may follow the path.
        read: yields the predictions of a specification, in the file's order.
    """

    name: str
    about: str
    forms: tuple[Form, ...]
    keys: tuple[tuple[str, ...], ...]
    options: tuple[str, ...]
    read: Read


# ---------------------------------------------------------------- frames

FRAME_OPTIONS = ("frame", "axes", "shape", "min_pixels", "max_pixels", "factor")

_FEWEST, _MOST, _FACTOR = 4 * 28 * 28, 16384 * 28 * 28, 28  # of Qwen2.5-VL's processor


def frame_option(spec: Spec, say: Say) -> AskedFrame | None:
    """Return the frame that a specification asks for: what the boxes of its completions are relative to.

        frame=1000      thousandths of the image, as Qwen2-VL and Qwen3-VL write them (without the option)
        frame=1         fractions
        frame=1024x768  another size
        frame=pixels    pixels of the image
        frame=resized   pixels of the image as Qwen2.5-VL's processor resizes it, see `resized_size`
        axes=yx         y before x
        shape=size      x1 y1 width height; shape=centre: centre x, centre y, width, height

    Raises:
        ConfigError: another value.
    """
    axes, shape = spec.choice("axes", get_args(Axes), "xy"), spec.choice("shape", get_args(Shape), "corners")
    size = _size_option(spec, say)
    if not {"axes", "shape"} & spec.options.keys():
        return size
    frame = BoxFrame((1.0, 1.0), cast("Axes", axes), cast("Shape", shape))
    if size is None:
        return frame.with_size
    return (lambda image: frame.with_size(size(image))) if callable(size) else frame.with_size(size)


def _size_option(spec: Spec, say: Say) -> Frame | Callable[[Frame], Frame] | None:
    text = spec.options.get("frame")
    if text is None:
        say("the file has no frame: boxes are read as thousandths of the image (frame=1000)")
        return 1000.0, 1000.0
    if text == "pixels":
        return None
    if text == "resized":
        fewest, most = spec.whole("min_pixels", _FEWEST), spec.whole("max_pixels", _MOST)
        factor = spec.whole("factor", _FACTOR)
        return lambda image: resized_size(image, factor, fewest, most)
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)(?:x([0-9]*\.?[0-9]+))?", text)
    size = (float(found[1]), float(found[2] or found[1])) if found else (0.0, 0.0)
    if min(size) <= 0:
        raise ConfigError(f"{spec.text!r}: expected frame= pixels, resized, 1000 or WIDTHxHEIGHT, found {text!r}")
    return size


def resized_size(image: Frame, factor: int, fewest: int, most: int) -> Frame:
    """Return width and height to which Qwen2-VL's image processor resizes an image (`smart_resize` in transformers).

    Sides become multiples of `factor`, and the area at least `fewest` and at most `most` pixels.
    """
    width, height = (max(factor, round(side / factor) * factor) for side in image)
    if width * height > most:
        scale = (image[0] * image[1] / most) ** 0.5
        width, height = (max(factor, int(side / scale // factor) * factor) for side in image)
    elif width * height < fewest:
        scale = (fewest / (image[0] * image[1])) ** 0.5
        width, height = (int(-(-side * scale // factor)) * factor for side in image)
    return float(width), float(height)


# ---------------------------------------------------------------- fields


def text_of(row: dict[str, Any], key: str, where: str) -> str:
    """Return a field that is a text.

    Raises:
        InputError: it is missing or something else.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f"{where}: {key}", expected="a text", found=short(value))
    return value


def id_of_image(value: Any, where: str) -> str:
    """Return the id of an image that is named by its file: the file's name without folders and ending.

    Args:
        value: a path or an address, or an object with one under "path".
        where: file, line and field, for messages.

    Raises:
        InputError: there is no name.
    """
    path = value.get("path") if isinstance(value, dict) else value
    path = path if isinstance(path, str) and not path.startswith("data:") else ""
    name = PurePosixPath(path.replace("\\", "/").partition("?")[0]).stem
    if not name:
        hint = "images inside the file have no name: name a field with id=FIELD"
        raise InputError(where, expected="the path of an image", found=short(value), hint=hint)
    return name


def existing_folder(path: Path, holding: str) -> Path:
    """Return a folder that exists.

    Raises:
        InputError: it is none.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing there"
        raise InputError(str(path), expected=f"a folder with {holding}", found=found)
    return path
