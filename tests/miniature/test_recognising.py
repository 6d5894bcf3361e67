"""`is_drawn_scene`, on scenes as people keep them and on what is none; benchmarks/drawn.py has the error rates."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from r1sgg.data.images import open_image
from r1sgg.errors import ImageError
from r1sgg.miniature.recognising import is_drawn_scene, remark_on
from r1sgg.miniature.scenes import PRESETS, SMALL, scene, split_seeds
from r1sgg.models.families import load_checkpoint

COUNT = 25


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("preset", PRESETS)
def test_scenes_are_scenes_however_they_are_kept(preset: str) -> None:
    for seed in split_seeds("validation", 4, COUNT):
        image = scene(seed, PRESETS[preset]).image
        assert is_drawn_scene(image), seed
        assert is_drawn_scene(jpeg(image, 60)), seed
        assert is_drawn_scene(image.resize((image.width * 3, image.height * 3))), seed
        assert is_drawn_scene(image.resize((112, 84))), seed
        assert is_drawn_scene(image.convert("RGBA")), seed
        assert not is_drawn_scene(ImageOps.grayscale(image)), seed
        assert not is_drawn_scene(ImageOps.flip(image)), seed
        assert not is_drawn_scene(ImageOps.invert(image)), seed


def test_photos_are_none(shared: Path) -> None:
    photos = [*(shared / "data/vg_sample/images").iterdir(), *(shared / "data/coco_sample/images").glob("*.jpg")]
    assert len(photos) > 15
    for path in photos:
        image = open_image(path)
        assert not is_drawn_scene(image), path
        assert not is_drawn_scene(ImageOps.grayscale(image)), path


def window() -> Image.Image:
    image = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(image)
    for row in range(40, 440, 16):
        pen.rectangle((40, row, 40 + 17 * row % 500, row + 6), fill=(90, 90, 90))
    return image


def cartoon() -> Image.Image:
    image = Image.new("RGB", (640, 480), (135, 206, 235))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 260, 640, 480), fill=(124, 252, 0))
    pen.ellipse((200, 200, 320, 400), fill=(200, 40, 40), outline=(0, 0, 0))
    return image


def test_other_pictures_are_none() -> None:
    ramp = np.linspace((120, 176, 236), (150, 196, 104), 300)[
        :, None
    ]  # from a scene's sky to its grass, without horizon
    others = {
        "white": Image.new("RGB", (300, 200), "white"),
        "one colour of the ground": Image.new("RGB", (300, 200), (230, 236, 240)),
        "a pixel": Image.new("RGB", (1, 1), (200, 210, 220)),
        "noise": Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)),
        "gradient": Image.fromarray(np.broadcast_to(ramp, (300, 300, 3)).astype(np.uint8)),
        "screenshot": window(),
        "cartoon": cartoon(),
        "1 bit": Image.new("1", (100, 100), 1),
        "transparent": Image.new("RGBA", (100, 100), (0, 0, 0, 0)),
    }
    assert [name for name, image in others.items() if is_drawn_scene(image)] == []


def test_a_ground_without_its_lower_half_is_none() -> None:
    """Every part of the height must be there, so that a sky alone is not enough."""
    rng = random.Random(1)
    for seed in split_seeds("validation", 5, COUNT):
        image = scene(seed, SMALL).image
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 70, 112, 112), fill=(rng.randrange(90), rng.randrange(90), rng.randrange(90)))
        assert not is_drawn_scene(image)


def test_what_is_said_depends_on_who_chose_the_model() -> None:
    tiny, drawn, other = load_checkpoint("tiny"), scene(3, SMALL).image, window()
    assert remark_on(drawn, tiny, named=False) is None
    remark = remark_on(other, tiny, named=True)
    assert remark == "not a drawn scene, and tiny knows nothing else: this graph means nothing; use --model photo"
    with pytest.raises(
        ImageError, match=r"a.png: expected a drawn scene.* tiny .*; use --model photo, .* --model tiny"
    ):
        remark_on(other, tiny, named=False, where="a.png")


def test_only_models_that_saw_nothing_else_are_limited(tiny_checkpoint: Path) -> None:
    for name in ("tiny", "tiny-sft", "tiny-base"):
        assert (load_checkpoint(name).notice or "").startswith(f"{name} knows drawn scenes only")
    untrained = load_checkpoint(tiny_checkpoint)
    assert untrained.notice is None
    assert remark_on(window(), untrained, named=False) is None
