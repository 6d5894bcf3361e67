"""How often `is_drawn_scene` errs: scenes that are refused, and other images that are taken for scenes.

    python benchmarks/drawn.py --photos ../shared/data/vg_sample/images ../shared/data/coco_sample/images

Scenes are of splits that no shipped model saw, as they are drawn, as JPEG and resized. Photos are every image in the
folders, whole, in grey, and 20 random parts of each. The others are made here: screenshots (windows, text, icons),
cartoons (a flat sky over flat ground with shapes; in any colours, and in those of the scenes' own backgrounds),
gradients, noise, flat colours. Writes drawn.json.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from r1sgg.data.images import open_image
from r1sgg.errors import ImageError
from r1sgg.files import write_json
from r1sgg.miniature.procedural.background import COLOURS
from r1sgg.miniature.recognising import is_drawn_scene
from r1sgg.miniature.scenes import PRESETS, scene, split_seeds

SIZES = ((224, 224), (640, 480), (1280, 720))
PARTS = 20


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Compress with colour at half resolution, as most programs do."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as drawn": lambda image: image,
    "JPEG 90": lambda image: jpeg(image, 90),
    "JPEG 50": lambda image: jpeg(image, 50),
    "JPEG 30": lambda image: jpeg(image, 30),
    "half size": lambda image: scaled(image, 0.5),
    "3 times, JPEG 75": lambda image: jpeg(scaled(image, 3), 75),
    "squeezed to 112 x 112": lambda image: image.resize((112, 112)),
    "mirrored": ImageOps.mirror,
}


def photos(folders: list[Path]) -> Iterator[tuple[str, Image.Image]]:
    rng = random.Random(0)
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        try:
            image = open_image(path)
        except ImageError:
            continue
        yield "photos", image
        yield "photos in grey", ImageOps.grayscale(image).convert("RGB")
        for _ in range(PARTS):
            share = rng.uniform(0.2, 0.9)
            width, height = max(1, int(image.width * share)), max(1, int(image.height * share))
            x, y = rng.randrange(image.width - width + 1), rng.randrange(image.height - height + 1)
            yield "parts of photos", image.crop((x, y, x + width, y + height))


def screenshot(rng: random.Random) -> Image.Image:
    """Windows with title bars, lines of text and icons on a flat or light ground."""
    width, height = rng.choice(SIZES)
    ground = rng.choice(((255, 255, 255), (30, 30, 34), (240, 240, 245), (0, 120, 215), (236, 236, 236)))
    image = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(1, 4)):
        x, y = rng.randrange(width // 2), rng.randrange(height // 2)
        right, bottom = x + rng.randint(width // 4, width), y + rng.randint(height // 4, height)
        pen.rectangle((x, y, right, bottom), fill=rng.choice(((255, 255, 255), (248, 248, 250), (40, 44, 52))))
        pen.rectangle((x, y, right, y + 18), fill=_colour(rng))
        for row in range(y + 26, bottom, 14):
            pen.rectangle((x + 8, row, x + 8 + rng.randint(10, max(11, right - x - 20)), row + 5), fill=_grey(rng))
    for k in range(rng.randint(0, 12)):
        pen.rounded_rectangle((8 + 40 * k, height - 40, 36 + 40 * k, height - 12), 6, fill=_colour(rng))
    return image


def cartoon(rng: random.Random, colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Image.Image:
    """A flat sky over a flat ground, with shapes."""
    width, height = rng.choice(SIZES)
    image = Image.new("RGB", (width, height), colours[0])
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, int(height * rng.uniform(0.4, 0.7)), width, height), fill=colours[1])
    for _ in range(rng.randint(3, 10)):
        x, y, size = rng.randrange(width), rng.randrange(height), rng.randint(width // 12, width // 3)
        draw = rng.choice((pen.ellipse, pen.rectangle))
        draw((x - size // 2, y - size // 2, x + size // 2, y + size // 2), fill=_colour(rng), outline=(20, 20, 20))
    return image


def gradient(rng: random.Random) -> Image.Image:
    """A vertical ramp between two colours."""
    width, height = rng.choice(SIZES)
    ramp = np.linspace(_colour(rng), _colour(rng), height)[:, None]
    return Image.fromarray(np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8))


def noise(rng: random.Random) -> Image.Image:
    draws = np.random.default_rng(rng.randrange(1 << 30))
    return Image.fromarray(draws.integers(0, 256, (*rng.choice(SIZES)[::-1], 3), dtype=np.uint8))


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _grey(rng: random.Random) -> tuple[int, int, int]:
    return (rng.randrange(40, 160),) * 3


def _ours(rng: random.Random) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Middles of a background's two ramps: the hardest flat colours."""
    a, b, c, d = (np.array(colour) for colour in rng.choice(list(COLOURS.values())))
    sky, ground = (a + b) // 2, (c + d) // 2
    return tuple(map(int, sky)), tuple(map(int, ground))  # type: ignore[return-value]


MADE: dict[str, Callable[[random.Random], Image.Image]] = {
    "screenshots": screenshot,
    "cartoons, any colours": lambda rng: cartoon(rng, (_colour(rng), _colour(rng))),
    "cartoons, our grounds' colours": lambda rng: cartoon(rng, _ours(rng)),
    "gradients": gradient,
    "noise": noise,
    "one colour": lambda rng: Image.new("RGB", rng.choice(SIZES), _colour(rng)),
    "white, black, greys": lambda rng: Image.new(
        "RGB", rng.choice(SIZES), rng.choice(((255,) * 3, (0,) * 3, _grey(rng)))
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of photos")
    parser.add_argument("--count", type=int, default=1000, help="scenes of each preset, and made images of each kind")
    parser.add_argument("--json", type=Path, default=Path("drawn.json"))
    options = parser.parse_args()
    found: dict[str, dict[str, int]] = {}
    checked, seconds = 0, 0.0

    def add(kind: str, image: Image.Image, *, drawn: bool) -> None:
        nonlocal checked, seconds
        begun = time.process_time()
        wrong = is_drawn_scene(image) is not drawn
        seconds += time.process_time() - begun
        checked += 1
        row = found.setdefault(kind, {"images": 0, "wrong": 0})
        row["images"] += 1
        row["wrong"] += wrong

    for preset, config in PRESETS.items():
        for seed in split_seeds("test", 77, options.count):
            drawn = scene(seed, config).image
            for name, change in CHANGES.items():
                add(f"{preset} scenes, {name}", change(drawn), drawn=True)
    for kind, image in photos(options.photos):
        add(kind, image, drawn=False)
    for kind, make in MADE.items():
        rng = random.Random(kind)
        for _ in range(options.count):
            add(kind, make(rng), drawn=False)
    print(f"| {'images':38} | number | wrong | % |\n|---|---|---|---|")
    for kind, row in found.items():
        print(f"| {kind:38} | {row['images']:,} | {row['wrong']} | {100 * row['wrong'] / row['images']:.1f} |")
    print(f"{1000 * seconds / checked:.1f} ms of CPU time for an image, decoding not counted")
    write_json(options.json, {"rows": found, "ms": 1000 * seconds / checked})


if __name__ == "__main__":
    main()
