"""Which images may not be used, because a model is evaluated on them.

About half of Visual Genome is COCO: an image of VG150's test split has, where it is one of COCO, the id there as
`coco_id` in image_data.json. A caption of the same photo in COCO is a leak, too.

    none               nothing is left out, and the result says so
    vg150-test:DIR     the test split of VG150 in DIR (VG-SGG.h5, image_data.json), and its COCO twins
    FILE               a text file with an id a line, or a ground-truth file (its image_id and coco_id)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1sgg.data.captions.records import Captioned
from r1sgg.data.jsonl import read_lines, record_of_line
from r1sgg.data.visual_genome import load_document
from r1sgg.errors import ConfigError, InputError, os_errors
from r1sgg.files import user_path


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
        if record.coco_id:
            if record.coco_id in self.coco:
                return "COCO twin of a test image"
        elif record.coco_id is None and record.vg_id is None and record.image_id.lstrip("0") in self.coco:
            return "COCO twin of a test image"  # the record does not say whose id it is
        own = record.image_id if record.vg_id is None else record.vg_id
        if record.coco_id and record.vg_id is None:
            return ""  # an id of COCO
        return "test image" if own in self.vg else ""


def read_policy(text: str | None, vocabulary: str) -> LeakPolicy:
    """Return the policy that --leak names.

    Args:
        text: what was given; None for nothing.
        vocabulary: name of the vocabulary that the graphs are made for.

    Raises:
        ConfigError: nothing was given where it must be.
        InputError: files of VG150, or the file of ids, cannot be read.
    """
    if text is None:
        if vocabulary in ("vg150", "psg"):
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


def _of_vg150(name: str, folder: Path) -> LeakPolicy:
    from r1sgg.data.sources import open_data

    test = frozenset(open_data(f"vg150:{folder},split=test,empty=yes").image_ids())
    rows: list[Any] = load_document(folder / "image_data.json")
    twins = frozenset(
        str(row["coco_id"])
        for row in rows
        if isinstance(row, dict) and row.get("coco_id") and str(row.get("image_id", row.get("id"))) in test
    )
    return LeakPolicy(name, test, twins)


def _of_file(name: str, path: Path) -> LeakPolicy:
    with os_errors(path, "none, vg150-test:DIR, or a readable file of ids", "check --leak"):
        path.open("rb").close()
    vg: set[str] = set()
    coco: set[str] = set()
    for number, _, line in read_lines(path):
        if line.lstrip().startswith(b"{"):
            row = record_of_line(line, f"{path}:{number}", first=number == 1)
            vg.add(str(row.get("image_id")))
            coco.add(_number(row.get("coco_id", _meta(row).get("coco_id"))))
        else:
            text = line.decode("utf-8", "replace").strip()
            if any(c.isspace() for c in text):
                raise InputError(
                    f"{path}:{number}", expected="an id, or a JSON object with image_id", found=repr(text[:60])
                )
            vg.add(text)
            coco.add(_number(text))
    return LeakPolicy(name, frozenset(vg - {""}), frozenset(coco - {""}))


def _meta(row: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = row.get("meta")
    return meta if isinstance(meta, dict) else {}


def _number(value: Any) -> str:
    """An id of COCO as text, without zeros in front."""
    return "" if value is None else str(value).lstrip("0")
