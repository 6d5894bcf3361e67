"""The prompt settings and the frame of a model on a server, without its files.

A server reports the name of its model, but not the coordinates that the model uses. If the name is that of a checkpoint
folder, the settings are read there. Otherwise the family is passed, or the one that the name says
(`r1sgg.models.naming`), which `Remote.guess` tells; of a model whose name says none no frame is assumed. No requests
are sent here: see `r1sgg.endpoint.engine`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

from PIL import Image

from r1sgg.errors import ConfigError
from r1sgg.files import user_path
from r1sgg.graph.frames import Frame
from r1sgg.models.coordinates import pad_to_square
from r1sgg.models.families import Checkpoint, family_of, recorded_settings, resolve
from r1sgg.models.family import ModelFamily
from r1sgg.models.finding import shipped
from r1sgg.models.known import known_checkpoint
from r1sgg.models.naming import UNKNOWN, families_said, family_by_name
from r1sgg.models.prompts import AnswerSettings
from r1sgg.models.registry import FAMILIES

_LEAST_PIXELS = 56 * 56
_MEAN_COLOUR = (122, 116, 104)  # mean of CLIP's training images, LLaVA's padding


@dataclass(frozen=True, slots=True)
class Remote(Checkpoint):
    """The settings of a model on a server. `processor` replaces the server's; only its resized size is used.

    Attributes:
        max_pixels: larger images are resized to at most this many pixels; None sends them unchanged.
        guess: one sentence, where the family was taken from the model's name alone; "" where it was not.
        nameless: one sentence, where the name says no family and none was passed; "" elsewhere.
    """

    max_pixels: int | None = None
    guess: str = ""
    nameless: str = ""

    def frame(self, image_size: tuple[int, int]) -> Frame:
        """See `Checkpoint.frame`.

        Raises:
            ConfigError: nobody said whose coordinates the model uses, see `nameless`.
            ImageError: the image is more than 200 times as long as wide.
        """
        if self.nameless:
            raise ConfigError(self.nameless)
        return self.family.frame(image_size, self.processor)

    @property
    def image_pixels(self) -> list[int] | None:
        """See `Checkpoint.image_pixels`."""
        return [_LEAST_PIXELS, self.max_pixels] if self.max_pixels else None

    def view(self, image: Image.Image) -> Image.Image:
        """Return the image as it is sent, at a size that the server's own processor does not change.

        A frame in pixels of the resized image is right only if the size is known: so it is resized here, not there.
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
    """Return the settings of the model of that name.

    Args:
        model: a checkpoint folder or "tiny", whose settings and config.json are read; or its name on the server.
        family: name of a family; None: the one whose name is part of the model's name.
        max_pixels: see `Remote`.

    Raises:
        ConfigError: no name, an unknown family, or a family beside a checkpoint folder.
        ModelError, InputError: the folder is not a checkpoint of a known family.
    """
    if not model:
        raise ConfigError("--model: expected the name of the model on the server, found nothing")
    path, settings, guess, nameless, recorded = model, AnswerSettings(), "", "", None
    if model in shipped() or user_path(model).is_dir():
        if family is not None:
            raise ConfigError(
                f"family={family}: expected no family, because {model} is a checkpoint folder that states its own"
            )
        path = resolve(model)
        chosen, recorded = family_of(path), recorded_settings(path)
        settings = recorded or settings
    elif family is not None:
        if (found := family_by_name(family)) is None:
            raise ConfigError(f"family: expected one of {_names()}, found {family!r}")
        chosen = found
    elif (published := known_checkpoint(model)) is not None:
        by_name = family_by_name(published.family)
        assert by_name is not None
        chosen, settings = by_name, published.settings
        max_pixels = max_pixels or published.max_pixels
    else:
        said = families_said(model)
        chosen = said[0] if len(said) == 1 else UNKNOWN
        if len(said) == 1:
            guess = f"{model}: taken for {_described(chosen)} by its name; if it is another: --family NAME"
        else:
            found_names = " and ".join(f.name for f in said) or "none"
            nameless = (
                f"--model {model}: expected a name that says one family, whose coordinates its boxes are in, found "
                f"{found_names}; add --family NAME ({_names()}), or measure it: r1sgg doctor --frame --model {model} "
                "--engine openai:URL"
            )
    limit = max_pixels or chosen.max_pixels
    size = {"shortest_edge": _LEAST_PIXELS, "longest_edge": limit and limit * chosen.frames}
    processor = SimpleNamespace(image_processor=SimpleNamespace(patch_size=14, merge_size=2, size=size))
    is_recorded, how = recorded is not None, (model, path, chosen, processor, settings)
    return Remote(*how, recorded=is_recorded, max_pixels=limit, guess=guess, nameless=nameless)


def _names() -> str:
    return ", ".join(family.name for family in (*FAMILIES, UNKNOWN))


def _described(family: ModelFamily) -> str:
    """A family and what its boxes are relative to, for a sentence."""
    if family is UNKNOWN:
        return "a model that writes boxes as the prompt says, from 0 to 1000,"
    units = {
        "thousandths": "0 to 1000",
        "square_thousandths": "0 to 1000 of a padded square",
        "up_to_999": "0 to 999",
        "bins_1024": "1,024 bins",
        "resized_pixels": "pixels of the resized image",
        "image_pixels": "pixels of the image",
    }
    return f"{family.name} (boxes in {units.get(family.answers or family.coordinates, 'units of its own')})"
