"""Which images may not be used, because a model is evaluated on them.

About half of Visual Genome is COCO: an image of VG150's test split has, where it is one of COCO, the id there as
`coco_id` in image_data.json. A caption of the same photo in COCO is a leak, too.

    none               nothing is left out, and the result says so
    vg150-test:DIR     the test split of VG150 in DIR (VG-SGG.h5, image_data.json), and its COCO twins
    FILE               a text file with an id a line, or a ground-truth file (its image_id and coco_id)

Ids are compared by their number, however they are written: 391895, "000000391895.jpg" and
"COCO_val2014_000000391895" are one. An id whose data set is not stated counts for both: rather an image too few.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from r1sgg.data.captions.identity import file_identity
from r1sgg.data.captions.records import Captioned
from r1sgg.data.jsonl import image_id_of, read_lines, record_of_line
from r1sgg.data.visual_genome import load_document
from r1sgg.errors import ConfigError, InputError, os_errors
from r1sgg.files import user_path
from r1sgg.graph.vocabulary import load_vocabulary


@dataclass(frozen=True, slots=True)
class LeakPolicy:
    """Ids that are left out.

    Attributes:
        name: the policy as it was asked for.
        vg: ids of Visual Genome; for records whose source does not say whose ids they have, ids of any kind.
        coco: ids of COCO.
    """

    name: str = "none"
    vg: frozenset[str] = frozenset()
    coco: frozenset[str] = frozenset()

    def leaks(self, record: Captioned) -> str:
        """Return why a record is left out: "test image", "COCO twin", or "" where it may be used."""
        names = {plain_id(record.image_id)} | ({plain_id(record.image.name)} if record.image is not None else set())
        coco = plain_id(record.coco_id) if record.coco_id else record.coco_id
        vg = plain_id(record.vg_id) if record.vg_id else record.vg_id
        if coco is None:
            twins = set() if vg else names  # an image of Visual Genome is looked up as such
        else:
            twins = {coco}
        if twins & self.coco:
            return "COCO twin of a test image"
        own = names - {coco} if vg is None else {vg}
        return "test image" if own & self.vg else ""


_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp"))
_PREFIX = re.compile(r"COCO_(?:train|val|test)\d{4}_")


def plain_id(text: str) -> str:
    """Return an id as it is compared: no folder, no ending of an image file, no prefix of COCO, no zeros in front."""
    path = PurePosixPath(text.strip().replace("\\", "/"))
    name = _PREFIX.sub("", path.stem if path.suffix.lower() in _ENDINGS else path.name)
    return (name.lstrip("0") or "0") if name.isdecimal() else name


def read_policy(text: str | None, vocabulary: str) -> LeakPolicy:
    """Return the policy that --leak names.

    Args:
        text: what was given; None for nothing.
        vocabulary: that the graphs are made for, as it was given.

    Raises:
        ConfigError: nothing was given where it must be.
        InputError: files of VG150, or the file of ids, cannot be read.
    """
    if text is None:
        if evaluated(vocabulary):
            raise ConfigError(
                f"--leak: expected a policy, because graphs for {vocabulary} are evaluated on images that captions "
                "describe too (about half of Visual Genome is COCO), found none; give vg150-test:DIR, a file with the "
                "ids to leave out, or none"
            )
        return LeakPolicy()
    if text == "none":
        return LeakPolicy()
    kind, _, place = text.partition(":")
    if kind == "vg150-test":
        if not place:
            raise ConfigError(
                "--leak vg150-test: expected vg150-test:DIR with VG-SGG.h5, VG-SGG-dicts.json and image_data.json in "
                "it, found no folder"
            )
        return _of_vg150(text, user_path(place))
    return _of_file(text, user_path(text))


_LARGE = 50  # object names


def evaluated(vocabulary: str) -> bool:
    """Return whether models are evaluated with a vocabulary: VG150's or PSG's, a file of them, or a large part.

    Raises:
        InputError: there is no such vocabulary.
    """
    names = load_vocabulary(vocabulary)
    if len(names.objects) < _LARGE or not names.predicates:
        return False
    known = map(load_vocabulary, ("vg150", "psg"))
    return any(set(names.objects) <= set(k.objects) and set(names.predicates) <= set(k.predicates) for k in known)


def policy_identity(text: str) -> str:
    """Return the policy with the content of its files, so that a run with other ids does not count as the same.

    Raises:
        InputError: a file cannot be read.
    """
    kind, _, place = text.partition(":")
    if text == "none":
        return text
    if kind != "vg150-test":
        with os_errors(path := user_path(text), "none, vg150-test:DIR, or a readable file of ids", "check --leak"):
            path.open("rb").close()
        return f"{text} ({file_identity(path)})"
    names = ("VG-SGG.h5", "VG-SGG-with-attri.h5", "image_data.json")
    files = [path for name in names if (path := user_path(place) / name).is_file()]
    return f"{text} ({', '.join(map(file_identity, files))})"


def _of_vg150(name: str, folder: Path) -> LeakPolicy:
    from r1sgg.data.sources import open_data

    test = frozenset(map(plain_id, open_data(f"vg150:{folder},split=test,empty=yes").image_ids()))
    rows: list[Any] = load_document(folder / "image_data.json")
    twins = frozenset(
        plain_id(str(row["coco_id"]))
        for row in rows
        if isinstance(row, dict) and row.get("coco_id") and plain_id(str(row.get("image_id", row.get("id")))) in test
    )
    return LeakPolicy(name, test, twins)


def _of_file(name: str, path: Path) -> LeakPolicy:
    vg: set[str] = set()
    coco: set[str] = set()
    for number, _, line in read_lines(path):
        where = f"{path}:{number}"
        if line.lstrip().startswith(b"{"):
            row = record_of_line(line, where, first=number == 1)
            if "image_id" not in row:
                raise InputError(where, expected="an id, or a JSON object with image_id", found="no image_id")
            own = plain_id(image_id_of(row, where))
            twin = row.get("coco_id", _meta(row).get("coco_id", ...))
            vg.add(own)
            coco |= {own} if twin is ... else set() if twin is None else {plain_id(str(twin))}
        else:
            text = line.decode("utf-8", "replace").removeprefix("\ufeff").strip()
            if _NO_ID.search(text):
                raise InputError(where, expected="an id, or a JSON object with image_id", found=repr(text[:60]))
            vg.add(plain_id(text))
            coco.add(plain_id(text))
    if not vg:
        raise InputError(str(path), expected="at least one id", found="none", hint="--leak none leaves nothing out")
    return LeakPolicy(name, frozenset(vg), frozenset(coco))


_NO_ID = re.compile(r"""[\s,;"'\[\]{}]""")


def _meta(row: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = row.get("meta")
    return meta if isinstance(meta, dict) else {}
