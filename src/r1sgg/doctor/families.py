"""The table of model families, as `r1sgg doctor --families` prints it and docs/families.md shows it.

What a row says is `r1sgg.models.family`; nothing is looked up here, and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from r1sgg.models.coordinates import Convention
from r1sgg.models.family import CAPABILITIES, Capability, ModelFamily
from r1sgg.models.registry import FAMILIES

BOXES: dict[Convention, str] = {
    "thousandths": "0..1000",
    "up_to_999": "0..999",
    "bins_1024": "1,024 bins",
    "fractions": "0..1",
    "resized_pixels": "resized pixels",
    "image_pixels": "pixels",
    "padded_square": "0..1 of square",
    "square_thousandths": "0..1000 of square",
}
"""Units of boxes in words."""

FACTS = ("family", "model types", "boxes as taught", "dialect", "boxes of graphs", "images by", "image token", "thinks")


def record(family: ModelFamily) -> dict[str, Any]:
    """Return a row as JSON."""
    return {
        "family": family.name,
        "model_types": list(family.model_types),
        "marks": list(family.marks),
        "boxes": {"unit": family.coordinates, "axes": family.axes, "dialect": family.dialect},
        "graphs": family.answers or family.coordinates,
        "images": {"limit": family.images, "max_pixels": family.max_pixels, "frames": family.frames},
        "image_tokens": {"token": family.image_token, "runs": family.runs, "expanded_by_processor": family.expands},
        "tower": family.tower,
        "merger": family.merger,
        "thinks": family.thinks,
        "chat_template": "its own" if family.template is None else "lines",
        "can": {name: family.can(name) for name in CAPABILITIES},
        "cannot": dict(family.cannot),
        "not_run": [name for name in family.not_run if name not in family.cannot],
        "unserved": dict(family.unserved),
        "source": family.source,
        "checked": family.checked,
    }


def facts(family: ModelFamily) -> tuple[str, ...]:
    """Return the cells of a row, under `FACTS`."""
    taught = BOXES[family.coordinates] + (", y first" if family.axes == "yx" else "")
    several = ", several runs" if family.runs == "several" else ""
    types = ", ".join(family.model_types) + (f" with {family.marks[-1]}" if family.marks else "")
    return (
        family.name,
        types,
        taught if family.dialect or family.coordinates == "padded_square" else "none",
        family.dialect or "-",
        BOXES[family.answers or family.coordinates],
        family.images,
        family.image_token + several,
        "yes" if family.thinks else "no",
    )


def abilities(family: ModelFamily) -> tuple[str, ...]:
    """Return the name of a family and, for each of `CAPABILITIES`: yes, no, or "not run"."""
    words = {name: "no" if name in family.cannot else "not run" for name in CAPABILITIES if not family.can(name)}
    return (family.name, *(words.get(name, "yes") for name in CAPABILITIES))


TABLES: tuple[tuple[tuple[str, ...], Callable[[ModelFamily], tuple[str, ...]]], ...] = (
    (FACTS, facts),
    (("family", *CAPABILITIES), abilities),
)
"""Heads and cells of the two tables."""


def reasons() -> list[str]:
    """Say what each family cannot do or has not done, and why: one line for each reason."""
    said = []
    for family in FAMILIES:
        by_reason: dict[str, list[Capability]] = {}
        for name in CAPABILITIES:
            if name in family.cannot:
                by_reason.setdefault(family.cannot[name], []).append(name)
        said += [f"{family.name}: no {', '.join(names)}, because {reason}" for reason, names in by_reason.items()]
        unserved = family.unserved.items()
        said += [f"{family.name}: {kind} not run with vLLM, because {reason}" for kind, reason in unserved]
    return said
