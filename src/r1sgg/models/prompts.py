"""The prompt and the layout of the completion: one definition for training, generation and prediction.

`AnswerSettings` is stored in a checkpoint folder as r1sgg.json, so a model always gets the prompt it was trained with.
The prompts follow Table 1 of arXiv 2504.13617 in content, not in wording. A prompt of your own is a file
(`read_prompt`), or a column of the data set: the authors' sets have `prompt_open` and `prompt_close` (`ask_of_column`).
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np

from r1sgg.data.jsonl import read_json
from r1sgg.errors import ConfigError, InputError, choices, os_errors, short
from r1sgg.files import user_path, write_json
from r1sgg.graph.given import Given
from r1sgg.graph.scene import SceneGraph
from r1sgg.graph.text import AnswerFormat, Frame, number_ids, render
from r1sgg.graph.vocabulary import load_vocabulary

_log = logging.getLogger(__name__)

SETTINGS_FILE = "r1sgg.json"
Prompt = Literal["paper", "short", "own"]
COLUMN = "column:"
"""Before the name of a column whose texts are the prompts."""
Message = dict[str, Any]
"""{"role": ..., "content": text}, as in chat templates."""


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """The prompt and answer layout of a checkpoint; the defaults suit an instruct model not trained with r1sgg.

    Attributes:
        prompt: "paper" (task, JSON shape, guidelines, worked example), "short" (one line, for small models) or "own".
        think: ask for <think> and <answer> tags, and write them into training targets.
        minify: training targets in JSON without spaces after commas and colons.
        vocabulary: "open", or the vocabulary that the prompt lists ("vg150", "psg", a file).
        image_size: state the size that coordinates are relative to (the original code removes it).
        answer_format: ask for the paper's "json" or for "compact" lines (`r1sgg.graph.compact`), and teach them.
        own: the text of an "own" prompt, in which {width} and {height} are the size that coordinates are relative to.
        system: an own system message; "": the one that asks for <think> tags if `think`, else none.
        column: an image that has a text of this name in its data is asked by it; "": none is.
    """

    prompt: Prompt = "paper"
    think: bool = False
    minify: bool = False
    vocabulary: str = "open"
    image_size: bool = False
    answer_format: AnswerFormat = "json"
    own: str = ""
    system: str = ""
    column: str = ""

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
                raise InputError(f"{where}: {key!r}", expected=f"only the keys {choices(fields, key)}", found="another")
            if type(value) is not type(fields[key]):
                raise InputError(f"{where}: {key}", expected=f"a value like {fields[key]!r}", found=repr(value))
        for key, known in (("prompt", get_args(Prompt)), ("answer_format", get_args(AnswerFormat))):
            if record.get(key, fields[key]) not in known:
                raise InputError(f"{where}: {key}", expected=" or ".join(known), found=repr(record[key]))
        if (record.get("prompt") == "own") != bool(record.get("own")):
            raise InputError(f"{where}: own", expected="a text where prompt is own, and only there", found="otherwise")
        return cls(**record)

    def to_record(self) -> dict[str, Any]:
        """Return the settings as JSON has them; what is empty is left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value != ""}

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
        write_json(folder / SETTINGS_FILE, self.to_record())


SHORT_PROMPT = "Scene graph of the image as JSON."
SHORT_COMPACT_PROMPT = "Scene graph of the image, compact."

THINK_SYSTEM_PROMPT = (
    "A user asks, and the assistant answers. The assistant first reasons in its mind and then gives the answer. The "
    "reasoning stands between <think> and </think>, the answer between <answer> and </answer>: "
    "<think> reasoning here </think><answer> answer here </answer>"
)
"""After DeepSeek-R1 (arXiv 2501.12948, Table 1)."""

_GIVEN = {
    "sgcls": (
        "The boxes of the objects are given. Write one object for each of these boxes, in this order and with this "
        "box, and no other objects; find their names and their relationships."
    ),
    "predcls": (
        "The objects are given. Write exactly these objects, in this order and with these ids and boxes, and no "
        "others; find their relationships."
    ),
}

_EXAMPLE = SceneGraph(
    ids=("person.1", "bike.2", "helmet.3", "tree.4"),
    labels=("person", "bike", "helmet", "tree"),
    boxes=np.array(
        [[0.24, 0.2, 0.5, 0.76], [0.2, 0.48, 0.56, 0.92], [0.32, 0.18, 0.42, 0.29], [0.72, 0.06, 0.98, 0.84]]
    ),
    pairs=((0, 1), (0, 2)),
    predicates=("riding", "wearing"),
)


def build_messages(
    settings: AnswerSettings,
    frame: Frame = (1000.0, 1000.0),
    asked: str | None = None,
    given: Given | None = None,
) -> list[Message]:
    """Build the chat that asks for a scene graph, without the image (it goes before the text of the last message).

    Args:
        settings: which prompt; "paper" and "short" list the names of `settings.vocabulary`, none if that is open.
        frame: width and height that coordinates are relative to; the worked example is written in it.
        asked: the text of the user's message instead of the settings' prompt, see `ask_of_column`.
        given: objects that the prompt lists (SGCLS, PREDCLS), in the same frame.

    Returns:
        A system message if `settings.system` or `settings.think`, and one user message.

    Raises:
        InputError: there is no such vocabulary.
    """
    first = settings.system or (THINK_SYSTEM_PROMPT if settings.think else "")
    system = [{"role": "system", "content": first}] if first else []
    text = _user_text(settings, frame) if asked is None else asked
    if given is not None:
        said = "" if settings.prompt == "short" else f"\n\n{_GIVEN[given.task]}"
        text += f"{said}\n{given.text(minify=settings.minify)}"
    return [*system, {"role": "user", "content": text}]


def _user_text(settings: AnswerSettings, frame: Frame) -> str:
    if settings.prompt == "own":  # it lists names itself, if it does
        width, height = (str(int(side)) for side in frame)
        return settings.own.replace("{width}", width).replace("{height}", height)
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
    return text


def ask_of_column(settings: AnswerSettings, text: str, image_size: tuple[int, int]) -> str:
    """Return a column's prompt for an image as the authors of R1-SGG ask it.

    They leave out the image's size, and where the answer has tags of its own they write its place as a block of JSON
    (github.com/gpt4vision/R1-SGG, src/sgg_inference_vllm.py).

    Args:
        settings: `image_size` keeps the size; without `think` the prompt's own tags stay.
        text: of the column.
        image_size: width and height in pixels.
    """
    if not settings.image_size:
        text = text.replace("of size ({} x {}) ".format(*image_size), "")
    if settings.think:
        text = text.replace("<answer>", "```json").replace("</answer>", "```")
    return text


def recipe_prompt(
    settings: AnswerSettings, prompt: str | None, wording: str | None, vocabulary: str | None
) -> dict[str, str]:
    """Return the settings that a recipe's `prompt` and `wording` change; None: as the checkpoint says.

    Args:
        settings: of the checkpoint.
        prompt: "open", "closed", a prompt file or "column:NAME", as in every command.
        wording: "paper" or "short", of the open and the closed prompt.
        vocabulary: the recipe's.

    Raises:
        ConfigError: an unknown value, or options that contradict each other.
        InputError: see `read_prompt`.
    """
    if prompt in ("paper", "short"):
        _log.warning("prompt: %s is now called wording: %s", prompt, prompt)
        prompt, wording = None, wording or prompt
    if wording not in (None, "paper", "short"):
        raise ConfigError(f"the recipe: wording: expected paper or short, found {wording!r}")
    ours = {"own": "", "system": "", "column": ""}
    if wording is not None:
        ours["prompt"] = wording
    elif settings.prompt == "own":
        ours["prompt"] = "paper"
    if prompt is None:
        return {} if wording is None else ours
    if prompt in ("open", "closed"):
        if prompt == "closed" and vocabulary == "open":
            raise ConfigError("vocabulary: open: a closed prompt needs names; pass vg150, psg or a file")
        if prompt == "open" and vocabulary not in (None, "open"):
            raise ConfigError(f"vocabulary: {vocabulary}: the prompt open lists no names; add prompt: closed")
        return {**ours, "vocabulary": "open" if prompt == "open" else vocabulary or "vg150"}
    if wording is not None:
        raise ConfigError(f"the recipe: wording: expected none beside the prompt {prompt}, which has its own")
    if prompt.startswith(COLUMN):
        return {"column": prompt.removeprefix(COLUMN)}
    if not user_path(prompt).is_file():
        raise ConfigError(f"the recipe: prompt: expected open, closed, a file or column:NAME, found {prompt!r}")
    own = read_prompt(user_path(prompt))
    return {"prompt": "own", "own": own.text, "system": own.system, "column": ""}


class OwnPrompt(NamedTuple):
    """A prompt of the user's: the text of the message, and of a system message ("": none of its own)."""

    text: str
    system: str = ""


def read_prompt(path: Path) -> OwnPrompt:
    """Read a prompt file: plain text, or NAME.json with {"user": TEXT, "system": TEXT}.

    Raises:
        InputError: it cannot be read, is empty, or has other keys.
    """
    if path.suffix == ".json":
        record = read_json(path)
        if not isinstance(record, dict) or not {"user"} <= record.keys() <= {"user", "system"}:
            raise InputError(str(path), expected='{"user": TEXT, "system": TEXT}', found=short(record))
        own = OwnPrompt(record["user"], record.get("system", ""))
    else:
        with os_errors(path, "a text file with a prompt", "or one of open, closed, column:NAME"):
            try:
                own = OwnPrompt(path.read_text(encoding="utf-8").strip())
            except UnicodeDecodeError as error:
                raise InputError(str(path), expected="a prompt in UTF-8", found="another encoding") from error
    if not all(isinstance(part, str) for part in own) or not own.text.strip():
        raise InputError(str(path), expected="a prompt", found="an empty file" if own.text == "" else short(own.text))
    return own


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
