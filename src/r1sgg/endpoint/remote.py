"""A model behind a server: how it is asked and in which frame it answers, without a file of it at hand.

A server says a model's name and nothing of its coordinates. Where the name is that of a checkpoint folder, the folder
says how to ask; otherwise the family is given, or one whose name is part of the model's; any other model is told in the
prompt that coordinates run from 0 to 1000. Deliberately no requests here: that is `r1sgg.endpoint.engine`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from PIL import Image

from r1sgg.errors import ConfigError
from r1sgg.models.coordinates import pad_to_square
from r1sgg.models.families import Checkpoint, family_of, resolve
from r1sgg.models.family import FAMILIES, ModelFamily
from r1sgg.models.finding import shipped
from r1sgg.models.prompts import AnswerSettings

TOLD = ModelFamily("0-1000", (), "thousandths", max_pixels=None)
"""A model of no known family, which goes by what the prompt says."""
_LEAST_PIXELS = 56 * 56
_MEAN_COLOUR = (122, 116, 104)  # of CLIP's training images, with which LLaVA pads


@dataclass(frozen=True, slots=True)
class Remote(Checkpoint):
    """How to ask a model behind a server. `processor` stands for the server's: it only decides the resized size.

    Attributes:
        max_pixels: images are sent with at most so many pixels; None sends them as they are.
    """

    max_pixels: int | None = None

    @property
    def image_pixels(self) -> list[int] | None:
        """See `Checkpoint.image_pixels`."""
        return [_LEAST_PIXELS, self.max_pixels] if self.max_pixels else None

    def view(self, image: Image.Image) -> Image.Image:
        """The image as it is sent: small enough, and so that the server's own processor changes its size no further.

        Pixels of the resized image are a frame only if it is known how the image is resized: here, and not again there.
        """
        if self.family.coordinates == "padded_square":
            image = pad_to_square(image, _MEAN_COLOUR, centred=False)
        width, height = image.size
        if self.family.coordinates == "resized_pixels":
            width, height = map(int, self.frame(image.size))
        elif self.max_pixels and width * height > self.max_pixels:
            scale = math.sqrt(self.max_pixels / (width * height))
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
        return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def remote(model: str, family: str | None = None, max_pixels: int | None = None) -> Remote:
    """How to ask the model of that name.

    Args:
        model: a checkpoint folder or "tiny", whose settings and config.json then say it; or the server's name.
        family: name of a family; by default the one whose name is part of the model's.
        max_pixels: see `Remote`.

    Raises:
        ConfigError: no name, no such family, or a folder says another.
        ModelError, InputError: the folder is no checkpoint of a known family.
    """
    if not model:
        raise ConfigError("--model: expected the server's name of a model, found nothing")
    path, settings = model, AnswerSettings()
    known = {f.name.lower(): f for f in (*FAMILIES, TOLD)}
    if model in shipped() or Path(model).expanduser().is_dir():
        if family is not None:
            raise ConfigError(f"family={family}: {model} is a checkpoint folder, which says its family itself")
        path = resolve(model)
        chosen, settings = family_of(path), AnswerSettings.read(Path(path))
    elif family is not None and family.lower() not in known:
        names = ", ".join(f.name for f in known.values())
        raise ConfigError(f"family: expected one of {names}, found {family!r}")
    else:
        chosen = known[family.lower()] if family else next((f for n, f in known.items() if n in model.lower()), TOLD)
    limit = max_pixels or chosen.max_pixels
    size = {"shortest_edge": _LEAST_PIXELS, "longest_edge": limit}
    processor = SimpleNamespace(image_processor=SimpleNamespace(patch_size=14, merge_size=2, size=size))
    return Remote(model, path, chosen, processor, settings, max_pixels=limit)
