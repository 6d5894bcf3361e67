"""Two short questions in a model's own format: which objects there are, then which relationships between them.

The first question is in the words and the layout of boxes that the model's family was taught (`r1sgg.models.tongue`).
The objects that were named are numbered and told again in the same layout, and the second question asks for triplets of
their ids, as PREDCLS does. Both answers become one graph in r1sgg's own JSON, so that everything that reads completions
reads it. Nothing is lost in silence: questions and answers are kept beside the graph, with what was dropped in each.

An answer that was cut off is read up to its last whole object. Where the engine fails at the second question, the
objects are kept, and `Completion.fault` says why there is nothing else. With a guide, the first answer is held to its
layout where that is JSON, and the second one has exactly the objects that were named.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from r1sgg.graph.given import Given
from r1sgg.graph.jsontext import json_values
from r1sgg.graph.ledger import LOST_OBJECTS, LOST_RELATIONS
from r1sgg.graph.policies import FAILURES, Issue
from r1sgg.graph.scene import EMPTY, SceneGraph
from r1sgg.graph.tags import answer_of
from r1sgg.graph.text import Frame, Parsed, number_ids, parse, render
from r1sgg.graph.vocabulary import Vocabulary, load_vocabulary
from r1sgg.guiding.spec import GuideSpec
from r1sgg.inference.engine import Completion, Engine, Exchange, Sampling
from r1sgg.models.prompts import Message
from r1sgg.models.tongue import Tongue, tongue_of

if TYPE_CHECKING:
    from r1sgg.models.families import Checkpoint

RELATIONSHIPS = """\
These objects are in the image, each with its box:
{objects}

Which relationships are there between them? Answer in JSON only: {{"relationships": [{{"subject": "name.number", \
"predicate": "relation", "object": "name.number"}}, ...]}}. Subject and object are names from the list, written as \
there; the predicate is one to three words."""
"""The second question."""
_GUIDED_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 '_-]{0,39}")  # what a guide can write of an open vocabulary


@dataclass(frozen=True, slots=True)
class Named:
    """What the first answer says.

    Attributes:
        graph: its objects, numbered; without relationships.
        issues: of the reading.
        dropped: objects of the answer that are not in the graph.
    """

    graph: SceneGraph
    issues: tuple[Issue, ...]
    dropped: int


def ask_natively(
    checkpoint: Checkpoint,
    engine: Engine,
    pictures: Sequence[Image.Image],
    sampling: Sampling,
    keys: Sequence[str],
    *,
    guide: bool = False,
    guide_vocabulary: str | None = None,
    pieces: bool = False,
) -> list[Completion]:
    """Ask both questions about each picture, and return completions in r1sgg's JSON.

    Args:
        checkpoint: who is asked; its vocabulary is listed in both questions unless it is open.
        engine: who answers.
        pictures: RGB, upright.
        sampling: how tokens are chosen, for each answer.
        keys: names that decide the random draws.
        guide: hold the answers to what can be read, as far as the engine can be held.
        guide_vocabulary: the names that a guided answer may use; None takes those that the questions list.
        pieces: give the tokens of the second answer with their log-probabilities, where the guide wrote the graph.

    Raises:
        ModelError, ConfigError: as the engine raises.
    """
    tongue = tongue_of(checkpoint)
    names = load_vocabulary(checkpoint.settings.vocabulary)
    held = load_vocabulary(guide_vocabulary or checkpoint.settings.vocabulary)
    sampling = dataclasses.replace(sampling, tags=tongue.asking.tags)
    seen = [tongue.view(picture) for picture in pictures]
    asked = [tongue.question(picture.size, names.written_objects) for picture in pictures]
    first = _first(engine, tongue, pictures, seen, asked, sampling, keys, held if guide else None)
    found = [
        Named(EMPTY, (), 0) if reply.error is not None else read_objects(reply, tongue, picture.size)
        for reply, picture in zip(first, pictures, strict=True)
    ]
    if guide:
        found = [_writable(one, held) for one in found]
    frames = [checkpoint.frame(picture.size) for picture in pictures]
    then = [
        relations_question(one.graph, tongue, picture.size, names) for one, picture in zip(found, pictures, strict=True)
    ]
    places = [k for k, one in enumerate(found) if len(one.graph) > 1]
    specs = [_spec(found[k].graph, frames[k], held) for k in places] if guide else None
    second: dict[int, Completion] = {}
    if places:
        replies = engine.generate(
            [seen[k] for k in places],
            [_chat(then[k]) for k in places],
            dataclasses.replace(sampling, tags=False),
            [f"{keys[k]}/relationships" for k in places],
            guides=specs,
            pieces=pieces and guide,
        )
        second = dict(zip(places, replies, strict=True))
    return [
        _joined(found[k], frames[k], (asked[k], then[k]), first[k], second.get(k), guided=guide)
        for k in range(len(pictures))
    ]


def _first(
    engine: Engine,
    tongue: Tongue,
    pictures: Sequence[Image.Image],
    seen: Sequence[Image.Image],
    asked: Sequence[str],
    sampling: Sampling,
    keys: Sequence[str],
    held: Vocabulary | None,
) -> list[Completion]:
    """Ask for objects; held to the layout where it is JSON with whole numbers."""
    chats = [_chat(question) for question in asked]
    frames = [tongue.boxed(picture.size) for picture in pictures]
    if held is None or not tongue.asking.key or min(min(frame.size) for frame in frames) <= 1:
        return engine.generate(seen, chats, sampling, keys)
    names = held.written_objects
    sides = [frame.size if frame.axes == "xy" else (frame.size[1], frame.size[0]) for frame in frames]
    guides = [GuideSpec(size, names, max_relationships=0, listing=tongue.asking.key) for size in sides]
    return engine.generate(seen, chats, sampling, keys, guides=guides)


def _chat(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def read_objects(reply: Completion, tongue: Tongue, size: tuple[int, int]) -> Named:
    """Read the objects of the first answer, of one that was cut off the whole ones, and each only once.

    Args:
        reply: the answer.
        tongue: how it is written.
        size: width and height of the picture in pixels.
    """

    def read(text: str) -> Parsed:
        return parse(text, tongue.frame(size), dialect=tongue.dialect.name, image=size)

    parsed = read(reply.text)
    issues = list(parsed.issues)
    if parsed.failure is not None:
        for text in tongue.asking.mended(reply.text):
            if (mended := read(text)).failure is None:
                parsed, issues = mended, [*issues, *mended.issues]
                break
    graph = parsed.graph
    boxes = np.clip(graph.boxes, 0, 1)
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for k, (label, box) in enumerate(zip(graph.labels, boxes.round(3).tolist(), strict=True)):
        flat = box[0] >= box[2] or box[1] >= box[3]
        if flat or (label, *box) in seen:
            said = "is outside of the image" if flat else "is named again with the same box"
            issues.append(Issue("bad_box" if flat else "duplicate_id", f"{graph.ids[k]} {said}"))
            continue
        seen.add((label, *box))
        kept.append(k)
    labels = tuple(graph.labels[k] for k in kept)
    asked_for = tuple(issue for issue in issues if issue.kind != "no_relationships")  # objects alone
    dropped = _lost(parsed, LOST_OBJECTS) + len(graph) - len(kept)
    return Named(SceneGraph(number_ids(labels), labels, boxes[kept]) if kept else EMPTY, asked_for, dropped)


def _lost(parsed: Parsed, kinds: Sequence[str]) -> int:
    return sum(issue.kind in kinds for issue in parsed.issues)


def relations_question(graph: SceneGraph, tongue: Tongue, size: tuple[int, int], names: Vocabulary) -> str:
    """Return the second question, which tells the objects in the layout of the first answer; "" for fewer than two."""
    if len(graph) < 2:
        return ""
    frame = tongue.boxed(size)
    digits = 3 if max(frame.size) <= 1 else 0
    told = tongue.asking.write(graph.ids, frame.written(graph.boxes).round(digits).tolist())
    text = RELATIONSHIPS.format(objects=told)
    return f"{text} Use only these predicates: {', '.join(names.predicates)}." if names.predicates else text


def read_relationships(text: str, graph: SceneGraph, frame: Frame) -> tuple[SceneGraph, tuple[Issue, ...], int]:
    """Read the second answer: relationships under their key or as a bare list, of a cut off one the whole ones.

    Args:
        text: the answer. One that writes objects too refers to those that were named, by their ids.
        graph: the objects that were named.
        frame: of boxes in the answer, if it has any.

    Returns:
        The graph with its relationships, the issues, and how many relationships were dropped.
    """
    parsed = parse(text, frame, given=graph)
    issues = list(parsed.issues)
    if parsed.failure is not None:
        again = parse(text, frame, given=graph, repair=True)
        if again.failure is not None and (bare := _bare_list(text)) is not None:
            again = parse(bare, frame, given=graph)
            issues = [Issue("other_key", "a list of relationships without its key is read")]
        said = {issue.kind for issue in issues}
        issues += [issue for issue in again.issues if issue.kind not in said]
        parsed = again
    lost = _lost(parsed, LOST_RELATIONS)
    read = parsed.graph
    index = {name: k for k, name in enumerate(graph.ids)}
    pairs, predicates = [], []
    for (s, o), predicate in zip(read.pairs, read.predicates, strict=True):
        ends = index.get(read.ids[s]), index.get(read.ids[o])
        if ends[0] is None or ends[1] is None:
            issues.append(Issue("dangling", f"{read.ids[s]} or {read.ids[o]} is none of the objects that were named"))
            lost += 1
            continue
        pairs.append((ends[0], ends[1]))
        predicates.append(predicate)
    whole = dataclasses.replace(graph, pairs=tuple(pairs), predicates=tuple(predicates))
    return whole, tuple(issues), lost


def _bare_list(text: str) -> str | None:
    """Return the last list of relationships in a text under its key; three words are subject, predicate and object."""
    for found in reversed(json_values(answer_of(text, [])).values):
        rows = found.value
        if not isinstance(rows, list) or not rows:
            continue
        if all(isinstance(row, list) and len(row) == 3 for row in rows):
            rows = [dict(zip(("subject", "predicate", "object"), row, strict=True)) for row in rows]
        if all(isinstance(row, dict) for row in rows):
            return json.dumps({"relationships": rows})
    return None


def _writable(one: Named, held: Vocabulary) -> Named:
    """Leave out the objects whose names a guide cannot write; each is an issue."""
    allowed = set(held.written_objects)
    kept = [
        k
        for k, label in enumerate(one.graph.labels)
        if (label in allowed if allowed else _GUIDED_NAME.fullmatch(label))
    ]
    if len(kept) == len(one.graph):
        return one
    lost = [one.graph.ids[k] for k in range(len(one.graph)) if k not in kept]
    issues = (*one.issues, *(Issue("bad_id", f"{name} is no name that the guide allows") for name in lost))
    labels = tuple(one.graph.labels[k] for k in kept)
    graph = SceneGraph(number_ids(labels), labels, one.graph.boxes[kept]) if kept else EMPTY
    return Named(graph, issues, one.dropped + len(lost))


def _spec(graph: SceneGraph, frame: Frame, held: Vocabulary) -> GuideSpec:
    """The guide of the second answer: exactly these objects, then relationships between them."""
    given = Given.of(graph, frame, "predcls")
    rows: tuple[tuple[str | int, ...], ...] = tuple(
        (label, *box) for label, box in zip(given.labels, given.boxes, strict=True)
    )
    return GuideSpec(frame, tuple(dict.fromkeys(given.labels)), held.predicates, given=rows)


def _joined(
    one: Named,
    frame: Frame,
    asked: tuple[str, str],
    first: Completion,
    second: Completion | None,
    *,
    guided: bool,
) -> Completion:
    """Make one completion of both answers."""
    if first.error is not None:
        return first
    exchanges = [Exchange(asked[0], first.text, one.issues, one.dropped, bool(len(one.graph)))]
    if not len(one.graph):  # what cannot be read stays as it is, so that its failure is counted
        return dataclasses.replace(
            first, pieces=None, replies=(first.text,), left_out={"objects": one.dropped}, exchanges=tuple(exchanges)
        )
    graph, text, fault = one.graph, "", None
    left_out = {"objects": one.dropped}
    if second is not None and second.error is not None:
        fault = f"the question for relationships got no answer, only that for objects did: {second.error}"
        exchanges.append(Exchange(asked[1], "", (), 0, False))
    elif second is not None:
        graph, issues, lost = read_relationships(second.text, graph, frame)
        lost += second.left_out.get("relationships", 0)  # by an engine that holds the answer to the guide itself
        if guided and not issues:
            text = second.text  # the guide wrote the graph, and its tokens have probabilities
        written = second.text
        if second.replies:  # the engine wrote the graph again, without what the guide does not allow: say what that was
            written = second.replies[0]
            own, issues, _ = read_relationships(written, one.graph, frame)
            lost = max(lost, len(own.pairs) - len(graph.pairs))
        read = bool(graph.pairs) or not any(issue.kind in FAILURES for issue in issues)
        exchanges.append(Exchange(asked[1], written, issues, lost, read))
        left_out["relationships"] = lost
    both = [first] if second is None else [first, second]
    return Completion(
        text=text or render(graph, frame),
        tokens=sum(reply.tokens for reply in both),
        finish_reason=next((reply.finish_reason for reply in both if reply.finish_reason != "stop"), "stop"),
        seconds=sum(reply.seconds for reply in both),
        pieces=both[-1].pieces if text else None,
        passes=sum(reply.passes or 0 for reply in both) or None,
        replies=tuple(exchange.reply for exchange in exchanges),
        left_out=left_out,
        exchanges=tuple(exchanges),
        fault=fault,
    )
