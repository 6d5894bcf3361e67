"""Captions of drawn scenes: two or three relations of the true graph, as people write them, and some of them hard.

    A lady wearing a hat is holding a cup. Two birds are standing on the horse.
    The bicycle is ridden by a guy next to a tree.

What is mentioned is drawn by how salient a relation is (`r1sgg.miniature.procedural.annotation.KEPT`). Names are
replaced by other words, subjects that do the same are one plural, verbs may be passive, and several relations share a
sentence. So the graph that `r1sgg.data.captions` makes of a caption has the faults of its rules, not of a template.
"""

from __future__ import annotations

import random
from dataclasses import replace

from r1sgg.data.base import Example
from r1sgg.data.captions.aligning import Aligner
from r1sgg.data.captions.boxes_file import given_boxes
from r1sgg.data.captions.making import Maker
from r1sgg.data.captions.plain_parser import PlainParser
from r1sgg.data.captions.records import Caption, Captioned, NamedBox
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.vocabulary import Vocabulary
from r1sgg.miniature.procedural.annotation import KEPT
from r1sgg.miniature.procedural.pictograms import DRAWINGS
from r1sgg.miniature.procedural.recipes import SCENE_PREDICATES

VOCABULARY = Vocabulary("scenes", tuple(sorted(DRAWINGS)), SCENE_PREDICATES)
"""The names of drawn scenes: what captions are aligned with."""

_WORDS = {
    "man": ("man", "man", "guy", "gentleman"),
    "woman": ("woman", "woman", "lady"),
    "child": ("child", "kid", "little child"),
    "dog": ("dog", "dog", "puppy", "brown dog"),
    "cat": ("cat", "kitten", "black cat"),
    "horse": ("horse", "horse", "pony", "brown horse"),
    "bird": ("bird", "bird", "small bird"),
    "bike": ("bike", "bicycle"),
    "tree": ("tree", "big tree", "green tree"),
    "table": ("table", "wooden table"),
    "chair": ("chair", "wooden chair"),
    "cup": ("cup", "mug"),
    "umbrella": ("umbrella", "red umbrella"),
    "kite": ("kite", "colorful kite"),
    "car": ("car", "automobile", "red car"),
    "hat": ("hat", "big hat"),
    "bag": ("bag", "handbag"),
}
_PLACES = {
    "near": ("near", "next to", "beside", "close to"),
    "above": ("above", "over"),
    "under": ("under", "beneath", "below"),
    "behind": ("behind",),
    "in front of": ("in front of",),
    "on": ("on", "on top of"),
    "in": ("in",),
}
_VERBS = {  # gerund -> finite singular, finite plural, passive
    "riding": ("rides", "ride", "ridden by"),
    "holding": ("holds", "hold", "held by"),
    "wearing": ("wears", "wear", "worn by"),
    "carrying": ("carries", "carry", "carried by"),
    "sitting on": ("sits on", "sit on", ""),
    "standing on": ("stands on", "stand on", ""),
}
_PLURALS = {"man": "men", "woman": "women", "child": "children", "gentleman": "gentlemen", "lady": "ladies"}
_NUMBERS = ("", "", "Two", "Three", "Four", "Five", "Six")

Triplet = tuple[int, str, int]


def describe(graph: SceneGraph, seed: int) -> list[str]:
    """Return a caption of one to three sentences, as a list of one; the same seed gives the same.

    Args:
        graph: a true graph with a name of the scenes for each object and predicate.
        seed: the scene's.
    """
    rng = random.Random(f"caption/{seed}")
    triplets = [(s, p, o) for (s, o), p in zip(graph.pairs, graph.predicates, strict=True)]
    if not triplets:
        return [f"There is {_article(_word(graph.labels[0], rng))}."]
    weights = [KEPT.get(p, 0.3) for _, p, _ in triplets]
    order = sorted(range(len(triplets)), key=lambda k: rng.random() ** (1 / weights[k]), reverse=True)
    chosen = [triplets[k] for k in order[: rng.choice((2, 2, 3))]]
    sentences: list[str] = []
    while chosen:
        first = chosen.pop(0)
        alike = [t for t in triplets if t[1:] == first[1:] and graph.labels[t[0]] == graph.labels[first[0]]]
        shared = next((t for t in chosen if t[0] == first[0] and t[1] in _VERBS and first[1] in _VERBS), None)
        after = next((t for t in chosen if t[0] == first[2] and t[1] in _PLACES), None)
        if len(alike) > 1:
            chosen = [t for t in chosen if t not in alike]
            sentences.append(_plural(graph, first, len(alike), rng))
        elif shared is not None and rng.random() < 0.7:
            chosen.remove(shared)
            sentences.append(_two(graph, first, shared, rng))
        elif after is not None and rng.random() < 0.5:
            chosen.remove(after)
            place = rng.choice(_PLACES[after[1]])
            sentences.append(f"{_sentence(graph, first, rng)} {place} {_article(_word(graph.labels[after[2]], rng))}")
        else:
            sentences.append(_sentence(graph, first, rng))
    joined = ". ".join(s[0].upper() + s[1:] for s in sentences)
    if len(sentences) == 2 and rng.random() < 0.4:
        joined = f"{sentences[0][0].upper()}{sentences[0][1:]} while {sentences[1]}"
    return [f"{joined}."]


def _sentence(graph: SceneGraph, triplet: Triplet, rng: random.Random) -> str:
    subject, predicate, target = triplet
    one, other = (_article(_word(graph.labels[k], rng), rng) for k in (subject, target))
    if predicate in _PLACES:
        place = rng.choice(_PLACES[predicate])
        return rng.choice((f"{one} is {place} {other}", f"there is {one} {place} {other}", f"{one} {place} {other}"))
    finite, _, passive = _VERBS[predicate]
    if passive and rng.random() < 0.25:
        return f"{other} is {passive} {one}"
    return rng.choice((f"{one} is {predicate} {other}", f"{one} {finite} {other}", f"{one} {predicate} {other}"))


def _two(graph: SceneGraph, first: Triplet, second: Triplet, rng: random.Random) -> str:
    one, other, more = (_article(_word(graph.labels[k], rng), rng) for k in (first[0], first[2], second[2]))
    return rng.choice(
        (
            f"{one} {first[1]} {other} is {second[1]} {more}",
            f"{one} is {first[1]} {other} and {second[1]} {more}",
            f"{one} who {_VERBS[first[1]][0]} {other} {_VERBS[second[1]][0]} {more}",
        )
    )


def _plural(graph: SceneGraph, triplet: Triplet, count: int, rng: random.Random) -> str:
    subject, predicate, target = triplet
    word = _word(graph.labels[subject], rng)
    many = _PLURALS.get(word, word + "s")
    number = rng.choice((_NUMBERS[min(count, 6)], "Several")) if count > 2 else "Two"
    said = rng.choice(_PLACES[predicate]) if predicate in _PLACES else predicate
    return f"{number.lower()} {many} are {said} {_article(_word(graph.labels[target], rng), rng)}"


def _word(label: str, rng: random.Random) -> str:
    return rng.choice(_WORDS.get(label, (label,)))


def _article(word: str, rng: random.Random | None = None) -> str:
    if rng is not None and rng.random() < 0.3:
        return f"the {word}"
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def captioned(truth: Example, seed: int) -> Captioned:
    """Return a scene as `r1sgg data captions` reads it: its caption, and the boxes of all its objects by name."""
    boxes = tuple(NamedBox(n, tuple(b)) for n, b in zip(truth.graph.labels, truth.pixel_boxes.tolist(), strict=True))
    captions = tuple(Caption(text) for text in describe(truth.graph, seed))
    return Captioned(truth.image_id, truth.width, truth.height, captions, boxes, truth.image, truth.split, "", "")


def from_captions(truth: Example, seed: int) -> Example:
    """Return the scene with the graph that the plain rules make of its caption, instead of the true one."""
    record = captioned(truth, seed)
    extractions = _PARSER.parse([caption.text for caption in record.captions])
    objects, predicates = _MAKER.names(record, extractions)
    _MAKER.aligner.prepare(sorted(objects), sorted(predicates))
    return replace(_MAKER.make(record, extractions), split=truth.split)


_PARSER = PlainParser()
_MAKER = Maker(Aligner(VOCABULARY), "given", given_boxes, keep_boxes=True)
