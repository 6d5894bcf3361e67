"""The parts of what follows --data, KIND:PATH[,OPTION=VALUE]...; nothing is opened here.

The kinds of this package are in `KINDS`. Another package (and `r1sgg.miniature`) registers a `SourceKind` as an entry
point of the group "r1sgg.data"; see docs/howto.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from r1sgg.errors import ConfigError, choices
from r1sgg.files import user_path

if TYPE_CHECKING:
    from r1sgg.data.dataset import DataSet

KINDS: dict[str, tuple[str, ...]] = {
    "jsonl": ("split", "open", "part", "parents"),
    "vg150": (
        *("split", "open", "part", "parents", "images", "scale", "splits", "val_images", "empty"),
        *("filters", "filter_non_overlap", "filter_duplicate_rels", "seed"),
    ),
    "psg": ("split", "images", "panoptic", "empty"),
    "coco": ("split", "images", "empty", "open", "part", "parents"),
    "hub": ("split", "stream", "names", "open", "part", "parents"),
}
"""The kinds of data in this package, and the options that each takes."""


class SourceKind(NamedTuple):
    """A kind of data: its options, the function that opens it, and the name of its place in messages."""

    options: tuple[str, ...]
    open: Callable[[Spec], DataSet]
    place: str = "PATH"


def is_kind(name: str) -> bool:
    """Return whether there is a kind of data of that name."""
    return name in KINDS or name in registered()


def kind_of(name: str) -> SourceKind:
    """Return the kind of that name (any but "jsonl"); its module is imported here, because h5py and datasets are large.

    Raises:
        KeyError: there is no such kind.
    """
    if name in KINDS:
        module = importlib.import_module(f"r1sgg.data.{name}")
        return SourceKind(KINDS[name], getattr(module, f"open_{name}"), "NAME" if name == "hub" else "PATH")
    kind = registered()[name].load()
    if not isinstance(kind, SourceKind):
        raise TypeError(f"entry point {name!r} of r1sgg.data: expected a SourceKind, found {type(kind).__name__}")
    return kind


@functools.cache
def registered() -> dict[str, EntryPoint]:
    """Return the kinds that installed packages register."""
    return {point.name: point for point in entry_points(group="r1sgg.data")}


_OPTION = re.compile(r"\s*([A-Za-z_]+)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spec:
    """A specification, `text` as it was written, and its parts; `place` is a path, a Hub name or a number of scenes."""

    text: str
    kind: str
    place: str
    options: Mapping[str, str]

    @property
    def path(self) -> Path:
        """`place` as a path."""
        return user_path(self.place)

    def whole(self, key: str, default: int) -> int:
        """Return the whole number of an option.

        Raises:
            ConfigError: it is something else.
        """
        text = self.options.get(key, str(default))
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ConfigError(f"{self.text!r}: expected a whole number for {key}, found {text!r}")
        return int(text)

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        """Return the value of an option, one of those allowed.

        Raises:
            ConfigError: it is another.
        """
        value = self.options.get(key, default)
        if value not in allowed:
            raise ConfigError(f"{self.text!r}: expected {key}= one of {', '.join(allowed)}, found {value!r}")
        return value

    def yes(self, key: str) -> bool:
        """Return whether an option is yes; an option that is not given is no.

        Raises:
            ConfigError: neither yes nor no.
        """
        return self.choice(key, ("yes", "no"), "no") == "yes"

    def folder(self, key: str, default: Path) -> Path:
        """Return the folder that an option names.

        Raises:
            ConfigError: there is no such folder.
        """
        if key not in self.options:
            return default
        folder = user_path(self.options[key])
        if not folder.is_dir():
            raise ConfigError(f"{self.text!r}: expected {key}= a folder, found no folder {folder}")
        return folder


def parse_spec(text: str) -> Spec:
    """Return the parts of a specification; without a kind it is a ground-truth file.

    Raises:
        ConfigError: no such kind or option.
    """
    kind, colon, rest = text.partition(":")
    if not colon or not is_kind(kind):
        if colon and re.fullmatch("[a-z0-9]{2,12}", kind) and not Path(text).exists():
            known = choices((f"{k}:" for k in (*KINDS, *registered())), f"{kind}:")
            raise ConfigError(f"{text!r}: expected one of {known}, found {kind + ':'!r}")
        kind, rest = "jsonl", text
    allowed, called = (KINDS[kind], "NAME" if kind == "hub" else "PATH") if kind in KINDS else kind_of(kind)[::2]
    return spec_of(text, kind, rest, allowed, called)


def spec_of(text: str, kind: str, rest: str, allowed: Sequence[str], called: str = "PATH") -> Spec:
    """Return the parts of KIND:PATH[,OPTION=VALUE]....

    Args:
        text: the specification as it was written, for messages.
        kind: what stands before the colon.
        rest: what stands behind it; the path may have commas.
        allowed: the options of that kind.
        called: the name of the path in messages.

    Raises:
        ConfigError: no path, or no such option.
    """
    place, *parts = rest.split(",")
    options: dict[str, str] = {}
    if "count" in allowed and (found := _OPTION.fullmatch(place)):  # scenes:count=1000 is scenes:1000
        place, parts = "", [place, *parts]
    for part in parts:
        found = _OPTION.fullmatch(part)
        if found is None and not options:
            place += f",{part}"
            continue
        if found is None or found[1] not in allowed or not found[2].strip():
            known = choices((f"{k}=" for k in allowed), part.partition("=")[0] + "=")
            expected = f"options of {known}" if known else f"no options, which {kind}: does not have"
            raise ConfigError(f"{text!r}: expected {expected}, found {part!r}")
        options[found[1]] = found[2].strip()
    place = place.strip() or options.get("count", "")
    if not place:
        raise ConfigError(f"{text!r}: expected {kind}:{called}, found no {called} behind the colon")
    return Spec(text, kind, place, options)
