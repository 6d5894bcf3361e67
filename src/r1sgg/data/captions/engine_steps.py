"""The three steps by a language model: extraction, alignment and grounding, over any `Asker`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from r1sgg.data.captions.asking import (
    NAMES_PER_QUESTION,
    Asker,
    Question,
    about_boxes,
    about_captions,
    about_image,
    about_names,
    about_objects,
    box_of_row,
    rows_of_answer,
    triplet_of_row,
)
from r1sgg.data.captions.phrases import PLURAL, Extraction, Link, Phrase, distinct
from r1sgg.data.captions.records import Captioned, NamedBox
from r1sgg.graph.forms import singular
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.text import number_ids
from r1sgg.graph.vocabulary import Vocabulary

_MOST_OBJECTS = 60
"""Given objects in one question: the largest ones, as a prompt has room."""


class EngineExtractor:
    """Reads captions with a language model; see `r1sgg.data.captions.extracting.Extractor`."""

    def __init__(
        self, asker: Asker, recipe: str, lookup: Callable[[Captioned], Sequence[NamedBox]] | None = None
    ) -> None:
        """Choose what is asked.

        Args:
            asker: the model.
            recipe: "caption", "paraphrase", "objects" or "image".
            lookup: the given objects, for "objects".
        """
        self.name = f"engine ({asker.name}), {recipe}"
        self._asker, self._recipe, self._lookup = asker, recipe, lookup

    def extract(self, records: Sequence[Captioned]) -> list[list[Extraction]]:
        """See `Extractor`: with paraphrases there are two extractions of each caption."""
        asked: list[tuple[int, str, dict[str, tuple[int, NamedBox]], Question]] = []
        found: list[list[Extraction]] = [[] for _ in records]
        for k, record in enumerate(records):
            texts = [caption.text for caption in record.captions]
            if self._recipe == "objects":
                objects = self._objects(record)
                regions = [f"{c.text} {_corners(c.region)}" if c.region else c.text for c in record.captions]
                lines = [f"{name}: {_corners(box.box)}" for name, (_, box) in objects.items()]
                if len(objects) < 2:
                    continue  # no two objects: nothing to ask
                asked.append((k, "engine, objects", objects, about_objects(lines, regions)))
            elif self._recipe == "image":
                if record.image is None or not record.image.is_file():
                    found[k] = [Extraction(step="engine, image", error="expected an image to show, found none")]
                    continue
                asked.append((k, "engine, image", {}, about_image(record.image, texts)))
            else:
                asked.append((k, "engine", {}, about_captions(texts)))
                if self._recipe == "paraphrase":
                    asked.append((k, "engine, paraphrase", {}, about_captions(texts, paraphrase=True)))
        answers = self._asker.ask([question for *_, question in asked])
        for (k, step, objects, _), answer in zip(asked, answers, strict=True):
            rows = rows_of_answer(answer, "triplets")
            if isinstance(rows, str):
                found[k].append(Extraction(step=step, error=rows))
            else:
                found[k] += _extractions(rows, records[k], step, objects)
        return found

    def _objects(self, record: Captioned) -> dict[str, tuple[int, NamedBox]]:
        """Return the largest given objects by an id: the place of each among all, and its box."""
        boxes = list(self._lookup(record) if self._lookup else ())
        largest = sorted(range(len(boxes)), key=lambda k: -_area(boxes[k]))[:_MOST_OBJECTS]
        ids = number_ids([normalize_name(boxes[k].name) for k in largest])
        return {name: (k, boxes[k]) for name, k in zip(ids, largest, strict=True)}


def _extractions(
    rows: Sequence[object], record: Captioned, step: str, objects: Mapping[str, tuple[int, NamedBox]]
) -> list[Extraction]:
    """Return an extraction for each caption that has a triplet in the rows of an answer."""
    triplets: dict[int, list[tuple[str, str, str]]] = {}
    invalid = 0
    for row in rows:
        read = triplet_of_row(row, len(record.captions))
        if read is None or (objects and not objects.keys() >= {read[1], read[3]}):
            invalid += 1
        else:
            triplets.setdefault(read[0], []).append(read[1:])
    found: list[Extraction] = []
    for caption, said in triplets.items():
        text = record.captions[caption].text.lower()
        phrases: dict[str, Phrase] = {}
        for name in dict.fromkeys(n for s, _, o in said for n in (s, o)):
            if objects:
                place, box = objects[name]
                phrases[name] = Phrase(box.name, 0, 0, 1, place)
            else:
                label = normalize_name(name)
                start = max(text.find(label), 0)
                end = start + len(label) if label in text else start
                phrases[name] = Phrase(singular(label), start, end, 1 if singular(label) == label else PLURAL)
        index = {name: k for k, name in enumerate(phrases)}
        links = [Link(index[s], normalize_name(p), index[o]) for s, p, o in said]
        found.append(Extraction(tuple(phrases.values()), distinct(links), step, "", 0, caption))
    if invalid:
        found.append(Extraction(step=step, invalid=invalid))
    return found


class EngineAligner:
    """Aligns names with a language model; see `r1sgg.data.captions.aligning.Ask`."""

    def __init__(self, asker: Asker, vocabulary: Vocabulary) -> None:
        self._asker, self._vocabulary = asker, vocabulary
        self.notes: list[str] = []

    def __call__(self, kind: str, names: Sequence[str]) -> dict[str, str | None]:
        """Return for each name its name in the vocabulary, or None; a name that was not answered is missing."""
        index = self._vocabulary.object_index if kind == "object" else self._vocabulary.predicate_index
        chunks = [names[k : k + NAMES_PER_QUESTION] for k in range(0, len(names), NAMES_PER_QUESTION)]
        answers = self._asker.ask([about_names(kind, chunk, self._vocabulary) for chunk in chunks])
        found: dict[str, str | None] = {}
        for chunk, answer in zip(chunks, answers, strict=True):
            rows = rows_of_answer(answer, "names")
            if isinstance(rows, str):
                self.notes.append(f"{len(chunk)} {kind} names were not aligned: {rows}")
                continue
            known = {normalize_name(name): name for name in chunk}
            answered = 0
            for row in rows:
                name, target = (
                    (row.get(field) for field in ("name", "class")) if isinstance(row, dict) else (None, None)
                )
                if isinstance(name, str) and (asked := known.pop(normalize_name(name), None)) is not None:
                    target = normalize_name(target) if isinstance(target, str) else ""
                    found[asked] = target if target in index else None
                    answered += 1
            if answered < len(chunk):
                self.notes.append(f"{len(chunk) - answered} of {len(chunk)} {kind} names are missing in an answer")
        return found


class EngineGrounder:
    """Grounds the phrases of captions with a vision-language model; a `Lookup` of `r1sgg.data.captions.making`."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._boxes: dict[str, list[NamedBox]] = {}
        self.notes: list[str] = []

    def prepare(self, records: Sequence[Captioned], found: Sequence[Sequence[Extraction]]) -> None:
        """Ask for the boxes of all phrases of some images."""
        self._boxes = {}
        asked: list[tuple[Captioned, tuple[float, float], Question]] = []
        for record, extractions in zip(records, found, strict=True):
            names = sorted({phrase.name for extraction in extractions for phrase in extraction.phrases if phrase.name})
            if not names:
                continue
            if record.image is None or not record.image.is_file():
                self.notes.append(f"image {record.image_id}: expected an image to ground phrases in, found none")
                continue
            frame = self._asker.frame((record.width, record.height))
            asked.append((record, frame, about_boxes(record.image, names, frame)))
        answers = self._asker.ask([question for *_, question in asked])
        for (record, frame, _), answer in zip(asked, answers, strict=True):
            rows = rows_of_answer(answer, "boxes")
            if isinstance(rows, str):
                self.notes.append(f"image {record.image_id}: phrases were not grounded: {rows}")
                continue
            boxes = [box_of_row(row, frame, (record.width, record.height)) for row in rows]
            self._boxes[record.image_id] = [NamedBox(singular(b[0]), b[1]) for b in boxes if b is not None]

    def __call__(self, record: Captioned) -> Sequence[NamedBox]:
        """Return the boxes of an image that `prepare` had."""
        return self._boxes.get(record.image_id, ())


def _area(box: NamedBox) -> float:
    return (box.box[2] - box.box[0]) * (box.box[3] - box.box[1])


def _corners(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{v:.0f}" for v in box) + "]"
