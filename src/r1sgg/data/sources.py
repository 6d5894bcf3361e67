"""One way to name any data: `open_data` takes what stands behind --data.

    scenes:50000,seed=1,preset=small,split=train    drawn on the fly, as `r1sgg data scenes` writes them
    scenes:50000,seed=1,preset=small,annotation=vg  the same, annotated as sparsely as Visual Genome
    train.jsonl   jsonl:train.jsonl,split=val       your own ground truth, images relative to the file
    vg150:DIR,split=train,scale=1024                VG-SGG.h5, its dictionary and image_data.json
    psg:DIR,split=test                              psg.json and COCO's images
    coco:DIR,split=train                            COCO-format sets (SGG-Benchmark)
    hub:JosephZ/vg150_train_sgg_prompt              a set of the Hugging Face Hub; asks the network

Further options are in the docstring of each reader. It deliberately downloads nothing but what a hub: name says.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from r1sgg.data.base import Example, example_digest, example_of_record, hash_of_digests
from r1sgg.data.dataset import DataSet, Fault, Subset, hash_of_ids, with_images
from r1sgg.data.jsonl import record_of_line
from r1sgg.data.spec import Spec, parse_spec
from r1sgg.errors import InputError

if TYPE_CHECKING:
    from r1sgg.miniature.scenes import Scene, SceneConfig

__all__ = ["DataSet", "Fault", "JsonlData", "SceneData", "Subset", "open_data", "parse_spec", "with_images"]


def open_data(spec: str, *, strict: bool = True) -> DataSet:
    """Open what a specification names (see the module's docstring).

    Args:
        spec: KIND:PATH[,OPTION=VALUE]..., or the path of a ground-truth file.
        strict: a wrong line of a ground-truth file is an error; otherwise it is left out and named in `notes`. The
            other formats always leave wrong records out by name.

    Raises:
        ConfigError: no such kind, option or value.
        InputError: files that are missing, or damaged as a whole.
    """
    parts = parse_spec(spec)
    data: DataSet
    if parts.kind == "jsonl":
        data = JsonlData(parts.path, parts.options.get("split"), name=spec, strict=strict)
    elif parts.kind == "scenes":
        data = SceneData(parts)
    else:  # a reader is imported when it is asked for: h5py and datasets are large
        data = getattr(importlib.import_module(f"r1sgg.data.{parts.kind}"), f"open_{parts.kind}")(parts)
    if "open" in parts.options or "part" in parts.options:
        from r1sgg.data.splits import MODES, PARTS, open_vocabulary

        mode = parts.choice("open", MODES, "")
        data = open_vocabulary(data, mode, parts.choice("part", PARTS, "train"))
    return data


# ---------------------------------------------------------------- your own ground truth


class JsonlData(DataSet):
    """A ground-truth file (`r1sgg.data.base`). Opening reads it once, checks every line and keeps their places."""

    def __init__(self, path: Path, split: str | None = None, *, name: str | None = None, strict: bool = True) -> None:
        super().__init__(name or str(path), split)
        self.path = path
        places: list[int] = []
        numbers: list[int] = []
        seen: set[str] = set()
        digests: list[bytes] = []
        splits: set[str | None] = set()
        place = total = 0
        for number, line in enumerate(_lines(path), 1):
            here, place = place, place + len(line)
            if not line.strip():
                continue
            total += 1
            where = f"{path}:{number}"
            try:
                example = example_of_record(record_of_line(line, where, first=number == 1), where, path.parent)
                if example.image_id in seen:
                    raise InputError(where, expected="image ids that differ", found=f"{example.image_id!r} again")
            except InputError as error:
                if strict:
                    raise
                self.notes.append(Fault("id" if "ids that differ" in error.expected else "record", str(error)))
                continue
            seen.add(example.image_id)
            splits.add(example.split)
            if split is None or example.split == split:
                places.append(here)
                numbers.append(number)
                digests.append(example_digest(example))
        if not total:
            raise InputError(str(path), expected="at least one line", found="an empty file")
        if not places:
            found = ", ".join(sorted(map(repr, splits - {None}))) or "lines without a split"
            raise InputError(str(path), expected=f"lines of split {split!r}" if split else "a right line", found=found)
        if split is None and len(splits) == 1:
            self.split = splits.pop()
        self._places = np.array([places, numbers], dtype=np.int64)
        chosen = seen if split is None else {self.read(k)[0].image_id for k in range(len(self))}
        self._hashes = {"images": hash_of_ids(sorted(chosen)), "annotations": hash_of_digests(digests)}

    def __len__(self) -> int:
        return int(self._places.shape[1])

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        place, number = self._places[:, k].tolist()
        where = f"{self.path}:{number}"
        with self.path.open("rb") as handle:
            handle.seek(place)
            line = handle.readline()
        return example_of_record(record_of_line(line, where, first=number == 1), where, self.path.parent), []


def _lines(path: Path) -> Iterator[bytes]:
    try:
        handle = path.open("rb")
    except OSError as error:
        raise InputError(
            str(path), expected="a readable JSON Lines file", found=error.strerror or "an error", hint="check the path"
        ) from error
    with handle:
        yield from handle


# ---------------------------------------------------------------- drawn scenes

HASHED_SCENES = 1000
"""Scenes whose annotations go into the hash of a drawn set; a larger one says so in the hash itself."""


@functools.lru_cache(8)
def _drawn(seed: int, config: SceneConfig) -> Scene:
    """A scene is asked for twice: as an example and as a picture."""
    from r1sgg.miniature.scenes import scene

    return scene(seed, config)


class SceneData(DataSet):
    """Scenes drawn when asked for. Options: seed (0), preset (small, standard), split (train, validation, test),
    annotation (full, vg)."""

    images_are_files = False

    def __init__(self, spec: Spec) -> None:
        from r1sgg.miniature import scenes
        from r1sgg.miniature.procedural.annotation import ANNOTATIONS

        super().__init__(spec.text, spec.choice("split", scenes.SPLITS, "train"))
        config = scenes.PRESETS[spec.choice("preset", tuple(scenes.PRESETS), "small")]
        count = Spec(spec.text, spec.kind, "", {"COUNT": spec.place}).whole("COUNT", 0)
        self.seeds = scenes.split_seeds(str(self.split), spec.whole("seed", 0), count)
        self.config: SceneConfig = config
        self.annotation = ANNOTATIONS[spec.choice("annotation", tuple(ANNOTATIONS), "full")]

    def __len__(self) -> int:
        return len(self.seeds)

    def read(self, k: int) -> tuple[Example, list[Fault]]:
        from r1sgg.miniature.scenes import annotated

        drawn = _drawn(self.seeds[k], self.config)
        if self.annotation is None:
            return replace(drawn.example, split=self.split), []
        return replace(annotated(drawn, self.seeds[k], self.config, self.annotation), split=self.split), []

    def image_ids(self) -> Iterator[str]:
        return (f"scene-{seed}" for seed in self.seeds)

    def size(self, k: int) -> tuple[int, int]:
        return self.config.sizes[0] if len(self.config.sizes) == 1 else super().size(k)

    def image(self, example: Example) -> Image.Image:
        return _drawn(int(example.image_id.removeprefix("scene-")), self.config).image.copy()

    def image_fault(self, example: Example) -> Fault | None:
        return None

    def hashes(self) -> dict[str, str]:
        if self._hashes is None:
            images = hash_of_ids([f"scene-{seed}" for seed in self.seeds])
            first = hash_of_digests(example_digest(self.read(k)[0]) for k in range(min(len(self), HASHED_SCENES)))
            more = f"-first{HASHED_SCENES}" if len(self) > HASHED_SCENES else ""
            self._hashes = {"images": images, "annotations": first + more}
        return dict(self._hashes)
