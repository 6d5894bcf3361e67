"""Procedural scenes: pictograms with exact boxes and a complete scene graph, for any seed.

    r1sgg data scenes --count 1000 --seed 1 --split test --out DIR
    r1sgg data scenes --count 1000 --seed 1 --annotation vg --out DIR      sparse, as Visual Genome is annotated
    r1sgg data scenes --count 1000 --seed 1 --preset hard --out DIR        harder than the embedded model can read

Object classes and predicates are names of Visual Genome's 150 / 50. Every pair of objects is judged by the rules of
`procedural.rules` (one table there), so a relation that the graph lacks does not hold. Objects are ordered from left to
right by the centre of their boxes, relationships by subject and then object. A box is the whole pictogram's extent,
hidden parts included; at least half of every object is visible.

The line of `--count 1`:

    {"image_id": "scene-0", "width": 112, "height": 112, "image": "images/scene-0.png", "split": "train",
     "objects": [{"id": "bird.1", "bbox": [20, 44, 44, 64]}, {"id": "horse.1", "bbox": [16, 40, 80, 108]},
                 {"id": "woman.1", "bbox": [80, 28, 104, 88]}],
     "relationships": [{"subject": "bird.1", "predicate": "standing on", "object": "horse.1"},
                       {"subject": "horse.1", "predicate": "near", "object": "woman.1"}]}

The images do not imitate photos. They have a known true graph, and a small model learns them in minutes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from r1sgg.data.base import Example, write_ground_truth
from r1sgg.errors import ConfigError, InputError, choices, os_errors
from r1sgg.files import write_lines, writing
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import number_ids
from r1sgg.miniature.describing import captioned, from_captions
from r1sgg.miniature.procedural.annotation import Annotation, Captions, annotate
from r1sgg.miniature.procedural.background import SETTINGS, draw_background
from r1sgg.miniature.procedural.layout import Canvas, arrange
from r1sgg.miniature.procedural.pictograms import DRAWINGS, patch
from r1sgg.miniature.procedural.recipes import SCENE_PREDICATES
from r1sgg.miniature.procedural.rules import Part

__all__ = [
    "HARD", "PRESETS", "SCENE_OBJECTS", "SCENE_PREDICATES", "SMALL", "SPLITS", "Scene", "SceneConfig", "annotated",
    "current_preset", "paint", "scene", "split_seeds", "write_scenes",
]  # fmt: skip

_log = logging.getLogger(__name__)

SCENE_OBJECTS: tuple[str, ...] = tuple(sorted(DRAWINGS))
"""Every class that a scene can show."""

INDOORS = frozenset(SCENE_OBJECTS) - {
    *("horse", "elephant", "sheep", "bird", "car", "bus", "bike", "skateboard", "tree", "house", "bench"),
    *("umbrella", "kite"),
}
"""Classes of a room."""
OUTDOORS = frozenset(SCENE_OBJECTS) - {"chair", "lamp", "vase", "laptop", "clock"}
"""Classes of a field or street."""

SPLITS = ("train", "validation", "test")
_SEED_BITS = _COUNT_BITS = 20


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """What scenes look like; by default as the embedded model reads them (`SMALL`).

    Attributes:
        sizes: (width, height) in pixels; one is drawn per scene.
        min_objects, max_objects: the wanted number of objects is drawn uniformly; a crowded image may have fewer.
        classes: a subset of SCENE_OBJECTS, which limits the predicates.
        settings: backgrounds, of "field", "street", "room", "plain"; all but "plain" limit the classes.
        step: every box edge is a multiple of it (pixels).
        zoom: smallest and largest factor on the objects' sizes.
        smallest: no box side is shorter (pixels), unless the object has to fit under a table, tree or umbrella.
        overlap: probability that a group of objects is tried in front of or behind another.
        alone: probability that a group starts with one object instead of an interaction.
        texture: strength of the background's noise.
    """

    sizes: tuple[tuple[int, int], ...] = ((112, 112),)
    min_objects: int = 2
    max_objects: int = 4
    classes: tuple[str, ...] = (
        *("man", "woman", "dog", "horse", "bird", "bike", "tree", "table", "chair", "cup", "umbrella", "kite"),
    )
    settings: tuple[str, ...] = ("plain",)
    step: int = 4
    zoom: tuple[float, float] = (1.1, 1.3)
    smallest: int = 20
    overlap: float = 0.1
    alone: float = 0.3
    texture: float = 0.5

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ConfigError: names the field.
        """
        if unknown := sorted(set(self.classes) - set(SCENE_OBJECTS)):
            raise ConfigError(
                f"scene classes: expected some of {choices(SCENE_OBJECTS, unknown[0])}, found {unknown[0]!r}"
            )
        if unknown := sorted(set(self.settings) - set(SETTINGS)):
            raise ConfigError(f"scene settings: expected some of {choices(SETTINGS, unknown[0])}, found {unknown[0]!r}")
        if not self.classes or not self.settings or not self.sizes:
            raise ConfigError("scenes: expected at least one class, setting and size, found an empty list")
        if not 1 <= self.min_objects <= self.max_objects:
            raise ConfigError(
                f"scenes: expected 1 <= min_objects <= max_objects, found {self.min_objects} and {self.max_objects}"
            )
        if self.step < 1 or any(side % self.step or side < 56 for size in self.sizes for side in size):
            raise ConfigError(f"scene sizes: expected multiples of step {self.step}, 56 or more, found {self.sizes}")


SMALL = SceneConfig()
"""What the embedded model reads: one size, few and large objects on a light ground, boxes on a 4 px grid."""

HARD = SceneConfig(
    sizes=((224, 224), (280, 224), (224, 280), (336, 252), (280, 280)),
    max_objects=8,
    classes=SCENE_OBJECTS,
    settings=("field", "street", "room"),
    step=1,
    zoom=(0.9, 1.25),
    smallest=12,
    overlap=0.3,
    alone=0.35,
    texture=1.0,
)
"""Five sizes, up to 8 objects of all classes, small ones among them, with backgrounds and any box."""

PRESETS = {"small": SMALL, "hard": HARD}
_OLD_PRESETS = {"standard": "hard"}


def current_preset(name: str) -> str:
    """Return what a preset is called now; an old name is noticed in the log."""
    if name in _OLD_PRESETS:
        _log.warning("preset %s is called %s since version 0.2; the old name still works", name, _OLD_PRESETS[name])
    return _OLD_PRESETS.get(name, name)


@dataclass(frozen=True, slots=True)
class Scene:
    """An image, its example (without a path) and its parts in painter's order."""

    image: Image.Image
    example: Example
    parts: tuple[Part, ...]


def scene(seed: int, config: SceneConfig = SMALL) -> Scene:
    """Draw one scene; the same seed and config give the same scene on every machine.

    Raises:
        ConfigError: no clear scene with so many objects fits into an image of that size.
    """
    rng = random.Random(seed)
    size = config.sizes[int(rng.random() * len(config.sizes))]
    setting = config.settings[int(rng.random() * len(config.settings))]
    width, height = size
    target = config.min_objects + int(rng.random() * (config.max_objects - config.min_objects + 1))
    horizon = int(height * (0.5 + 0.12 * rng.random()))
    crowd = 1.1 - 0.06 * max(0, target - 3)
    zoom = (config.zoom[0] + rng.random() * (config.zoom[1] - config.zoom[0])) * crowd
    allowed = {"plain": frozenset(SCENE_OBJECTS), "room": INDOORS}.get(setting, OUTDOORS)
    canvas = Canvas(
        size=size,
        ground=horizon + height // 14,
        step=config.step,
        zoom=zoom,
        smallest=config.smallest,
        classes=frozenset(config.classes) & allowed,
        overlap=config.overlap,
        alone=config.alone,
    )
    found = arrange(rng, canvas, config.min_objects, target) if canvas.classes else None
    if found is None:
        raise ConfigError(
            f"scene {seed}: expected room for {config.min_objects} objects of {len(canvas.classes)} classes on "
            f"{width}x{height} pixels in a {setting}, found none; choose fewer objects or larger images"
        )
    parts, links = found
    background = draw_background(np.random.Generator(np.random.PCG64(seed)), setting, size, horizon, config.texture)
    image = paint(parts, background)
    return Scene(image, Example(f"scene-{seed}", width, height, _graph(parts, links, size)), tuple(parts))


def paint(parts: tuple[Part, ...] | list[Part], background: Image.Image) -> Image.Image:
    """Draw parts over a background, in their order; the background is changed and returned."""
    for part in parts:
        x1, y1, x2, y2 = part.box
        drawn = patch(part.label, part.pose, part.variant, part.flip, x2 - x1, y2 - y1)
        background.paste(drawn, (x1, y1), drawn)
    return background


def _graph(parts: list[Part], links: list[tuple[int, str, int]], size: tuple[int, int]) -> SceneGraph:
    """Order objects from left to right (then from the top), relationships by subject, object and predicate."""

    def place(k: int) -> tuple[int, int, str]:
        x1, y1, x2, y2 = parts[k].box
        return x1 + x2, y1 + y2, parts[k].label

    order = sorted(range(len(parts)), key=place)
    rank = {k: r for r, k in enumerate(order)}
    triplets = sorted((rank[s], rank[o], p) for s, p, o in links)
    labels = tuple(parts[k].label for k in order)
    boxes = np.array([parts[k].box for k in order], dtype=np.float64) / (size * 2)
    return SceneGraph(
        number_ids(labels), labels, boxes, tuple((s, o) for s, o, _ in triplets), tuple(p for _, _, p in triplets)
    )


def annotated(drawn: Scene, seed: int, config: SceneConfig, annotation: Annotation | Captions) -> Example:
    """Return a scene's example with what an annotator, or a caption, says instead of the true graph."""
    truth = drawn.example
    if isinstance(annotation, Captions):
        return from_captions(truth, seed)
    graph = annotate(truth.graph, seed, (truth.width, truth.height), config.step, annotation)
    return replace(truth, graph=graph)


def split_seeds(split: str, seed: int, count: int) -> range:
    """Return the seeds of a set's scenes; no other split and no other value of `seed` has one of them.

    Raises:
        InputError: an unknown split, or a seed or count outside 0..1,048,575 and 1..1,048,576.
    """
    if split not in SPLITS:
        raise InputError("--split", expected=f"one of {', '.join(SPLITS)}", found=repr(split))
    if not 0 <= seed < 1 << _SEED_BITS:
        raise InputError("--seed", expected=f"a whole number from 0 to {(1 << _SEED_BITS) - 1:,}", found=str(seed))
    if not 1 <= count <= 1 << _COUNT_BITS:
        raise InputError("--count", expected=f"a whole number from 1 to {1 << _COUNT_BITS:,}", found=str(count))
    first = ((SPLITS.index(split) << _SEED_BITS) + seed) << _COUNT_BITS
    return range(first, first + count)


def write_scenes(
    out: Path,
    count: int,
    seed: int,
    config: SceneConfig = SMALL,
    split: str = "train",
    advance: Callable[[], object] = lambda: None,
    annotation: Annotation | Captions | None = None,
) -> Path:
    """Write OUT/images/*.png and OUT/gt.jsonl; the ground truth appears last, whole or not at all.

    With an annotation, gt.jsonl is what the annotator wrote, and OUT/full.jsonl the true graphs. With captions,
    OUT/captions.jsonl are those, as `r1sgg data captions` reads them.

    Args:
        out: folder, made if needed.
        count: number of scenes.
        seed: another seed gives other scenes.
        config: what scenes look like.
        split: one of SPLITS.
        advance: called after every scene.
        annotation: how scenes are annotated; None for completely.

    Returns:
        The path of gt.jsonl.

    Raises:
        InputError: see `split_seeds`; or the folder cannot be written.
        ConfigError: see `scene`.
    """
    seeds = split_seeds(split, seed, count)
    images = out / "images"
    with os_errors(out, "a folder that can be written", "choose another"):
        images.mkdir(parents=True, exist_ok=True)
    written: list[Example] = []
    texts: list[dict[str, Any]] = []

    def examples() -> Iterator[Example]:
        for number in seeds:
            drawn = scene(number, config)
            path = images / f"{drawn.example.image_id}.png"
            with writing(path, sync=False) as handle:
                drawn.image.save(handle, "PNG", compress_level=1)
            yield replace(drawn.example, image=path, split=split)
            if annotation is not None:
                written.append(replace(annotated(drawn, number, config, annotation), image=path, split=split))
            if isinstance(annotation, Captions):
                texts.append(captioned(replace(drawn.example, image=path, split=split), number).to_record(out))
            advance()

    target = out / "gt.jsonl"
    write_ground_truth(target if annotation is None else out / "full.jsonl", examples())
    if isinstance(annotation, Captions):
        with writing(out / "captions.jsonl") as handle:
            write_lines(handle, texts)
    if annotation is not None:
        write_ground_truth(target, written)
    return target
