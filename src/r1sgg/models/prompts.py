"""The prompt and the layout of the completion: one definition for training, generation and prediction.

`AnswerSettings` is stored in a checkpoint folder as r1sgg.json, so a model always gets the prompt it was trained with.
The prompts follow Table 1 of arXiv 2504.13617 in content, not in wording.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from r1sgg.data.jsonl import read_json
from r1sgg.errors import InputError
from r1sgg.files import write_json
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import AnswerFormat, Frame, number_ids, render
from r1sgg.graph.vocabulary import load_vocabulary

SETTINGS_FILE = "r1sgg.json"
Prompt = Literal["paper", "short"]
Message = dict[str, Any]
"""{"role": ..., "content": text}, as in chat templates."""


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """The prompt and answer layout of a checkpoint; the defaults suit an instruct model not trained with r1sgg.

    Attributes:
        prompt: "paper" (task, JSON shape, guidelines, worked example) or "short" (one line, for small models).
        think: ask for <think> and <answer> tags, and write them into training targets.
        minify: training targets in JSON without spaces after commas and colons.
        vocabulary: "open", or the vocabulary that the prompt lists ("vg150", "psg", a file).
        image_size: state the size that coordinates are relative to (the original code removes it).
        answer_format: ask for the paper's "json" or for "compact" lines (`r1sgg.graph.compact`), and teach them.
    """

    prompt: Prompt = "paper"
    think: bool = False
    minify: bool = False
    vocabulary: str = "open"
    image_size: bool = False
    answer_format: AnswerFormat = "json"

    @classmethod
    def from_record(cls, record: Any, where: str) -> Self:
        """Make settings from a JSON object; keys that it lacks get their defaults.

        Args:
            record: the object.
            where: its file, for messages.

        Raises:
            InputError: an unknown key, or a value of the wrong type.
        """
        if not isinstance(record, dict):
            raise InputError(where, expected="a JSON object", found=type(record).__name__)
        fields = {f.name: f.default for f in dataclasses.fields(cls)}
        for key, value in record.items():
            if key not in fields:
                raise InputError(f"{where}: {key!r}", expected=f"only the keys {', '.join(fields)}", found="another")
            if type(value) is not type(fields[key]):
                raise InputError(f"{where}: {key}", expected=f"a value like {fields[key]!r}", found=repr(value))
        for key, known in (("prompt", get_args(Prompt)), ("answer_format", get_args(AnswerFormat))):
            if record.get(key, fields[key]) not in known:
                raise InputError(f"{where}: {key}", expected=" or ".join(known), found=repr(record[key]))
        return cls(**record)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the settings of a checkpoint folder; the defaults if it has none.

        Raises:
            InputError: the file is not a JSON object of settings.
        """
        path = folder / SETTINGS_FILE
        if not path.is_file():
            return cls()
        return cls.from_record(read_json(path), str(path))

    def write(self, folder: Path) -> None:
        """Write the settings into a checkpoint folder."""
        write_json(folder / SETTINGS_FILE, dataclasses.asdict(self))


SHORT_PROMPT = "Scene graph of the image as JSON."
SHORT_COMPACT_PROMPT = "Scene graph of the image, compact."

THINK_SYSTEM_PROMPT = (
    "A user asks, and the assistant answers. The assistant first reasons in its mind and then gives the answer. The "
    "reasoning stands between <think> and </think>, the answer between <answer> and </answer>: "
    "<think> reasoning here </think><answer> answer here </answer>"
)
"""After DeepSeek-R1 (arXiv 2501.12948, Table 1)."""

_EXAMPLE = SceneGraph(
    ids=("person.1", "bike.2", "helmet.3", "tree.4"),
    labels=("person", "bike", "helmet", "tree"),
    boxes=np.array(
        [[0.24, 0.2, 0.5, 0.76], [0.2, 0.48, 0.56, 0.92], [0.32, 0.18, 0.42, 0.29], [0.72, 0.06, 0.98, 0.84]]
    ),
    pairs=((0, 1), (0, 2)),
    predicates=("riding", "wearing"),
)


def build_messages(settings: AnswerSettings, frame: Frame = (1000.0, 1000.0)) -> list[Message]:
    """Build the chat that asks for a scene graph, without the image (it goes before the text of the last message).

    Args:
        settings: which prompt; it lists the names of `settings.vocabulary`, none if that is open.
        frame: width and height that coordinates are relative to; the worked example is written in it.

    Returns:
        A system message if `settings.think`, and one user message.

    Raises:
        InputError: there is no such vocabulary.
    """
    compact = settings.answer_format == "compact"
    if settings.prompt == "short":
        text = SHORT_COMPACT_PROMPT if compact else SHORT_PROMPT
    else:
        text = _paper_prompt(settings, frame)
    vocabulary = load_vocabulary(settings.vocabulary)
    if vocabulary.objects:
        text += f"\n\nUse only these object names: {', '.join(vocabulary.written_objects)}."
    if vocabulary.predicates:
        text += f"\n\nUse only these predicates: {', '.join(vocabulary.predicates)}."
    system = [{"role": "system", "content": THINK_SYSTEM_PROMPT}] if settings.think else []
    return [*system, {"role": "user", "content": text}]


def with_image(messages: list[Message]) -> list[Message]:
    """Return the chat as typed parts, with a place for one image before the text of the last message."""
    parts = as_parts(messages)
    parts[-1]["content"].insert(0, {"type": "image"})
    return parts


def as_parts(messages: list[Message]) -> list[Message]:
    """Return the chat as typed parts, all of them text."""
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]


def _paper_prompt(settings: AnswerSettings, frame: Frame) -> str:
    width, height = int(frame[0]), int(frame[1])
    size = f" of size {width} x {height}" if settings.image_size else ""
    runs = f"x runs from 0 to {width}, y from 0 to {height}"
    if settings.answer_format == "compact":
        shape, example = _COMPACT_SHAPE.format(size=size, runs=runs), replace(_EXAMPLE, ids=number_ids(_EXAMPLE.labels))
    else:
        shape, example = _JSON_SHAPE.format(size=size, runs=runs), _EXAMPLE
    return f"""\
{shape}

Example:
{render(example, frame, answer_format=settings.answer_format)}

Now give the complete scene graph of the image."""


_JSON_SHAPE = """\
Write a structured scene graph for the image{size}, as one JSON object of this shape:
{{"objects": [{{"id": "object_name.number", "bbox": [x1, y1, x2, y2]}}, ...], \
"relationships": [{{"subject": "object_name.number", "predicate": "relation", "object": "object_name.number"}}, ...]}}

Guidelines for objects:
- Each id is unique and has the form "object_name.number".
- Each box is [x1, y1, x2, y2] in integers, the top left and the bottom right corner; {runs}.
- List all visible objects, also those that take part in no relationship.

Guidelines for relationships:
- Each one has a subject, a predicate and an object; subject and object are ids from the list of objects.
- Leave out relationships for objects that stand alone."""

_COMPACT_SHAPE = """\
Write a structured scene graph for the image{size}, as lines of this shape:
objects
object_name x1 y1 x2 y2
...
relationships
object_name relation object_name
...
end

Guidelines for objects:
- One object a line. The second object of a name is name2, the third name3; words of a name are joined by "_".
- Each box is x1 y1 x2 y2 in integers, the top left and the bottom right corner; {runs}.
- List all visible objects, also those that take part in no relationship.

Guidelines for relationships:
- One relationship a line: subject, predicate, object. Subject and object are names from the lines of objects; words \
of a predicate are joined by "_".
- Leave out relationships for objects that stand alone."""
