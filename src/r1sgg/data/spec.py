"""What stands behind --data, taken apart: KIND:PATH[,OPTION=VALUE]...; it opens nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from r1sgg.errors import ConfigError

KINDS: dict[str, tuple[str, ...]] = {
    "scenes": ("count", "seed", "preset", "split", "annotation"),
    "jsonl": ("split", "open", "part"),
    "vg150": (
        *("split", "open", "part", "images", "scale", "splits", "val_images", "empty"),
        *("filter_non_overlap", "filter_duplicate_rels", "seed"),
    ),
    "psg": ("split", "images", "panoptic", "empty"),
    "coco": ("split", "images", "empty", "open", "part"),
    "hub": ("split", "stream", "open", "part"),
}
"""The kinds of data, and the options that each takes."""

_OPTION = re.compile(r"\s*([A-Za-z_]+)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spec:
    """`text` as it was written; `place` is a path, a Hub name, or a number of scenes."""

    text: str
    kind: str
    place: str
    options: Mapping[str, str]

    @property
    def path(self) -> Path:
        """`place` as a path."""
        return Path(self.place).expanduser()

    def whole(self, key: str, default: int) -> int:
        """The whole number of an option.

        Raises:
            ConfigError: it is none.
        """
        text = self.options.get(key, str(default))
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ConfigError(f"{self.text!r}: expected a whole number for {key}, found {text!r}")
        return int(text)

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        """One of the values that an option may have.

        Raises:
            ConfigError: it is another.
        """
        value = self.options.get(key, default)
        if value not in allowed:
            raise ConfigError(f"{self.text!r}: expected {key}= one of {', '.join(allowed)}, found {value!r}")
        return value

    def yes(self, key: str) -> bool:
        """Whether an option says yes; where it isn't given, no.

        Raises:
            ConfigError: neither yes nor no.
        """
        return self.choice(key, ("yes", "no"), "no") == "yes"

    def folder(self, key: str, default: Path) -> Path:
        """The folder that an option names.

        Raises:
            ConfigError: there is none.
        """
        if key not in self.options:
            return default
        folder = Path(self.options[key]).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"{self.text!r}: expected {key}= a folder, found no folder {folder}")
        return folder


def parse_spec(text: str) -> Spec:
    """Take a specification apart; the path may hold commas, and without a kind it is a ground-truth file.

    Raises:
        ConfigError: no such kind or option.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS:
        if colon and re.fullmatch("[a-z0-9]{2,12}", kind) and not Path(text).exists():
            raise ConfigError(f"{text!r}: expected one of {', '.join(f'{k}:' for k in KINDS)}, found {kind + ':'!r}")
        kind, rest = "jsonl", text
    place, *parts = rest.split(",")
    options: dict[str, str] = {}
    if kind == "scenes" and (found := _OPTION.fullmatch(place)):  # scenes:count=1000 is scenes:1000
        place, parts = "", [place, *parts]
    for part in parts:
        found = _OPTION.fullmatch(part)
        if found is None and not options:
            place += f",{part}"
            continue
        if found is None or found[1] not in KINDS[kind] or not found[2].strip():
            expected = ", ".join(f"{k}=" for k in KINDS[kind])
            raise ConfigError(f"{text!r}: expected options of {expected}, found {part!r}")
        options[found[1]] = found[2].strip()
    place = place.strip() or options.get("count", "")
    if not place:
        wanted = {"scenes": "COUNT", "hub": "NAME"}.get(kind, "PATH")
        raise ConfigError(f"{text!r}: expected {kind}:{wanted}, found nothing there")
    return Spec(text, kind, place, options)
