"""Questions to a language model about captions, and how its answers are read: prompts, JSON schemas, a cache.

Nothing here opens an engine: `r1sgg.bulk.captions` gives an `Asker`. An answer that cannot be used is a sentence, never
an empty result that looks like one. The prompts are our own; what they ask for is that of LLM4SGG (Kim et al., CVPR
2024: extraction from a caption and from its paraphrase, alignment with a list) and of GPT4SGG (Chen et al., 2023:
triplets over the ids of given objects), but for one thing: alignment takes the name, never its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from r1sgg.graph.scene import normalize_name
from r1sgg.graph.text import Frame
from r1sgg.graph.vocabulary import Vocabulary


class Question(NamedTuple):
    """What is asked, the JSON schema of the answer, and the image that is shown with it."""

    text: str
    schema: dict[str, Any]
    image: Path | None = None


class Answer(NamedTuple):
    """The text of an answer, or why there is none."""

    text: str = ""
    error: str = ""


class Asker(Protocol):
    """Asks a language model; `name` says which, and identifies its answers in the cache."""

    name: str

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Return an answer to each question."""
        ...

    def frame(self, size: tuple[int, int]) -> Frame:
        """Return the frame that the model's boxes are relative to in an image of that size."""
        ...

    def close(self) -> None:
        """Let go of connections and processes."""
        ...


def key_of(name: str, question: Question) -> str:
    """Return 32 hex digits of who is asked and what: the image counts by its content."""
    digest = hashlib.sha256(orjson.dumps([name, question.text, question.schema]))
    if question.image is not None:
        digest.update(hashlib.sha256(question.image.read_bytes()).digest())
    return digest.hexdigest()[:32]


# ---------------------------------------------------------------- schemas


def _rows(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "array", "items": item, "description": name}


def _document(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_TRIPLETS = _rows("relations", {"caption": _NUMBER, "subject": _TEXT, "predicate": _TEXT, "object": _TEXT})
TRIPLETS = _document({"triplets": _TRIPLETS})
PARAPHRASED = _document({"paraphrases": _rows("texts", {"caption": _NUMBER, "text": _TEXT}), "triplets": _TRIPLETS})
BOXES = _document(
    {"boxes": _rows("boxes", {"label": _TEXT, "bbox_2d": {"type": "array", "items": {"type": "number"}}})}
)


def aligned_schema(names: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Return the schema of an alignment: only these names, and only names of the vocabulary or "none"."""
    fields = {"name": {"type": "string", "enum": list(names)}, "class": {"type": "string", "enum": [*targets, "none"]}}
    return _document({"names": _rows("names", fields)})


# ---------------------------------------------------------------- prompts

_EXTRACT = """\
List the relations between visible things that the captions of one image state, as triplets of subject, predicate and \
object. Subject and object are single nouns in the singular, without adjectives and numbers. The predicate is a \
verb, a \
preposition, or both, without auxiliary and tense: write "riding", not "is riding" or "rode". Write one triplet for \
each \
pair of things, also where "and" joins several. State nothing that the captions do not state.

Example captions:
1. Two boys in caps throw a frisbee while their dog runs behind them.
2. A plate with a sandwich and some fries sits on a striped cloth.
Example answer:
{"triplets": [{"caption": 1, "subject": "boy", "predicate": "wearing", "object": "cap"}, \
{"caption": 1, "subject": "boy", "predicate": "throwing", "object": "frisbee"}, \
{"caption": 1, "subject": "dog", "predicate": "running behind", "object": "boy"}, \
{"caption": 2, "subject": "sandwich", "predicate": "on", "object": "plate"}, \
{"caption": 2, "subject": "fry", "predicate": "on", "object": "plate"}, \
{"caption": 2, "subject": "plate", "predicate": "on", "object": "cloth"}]}
"""
_PARAPHRASE = """\
Work in two steps. First write each caption again in other, simple words that name the same things. Then list the \
relations that your new texts state, as the next paragraph says, with the number of the caption.

"""
_OBJECTS = """\
The objects of one image are given with their boxes [x1, y1, x2, y2] in pixels, and captions of the image or of \
parts of \
it. List the relations between these objects that the captions state, or that follow from captions and boxes together. \
Subject and object are ids of the list, such as "man.1", never other names. Use the boxes to decide which object is \
meant: \
what is worn or held overlaps the one who does so, and one thing is worn by one person only. The predicate is a \
verb, a \
preposition, or both, without auxiliary and tense.
"""
_IMAGE = """\
Look at the image, and read its captions if there are any. List the relations between visible things, as triplets of \
subject, predicate and object. Subject and object are single nouns in the singular. The predicate is a verb, a \
preposition, or both, without auxiliary and tense. State nothing that cannot be seen. "caption" is the number of the \
caption that states the relation, or 1.
"""
_ALIGN = """\
For each name choose the name from the list that means the same, or a more general one ("pigeon" is a bird, "bus" is a \
vehicle), or "none" where nothing fits. A colour, a material or a place without a name in the list is "none". \
Number and \
spelling do not matter ("dogs" is dog). A predicate needs one of the same meaning ("next to" is near, "lies on" is \
lying \
on); "waiting" is "none" if nothing in the list says so.
"""
_GROUND = """\
Find the named things in the image. Give a box for each one that is visible, several for a name if there are several \
such things, and none for a name that is not there. Coordinates are [x1, y1, x2, y2] relative to a width of \
{width:g} and a \
height of {height:g}.
"""
NAMES_PER_QUESTION = 30


def about_captions(captions: Sequence[str], *, paraphrase: bool = False) -> Question:
    """Ask for the triplets of captions, or of paraphrases of them."""
    text = f"{_PARAPHRASE if paraphrase else ''}{_EXTRACT}\nCaptions:\n{_numbered(captions)}\n"
    return Question(f"{text}Answer with JSON only.", PARAPHRASED if paraphrase else TRIPLETS)


def about_objects(objects: Sequence[str], captions: Sequence[str]) -> Question:
    """Ask for triplets between given objects: lines "man.1: [10, 20, 30, 40]"."""
    text = f"{_OBJECTS}\nObjects:\n" + "\n".join(objects) + f"\n\nCaptions:\n{_numbered(captions)}\n"
    return Question(f'{text}Answer with JSON only: {{"triplets": [{{"caption": 1, "subject": ...}}]}}.', TRIPLETS)


def about_image(image: Path, captions: Sequence[str]) -> Question:
    """Ask for the triplets of an image."""
    text = f"{_IMAGE}\nCaptions:\n{_numbered(captions)}\n"
    shape = '{"triplets": [{"caption": 1, "subject": ..., "predicate": ..., "object": ...}]}'
    return Question(f"{text}Answer with JSON only: {shape}.", TRIPLETS, image)


def about_names(kind: str, names: Sequence[str], vocabulary: Vocabulary) -> Question:
    """Ask for the names of the vocabulary that names mean; `kind` is "object" or "predicate"."""
    targets = vocabulary.objects if kind == "object" else vocabulary.predicates
    text = f"{_ALIGN}\nThe list of {kind}s: {', '.join(targets)}\n\nNames:\n" + "\n".join(names)
    shape = '{"names": [{"name": ..., "class": ...}]}'
    return Question(f"{text}\n\nAnswer with JSON only: {shape}.", aligned_schema(names, targets))


def about_boxes(image: Path, names: Sequence[str], frame: Frame) -> Question:
    """Ask for the boxes of named things."""
    text = _GROUND.format(width=frame[0], height=frame[1]) + "\nNames: " + ", ".join(names)
    shape = '{"boxes": [{"label": ..., "bbox_2d": [x1, y1, x2, y2]}]}'
    return Question(f"{text}\n\nAnswer with JSON only: {shape}.", BOXES, image)


def _numbered(captions: Sequence[str]) -> str:
    return "\n".join(f"{k}. {' '.join(caption.split())}" for k, caption in enumerate(captions, 1)) or "none"


# ---------------------------------------------------------------- answers


def rows_of_answer(answer: Answer, key: str) -> list[Any] | str:
    """Return the list `key` of an answer in JSON (a fence or words around it are allowed), or why there is none."""
    if answer.error:
        return answer.error
    text = answer.text
    start, end = text.find("{"), text.rfind("}")
    if 0 <= (bracket := text.find("[")) < start or start < 0 <= bracket:  # the list itself
        start, end = bracket, text.rfind("]")
    try:
        document = orjson.loads(text[start : end + 1]) if 0 <= start < end else None
    except orjson.JSONDecodeError:
        document = None
    rows = document.get(key) if isinstance(document, dict) else document
    if isinstance(rows, list):
        return rows
    return f'expected JSON with a list "{key}", found {text.strip()[:80]!r}'


def triplet_of_row(row: Any, captions: int) -> tuple[int, str, str, str] | None:
    """Return (caption from 0, subject, predicate, object) of a row of an answer, or None for an invalid one."""
    if not isinstance(row, dict):
        return None
    number = row.get("caption", 1)
    given = [row.get(field) for field in ("subject", "predicate", "object")]
    names = [name.strip() for name in given if isinstance(name, str)]
    if type(number) is not int or not 1 <= number <= captions or len(names) < 3:
        return None
    subject, predicate, target = names
    if not all(map(normalize_name, (subject, predicate, target))) or max(map(len, names)) > 80:
        return None
    return number - 1, subject, predicate, target


def box_of_row(row: Any, frame: Frame, size: tuple[int, int]) -> tuple[str, tuple[float, float, float, float]] | None:
    """Return (name, xyxy in pixels) of a row of boxes in the dialects that models speak, or None for an invalid one."""
    if not isinstance(row, dict):
        return None
    name = next((row[k] for k in ("label", "name", "id", "phrase") if isinstance(row.get(k), str)), "")
    box: list[Any] = next((row[k] for k in ("bbox_2d", "bbox", "box_2d", "box") if isinstance(row.get(k), list)), [])
    if not normalize_name(name) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
        return None
    x1, y1, x2, y2 = (v / frame[k % 2] * size[k % 2] for k, v in enumerate(box))
    return (normalize_name(name), (x1, y1, x2, y2)) if x1 < x2 and y1 < y2 else None
