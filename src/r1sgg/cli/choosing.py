"""Which model a command uses, and how it is asked, where the user does not say.

Without --model it is the shipped `tiny`, which knows drawn scenes only; anything else is refused before it is loaded.
The model called photo is asked as its row in `r1sgg.models.known` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from r1sgg.errors import ConfigError, InputError

if TYPE_CHECKING:
    from PIL import Image

    from r1sgg.data.predictions import Ask

DEFAULT_MODEL = "tiny"
"""The model of `predict`, `generate`, `serve` and `web` if none is named. It is shipped and knows drawn scenes only."""
ModelOrDefault = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Checkpoint folder, Hub name (owner/name), photo (a small model for photos, fetched from the Hub), or "
        "tiny; for a server the name of its model.",
        show_default="tiny, for drawn scenes only",
    ),
]
AskOption = Annotated[
    str | None,
    typer.Option(
        "--ask",
        metavar="MODE",
        help="paper: one prompt for the graph; native: two questions in the words that the model's makers taught it.",
        show_default="paper; photo: native",
    ),
]


def ask_mode(ask: str | None, model: str | None, *told: Any) -> Ask:
    """Return the mode of --ask; without it the model's own (`r1sgg.models.known.RECOMMENDED`), else "paper".

    Args:
        ask: what the user said.
        model: the name that the user gave.
        told: options about the prompt and the layout of the answer, which native questions do not have: where one is
            given (not None) the mode is "paper".

    Raises:
        ConfigError: there is none of that name.
    """
    from r1sgg.data.predictions import Ask
    from r1sgg.models.known import recommended_ask

    if ask is None:
        return "paper" if any(value is not None for value in told) else recommended_ask(str(model))
    for mode in get_args(Ask):
        if ask == mode:
            return mode  # type: ignore[no-any-return]
    raise ConfigError(f"--ask: expected {' or '.join(get_args(Ask))}, found {ask!r}")


def refuse_photos(images: Iterable[tuple[str, Callable[[], Image.Image]]]) -> None:
    """Refuse to begin with the default model if the first image that can be opened is no drawn scene.

    Args:
        images: names of images, and functions that open them.

    Raises:
        ImageError: it is none. No model was loaded to find that.
    """
    from r1sgg.miniature.recognising import is_drawn_scene, refuse

    for name, opened in images:
        try:
            image = opened()
        except InputError:  # said when its turn comes
            continue
        if not is_drawn_scene(image):
            refuse(name, DEFAULT_MODEL)
        return
