"""The dialects by name, and which of them a file is written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from r1sgg.errors import ConfigError, choices
from r1sgg.graph.dialects import (
    arrows,
    asmv2,
    det_tags,
    florence,
    gemini,
    internvl,
    ours,
    paligemma,
    pix2grp,
    qwen_json,
    qwen_tags,
    sgg_r3,
    spatialthinker,
    toon,
)
from r1sgg.graph.dialects.dialect import Dialect

OURS, AUTO = "ours", "auto"

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        *(toon.DIALECT, sgg_r3.DIALECT, spatialthinker.DIALECT, asmv2.DIALECT, pix2grp.DIALECT, det_tags.DIALECT),
        *(qwen_tags.DIALECT, internvl.DIALECT, florence.DIALECT, paligemma.DIALECT, gemini.DIALECT, arrows.DIALECT),
        *(qwen_json.DIALECT, ours.DIALECT),
    )
}
"""Every dialect by name. A text is in the first one that it looks like: what is most particular comes first."""


def dialect_of_name(name: str) -> Dialect:
    """Return a dialect.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in DIALECTS:
        raise ConfigError(f"dialect: expected one of {choices(sorted(DIALECTS), name)}, found {name!r}")
    return DIALECTS[name]


def check_dialect(name: str) -> None:
    """See that a setting is "auto" or the name of a dialect.

    Raises:
        ConfigError: it is neither.
    """
    if name != AUTO:
        dialect_of_name(name)


def dialect_of(text: str) -> str | None:
    """Return the name of the dialect that a text looks like, or None."""
    tags = not (text.count("<") == 4 and text.startswith("<think>") and text.endswith("</answer>"))
    for name, (with_tags, dialect) in _CANDIDATES.items():
        if (tags or not with_tags) and any(mark in text for mark in dialect.marks) and dialect.looks(text):
            return name
    return None


_CANDIDATES = {
    name: (all(mark.startswith("<") for mark in dialect.marks), dialect) for name, dialect in DIALECTS.items()
}
"""The dialects, and whether every text of one has a tag: a text in the prompted layout has no other than its four."""


@dataclass(slots=True)
class Choice:
    """Which dialect a file is read in, and why.

    Attributes:
        dialect: its name.
        asked: what was asked for: "auto", or a name.
        texts: how many completions were looked at.
        looks: how many of them look like each dialect.
    """

    dialect: str = OURS
    asked: str = AUTO
    texts: int = 0
    looks: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {"name": self.dialect, "asked": self.asked, "texts": self.texts, "looks_like": dict(self.looks)}


def choose_dialect(texts: Iterable[str], asked: str = AUTO) -> Choice:
    """Decide the dialect of a file from all its completions: the one that most of them look like, ours if none does.

    Args:
        texts: the completions.
        asked: "auto", or the name of a dialect, which then is chosen whatever the texts look like.

    Raises:
        ConfigError: there is no such dialect.
    """
    check_dialect(asked)
    choice = Choice(asked=asked)
    for text in texts:
        choice.texts += 1
        if (name := dialect_of(text)) is not None:
            choice.looks[name] += 1
    if asked != AUTO:
        choice.dialect = asked
    elif choice.looks:
        choice.dialect = max(choice.looks, key=lambda name: (choice.looks[name], name == OURS))
    return choice
