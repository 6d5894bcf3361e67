"""The object classes and predicates that a scene graph may use: VG150, PSG, a file of your own, or any at all.

Names are in the order of the published index files: a position here is the class number there minus one. Other names
are mapped to these by `r1sgg.graph.mapping`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from r1sgg.errors import InputError, os_errors, short
from r1sgg.graph.open_vocabulary import MODES, NOVEL_OBJECTS, NOVEL_PREDICATES
from r1sgg.graph.records import json_value
from r1sgg.graph.scene import SceneGraph, normalize_name


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that count. A side with an empty tuple is open: every name counts.

    Attributes:
        name: "vg150", "psg", "open", or the name in a file.
        objects: object classes as scene graphs hold them (normalised: "door-stuff" is "door stuff").
        predicates: predicates, normalised.
        written_objects: the object classes as their publishers spell them, for prompts.
    """

    name: str
    objects: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    written_objects: tuple[str, ...] = field(init=False, compare=False, repr=False)
    object_index: dict[str, int] = field(init=False, compare=False, repr=False)
    predicate_index: dict[str, int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__  # the instance is frozen
        put(self, "written_objects", self.objects)
        put(self, "objects", tuple(map(normalize_name, self.objects)))
        put(self, "predicates", tuple(map(normalize_name, self.predicates)))
        put(self, "object_index", {name: k for k, name in enumerate(self.objects)})
        put(self, "predicate_index", {name: k for k, name in enumerate(self.predicates)})

    def __hash__(self) -> int:  # not of 200 names: a vocabulary is the key of caches
        return hash((self.name, len(self.objects), len(self.predicates)))

    def has_object(self, name: str) -> bool:
        """Return whether an object class counts, after normalisation; in an open vocabulary each does."""
        return not self.objects or normalize_name(name) in self.object_index

    def has_predicate(self, name: str) -> bool:
        """Return whether a predicate counts, after normalisation; in an open vocabulary each does."""
        return not self.predicates or normalize_name(name) in self.predicate_index

    def covers(self, graph: SceneGraph) -> bool:
        """Return whether every class and predicate of a graph counts, without any mapping."""
        return (not self.objects or self.object_index.keys() >= set(graph.labels)) and (
            not self.predicates or self.predicate_index.keys() >= set(graph.predicates)
        )


def load_vocabulary(spec: str) -> Vocabulary:
    """Return the vocabulary that a user names: "vg150", "psg", "open", or a JSON file.

    "vg150-ovd", "vg150-ovr" and "vg150-ovd+r" are the names that open-vocabulary training may see: for its prompts.

    A file has {"name": "mine", "objects": ["man", ...], "predicates": ["on", ...]}; a side with an empty list is open.

    Raises:
        InputError: no such name or file, or the file has something else in it.
    """
    if (known := _NAMED.get(spec.lower())) is not None:
        return known
    path = Path(spec)
    with os_errors(
        f"vocabulary {spec!r}", "one of vg150, psg, open, vg150-ovd, vg150-ovr, vg150-ovd+r, or a readable JSON file"
    ):
        content = path.read_bytes()
    document = json_value(content, spec)
    if not isinstance(document, dict):
        raise InputError(spec, expected=_FILE, found=f"a JSON {type(document).__name__}")
    if unknown := sorted(set(document) - {"name", "objects", "predicates"}):
        raise InputError(f"{spec}: {unknown[0]!r}", expected=_FILE, found="an unknown key")
    name = document.get("name", path.stem)
    if not isinstance(name, str) or not name:
        raise InputError(f"{spec}: name", expected="a string", found=short(name))
    return Vocabulary(name, _names(document, "objects", spec), _names(document, "predicates", spec))


_FILE = 'an object with "name", "objects" and "predicates"'


def _names(document: dict[str, object], key: str, where: str) -> tuple[str, ...]:
    names = document.get(key)
    if not isinstance(names, list):
        raise InputError(
            f"{where}: {key}", expected="a list of names", found="nothing" if names is None else short(names)
        )
    seen: set[str] = set()
    for k, name in enumerate(names):
        here = f"{where}: {key}[{k}]"
        if not isinstance(name, str) or not normalize_name(name):
            raise InputError(here, expected="a name", found=short(name))
        if normalize_name(name) in seen:
            raise InputError(here, expected="names that differ", found=f"{name!r} again")
        seen.add(normalize_name(name))
    return tuple(names)


def _split(names: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in names.split(","))


OPEN = Vocabulary("open")

VG150 = Vocabulary(
    "vg150",
    _split(
        "airplane, animal, arm, bag, banana, basket, beach, bear, bed, bench, bike, bird, board, boat, book, boot, "
        "bottle, bowl, box, boy, branch, building, bus, cabinet, cap, car, cat, chair, child, clock, coat, "
        "counter, cow, cup, curtain, desk, dog, door, drawer, ear, elephant, engine, eye, face, fence, finger, "
        "flag, flower, food, fork, fruit, giraffe, girl, glass, glove, guy, hair, hand, handle, hat, head, helmet, "
        "hill, horse, house, jacket, jean, kid, kite, lady, lamp, laptop, leaf, leg, letter, light, logo, man, "
        "men, motorcycle, mountain, mouth, neck, nose, number, orange, pant, paper, paw, people, person, phone, "
        "pillow, pizza, plane, plant, plate, player, pole, post, pot, racket, railing, rock, roof, room, screen, "
        "seat, sheep, shelf, shirt, shoe, short, sidewalk, sign, sink, skateboard, ski, skier, sneaker, snow, "
        "sock, stand, street, surfboard, table, tail, tie, tile, tire, toilet, towel, tower, track, train, tree, "
        "truck, trunk, umbrella, vase, vegetable, vehicle, wave, wheel, window, windshield, wing, wire, woman, "
        "zebra"
    ),
    _split(
        "above, across, against, along, and, at, attached to, behind, belonging to, between, carrying, covered in, "
        "covering, eating, flying in, for, from, growing on, hanging from, has, holding, in, in front of, laying "
        "on, looking at, lying on, made of, mounted on, near, of, on, on back of, over, painted on, parked on, "
        "part of, playing, riding, says, sitting on, standing on, to, under, using, walking in, walking on, "
        "watching, wearing, wears, with"
    ),
)
"""The 150 object classes and 50 predicates of Visual Genome that scene graph generation is evaluated on
(Xu et al., Scene Graph Generation by Iterative Message Passing, 2017)."""

PSG = Vocabulary(
    "psg",
    _split(
        "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop "
        "sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, "
        "umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball "
        "glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, "
        "apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, "
        "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, "
        "refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, banner, blanket, bridge, "
        "cardboard, counter, curtain, door-stuff, floor-wood, flower, fruit, gravel, house, light, mirror-stuff, "
        "net, pillow, platform, playingfield, railroad, river, road, roof, sand, sea, shelf, snow, stairs, tent, "
        "towel, wall-brick, wall-stone, wall-tile, wall-wood, water-other, window-blind, window-other, "
        "tree-merged, fence-merged, ceiling-merged, sky-other-merged, cabinet-merged, table-merged, "
        "floor-other-merged, pavement-merged, mountain-merged, grass-merged, dirt-merged, paper-merged, "
        "food-other-merged, building-other-merged, rock-merged, wall-other-merged, rug-merged"
    ),
    _split(
        "over, in front of, beside, on, in, attached to, hanging from, on back of, falling off, going down, "
        "painted on, walking on, running on, crossing, standing on, lying on, sitting on, flying over, jumping "
        "over, jumping from, wearing, holding, carrying, looking at, guiding, kissing, eating, drinking, feeding, "
        "biting, catching, picking, playing with, chasing, climbing, cleaning, playing, touching, pushing, "
        "pulling, opening, cooking, talking to, throwing, slicing, driving, riding, parked on, driving on, about "
        "to hit, kicking, swinging, entering, exiting, enclosing, leaning on"
    ),
)
"""80 thing classes, then 53 stuff classes, and 56 predicates (Yang et al., Panoptic Scene Graph Generation, 2022)."""


def _seen(mode: str) -> Vocabulary:
    """VG150's names that training of an open-vocabulary mode may see."""
    objects = VG150.objects if mode == "ovr" else tuple(o for o in VG150.objects if o not in NOVEL_OBJECTS)
    predicates = VG150.predicates
    if mode != "ovd":
        predicates = tuple(p for p in predicates if p not in NOVEL_PREDICATES)
    return Vocabulary(f"vg150-{mode}", objects, predicates)


_NAMED = {v.name: v for v in (VG150, PSG, OPEN, *map(_seen, MODES))}
